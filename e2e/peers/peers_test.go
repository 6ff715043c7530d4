// Package peers runs the real binary against relays and libraries that nobody
// here wrote: khatru with eventstore as the relay, go-nostr as the judge of ids
// and signatures. It is a module of its own, so that none of them is in the
// product's.
package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/fiatjaf/khatru"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
)

const root = "../.."

// binary is the path of the built program.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "bigbrotr-peers-")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer os.RemoveAll(folder)
		binary = filepath.Join(folder, "bigbrotr")
		build := exec.Command("go", "build", "-o", binary, "./cmd/bigbrotr")
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			log.Printf("build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// bigbrotr runs the program to its end and returns its standard output and its
// exit code.
func bigbrotr(t *testing.T, args ...string) ([]byte, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("bigbrotr %v: %v\n%s", args, err, errs.Bytes())
	}
	t.Logf("bigbrotr %v: exit %d\n%s", args, cmd.ProcessState.ExitCode(), errs.Bytes())
	return out.Bytes(), cmd.ProcessState.ExitCode()
}

// realEvents are the real events that go-nostr reads, verifies and writes back
// without a change of meaning: what it can serve.
func realEvents(t *testing.T) []*nostr.Event {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "internal/core/nostr/testdata/events_real.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var events []*nostr.Event
	var left int
	for line := range bytes.Lines(all) {
		var e nostr.Event
		if err := json.Unmarshal(line, &e); err != nil {
			left++
			continue
		}
		text, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		var again nostr.Event
		if err := json.Unmarshal(text, &again); err != nil || !again.CheckID() {
			left++
			continue
		}
		events = append(events, &again)
	}
	t.Logf("%d real events, %d more that go-nostr cannot serve", len(events), left)
	if len(events) < 8000 {
		t.Fatalf("only %d of the real events are served", len(events))
	}
	return events
}

// serve starts a khatru relay that holds the events.
func serve(t *testing.T, events []*nostr.Event, limit int) string {
	t.Helper()
	db := &slicestore.SliceStore{MaxLimit: limit}
	if err := db.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	for _, e := range events {
		if err := db.SaveEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	rl := khatru.NewRelay()
	rl.Log = log.New(io.Discard, "", 0)
	rl.QueryEvents = append(rl.QueryEvents, db.QueryEvents)
	rl.CountEvents = append(rl.CountEvents, db.CountEvents)
	rl.Negentropy = true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: rl, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "ws://" + l.Addr().String()
}

// report is what sync prints of one relay.
type report struct {
	URL            string `json:"url"`
	Requests       int    `json:"requests"`
	EventsReceived int    `json:"events_received"`
	BytesReceived  int    `json:"bytes_received"`
	BytesSent      int    `json:"bytes_sent"`
	New            int    `json:"new"`
	Withheld       int    `json:"withheld"`
	Coverage       []struct {
		Lo, Hi, Level int64
	} `json:"coverage"`
	Holes []struct {
		Lo, Hi int64
		Kind   *int64
		Reason string
	} `json:"holes"`
	Cause string `json:"cause"`
}

// excuses tells whether an event lies in a hole.
func (r *report) excuses(e *nostr.Event) bool {
	for _, h := range r.Holes {
		if h.Lo <= int64(e.CreatedAt) && int64(e.CreatedAt) <= h.Hi && (h.Kind == nil || *h.Kind < 0 || *h.Kind == int64(e.Kind)) {
			return true
		}
	}
	return false
}

func export(t *testing.T, store string) map[string]nostr.Event {
	t.Helper()
	out, code := bigbrotr(t, "export", "--store", store)
	if code != 0 {
		t.Fatalf("export exits with %d", code)
	}
	events := map[string]nostr.Event{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e nostr.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("go-nostr cannot read %s: %v", lines.Bytes(), err)
		}
		if ok, err := e.CheckSignature(); !e.CheckID() || !ok {
			t.Errorf("go-nostr does not accept %s: %v", e.ID, err)
		}
		events[e.ID] = e
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

// TestSync archives a khatru relay of real events whole.
func TestSync(t *testing.T) {
	events := realEvents(t)
	const limit = 500
	url := serve(t, events, limit)
	store := "sqlite:" + filepath.Join(t.TempDir(), "archive.db")
	out, code := bigbrotr(t, "sync", url, "--json", "--allow-local", "--store", store)
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("sync prints %s: %v", out, err)
	}
	if code != 0 || r.Cause != "" {
		t.Errorf("sync exits with %d, cause %q", code, r.Cause)
	}
	held := export(t, store)
	var want, missing int
	for _, e := range events {
		if nostr.IsEphemeralKind(e.Kind) {
			continue
		}
		want++
		have, ok := held[e.ID]
		if ok {
			if diff := cmp.Diff(e.String(), have.String()); diff != "" {
				t.Errorf("event %s (-relay +archive):\n%s", e.ID, diff)
			}
			continue
		}
		if !r.excuses(e) {
			missing++
			t.Errorf("event %s of %d, kind %d, is neither archived nor in a hole", e.ID, e.CreatedAt, e.Kind)
		}
	}
	if len(held) > want {
		t.Errorf("%d events archived, %d served", len(held), want)
	}
	t.Logf("%d events, %d archived, %d requests, %d received, holes %+v", want, len(held), r.Requests, r.EventsReceived, r.Holes)
	if most := want*11/10/limit + 20; r.Requests > most {
		t.Errorf("%d requests, at most %d expected", r.Requests, most)
	}

	// Again: what is proved is not asked for again, and nothing is new.
	out, _ = bigbrotr(t, "sync", url, "--json", "--allow-local", "--store", store)
	var again report
	if err := json.Unmarshal(out, &again); err != nil {
		t.Fatalf("sync prints %s: %v", out, err)
	}
	if again.New != 0 || again.Requests >= r.Requests {
		t.Errorf("second sync: %d new events, %d requests after %d", again.New, again.Requests, r.Requests)
	}
}

// TestCheck checks a relay that nobody here wrote.
func TestCheck(t *testing.T) {
	url := serve(t, nil, 500)
	out, code := bigbrotr(t, "check", url, "--json", "--allow-local")
	type check struct {
		Probe    string
		OK       bool
		Document map[string]any
	}
	var r struct {
		State  string
		Causes []string
		Checks []check
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("check prints %s: %v", out, err)
	}
	if code != 0 || r.State != "up" || len(r.Causes) > 0 {
		t.Fatalf("an empty khatru relay: exit %d, %+v", code, r)
	}
	for _, probe := range []string{"open", "read", "nip11"} {
		if !slices.ContainsFunc(r.Checks, func(c check) bool { return c.Probe == probe && c.OK }) {
			t.Errorf("an empty khatru relay has no good %s: %+v", probe, r.Checks)
		}
	}
	i := slices.IndexFunc(r.Checks, func(c check) bool { return c.Probe == "nip11" })
	if have := r.Checks[max(i, 0)].Document["software"]; have != "https://github.com/fiatjaf/khatru" {
		t.Errorf("software is %v", have)
	}
}
