package synchronizer_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

// TestLogin reads relays that want to know who reads (NIP-42).
func TestLogin(t *testing.T) {
	t.Parallel()
	wall := simnet.Behaviour{Cap: 100, Auth: true}
	with := func(change func(*simnet.Behaviour)) simnet.Behaviour {
		b := wall
		change(&b)
		return b
	}
	private := []nostr.Kind{4, 1059}
	wraps := simnet.Generate(simnet.Plan{Seed: 3, Count: 300, Since: past - 30*86400, Until: past - 30*86400 + 3600, Kinds: private})
	for _, tt := range []struct {
		name   string
		be     simnet.Behaviour
		mode   synchronizer.AuthMode
		result store.AuthResult
		cause  dial.Cause
		hole   store.HoleReason
	}{
		{"a key of the moment", wall, synchronizer.AuthEphemeral, store.AuthAccepted, "", ""},
		{"nobody", wall, synchronizer.AuthNone, store.AuthNone, dial.CauseReadAuth, store.HoleAuth},
		{"refused", with(func(b *simnet.Behaviour) { b.Admits = simnet.AdmitNone }), synchronizer.AuthEphemeral, store.AuthRefused, dial.CauseReadAuth, store.HoleAuth},
		{"not a member", with(func(b *simnet.Behaviour) { b.Admits = simnet.AdmitMembers }), synchronizer.AuthEphemeral, store.AuthRefused, dial.CauseReadRestricted, store.HolePolicy},
		// The private kinds are served to us, with what is ours, and are dropped
		// from other pages after the limit was counted.
		{"each sees his own", with(func(b *simnet.Behaviour) { b.Restricted, b.PostFilter, b.Parties = private, true, true }), synchronizer.AuthEphemeral, store.AuthAccepted, "", store.HoleAuth},
		{"only the private kinds are walled", simnet.Behaviour{Cap: 100, Restricted: private, PostFilter: true, Parties: true}, synchronizer.AuthEphemeral, store.AuthAccepted, "", store.HoleAuth},
		{"hints", simnet.Behaviour{Cap: 100, Restricted: private, PostFilter: true, Parties: true, Hints: true}, synchronizer.AuthEphemeral, store.AuthAccepted, "", store.HoleAuth},
		{"by ids", with(func(b *simnet.Behaviour) { b.Negentropy = honest }), synchronizer.AuthEphemeral, store.AuthAccepted, "", ""},
		// Then several are under way at once on a connection that is new.
		{"by ids, and connections are lost", with(func(b *simnet.Behaviour) {
			b.Negentropy, b.Latency = honest, 20*time.Millisecond
			b.Faults = []simnet.Fault{{What: simnet.Reset, When: simnet.When{Every: 5}}}
		}), synchronizer.AuthEphemeral, store.AuthAccepted, "", ""},
	} {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			w := newWorld(t, tt.be, many(1, 500), wraps)
			cfg := testConfig()
			cfg.Auth = tt.mode
			w.svc = synchronizer.New(cfg, w.db, w.dialer(), "test", nil, slog.New(slog.DiscardHandler))
			r := w.sync()
			got := w.account()
			if len(got.FalseClaims) > 0 {
				t.Errorf("%d false claims", len(got.FalseClaims))
			}
			if tt.cause == "" && got.Archived != got.Visible {
				t.Errorf("%d of %d archived", got.Archived, got.Visible)
			}
			if r.Auth != tt.result || r.Cause != tt.cause {
				t.Errorf("authentication %q, want %q; ended by %q, want %q", r.Auth, tt.result, r.Cause, tt.cause)
			}
			if c := w.calibration(); c.Auth != tt.result {
				t.Errorf("noted %q, want %q", c.Auth, tt.result)
			}
			reason := store.HoleReason("")
			if len(r.Holes) > 0 {
				reason = r.Holes[0].Reason
			}
			if reason != tt.hole {
				t.Errorf("holes %+v, want them of reason %q", r.Holes, tt.hole)
			}
		}))
	}
}

// TestLoginKey shows the key of the configuration to a relay, and to nobody else.
func TestLoginKey(t *testing.T) { synchronizer.Bubble(testLoginKey)(t) }

func testLoginKey(t *testing.T) {
	const secret = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
	dir := t.TempDir()
	file, key := filepath.Join(dir, "test.yaml"), filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(text string) (synchronizer.Config, error) {
		cfg := synchronizer.DefaultConfig()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(&cfg, config.Sources{File: file, Env: []string{"BAD=nsec1bad"}})
		return cfg, err
	}
	for text, want := range map[string]string{
		"auth: key":                         "auth: is key, and there is none",
		"auth: some":                        "choose one of none, ephemeral, key",
		"{ auth: key, key: env:BAD }":       "key: is not a secret key",
		"{ auth: key, key: " + secret + "}": "key: must not stand here in plain text",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "nsec1v") {
			t.Errorf("%q: %v", text, err)
		}
	}
	cfg, err := load("{ auth: key, key: 'file:" + key + "' }")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, simnet.Behaviour{Auth: true}, many(1, 50))
	var said bytes.Buffer
	w.svc = synchronizer.New(cfg, w.db, w.dialer(), "test", nil, slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if r := w.sync(); r.Auth != store.AuthAccepted || r.New != 50 {
		t.Errorf("%q, %d new", r.Auth, r.New)
	}
	want, err := nip19.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	if known := w.relay.Clients(); len(known) != 1 || known[0] != want.PubKey() {
		t.Errorf("the relay knows %v, want %s", known, want.PubKey())
	}
	if strings.Contains(said.String(), "nsec") || strings.Contains(said.String(), "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa") {
		t.Error("the key is in the log")
	}
}
