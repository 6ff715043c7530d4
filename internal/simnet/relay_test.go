package simnet_test

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/simnet"
)

func TestStats(t *testing.T) {
	events := simnet.Generate(plan(50))
	r := add(t, network(t), simnet.Behaviour{Broad: simnet.BroadOpen, Count: simnet.CountExact}, events...)
	one := open(t, r, patient)
	ask(t, one, nostr.Filter{Since: new(int64(0))}) // refused
	ask(t, one, nostr.Filter{IDs: ids(events[:20])})
	if _, _, err := one.Count(t.Context(), nostr.Filter{IDs: ids(events[:20])}); err != nil {
		t.Fatal(err)
	}
	open(t, r, patient).Close(t.Context()) // only its connection counts
	got := r.Stats()
	var size int64
	for _, e := range events[:20] {
		size += int64(len(e.JSON))
	}
	if got.Bytes < size || got.Bytes > size+20*40+2000 {
		t.Errorf("%d bytes sent for events of %d", got.Bytes, size)
	}
	if asked := r.Asked(); len(asked) != 2 || *asked[0].Since != 0 || len(asked[1].IDs) != 20 {
		t.Errorf("asked %+v", asked)
	}
	if got.Payload < size || got.Payload > got.Bytes {
		t.Errorf("messages of %d bytes for events of %d, %d sent", got.Payload, size, got.Bytes)
	}
	got.Payload, got.Bytes = 0, 0
	got.Open, got.Closes = 0, 0 // a matter of time
	want := simnet.Stats{Connections: 2, Sessions: 2, MaxOpen: 2, MaxSubs: 1, Requests: 2, Counts: 1, Refused: 1, Events: 20, Frames: 23}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestCount(t *testing.T) {
	events := simnet.Generate(plan(200))
	private := len(matching(events, func(e *simnet.Event) bool { return e.Kind == 7 }))
	n := network(t)
	for _, test := range []struct {
		be          simnet.Behaviour
		count       int
		approximate bool
		end         session.Kind
	}{
		{simnet.Behaviour{Count: simnet.CountExact, Cap: 10}, 200, false, session.Counted},
		{simnet.Behaviour{Count: simnet.CountApproximate}, 221, true, session.Counted},
		{simnet.Behaviour{Count: simnet.CountWrong}, 221, false, session.Counted},
		{simnet.Behaviour{Count: simnet.CountClosed}, 0, false, session.Closed},
		{simnet.Behaviour{Count: simnet.CountNotice}, 0, false, session.Notice},
		{simnet.Behaviour{Count: simnet.CountNever}, 0, false, session.Idle},
		{simnet.Behaviour{Count: simnet.CountExact, Restricted: []nostr.Kind{7}}, 200 - private, false, session.Counted},
		{simnet.Behaviour{Count: simnet.CountExact, Restricted: []nostr.Kind{7}, PostFilter: true}, 200, false, session.Counted},
		{simnet.Behaviour{Count: simnet.CountExact, Broad: simnet.BroadOpen}, 0, false, session.Closed},
	} {
		o := patient
		if test.end == session.Idle || test.end == session.Notice {
			o = quick
		}
		got, page, err := open(t, add(t, n, test.be, events...), o).Count(t.Context(), nostr.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if int(got.Count) != test.count || got.Approximate != test.approximate || page.End.Kind != test.end {
			t.Errorf("%+v: %d approximate %v, ended by %s", test.be, got.Count, got.Approximate, page.End.Kind)
		}
	}
}

func TestAuth(t *testing.T) {
	events := simnet.Generate(plan(20))
	s := open(t, add(t, network(t), simnet.Behaviour{Auth: true}, events...), patient)
	if got, page := ask(t, s, nostr.Filter{}); len(got) != 0 || page.End.Prefix != "auth-required" {
		t.Fatalf("%d events, ended by %+v", len(got), page.End)
	}
	ok, err := s.Auth(t.Context(), nostr.GenerateKey())
	if err != nil || !ok.Accepted {
		t.Fatalf("%+v, %v", ok, err)
	}
	if got, page := ask(t, s, nostr.Filter{}); len(got) != 20 || page.End.Kind != session.EOSE {
		t.Fatalf("%d events, ended by %+v", len(got), page.End)
	}
	other := open(t, add(t, network(t), simnet.Behaviour{Auth: true}), patient)
	ask(t, other, nostr.Filter{}) // the challenge has come by then
	challenge := other.Challenge()
	url := other.URL().String()
	for _, e := range []nostr.Event{
		{Kind: 22242},
		{Kind: 1, Tags: []nostr.Tag{{"challenge", challenge}, {"relay", url}}},
		{Kind: 22242, Tags: []nostr.Tag{{"challenge", "x"}, {"relay", url}}},
		{Kind: 22242, Tags: []nostr.Tag{{"challenge", challenge}, {"relay", "ws://other.com"}}},
	} {
		if err := nostr.GenerateKey().Sign(&e); err != nil {
			t.Fatal(err)
		}
		if ok, err := other.Auth(t.Context(), fixed{e}); err != nil || ok.Accepted {
			t.Errorf("kind %d, tags %v: %+v, %v", e.Kind, e.Tags, ok, err)
		}
	}
}

// A wall that is put up while a client is connected asks it for its name too.
func TestAuthLater(t *testing.T) {
	r := add(t, network(t), simnet.Behaviour{})
	s := open(t, r, patient)
	if _, page := ask(t, s, nostr.Filter{}); page.End.Kind != session.EOSE {
		t.Fatalf("ended by %s", page.End.Kind)
	}
	r.SetBehaviour(simnet.Behaviour{Auth: true})
	if _, page := ask(t, s, nostr.Filter{}); page.End.Prefix != "auth-required" || !page.Challenged {
		t.Errorf("ended by %+v, challenged: %v", page.End, page.Challenged)
	}
	if ok, err := s.Auth(t.Context(), nostr.GenerateKey()); err != nil || !ok.Accepted {
		t.Errorf("%+v, %v", ok, err)
	}
}

// fixed signs nothing but hands in an event made before.
type fixed struct{ e nostr.Event }

func (f fixed) Sign(e *nostr.Event) error {
	*e = f.e
	return nil
}

func TestRate(t *testing.T) {
	ends := func(be simnet.Behaviour, reconnect bool) (out []string) {
		r := add(t, network(t), be)
		s := open(t, r, patient)
		for range 4 {
			if reconnect {
				s = open(t, r, patient)
			}
			_, page := ask(t, s, nostr.Filter{})
			out = append(out, page.End.Prefix)
		}
		return out
	}
	free := []string{"", "", "", ""}
	for _, test := range []struct {
		rate      simnet.Rate
		reconnect bool
		want      []string
	}{
		{simnet.Rate{Requests: 2}, false, []string{"", "", "rate-limited", "rate-limited"}},
		{simnet.Rate{Requests: 2}, true, free},
		{simnet.Rate{Requests: 2, Per: time.Hour}, false, []string{"", "", "rate-limited", "rate-limited"}},
		{simnet.Rate{Requests: 1, Per: time.Nanosecond}, false, free},
		{simnet.Rate{}, false, free},
	} {
		if got := ends(simnet.Behaviour{Rate: test.rate}, test.reconnect); !slices.Equal(got, test.want) {
			t.Errorf("%+v, new connections %v: %q", test.rate, test.reconnect, got)
		}
	}
}

// A subscription that was answered stays open until the client closes it; ours
// does so at once. So a relay with room for one serves request after request.
func TestMaxSubs(t *testing.T) {
	r := add(t, network(t), simnet.Behaviour{MaxSubs: 1, Latency: 50 * time.Millisecond})
	s := open(t, r, patient)
	for range 3 {
		if _, page := ask(t, s, nostr.Filter{}); page.End.Kind != session.EOSE {
			t.Errorf("one after another: ended by %s", page.End.Kind)
		}
	}
	kinds := make([]session.Page, 3)
	done := make(chan struct{})
	for i := range kinds {
		go func() {
			defer func() { done <- struct{}{} }()
			kinds[i], _ = s.Req(t.Context(), nostr.Filter{}, func([]byte) error { return nil })
		}()
	}
	closed := 0
	for range kinds {
		<-done
	}
	for _, p := range kinds {
		if p.End.Kind == session.Closed {
			closed++
		}
	}
	if closed == 0 {
		t.Error("three at once: none refused")
	}
}

func TestInfo(t *testing.T) {
	get := func(be simnet.Behaviour) (*http.Response, string) {
		t.Helper()
		r := add(t, network(t), be)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(r.URL().String(), "ws"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/nostr+json")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close() // read to its end
		if r.Stats().Infos != 1 {
			t.Errorf("%d requests counted", r.Stats().Infos)
		}
		return resp, string(body)
	}
	resp, body := get(simnet.Behaviour{Cap: 123, Auth: true, Count: simnet.CountExact})
	var doc struct {
		Nips       []int `json:"supported_nips"`
		Limitation struct {
			MaxLimit int  `json:"max_limit"`
			Auth     bool `json:"auth_required"`
		} `json:"limitation"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Limitation.MaxLimit != 123 || !doc.Limitation.Auth || !slices.Contains(doc.Nips, 45) || resp.StatusCode != http.StatusOK ||
		resp.Header.Get("Content-Type") != "application/nostr+json" || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	resp, body = get(simnet.Behaviour{Info: &simnet.Info{Status: http.StatusFound, ContentType: "text/html", Location: "http://elsewhere.com/", Body: "<html"}})
	if resp.StatusCode != http.StatusFound || resp.Header.Get("Content-Type") != "text/html" || resp.Header.Get("Location") == "" || body != "<html" {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
}

func TestMutations(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(60)))
	r := add(t, network(t), simnet.Behaviour{Cap: 100}, events[10:50]...)
	s := open(t, r, patient)
	same := func(want []*simnet.Event) {
		t.Helper()
		if got, _ := ask(t, s, nostr.Filter{}); !slices.Equal(got, ids(want)) {
			t.Errorf("got %d events, want %d", len(got), len(want))
		}
		if got, _ := ask(t, s, nostr.Filter{IDs: ids(events)}); !slices.Equal(got, ids(want)) {
			t.Errorf("by ids: got %d events, want %d", len(got), len(want))
		}
		if got := r.Visible(nostr.Filter{}); !slices.Equal(ids(got), ids(want)) {
			t.Errorf("%d visible, want %d", len(got), len(want))
		}
	}
	same(events[10:50])
	r.Add(events[50:55]...) // older than all
	r.Add(events[20:30]...) // held already
	same(events[10:55])
	r.Add(events...) // newer ones too, many at once
	same(events)
	if n := r.Remove(ids(events[5:15])...); n != 10 {
		t.Errorf("%d removed", n)
	}
	same(append(slices.Clone(events[:5]), events[15:]...))
	r.SetBehaviour(simnet.Behaviour{Cap: 3})
	if got, _ := ask(t, s, nostr.Filter{}); len(got) != 3 {
		t.Errorf("the new cap lets %d through", len(got))
	}
}

func TestEphemeralIsNotStored(t *testing.T) {
	events := simnet.Generate(simnet.Plan{Seed: 1, Count: 5, Since: base, Until: base, Kinds: []nostr.Kind{20001}})
	if r := add(t, network(t), simnet.Behaviour{}, events...); r.Len() != 0 {
		t.Errorf("%d stored", r.Len())
	}
}

func TestLive(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(40)))
	ones := matching(events, func(e *simnet.Event) bool { return e.Kind == 1 })
	r := add(t, network(t), simnet.Behaviour{})
	c := raw(t, r)
	c.send(nostr.AppendREQ(nil, "tail", nostr.Filter{Kinds: []nostr.Kind{1}, Limit: new(0)}))
	c.expect(t, nostr.LabelEOSE)
	r.Add(events...)
	var got []nostr.ID
	for range ones {
		m := c.expect(t, nostr.LabelEvent)
		ref, _ := nostr.ScanEvent(m.Event)
		got = append(got, ref.ID)
	}
	if !slices.Equal(got, ids(ones)) {
		t.Error("not what arrived")
	}
	c.send(nostr.AppendCLOSE(nil, "tail"))
	c.send(nostr.AppendREQ(nil, "next", nostr.Filter{Limit: new(0)}))
	c.expect(t, nostr.LabelEOSE)
	late := simnet.Generate(simnet.Plan{Seed: 5, Count: 1, Since: 1, Until: 1, Kinds: []nostr.Kind{1}})
	r.Add(late...)
	if m := c.expect(t, nostr.LabelEvent); m.Sub != "next" {
		t.Errorf("an event for %q, which was closed", m.Sub)
	}
}

// What arrives between a REQ and its answer is sent once.
func TestLiveOnce(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(2)))
	r := add(t, network(t), simnet.Behaviour{Latency: 100 * time.Millisecond})
	c := raw(t, r)
	c.send(nostr.AppendREQ(nil, "x", nostr.Filter{}))
	for r.Stats().Requests == 0 {
		runtime.Gosched()
	}
	r.Add(events[1])
	c.expect(t, nostr.LabelEvent)
	c.expect(t, nostr.LabelEOSE)
	r.Add(events[0])
	if ref, _ := nostr.ScanEvent(c.expect(t, nostr.LabelEvent).Event); ref.ID != events[0].ID {
		t.Error("sent twice")
	}
}

func TestPublish(t *testing.T) {
	e := simnet.Generate(plan(1))[0]
	r := add(t, network(t), simnet.Behaviour{})
	s := open(t, r, patient)
	full := e.Parse()
	if ok, err := s.Publish(t.Context(), &full); err != nil || !ok.Accepted {
		t.Errorf("%+v, %v", ok, err)
	}
	f := simnet.ForgeSig(simnet.Generate(simnet.Plan{Seed: 8, Count: 1})[0])
	full = f.Parse()
	if ok, err := s.Publish(t.Context(), &full); err != nil || ok.Accepted || ok.Prefix != "invalid" {
		t.Errorf("forged: %+v, %v", ok, err)
	}
	if got := r.Visible(nostr.Filter{}); !slices.Equal(ids(got), []nostr.ID{e.ID}) {
		t.Errorf("%d events", len(got))
	}
}

// The raw conversation covers what our own client never says.
func TestConversation(t *testing.T) {
	r := add(t, network(t), simnet.Behaviour{}, simnet.Generate(plan(10))...)
	c := raw(t, r)
	c.send([]byte(`nonsense`))
	c.expect(t, nostr.LabelNotice)
	c.send([]byte(`["HELLO"]`))
	c.expect(t, nostr.LabelNotice)
	c.send([]byte(`["REQ","a \"quoted\" one",{"limit":1},{"limit":3}]`))
	for range 3 { // the union of both
		if m := c.expect(t, nostr.LabelEvent); m.Sub != `a "quoted" one` {
			t.Errorf("for %q", m.Sub)
		}
	}
	c.expect(t, nostr.LabelEOSE)
	c.send([]byte(`["REQ","x",{"limit":1}]`))
	c.send([]byte(`["REQ","x",{"limit":0}]`)) // takes the first one's place
	for c.next(t).Label != nostr.LabelEOSE {
		continue
	}
}

// CLOSE ends an answer that is under way.
func TestCloseInTheMiddle(t *testing.T) {
	drip := simnet.Fault{What: simnet.Drip, When: simnet.When{First: 1}, N: 1 << 20, Wait: 5 * time.Millisecond}
	r := add(t, network(t), simnet.Behaviour{Faults: []simnet.Fault{drip}}, simnet.Generate(plan(400))...)
	c := raw(t, r)
	c.send(nostr.AppendREQ(nil, "long", nostr.Filter{}))
	c.expect(t, nostr.LabelEvent)
	c.send(nostr.AppendCLOSE(nil, "long"))
	c.send(nostr.AppendREQ(nil, "next", nostr.Filter{Limit: new(0)}))
	for m := c.next(t); m.Label != nostr.LabelEOSE || m.Sub != "next"; m = c.next(t) {
		if m.Label == nostr.LabelEOSE {
			t.Fatal("answered to the end")
		}
	}
}

func TestStopAndStart(t *testing.T) {
	events := simnet.Generate(plan(10))
	r := add(t, network(t), simnet.Behaviour{}, events...)
	s := open(t, r, patient)
	ask(t, s, nostr.Filter{})
	r.Stop()
	if _, page := ask(t, s, nostr.Filter{}); page.End.Kind != session.Disconnect {
		t.Errorf("ended by %s", page.End.Kind)
	}
	if st := r.Stats(); st.Open != 0 {
		t.Errorf("%d sessions after Stop", st.Open)
	}
	var failed *dial.Error
	if _, err := session.Dial(t.Context(), r.URL(), patient); !errors.As(err, &failed) || failed.Cause != dial.CauseTCPRefused {
		t.Errorf("dial a stopped relay: %v", err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	if got, _ := ask(t, open(t, r, patient), nostr.Filter{}); len(got) != 10 {
		t.Errorf("%d events after Start", len(got))
	}
}

// What Visible says is what a client gets that asks for every event by its id
// again and again, whatever goes wrong in between.
func TestVisibleIsWhatCanBeGot(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(25)))
	n := network(t)
	rng := rand.New(rand.NewPCG(11, 11))
	for round := range 25 {
		be := simnet.Hostile(rng)
		be.RefuseAs = simnet.RefuseClosed // soon noticed
		be.Rate = simnet.Rate{}
		be.Faults = slices.DeleteFunc(be.Faults, func(f simnet.Fault) bool {
			return f.What == simnet.Oversize || f.What == simnet.Bomb // slow
		})
		r := add(t, n, be, events...)
		r.Add(simnet.ForgeID(events[3]))
		o := quick
		o.Idle, o.Handshake, o.AfterNotice = 100*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
		var got []nostr.ID
		var s *session.Session
		for _, e := range events {
			for range 20 {
				if s == nil {
					var err error
					if s, err = session.Dial(t.Context(), r.URL(), o); err != nil {
						s = nil
						continue
					}
				}
				found := false
				page, err := s.Req(t.Context(), nostr.Filter{IDs: []nostr.ID{e.ID}, Limit: new(1)}, func(raw []byte) error {
					ref, _ := nostr.ScanEvent(raw)
					found = found || ref.ID == e.ID
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if page.End.Lost() || page.End.Kind == session.Idle { // silent relays do not recover
					s.Close(t.Context()) // the next one counts
					s = nil
				}
				if found {
					got = append(got, e.ID)
					break
				}
			}
		}
		if s != nil {
			s.Close(t.Context()) // done with it
		}
		if want := ids(r.Visible(nostr.Filter{})); !slices.Equal(got, want) {
			t.Errorf("round %d, %+v: got %d events, %d are visible", round, be, len(got), len(want))
		}
	}
}
