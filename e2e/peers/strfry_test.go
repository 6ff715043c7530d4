package peers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// strfryRelay is a strfry relay with a database of its own.
type strfryRelay struct {
	t            *testing.T
	binary, conf string
	url          string
}

// startStrfry starts a strfry relay that holds events. It is no package of Debian
// and takes long to build, so it is tried where STRFRY names its program.
func startStrfry(t *testing.T, events []*nostr.Event, reconciles bool) *strfryRelay {
	t.Helper()
	program := os.Getenv("STRFRY")
	if program == "" {
		t.Skip("STRFRY names no program of strfry")
	}
	folder := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := &strfryRelay{t: t, binary: program, conf: filepath.Join(folder, "strfry.conf"), url: fmt.Sprintf("ws://127.0.0.1:%d", port)}
	write(t, s.conf, fmt.Sprintf(`db = %q
dbParams { mapsize = 10737418240 }
events {
  maxEventSize = 16777216
  maxNumTags = 20000
  maxTagValSize = 65535
  rejectEventsOlderThanSeconds = 4000000000
  rejectEventsNewerThanSeconds = 4000000000
}
relay {
  bind = "127.0.0.1"
  port = %d
  nofiles = 0
  negentropy { enabled = %t }
}
`, folder, port, reconciles))
	var lines bytes.Buffer
	for _, e := range events {
		lines.WriteString(e.String() + "\n")
	}
	s.run(&lines, "import")
	relay := exec.Command(program, "--config="+s.conf, "relay")
	var log bytes.Buffer
	relay.Stdout, relay.Stderr = &log, &log
	if err := relay.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = relay.Process.Kill()
		_ = relay.Wait()
		if t.Failed() {
			t.Logf("strfry: %s", log.Bytes())
		}
	})
	for end := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("strfry does not listen: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// run runs one of strfry's commands and returns what it prints.
func (s *strfryRelay) run(in *bytes.Buffer, command ...string) []byte {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.binary, append([]string{"--config=" + s.conf}, command...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if in != nil {
		cmd.Stdin = in
	}
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("strfry %v: %v\n%s", command, err, errs.Bytes())
	}
	return out
}

// events are what the relay holds, by its own account.
func (s *strfryRelay) events() map[string]nostr.Event {
	s.t.Helper()
	held := map[string]nostr.Event{}
	lines := bufio.NewScanner(bytes.NewReader(s.run(nil, "export")))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e nostr.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			s.t.Fatal(err)
		}
		held[e.ID] = e
	}
	if err := lines.Err(); err != nil {
		s.t.Fatal(err)
	}
	return held
}

// TestStrfry archives a strfry relay of real events whole, with and without
// reconciliations, and asks again for nearly nothing.
func TestStrfry(t *testing.T) {
	events := realEvents(t)
	for name, reconciles := range map[string]bool{"reconciled": true, "walked": false} {
		t.Run(name, func(t *testing.T) { testStrfry(t, startStrfry(t, events, reconciles), reconciles) })
	}
}

func testStrfry(t *testing.T, relay *strfryRelay, reconciles bool) {
	there := relay.events()
	store := "sqlite:" + filepath.Join(t.TempDir(), "archive.db")
	visit := func() (r report) {
		t.Helper()
		out, code := bigbrotr(t, "sync", relay.url, "--json", "--allow-local", "--store", store)
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("sync prints %s: %v", out, err)
		}
		if code != 0 || r.Cause != "" {
			t.Errorf("sync exits with %d, cause %q", code, r.Cause)
		}
		t.Logf("%d requests, %d events, %d bytes in and %d out, %d withheld, coverage %+v, %d holes",
			r.Requests, r.EventsReceived, r.BytesReceived, r.BytesSent, r.Withheld, r.Coverage, len(r.Holes))
		return r
	}
	first := visit()
	held, withheld := export(t, store), 0
	for id, e := range there {
		if nostr.IsEphemeralKind(e.Kind) {
			continue
		}
		if have, ok := held[id]; ok {
			if diff := cmp.Diff(e.String(), have.String()); diff != "" {
				t.Errorf("event %s (-relay +archive):\n%s", id, diff)
			}
			continue
		}
		// Private ones are shown to nobody else, but named in reconciliations.
		withheld++
		private := e.Kind == nostr.KindEncryptedDirectMessage || e.Kind == nostr.KindGiftWrap
		if !private || !reconciles && !first.excuses(&e) {
			t.Errorf("event %s of %d, kind %d, is neither archived nor in a hole", id, e.CreatedAt, e.Kind)
		}
	}
	t.Logf("%d events, %d archived, %d withheld", len(there), len(held), withheld)
	if reconciles && first.Withheld != withheld {
		t.Errorf("%d events are counted as withheld, want %d", first.Withheld, withheld)
	}
	proved := func(r report) bool { return len(r.Coverage) > 0 && r.Coverage[0].Lo == 0 && r.Coverage[0].Level == 4 }
	if reconciles && !proved(first) {
		t.Errorf("what is archived is not proved: %+v", first.Coverage)
	}

	again := visit()
	if again.New != 0 || reconciles && (again.BytesReceived+again.BytesSent > 10_000 || !proved(again)) {
		t.Errorf("unchanged: %d new, %d bytes, %+v", again.New, again.BytesReceived+again.BytesSent, again.Coverage)
	}
}
