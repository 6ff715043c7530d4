package synchronizer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// budget bounds one visit. Zero means no bound.
type budget struct {
	time     time.Duration // from the first connection on
	requests int64
	bytes    int64
}

// visit is one stay at a relay, over one connection or several.
type visit struct {
	store  Store
	intake *archive.Intake
	log    *slog.Logger
	sums   *metrics
	now    func() time.Time
	pager  pager
	budget budget
	// relayPace and host are the buckets of the relay and of the host that it is
	// connected at, nil where that is not known; daily is how many bytes a day may
	// cost, 0 any number.
	relayPace *bucket
	host      *bucket
	daily     int64
	until     time.Time // when the budget's time is over; zero without one
	tell      func(win store.Interval)

	relay    store.Relay
	filters  []nostr.Filter // what is wanted of the relay
	filter   nostr.Filter   // of those, whose completeness is being proved
	filterID store.FilterID
	listIDs  []store.FilterID // of the filters, and of the lists that were walked in their place
	target   store.Interval
	ends     bool // an end of the time wanted is set
	party    bool // we may be one of those whom private events are for
	overlap  int64
	top      int64            // the newest second that was proved before this visit
	covered  []store.Interval // what was claimed when the visit began with the filter
	lateBy   int64            // how far below top the latest event lay that came late
	tail     store.Tail
	ahead    map[store.FilterID]bool // what is dated far ahead was read to its end
	every    time.Duration           // how often a relay is sampled; 0: never
	// maxAuthors is how many authors a relay is asked for that wants some named.
	maxAuthors int
	draw       func(n int64) int64
	stood      bool // another tail stands since this visit began
	pass       pass

	cal         store.Calibration
	calibrating bool // what was known of the relay is too old
	learned     bool // the calibration has changed
	bounded     bool // whether until is inclusive is known
	doubted     bool // what was known of until was wrong
	limit       int  // what is asked for in a page
	usual       int  // limit, before anything was refused
	lowered     bool // limit was lowered because the relay refused more
	span        int64
	served      bool // the relay has answered something
	shown       int  // the largest page of the open filter
	fits        int  // of how many ids an answer is known to have room for
	measured    int  // of how many ids that was measured
	noSince     bool // the relay ignores since
	noCount     bool // the relay does not answer COUNT
	kindChunk   int  // how many kinds a filter may name
	kindsServed bool
	kinds       map[nostr.Kind]int // seen in this visit
	authors     map[nostr.PubKey]bool

	lowest  int64 // the oldest and newest created_at seen
	highest int64
	private bool // private kinds have been tried
	losses  int  // connections lost since the last page
	connect func(context.Context) (pager, func(), error)
	join    func(context.Context, *session.Session) error // takes the bucket of the host
	leave   func()

	proved   []*claim // to be saved with the next batch
	waiting  []*claim // until the next answer ends
	recent   []*answer
	unproved int // claims that could not be proved

	neg        reconciling
	report     Report
	progressed bool
}

// Bounds on what a visit remembers of the events it has seen.
const (
	maxNoted   = 1000
	maxAuthors = 5000
)

func (v *visit) note(k nostr.Kind, author nostr.PubKey) {
	if _, ok := v.kinds[k]; ok || len(v.kinds) < maxNoted {
		v.kinds[k]++
	}
	if len(v.authors) < maxAuthors {
		v.authors[author] = true
	}
}

// notedKinds returns the kinds seen at this relay, the most frequent first.
func (v *visit) notedKinds() []nostr.Kind {
	kinds := make([]nostr.Kind, 0, len(v.kinds))
	for k := range v.kinds {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b nostr.Kind) int {
		if c := v.kinds[b] - v.kinds[a]; c != 0 {
			return c
		}
		return int(a - b)
	})
	return kinds
}

// hole makes a hole of the walked filter.
func (w *walk) hole(iv store.Interval, kind nostr.Kind, reason store.HoleReason, count int64, retry time.Duration) store.Hole {
	h := w.v.hole(iv, kind, reason, count, retry)
	h.Filter = w.filterID
	return h
}

// hole makes a hole of the filter of the visit.
func (v *visit) hole(iv store.Interval, kind nostr.Kind, reason store.HoleReason, count int64, retry time.Duration) store.Hole {
	now := v.now()
	return store.Hole{
		Relay: v.relay.ID, Filter: v.filterID, Interval: iv, Kind: kind, Reason: reason, Count: count,
		SeenAt: now.Unix(), NextTry: now.Add(retry).Unix(),
	}
}

// turn is asked before every request: it ends the visit when that is due, and
// keeps to the pace.
func (v *visit) turn(ctx context.Context) error {
	b := v.budget
	switch {
	case service.Stopping(ctx):
		return &halt{why: stopped}
	case v.late(),
		b.requests > 0 && v.report.Requests >= b.requests,
		b.bytes > 0 && v.report.BytesReceived >= b.bytes:
		return &halt{why: yielded}
	}
	if err := v.patient(); err != nil {
		return err
	}
	for _, b := range v.buckets() {
		if err := b.wait(ctx, v.now()); err != nil {
			return v.local(ctx, err)
		}
	}
	return nil
}

// late reports that the time of the visit is over.
func (v *visit) late() bool { return !v.until.IsZero() && v.now().After(v.until) }

// spent counts a request.
func (v *visit) spent(bytes int64) {
	v.report.Requests++
	v.report.BytesReceived += bytes
	v.relayPace.spend(bytes, v.now().Unix())
	v.sums.requests.Inc()
	v.sums.bytes.Add(float64(bytes))
}

// local tells a failure of ours from our own stop.
func (v *visit) local(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &halt{why: stopped}
	}
	return err
}

// calibration reads what is known of the relay.
func (v *visit) calibration(ctx context.Context, limit int) error {
	cal, err := v.store.Calibration(ctx, v.relay.ID)
	if err != nil {
		return fmt.Errorf("read calibration: %w", err)
	}
	now := v.now().Unix()
	v.calibrating = cal.At == 0
	if cal.At != 0 && now-cal.At > int64(calibrationAge.Seconds()) {
		v.calibrating = true
		// Of how it answers nothing is believed any longer; the rest goes on.
		cal = store.Calibration{Relay: v.relay.ID, Overlap: cal.Overlap, Every: cal.Every}
	}
	v.cal, v.bounded = cal, !v.calibrating
	v.pass.calibrates = v.pass.calibrates || v.calibrating
	v.noCount = !v.calibrating && !cal.Counts
	v.limit = limit
	if stated, err := v.stated(ctx); err != nil {
		return err
	} else if stated > 0 {
		v.limit = min(v.limit, max(stated, smallestLimit))
	}
	if cal.Limit > 0 {
		v.limit = min(v.limit, cal.Limit)
	}
	v.usual = v.limit
	return nil
}

// stated is the page size that the relay's information document names; 0 when
// it names none.
func (v *visit) stated(ctx context.Context) (int, error) {
	checks, err := v.store.LatestChecks(ctx, v.relay.ID)
	if err != nil {
		return 0, fmt.Errorf("read checks: %w", err)
	}
	for _, c := range checks {
		if c.Document == nil || c.Document.Type != "nip11" {
			continue
		}
		if doc, err := nip11.Parse(c.Document.Data); err == nil && doc.Limitation.MaxLimit != nil {
			if n := *doc.Limitation.MaxLimit; n > 0 && n < 1<<20 {
				return int(n), nil
			}
		}
	}
	return 0, nil
}

// open returns the stretches of the target that are not proved for a filter,
// by ascending time; with all, also those whose holes are not to be tried yet.
func (v *visit) open(ctx context.Context, id store.FilterID, all bool) ([]store.Interval, error) {
	coverage, err := v.store.Coverage(ctx, v.relay.ID, id)
	if err != nil {
		return nil, v.local(ctx, fmt.Errorf("read coverage: %w", err))
	}
	if id == v.filterID || v.cal.OpenRefused {
		for _, c := range coverage {
			v.top = max(v.top, min(c.Hi, v.pass.begun-1))
		}
	}
	held := append(settled(coverage, v.top-v.overlap, v.pass.proved[id]), v.kept(coverage)...)
	if !all {
		holes, err := v.store.Holes(ctx, v.relay.ID, id)
		if err != nil {
			return nil, v.local(ctx, fmt.Errorf("read holes: %w", err))
		}
		held = append(held, resting(holes, v.now().Unix())...)
	}
	return subtract(v.target, held), nil
}

// maxTries is how often what could not be proved is tried in one visit.
const maxTries = 3

// work walks everything that is not proved, over one connection.
func (v *visit) work(ctx context.Context) error {
	err := v.checkTail(ctx)
	for i := range v.filters {
		if i > 0 && err == nil {
			err = v.about(ctx, v.filters[i])
		}
		if err == nil {
			err = v.walks(ctx)
		}
	}
	if err == nil {
		err = v.reread(ctx)
	}
	if err == nil {
		err = v.sampleOld(ctx)
	}
	if saved := v.save(ctx, nil, nil); saved != nil && (err == nil || !isHalt(saved)) {
		err = saved
	}
	return err
}

func isHalt(err error) bool {
	_, ok := errors.AsType[*halt](err)
	return ok
}

func (v *visit) walks(ctx context.Context) error {
	if err := v.reconcile(ctx); err != nil {
		return err
	}
	for round := range maxTries {
		before := v.unproved
		reason, err := v.round(ctx)
		if err != nil {
			return err
		}
		if reason != "" {
			if err := v.lists(ctx, reason); err != nil {
				return err
			}
		}
		if err := v.beyond(ctx); err != nil {
			return err
		}
		if err := v.save(ctx, nil, nil); err != nil {
			return err
		}
		if reason == "" {
			// What was not to be had before, and was tried now, has been had.
			if err := v.hidden(ctx, nil, ""); err != nil {
				return err
			}
		}
		if v.unproved == before || reason != "" {
			return nil
		}
		if round == 0 {
			// What is left at the top is younger than this visit.
			v.target.Hi = min(v.target.Hi, v.pass.begun-1)
		}
	}
	gaps, err := v.open(ctx, v.filterID, false)
	if err != nil || len(gaps) == 0 {
		return err
	}
	return &halt{why: refused, cause: dial.CauseContradicts}
}

// round walks the gaps of the open filter, the newest first. It returns the
// reason for which the rest is to be walked by lists of kinds, if it is.
func (v *visit) round(ctx context.Context) (store.HoleReason, error) {
	if v.refused() {
		return store.HolePolicy, nil
	}
	gaps, err := v.open(ctx, v.filterID, false)
	if err != nil {
		return "", err
	}
	for _, gap := range slices.Backward(gaps) {
		if v.cal.PostFiltering && v.pass.walked[v.filterID] {
			// What could not be proved before is left to the lists in this pass.
			if gap.Lo = max(gap.Lo, v.pass.begun); gap.Lo > gap.Hi {
				continue
			}
		}
		err := v.walk(v.filter, v.filterID).gap(ctx, gap)
		if h, ok := errors.AsType[*halt](err); ok && h.why == unwanted {
			return v.wall(ctx, h)
		}
		if err != nil {
			return "", err
		}
	}
	if v.cal.PostFiltering && !forEveryone(v.filter.Kinds) {
		if v.pass.walked == nil {
			v.pass.walked = map[store.FilterID]bool{}
		}
		v.pass.walked[v.filterID] = true
		return store.HoleAuth, nil
	}
	return "", nil
}

// refused reports whether the relay is known not to take the filter as it is.
func (v *visit) refused() bool {
	return v.cal.OpenRefused && (!narrow(&v.filter) || v.cal.AuthorList > 0 && len(v.filter.Authors) == 0)
}

// wall looks at what a relay that refuses the filter does serve. When that is
// nothing, what we cannot read becomes a hole.
func (v *visit) wall(ctx context.Context, h *halt) (store.HoleReason, error) {
	kind := nostr.Kind(1)
	if len(v.filter.Kinds) > 0 {
		kind = v.filter.Kinds[0]
	}
	says, err := v.refuses(ctx, kind)
	list := 0
	if err == nil && says && len(v.filter.Authors) == 0 {
		list, err = v.takesAuthors(ctx)
	}
	switch {
	case err != nil:
		return "", err
	case list > 0, !says && !narrow(&v.filter):
	case !says:
		return store.HolePolicy, nil // it wants shorter lists of kinds
	default:
		h.why = refused
		reason := store.HolePolicy
		if h.cause == dial.CauseReadAuth {
			reason = store.HoleAuth
		}
		gaps, err := v.open(ctx, v.filterID, true)
		if err == nil {
			err = v.hidden(ctx, gaps, reason)
		}
		if err != nil || narrow(&v.filter) && reason == store.HolePolicy {
			return "", err // others of the filters may be taken
		}
		return "", h
	}
	v.cal.OpenRefused, v.cal.AuthorList, v.learned = true, list, true
	v.limit, v.lowered = v.usual, false // it was not the limit
	return store.HolePolicy, nil
}

// maxBeyond bounds the pages of the lane beyond the future limit.
const maxBeyond = 20

// beyond asks for events that are dated further ahead than relays should
// accept. They are archived; nothing there can be claimed.
func (v *visit) beyond(ctx context.Context) error {
	if v.ends {
		v.ahead[v.filterID] = true
	}
	if v.refused() || v.ends {
		if len(v.waiting) == 0 {
			return nil
		}
		// Nothing can be asked there, and any answer settles what waits for one.
		_, err := v.ask(ctx, question{filter: v.filter, win: v.target, limit: 1})
		return err
	}
	w := v.walk(v.filter, v.filterID)
	w.served = !narrow(&v.filter)
	win := store.Interval{Lo: v.now().Unix() + lead + 1, Hi: maxTime}
	for range maxBeyond {
		p, err := w.probe(ctx, win)
		if h, ok := errors.AsType[*halt](err); ok && h.why == unwanted {
			return nil // the relay does not take this filter
		}
		if err != nil {
			return err
		}
		n := p.frames() + p.aside + p.above + p.below
		// Where most is not readable, the order of the rest is chance.
		ordered := p.unread+p.oversize <= len(p.refs)+p.aside+p.below && (p.order == store.OrderNewest || p.order == store.OrderUnknown) && v.cal.Order != store.OrderOldest && v.cal.Order != store.OrderUnsorted
		// A relay that ignores since goes on below, or shows nothing but that.
		below := p.below > 0 || len(p.refs) > 0 && p.lo < win.Lo
		// The open filter may have smaller pages than others.
		full := 10*n >= 9*min(p.limit, p.largest) || n >= smallestLimit && 10*n >= 9*min(p.limit, v.shown)
		v.shown = max(v.shown, n)
		last := len(p.refs) > 0 && p.lo == win.Hi
		switch {
		case n == 0, below && ordered && p.above == 0, !full && last,
			!below && !full && !v.cal.PostFiltering, // a short page is no end where events are hidden
			len(p.refs) == 0 && p.above == 0 && p.order == store.OrderNewest:
			v.ahead[v.filterID] = true
			return nil // that was all
		case !ordered, p.above > 0, len(p.refs) == 0, last:
			hole := v.hole(store.Interval{Lo: win.Lo, Hi: farthest}, store.AnyKind, store.HoleOverflow, -1, retryDense)
			return v.save(ctx, nil, []store.Hole{hole})
		}
		win.Hi = p.lo
	}
	hole := v.hole(store.Interval{Lo: win.Lo, Hi: min(win.Hi, farthest)}, store.AnyKind, store.HoleOverflow, -1, retryDense)
	return v.save(ctx, nil, []store.Hole{hole})
}

// finish saves what was learned, and fills the report.
func (v *visit) finish(ctx context.Context) error {
	v.noteLogin()
	if v.calibrating && v.bounded && (v.private || v.cal.AuthorList > 0) {
		v.cal.At, v.learned = v.now().Unix(), true
	}
	if err := v.saveCalibration(ctx); err != nil {
		return err
	}
	v.report.Negentropy = v.cal.NegentropyCause
	v.report.Coverage = []Covered{}
	for _, f := range v.filters {
		if err := v.about(ctx, f); err != nil {
			return err
		}
		coverage, err := v.store.Coverage(ctx, v.relay.ID, v.filterID)
		if err != nil {
			return fmt.Errorf("read coverage: %w", err)
		}
		for _, c := range coverage {
			one := Covered{Lo: c.Lo, Hi: c.Hi, Level: c.Level, AsOf: c.AsOf}
			if narrow(&v.filter) {
				one.Filter = string(v.filter.AppendJSON(nil))
			}
			v.report.Coverage = append(v.report.Coverage, one)
		}
	}
	v.report.Holes = []Missing{}
	slices.Sort(v.listIDs)
	for _, id := range slices.Compact(v.listIDs) {
		holes, err := v.store.Holes(ctx, v.relay.ID, id)
		if err != nil {
			return fmt.Errorf("read holes: %w", err)
		}
		for _, h := range holes {
			v.report.Holes = append(v.report.Holes, Missing{h.Lo, h.Hi, h.Kind, h.Reason, h.Count})
		}
	}
	if v.daily > 0 {
		if err := v.store.SavePaces(ctx, []store.Pace{v.relayPace.current()}); err != nil {
			return fmt.Errorf("save bytes of the day: %w", err)
		}
	}
	if v.report.Requests > 0 {
		spent := store.Spent{ID: rand.Int64(), At: v.now().Unix(), Cost: v.report.Cost()}
		if err := v.store.AddCost(ctx, v.relay.ID, store.WayVisit, spent); err != nil {
			return err
		}
	}
	return v.tellTail(ctx)
}

// saveCalibration saves what was learned, if anything was.
func (v *visit) saveCalibration(ctx context.Context) error {
	if !v.learned {
		return nil
	}
	v.cal.Relay = v.relay.ID
	if err := v.store.SaveCalibration(ctx, v.cal); err != nil {
		return fmt.Errorf("save calibration: %w", err)
	}
	v.learned = false
	return nil
}

// maxLosses is how many connections may be lost in a row without a page.
const maxLosses = 3

// stay connects and works until the work is done, the budget is spent, or the
// relay does not go on. The error is a halt then.
func (v *visit) stay(ctx context.Context) error {
	if err := v.patient(); err != nil {
		return err
	}
	if err := v.enter(ctx); err != nil {
		return err
	}
	defer func() { v.leave() }()
	if v.budget.time > 0 {
		v.until = v.now().Add(v.budget.time)
	}
	return v.work(ctx)
}

// enter opens a connection, within dialTime and what is left of the visit.
func (v *visit) enter(ctx context.Context) error {
	patience := dialTime
	if !v.until.IsZero() {
		patience = min(patience, v.until.Sub(v.now()))
	}
	dialling, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, leave, err := v.connect(dialling)
	if err == nil {
		v.pager, v.leave = p, leave
		if l, ok := p.(*login); ok {
			return v.join(ctx, l.Session)
		}
		return nil
	}
	v.leave = func() {}
	cause := dial.CauseOf(err)
	switch {
	case service.Stopping(ctx):
		return &halt{why: stopped}
	case v.late():
		return &halt{why: yielded}
	case cause != "":
		return &halt{why: lost, cause: cause}
	}
	return fmt.Errorf("connect: %w", err)
}

// reconnect opens a new connection in place of a lost one. The walk goes on
// where it was, so that a relay that cuts connections after some requests can be
// walked to its end all the same.
func (v *visit) reconnect(ctx context.Context, cause dial.Cause) error {
	v.noteLogin()
	v.leave()
	v.leave = func() {}
	if v.losses++; v.losses > maxLosses {
		return &halt{why: lost, cause: cause}
	}
	return v.enter(ctx)
}

// causeOf is the cause in a visit's end.
func causeOf(err error) dial.Cause {
	if h, ok := errors.AsType[*halt](err); ok {
		return h.cause
	}
	return ""
}
