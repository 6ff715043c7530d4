package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/relay"
)

var update = flag.Bool("update", false, "write the pictures of docs/")

// browser is Debian's Chromium, driven by e2e/browser/look.js.
type browser struct {
	t                 *testing.T
	chromium, modules string
}

// newBrowser finds the browser, and installs what drives it once.
func newBrowser(t *testing.T) browser {
	t.Helper()
	absent := func(what string, err error) {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s: %v", what, err)
		}
		t.Skipf("%s: %v", what, err)
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		absent("no browser", err)
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			absent("nothing to drive the browser with", err)
		}
	}
	modules, err := install(t.Context())
	if err != nil {
		absent("what drives the browser cannot be installed; this needs the internet once", err)
	}
	return browser{t, chromium, modules}
}

// install puts what the lock file names into the cache of the tree, once for
// each state of that file.
func install(ctx context.Context) (modules string, err error) {
	const source, cache = "browser", "../.cache/browser"
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	folder, err := filepath.Abs(filepath.Join(cache, hex.EncodeToString(sum[:6])))
	if err != nil {
		return "", err
	}
	modules = filepath.Join(folder, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// Whole or not at all, whoever else does the same.
	temp, err := os.MkdirTemp(cache, "install-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(temp, name), text, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir = temp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: "npm ci", Err: errors.New(tail(string(out)))}
	}
	if err := os.Rename(temp, folder); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return modules, nil
}

// sight is what look.js is asked for; see there.
type sight struct {
	Base     string         `json:"base"`
	Pages    []string       `json:"pages"`
	Status   map[string]int `json:"status,omitempty"`
	Shots    string         `json:"shots,omitempty"`
	Use      bool           `json:"use"`
	Chromium string         `json:"chromium"`
	Pictures []picture      `json:"pictures,omitempty"`
}

// picture is one of docs/.
type picture struct {
	Page        string `json:"page"`
	File        string `json:"file"`
	Width       int    `json:"width"`
	Height      int    `json:"height"`
	ColorScheme string `json:"colorScheme"`
}

// look looks at pages and tells what is wrong with them.
func (b browser) look(s sight) {
	b.t.Helper()
	s.Chromium = b.chromium
	task, err := json.Marshal(s)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser/look.js", string(task))
	cmd.Env = append(os.Environ(), "NODE_PATH="+b.modules, "HOME="+b.t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("look.js: %v\n%s", err, tail(stderr.String()))
	}
	var seen struct {
		Problems []string
		Looked   int
		Links    int
	}
	if err := json.Unmarshal(stdout.Bytes(), &seen); err != nil {
		b.t.Fatalf("look.js prints %q: %v", stdout.String(), err)
	}
	for _, problem := range seen.Problems {
		b.t.Error(problem)
	}
	b.t.Logf("looked %d times at %d pages and followed %d links in %v", seen.Looked, len(s.Pages), seen.Links, time.Since(begin).Round(time.Second))
	if want := len(s.Pages) * 2 * 3 * 2; seen.Looked != want {
		b.t.Errorf("looked %d times, want %d: with and without scripts, at three widths, dark and light", seen.Looked, want)
	}
}

// TestPages looks at every page of the demo in a real browser: at three widths,
// dark and light, with and without scripts.
func TestPages(t *testing.T) {
	b := newBrowser(t)
	p := start(t, nil, "demo", "--listen", "127.0.0.1:0")
	address := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/`)
	p.await("its address", func() bool { return address.MatchString(p.stdout.String()) })
	base := strings.TrimSuffix(address.FindString(p.stdout.String()), "/")
	p.await("the demo to be complete", func() bool { return strings.Contains(p.stdout.String(), "visible events") })
	// The sums behind the figures follow the archive by a cycle.
	p.await("the sums", func() bool {
		_, _, body := get(t, base+"/")
		return strings.Contains(body, "<td>reaction</td>") && !strings.Contains(body, "The archive begins")
	})
	p.await("every level of proof", func() bool {
		var page struct {
			Stats struct{ Coverage []struct{ Level int } }
		}
		ask(t, base+"/overview.json", &page)
		return len(page.Stats.Coverage) == 4
	})

	var list struct{ Relays []struct{ URL string } }
	ask(t, base+"/relays.json", &list)
	if len(list.Relays) < 10 {
		t.Fatalf("%d relays in the list", len(list.Relays))
	}
	var events struct {
		Events []struct{ ID, PubKey string }
	}
	ask(t, base+"/api/v1/events?kinds=10002&limit=1", &events)
	relay := func(i int) string { return url.PathEscape(strings.TrimPrefix(list.Relays[i].URL, "wss://")) }
	b.look(sight{
		Base: base, Shots: shots(t), Use: true, Pictures: pictures(t, "/relay/"+relay(2)),
		Pages: []string{
			"/", "/relays", "/relays?uptime=99&nip=77", "/relay/" + relay(0), "/compare", "/compare?r=" + relay(0) + "&r=" + relay(1),
			"/map", "/event/" + events.Events[0].ID, "/author/" + events.Events[0].PubKey, "/completeness", "/system", "/about", "/nothing",
		},
		Status: map[string]int{"/nothing": 404},
	})
	if code, took := p.stop(os.Interrupt); code != 0 || took > 12*time.Second {
		t.Errorf("SIGINT: exit %d after %s", code, took)
	}
}

// TestPagesOfShown looks at the pages of what a demo has not: places and
// certificates, a past with outages, other monitors' reports, real events, and
// texts that want to be more than text.
func TestPagesOfShown(t *testing.T) {
	b := newBrowser(t)
	s := fillShown(t)
	p := start(t, nil, "run", "api", "--store", s.store, "--listen", "127.0.0.1:0", "--json")
	p.await("the address of the pages", func() bool { return strings.Contains(p.stdout.String(), "\n") })
	var said struct{ Pages, Store string }
	decode(t, p.stdout.String(), &said)
	relay := func(u relay.URL) string { return url.PathEscape(strings.TrimPrefix(u.String(), "wss://")) }
	b.look(sight{
		Base: strings.TrimSuffix(said.Pages, "/"), Shots: shots(t),
		Pages: []string{
			"/relays", "/map", "/relay/" + relay(s.relay), "/relay/" + relay(s.unruly), "/compare?r=" + relay(s.relay) + "&r=" + relay(s.unruly),
			"/event/" + s.note.String(), "/author/" + s.author.String(), "/relays?uptime=" + url.QueryEscape(unruly[0]),
		},
		Status: map[string]int{"/relays?uptime=" + url.QueryEscape(unruly[0]): 422},
	})
}

// TestPagesOfNothing looks at the pages of an archive that has just been made:
// they say what comes next.
func TestPagesOfNothing(t *testing.T) {
	b := newBrowser(t)
	store := folder(t)
	if done := run(t, nil, "migrate", "--store", store); done.code != 0 {
		t.Fatalf("migrate: exit %d\n%s", done.code, tail(done.stderr))
	}
	p := start(t, nil, "run", "api", "--store", store, "--listen", "127.0.0.1:0", "--json")
	p.await("the address of the pages", func() bool { return strings.Contains(p.stdout.String(), "\n") })
	var said struct{ Pages, Store string }
	decode(t, p.stdout.String(), &said)
	absent := "/event/" + strings.Repeat("0", 64)
	b.look(sight{
		Base: strings.TrimSuffix(said.Pages, "/"), Shots: shots(t),
		Pages: []string{
			"/", "/relays", "/relays?text=none", "/relay/none.example.org", "/compare?r=none.example.org", "/map", absent,
			"/author/" + strings.Repeat("0", 63) + "1", "/completeness", "/system",
		},
		Status: map[string]int{"/relay/none.example.org": 404, "/compare?r=none.example.org": 404, absent: 404},
	})
}

// shots is where to leave a picture of everything, for people to look at: only
// with -artifacts, for that takes its time.
func shots(t *testing.T) string {
	if f := flag.Lookup("test.artifacts"); f == nil || f.Value.String() != "true" {
		return ""
	}
	return t.ArtifactDir()
}

// pictures are those to be made for docs/, when that was asked for.
func pictures(t *testing.T, relay string) []picture {
	if !*update {
		return nil
	}
	docs, err := filepath.Abs("../docs")
	if err != nil {
		t.Fatal(err)
	}
	return []picture{
		{"/", filepath.Join(docs, "overview.png"), 1280, 900, "light"},
		{relay, filepath.Join(docs, "relay.png"), 1280, 900, "dark"},
	}
}

// ask reads JSON from an address.
func ask(t *testing.T, address string, into any) {
	t.Helper()
	_, _, body := get(t, address)
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("%s: %v in %q", address, err, tail(body))
	}
}
