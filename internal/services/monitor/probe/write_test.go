package probe_test

import (
	"strings"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/simnet"
)

func writer() probe.Kit {
	key := nostr.GenerateKey()
	return probe.Kit{Dialer: dialer(), Key: &key, Work: probe.NewWork()}
}

// TestWrite sends an event to relays that take and refuse it. The relays here
// keep no ephemeral events: who read them back would call them unwritable.
func TestWrite(t *testing.T) {
	info := func(body string) *simnet.Info { return &simnet.Info{Body: body} }
	for _, test := range []struct {
		name      string
		behaviour simnet.Behaviour
		want      dial.Cause
		bits      float64
	}{
		{"takes it", simnet.Behaviour{}, "", 0},
		{"takes it from whom it knows", simnet.Behaviour{Auth: true}, "", 0},
		{"has nobody to hand it to", simnet.Behaviour{Writes: simnet.Writes{Refuse: "mute: no one was listening for this"}}, "", 0},
		{"wants work", simnet.Behaviour{Writes: simnet.Writes{Bits: 12}, Info: info(`{"limitation":{"min_pow_difficulty":12}}`)}, "", 12},
		{"wants work and does not say so", simnet.Behaviour{Writes: simnet.Writes{Bits: 40}}, dial.CauseWritePoW, 0},
		{"wants all the work of the world", simnet.Behaviour{Info: info(`{"limitation":{"min_pow_difficulty":255}}`)}, dial.CauseWritePoW, 0},
		{"wants 25 bits", simnet.Behaviour{Info: info(`{"limitation":{"min_pow_difficulty":"25"}}`)}, dial.CauseWritePoW, 0},
		{"blocks", simnet.Behaviour{Writes: simnet.Writes{Refuse: "blocked: not on the white list"}}, dial.CauseWriteBlocked, 0},
		{"sells, and says so", simnet.Behaviour{
			Writes: simnet.Writes{Refuse: "restricted: not a member"}, Info: info(`{"limitation":{"payment_required":true}}`),
		}, dial.CauseWritePaid, 0},
		{"sells, in words only", simnet.Behaviour{Writes: simnet.Writes{Refuse: "restricted: please pay 21 sats first"}}, dial.CauseWritePaid, 0},
		{"the word is part of another", simnet.Behaviour{Writes: simnet.Writes{Refuse: "blocked: your payload is odd, author"}}, dial.CauseWriteBlocked, 0},
		{"the prefix decides", simnet.Behaviour{Writes: simnet.Writes{Refuse: "rate-limited: pay to send more"}}, dial.CauseRateLimited, 0},
		{"wants to know who, without asking", simnet.Behaviour{Writes: simnet.Writes{Refuse: "auth-required: who are you"}}, dial.CauseWriteAuth, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			network := simnet.New(41)
			t.Cleanup(network.Close)
			r, err := network.AddRelay(test.behaviour)
			if err != nil {
				t.Fatal(err)
			}
			have := run(t, writer(), r)["write"]
			if have.Cause != test.want || have.Values["pow_bits"] != test.bits {
				t.Errorf("cause %q (%s), %v bits; want %q, %v bits", have.Cause, have.Detail, have.Values["pow_bits"], test.want, test.bits)
			}
			if n := r.Stats().Connections; n > 3 {
				t.Errorf("%d connections in one check", n)
			}
		})
	}
}

// TestNoKey writes nothing without a key.
func TestNoKey(t *testing.T) {
	r := infoRelay(t, simnet.Info{Body: `{"supported_nips":[9,40,70],"limitation":{"created_at_upper_limit":60}}`})
	have := run(t, probe.Kit{Dialer: dialer()}, r)
	if _, ran := have["write"]; ran {
		t.Error("wrote without a key")
	}
	for _, c := range readDocument[probe.Claims](t, have["nips"]).Claims {
		if c.Verdict != probe.Untested {
			t.Errorf("%s is %s", c.Name, c.Verdict)
		}
	}
	if r.Len() != 0 {
		t.Errorf("the relay holds %d events", r.Len())
	}
}

// TestClaims has relays that do what they claim and relays that do not.
func TestClaims(t *testing.T) {
	notes := simnet.Generate(simnet.Plan{Seed: 4, Count: 120, Since: 1_600_000_000, Until: 1_700_000_000, Kinds: []nostr.Kind{1}})
	claims := func(nips, limits string) *simnet.Info {
		return &simnet.Info{Body: `{"supported_nips":[` + nips + `],"limitation":{` + limits + `}}`}
	}
	for _, test := range []struct {
		name      string
		behaviour simnet.Behaviour
		want      string
	}{
		{
			"limits kept",
			simnet.Behaviour{Cap: 50, DefaultLimit: 20, MaxSubs: 5, Info: claims("", `"max_limit":50,"default_limit":20,"max_subscriptions":5,"max_message_length":65536`)},
			"max_limit 50 kept, default_limit 20 kept, max_subscriptions at least 5 kept, max_message_length at least 65525 kept",
		},
		{
			"limits that are lower",
			simnet.Behaviour{Cap: 30, Info: claims("", `"max_limit":50,"default_limit":50`)},
			"max_limit 30 broken, default_limit 30 broken",
		},
		{
			"limits that are higher",
			simnet.Behaviour{Info: claims("", `"max_limit":50,"default_limit":50`)},
			"max_limit 100 broken, default_limit 120 broken",
		},
		{
			"limits beyond what it holds",
			simnet.Behaviour{Info: claims("", `"max_limit":5000,"default_limit":5000,"max_subscriptions":1000,"max_message_length":16777216`)},
			"max_limit untested, default_limit untested, max_subscriptions untested, max_message_length untested",
		},
		{
			"fewer subscriptions",
			simnet.Behaviour{MaxSubs: 2, Latency: 100_000_000, Info: claims("", `"max_subscriptions":5`)},
			"max_subscriptions 2 broken",
		},
		{
			"NIPs kept",
			simnet.Behaviour{
				Count: simnet.CountExact, Hints: true, Negentropy: simnet.Negentropy{As: simnet.NegHonest}, Writes: simnet.Writes{Deletes: true, Expires: true, Protects: true, Past: 3600e9, Future: 60e9},
				Info: claims("9,11,40,45,67,70,77", `"created_at_lower_limit":3600,"created_at_upper_limit":60`),
			},
			"created_at_lower_limit refused beyond it kept, created_at_upper_limit refused beyond it kept, " +
				"NIP-9 kept, NIP-11 kept, NIP-40 refused kept, NIP-45 kept, NIP-67 eose-more kept, NIP-70 refused kept, NIP-77 kept",
		},
		{
			"NIPs broken",
			simnet.Behaviour{
				Count: simnet.CountClosed,
				Info:  claims("9,40,42,45,50,67,70,77", `"created_at_lower_limit":3600,"created_at_upper_limit":60`),
			},
			"created_at_lower_limit taken beyond it broken, created_at_upper_limit taken beyond it broken, " +
				"NIP-9 still served broken, NIP-40 served after its time broken, NIP-45 closed broken, " +
				"NIP-50 finds what nobody wrote broken, NIP-67 no hint broken, NIP-70 taken from anybody broken, NIP-77 notice broken, NIP-42 no challenge untested",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			network := simnet.New(42)
			t.Cleanup(network.Close)
			r, err := network.AddRelay(test.behaviour)
			if err != nil {
				t.Fatal(err)
			}
			r.Add(notes...)
			have := run(t, writer(), r)
			var list []string
			for _, c := range readDocument[probe.Claims](t, have["nips"]).Claims {
				list = append(list, strings.Join(strings.Fields(c.Name+" "+c.Measured+" "+string(c.Verdict)), " "))
			}
			if text := strings.Join(list, ", "); text != test.want {
				t.Errorf("have %s\nwant %s", text, test.want)
			}
			if n := r.Stats().Connections; n > 3 {
				t.Errorf("%d connections in one check", n)
			}
		})
	}
}

// TestRetention looks for the oldest event of each group of kinds.
func TestRetention(t *testing.T) {
	const oldest, day = 1_650_000_000, 86400
	network := simnet.New(43)
	t.Cleanup(network.Close)
	r, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	r.Add(simnet.Generate(simnet.Plan{Seed: 5, Count: 300, Since: oldest, Until: 1_700_000_000, Kinds: []nostr.Kind{1}})...)
	r.Add(simnet.Generate(simnet.Plan{Seed: 6, Count: 50, Since: oldest + 400*day, Until: 1_700_000_000, Kinds: []nostr.Kind{7}})...)
	have := run(t, probe.Kit{Dialer: dialer()}, r)["retention"].Values
	if at := have["oldest_notes"]; at < oldest || at > oldest+31*day {
		t.Errorf("oldest note is of %v, want about %d", at, oldest)
	}
	if at := have["oldest_reactions"]; at < oldest+400*day || at > oldest+431*day {
		t.Errorf("oldest reaction is of %v, want about %d", at, oldest+400*day)
	}
	if len(have) != 2 {
		t.Errorf("groups that are not held: %v", have)
	}
	if n := r.Stats().Requests; n > 60 {
		t.Errorf("%d requests", n)
	}
}
