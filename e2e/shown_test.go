package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
)

// shownPlaces are countries with a city and a number of relays in each.
var shownPlaces = []struct {
	country, city string
	relays        int
}{
	{"US", "Ashburn", 6}, {"DE", "Falkenstein", 4}, {"FI", "Helsinki", 2}, {"JP", "Tokyo", 1}, {"AU", "Sydney", 1}, {"BR", "São Paulo", 1},
}

// unruly are texts that want to be more than text.
var unruly = []string{
	`<script>alert(1)</script>`, `"><img src=https://evil.example.com/x.png onerror=alert(1)>`, `javascript:alert(1)`, "safe\u202egnp.exe\u2066", "a\x00b\x1b[31mc",
	`</title></svg><style>*{display:none}</style>`, `<iframe src=https://evil.example.com>`, strings.Repeat("W", 500), strings.Repeat("<b>", 100_000),
}

// shown is an archive of real events in which relays have what those of a demo
// have not: places, certificates, outages, other monitors' reports, a past, and
// one of them every text that wants to be more than text.
type shown struct {
	store         string // URL
	relay, unruly relay.URL
	note          nostr.ID // of the unruly author
	author        nostr.PubKey
}

// fillShown makes such an archive.
func fillShown(t *testing.T) shown {
	t.Helper()
	s := shown{store: folder(t)}
	file, err := filepath.Abs(realFile)
	if err != nil {
		t.Fatal(err)
	}
	if done := run(t, nil, "import", "--store", s.store, file); done.code != 0 {
		t.Fatalf("import: exit %d\n%s", done.code, tail(done.stderr))
	}
	ctx := t.Context()
	db, err := sqlite.Open(ctx, strings.TrimPrefix(s.store, "sqlite:"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	quote := func(v any) []byte {
		text, err := json.Marshal(v)
		must(err)
		return text
	}
	parse := func(text string) relay.URL {
		u, err := relay.Parse(text)
		must(err)
		return u
	}
	// The reports among the real events are of this one.
	s.relay, s.unruly = parse("wss://relay.damus.io"), parse("wss://unruly.nostr.org/a%22%3E%3Cscript%3E/path/that/is/not/short")
	urls := []relay.URL{s.relay, s.unruly}
	for _, p := range shownPlaces {
		for i := range p.relays {
			urls = append(urls, parse(fmt.Sprintf("wss://%s%d.nostr.org", strings.ToLower(p.country), i)))
		}
	}
	urls = append(urls, parse("ws://duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"))
	now := time.Now().Unix()
	begin := now - 200*store.Day
	relays, err := db.AddRelays(ctx, urls, begin)
	must(err)
	filter, err := db.FilterID(ctx, nostr.Filter{})
	must(err)

	check := func(at int64, probe string, document any) store.Check {
		c := store.Check{At: at, Probe: probe, OK: true}
		if document != nil {
			c.Document = &store.Document{Type: probe, Data: quote(document)}
		}
		return c
	}
	place := func(country, city string, n int) any {
		return map[string]any{"addr": fmt.Sprintf("192.0.2.%d", n), "country": country, "city": city, "asn": 64500 + n%5, "org": fmt.Sprintf("Hosting %d", n%5), "prefix": "192.0.2.0/24", "source": "mmdb", "precision": "city"}
	}
	outcomes := func(r store.RelayID, i int) []store.Outcome {
		var list []store.Outcome
		for at, n := now-30*store.Day, 0; at < now; at, n = at+3*3600, n+1 {
			o := store.Outcome{Relay: r, At: at, State: store.StateUp, LastUp: at, Next: store.Next{Relay: r, Service: "monitor", DueAt: now + 1800}}
			if n%(40+i) > 37 {
				o.State, o.Cause, o.Failures, o.LastUp = store.StateDown, "tcp-timeout", 2, at-3*3600
				o.Checks = []store.Check{{At: at, Probe: "open", Cause: "tcp-timeout"}}
			} else {
				wave := 40 * (1 + math.Sin(float64(n)/9))
				o.Checks = []store.Check{
					{At: at, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 120 + wave}},
					{At: at, Probe: "read", OK: true, Values: map[string]float64{store.ValueRead: 60 + wave/2}},
				}
			}
			list = append(list, o)
		}
		return list
	}
	info := func(version string, most int) any {
		return map[string]any{
			"name": "Damus", "description": "A relay of many notes.", "software": "git+https://github.com/hoytech/strfry.git", "version": version, "contact": "mailto:admin@example.com",
			"supported_nips": []int{1, 2, 4, 9, 11, 22, 28, 40, 70, 77}, "limitation": map[string]any{"max_limit": most, "auth_required": false},
		}
	}
	history := outcomes(relays[0].ID, 0)
	history[0].Checks = append(history[0].Checks, check(history[0].At, "nip11", info("0.9.6", 500)))
	last := &history[len(history)-1]
	last.Checks = append(
		last.Checks,
		check(last.At, "nip11", info("1.0.4", 1000)),
		check(last.At, "geo", place("US", "Ashburn", 1)),
		check(last.At, "tls", map[string]any{"protocol": "TLS 1.3", "key": "ECDSA P-256", "issuer": "CN=E7,O=Let's Encrypt,C=US", "names": []string{"relay.damus.io", "damus.io"}, "not_after": now + 9*store.Day}),
		check(last.At, "nips", map[string]any{"claims": []any{
			map[string]any{"name": "max_limit", "claimed": "1000", "measured": "500", "verdict": "broken"},
			map[string]any{"name": "NIP-45", "claimed": "supported", "measured": "a count", "verdict": "kept"},
			map[string]any{"name": "NIP-42", "claimed": "supported", "measured": "no challenge", "verdict": "untested"},
		}}),
		store.Check{At: last.At, Probe: "write", Cause: "read-auth", Detail: "auth-required: members only"},
	)
	must(db.SaveOutcomes(ctx, history))

	evil := strings.Join(unruly[:len(unruly)-1], " ")
	down := store.Outcome{
		Relay: relays[1].ID, At: now - 600, State: store.StateDown, Cause: "read-restricted", Failures: 3, LastUp: now - 7200,
		Checks: []store.Check{
			{At: now - 600, Probe: "read", Cause: "read-restricted", Detail: evil},
			check(now-600, "nip11", map[string]any{
				"name": evil, "description": evil + unruly[len(unruly)-1], "software": evil, "version": evil, "contact": unruly[2], "posting_policy": unruly[2],
				"icon": unruly[1], "supported_nips": []any{1, unruly[0]}, "limitation": map[string]any{unruly[0]: unruly[1]}, "relay_countries": unruly[:7],
			}),
			check(now-600, "tls", map[string]any{"protocol": evil, "key": evil, "issuer": evil, "names": unruly[:8], "problems": unruly[:3], "not_after": now - store.Day}),
			check(now-600, "geo", map[string]any{"addr": evil, "country": unruly[0], "city": evil, "org": evil, "asn": 64999, "source": evil, "precision": evil}),
			check(now-600, "nips", map[string]any{"claims": []any{map[string]any{"name": evil, "claimed": evil, "measured": evil, "verdict": evil}}}),
		},
	}
	list := []store.Outcome{down}
	n := 2
	for _, p := range shownPlaces {
		for i := range p.relays {
			o := store.Outcome{Relay: relays[n].ID, At: now - int64(60*n), State: store.StateUp, LastUp: now - int64(60*n), Next: store.Next{Relay: relays[n].ID, Service: "monitor", DueAt: now + 1800}}
			o.Checks = []store.Check{
				{At: o.At, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 40 + float64(11*n)}},
				check(o.At, "geo", place(p.country, p.city, n)),
				check(o.At, "nip11", map[string]any{"name": fmt.Sprintf("%s relay %d", p.city, i+1), "software": "https://github.com/example/relay", "version": "1.2.3", "supported_nips": []int{1, 11, 42}}),
			}
			switch n % 5 {
			case 0:
				o.State, o.Cause, o.Failures, o.LastUp = store.StateDown, "tls-expired", 2, o.At-3600
				o.Checks[0] = store.Check{At: o.At, Probe: "open", Cause: o.Cause}
			case 4:
				o.State, o.Cause = store.StateDegraded, "read-auth"
			}
			list, n = append(list, o), n+1
		}
	}
	must(db.SaveOutcomes(ctx, list))

	event := func(author byte, kind nostr.Kind, at int64, content string, tags ...nostr.Tag) nostr.Event {
		e := nostr.Event{PubKey: nostr.PubKey{author, 1}, CreatedAt: at, Kind: kind, Content: content, Tags: append([]nostr.Tag{}, tags...)}
		e.ID = sha256.Sum256(e.AppendCanonical(nil))
		return e
	}
	note := event(1, 1, now-50, evil+unruly[len(unruly)-1], nostr.Tag{evil, evil}, nostr.Tag{}, nostr.Tag{"r", unruly[2]}, nostr.Tag{"t", unruly[0]})
	s.note, s.author = note.ID, note.PubKey
	events := []nostr.Event{
		note, event(1, 10002, now-40, "", nostr.Tag{"r", unruly[2]}, nostr.Tag{"r", "wss://relay.damus.io"}, nostr.Tag{"r", "wss://de0.nostr.org", "write"}, nostr.Tag{"r", evil, evil}),
		event(1, 10002, now-90*store.Day, "", nostr.Tag{"r", "wss://us3.nostr.org"}),
		event(2, 30166, now-3000, "", nostr.Tag{"d", "wss://relay.damus.io/"}, nostr.Tag{"rtt-open", "120"}, nostr.Tag{"rtt-read", "340"}), event(2, 0, now-9000, `{"name":"A monitor in Helsinki"}`),
		event(3, 30166, now-90_000, "", nostr.Tag{"d", "wss://relay.damus.io"}, nostr.Tag{"rtt-open", "2180"}), event(3, 0, now-9000, string(quote(map[string]string{"name": evil}))),
	}
	for i := range 400 {
		events = append(events, event(byte(4+i%50), []nostr.Kind{1, 1, 7, 6, 9735, 5999}[i%6], now-int64(i*i%7_000_000), fmt.Sprint("note ", i)))
	}
	stretch := func(r store.RelayID, from, to int64, level store.Level) store.Coverage {
		return store.Coverage{Relay: r, Filter: filter, Interval: store.Interval{Lo: now - from*store.Day, Hi: now - to*store.Day}, Level: level, AsOf: now - store.Day, Method: "walk"}
	}
	for i, r := range relays[:8] {
		b := store.Batch{Relay: r.ID, SeenAt: now - 30, Filter: filter, Events: events[:len(events)*(8-i)/8]}
		b.Claims = []store.Coverage{stretch(r.ID, 2000, 900, store.Level(1+i%4)), stretch(r.ID, 700, 30, store.Level(1+(i+1)%4)), stretch(r.ID, 29, 0, store.LevelWalked)}
		if i < 3 {
			b.Holes = []store.Hole{
				{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: now - 800*store.Day, Hi: now - 790*store.Day}, Kind: store.AnyKind, Reason: store.HoleOverflow, Count: 1234, NextTry: now + 90_000},
				{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: now - 100*store.Day, Hi: now - 100*store.Day}, Kind: 1, Reason: store.HoleAuth, Count: -1, NextTry: now + 90_000},
			}
		}
		_, err := db.SaveBatch(ctx, b)
		must(err)
	}
	for more := true; more; {
		done, err := db.Refresh(ctx, 5000)
		must(err)
		more = done.More
	}
	must(db.Close())
	return s
}
