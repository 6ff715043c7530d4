package synchronizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

const (
	// maxOpens bounds the NEG-OPENs of a visit: a relay that takes few records at
	// once could have its history cut into windows without end.
	maxOpens = 512
	// maxNamed is how many ids one exchange may bring before it is broken off and
	// gone on with in another: khatru forgets who is silent for seven seconds.
	maxNamed = 100_000
	// perRange is how many ids days without many are put together to, in one
	// fingerprint, and maxRanges about how many fingerprints are sent at most.
	perRange  = 500
	maxRanges = 512
	// maxRuns is how often a history is gone through: to list what is new, to find
	// the days of what is not sent, which takes two, to prove it all, and once more
	// where the canary turned out to be gone.
	maxRuns = 5
	// maxVague is how many stretches are listed once more at most because of ids
	// whose day is not known, and maxParts in how many parts each of them.
	maxVague = 2048
	maxParts = 32
)

// distrust says that a relay does not do NIP-77, or not as it should. The walk
// does what is left, and the relay is not asked again for a month.
type distrust struct{ cause string }

func (d *distrust) Error() string { return "no negentropy: " + d.cause }

// setback says that negentropy does not get any further in this visit.
var errSetback = errors.New("negentropy is of no further use now")

// reconciling is what a visit knows of negentropy at its relay.
type reconciling struct {
	opens   int
	losses  int
	unnamed int // events that were shown and had not been named
	// alone says that no other relay's set is worth a comparison.
	alone bool
	// trusted says that the relay has named an id that was kept from it, or
	// that nothing it showed was unnamed.
	trusted bool
	// vague are where ids stand of which not even the day is known.
	vague []store.Interval
}

// negotiates reports whether negentropy can be of use.
func (v *visit) negotiates() bool {
	f := &v.filter
	open := len(f.IDs)+len(f.Authors)+len(f.Kinds)+len(f.Tags) == 0 && f.Since == nil && f.Until == nil && f.Search == ""
	age := v.now().Unix() - v.cal.NoNegentropy
	return open && !v.cal.OpenRefused && (v.cal.NoNegentropy == 0 || age > int64(calibrationAge.Seconds()))
}

// reconcile brings the archive and the relay together by negentropy, as far as
// that goes. What it proves need not be walked.
func (v *visit) reconcile(ctx context.Context) error {
	if !v.negotiates() {
		return nil
	}
	_, err := v.negotiate(ctx, func() (bool, error) { return true, v.runs(ctx) })
	return err
}

// negotiate does something by negentropy and looks after how it ends. It reports
// false when it came to nothing.
func (v *visit) negotiate(ctx context.Context, do func() (bool, error)) (bool, error) {
	// That ids are served says nothing about what limits are.
	defer func(served bool) { v.served = served }(v.served)
	done, err := do()
	if saved := v.save(ctx, nil, nil); saved != nil {
		return false, saved
	}
	d, distrusted := errors.AsType[*distrust](err)
	switch {
	case distrusted:
		v.log.DebugContext(ctx, "no negentropy", "relay", v.relay.URL.String(), "cause", d.cause)
		v.cal.NoNegentropy, v.cal.NegentropyCause, v.learned = v.now().Unix(), d.cause, true
		v.sums.reconciled.WithLabelValues(d.cause).Inc()
		v.neg.trusted = false
		if err := v.saveCalibration(ctx); err != nil {
			return false, v.local(ctx, err)
		}
		return false, nil
	case errors.Is(err, errSetback):
		v.sums.reconciled.WithLabelValues("setback").Inc()
		return false, nil
	case err == nil:
		v.cal.NegentropyCause = ""
		if v.cal.NoNegentropy != 0 {
			v.cal.NoNegentropy, v.learned = 0, true
		}
		v.sums.reconciled.WithLabelValues("done").Inc()
	}
	return done, err
}

// runs goes through the history until all of it is proved, then looks at the
// current day, which is no part of any proof.
func (v *visit) runs(ctx context.Context) error {
	today := v.now().Unix() / store.Day * store.Day
	whole := store.Interval{Lo: 0, Hi: today - 1}
	stale := false
	for range maxRuns {
		again, err := v.history(ctx, whole)
		switch {
		case errors.Is(err, negentropy.ErrStale) && !stale:
			stale, again = true, true // something came meanwhile
		case errors.Is(err, negentropy.ErrStale):
			return v.recount(ctx, err, whole)
		case err != nil:
			return err
		}
		if !again {
			break
		}
	}
	if !v.neg.trusted {
		return errSetback
	}
	_, err := v.current(ctx, store.Interval{Lo: today, Hi: maxTime})
	return err
}

// history exchanges the whole of a stretch in as many windows as it takes. It
// reports whether another run could prove more.
func (v *visit) history(ctx context.Context, whole store.Interval) (again bool, err error) {
	windows := []store.Interval{whole}
	vague := v.neg.vague
	v.neg.vague = nil
	for len(windows) > 0 {
		win := windows[0]
		windows = windows[1:]
		x, err := v.prepare(ctx, win, vague)
		if err != nil {
			return false, err
		}
		if most := v.cal.NegentropyMost; most > 0 && x.held > most {
			if parts := x.split(most); parts != nil {
				windows = append(parts, windows...)
				continue
			}
		}
		end, err := v.exchange(ctx, x)
		if err == nil && x.like != 0 && end.Kind != session.NegRefused && !x.resembles() {
			v.neg.alone = true
			windows = slices.Insert(windows, 0, win)
			continue
		}
		if err != nil && (len(x.results) == 0 || !errors.Is(err, errSetback)) {
			return false, err
		}
		if err == nil && end.TooMany() {
			if end.Limit > 0 && end.Limit != v.cal.NegentropyMost {
				v.cal.NegentropyMost, v.learned = end.Limit, true
			}
			parts := x.split(cmp.Or(end.Limit, max(x.held/2, 1)))
			// A second of more than it takes is left to the walk.
			windows = append(parts, windows...)
			continue
		}
		// What was settled before the trouble holds.
		more, resolved := v.resolve(ctx, x)
		if resolved != nil {
			return false, resolved
		}
		if err != nil {
			return false, err
		}
		again = again || more
		if end.Kind == session.Stopped && win.Lo <= x.top && x.top < win.Hi { // enough for once
			windows = slices.Insert(windows, 0, store.Interval{Lo: x.top + 1, Hi: win.Hi})
		}
	}
	return again, nil
}

// exchange is one NEG-OPEN and what follows.
type exchange struct {
	v    *visit
	win  store.Interval
	days []negentropy.Day // of the window
	held int64            // ids in them
	// open are the stretches of the window of which nothing is proved, whose ids
	// are listed.
	open []store.Interval
	// vague are parts of days whose ids are listed as well, although all is proved
	// about them: where some of those stand in time is not known.
	vague  []store.Interval
	canary *nostr.Ref // kept from the relay
	// like is the relay whose set is compared in the place of one of which
	// nothing is known yet; 0 for the relay's own.
	like  store.RelayID
	asked int  // ranges
	poor  bool // the first answer shows that the sets have little in common
	sent  int64
	// results are what was settled, up to top, the last second of it.
	results []negentropy.Result
	named   int
	top     int64
}

// prepare plans the exchange of a window.
func (v *visit) prepare(ctx context.Context, win store.Interval, vague []store.Interval) (*exchange, error) {
	all, err := v.store.HeldDays(ctx, v.relay.ID, v.now().Unix())
	if err != nil {
		return nil, v.local(ctx, fmt.Errorf("read sums of days: %w", err))
	}
	coverage, err := v.store.Coverage(ctx, v.relay.ID, v.filterID)
	if err != nil {
		return nil, v.local(ctx, fmt.Errorf("read coverage: %w", err))
	}
	x := &exchange{v: v, win: win, days: all}
	x.open = subtract(win, settled(coverage, win.Hi, nil))
	x.vague = byDays(overlap(subtract(win, x.open), vague))
	x.held = x.count(win)
	if x.held == 0 && len(x.open) == 1 && x.open[0] == win && !v.neg.alone {
		return x, v.resemble(ctx, x)
	}
	return x, nil
}

// resemble takes the set of the relay that seems most alike in the place of one of which
// nothing is known: relays that hold the same are common, and what is equal need
// not be listed.
func (v *visit) resemble(ctx context.Context, x *exchange) error {
	v.neg.alone = true // unless one is found
	most, err := v.store.Alike(ctx, v.relay.ID, alike)
	if err != nil {
		return v.local(ctx, err)
	}
	if most == 0 {
		return nil
	}
	days, err := v.store.HeldDays(ctx, most, v.now().Unix())
	if err != nil {
		return v.local(ctx, fmt.Errorf("read sums of days: %w", err))
	}
	v.neg.alone = false
	x.like, x.days, x.open, x.vague = most, days, nil, nil
	x.held = x.count(x.win)
	return nil
}

// alike is how many ids a relay must have for a comparison with its set to cost
// less than a list.
const alike = 1000

// resembles reports whether an exchange about another relay's set was of use: the
// relay has much of it, the canary too.
func (x *exchange) resembles() bool {
	if x.poor || x.canary == nil {
		return false
	}
	return slices.ContainsFunc(x.results, func(r negentropy.Result) bool { return slices.Contains(r.Need, x.canary.ID) })
}

// split cuts the window so that the first part holds no more than most ids, as
// far as we know, or in halves; nil when it is a single second.
func (x *exchange) split(most int64) []store.Interval {
	lo, hi := x.win.Lo, x.win.Hi
	if lo >= hi {
		return nil
	}
	cut := lo + (hi-lo)/2
	if lo < nostrBirth && hi > nostrBirth { // hardly anything is older
		cut = nostrBirth - 1
	}
	var n int64
	for _, d := range x.days {
		if !inside(x.win, d.Start) {
			continue
		}
		if n += d.Count; n > most*4/5 && d.Start > lo && n > d.Count {
			cut = d.Start - 1
			break
		}
	}
	return []store.Interval{{Lo: lo, Hi: cut}, {Lo: cut + 1, Hi: hi}}
}

// load reads the relay's set between two seconds, without the canary.
func (x *exchange) load(ctx context.Context, from, until int64) ([]nostr.Ref, error) {
	var refs []nostr.Ref
	for ref, err := range x.v.store.ScanHeld(ctx, cmp.Or(x.like, x.v.relay.ID), store.Interval{Lo: from, Hi: until}) {
		if err != nil {
			return nil, err
		}
		if x.canary == nil || ref.ID != x.canary.ID {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// nest is how many ids there are about the canary in the range that must differ:
// fewer than implementations divide further, so that it is named at once.
const nest = 8

// plan says what to ask: fingerprints by days where something is proved already,
// lists elsewhere. It hides the canary, and sets a small range of its own about
// it.
func (x *exchange) plan(ctx context.Context) ([]negentropy.Ask, error) {
	lists := slices.Concat(x.open, x.vague)
	known := subtract(x.win, lists)
	around, err := x.hide(ctx, known)
	if err != nil {
		return nil, err
	}
	var plan []negentropy.Ask
	ask := func(lo, hi negentropy.Bound, list bool) {
		if lo.Compare(hi) < 0 {
			plan = append(plan, negentropy.Ask{Lo: lo, Hi: hi, List: list})
		}
	}
	compare := func(lo, hi negentropy.Bound) {
		if x.canary != nil && lo.Compare(around[0]) <= 0 && around[1].Compare(hi) <= 0 {
			ask(lo, around[0], false)
			ask(around[0], around[1], false)
			lo = around[1]
		}
		ask(lo, hi, false)
	}
	most := max(perRange, x.held/maxRanges)
	if x.like != 0 {
		most = max(perRange, x.held/64) // little is lost if the relay has other things
	}
	stretches := slices.Concat(lists, known)
	slices.SortFunc(stretches, func(a, b store.Interval) int { return cmp.Compare(a.Lo, b.Lo) })
	for _, s := range stretches {
		lo, end := negentropy.At(s.Lo), negentropy.At(s.Hi+1)
		if slices.Contains(lists, s) {
			ask(lo, end, true)
			continue
		}
		var n int64
		for _, d := range x.days {
			if d.Start > s.Hi {
				break
			}
			at := negentropy.At(d.Start)
			if n > 0 && n+d.Count > most && lo.Compare(at) < 0 {
				compare(lo, at)
				lo, n = at, 0
			}
			if d.Start >= s.Lo {
				n += d.Count
			}
		}
		compare(lo, end)
	}
	return plan, nil
}

// hide keeps one id of what is proved from the relay: if it does not name it, its
// word is worth nothing. It returns the range around it.
func (x *exchange) hide(ctx context.Context, known []store.Interval) (around [2]negentropy.Bound, err error) {
	// Days in a row that hold at least two ids within one proved stretch, so that
	// the range about the canary is compared and not listed.
	type row struct{ from, until int }
	var rows []row
	for i := range x.days {
		j, n := i, int64(0)
		for ; j < len(x.days) && j < i+nest && n < 2; j++ {
			n += x.days[j].Count
		}
		if n >= 2 && x.days[i].Start > 0 && slices.ContainsFunc(known, func(iv store.Interval) bool {
			return iv.Lo <= x.days[i].Start && x.days[j-1].Start+store.Day-1 <= iv.Hi
		}) {
			rows = append(rows, row{i, j})
		}
	}
	if len(rows) == 0 {
		return around, nil
	}
	dice := rand.New(rand.NewPCG(uint64(x.v.now().UnixNano()), uint64(x.v.neg.opens))) //nolint:gosec // unforeseeable enough for a relay
	r := rows[dice.IntN(len(rows))]
	refs, err := x.load(ctx, x.days[r.from].Start, x.days[r.until-1].Start+store.Day-1)
	if err != nil {
		return around, x.v.local(ctx, fmt.Errorf("read a day: %w", err))
	}
	if len(refs) < 2 {
		return around, &negentropy.StaleError{Lo: x.days[r.from].Start, Hi: x.days[r.until-1].Start + store.Day - 1}
	}
	slices.SortFunc(refs, compareRefs)
	from, until, err := x.cuts(ctx, refs, dice)
	if err != nil {
		return around, err
	}
	around = [2]negentropy.Bound{negentropy.At(x.days[r.from].Start), negentropy.At(x.days[r.until-1].Start + store.Day)}
	if from > 0 {
		around[0] = negentropy.Between(refs[from-1], refs[from])
	}
	if until < len(refs) {
		around[1] = negentropy.Between(refs[until-1], refs[until])
	}
	x.canary = &refs[from+dice.IntN(until-from)]
	x.days = slices.Clone(x.days)
	for i := range x.days {
		if x.days[i].Start == x.canary.CreatedAt/store.Day*store.Day {
			x.days[i].Sub(x.canary.ID)
		}
	}
	return around, nil
}

// outlook is among how many ids of a day a place for the canary is looked for.
const outlook = 256

// cuts chooses a few of the ids of whole days, from one up to another, that the
// relay has in the same order: what it withholds stands at times that are guessed,
// but on the right side of what is archived. If there are none, it is all of them.
func (x *exchange) cuts(ctx context.Context, refs []nostr.Ref, dice *rand.Rand) (from, until int, err error) {
	from = dice.IntN(max(1, len(refs)-outlook+1))
	until = min(from+outlook, len(refs))
	ids := make([]nostr.ID, 0, outlook)
	for _, ref := range refs[from:until] {
		ids = append(ids, ref.ID)
	}
	stand, err := x.v.store.Holdings(ctx, x.v.relay.ID, ids, store.Interval{Lo: refs[from].CreatedAt, Hi: refs[until-1].CreatedAt})
	if err != nil {
		return 0, 0, x.v.local(ctx, fmt.Errorf("look up %d ids: %w", len(ids), err))
	}
	var at []int
	for i := from; i <= until; i++ {
		if i == 0 || i == len(refs) || i > from && i < until && stand[i-from-1].Seq != 0 && stand[i-from].Seq != 0 {
			at = append(at, i)
		}
	}
	var pairs [][2]int
	for i, a := range at {
		for _, b := range at[i:] {
			if b-a > 1 && b-a <= nest {
				pairs = append(pairs, [2]int{a, b})
			}
		}
	}
	if len(pairs) == 0 {
		return 0, len(refs), nil
	}
	p := pairs[dice.IntN(len(pairs))]
	return p[0], p[1], nil
}

func compareRefs(a, b nostr.Ref) int {
	if c := cmp.Compare(a.CreatedAt, b.CreatedAt); c != 0 {
		return c
	}
	return slices.Compare(a.ID[:], b.ID[:])
}

// exchange opens a reconciliation of a window and takes in what it settles. The
// terminal is one that calls for a narrower window, or says that it is done, or
// done up to x.top.
func (v *visit) exchange(ctx context.Context, x *exchange) (session.Terminal, error) {
	plan, err := x.plan(ctx)
	if err != nil {
		return session.Terminal{}, err
	}
	x.asked = len(plan)
	return v.talk(ctx, x, negentropy.NewDays(x.days, x.load), plan)
}

// talk is the exchange with the relay itself.
func (v *visit) talk(ctx context.Context, x *exchange, items negentropy.Items, plan []negentropy.Ask) (session.Terminal, error) {
	f := v.filter
	if x.win.Lo > 1 {
		since := x.win.Lo - 1 // exclusive at some relays, as until is
		f.Since = &since
	}
	if x.win.Hi < maxTime-1 {
		until := x.win.Hi + 1
		f.Until = &until
	}
	for try := 0; ; try++ {
		if v.neg.opens++; v.neg.opens > maxOpens {
			return session.Terminal{}, errSetback
		}
		if err := v.turn(ctx); err != nil {
			return session.Terminal{}, err
		}
		end, err := v.reconcileOnce(ctx, x, f, items, plan)
		if err != nil || end.TooMany() || end.Kind == session.Reconciled || end.Kind == session.Stopped {
			return end, err
		}
		if end.Lost() {
			if err := v.reconnect(ctx, end.Cause()); err != nil {
				return end, err
			}
			v.neg.losses++
		}
		if len(x.results) > 0 {
			return end, errSetback // what is settled is settled
		}
		switch {
		case end.Cause() == dial.CauseRateLimited:
			return end, &halt{why: refused, cause: dial.CauseRateLimited}
		case end.Lost() && v.neg.losses > 1:
			v.losses = 0 // the walk shall have its tries
			return end, &distrust{"disconnects"}
		case end.Lost():
		case end.Kind == session.Notice && try == 0, end.Forgotten() && try == 0:
			// A word of welcome, or a session lost: once is an accident.
		case end.Forgotten(), end.Kind == session.Idle && v.neg.opens > 1:
			return end, errSetback
		default:
			return end, &distrust{end.Kind.String()}
		}
	}
}

// reconcileOnce sends one NEG-OPEN.
func (v *visit) reconcileOnce(ctx context.Context, x *exchange, f nostr.Filter, items negentropy.Items, plan []negentropy.Ask) (session.Terminal, error) {
	in, first, err := negentropy.Open(ctx, items, plan, negentropy.Limits{IDs: 2 * maxNamed})
	if err != nil {
		return session.Terminal{}, v.local(ctx, err)
	}
	var wrong *negentropy.Error
	rounds := 0
	got, err := v.pager.Reconcile(ctx, f, first, func(payload []byte) ([]byte, error) {
		results, next, err := in.Answer(ctx, payload)
		if e, ok := errors.AsType[*negentropy.Error](err); ok {
			wrong = e
			return nil, session.ErrStop
		}
		if err != nil {
			return nil, err
		}
		equal := 0
		for _, r := range results {
			x.results = append(x.results, r)
			x.named += r.Named + len(r.Have)
			if r.Equal {
				equal++
			}
		}
		if rounds++; x.like != 0 && rounds == 1 && 4*equal < x.asked {
			x.poor = true
			return nil, session.ErrStop
		}
		if next != nil && x.named > maxNamed {
			return nil, session.ErrStop
		}
		return next, nil
	})
	v.spent(got.Bytes)
	v.report.BytesSent += got.Sent
	v.look()
	if _, err := v.heed(ctx, &got.End, ""); err != nil {
		return got.End, err
	}
	x.sent = got.SentAt.Unix()
	x.settle()
	switch {
	case err != nil:
		return got.End, v.local(ctx, err)
	case wrong != nil && wrong.Cause != negentropy.CauseIDs && wrong.Cause != negentropy.CauseRounds:
		return got.End, &distrust{string(wrong.Cause)}
	case wrong != nil:
		return got.End, errSetback
	}
	return got.End, nil
}

// settle finds out up to which second everything is settled.
func (x *exchange) settle() {
	slices.SortStableFunc(x.results, func(a, b negentropy.Result) int { return a.Lo.Compare(b.Lo) })
	x.top = x.win.Lo - 1
	at := negentropy.At(x.win.Lo)
	for _, r := range x.results {
		if r.Lo.Compare(at) > 0 {
			break
		}
		at = r.Hi
	}
	if at.Compare(negentropy.At(x.win.Lo)) > 0 {
		x.top = min(int64(min(at.Time, maxTime))-1, x.win.Hi) //nolint:gosec // bounded
	}
}
