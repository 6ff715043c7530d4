package session

import (
	"bytes"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"bigbrotr/internal/core/nostr"
)

// FuzzHandle feeds messages, one a line, to a session with a request, a count
// and a publication on their way.
func FuzzHandle(f *testing.F) {
	for _, seed := range []string{
		`["EVENT","1",{"id":"00","created_at":1}]` + "\n" + `["EOSE","1"]` + "\n" + `["EVENT","1",{"created_at":5}]`,
		`["EOSE","1",["finish","auth"]]` + "\n" + `["EOSE","1"]`,
		`["CLOSED","1","auth-required: \u202egnp.exe"]`,
		`["NOTICE","blocked: no"]` + "\n" + `["COUNT","2",{"count":3,"approximate":true}]`,
		`["OK","0100000000000000000000000000000000000000000000000000000000000000",true,"duplicate: have it"]`,
		`["NEG-MSG","3","61"]` + "\n" + `["NEG-MSG","3","61"]` + "\n" + `["NEG-ERR","3","blocked: too many",500]` + "\n" + `["EOSE","3"]`,
		`["NEG-MSG","3","61"]` + "\n" + `["NEG-ERROR","3","CLOSED"]` + "\n" + `["NEG-ERROR","3","CLOSED"]`,
		`["AUTH","challenge"]` + "\n" + `["NEG-MSG","1","61"]` + "\n" + `["EVENT","1",null]`,
		"[\n]\n\n{}\n\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &Session{
			options: Options{}.withDefaults(),
			active:  map[string]*request{},
			oks:     map[nostr.ID]*waiter{},
		}
		s.clock.begin = time.Now()
		visits := 0
		req := &request{sub: "1", done: make(chan struct{}), poke: make(chan struct{}, 1)}
		req.visit = func(raw []byte) error {
			visits++
			if raw[0] != '{' || raw[len(raw)-1] != '}' {
				t.Errorf("event %q", raw)
			}
			return nil
		}
		count := &request{sub: "2", done: make(chan struct{}), poke: make(chan struct{}, 1)}
		neg := &request{sub: "3", done: make(chan struct{}), poke: make(chan struct{}, 1)}
		neg.turns = &turns{theirs: make(chan turn, 1), due: true}
		s.active["1"], s.active["2"], s.active["3"] = req, count, neg
		w := &waiter{done: make(chan struct{})}
		s.oks[nostr.ID{1}] = w

		lines := bytes.Split(text, []byte("\n"))
		for _, line := range lines {
			if end := s.handle(line); end.Kind != Unended && (end.Kind != Malformed || len(lines) <= maxMalformed) {
				t.Fatalf("%q ends the connection with %+v", line, end)
			}
		}
		if req.page.Events != visits || visits > len(lines) {
			t.Errorf("%d events, %d visits, %d lines", req.page.Events, visits, len(lines))
		}
		for _, r := range []*request{req, count, neg} {
			select {
			case <-r.done:
				if !r.over || r.page.End.Kind == Unended || s.active[r.sub] != nil {
					t.Errorf("request %s is done with %+v", r.sub, r.page.End)
				}
			default:
				if r.over || s.active[r.sub] != r {
					t.Errorf("request %s is over and not done", r.sub)
				}
			}
			for _, text := range []string{r.page.End.Message, r.page.Notice, w.ok.Message} {
				if len(text) > maxText || !utf8.ValidString(text) || bytes.ContainsFunc([]byte(text), unicode.IsControl) {
					t.Errorf("kept text %q", text)
				}
			}
		}
		if late := s.Late("1"); late.Events > 0 && (!req.over || late.Oldest > late.Newest || late.Unread > late.Events) {
			t.Errorf("late %+v", late)
		}
	})
}
