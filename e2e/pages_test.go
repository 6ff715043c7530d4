package e2e_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/overview.png, the picture of the README")

// browser is a Chromium without a screen and with a profile of its own. Only
// loopback is resolved, so that nothing is fetched from elsewhere.
type browser struct {
	t    *testing.T
	path string
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("no browser: %v", err)
	}
	return browser{t, path}
}

// run returns what Chromium prints and its log.
func (b browser) run(args ...string) (stdout, stderr string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	profile := b.t.TempDir()
	cmd := exec.CommandContext(ctx, b.path, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
		"--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--user-data-dir=" + profile,
	}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+profile)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("chromium: %v\n%s", err, tail(errs.String()))
	}
	return out.String(), errs.String()
}

// console are the lines of Chromium's log that a page caused.
var console = regexp.MustCompile(`(?m)^.*(CONSOLE|Content Security Policy|Refused to).*$`)

// TestPages looks at the overview of the demo in a real browser.
func TestPages(t *testing.T) {
	b := newBrowser(t)
	p := start(t, nil, "demo", "--listen", "127.0.0.1:0")
	address := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/`)
	p.await("its address", func() bool { return address.MatchString(p.stdout.String()) })
	page := address.FindString(p.stdout.String())
	p.await("the demo to be complete", func() bool { return strings.Contains(p.stdout.String(), "visible events") })
	// The sums behind the cards follow the archive by a cycle.
	p.await("the sums", func() bool {
		_, _, body := get(t, page)
		return strings.Contains(body, `class="state up"`) && strings.Contains(body, `<svg class="chart"`)
	})

	dom, errs := b.run("--dump-dom", page)
	if trouble := console.FindAllString(errs, -1); len(trouble) > 0 {
		t.Errorf("the page makes the browser complain: %q", trouble)
	}
	if rows := strings.Count(dom, `<td class="url">`); rows < 10 {
		t.Errorf("%d relays in the table", rows)
	}
	for _, want := range []string{`class="state up"`, `class="coverage"`, `class="level`, "Events per day", "Proof of completeness", "BigBrotr"} {
		if !strings.Contains(dom, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	// Nothing on the page is done by scripts, and none could run.
	if _, header, _ := get(t, page); !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") || strings.Contains(header.Get("Content-Security-Policy"), "script-src") {
		t.Errorf("the policy allows scripts: %q", header.Get("Content-Security-Policy"))
	}
	for _, unwanted := range []string{"<script", "NaN", "%!", "http://fonts", "https://cdn"} {
		if strings.Contains(dom, unwanted) {
			t.Errorf("%q is on the page", unwanted)
		}
	}

	dir := t.ArtifactDir()
	for _, shot := range []struct {
		name          string
		width, height int
		args          []string
	}{
		{"light", 1280, 900, nil},
		{"dark", 1280, 900, []string{"--blink-settings=preferredColorScheme=0"}},
		{"narrow", 500, 900, nil}, // no narrower than Chromium's windows are
	} {
		file := filepath.Join(dir, shot.name+".png")
		b.run(append(shot.args, "--screenshot="+file, fmt.Sprintf("--window-size=%d,%d", shot.width, shot.height), page)...)
		picture, err := png.Decode(bytes.NewReader(read(t, file)))
		if err != nil {
			t.Fatalf("%s: %v", shot.name, err)
		}
		if width := picture.Bounds().Dx(); width != shot.width {
			t.Errorf("%s is %d pixels wide, want %d", shot.name, width, shot.width)
		}
		if ink := drawn(picture); ink < 0.02 || ink > 0.9 {
			t.Errorf("%s: %.3f of the picture is drawn on", shot.name, ink)
		}
		t.Logf("%s: %s", shot.name, file)
	}
	if *update {
		const picture = "../docs/overview.png"
		b.run("--screenshot="+mustAbs(t, picture), "--window-size=1280,1280", page)
		if n := len(read(t, picture)); n > 300<<10 {
			t.Errorf("the picture has %d bytes", n)
		}
	}
	if code, took := p.stop(os.Interrupt); code != 0 || took > 12*time.Second {
		t.Errorf("SIGINT: exit %d after %s", code, took)
	}
}

// drawn is the share of a picture that has not the colour of the page.
func drawn(picture image.Image) float64 {
	box := picture.Bounds()
	page := picture.At(box.Min.X+2, box.Max.Y-2)
	n := 0
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			if picture.At(x, y) != page {
				n++
			}
		}
	}
	return float64(n) / float64(box.Dx()*box.Dy())
}

func mustAbs(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
