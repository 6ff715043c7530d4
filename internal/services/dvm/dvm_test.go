package dvm_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip04"
	"bigbrotr/internal/core/nostr/nip44"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

// TestJob asks a question and reads everything that is said about it, on our
// relay and on the one that the request names.
func TestJob(t *testing.T) {
	f := newFixture(t)
	f.ours.SetBehaviour(simnet.Behaviour{Auth: true})
	f.start("a", nil)
	f.await("the connection", func() bool { return len(f.ours.Asked()) > 1 })
	f.ours.SetBehaviour(simnet.Behaviour{}) // so that we can look
	request := f.request("events?kinds=1", nostr.Tag{"param", "limit", "2"}, nostr.Tag{"relays", f.theirs.URL().String(), "not a relay"}, nostr.Tag{"bid", "5"})
	f.ask(request)
	for _, r := range []*simnet.Relay{f.ours, f.theirs} {
		f.feedback(r, request.ID, "processing")
		result := f.result(r, request.ID)
		last := f.feedback(r, request.ID, "partial") // there is a next page
		var page struct {
			Events []struct{ Content string }
			Next   string
		}
		must(t, json.Unmarshal([]byte(result.Content), &page))
		if len(page.Events) != 2 || page.Events[0].Content != "note 9" || page.Next == "" {
			t.Errorf("answer %s", result.Content)
		}
		if whole := values(result, "request"); len(whole) != 1 || whole[0] != string(request.AppendJSON(nil)) {
			t.Errorf("request tag %q", whole)
		}
		for _, e := range []nostr.Event{result, last} {
			if !slices.Equal(values(e, "p"), []string{f.customer.PubKey().String()}) || values(e, "e")[0] != request.ID.String() {
				t.Errorf("tags %q", e.Tags)
			}
		}
		if !slices.Equal(values(result, "i"), []string{"events?kinds=1", "text"}) {
			t.Errorf("tags %q", result.Tags)
		}
	}
	f.await("the announcement", func() bool { return len(f.ours.Visible(nostr.Filter{Kinds: []nostr.Kind{31990}})) > 0 })
	announcement := f.ours.Visible(nostr.Filter{Kinds: []nostr.Kind{31990}})[0].Parse()
	if !slices.Equal(values(announcement, "k"), []string{"5050"}) || len(values(announcement, "d")) != 1 || !strings.Contains(announcement.Content, `"name":"BigBrotr"`) {
		t.Errorf("announcement %+v", announcement)
	}
	whole := f.request("/api/v1/stats")
	f.ask(whole)
	if result := f.result(f.ours, whole.ID); !strings.Contains(result.Content, `"candidates"`) {
		t.Errorf("stats: %s", result.Content)
	}
	f.feedback(f.ours, whole.ID, "success")
}

// TestQuestions sends what is no question, and what nobody asked us.
func TestQuestions(t *testing.T) {
	f := newFixture(t)
	s, _ := f.start("a", nil)
	for _, tt := range []struct {
		question string
		more     []nostr.Tag
		want     string
	}{
		{"", nil, "no question"},
		{"nothing", nil, "nothing at this address"},
		{"../../metrics", nil, "not an address"},
		{"//evil.example/x", nil, "not an address"},
		{"http://evil.example/", nil, "not an address"},
		{"events?kinds=x", nil, "query.kinds"},
		{"events?limit=5000", nil, "query.limit"},
		{"events?limit=-1", nil, "query.limit"},
		{"events?since=-5", nil, "query.since"},
		{"events?since=99999999999999999999", nil, "query.since"},
		{"events?kinds=1;DROP TABLE event", nil, "not an address"},
		{"relays?network='%3B DROP TABLE relay%3B --", nil, "query.network"},
		{"%2e%2e/%2e%2e/metrics", nil, "not an address"},
		{"events/" + strings.Repeat("0", 64), nil, "not archived"},
		{"stats\x00\x1b[31m", nil, "not an address"},
		{"stats?x=1", []nostr.Tag{{"param", "y", "\u202e"}}, "query"},
		{"write me a poem", nil, ""},
		{strings.Repeat("i", 20_000), nil, ""},
		{"stats", slices.Repeat([]nostr.Tag{{"param", "a", "b"}}, 30), "too many"},
		{"stats", []nostr.Tag{{"i", "https://example.com", "url"}}, "type text"},
	} {
		request := f.request(tt.question, tt.more...)
		f.ask(request)
		why := values(f.feedback(f.ours, request.ID, "error"), "status")
		if len(why) != 2 || !strings.Contains(why[1], tt.want) || len(why[1]) > 310 || strings.ContainsAny(why[1], "\x00\x1b\u202e") {
			t.Errorf("%.50q: %q, want %q", tt.question, why, tt.want)
		}
		if n := len(about(f.ours, 6050, request.ID)); n != 0 {
			t.Errorf("%.50q: %d answers", tt.question, n)
		}
	}
	// Nobody was asked, or somebody else, or the request is no request.
	poem := f.sign(nostr.Event{Kind: 5050, Tags: []nostr.Tag{{"i", "events", "text"}}})
	other := f.sign(nostr.Event{Kind: 5050, Tags: []nostr.Tag{{"i", "/api/v1/stats", "text"}, {"p", f.customer.PubKey().String()}}})
	old := f.request("stats", nostr.Tag{"t", "old"})
	old.CreatedAt -= 7200
	must(t, f.customer.Sign(&old))
	ahead := f.request("stats", nostr.Tag{"t", "ahead"})
	ahead.CreatedAt += 7200
	must(t, f.customer.Sign(&ahead))
	forged := f.request("stats", nostr.Tag{"t", "forged"})
	forged.Sig[5] ^= 1
	large := f.request("stats", nostr.Tag{"t", strings.Repeat("x", 40_000)})
	f.ask(poem, other, old, ahead, forged, large)
	// For everybody, in words that only we have.
	all := f.sign(nostr.Event{Kind: 5050, Tags: []nostr.Tag{{"i", "/api/v1/stats", "text"}}})
	f.ask(all)
	f.result(f.ours, all.ID)
	for i, e := range []nostr.Event{poem, other, old, ahead, forged, large} {
		if n := len(about(f.ours, 7000, e.ID)) + len(about(f.ours, 6050, e.ID)); n != 0 {
			t.Errorf("request %d is answered", i)
		}
	}
	if h := s.Health(); h.Failures != 0 {
		t.Errorf("%d failures", h.Failures)
	}
}

// TestLarge has an answer that is larger than one may be.
func TestLarge(t *testing.T) {
	f := newFixture(t)
	f.start("a", map[string]any{"max_answer": "1500B"})
	request := f.request("events?kinds=1")
	f.ask(request)
	var page struct {
		Events []json.RawMessage
		Next   string
	}
	result := f.result(f.ours, request.ID)
	must(t, json.Unmarshal([]byte(result.Content), &page))
	if len(page.Events) == 0 || len(page.Events) > 5 || page.Next == "" || len(result.Content) > 1500 {
		t.Errorf("%d bytes, %d events, next %q", len(result.Content), len(page.Events), page.Next)
	}
	f.feedback(f.ours, request.ID, "partial")
}

// TestOnce has two processes hear of a request by two relays, more than once.
func TestOnce(t *testing.T) {
	f := newFixture(t)
	both := map[string]any{"relays": []string{f.ours.URL().String(), f.theirs.URL().String()}}
	var stops []func()
	for _, owner := range []string{"a", "b"} {
		_, stop := f.start(owner, both)
		stops = append(stops, stop)
	}
	var requests []nostr.Event
	for i := range 10 {
		e := f.request("stats", nostr.Tag{"param", "x", fmt.Sprint(i)})
		if i%2 == 0 {
			e = f.request("events?kinds=1", nostr.Tag{"t", fmt.Sprint(i)})
		}
		requests = append(requests, e)
		f.theirs.Add(simnet.NewEvent(&e))
		f.ask(e)
	}
	ends := func() (n int) {
		for _, e := range requests {
			n += len(about(f.ours, 6050, e.ID))
			for _, said := range about(f.ours, 7000, e.ID) {
				if values(said, "status")[0] == "error" {
					n++
				}
			}
		}
		return n
	}
	f.await("all ends", func() bool { return ends() >= len(requests) })
	for _, stop := range stops {
		stop()
	}
	// Who comes later hears of them once more.
	f.start("c", both)
	last := f.request("events?kinds=7")
	f.ask(last)
	f.result(f.ours, last.ID)
	if n := ends(); n != len(requests) {
		t.Errorf("%d ends of %d requests", n, len(requests))
	}
}

// TestTakenOver goes on with jobs of processes that have ended: one that had an
// answer gives this one, whatever it would be now.
func TestTakenOver(t *testing.T) {
	f := newFixture(t)
	past := store.Lease{Owner: "dead", Until: time.Now().Unix() - 1}
	add := func(question string) nostr.Event {
		e := f.request(question)
		_, err := f.db.AddJob(t.Context(), store.Job{
			ID: e.ID, Customer: e.PubKey, At: time.Now().Unix() - 5, Request: e.AppendJSON(nil), State: store.JobOpen,
		}, past)
		must(t, err)
		return e
	}
	open, answered := add("stats"), add("events")
	answer := nostr.Event{Kind: 6050, CreatedAt: base, Content: "of another time", Tags: []nostr.Tag{{"e", answered.ID.String()}}}
	must(t, f.key.Sign(&answer))
	saved, err := f.db.SaveJob(t.Context(), store.Job{ID: answered.ID, State: store.JobAnswered, Answer: answer.AppendJSON(nil)}, past, base)
	if err != nil || !saved {
		t.Fatal(saved, err)
	}
	f.start("b", nil)
	if e := f.result(f.ours, answered.ID); e.ID != answer.ID {
		t.Errorf("another answer: %s", e.Content)
	}
	f.result(f.ours, open.ID)
}

// TestCancelled cancels a question that is being answered, by its sender and by
// somebody else.
func TestCancelled(t *testing.T) {
	f := newFixture(t)
	rest := f.rest
	begun, goOn := make(chan struct{}, 9), make(chan struct{})
	f.rest = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-goOn:
			rest.ServeHTTP(w, r)
		}
	})
	f.start("a", nil)
	cancelled, kept := f.request("stats"), f.request("events")
	f.ask(cancelled, kept)
	<-begun
	<-begun
	stranger := nostr.Event{Kind: 5, CreatedAt: time.Now().Unix(), Tags: []nostr.Tag{{"e", kept.ID.String()}, {"k", "5050"}}}
	must(t, nostr.GenerateKey().Sign(&stranger))
	f.ask(stranger, f.sign(nostr.Event{Kind: 5, Tags: []nostr.Tag{{"e", cancelled.ID.String()}, {"k", "5050"}}}))
	f.await("the cancellation", func() bool {
		ended, err := f.db.CancelJob(t.Context(), cancelled.ID, f.customer.PubKey())
		return err == nil && !ended
	})
	close(goOn)
	f.result(f.ours, kept.ID)
	f.feedback(f.ours, kept.ID, "success")
	if n := len(about(f.ours, 6050, cancelled.ID)); n != 0 {
		t.Errorf("%d answers to what was cancelled", n)
	}
}

// TestEncrypted asks in both ways of encryption: the answer comes in the same
// way, and nobody else reads question or answer.
func TestEncrypted(t *testing.T) {
	f := newFixture(t)
	f.start("a", nil)
	shared, err := nip44.NewKey(f.customer, f.key.PubKey())
	must(t, err)
	for name, way := range map[string]struct {
		lock, open func(string) (string, error)
	}{
		"nip44": {shared.Encrypt, shared.Decrypt},
		"nip04": {
			func(text string) (string, error) { return nip04.Encrypt(f.customer, f.key.PubKey(), text) },
			func(text string) (string, error) { return nip04.Decrypt(f.customer, f.key.PubKey(), text) },
		},
	} {
		ask := func(inner string) nostr.Event {
			content, err := way.lock(inner)
			must(t, err)
			e := f.sign(nostr.Event{Kind: 5050, Content: content, Tags: []nostr.Tag{{"p", f.key.PubKey().String()}, {"encrypted"}}})
			f.ask(e)
			return e
		}
		request := ask(`[["i","events?kinds=1&limit=3","text"],["param","limit","1"]]`)
		// The limit stands there twice, which is an error that only we may read.
		said := f.feedback(f.ours, request.ID, "error")
		text, err := way.open(said.Content)
		if len(values(said, "status")) != 1 || err != nil || !strings.Contains(text, "query.limit") {
			t.Errorf("%s: feedback %q, %v, tags %q", name, text, err, said.Tags)
		}
		request = ask(`[["i","events?kinds=1","text"],["param","limit","3"]]`)
		result := f.result(f.ours, request.ID)
		text, err = way.open(result.Content)
		if err != nil || strings.Count(text, `"note `) != 3 || values(result, "i") != nil || values(result, "encrypted") == nil {
			t.Errorf("%s: answer %q, %v, tags %q", name, text, err, result.Tags)
		}
		request = ask("not JSON")
		f.feedback(f.ours, request.ID, "error")
	}
	nonsense := f.sign(nostr.Event{Kind: 5050, Content: "nonsense", Tags: []nostr.Tag{{"p", f.key.PubKey().String()}, {"encrypted"}}})
	f.ask(nonsense)
	f.feedback(f.ours, nonsense.ID, "error")
}

// TestLimit has a key ask more often than it may, and another ask then.
func TestLimit(t *testing.T) {
	f := newFixture(t)
	f.start("a", map[string]any{"per_hour": 2, "parallel": 1})
	f.await("the connection", func() bool { return len(f.ours.Asked()) > 1 })
	var requests []nostr.Event
	for i := range 6 {
		requests = append(requests, f.request("events", nostr.Tag{"t", fmt.Sprint(i)}))
	}
	f.ask(requests...)
	f.customer = nostr.GenerateKey()
	other := f.request("stats")
	f.ask(other)
	f.result(f.ours, other.ID)
	answers, refusals := 0, 0
	for _, e := range requests {
		answers += len(about(f.ours, 6050, e.ID))
		for _, said := range about(f.ours, 7000, e.ID) {
			if v := values(said, "status"); v[0] == "error" && strings.Contains(v[1], "no more than 2") {
				refusals++
			}
		}
	}
	if answers != 2 || refusals != 1 {
		t.Errorf("%d answers and %d refusals", answers, refusals)
	}
}

// TestReconnect has the relay lose all connections, and stop for a while.
func TestReconnect(t *testing.T) {
	f := newFixture(t)
	f.start("a", nil)
	first := f.request("stats")
	f.ask(first)
	f.result(f.ours, first.ID)
	f.ours.Stop()
	meanwhile := f.request("events")
	f.ask(meanwhile)
	must(t, f.ours.Start())
	f.result(f.ours, meanwhile.ID)
}

// TestUnreachable names relays that answer nothing: the answer comes to ours
// all the same.
func TestUnreachable(t *testing.T) {
	f := newFixture(t)
	f.theirs.SetBehaviour(simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Status, When: simnet.Always, N: 503}}})
	f.start("a", nil)
	named := nostr.Tag{"relays", f.theirs.URL().String(), "ws://127.0.0.1:1", "wss://", "file:///etc/passwd", "ws://[::1]:1"}
	request := f.request("stats", named)
	f.ask(request)
	f.result(f.ours, request.ID)
	f.feedback(f.ours, request.ID, "success")
}

// wallet is an LNURL-pay service.
type wallet struct {
	*httptest.Server
	bill  string
	state chan map[string]any // what verify says next; the last stays
	said  map[string]any
}

func newWallet(t *testing.T, bill string) *wallet {
	t.Helper()
	w := &wallet{bill: bill, state: make(chan map[string]any, 9), said: map[string]any{"status": "OK", "settled": false}}
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux.HandleFunc("/pay", func(out http.ResponseWriter, _ *http.Request) {
		say(out, map[string]any{"tag": "payRequest", "callback": w.URL + "/callback?x=y", "minSendable": 1000, "maxSendable": 5000})
	})
	mux.HandleFunc("/callback", func(out http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "amount=1000&x=y" {
			t.Errorf("an invoice is asked for with %s", r.URL.RawQuery)
		}
		say(out, map[string]any{"pr": w.bill, "verify": w.URL + "/verify", "routes": []any{}})
	})
	mux.HandleFunc("/verify", func(out http.ResponseWriter, _ *http.Request) {
		select {
		case w.said = <-w.state:
		default:
		}
		say(out, w.said)
	})
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	return w
}
