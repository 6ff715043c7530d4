package initializer_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/initializer"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newStore returns a store without a schema.
func newStore(t *testing.T) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// seeds writes a seed file.
func seeds(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seeds.txt")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// cycle runs one cycle and returns what it logged.
func cycle(t *testing.T, db *sqlite.DB, file string, rules relay.Rules) (string, error) {
	t.Helper()
	var log bytes.Buffer
	err := initializer.New(initializer.Config{Seeds: file}, db, rules, slog.New(slog.NewTextHandler(&log, nil))).Cycle(t.Context())
	return log.String(), err
}

// candidates returns the URLs that wait for the validator.
func candidates(t *testing.T, db *sqlite.DB) []string {
	t.Helper()
	now := time.Now().Unix()
	due, err := db.DueCandidates(t.Context(), store.Due{Service: "test", Now: now, Limit: 10_000, Owner: "test", Until: now})
	must(t, err)
	var urls []string
	for _, c := range due {
		if c.Class != hints.Seed {
			t.Errorf("%s is a candidate of class %s", c.URL, c.Class)
		}
		urls = append(urls, c.URL.String())
	}
	slices.Sort(urls)
	return urls
}

// TestBuiltin checks that the built-in list makes an empty store ready, every
// line of it, and only once.
func TestBuiltin(t *testing.T) {
	db := newStore(t)
	log, err := cycle(t, db, "", relay.Rules{})
	must(t, err)
	if strings.Contains(log, "migrations=0 ") {
		t.Errorf("an empty store got no schema: %s", log)
	}
	if want := "seeds_added=2998 seed_lines_refused=0"; !strings.Contains(log, want) {
		t.Errorf("the log lacks %q: %s", want, log)
	}
	must(t, db.VerifySchema(t.Context()))
	if n := len(candidates(t, db)); n != 2998 {
		t.Errorf("%d candidates", n)
	}
	log, err = cycle(t, db, "", relay.Rules{})
	must(t, err)
	if want := "migrations=0 seeds_added=0 seed_lines_refused=0"; !strings.Contains(log, want) {
		t.Errorf("the second time the log lacks %q: %s", want, log)
	}
}

// TestFile checks how a seed file is read.
func TestFile(t *testing.T) {
	long := "# " + strings.Repeat("x", 1<<20) + "\n"
	for _, test := range []struct {
		name, text string
		local      bool
		want       []string
		refused    string
	}{
		{"empty", "", false, nil, "0"},
		{"comments and blank lines", "# wss://no.nostr.org\n\n  \t\n #wss://no.nostr.org\nwss://a.nostr.org\n", false, []string{"wss://a.nostr.org"}, "0"},
		{"the same relay twice", "wss://a.nostr.org\nWSS://A.nostr.org:443/\n", false, []string{"wss://a.nostr.org"}, "0"},
		{"several on a line", "wss://a.nostr.org, wss://b.nostr.org wss://c.nostr.org\n", false, []string{"wss://a.nostr.org", "wss://b.nostr.org", "wss://c.nostr.org"}, "0"},
		{"columns", "wss://a.nostr.org\t15\t1\n", false, []string{"wss://a.nostr.org"}, "0"},
		{"line ends of DOS, none at the end", "wss://a.nostr.org\r\nwss://b.nostr.org", false, []string{"wss://a.nostr.org", "wss://b.nostr.org"}, "0"},
		{"refused lines", "no relay\nhttps://a.nostr.org\nwss://a.nostr.org\nwss://\n\x00\xff\n", false, []string{"wss://a.nostr.org"}, "4"},
		{"local", "ws://127.0.0.1:7777\n", false, nil, "1"},
		{"local, permitted", "ws://127.0.0.1:7777\n", true, []string{"ws://127.0.0.1:7777"}, "0"},
		{"a long line", long + "wss://a.nostr.org\n", false, []string{"wss://a.nostr.org"}, "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := newStore(t)
			log, err := cycle(t, db, seeds(t, test.text), relay.Rules{AllowLocal: test.local})
			must(t, err)
			if have := candidates(t, db); !slices.Equal(have, test.want) {
				t.Errorf("candidates are %q, want %q", have, test.want)
			}
			if want := "seed_lines_refused=" + test.refused + "\n"; !strings.HasSuffix(log, want) {
				t.Errorf("the log is %s, want %s", log, want)
			}
		})
	}
}

// TestChangedFile checks that a list is read again when it changed, and what is
// a relay already is no candidate again.
func TestChangedFile(t *testing.T) {
	db := newStore(t)
	file := seeds(t, "wss://a.nostr.org\nwss://b.nostr.org\n")
	_, err := cycle(t, db, file, relay.Rules{})
	must(t, err)
	url, err := relay.Parse("wss://a.nostr.org")
	must(t, err)
	_, err = db.AddRelays(t.Context(), []relay.URL{url}, 1)
	must(t, err)
	must(t, os.WriteFile(file, []byte("wss://a.nostr.org\nwss://b.nostr.org\nwss://c.nostr.org\n"), 0o600))
	log, err := cycle(t, db, file, relay.Rules{})
	must(t, err)
	if want := "seeds_added=1"; !strings.Contains(log, want) {
		t.Errorf("the log lacks %q: %s", want, log)
	}
	if have, want := candidates(t, db), []string{"wss://b.nostr.org", "wss://c.nostr.org"}; !slices.Equal(have, want) {
		t.Errorf("candidates are %q, want %q", have, want)
	}
}

// TestBadFile checks that a file that cannot be read is an error of the
// configuration, and that a cycle stops at it without changing the candidates.
func TestBadFile(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	must(t, os.WriteFile(large, nil, 0o600))
	must(t, os.Truncate(large, 16<<20+1))
	pipe := filepath.Join(dir, "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	secret := filepath.Join(dir, "secret")
	must(t, os.WriteFile(secret, nil, 0))
	for _, test := range []struct {
		file, want string
	}{
		{filepath.Join(dir, "absent"), "no such file"},
		{dir, "not a regular file"},
		{pipe, "not a regular file"},
		{large, "larger than 16 MiB"},
		{secret, "permission denied"},
	} {
		if _, err := os.ReadFile(secret); test.file == secret && !errors.Is(err, fs.ErrPermission) {
			continue // whoever may read everything
		}
		cfg := initializer.Config{Seeds: test.file}
		_, err := config.Load(&cfg, config.Sources{})
		for _, want := range []string{"seeds", test.want, "name a readable file"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the problem is %v, want %q in it", test.file, err, want)
			}
		}
		db := newStore(t)
		_, err = cycle(t, db, test.file, relay.Rules{})
		for _, want := range []string{test.file, test.want} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error is %v, want %q in it", test.file, err, want)
			}
		}
		if have := candidates(t, db); len(have) > 0 {
			t.Errorf("%s: candidates are %q", test.file, have)
		}
	}
	cfg := initializer.DefaultConfig()
	_, err := config.Load(&cfg, config.Sources{})
	must(t, err)
}

// TestOptOut makes the bans of the configuration those of the store, and leaves
// others alone.
func TestOptOut(t *testing.T) {
	db := newStore(t)
	run := func(optOut ...string) {
		t.Helper()
		cfg := initializer.Config{Seeds: seeds(t, "wss://a.nostr.org wss://b.nostr.org/x wss://c.nostr.org"), OptOut: optOut}
		must(t, initializer.New(cfg, db, relay.Rules{}, slog.New(slog.DiscardHandler)).Cycle(t.Context()))
	}
	bans := func() map[string]string {
		t.Helper()
		list := map[string]string{}
		for b, err := range db.ScanBans(t.Context()) {
			must(t, err)
			list[b.Target] = b.Reason
		}
		return list
	}
	check := func(when string, want map[string]string, left ...string) {
		t.Helper()
		if have := bans(); !maps.Equal(have, want) {
			t.Errorf("%s: bans %v, want %v", when, have, want)
		}
		if have := candidates(t, db); !slices.Equal(have, left) {
			t.Errorf("%s: candidates %v, want %v", when, have, left)
		}
	}
	run("wss://A.nostr.org/", "b.nostr.org")
	check("two opted out", map[string]string{"wss://a.nostr.org": store.OptedOutConfig, "b.nostr.org": store.OptedOutConfig}, "wss://c.nostr.org")
	must(t, db.Ban(t.Context(), []store.Ban{{Target: "wss://a.nostr.org", Reason: "spam"}, {Target: "d.nostr.org", Reason: store.OptedOutRobots}}))
	run("wss://a.nostr.org", "wss://c.nostr.org")
	check("others", map[string]string{"wss://a.nostr.org": "spam", "wss://c.nostr.org": store.OptedOutConfig, "d.nostr.org": store.OptedOutRobots},
		"wss://b.nostr.org/x")
	run()
	check("none", map[string]string{"wss://a.nostr.org": "spam", "d.nostr.org": store.OptedOutRobots}, "wss://b.nostr.org/x", "wss://c.nostr.org")
}

// TestMonitorsAmongSeeds checks that reports of other monitors are found by a new
// archive: relays that carry them are seeds.
func TestMonitorsAmongSeeds(t *testing.T) {
	db := newStore(t)
	_, err := cycle(t, db, "", relay.Rules{})
	must(t, err)
	have := candidates(t, db)
	for _, url := range []string{"wss://relay.nostr.watch", "wss://history.nostr.watch", "wss://relaypag.es", "wss://monitorlizard.nostr1.com"} {
		if !slices.Contains(have, url) {
			t.Errorf("%s is no seed", url)
		}
	}
}
