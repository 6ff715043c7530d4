// The tests of this folder run the real binary, as a user runs it, against
// simulated relays whose truth is known, and look at what a user sees: output,
// exit codes, pages, and the archive afterwards.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/pgtest"
	"bigbrotr/internal/simnet"
)

// binary is the path of the built program.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "bigbrotr-e2e-")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer os.RemoveAll(folder)
		binary = filepath.Join(folder, "bigbrotr")
		build := exec.Command("go", "build", "-o", binary, "../cmd/bigbrotr")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			log.Printf("build: %v\n%s", err, out)
			return 1
		}
		http.DefaultTransport = unwanted{}
		return pgtest.Main(m)
	}())
}

// unwanted is in the place of the default transport: nothing here may dial but
// to where it says so.
type unwanted struct{}

func (unwanted) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, errors.New("a test dials " + r.URL.Host + " by accident")
}

// patience is when a condition that does not come true fails a test.
const patience = 2 * time.Minute

// impatient is the environment in which a relay that says nothing is given up
// soon and a busy one is asked as fast as it answers.
var impatient = []string{
	"BIGBROTR_SYNCHRONIZER_IDLE=1s",
	"BIGBROTR_SYNCHRONIZER_PER_SECOND=1000",
}

// folder makes a directory with its own data and no configuration, and returns
// the URL of the store in it.
func folder(t testing.TB) (store string) {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "archive.db")
}

// command prepares a run of the program in an environment of its own.
func command(ctx context.Context, t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = home
	cmd.Env = append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + home}, env...)
	return cmd
}

// result is how a run ended.
type result struct {
	code           int
	stdout, stderr string
}

// run runs the program to its end.
func run(t testing.TB, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	return finish(t, command(ctx, t, env, args...))
}

func finish(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, tail(stderr.String()))
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// tail is the end of a long text.
func tail(text string) string {
	const most = 4000
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

// process is a run that goes on while the test looks at it.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout buffer
	stderr buffer
	ended  chan struct{}
	waited error
}

// buffer is written by a process and read by a test.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start starts the program. What still runs at the test's end is killed.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: command(context.Background(), t, env, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.waited = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%v printed\n%s%s", p.cmd.Args, tail(p.stdout.String()), tail(p.stderr.String()))
		}
	})
	return p
}

// kill ends the process as a crash does, and waits until it is gone.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatalf("kill: %v; it has ended by itself\n%s", err, tail(p.stderr.String()))
	}
	<-p.ended
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		p.t.Fatalf("it had ended by itself: %v\n%s", p.cmd.ProcessState, tail(p.stderr.String()))
	}
}

// stop sends a signal and returns the exit code and how long it took.
func (p *process) stop(s os.Signal) (int, time.Duration) {
	p.t.Helper()
	begin := time.Now()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal: %v\n%s", err, tail(p.stderr.String()))
	}
	return p.wait(), time.Since(begin)
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%v does not end\n%s", p.cmd.Args, tail(p.stderr.String()))
	}
	return p.cmd.ProcessState.ExitCode()
}

// await polls until a condition holds. It fails the test when the condition
// does not come true, or when the process ends before that.
func (p *process) await(what string, holds func() bool) {
	p.t.Helper()
	limit := time.After(patience)
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-p.ended:
			if holds() {
				return
			}
			p.t.Fatalf("it ended (%v) before %s\n%s", p.cmd.ProcessState, what, tail(p.stderr.String()))
		case <-limit:
			p.t.Fatalf("waited in vain: %s\n%s", what, tail(p.stderr.String()))
		}
	}
}

// decode reads one JSON object of known fields only.
func decode(t testing.TB, text string, into any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("decode %q: %v", text, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("more than one object in %q", text)
	}
}

// network returns an empty simulated network that ends with the test.
func network(t testing.TB, seed uint64) *simnet.Network {
	t.Helper()
	n := simnet.New(seed)
	t.Cleanup(n.Close)
	return n
}

func add(t testing.TB, n *simnet.Network, b simnet.Behaviour, events ...*simnet.Event) *simnet.Relay {
	t.Helper()
	r, err := n.AddRelay(b)
	if err != nil {
		t.Fatal(err)
	}
	r.Add(events...)
	return r
}

// compare holds an archive against the truth of a network.
func compare(t testing.TB, store string, n *simnet.Network) simnet.Result {
	t.Helper()
	return compareIn(t, configOf(store), n)
}

func compareIn(t testing.TB, cfg app.Config, n *simnet.Network) simnet.Result {
	t.Helper()
	st, err := app.ReadStore(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	accounts, err := app.Accounts(t.Context(), st, n.URLs())
	if err != nil {
		t.Fatal(err)
	}
	return n.Compare(accounts)
}

func configOf(store string) app.Config {
	cfg := app.DefaultConfig()
	cfg.Store.URL = store
	cfg.Dial.AllowLocal = true
	return cfg
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// truthful fails the test for claims that are not true.
func truthful(t testing.TB, r simnet.Result) {
	t.Helper()
	for _, one := range r.PerRelay {
		for i, f := range one.FalseClaims {
			if i == 3 {
				t.Errorf("%s: %d false claims in all", one.URL, len(one.FalseClaims))
				break
			}
			t.Errorf("%s: [%d, %d] level %d by %s as of %d is claimed, but event %s of %d, kind %d, is not held",
				one.URL, f.Claim.Lo, f.Claim.Hi, f.Claim.Level, f.Claim.Method, f.Claim.AsOf, f.Event.ID, f.Event.CreatedAt, f.Event.Kind)
		}
	}
}

// complete fails the test for events that are neither held nor within a hole.
func complete(t testing.TB, r simnet.Result) {
	t.Helper()
	truthful(t, r)
	for _, one := range r.PerRelay {
		if n := len(one.Missing); n > 0 {
			e := one.Missing[0]
			t.Errorf("%s: %d of %d events are missing, such as %s of %d, kind %d", one.URL, n, one.Visible, e.ID, e.CreatedAt, e.Kind)
		}
	}
	if r.Missing > 0 {
		t.Errorf("%d events of %d are missing", r.Missing, r.Visible)
	}
}

// client dials loopback and nothing else.
var client = &http.Client{
	Timeout: 30 * time.Second,
	Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(address); err != nil || !net.ParseIP(host).IsLoopback() {
			return nil, errors.New("a test dials " + address)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}},
}

// get reads a page.
func get(t testing.TB, url string) (int, http.Header, string) {
	t.Helper()
	status, header, body, err := try(t, url)
	if err != nil {
		t.Fatal(err)
	}
	return status, header, body
}

func try(t testing.TB, url string) (int, http.Header, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(body), err
}
