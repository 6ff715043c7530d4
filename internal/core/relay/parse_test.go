package relay

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rows reads the lines of a table in testdata, cut at tabs. Lines that begin
// with "# " are comments. A field in double quotes is a Go string.
func rows(t *testing.T, name string, fields int) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var table [][]string
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		row := strings.Split(line, "\t")
		if len(row) != fields {
			t.Fatalf("%s:%d: %d fields, want %d", name, i+1, len(row), fields)
		}
		for j, field := range row {
			if len(field) < 2 || field[0] != '"' {
				continue
			}
			if row[j], err = strconv.Unquote(field); err != nil {
				t.Fatalf("%s:%d: %q: %v", name, i+1, field, err)
			}
		}
		table = append(table, row)
	}
	if len(table) == 0 {
		t.Fatalf("%s: no rows", name)
	}
	return table
}

func checkAccepted(t *testing.T, r Rules, text, canonical, network string) {
	t.Helper()
	u, err := r.Parse(text)
	if err != nil {
		t.Errorf("%+v.Parse(%q) = %v, want %q", r, text, err, canonical)
		return
	}
	if u.String() != canonical || string(u.Network()) != network {
		t.Errorf("%+v.Parse(%q) = %q on %s, want %q on %s", r, text, u, u.Network(), canonical, network)
	}
}

func checkRefused(t *testing.T, r Rules, text, cause string) {
	t.Helper()
	u, err := r.Parse(text)
	var refused *Error
	if !errors.As(err, &refused) {
		t.Errorf("%+v.Parse(%q) = %q, %v, want cause %s", r, text, u, err, cause)
		return
	}
	if string(refused.Cause) != cause {
		t.Errorf("%+v.Parse(%q): cause %s, want %s", r, text, refused.Cause, cause)
	}
	if !u.IsZero() {
		t.Errorf("%+v.Parse(%q) = %q with an error", r, text, u)
	}
}

func TestParseValid(t *testing.T) {
	for _, row := range rows(t, "urls_valid.txt", 3) {
		checkAccepted(t, Rules{}, row[0], row[1], row[2])
		checkAccepted(t, Rules{AllowLocal: true}, row[0], row[1], row[2])
	}
}

func TestParseInvalid(t *testing.T) {
	for _, row := range rows(t, "urls_invalid.txt", 2) {
		checkRefused(t, Rules{}, row[0], row[1])
		checkRefused(t, Rules{AllowLocal: true}, row[0], row[1])
	}
}

func TestParseLocal(t *testing.T) {
	for _, row := range rows(t, "urls_local.txt", 3) {
		checkRefused(t, Rules{}, row[0], row[2])
		checkAccepted(t, Rules{AllowLocal: true}, row[0], row[1], string(Clearnet))
	}
}

// TestParseCases decides every case known of the original: the last two columns
// are its canonical form and, where ours differs, why.
func TestParseCases(t *testing.T) {
	for _, row := range rows(t, "url_cases.tsv", 6) {
		text, cause, canonical, network, theirs, reason := row[0], row[1], row[2], row[3], row[4], row[5]
		if cause == "ok" {
			checkAccepted(t, Rules{}, text, canonical, network)
		} else {
			checkRefused(t, Rules{}, text, cause)
		}
		if (canonical != theirs) != (reason != "") {
			t.Errorf("%q: reason %q, though ours is %q and theirs %q", text, reason, canonical, theirs)
		}
	}
}

func TestParseLength(t *testing.T) {
	const root = "wss://relay.example.com/"
	fill := strings.Repeat("a", MaxLen-len(root))
	checkAccepted(t, Rules{}, root+fill, root+fill, "clearnet")
	checkRefused(t, Rules{}, root+fill+"a", "too_long")
	checkAccepted(t, Rules{}, root+"?"+strings.Repeat("q", 2*MaxLen), strings.TrimSuffix(root, "/"), "clearnet")
	checkRefused(t, Rules{}, root+"?"+strings.Repeat("q", maxInput), "too_long")
	checkRefused(t, Rules{}, root+strings.Repeat("é", MaxLen/6), "too_long")
	checkRefused(t, Rules{}, "wss://"+strings.Repeat("ü", maxUnicodeName)+".com", "host")
	label := strings.Repeat("a", 63) + "."
	checkAccepted(t, Rules{}, "wss://"+strings.Repeat(label, 3)+strings.Repeat("b", 57)+".com",
		"wss://"+strings.Repeat(label, 3)+strings.Repeat("b", 57)+".com", "clearnet")
	checkRefused(t, Rules{}, "wss://"+strings.Repeat(label, 3)+strings.Repeat("b", 58)+".com", "host")
}

// TestParseAllocations holds the promise that most texts are refused without
// allocation, and that a URL costs its own text and no more than one besides
// (the public suffix list makes an error inside).
func TestParseAllocations(t *testing.T) {
	for text, want := range map[string]float64{
		"": 0,
		"3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d": 0,
		"https://example.com/picture.png":                                  0,
		"wss://relay.damus.io":                                             2,
		" wss://relay.damus.io/a/%2e%2e/b?query ":                          2,
	} {
		if got := testing.AllocsPerRun(100, func() { _, _ = Parse(text) }); got > want {
			t.Errorf("Parse(%q): %v allocations, want %v", text, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := Parse("wss://relay.local")
	if got, want := err.Error(), `relay url "wss://relay.local": reserved or local name (special_use)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err = Parse("relay.damus.io")
	if got, want := err.Error(), `relay url: does not begin with ws:// or wss:// (scheme)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err = Parse("wss://relay.local/" + strings.Repeat("é", 100))
	var refused *Error
	if !errors.As(err, &refused) || len(refused.Text) > 100 || !strings.HasSuffix(refused.Text, "é") {
		t.Errorf("long text: %v", err)
	}
}

func TestAccessors(t *testing.T) {
	for _, c := range []struct {
		text, host, hostname, port, path string
		secure                           bool
	}{
		{"wss://relay.damus.io", "relay.damus.io:443", "relay.damus.io", "443", "", true},
		{"ws://relay.damus.io", "relay.damus.io:80", "relay.damus.io", "80", "", false},
		{"wss://relay.damus.io:80/a/b", "relay.damus.io:80", "relay.damus.io", "80", "/a/b", true},
		{"wss://relay.damus.io/a:1", "relay.damus.io:443", "relay.damus.io", "443", "/a:1", true},
		{"wss://1.1.1.1:4848", "1.1.1.1:4848", "1.1.1.1", "4848", "", true},
		{"wss://[2606:4700::1111]/x", "[2606:4700::1111]:443", "2606:4700::1111", "443", "/x", true},
		{"ws://[2606:4700::1111]:8080", "[2606:4700::1111]:8080", "2606:4700::1111", "8080", "", false},
	} {
		u, err := Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if u.Host() != c.host || u.Hostname() != c.hostname || u.Port() != c.port || u.Path() != c.path || u.Secure() != c.secure {
			t.Errorf("%s: host %q, hostname %q, port %q, path %q, secure %v", u, u.Host(), u.Hostname(), u.Port(), u.Path(), u.Secure())
		}
	}
	var zero URL
	if zero.Host() != "" || zero.Hostname() != "" || zero.Port() != "" || zero.Path() != "" || zero.Secure() || !zero.IsZero() {
		t.Errorf("zero URL: %q %q %q %q", zero.Host(), zero.Hostname(), zero.Port(), zero.Path())
	}
}

func TestText(t *testing.T) {
	want, err := Parse("WSS://Relay.Damus.io/")
	if err != nil {
		t.Fatal(err)
	}
	text, err := want.MarshalText()
	if err != nil || string(text) != "wss://relay.damus.io" {
		t.Fatalf("MarshalText = %q, %v", text, err)
	}
	got := URL{}
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Errorf("UnmarshalText(%q) = %q, %v", text, got, err)
	}
	if err := got.UnmarshalText([]byte("wss://localhost")); err == nil || got != want {
		t.Errorf("UnmarshalText of a local URL: %q, %v", got, err)
	}
	if err := got.UnmarshalText(nil); err != nil || !got.IsZero() {
		t.Errorf("UnmarshalText of nothing: %q, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"urls_valid.txt", "urls_invalid.txt", "urls_local.txt", "url_cases.tsv"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			field, _, _ := strings.Cut(line, "\t")
			if s, err := strconv.Unquote(field); err == nil {
				field = s
			}
			f.Add(field, false)
			f.Add(field, true)
		}
	}
	f.Fuzz(func(t *testing.T, text string, local bool) {
		r := Rules{AllowLocal: local}
		u, err := r.Parse(text)
		if err != nil {
			var refused *Error
			if !errors.As(err, &refused) || explanations[refused.Cause] == "" || len(refused.Text) > 100 {
				t.Fatalf("Parse(%q): error %#v", text, err)
			}
			return
		}
		if again, err := r.Parse(u.String()); err != nil || again != u {
			t.Fatalf("Parse(%q) = %q, parsed again %q, %v", text, u, again, err)
		}
		if len(u.String()) > MaxLen || u.Network() != Clearnet && u.Secure() {
			t.Fatalf("Parse(%q) = %q on %s", text, u, u.Network())
		}
		for i := range len(u.String()) {
			if c := u.String()[i]; c <= ' ' || c >= 0x7f {
				t.Fatalf("Parse(%q) = %q", text, u)
			}
		}
		scheme := "ws://"
		if u.Secure() {
			scheme = "wss://"
		}
		if again, err := r.Parse(scheme + u.Host() + u.Path()); err != nil || again != u {
			t.Fatalf("Parse(%q) = %q, rebuilt of its parts %q, %v", text, u, again, err)
		}
		if !local {
			if again, err := (Rules{AllowLocal: true}).Parse(text); err != nil || again != u {
				t.Fatalf("Parse(%q) = %q, with AllowLocal %q, %v", text, u, again, err)
			}
		}
		if list := r.ParseList(u.String() + "\n" + u.String()); trimTail(u.String()) == u.String() && len(list) != 1 {
			t.Fatalf("ParseList of %q twice = %v", u, list)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"canonical", "wss://relay.damus.io"},
		{"onion", "ws://oxtrdevav64z64yb7x6rjg4ntzqjhedm5b5zjqulugknhzr46ny2qbad.onion"},
		{"idna", "wss://münchen.de"},
		{"path", "WSS://lnbits.example.com:443/nostrclient/api/../%76%31/relay/?x=1"},
		{"refused_hex", "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"},
		{"refused_local", "wss://umbrel.local:4848"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Parse(c.text)
			}
		})
	}
}
