package face_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api/face"
)

// difference reconciles what a peer holds with the relay and returns the ids
// that only one of them has.
func (c *client) difference(filter nostr.Filter, held []nostr.Event) (have, need []string, rounds int) {
	c.t.Helper()
	in, open := c.initiate(filter, held)
	c.say(open)
	for {
		rounds++
		m := c.read()
		if m.Label != nostr.LabelNegMsg || m.Sub != "n" {
			c.t.Fatalf("%s of %q: %s", m.Label, m.Sub, m.Text)
		}
		results, msg, err := in.Answer(c.t.Context(), m.Payload)
		must(c.t, err)
		for _, r := range results {
			for _, item := range r.Have {
				have = append(have, item.ID.String())
			}
			for _, id := range r.Need {
				need = append(need, id.String())
			}
		}
		if msg == nil {
			c.say(string(nostr.AppendNegClose(nil, "n")))
			slices.Sort(have)
			slices.Sort(need)
			return have, need, rounds
		}
		c.say(string(nostr.AppendNegMsg(nil, "n", msg)))
	}
}

// initiate returns the beginning of a reconciliation and its message.
func (c *client) initiate(filter nostr.Filter, held []nostr.Event) (*negentropy.Initiator, string) {
	c.t.Helper()
	refs := make([]nostr.Ref, len(held))
	for i, e := range held {
		refs[i] = nostr.Ref{ID: e.ID, CreatedAt: e.CreatedAt}
	}
	in, msg, err := negentropy.Open(c.t.Context(), negentropy.NewVector(refs), []negentropy.Ask{{Hi: negentropy.Infinity}}, negentropy.Limits{})
	must(c.t, err)
	return in, string(nostr.AppendNegOpen(nil, "n", &filter, msg))
}

// TestReconcile reconciles with a peer that lacks some of what is served and
// has some of what is not.
func TestReconcile(t *testing.T) {
	events := corpus(600)
	known := judge(events)
	r := serve(t, newStore(t, store.Keep{}))
	r.add(events...)
	c := r.dial()
	for _, filter := range []nostr.Filter{{}, {Kinds: []nostr.Kind{0, 1, 4}}, {Authors: []nostr.PubKey{author(1)}, Since: new(base + 10), Until: new(base + 30)}, {Kinds: []nostr.Kind{9999}}} {
		serves := known.served([]nostr.Filter{filter}, nil, 1<<40, 1<<40)
		var theirs []nostr.Event // a third is missing
		var need, have []string
		for i, e := range serves {
			if i%3 == 0 {
				need = append(need, e.ID.String())
			} else {
				theirs = append(theirs, e)
			}
		}
		for i, e := range events { // what is not served, they have to tell of
			if i%7 == 0 && filter.Matches(&e) && !slices.ContainsFunc(serves, func(s nostr.Event) bool { return s.ID == e.ID }) {
				theirs = append(theirs, e)
				have = append(have, e.ID.String())
			}
		}
		slices.Sort(need)
		slices.Sort(have)
		gotHave, gotNeed, _ := c.difference(filter, theirs)
		if diff := cmp.Diff([][]string{have, need}, [][]string{gotHave, gotNeed}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filter.AppendJSON(nil), diff)
		}
		// What is served is what they lack, and now nothing is left.
		if have, need, rounds := c.difference(filter, serves); len(have)+len(need) > 0 || rounds != 1 {
			t.Errorf("%s: equal sets differ by %d and %d after %d rounds", filter.AppendJSON(nil), len(have), len(need), rounds)
		}
	}
}

// TestReconcileRefused checks what is no reconciliation.
func TestReconcileRefused(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}))
	r.add(event(1, 1, base, "one"))
	c := r.dial()
	for _, tt := range []struct{ say, sub, want string }{
		{`["NEG-MSG","none","6100000200"]`, "none", "closed: "},
		{`["NEG-OPEN","s",{"search":"x"},"6100000200"]`, "s", "unsupported: "},
		{`["NEG-OPEN","h",{},"61zz"]`, "h", "invalid: "},
		{`["NEG-OPEN","m",{},"6100000700"]`, "m", "invalid: "},
		{`["NEG-OPEN","p",{"kinds":[1059]},"6100000200"]`, "p", "auth-required: "},
		{`["NEG-OPEN","f",{"limit":-1},"6100000200"]`, "f", "invalid: "},
	} {
		c.say(tt.say)
		m := c.read()
		for m.Label == nostr.LabelAuth {
			m = c.read()
		}
		if m.Label != nostr.LabelNegErr || m.Sub != tt.sub || !strings.HasPrefix(m.Text, tt.want) {
			t.Errorf("%s: %s %q %q, want NEG-ERR %q", tt.say, m.Label, m.Sub, m.Text, tt.want)
		}
	}
	// A version that is not known is answered with ours.
	c.say(`["NEG-OPEN","v",{},"62"]`)
	if m := c.read(); m.Label != nostr.LabelNegMsg || fmt.Sprintf("%x", m.Payload) != "61" {
		t.Errorf("%s %x %s", m.Label, m.Payload, m.Text)
	}
	// No more than four at a time; closing one makes room.
	for i := range 4 {
		c.say(fmt.Sprintf(`["NEG-OPEN","%d",{"kinds":[%d]},"6100000200"]`, i, i))
		if m := c.read(); i < 3 && m.Label != nostr.LabelNegMsg || i == 3 && m.Label != nostr.LabelNegErr {
			t.Errorf("number %d: %s %s", i, m.Label, m.Text)
		}
	}
	c.say(`["NEG-CLOSE","v"]`)
	c.say(`["NEG-OPEN","3",{},"6100000200"]`)
	if m := c.read(); m.Label != nostr.LabelNegMsg {
		t.Errorf("after one was closed: %s %s", m.Label, m.Text)
	}
}

// held is a store that reads no events before it is told to.
type held struct {
	*sqlite.DB
	read chan struct{}
}

func (h *held) Events(ctx context.Context, q store.EventQuery) ([]store.Stored, store.Cursor, error) {
	select {
	case <-h.read:
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	return h.DB.Events(ctx, q)
}

// TestReconcileAtOnce: reconciliations whose sets are being made count, too.
func TestReconcileAtOnce(t *testing.T) {
	db := newStore(t, store.Keep{})
	st := &held{db, make(chan struct{})}
	c := serveStore(t, db, st).dial()
	for i := range 6 {
		c.say(fmt.Sprintf(`["NEG-OPEN","%d",{"kinds":[%d]},"6100000200"]`, i, 30+i))
	}
	for i := 4; i < 6; i++ {
		if m := c.read(); m.Label != nostr.LabelNegErr || m.Sub != fmt.Sprint(i) || !strings.HasPrefix(m.Text, "blocked: ") {
			t.Errorf("number %d: %s %q %s", i, m.Label, m.Sub, m.Text)
		}
	}
	close(st.read)
	for range 4 {
		if m := c.read(); m.Label != nostr.LabelNegMsg {
			t.Errorf("%s %q %s", m.Label, m.Sub, m.Text)
		}
	}
}

// TestReconcileIndex checks that an index reconciles what it can serve.
func TestReconcileIndex(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{Mode: store.KeepIndex, FullKinds: []nostr.Kind{0, 5}}), func(*face.Config) {})
	whole := event(1, 0, base, "whole")
	r.add(whole, event(1, 1, base+1, "not whole"))
	_, need, _ := r.dial().difference(nostr.Filter{}, nil)
	if !slices.Equal(need, []string{whole.ID.String()}) {
		t.Errorf("it names %q", need)
	}
}
