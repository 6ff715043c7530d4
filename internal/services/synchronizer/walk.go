package synchronizer

import (
	"context"
	"slices"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

// why a visit ended before its work was done.
type why uint8

const (
	lost     why = iota + 1 // the connection is gone: open another one
	unwanted                // the relay does not take this filter
	refused                 // the relay does not want to, or cannot: come back later
	yielded                 // the budget of the visit is spent
	stopped                 // we are shutting down
	waits                   // the relay is to be left alone until a time
)

// halt ends a visit. It is no failure of ours: what has been proved is saved,
// and the rest stays a gap.
type halt struct {
	why   why
	cause dial.Cause
	until int64 // of waits
}

func (h *halt) Error() string { return "visit ends: " + string(h.cause) }

// walk is the walk of one filter at one relay.
type walk struct {
	v        *visit
	filter   nostr.Filter
	filterID store.FilterID
	// listed says that the filter names public kinds only, so that a relay that
	// drops private events after limiting has nothing to drop.
	listed bool
	// claims is false in the lane beyond the future limit: nothing there lies
	// below the time of asking.
	claims bool

	served bool  // the relay has answered this filter
	span   int64 // how wide a window may be; narrowed after trouble
	faults int   // troubles since the last clean page
	floods int   // pages with far more events than asked for
	tears  int   // successors in a row that did not repeat their boundary
	tests  int   // how often a short page was asked again
	strays int   // pages in a row with events from outside of their window
	murky  int   // pages in a row of which nothing could be read

	largest int // the largest page of this filter

	counted int64        // events of the gap, as far as an exact COUNT may confirm them
	wrong   []store.Hole // inside of the gap
	plain   bool         // nothing has happened that makes counted unsure
	begun   int64        // when the first page of the gap was asked for

	accidents int // empty pages that were not empty when asked again

	held []*step // pages whose claims rest on an order that is not believed yet
}

func (v *visit) walk(f nostr.Filter, id store.FilterID) *walk {
	return &walk{v: v, filter: f, filterID: id, listed: forEveryone(f.Kinds), claims: true, span: v.span}
}

// direction is which end of the window a relay gives first. Relays that answer
// newest first are walked down by until, the others up by since; everything
// else is the same in a mirror.
type direction int64

const (
	down direction = -1
	up   direction = 1
)

func (d direction) start(gap store.Interval) int64 {
	if d == down {
		return gap.Hi
	}
	return gap.Lo
}

// window is the part of the gap that is not walked yet, at most span wide.
func (d direction) window(gap store.Interval, edge, span int64) store.Interval {
	if d == down {
		win := store.Interval{Lo: gap.Lo, Hi: edge}
		if width(win) > span {
			win.Lo = edge - span
		}
		// The seconds 0 and 1 cannot be told apart without a bound below 1.
		if win.Hi <= 1 {
			win.Lo = gap.Lo
			win.Hi = min(1, gap.Hi)
		}
		return win
	}
	win := store.Interval{Lo: edge, Hi: gap.Hi}
	if width(win) > span {
		win.Hi = edge + span
	}
	return win
}

// past is the first second behind the window.
func (d direction) past(win store.Interval) int64 {
	if d == down {
		return win.Lo - 1
	}
	if win.Hi == maxTime {
		return maxTime
	}
	return win.Hi + 1
}

func (d direction) done(gap store.Interval, edge int64) bool {
	if d == down {
		return edge < gap.Lo
	}
	return edge > gap.Hi || edge == maxTime
}

// far is the end of the page to which the walk has come.
func (d direction) far(p *page) int64 {
	if d == down {
		return p.lo
	}
	return p.hi
}

// before is what the page has passed completely: all but its far second.
func (d direction) before(win store.Interval, far int64) store.Interval {
	if d == down {
		return store.Interval{Lo: far + 1, Hi: win.Hi}
	}
	return store.Interval{Lo: win.Lo, Hi: far - 1}
}

// rest is the part of the gap from the edge on.
func (d direction) rest(gap store.Interval, edge int64) store.Interval {
	return d.window(gap, edge, maxTime)
}

// order is how pages must be sorted for this direction.
func (d direction) order() store.PageOrder {
	if d == down {
		return store.OrderNewest
	}
	return store.OrderOldest
}

// step is a page that waits for its successor: when that repeats an id of the
// page's last second, the two overlap and nothing lies between them.
type step struct {
	page  *page
	edge  int64 // where the page began
	ids   []nostr.ID
	claim *claim
	lone  bool // a page of a single second that looks complete
}

// gap walks a stretch in the way that suits the relay, and counts it.
func (w *walk) gap(ctx context.Context, gap store.Interval) error {
	unproved := w.v.unproved
	w.counted, w.plain, w.begun, w.wrong, w.held = 0, true, 0, nil, nil
	if err := w.pages(ctx, gap); err != nil {
		return err
	}
	if w.claims && w.plain && w.v.cal.Counts && unproved == w.v.unproved && w.begun != 0 {
		if agrees, err := w.confirm(ctx, gap); err != nil || agrees {
			return err
		}
	}
	return w.unsure(ctx)
}

// tally counts the events of a page that its predecessor had not. A page of a
// relay that ignores since goes on below the gap, where the count does not.
func (w *walk) tally(p *page, prev *step, gap store.Interval) {
	if w.begun == 0 {
		w.begun = p.sent
	}
	var ids []nostr.ID
	if prev != nil {
		ids = prev.ids
	}
	for _, r := range p.refs {
		if r.CreatedAt < w.begun && inside(gap, r.CreatedAt) && !slices.Contains(ids, r.ID) {
			w.counted++
		}
	}
}

// confirm asks for an exact count of the gap right after its walk. Equality
// raises the level; a difference proves nothing, because events come and go.
func (w *walk) confirm(ctx context.Context, gap store.Interval) (agrees bool, err error) {
	v := w.v
	gap.Hi = min(gap.Hi, w.begun-1)
	if gap.Hi < gap.Lo {
		return false, nil
	}
	n, exact, err := v.count(ctx, w.filter, gap)
	if err != nil || !exact || n != w.counted {
		return false, err
	}
	v.prove(&claim{Coverage: store.Coverage{
		Relay: v.relay.ID, Filter: w.filterID, Interval: gap,
		Level: store.LevelCounted, AsOf: w.begun, Method: "count", N: n,
	}, holes: w.wrong})
	return true, v.save(ctx, nil, nil)
}

func (w *walk) pages(ctx context.Context, gap store.Interval) error {
	switch w.v.cal.Order {
	case store.OrderOldest:
		return w.run(ctx, gap, up)
	case store.OrderUnsorted:
		return w.split(ctx, gap)
	}
	return w.run(ctx, gap, down)
}

// run walks a gap page by page.
func (w *walk) run(ctx context.Context, gap store.Interval, d direction) error {
	v := w.v
	edge := d.start(gap)
	var prev *step
	if d == up {
		v.noSince = false // the oldest events again and again are no way up
	}
	for !d.done(gap, edge) {
		span := w.span
		if v.noSince {
			span = maxTime // a narrow window needs since
		}
		win := d.window(gap, edge, span)
		p, err := v.ask(ctx, question{filter: w.filter, win: win})
		if err != nil {
			return err
		}
		if !p.clean() {
			if err := v.save(ctx, p, nil); err != nil {
				return err
			}
			if win.Lo == win.Hi && p.flood {
				// Even a single second is more than the relay was asked for.
				if err := w.dense(ctx, win, p); err != nil {
					return err
				}
				edge, prev = d.past(win), nil
				w.plain = false
				continue
			}
			if err := w.trouble(p); err != nil {
				return err
			}
			continue
		}
		w.faults, w.served = 0, true

		if p.above+p.below > 0 {
			paged, err := w.outside(ctx, p, gap, d)
			if err != nil || !paged {
				return err
			}
			continue
		}
		w.strays = 0
		if p.murky() && w.murky < maxMurky {
			w.murky++
			if err := v.save(ctx, p, nil); err != nil {
				return err
			}
			continue
		}
		w.murky = 0
		w.grow(p)
		if p.order != store.OrderUnknown && p.order != d.order() {
			return w.turnAround(ctx, p, d.rest(gap, w.begin(prev, edge)), d)
		}
		w.weigh(p, d)
		if len(w.held) > maxHeld {
			if err := v.save(ctx, p, nil); err != nil {
				return err
			}
			rest := d.rest(gap, w.begin(prev, edge))
			w.held = nil
			return w.split(ctx, rest)
		}
		finish := p.end.Kind == session.EOSEFinish
		if (d == up || finish) && !v.bounded && len(p.refs) > 0 {
			// A walk upwards, or of one page, would never notice an exclusive until.
			if err := v.calibrateUntil(ctx, p.refs[0]); err != nil {
				return err
			}
			if v.cal.ExclusiveUntil {
				continue
			}
		}
		if prev == nil {
			if ok, err := w.anchored(ctx, p, d); err != nil || !ok {
				if err == nil {
					err = w.turnAround(ctx, p, d.rest(gap, edge), d)
				}
				return err
			}
		}

		// The successor of the page before has ended: judge that page by it.
		if prev != nil {
			next, again, err := w.judge(ctx, prev, p, d)
			if err != nil {
				return err
			}
			if again {
				if err := v.save(ctx, p, nil); err != nil {
					return err
				}
				edge, prev = next, nil
				w.plain = false
				continue
			}
		}
		w.tally(p, prev, gap)
		lone := prev
		if lone != nil && (!lone.lone || !p.empty() || w.hides()) {
			lone = nil
		}
		prev = nil
		w.widen()
		// While the order is not believed, a second that looks complete is no part of
		// what the empty page behind it proves.
		var apart *step
		if lone != nil && !w.believes(d) {
			apart, lone = lone, nil
		}

		switch {
		case finish && v.bounded:
			// The relay says that this was all of the window.
			if apart != nil {
				w.prove(apart, d)
			}
			v.await(w.claimBoth(p, lone, store.LevelAsserted, "finish"))
			if err := v.save(ctx, p, w.holes(p, win)); err != nil {
				return err
			}
			edge = d.past(win)
			continue
		case p.empty():
			unproved := v.unproved
			if edge, err = w.bottom(ctx, p, lone, edge, d); err != nil {
				return err
			}
			if apart != nil {
				// A relay that has more there than it showed may have of the second, too.
				if edge == d.past(p.win) && v.unproved == unproved && !w.hides() {
					w.prove(apart, d)
				} else {
					v.unproved++
				}
			}
			continue
		case len(p.refs) == 0:
			// Frames came that nobody can read, and nothing else: something is
			// there, and its time is unknown.
			hole := w.hole(win, store.AnyKind, unreadable(p), int64(p.frames()), retryOpaque)
			if err := v.save(ctx, p, []store.Hole{hole}); err != nil {
				return err
			}
			edge = d.past(win)
			continue
		}

		far := d.far(p)
		if !inside(win, far) {
			far = d.past(win) // a relay that ignores since answered beyond the window
		}
		if far != edge && win.Hi > 1 {
			stretch := d.before(win, far)
			prev = &step{page: p, edge: edge, ids: p.at(d.far(p)), claim: w.claim(stretch, p, store.LevelWalked, "walked")}
			if err := v.save(ctx, p, w.holes(p, stretch)); err != nil {
				return err
			}
			edge = far
			if d.done(gap, edge) {
				return w.closing(ctx, prev, d)
			}
			continue
		}

		// The page is a single second.
		second := store.Interval{Lo: edge, Hi: edge}
		if win.Hi <= 1 {
			second = win
		}
		whole, err := w.fits(ctx, p, second, d)
		if err != nil {
			return err
		}
		if !whole {
			if err := v.save(ctx, p, w.holes(p, second)); err != nil {
				return err
			}
			w.plain = false
			if err := w.dense(ctx, second, p); err != nil {
				return err
			}
		} else {
			prev = &step{page: p, edge: edge, lone: true, claim: w.claim(second, p, store.LevelWalked, "walked")}
			if err := v.save(ctx, p, w.holes(p, second)); err != nil {
				return err
			}
		}
		edge = d.past(second)
		if d.done(gap, edge) && prev != nil {
			// The gap ends with this second, so no successor can contradict it.
			if !w.hides() && w.believes(d) {
				v.await(prev.claim)
			} else if !w.hides() {
				w.prove(prev, d)
			}
			return nil
		}
	}
	return nil
}

// fits reports whether a page of a single second holds all of it. The largest
// page of the relay says little where its pages depend on the filter, or have
// become smaller; then a page that asks for one event more must go on beyond the
// second.
func (w *walk) fits(ctx context.Context, p *page, second store.Interval, d direction) (bool, error) {
	if p.end.Kind == session.EOSEMore && p.win.Lo == p.win.Hi {
		return false, nil // it says itself that the second holds more
	}
	if p.full() {
		return w.v.tiny(p), nil
	}
	if !w.fills(p) || w.hides() {
		return true, nil
	}
	win := store.Interval{Lo: 0, Hi: second.Hi}
	if d == up {
		win = store.Interval{Lo: second.Lo, Hi: maxTime}
	}
	for range maxSilences {
		q, err := w.v.ask(ctx, question{filter: w.filter, win: win, limit: p.frames() + 1})
		if err != nil {
			return false, err
		}
		if err := w.v.save(ctx, q, nil); err != nil {
			return false, err
		}
		if q.clean() && (q.order == store.OrderUnknown || q.order == d.order()) && len(q.refs) > 0 && !inside(second, d.far(q)) {
			return true, nil
		}
	}
	return false, nil
}

// grow remembers the largest page of this filter.
func (w *walk) grow(p *page) {
	w.largest = max(w.largest, len(p.refs)+p.aside)
	if !w.listed {
		w.v.shown = max(w.v.shown, w.largest)
	}
}

// fills reports whether a page may be as large as pages of this filter are.
func (w *walk) fills(p *page) bool {
	return p.frames() >= smallestLimit && !p.passed() && p.fills(w.largest)
}

// short reports whether the relay has given more in a page of this filter.
func (w *walk) short(p *page) bool { return p.frames()+p.aside < min(p.limit, w.largest) }

// cover extends a window by the single second before it.
func cover(win store.Interval, lone *step) store.Interval {
	if lone != nil {
		win.Lo, win.Hi = min(win.Lo, lone.edge), max(win.Hi, lone.edge)
	}
	return win
}

// claimBoth claims the window of a page and the single second before it, with
// what could not be had of either.
func (w *walk) claimBoth(p *page, lone *step, level store.Level, method string) *claim {
	c := w.claim(cover(p.win, lone), p, level, method)
	if c != nil && lone != nil && lone.claim != nil {
		c.holes = append(c.holes, lone.claim.holes...)
		c.after = append(c.after, lone.claim.after...)
	}
	return c
}

func unreadable(p *page) store.HoleReason {
	if p.oversize > 0 {
		return store.HoleOversize
	}
	return store.HoleInvalid
}

// hides reports whether the relay drops events after it has counted the limit,
// so that a short or empty page of this filter proves nothing.
func (w *walk) hides() bool { return w.v.cal.PostFiltering && !w.listed }

// judge decides about a page when its successor p has ended. It returns where
// the walk goes on and true when p is not to be used.
func (w *walk) judge(ctx context.Context, prev *step, p *page, d direction) (next int64, again bool, err error) {
	v := w.v
	if prev.lone {
		// A page that held one second, and less than a page can hold, has been
		// followed by more events: a relay that fills its pages would have given
		// them at once.
		if p.empty() || w.hides() {
			return 0, false, nil
		}
		if !p.adds(prev.page.win, prev.ids) {
			w.prove(prev, d) // the page goes on below the window of the second
			return 0, false, nil
		}
		longer, err := w.longer(ctx, prev)
		if err != nil {
			return 0, false, err
		}
		return prev.edge, longer, nil
	}
	if !p.repeats(prev.ids) {
		return w.torn(ctx, prev, d)
	}
	if !v.bounded && d == down {
		v.bounded, v.learned = true, true
	}
	w.tears = 0
	w.prove(prev, d)
	if !w.hides() && w.short(prev.page) && p.adds(prev.page.win, prev.ids) {
		// The page was shorter than an earlier one and not the last.
		if _, err := w.longer(ctx, prev); err != nil {
			return 0, false, err
		}
	}
	return 0, false, nil
}

// maxTests is how often a walk asks again whether a short page was an accident.
const maxTests = 3

// longer asks a page that was too short once more. If it is longer now, the
// relay had an accident; else it filters after limiting.
func (w *walk) longer(ctx context.Context, prev *step) (bool, error) {
	v := w.v
	if w.tests >= maxTests {
		v.hidesEvents()
		return false, nil
	}
	w.tests++
	w.plain = false
	p, err := v.ask(ctx, question{filter: w.filter, win: prev.page.win})
	if err != nil {
		return false, err
	}
	if err := v.save(ctx, p, nil); err != nil {
		return false, err
	}
	if !p.clean() {
		return false, w.trouble(p)
	}
	if p.frames() > prev.page.frames() {
		return true, nil
	}
	v.hidesEvents()
	return false, nil
}

// torn handles a successor that does not repeat the boundary second of the page
// before it. The question by id tells what is wrong: until is exclusive, the
// event is gone, or one of the pages was not what it should be.
func (w *walk) torn(ctx context.Context, prev *step, d direction) (int64, bool, error) {
	v := w.v
	v.unproved++
	if !v.bounded || w.tears == maxTears {
		if exclusive, err := w.cutsOff(ctx, prev, d); err != nil || exclusive {
			// The newest second of the page before was left out too.
			return prev.edge, exclusive, err
		}
	}
	// An accident, of this page or of the one before, is over at the next try.
	// If not, the walk goes on without a claim for that page.
	w.tears++
	return prev.edge, w.tears <= maxTears, nil
}

// cutsOff asks whether until is exclusive after all, when a page does not repeat
// the boundary of the one before it. What was learned before may have been an
// accident.
func (w *walk) cutsOff(ctx context.Context, prev *step, d direction) (bool, error) {
	v := w.v
	if d == up || v.cal.ExclusiveUntil || len(prev.ids) == 0 {
		return false, nil
	}
	err := v.calibrateUntil(ctx, nostr.Ref{ID: prev.ids[0], CreatedAt: prev.page.lo})
	return v.cal.ExclusiveUntil, err
}

// closing proves the last page of a gap that reached beyond the gap's end, by a
// small page at its boundary.
func (w *walk) closing(ctx context.Context, prev *step, d direction) error {
	v := w.v
	far := d.far(prev.page)
	win := store.Interval{Lo: far, Hi: far}
	if d == down {
		win.Lo = 0
	}
	p, err := v.ask(ctx, question{filter: w.filter, win: win, limit: len(prev.ids) + 1})
	if err != nil {
		return err
	}
	if err := v.save(ctx, p, nil); err != nil {
		return err
	}
	if p.clean() && p.repeats(prev.ids) {
		w.prove(prev, d)
		return v.save(ctx, nil, nil)
	}
	v.unproved++
	_, err = w.cutsOff(ctx, prev, d)
	return err
}

// outside handles a page with events from outside of its window. Such a page
// proves nothing and is asked again; a relay that goes on like this cannot be
// paged. It returns false when the gap is given up.
func (w *walk) outside(ctx context.Context, p *page, gap store.Interval, d direction) (bool, error) {
	v := w.v
	w.strays++
	if w.strays <= maxStrays {
		return true, v.save(ctx, p, nil)
	}
	if p.above == 0 && d == down && !v.noSince {
		// It ignores since. Pages without since cost the same, and the walk
		// knows by itself where to stop.
		v.noSince = true
		return true, v.save(ctx, p, nil)
	}
	v.cal.IgnoresUntil, v.learned = p.above > 0, true
	return false, v.save(ctx, p, []store.Hole{w.hole(gap, store.AnyKind, store.HoleUnpaged, -1, retryPolicy)})
}

const (
	maxStrays   = 2  // pages with events from outside before the bounds count as ignored
	maxSilences = 2  // answers in a row that do not end
	maxFaults   = 4  // troubles in a row before the visit ends
	maxFloods   = 64 // floods before it ends: each is met by a narrower window
	maxMurky    = 2  // times that a page is asked again that held nothing readable
	maxTears    = 2  // times that a page is asked again for its boundary
	shrink      = 16 // how much narrower a window gets after trouble
)

// turnAround goes on in another way when a page shows that the relay does not
// answer in the expected order.
func (w *walk) turnAround(ctx context.Context, p *page, rest store.Interval, d direction) error {
	v := w.v
	w.held = nil
	if err := v.save(ctx, p, nil); err != nil {
		return err
	}
	if p.order == store.OrderUnknown && w.hides() {
		return w.split(ctx, rest) // too little is seen to tell the order
	}
	v.learned, w.plain = true, false
	if d == down && p.order != store.OrderUnsorted {
		v.cal.Order = store.OrderUnknown
		return w.run(ctx, rest, up)
	}
	v.cal.Order = store.OrderUnsorted
	return w.split(ctx, rest)
}

// anchored checks that the first page of a walk begins where it should. Upwards
// nothing may lie below its oldest event, or the relay gives its newest events
// and only sorts them the other way round. Downwards that follows from the order
// of the page, unless the page is a single second and the relay's order is not
// known yet: then nothing may lie above.
func (w *walk) anchored(ctx context.Context, p *page, d direction) (bool, error) {
	var outer store.Interval
	switch {
	case len(p.refs) == 0:
		return true, nil
	case d == up:
		outer = store.Interval{Lo: p.win.Lo, Hi: p.lo - 1}
	case p.order == store.OrderUnknown && w.v.cal.Order == store.OrderUnknown:
		outer = store.Interval{Lo: p.hi + 1, Hi: p.win.Hi}
	default:
		return true, nil
	}
	if outer.Lo > outer.Hi || outer.Hi < 1 {
		return true, nil
	}
	q, err := w.probe(ctx, outer)
	if err != nil {
		return false, err
	}
	if !q.empty() {
		return false, nil
	}
	// What lies there may be hidden: a full page of private events looks empty.
	if !w.listed {
		if err := w.v.calibratePrivate(ctx); err != nil {
			return false, err
		}
	}
	n, exact, err := w.v.count(ctx, w.filter, outer)
	if err != nil {
		return false, err
	}
	if exact && n > 0 && !w.listed {
		w.v.hidesEvents()
	}
	return !w.hides(), nil
}

// trouble decides what to do about a page that proves nothing: ask for less,
// or end the visit.
func (w *walk) trouble(p *page) error {
	v := w.v
	if err := w.wall(p); err != nil {
		return err
	}
	cause := p.end.Cause()
	if p.end.EOSE() || p.end.Kind == session.Stopped {
		cause = dial.CauseReadRestricted // a NOTICE in words only, or a flood
	}
	if p.flood {
		if w.floods++; w.floods > maxFloods {
			return &halt{why: refused, cause: cause}
		}
		// About half as much should come from half as far.
		w.span = max(1, min(w.span, width(p.win), p.hi-p.lo)/2)
		return nil
	}
	if n := min(v.limit, p.frames()) / 2; p.end.Kind == session.Slow && n >= smallestLimit && n < v.limit {
		// It answers, and takes more than an answer may for so many.
		v.limit, v.lowered = n, true
		return nil
	}
	w.faults++
	said := p.end.Kind == session.Closed || p.end.Kind == session.Notice || p.end.EOSE() && p.frames() == 0
	switch {
	case w.faults == 1:
		return nil // an accident is over at the next try
	case said && p.frames() == 0 && !v.served && v.limit > smallestLimit:
		// Some relays refuse a limit above theirs instead of lowering it.
		v.limit = max(v.limit/2, smallestLimit)
		v.lowered = true
		w.faults--
		return nil
	case said && !w.served:
		return &halt{why: unwanted, cause: cause}
	case w.faults > maxFaults, cause == dial.CauseReadTimeout && w.faults > maxSilences:
		return &halt{why: refused, cause: cause}
	}
	if w.span = min(w.span, width(p.win)) / shrink; w.span < shrink {
		w.span = 0
	}
	return nil
}

// wall ends the visit when the relay does not want to be asked now.
func (w *walk) wall(p *page) error {
	switch cause := p.end.Cause(); cause {
	case dial.CauseReadAuth:
		if !w.served {
			return &halt{why: unwanted, cause: cause}
		}
		return &halt{why: refused, cause: cause}
	case dial.CauseRateLimited:
		return &halt{why: refused, cause: cause}
	}
	return nil
}

// tiny reports whether a page is the second in which all of a relay's events
// lie. Fewer than the smallest limit are taken for all, or no relay with a single
// event could ever be proved: the smallest page size seen is 100. More may be a
// full page, of a second in which an earlier visit was interrupted.
func (v *visit) tiny(p *page) bool { return p.frames() < smallestLimit && v.lowest == v.highest }

// smallestLimit is the smallest page that is asked for.
const smallestLimit = 5

// widen takes back a part of the narrowing.
func (w *walk) widen() {
	if w.span < maxTime/4 {
		w.span = max(1, w.span) * 2
	}
}
