package e2e_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
)

// TestOwnRelay archives an archive: a second instance syncs what the first one
// serves as a relay, whole and proved, and then has nothing left to get.
func TestOwnRelay(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs(realFile)
	if err != nil {
		t.Fatal(err)
	}
	first, second := folder(t), folder(t)
	if done := run(t, nil, "import", "--store", first, file); done.code != 0 {
		t.Fatalf("import: exit %d\n%s", done.code, tail(done.stderr))
	}
	api := start(t, nil, "run", "api", "--store", first, "--listen", "127.0.0.1:0", "--json")
	api.await("the address of the relay", func() bool { return strings.Contains(api.stdout.String(), "\n") })
	var said struct {
		Store string `json:"store"`
		Pages string `json:"pages"`
	}
	decode(t, api.stdout.String(), &said)
	relay := "ws" + strings.TrimSuffix(strings.TrimPrefix(said.Pages, "http"), "/")

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, said.Pages, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/nostr+json")
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, nip11.MaxSize)
	n, _ := resp.Body.Read(body)
	_ = resp.Body.Close()
	document, err := nip11.Parse(body[:n])
	if err != nil || len(document.Findings) > 0 || !slices.Contains(document.SupportedNIPs, "77") {
		t.Errorf("document %s: %v, findings %v", body[:n], err, document.Findings)
	}

	done := run(t, impatient, "sync", relay, "--json", "--allow-local", "--store", second)
	var r report
	decode(t, done.stdout, &r)
	if done.code != 0 || r.Cause != "" || len(r.Holes) > 0 {
		t.Errorf("sync: exit %d, cause %q, holes %v\n%s", done.code, r.Cause, r.Holes, tail(done.stderr))
	}
	want := ownRelayServes(t, eventsByID(t, realEvents(t)))
	have := eventsByID(t, []byte(run(t, nil, "export", "--store", second).stdout))
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%d events served, %d synced (-served +synced): %.3000s", len(want), len(have), diff)
	}
	t.Logf("%d events, %d of them served: %d requests, %d received", len(eventsByID(t, realEvents(t))), len(want), r.Requests, r.EventsReceived)

	again := run(t, impatient, "sync", relay, "--json", "--allow-local", "--store", second)
	var repeated report
	decode(t, again.stdout, &repeated)
	if again.code != 0 || repeated.New != 0 {
		t.Errorf("a second sync: exit %d, %d new", again.code, repeated.New)
	}
	if check := run(t, nil, "check", relay, "--json", "--allow-local"); check.code != 0 {
		t.Errorf("check: exit %d\n%s", check.code, check.stdout)
	}
}

// ownRelayServes returns what strangers are served of events: no private,
// protected, deleted or expired ones, and of versions the newest.
func ownRelayServes(t *testing.T, events map[string]event) map[string]event {
	t.Helper()
	address := func(e event) string {
		k := nostr.Kind(e.Kind)
		switch {
		case k.IsReplaceable():
			return nostrAddress(e, "")
		case k.IsAddressable():
			return nostrAddress(e, firstValue(e, "d"))
		}
		return ""
	}
	newest := map[string]event{}
	deleted := map[string]bool{}
	asked := map[string]int64{} // until when versions are deleted
	for _, e := range events {
		if a := address(e); a != "" {
			if held, ok := newest[a]; !ok || e.CreatedAt > held.CreatedAt || e.CreatedAt == held.CreatedAt && e.ID < held.ID {
				newest[a] = e
			}
		}
		for _, tag := range e.Tags {
			if e.Kind != 5 || len(tag) < 2 {
				continue
			}
			if o, ok := events[tag[1]]; tag[0] == "e" && ok && o.PubKey == e.PubKey {
				deleted[o.ID] = true
			}
			if parts := strings.SplitN(tag[1], ":", 3); tag[0] == "a" && len(parts) == 3 && parts[1] == e.PubKey {
				asked[tag[1]] = max(asked[tag[1]], e.CreatedAt)
			}
		}
	}
	served := map[string]event{}
	for id, e := range events {
		a := address(e)
		protected := slices.ContainsFunc(e.Tags, func(tag []string) bool { return len(tag) > 0 && tag[0] == "-" })
		switch {
		case slices.Contains([]int64{4, 13, 14, 15, 1059}, e.Kind), nostr.Kind(e.Kind).IsEphemeral(), protected,
			e.Kind != 5 && deleted[id], a != "" && (newest[a].ID != id || asked[a] >= e.CreatedAt):
		case expired(e):
		default:
			served[id] = e
		}
	}
	return served
}

func expired(e event) bool {
	at, err := strconv.ParseInt(firstValue(e, "expiration"), 10, 64)
	return err == nil && at <= time.Now().Unix()
}

func firstValue(e event, name string) string {
	for _, tag := range e.Tags {
		if len(tag) > 1 && tag[0] == name {
			return tag[1]
		}
	}
	return ""
}

func nostrAddress(e event, d string) string {
	return fmt.Sprintf("%d:%s:%s", e.Kind, e.PubKey, d)
}
