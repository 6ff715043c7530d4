package synchronizer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

// pager asks one relay. A session does it over the wire; property tests put a
// model of a relay in its place.
type pager interface {
	Req(ctx context.Context, f nostr.Filter, visit func(raw []byte) error) (session.Page, error)
	Count(ctx context.Context, f nostr.Filter) (nostr.CountResult, session.Page, error)
	Reconcile(ctx context.Context, f nostr.Filter, first []byte, step func(payload []byte) ([]byte, error)) (session.Reconciliation, error)
	Late(sub string) session.Late
}

const (
	// sliceBytes is how much of a page is held raw. A longer page is sorted and
	// saved in slices while it comes, so that twenty relays at once need no more
	// than a few megabytes each.
	sliceBytes = 1 << 20
	// Beyond these a page is a flood: the relay ignores the limit.
	floodEvents = 5000
	floodFactor = 4
	floodBytes  = 256 << 20
)

// page is the answer to one REQ.
type page struct {
	win   store.Interval // what was asked for, and is answered if all is well
	limit int
	sent  int64 // when the REQ was sent: nothing is claimed above it
	from  *answer
	end   session.Terminal

	flood   bool
	notices int
	largest int // the largest page that the relay had given before
	// descends says that the relay is believed to give the newest first.
	descends bool

	refs     []nostr.Ref // the frames within the window, in their order, wrong ones too
	lo, hi   int64       // the oldest and the newest of refs
	order    store.PageOrder
	unread   int // frames that are no event
	oversize int // frames that were too large to read
	above    int // events newer than what was asked for
	below    int // events older than what was asked for
	aside    int // events of the second that was added below the window
	over     int // events of the second that was added for an exclusive until
	stray    int // events within the window that do not match the filter

	fresh   int   // events that were not archived before
	freshLo int64 // the oldest of them
	knownHi int64 // the newest of the others

	refused      int // frames with a wrong id or signature
	badLo, badHi int64
	bad          []nostr.Ref // those frames
	kinds        map[nostr.Kind]int
	rest         archive.Sorted // what has not been saved yet
	seen         bool           // a frame has come
	last         int64
	falls, rises bool // whether a frame was older or newer than the one before
}

// answer names what a REQ brought, also after its connection is lost, and keeps
// what came late.
type answer struct {
	pager pager
	sub   string
	late  session.Late
}

// frames is the size of the page as the relay counts it.
func (p *page) frames() int { return len(p.refs) + p.unread + p.oversize }

// clean reports whether the page may prove anything.
func (p *page) clean() bool { return p.end.EOSE() && p.notices == 0 && !p.flood }

// full reports whether the page may have been cut off: it is nearly as large as
// the largest page that this relay has given, as far as we asked for so much.
// Nearly, because a page may once have held an event more than the limit.
func (p *page) full() bool { return !p.passed() && p.fills(p.largest) }

// fills reports whether the page is nearly as large as pages are.
func (p *page) fills(largest int) bool {
	return 10*(p.frames()+p.aside+p.over) >= 9*min(p.limit, largest)
}

// passed reports that the page goes on below its window, so that it lacks
// nothing of it.
func (p *page) passed() bool { return p.aside > 0 && p.order == store.OrderNewest && p.descends }

// crowded reports that events of the second below the window may have taken the
// place of others.
func (p *page) crowded() bool { return p.aside > 0 && !p.passed() && p.fills(p.largest) }

// murky reports that something came, and nothing that could be read: events
// whose time is not known, or noise.
func (p *page) murky() bool { return len(p.refs) == 0 && p.unread+p.oversize > 0 }

// empty reports that nothing at all came.
func (p *page) empty() bool { return p.frames() == 0 }

// at returns the ids of a second.
func (p *page) at(second int64) []nostr.ID {
	var ids []nostr.ID
	for _, r := range p.refs {
		if r.CreatedAt == second {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// all returns the ids of the page.
func (p *page) all() []nostr.ID {
	ids := make([]nostr.ID, len(p.refs))
	for i, r := range p.refs {
		ids[i] = r.ID
	}
	return ids
}

// repeats reports whether the page holds one of ids.
func (p *page) repeats(ids []nostr.ID) bool {
	for _, r := range p.refs {
		if slices.Contains(ids, r.ID) {
			return true
		}
	}
	return false
}

// adds reports whether the page holds an event within win that is not among ids.
func (p *page) adds(win store.Interval, ids []nostr.ID) bool {
	known := make(map[nostr.ID]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	for _, r := range p.refs {
		if !known[r.ID] && inside(win, r.CreatedAt) {
			return true
		}
	}
	return false
}

// take accounts for one frame within the window.
func (p *page) take(ref nostr.Ref) {
	if len(p.refs) == 0 {
		p.lo, p.hi = ref.CreatedAt, ref.CreatedAt
	}
	p.lo, p.hi = min(p.lo, ref.CreatedAt), max(p.hi, ref.CreatedAt)
	p.refs = append(p.refs, ref)
}

// isNew accounts for an event that was not archived before.
func (p *page) isNew(at int64) {
	if p.fresh == 0 {
		p.freshLo = at
	}
	p.fresh++
	p.freshLo = min(p.freshLo, at)
}

// follow keeps track of the order of all frames, also of those that were not
// asked for.
func (p *page) follow(at int64) {
	if p.seen {
		p.falls = p.falls || at < p.last
		p.rises = p.rises || at > p.last
	}
	p.seen, p.last = true, at
}

func (p *page) sorted() store.PageOrder {
	switch {
	case p.falls && p.rises:
		return store.OrderUnsorted
	case p.falls:
		return store.OrderNewest
	case p.rises:
		return store.OrderOldest
	}
	return store.OrderUnknown
}

// maxComplaints is how often a question is asked again after a complaint about
// the number of subscriptions.
const maxComplaints = 3

// question is what a REQ asks.
type question struct {
	filter  nostr.Filter // without bounds and limit
	win     store.Interval
	limit   int                // 0: what the relay accepts
	exact   bool               // without the second below the window
	observe func(*nostr.Event) // sees each valid event, under a lock
	// complaints is how often it was said meanwhile that we ask too much at once.
	complaints int
}

// bounds puts the window into a filter and returns the newest created_at that
// an obedient relay may answer with.
func (v *visit) bounds(f nostr.Filter, win store.Interval) (nostr.Filter, int64) {
	top := win.Hi
	if win.Lo >= 1 && !v.noSince {
		f.Since = &win.Lo
	}
	if win.Hi < maxTime {
		if v.cal.ExclusiveUntil {
			top++
		}
		top = max(top, 1)
		hi := top
		f.Until = &hi
	}
	return f, top
}

// request is a question on its way.
type request struct {
	v     *visit
	q     question
	page  *page
	wire  nostr.Filter
	match nostr.Filter   // the same without a limit
	asked store.Interval // what an obedient relay may answer with
	from  pager

	seen        sync.Mutex
	frames      arena // raw, until they are sorted
	count, size int
	got         session.Page
	err         error
}

// ask sends one REQ and reads its answer. What came is sorted; the last slice
// of it is left in page.rest, so that it can be saved with what it proves. The
// error is a local one, or a halt where nothing could be asked.
func (v *visit) ask(ctx context.Context, q question) (*page, error) {
	if err := v.turn(ctx); err != nil {
		return nil, err
	}
	r := v.request(q)
	r.send(ctx)
	r.spend()
	return r.receive(ctx)
}

// askTogether asks several questions at once. Where it is time to end the visit
// before all are asked, it returns the answers to the first of them.
func (v *visit) askTogether(ctx context.Context, questions []question) ([]*page, error) {
	var requests []*request
	for _, q := range questions {
		if err := v.turn(ctx); err != nil {
			if len(requests) == 0 {
				return nil, err
			}
			break // whoever asks on will hear of it
		}
		requests = append(requests, v.request(q))
	}
	var sending sync.WaitGroup
	for _, r := range requests {
		sending.Go(func() { r.send(ctx) })
	}
	sending.Wait()
	for _, r := range requests {
		r.spend() // whatever becomes of those before
	}
	pages := make([]*page, len(requests))
	for i, r := range requests {
		var err error
		if pages[i], err = r.receive(ctx); err != nil {
			return nil, err
		}
	}
	return pages, nil
}

// atOnce is how many questions may be asked at once.
func (v *visit) atOnce() int {
	if _, ok := v.pager.(*login); !ok {
		return 1 // no session
	}
	n := mostParallel
	for _, b := range v.buckets() {
		n = min(n, b.parallel())
	}
	return n
}

// request prepares a question.
func (v *visit) request(q question) *request {
	limit := q.limit
	if limit == 0 {
		limit = v.limit
	}
	r := &request{v: v, q: q, asked: q.win, from: v.pager}
	if !q.exact && r.asked.Lo > 0 {
		r.asked.Lo-- // since is exclusive at some relays
	}
	r.wire, r.asked.Hi = v.bounds(q.filter, r.asked)
	r.match = r.wire
	r.wire.Limit = &limit
	r.page = &page{win: q.win, limit: limit, largest: v.cal.LargestPage, descends: v.cal.Order == store.OrderNewest, kinds: map[nostr.Kind]int{}}
	return r
}

// keep tells whether an event was asked for.
func (r *request) keep(e *nostr.Event) bool {
	if !r.match.Matches(e) {
		return false
	}
	if r.q.observe != nil {
		r.seen.Lock()
		r.q.observe(e)
		r.seen.Unlock()
	}
	return true
}

// sort sorts what is held raw.
func (r *request) sort(ctx context.Context) error {
	sorted, err := r.v.intake.Sort(ctx, r.frames.list(), r.keep)
	if err != nil {
		return fmt.Errorf("sort page: %w", err)
	}
	r.frames.clear()
	r.page.rest = sorted
	r.v.account(r.page, r.asked)
	return nil
}

// send sends the REQ and takes what comes. Of several that are under way at once
// a session hands over one event at a time, so nothing else touches the visit
// meanwhile.
func (r *request) send(ctx context.Context) {
	r.got, r.err = r.from.Req(ctx, r.wire, func(raw []byte) error {
		r.count, r.size = r.count+1, r.size+len(raw)
		if r.count > max(floodFactor*r.page.limit, floodEvents) || r.size > floodBytes {
			r.page.flood = true
			return session.ErrStop
		}
		if len(r.frames.ends) > 0 && len(r.frames.bytes)+len(raw) > sliceBytes {
			if err := r.sort(ctx); err != nil {
				return err
			}
			if err := r.v.save(ctx, r.page, nil); err != nil {
				return err
			}
		}
		r.frames.add(raw)
		return nil
	})
}

// spend counts what the request has cost.
func (r *request) spend() {
	r.v.spent(r.got.Bytes)
	r.v.report.EventsReceived += int64(r.count)
}

// receive takes in how the request has ended.
func (r *request) receive(ctx context.Context) (*page, error) {
	v, p, q, got, limit := r.v, r.page, r.q, r.got, r.page.limit
	if r.err != nil {
		return nil, v.local(ctx, r.err)
	}
	if err := r.sort(ctx); err != nil {
		return nil, v.local(ctx, err)
	}
	p.end, p.sent = got.End, got.SentAt.Unix()
	p.notices, p.oversize = got.Notices, got.Oversize
	what, err := v.heed(ctx, &p.end, got.Notice)
	if err != nil {
		return nil, err
	}
	p.unread += got.Malformed
	p.order = p.sorted()
	v.look()
	p.from = &answer{pager: r.from, sub: got.Sub}
	v.recent = append(v.recent, p.from)
	if p.end.EOSE() || p.end.Kind == session.Closed || p.end.Lost() {
		v.settle()
	}
	v.tell(q.win)
	switch {
	case what == tooMany && q.complaints < maxComplaints:
		// It is no refusal of the filter; with fewer at a time it may go.
		if err := v.save(ctx, p, nil); err != nil {
			return nil, err
		}
		q.complaints++
		return v.ask(ctx, q)
	case p.clean():
		v.served, v.losses = true, 0
		if again, err := v.opens(ctx, p); err != nil {
			return nil, v.local(ctx, err)
		} else if again {
			if err := v.save(ctx, p, nil); err != nil {
				return nil, err
			}
			return v.ask(ctx, q)
		}
		if v.lowered && q.limit == 0 && v.cal.Limit != limit {
			v.cal.Limit, v.learned = limit, true
		}
		// What could not be read may have been sent besides the page, and of events
		// asked for by id a page may hold more than of others.
		if n := len(p.refs) + p.aside; n > v.cal.LargestPage && len(q.filter.IDs) == 0 {
			v.cal.LargestPage, v.learned = n, true
		}
		if p.over > 0 && v.cal.ExclusiveUntil && !v.doubted {
			// They took the place of others, and until is inclusive after all.
			if err := v.save(ctx, p, nil); err != nil {
				return nil, err
			}
			v.doubtUntil()
			return v.ask(ctx, q)
		}
		if p.crowded() {
			// The relay includes the second of since, or these would not be here.
			if err := v.save(ctx, p, nil); err != nil {
				return nil, err
			}
			q.exact = true
			return v.ask(ctx, q)
		}
	case p.end.Lost():
		if err := v.save(ctx, p, nil); err != nil {
			return nil, err
		}
		if r.from != v.pager {
			break // another that was under way has opened the next one
		}
		if err := v.reconnect(ctx, p.end.Cause()); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// account takes the findings of a slice into the page.
func (v *visit) account(p *page, asked store.Interval) {
	before := p.above + p.below + p.stray
	for _, f := range p.rest.Findings {
		if f.Verdict != archive.Unread && f.Verdict != archive.Duplicate {
			p.follow(f.CreatedAt)
		}
		switch {
		case f.Verdict == archive.Unread:
			p.unread++
			continue
		case f.Verdict == archive.Duplicate:
			continue // sent twice, which says nothing about order and size
		case f.CreatedAt > asked.Hi:
			p.above++
			continue
		case f.CreatedAt < asked.Lo && !v.noSince:
			p.below++
			continue
		case f.CreatedAt < p.win.Lo && !v.noSince:
			p.aside++
			continue
		case f.CreatedAt > p.win.Hi:
			p.over++
			continue
		}
		p.take(f.Ref)
		v.lowest, v.highest = min(v.lowest, f.CreatedAt), max(v.highest, f.CreatedAt)
		switch f.Verdict {
		case archive.Refused:
			if p.refused == 0 {
				p.badLo, p.badHi = f.CreatedAt, f.CreatedAt
			}
			p.badLo, p.badHi = min(p.badLo, f.CreatedAt), max(p.badHi, f.CreatedAt)
			p.refused++
			p.bad = append(p.bad, f.Ref)
		case archive.Stray:
			p.stray++
		default:
			if f.Verdict == archive.New {
				p.isNew(f.CreatedAt)
				v.cameLate(f.CreatedAt)
			} else {
				p.knownHi = max(p.knownHi, f.CreatedAt)
			}
			p.kinds[f.Kind]++
			v.note(f.Kind, f.PubKey)
		}
	}
	p.rest.Findings = nil
	v.sums.outside.Add(float64(p.above + p.below + p.stray - before))
}

// holes are the places of this page that hold something we cannot have: events
// whose id or signature is wrong, and frames that could not be read. A forged
// event is none that the relay holds, so the rest of the page may still be
// claimed; the hole says what stands there. Frames without a readable time lie
// anywhere in the answered stretch.
func (w *walk) holes(p *page, stretch store.Interval) []store.Hole {
	var out []store.Hole
	add := func(lo, hi int64, reason store.HoleReason, count int) {
		if count > 0 {
			out = append(out, w.hole(store.Interval{Lo: lo, Hi: max(lo, hi)}, store.AnyKind, reason, int64(count), retryInvalid))
		}
	}
	hi := min(stretch.Hi, max(p.sent-1, p.hi))
	add(p.badLo, p.badHi, store.HoleInvalid, p.refused)
	add(stretch.Lo, hi, store.HoleInvalid, p.unread)
	add(stretch.Lo, hi, store.HoleOversize, p.oversize)
	if p.end.Kind == session.EOSEAuth {
		out = append(out, w.hole(store.Interval{Lo: stretch.Lo, Hi: max(stretch.Lo, hi)}, store.AnyKind, store.HoleAuth, -1, retryInvalid))
	}
	w.wrong = append(w.wrong, out...)
	if len(w.wrong) > maxWrong {
		w.plain = false // too many to be said again with one claim for all
		w.wrong = nil
	}
	return out
}

// maxWrong bounds the holes that one claim names again.
const maxWrong = 1000

// claim is coverage on its way to being proved.
type claim struct {
	store.Coverage
	holes []store.Hole // what is known to be missing inside
	after []*answer    // answers that nothing in the interval may follow
}

// claim makes a claim of a stretch by its weakest page. It is cut below the
// second in which the REQ was sent: an event of that second may have come to
// the relay after the answer.
func (w *walk) claim(stretch store.Interval, p *page, level store.Level, method string) *claim {
	stretch.Hi = min(stretch.Hi, p.sent-1)
	if stretch.Lo > stretch.Hi {
		return nil
	}
	return &claim{
		Coverage: store.Coverage{
			Relay: w.v.relay.ID, Filter: w.filterID, Interval: stretch,
			Level: level, AsOf: p.sent, Method: method, N: int64(len(p.refs)),
		},
		holes: w.holes(p, stretch),
		after: []*answer{p.from},
	}
}

// maxRecent is how many answers are watched for late events, fewer than a
// session remembers. What a relay has sent late is known by the time it has
// ended its next answer.
const maxRecent = 8

// look takes over what came late for the last answers, before the session
// forgets it: a claim may rest on more answers than that.
func (v *visit) look() {
	if n := len(v.recent) - maxRecent; n > 0 {
		v.recent = slices.Delete(v.recent, 0, n)
	}
	for _, a := range v.recent {
		a.late = a.pager.Late(a.sub)
	}
}

// undisturbed reports whether nothing of the claimed interval came after the
// EOSE that the claim rests on.
func (v *visit) undisturbed(c *claim) bool {
	v.look()
	for _, from := range c.after {
		late := from.late
		if late.Unread > 0 {
			return false
		}
		if late.Events > 0 && late.Oldest <= c.Hi && late.Newest >= c.Lo {
			return false
		}
	}
	return true
}

// prove takes a claim whose last proof, a later answer, is in.
func (v *visit) prove(c *claim) {
	if c == nil {
		return
	}
	if !v.undisturbed(c) {
		v.unproved++
		return
	}
	v.proved = append(v.proved, c)
}

// await takes a claim that is proved when the next answer ends, or the
// connection does, and nothing has come late.
func (v *visit) await(c *claim) {
	if c != nil {
		v.waiting = append(v.waiting, c)
	}
}

// settle is called when an answer has ended: what waited for it is proved.
func (v *visit) settle() {
	for _, c := range v.waiting {
		v.prove(c)
	}
	v.waiting = nil
}

// save writes what is left of a page, and what has been proved meanwhile, in
// one transaction. p may be nil.
func (v *visit) save(ctx context.Context, p *page, holes []store.Hole) error {
	batch := store.Batch{Relay: v.relay.ID, SeenAt: v.now().Unix(), Holes: holes}
	if p != nil {
		batch.Events, batch.Known, batch.Rejected = p.rest.New, p.rest.Known, p.rest.Rejected
		p.rest = archive.Sorted{}
	}
	for _, c := range v.proved {
		// A batch heals the holes of one filter.
		if len(batch.Claims) > 0 && batch.Filter != c.Filter {
			if err := v.saveBatch(ctx, batch); err != nil {
				return err
			}
			batch = store.Batch{Relay: v.relay.ID, SeenAt: batch.SeenAt}
		}
		batch.Filter = c.Filter
		batch.Claims = append(batch.Claims, c.Coverage)
		batch.Healed = append(batch.Healed, c.Interval)
		batch.Holes = append(batch.Holes, c.holes...)
	}
	v.proved = nil
	if len(batch.Events)+len(batch.Known)+len(batch.Rejected)+len(batch.Claims)+len(batch.Holes) == 0 {
		return nil
	}
	return v.saveBatch(ctx, batch)
}

func (v *visit) saveBatch(ctx context.Context, b store.Batch) error {
	v.keep(b.Claims)
	saved, err := v.store.SaveBatch(ctx, b)
	if err != nil {
		return v.local(ctx, fmt.Errorf("save batch: %w", err))
	}
	for _, c := range b.Claims {
		v.pass.add(c.Filter, c.Interval)
	}
	v.report.New += int64(saved.New)
	v.report.Known += int64(len(b.Known) + saved.Known)
	v.progressed = v.progressed || saved.New > 0 || len(b.Claims) > 0
	v.sums.saved(saved, b)
	return nil
}

// countPatience is how long an answer to COUNT may take. Relays that do not know
// it often say nothing at all.
const countPatience = 3 * time.Second

// count asks for an exact number; false when there is none.
func (v *visit) count(ctx context.Context, f nostr.Filter, win store.Interval) (int64, bool, error) {
	if v.noCount {
		return 0, false, nil
	}
	if err := v.turn(ctx); err != nil {
		return 0, false, err
	}
	f, _ = v.bounds(f, win)
	asking, cancel := context.WithTimeout(ctx, countPatience)
	defer cancel()
	n, got, err := v.pager.Count(asking, f)
	v.spent(got.Bytes)
	v.look()
	end := got.End
	if _, err := v.heed(ctx, &end, ""); err != nil {
		return 0, false, err
	}
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		v.noCount = true
		return 0, false, nil
	}
	if err != nil {
		return 0, false, v.local(ctx, err)
	}
	if end.Kind == session.Counted || end.Kind == session.Closed || end.Lost() {
		v.settle()
	}
	switch {
	case end.Lost():
		return 0, false, v.reconnect(ctx, end.Cause())
	case end.Kind != session.Counted:
		v.noCount = true
		return 0, false, nil
	case n.Approximate || n.Count < 0 || n.Count == math.MaxInt64:
		return 0, false, nil
	}
	if !v.cal.Counts {
		v.cal.Counts, v.learned = true, true
	}
	return n.Count, true, nil
}
