package simnet

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"bigbrotr/internal/core/nostr"
)

var (
	errSlow  = errors.New("client is too slow")
	errBroke = errors.New("connection ended by a fault")
)

// page is what a REQ is answered with.
type page struct {
	events []entry
	hidden bool // restricted ones were dropped
	more   bool // older ones match
}

// turn is the page of a REQ before anything goes wrong.
func (r *Relay) turn(be *Behaviour, filters []nostr.Filter) page {
	var p page
	for i := range filters {
		f := &filters[i]
		if n := be.FirstAuthors; n > 0 && len(f.Authors) > n {
			first := *f
			first.Authors = f.Authors[:n]
			f = &first
		}
		if n := be.FirstIDs; n > 0 && len(f.IDs) > n {
			first := *f
			first.IDs = f.IDs[:n]
			f = &first
		}
		limit, w := be.limit(f), boundsOf(f, be)
		keep := be.shows
		if be.PostFilter {
			keep = nil
		}
		ask := limit
		if be.Hints && limit > 0 {
			ask++ // to know whether there is more
		}
		rows := r.book.pick(f, w, ask, be.Order, keep)
		if limit >= 0 && len(rows) > limit {
			p.more = true
			rows = rows[:limit]
		}
		if limit == 0 {
			p.more = true // as far as anybody knows
		}
		if be.PostFilter {
			rows = slices.DeleteFunc(rows, func(e entry) bool {
				hide := !be.shows(e.Event)
				p.hidden = p.hidden || hide
				return hide
			})
		}
		p.events = append(p.events, rows...)
	}
	if len(filters) > 1 { // merged as one page
		slices.SortStableFunc(p.events, compareEntries)
		p.events = slices.CompactFunc(p.events, func(a, b entry) bool { return a.ID == b.ID })
	}
	return p
}

// outside returns n events that the filter's window excludes.
func (r *Relay) outside(f *nostr.Filter, n int) []entry {
	inside := boundsOf(f, &Behaviour{})
	rest := *f
	rest.Since, rest.Until = nil, nil
	return r.book.pick(&rest, boundsOf(&rest, &Behaviour{}), n, NewestFirst, func(e *Event) bool {
		return e.CreatedAt < inside.lo || e.CreatedAt > inside.hi
	})
}

// answerReq says everything that a REQ is answered with, faults included.
func (c *conversation) answerReq(ctx context.Context, be *Behaviour, a ask) error {
	r := c.relay
	if err := wait(ctx, be.Latency); err != nil {
		return err
	}
	faults := be.struck(r.seed, r.counters.answered.Add(1), func(w What) bool { return !w.ofConnection() })
	find := func(what What) (Fault, bool) {
		i := slices.IndexFunc(faults, func(f Fault) bool { return f.What == what })
		if i < 0 {
			return Fault{}, false
		}
		return faults[i], true
	}
	if why := c.refusal(be, a.Filters); why != "" {
		return c.refuse(ctx, be, a.Sub, why)
	}
	r.book.mu.RLock()
	a.sub.upTo = r.book.seq
	r.book.mu.RUnlock()
	p := r.turn(be, a.Filters)

	drip, slow := find(Drip)
	c.wire.pack()
	defer func() { _ = c.wire.release() }() // an error comes back with the next write
	say := func(write func() error) error {
		if err := write(); err != nil || !slow {
			return err
		}
		err := c.wire.drip(ctx, drip.N, drip.Wait)
		c.wire.pack()
		return err
	}

	// What comes before the page.
	if f, ok := find(Notice); ok {
		if err := say(func() error { return c.notice(ctx, f.text("error: something is odd")) }); err != nil {
			return err
		}
	}
	for _, what := range []What{NoticeEOSE, NoticeOnly} {
		if f, ok := find(what); ok {
			if err := say(func() error { return c.notice(ctx, f.text("error: could not search")) }); err != nil {
				return err
			}
			if what == NoticeOnly {
				c.drop(a.Sub)
				return nil
			}
			return c.eose(ctx, a.Sub, 0)
		}
	}
	if f, ok := find(Garbage); ok {
		for i := range f.N {
			if err := say(func() error { return c.write(ctx, []byte(garbage[i%len(garbage)])) }); err != nil {
				return err
			}
		}
	}
	for _, what := range []What{Oversize, Bomb} {
		if f, ok := find(what); ok {
			text := append(eventPrefix(a.Sub), `{"content":"`...)
			text = append(text, bytes.Repeat([]byte("0"), f.N)...)
			if err := c.write(ctx, append(text, `"}]`...)); err != nil {
				return err
			}
		}
	}
	if _, ok := find(Empty); ok {
		p = page{}
	}
	if f, ok := find(Short); ok {
		p.events, p.more = cut(p.events, f.N), true
	}
	var late []entry
	if f, ok := find(Late); ok {
		n := max(len(p.events)-f.N, 0)
		p.events, late = p.events[:n], p.events[n:]
	}
	if f, ok := find(Outside); ok {
		// Among the first, so that they are no matter of order.
		p.events = slices.Insert(slices.Clone(p.events), min(1, len(p.events)), r.outside(&a.Filters[0], f.N)...)
	}
	if f, ok := find(Duplicates); ok {
		p.events = append(slices.Clone(p.events), p.events[:min(f.N, len(p.events))]...)
	}
	if f, ok := find(Stray); ok {
		for _, e := range r.book.pick(&nostr.Filter{}, boundsOf(&nostr.Filter{}, be), f.N, NewestFirst, be.shows) {
			if err := say(func() error { return c.event(ctx, "nobody", e.JSON) }); err != nil {
				return err
			}
		}
	}

	// The page, up to where it breaks.
	stop := slices.IndexFunc(faults, func(f Fault) bool { return f.ends() })
	if stop >= 0 {
		p.events = cut(p.events, faults[stop].N)
	}
	for _, e := range p.events {
		if a.sub.closed.Load() {
			return nil
		}
		if err := say(func() error { return c.event(ctx, a.Sub, e.JSON) }); err != nil {
			return err
		}
	}
	if stop >= 0 {
		return c.breakOff(ctx, a.Sub, faults[stop])
	}

	// The end.
	if _, ok := find(NoEOSE); ok {
		return nil
	}
	var hints nostr.Hints
	if be.Hints {
		hints = nostr.HintFinish
		if p.more {
			hints = nostr.HintMore
		}
		if p.hidden {
			hints |= nostr.HintAuth
		}
	}
	if err := say(func() error { return c.eose(ctx, a.Sub, hints) }); err != nil {
		return err
	}
	for _, e := range late {
		if err := say(func() error { return c.event(ctx, a.Sub, e.JSON) }); err != nil {
			return err
		}
	}
	c.mu.Lock()
	a.sub.live = true
	c.mu.Unlock()
	return nil
}

// ends tells whether the fault ends an answer after N events.
func (f Fault) ends() bool {
	switch f.What {
	case Closed, Stall, Reset, Leave, BadFrame:
		return true
	}
	return false
}

func (f Fault) text(otherwise string) string {
	if f.Text != "" {
		return f.Text
	}
	return otherwise
}

// breakOff ends an answer in the way of a fault.
func (c *conversation) breakOff(ctx context.Context, sub string, f Fault) error {
	switch f.What {
	case Closed:
		c.drop(sub)
		return c.closed(ctx, sub, f.text("error: scan timeout"))
	case Stall:
		c.drop(sub)
		return nil
	case Leave:
		if err := c.wire.release(); err != nil {
			return err
		}
		_ = c.ws.Close(1001, "going away")
	case BadFrame:
		// A text frame with a reserved bit that nobody negotiated.
		if err := c.ws.WriteRaw([]byte{0xb1, 0x02, 'h', 'i'}); err != nil {
			return err
		}
		return c.wire.release() // the client has to end it
	default:
		if err := c.wire.release(); err != nil {
			return err
		}
		c.wire.reset()
	}
	return errBroke
}

// garbage are messages that no relay should send.
var garbage = []string{
	`{"not":"an array"}`, `[]`, `["EVENT"]`, `["EVENT","x",{"id":1}]`, `not json`, "\x00\x01", `[1,2,3]`, `["HELLO","world"]`,
}
