package synchronizer

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

const (
	// fetchIDs is how many events one REQ asks for by id: khatru's SQL backends
	// take 500 ids.
	fetchIDs = 400
	// fewIDs is how many ids a REQ has room for where pages of other filters had: a
	// relay may look at fewer ids than it gives events, but hardly at so few.
	fewIDs = 50
	// eventsPerRequest is how many events may be asked for once more to save two
	// requests, and measuredPart of how many that a relay has it may be one.
	eventsPerRequest = 20
	measuredPart     = 50
	// claimIDs is how many ids are looked up, asked for and saved at once.
	claimIDs = 5000
	// goneSample is how many of very many ids are asked for that a relay does not
	// name any longer.
	goneSample = 100
	// fetchTries is how often what does not come is asked for.
	fetchTries = 2
)

// fetched is what asking for events by id came to.
type fetched struct {
	came    map[nostr.ID]int64 // as what they are, or as something else under their id: its created_at
	left    []nostr.ID         // not to be had, as answers that ended well say
	unsure  bool               // some could not be asked for
	refused []nostr.Ref        // came, with a wrong id or signature
	passing []nostr.ID         // came, of an ephemeral kind: not to be archived
	opaque  []nostr.ID         // came, twice, in a form or size that cannot be read
}

// fetch asks for events by id, and saves them. Who gives fewer than were asked
// for is asked for the others as long as some come, then for so few at once that
// an answer has room for all of them. Those that do not come then are left.
func (v *visit) fetch(ctx context.Context, ids []nostr.ID) (*fetched, error) {
	out := &fetched{came: map[nostr.ID]int64{}}
	rest := slices.Clone(ids) // to be asked for next, as many at once as usual
	var queue [][]nostr.ID
	budget, faults := 16+len(ids), 0
	unread := map[nostr.ID]int{}
	alone := false // what cannot be read is looked for one by one
	var left []lacking
	for len(queue)+len(rest)+len(left) > 0 {
		switch {
		case len(queue) > 0:
		case len(rest) > 0:
			queue, rest = slices.Collect(slices.Chunk(rest, v.chunkIDs())), nil
		default:
			late, err := v.lateFor(ctx, left)
			if err != nil {
				return nil, err
			}
			for _, l := range left {
				if slices.Contains(late, l.from) {
					queue = append(queue, l.ids)
				} else {
					out.left = append(out.left, l.ids...)
				}
			}
			left, faults = nil, faults+len(late)
			continue
		}
		n := 1
		if !alone {
			n = min(v.atOnce(), len(queue))
		}
		if budget -= n; budget < 0 || faults > maxFaults {
			out.unsure = true
			return out, nil
		}
		chunks := queue[:n:n]
		queue = queue[n:]
		pages, err := v.fetchOnce(ctx, chunks, out)
		if err != nil {
			return nil, err
		}
		queue = append(queue, chunks[len(pages):]...)
		for i, p := range pages {
			before := len(chunks[i])
			chunk := lacks(chunks[i], out.came)
			opaque := p.unread+p.oversize > 0 || p.end.Kind == session.Oversize
			clean := p.clean() && !opaque
			if opaque && before == 1 && len(chunk) == 1 && len(pages) == 1 {
				// Nothing else was asked for, so this is what cannot be read.
				if unread[chunk[0]]++; unread[chunk[0]] == fetchTries {
					out.opaque = append(out.opaque, chunk[0])
					continue
				}
			}
			alone = alone || opaque
			if clean && len(chunk) == before {
				if err := v.measure(ctx, before, len(ids)-len(out.came)); err != nil {
					return nil, err
				}
			}
			switch {
			case len(chunk) == 0:
				faults = 0
			case p.end.Cause() == dial.CauseRateLimited:
				return nil, &halt{why: refused, cause: dial.CauseRateLimited}
			case len(chunk) < before:
				faults = 0
				rest = append(rest, chunk...)
			case clean && len(chunk) <= v.room():
				left = append(left, lacking{p.from, chunk})
			case clean:
				size := v.room()
				if len(chunk) > 8*size {
					size = (len(chunk) + 3) / 4 // with luck some come of it
				}
				queue = slices.AppendSeq(queue, slices.Chunk(chunk, size))
			case len(chunk) == 1:
				if !opaque {
					faults++
				}
				queue = append(queue, chunk)
			default:
				if !opaque {
					faults++
				}
				half := (len(chunk) + 1) / 2
				queue = append(queue, chunk[:half:half], chunk[half:])
			}
		}
	}
	return out, nil
}

// lacks takes out of ids those that came.
func lacks(ids []nostr.ID, came map[nostr.ID]int64) []nostr.ID {
	return slices.DeleteFunc(ids, func(id nostr.ID) bool { _, ok := came[id]; return ok })
}

// chunkIDs is how many ids are asked for at once, of which some should come.
func (v *visit) chunkIDs() int {
	if v.fits < fetchIDs/2 { // most may have been withheld
		return fetchIDs
	}
	return min(v.fits, fetchIDs)
}

// room is of how many ids an answer without any of them says that they are not to
// be had. Relays count private events against the limit before they leave them out,
// and may look at the first ids of a list only.
func (v *visit) room() int { return max(v.fits, min(v.cal.LargestPage, fewIDs), 1) }

// measure finds out whether an answer has room for n ids where nothing has shown that
// yet, if that is worth it with so many left to ask for: as many are asked for that
// the relay has named and that are archived, a small part of what it has.
func (v *visit) measure(ctx context.Context, n, left int) error {
	if n < 2*max(v.room(), v.measured) || n*v.room() > eventsPerRequest*left {
		return nil
	}
	days, err := v.store.HeldDays(ctx, v.relay.ID, v.now().Unix())
	if err != nil {
		return v.local(ctx, fmt.Errorf("read sums of days: %w", err))
	}
	held := int64(0)
	for _, d := range days {
		held += d.Count
	}
	if n = min(n, int(held/measuredPart)); n < 2*max(v.room(), v.measured) {
		return nil
	}
	v.measured = n
	ids, err := v.sure(ctx, days, n)
	if err != nil || len(ids) <= v.room() {
		return err
	}
	_, err = v.fetchOnce(ctx, [][]nostr.ID{ids}, &fetched{came: map[nostr.ID]int64{}})
	return err
}

// sure returns up to n ids of archived events that a relay has, as it says: of its
// newest days, which it will hardly have cleared away.
func (v *visit) sure(ctx context.Context, days []negentropy.Day, n int) ([]nostr.ID, error) {
	var ids []nostr.ID
	looked := 0
	for _, d := range slices.Backward(days) {
		var refs []nostr.Ref
		for ref, err := range v.store.ScanHeld(ctx, v.relay.ID, store.SumSpan(store.SumDay(d.Start))) {
			if err != nil {
				return nil, v.local(ctx, err)
			}
			if refs = append(refs, ref); len(refs) == claimIDs {
				break
			}
		}
		some, err := v.archived(ctx, refs)
		if err != nil {
			return nil, err
		}
		ids, looked = append(ids, some...), looked+len(refs)
		if len(ids) >= n || looked >= claimIDs {
			break
		}
	}
	return ids[:min(n, len(ids))], nil
}

// fetchOnce asks for chunks at once and saves what comes.
func (v *visit) fetchOnce(ctx context.Context, chunks [][]nostr.ID, out *fetched) ([]*page, error) {
	questions := make([]question, len(chunks))
	for i, chunk := range chunks {
		f := v.filter
		f.IDs = chunk
		questions[i] = question{filter: f, win: store.Interval{Lo: 0, Hi: maxTime}, limit: len(chunk)}
	}
	pages, err := v.askTogether(ctx, questions)
	if err != nil {
		return nil, err
	}
	for i, p := range pages {
		out.refused = append(out.refused, p.bad...)
		for i := range p.rest.New {
			if e := &p.rest.New[i]; e.Kind.IsEphemeral() {
				out.passing = append(out.passing, e.ID)
			}
		}
		for _, r := range p.refs {
			out.came[r.ID] = r.CreatedAt
		}
		if p.clean() {
			v.fits = max(v.fits, len(chunks[i])-len(lacks(slices.Clone(chunks[i]), out.came)))
		}
		if err := v.save(ctx, p, nil); err != nil {
			return nil, err
		}
	}
	return pages, nil
}

// lacking are ids that an answer which ended well did not bring.
type lacking struct {
	from *answer
	ids  []nostr.ID
}

// lateFor returns the answers after whose EOSE something came, which is known
// when another answer has ended.
func (v *visit) lateFor(ctx context.Context, left []lacking) ([]*answer, error) {
	f := v.filter
	f.IDs = left[0].ids[:1]
	p, err := v.ask(ctx, question{filter: f, win: store.Interval{Lo: 0, Hi: maxTime}, limit: 1})
	if err != nil {
		return nil, err
	}
	if err := v.save(ctx, p, nil); err != nil {
		return nil, err
	}
	var late []*answer
	for _, l := range left {
		if l.from.late.Events > 0 || !p.clean() {
			late = append(late, l.from)
		}
	}
	return late, nil
}

// resolve does away with the differences that an exchange has found, and claims
// what is settled then. It reports whether another exchange could prove more.
func (v *visit) resolve(ctx context.Context, x *exchange) (bool, error) {
	need, have, sings := x.differences()
	if x.like != 0 {
		var err error
		if need, err = x.shared(ctx); err != nil {
			return false, v.local(ctx, fmt.Errorf("read the set of a relay alike: %w", err))
		}
		have = nil
	}
	if x.canary != nil && !sings && x.like == 0 && x.heard() {
		// Either it is gone, or the relay calls equal what is not.
		have = append(have, *x.canary)
	}
	fresh, unsure, err := v.take(ctx, need)
	if err != nil {
		return false, err
	}
	gone, err := v.gone(ctx, have)
	if err != nil {
		return false, err
	}
	unsure = unsure || gone
	if unsure {
		return false, errSetback
	}
	v.neg.vague = append(v.neg.vague, fresh.vague...)
	level, method := store.LevelFingerprint, "negentropy"
	switch {
	case !sings:
		level, method = store.LevelWalked, "named"
	case x.like == 0:
		v.neg.trusted = true
	}
	listed, err := v.unnamed(ctx, x)
	if err != nil {
		return false, err
	}
	if x.like != 0 && !listed {
		return true, nil // of this relay nothing is proved yet: it may name a part only
	}
	if err := v.claimSettled(ctx, x, level, method, listed, fresh); err != nil {
		return false, err
	}
	// Of a set without two ids nothing can be kept back. What was shown and not
	// named may only have come meanwhile.
	lacking := !sings && (x.canary != nil || len(x.vague) > 0 || len(x.open) > 0 && (listed || v.neg.unnamed > 0))
	return lacking || len(fresh.vague) > 0, nil
}

// differences returns what the relay has named and we lack, what we have and it
// has not named, and whether it has named the canary.
func (x *exchange) differences() (need []named, have []nostr.Ref, sings bool) {
	ours := map[nostr.ID]bool{}
	for _, r := range x.results {
		for _, ref := range r.Have {
			ours[ref.ID] = true
		}
	}
	theirs := map[nostr.ID]bool{}
	for i := range x.results {
		for _, n := range namedIn(i, &x.results[i]) {
			if x.canary != nil && n.id == x.canary.ID {
				sings = true
				continue
			}
			theirs[n.id] = true
			need = append(need, n)
		}
	}
	for _, r := range x.results {
		for _, ref := range r.Have {
			if !theirs[ref.ID] { // else it only stands at the wrong time
				have = append(have, ref)
			}
		}
	}
	return need, have, sings
}

// shared returns all that the relay has, as the comparison with another's set has
// shown: what is equal or was not missed, and what only it has.
func (x *exchange) shared(ctx context.Context) ([]named, error) {
	canary := x.canary
	x.canary = nil // it was named
	defer func() { x.canary = canary }()
	all, _, _ := x.differences()
	theirs := make(map[nostr.ID]bool, len(all))
	for _, n := range all {
		theirs[n.id] = true
	}
	lacks := map[nostr.ID]bool{}
	for _, r := range x.results {
		for _, ref := range r.Have {
			lacks[ref.ID] = true
		}
	}
	for ref, err := range x.v.store.ScanHeld(ctx, x.like, x.win) {
		if err != nil {
			return nil, err
		}
		at := negentropy.Bound{Time: uint64(max(ref.CreatedAt, 0)), ID: ref.ID} //nolint:gosec // not below 0
		i, found := slices.BinarySearchFunc(x.results, at, func(r negentropy.Result, at negentropy.Bound) int {
			switch {
			case r.Hi.Compare(at) <= 0:
				return -1
			case r.Lo.Compare(at) > 0:
				return 1
			}
			return 0
		})
		if found && !lacks[ref.ID] && !theirs[ref.ID] && (x.results[i].Equal || x.results[i].Named > 0) {
			all = append(all, named{
				id: ref.ID, lo: ref.CreatedAt, hi: ref.CreatedAt, after: ref.CreatedAt, before: ref.CreatedAt, list: len(x.results),
			})
		}
	}
	return all, nil
}

// heard reports whether the relay has answered about the place of the canary.
func (x *exchange) heard() bool {
	at := negentropy.Bound{Time: uint64(max(x.canary.CreatedAt, 0)), ID: x.canary.ID} //nolint:gosec // not below 0
	return slices.ContainsFunc(x.results, func(r negentropy.Result) bool { return r.Lo.Compare(at) <= 0 && at.Compare(r.Hi) < 0 })
}

// seconds returns the first and the last second that a range reaches into.
func seconds(lo, hi negentropy.Bound) (from, until int64) {
	from, until = int64(min(lo.Time, maxTime)), maxTime //nolint:gosec // bounded
	if hi.Time < maxTime {
		until = int64(hi.Time) //nolint:gosec // bounded
		if hi.ID == (nostr.ID{}) {
			until--
		}
	}
	return from, max(from, until)
}

// taken is what came of the ids that a relay has named.
type taken struct {
	refused []nostr.Ref      // with their own times
	opaque  []named          // with the times they were named in
	vague   []store.Interval // where ids stand of which not even the day is known
}

// taking brings what a relay has named into its set.
type taking struct {
	*taken
	v    *visit
	need []named
	// times are those of need that are archived or came; the others are Unplaced.
	times   []int64
	stands  []stands
	put     int              // how many of stands have been saved once
	unknown []nostr.ID       // to be asked for
	place   map[nostr.ID]int // of those, in need
	unsure  bool             // some could not be asked for
}

// stands says how and where one of need was taken to stand.
type stands struct {
	i    int
	hold store.Hold
	at   int64
}

// take brings what a relay has named into its set: as claimed what is archived
// from elsewhere, as delivered what it sends, as withheld what it does not. It
// reports whether some could not be asked for.
func (v *visit) take(ctx context.Context, need []named) (*taken, bool, error) {
	t := &taking{taken: &taken{}, v: v, need: need, times: make([]int64, len(need)), place: map[nostr.ID]int{}}
	for i := range t.times {
		t.times[i] = negentropy.Unplaced
	}
	for lo := 0; lo < len(need); lo += claimIDs {
		hi := min(lo+claimIDs, len(need))
		if err := t.look(ctx, lo, hi); err != nil {
			return nil, false, err
		}
		if len(t.unknown) < claimIDs && hi < len(need) {
			continue // where most is known, the others are asked for together
		}
		if err := t.ask(ctx); err != nil {
			return nil, false, err
		}
	}
	return t.taken, t.unsure, t.settle(ctx)
}

// stand notes how one of need stands.
func (t *taking) stand(i int, hold store.Hold) { t.stands = append(t.stands, stands{i: i, hold: hold}) }

// look claims those of need from lo to hi that are archived, and notes which are not
// known.
func (t *taking) look(ctx context.Context, lo, hi int) error {
	v := t.v
	ids, holdings, err := v.holdings(ctx, t.need[lo:hi])
	if err != nil {
		return err
	}
	batch := store.Batch{Relay: v.relay.ID, SeenAt: v.now().Unix()}
	for i, h := range holdings {
		if h.Seq != 0 {
			t.times[lo+i] = h.CreatedAt
		}
		switch {
		case h.Seq != 0 && h.Hold != store.HoldDelivered && h.Hold != store.HoldClaimed:
			batch.Claimed = append(batch.Claimed, nostr.Ref{ID: ids[i], CreatedAt: h.CreatedAt})
		case h.Seq != 0:
		case h.Hold == store.HoldWithheld, h.Hold == store.HoldRefused: // it stood at a wrong time
			t.stand(lo+i, h.Hold)
		default:
			t.unknown = append(t.unknown, ids[i])
			t.place[ids[i]] = lo + i
		}
	}
	return v.saveSet(ctx, batch)
}

// ask asks for what is not known, and saves where everything looked at until now
// stands.
func (t *taking) ask(ctx context.Context) error {
	v, place, left := t.v, t.place, t.unknown
	for range fetchTries {
		if len(left) == 0 {
			break
		}
		got, err := v.fetch(ctx, left)
		if err != nil {
			return err
		}
		for id, at := range got.came {
			if i, ok := place[id]; ok && t.need[i].lo <= at && at <= t.need[i].hi {
				t.times[i] = at
			}
		}
		t.refused = append(t.refused, got.refused...)
		for _, r := range got.refused {
			if i, ok := place[r.ID]; ok {
				t.stand(i, store.HoldRefused)
			}
		}
		for _, id := range got.passing {
			t.stand(place[id], store.HoldRefused)
		}
		for _, id := range got.opaque {
			t.opaque = append(t.opaque, t.need[place[id]])
			t.stand(place[id], store.HoldRefused)
		}
		left, t.unsure = got.left, t.unsure || got.unsure
		slices.Reverse(left) // in case the first of a list count only
	}
	if !t.unsure {
		for _, id := range left {
			t.stand(place[id], store.HoldWithheld)
		}
		v.report.Withheld += int64(len(left))
	}
	t.unknown, t.place = nil, map[nostr.ID]int{}
	straighten(t.need, t.times)
	from := t.put
	t.put = len(t.stands)
	return t.save(ctx, t.stands[from:])
}

// save saves where ids stand, as far as that is new.
func (t *taking) save(ctx context.Context, list []stands) error {
	batch := store.Batch{Relay: t.v.relay.ID, SeenAt: t.v.now().Unix()}
	for k := range list {
		s := &list[k]
		at := t.times[s.i]
		if at == negentropy.Unplaced {
			at = t.need[s.i].at()
		}
		if at == s.at {
			continue
		}
		s.at = at
		ref := nostr.Ref{ID: t.need[s.i].id, CreatedAt: at}
		if s.hold == store.HoldWithheld {
			batch.Withheld = append(batch.Withheld, ref)
		} else {
			batch.Refused = append(batch.Refused, ref)
		}
	}
	return t.v.saveSet(ctx, batch)
}

// settle puts those right whose neighbours were known only when all had been asked
// for, and notes those of which not even the day is known.
func (t *taking) settle(ctx context.Context) error {
	for part := range slices.Chunk(t.stands, claimIDs) {
		if err := t.save(ctx, part); err != nil {
			return err
		}
	}
	for _, s := range t.stands {
		if n := &t.need[s.i]; t.times[s.i] == negentropy.Unplaced && n.vague() {
			t.vague = append(t.vague, store.Interval{Lo: n.after, Hi: n.before})
		}
	}
	return nil
}

// gone takes out of a relay's set what it does not name any longer, once it
// has been asked for it by id and has not sent it: each id, or a sample of very
// many. What comes all the same contradicts the exchange. What is not archived
// is taken out unasked: its time is only known to lie in the range it was named
// in, so that it may stand where the relay does not have it, and is named again
// where it does. It reports whether some could not be asked for.
func (v *visit) gone(ctx context.Context, have []nostr.Ref) (unsure bool, err error) {
	archived, err := v.archived(ctx, have)
	if err != nil {
		return false, err
	}
	var ids []nostr.ID
	step := max(1, len(archived)/goneSample)
	for i := 0; i < len(archived); i += step {
		ids = append(ids, archived[i])
	}
	got, err := v.fetch(ctx, ids)
	if err != nil || got.unsure || len(got.opaque) > 0 {
		return true, err
	}
	if len(got.came) > 0 {
		return false, &distrust{"contradicts"}
	}
	for part := range slices.Chunk(have, claimIDs) {
		if err := v.saveSet(ctx, store.Batch{Relay: v.relay.ID, SeenAt: v.now().Unix(), Gone: part}); err != nil {
			return false, err
		}
	}
	return false, nil
}

// holdings looks up how ids stand at the relay, and returns both in the order of
// part, which is not empty.
func (v *visit) holdings(ctx context.Context, part []named) ([]nostr.ID, []store.Holding, error) {
	within := store.Interval{Lo: part[0].lo, Hi: part[0].hi}
	ids := make([]nostr.ID, len(part))
	for i, n := range part {
		ids[i] = n.id
		within = store.Interval{Lo: min(within.Lo, n.lo), Hi: max(within.Hi, n.hi)}
	}
	holdings, err := v.store.Holdings(ctx, v.relay.ID, ids, within)
	if err != nil {
		return nil, nil, v.local(ctx, fmt.Errorf("look up %d ids: %w", len(ids), err))
	}
	return ids, holdings, nil
}

// archived returns the ids of refs of which there is an event.
func (v *visit) archived(ctx context.Context, refs []nostr.Ref) ([]nostr.ID, error) {
	var out []nostr.ID
	for part := range slices.Chunk(refs, claimIDs) {
		stand := make([]named, len(part))
		for i, r := range part {
			stand[i] = named{id: r.ID, lo: r.CreatedAt, hi: r.CreatedAt} // no more is asked of it
		}
		ids, holdings, err := v.holdings(ctx, stand)
		if err != nil {
			return nil, err
		}
		for i, h := range holdings {
			if h.Hold == store.HoldDelivered || h.Hold == store.HoldClaimed {
				out = append(out, ids[i])
			}
		}
	}
	return out, nil
}

// saveSet saves how ids stand at the relay.
func (v *visit) saveSet(ctx context.Context, b store.Batch) error {
	n := len(b.Claimed) + len(b.Withheld) + len(b.Refused) + len(b.Gone)
	if n == 0 {
		return nil
	}
	if err := v.saveBatch(ctx, b); err != nil {
		return err
	}
	v.report.Claimed += int64(len(b.Claimed))
	v.report.Gone += int64(len(b.Gone))
	v.progressed = true
	v.sums.set(b)
	return nil
}

// sampled is how many events a REQ asks for that shows whether all is named, and
// sampledParts in how many parts what lies above the oldest ids is looked at.
const (
	sampled      = 10
	sampledParts = 3
	// maxUnnamed is how many events of a pass may have come just then.
	maxUnnamed = 3
)

// unnamed asks for events at the lower end of what was listed, or compared with
// another relay's set, and at some places above it: all that come must have been
// named, or the relay reconciles only a part. It reports whether those
// stretches may be claimed.
func (v *visit) unnamed(ctx context.Context, x *exchange) (bool, error) {
	open := x.open
	if x.like != 0 {
		open = []store.Interval{x.win}
	}
	if len(open) == 0 {
		return true, nil
	}
	if x.named == 0 {
		return false, nil // who names nothing at all has nothing, or hides it
	}
	if len(open) > maxStretches {
		return false, nil
	}
	// The times of those are not known. There may be a million.
	missing := map[uint64]bool{}
	for m, err := range v.store.ScanMissing(ctx, v.relay.ID) {
		if err != nil {
			return false, v.local(ctx, fmt.Errorf("read what is missing: %w", err))
		}
		missing[start(m.ID)] = true
	}
	for _, s := range open {
		ok, err := v.stretchNamed(ctx, x, s, missing)
		if err != nil || !ok {
			return false, err
		}
	}
	v.neg.trusted = true
	return true, nil
}

// start is the beginning of an id. That two share theirs is no matter here.
func start(id nostr.ID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// maxStretches bounds the stretches of one exchange that are looked into.
const maxStretches = 16

// stretchNamed looks into one stretch.
func (v *visit) stretchNamed(ctx context.Context, x *exchange, s store.Interval, missing map[uint64]bool) (bool, error) {
	s.Hi = min(s.Hi, x.top)
	if s.Hi < s.Lo {
		return true, nil
	}
	oldest, newest, lowest := int64(maxTime), int64(-1), 0
	for ref, err := range v.store.ScanHeld(ctx, v.relay.ID, s) {
		if err != nil {
			return false, v.local(ctx, err)
		}
		if missing[start(ref.ID)] {
			continue
		}
		if ref.CreatedAt < oldest-1 {
			lowest = 0
		}
		oldest, newest = min(oldest, ref.CreatedAt), max(newest, ref.CreatedAt)
		if ref.CreatedAt <= oldest+1 {
			lowest++
		}
	}
	// The stretch in parts, cut at random, so that whichever end a relay gives first
	// each shows others.
	least := s
	if newest >= 0 {
		least.Hi = min(oldest+1, s.Hi)
	}
	for lo, left := least.Hi+1, int64(sampledParts); left > 0 && lo <= newest; left-- {
		part := store.Interval{Lo: lo, Hi: s.Hi}
		if left > 1 {
			part.Hi = lo + v.draw(2*(newest-lo)/left+1)
		}
		if ok, err := v.sampleNamed(ctx, v.filter, part, sampled); err != nil || !ok {
			return false, err
		}
		lo = part.Hi + 1
	}
	// Where private events fill a page and are not shown, the open filter shows
	// nothing of what is below them.
	public := v.filter
	public.Kinds = publicKinds[:listChunk]
	for _, f := range []nostr.Filter{v.filter, public} {
		if ok, err := v.sampleNamed(ctx, f, least, sampled+lowest); err != nil || !ok {
			return false, err
		}
	}
	// A page of nothing but the lowest ids does not show what is below.
	if lowest >= max(v.cal.LargestPage, 1) {
		if ok, err := v.sampleNamed(ctx, v.filter, s, sampled+lowest); err != nil || !ok {
			return false, err
		}
	}
	return lowest < max(v.cal.LargestPage, 1), nil
}

// sampleNamed asks for a few events of a window, all of which must be in the
// relay's set already.
func (v *visit) sampleNamed(ctx context.Context, f nostr.Filter, win store.Interval, limit int) (bool, error) {
	for range fetchTries {
		p, err := v.ask(ctx, question{filter: f, win: win, limit: limit, exact: true})
		if err != nil {
			return false, err
		}
		if p.end.Cause() == dial.CauseRateLimited {
			return false, &halt{why: refused, cause: dial.CauseRateLimited}
		}
		refs := slices.Clone(p.refs)
		if len(refs) > 0 {
			ids := make([]nostr.ID, len(refs))
			for i, r := range refs {
				ids[i] = r.ID
			}
			holdings, err := v.store.Holdings(ctx, v.relay.ID, ids, win)
			if err != nil {
				return false, v.local(ctx, fmt.Errorf("look up %d ids: %w", len(ids), err))
			}
			for _, h := range holdings {
				if h.Hold != store.HoldNone && h.Hold != store.HoldGone {
					continue
				}
				// It may have come to the relay since. Then it is named next time, or else
				// contradicts the relay.
				if v.neg.unnamed++; v.neg.unnamed > maxUnnamed {
					return false, &distrust{"partial"}
				}
				return false, v.save(ctx, p, nil)
			}
		}
		if err := v.save(ctx, p, nil); err != nil {
			return false, err
		}
		if p.clean() {
			return p.above+p.below == 0, nil
		}
	}
	return false, nil
}

// claimSettled claims what an exchange has settled: what was compared if the
// canary was named, what was listed if nothing was left unnamed.
func (v *visit) claimSettled(ctx context.Context, x *exchange, level store.Level, method string, listed bool, t *taken) error {
	stretches := subtract(x.win, x.open)
	if level != store.LevelFingerprint {
		stretches = nil // it stays as it was proved before
	}
	if listed {
		stretches = append(stretches, x.open...)
	}
	old, err := v.store.Holes(ctx, v.relay.ID, v.filterID)
	if err != nil {
		return v.local(ctx, fmt.Errorf("read holes: %w", err))
	}
	for _, done := range x.done() {
		for _, s := range stretches {
			iv := store.Interval{Lo: max(done.Lo, s.Lo), Hi: min(done.Hi, s.Hi, x.sent-1)}
			if iv.Lo > iv.Hi {
				continue
			}
			c := &claim{Coverage: store.Coverage{
				Relay: v.relay.ID, Filter: v.filterID, Interval: iv, Level: level, AsOf: x.sent, Method: method, N: x.count(iv),
			}}
			// What is wrong at the relay stays wrong, however well it is proved.
			for _, h := range old {
				if (h.Reason == store.HoleInvalid || h.Reason == store.HoleOversize) && iv.Lo <= h.Lo && h.Hi <= iv.Hi {
					c.holes = append(c.holes, h)
				}
			}
			for _, r := range t.refused {
				if inside(iv, r.CreatedAt) {
					c.holes = append(c.holes, v.hole(store.Interval{Lo: r.CreatedAt, Hi: r.CreatedAt}, store.AnyKind, store.HoleInvalid, 1, retryInvalid))
				}
			}
			for _, n := range t.opaque {
				if lo, hi := max(iv.Lo, n.lo), min(iv.Hi, n.hi); lo <= hi {
					c.holes = append(c.holes, v.hole(store.Interval{Lo: lo, Hi: hi}, store.AnyKind, store.HoleOversize, 1, retryInvalid))
				}
			}
			v.proved = append(v.proved, c)
		}
	}
	return v.save(ctx, nil, nil)
}

// done returns the stretches of whole seconds that are settled.
func (x *exchange) done() []store.Interval {
	var out []store.Interval
	for i := 0; i < len(x.results); {
		lo, hi := x.results[i].Lo, x.results[i].Hi
		for i++; i < len(x.results) && x.results[i].Lo.Compare(hi) <= 0; i++ {
			if x.results[i].Hi.Compare(hi) > 0 {
				hi = x.results[i].Hi
			}
		}
		from, _ := seconds(lo, hi)
		if lo.ID != (nostr.ID{}) {
			from++
		}
		until := int64(min(hi.Time, maxTime)) - 1 //nolint:gosec // bounded
		if from <= until {
			out = append(out, store.Interval{Lo: from, Hi: until})
		}
	}
	return out
}

// count is about how many ids a claim is about.
func (x *exchange) count(iv store.Interval) int64 {
	var n int64
	for _, d := range x.days {
		if inside(iv, d.Start) {
			n += d.Count
		}
	}
	return n
}

// current lists what the relay has now of a window that is part of no proof: of
// the current day, which still grows, and of a second that does not fit into a
// page. The claim is one like that of a walk. It reports whether it was made.
func (v *visit) current(ctx context.Context, win store.Interval) (bool, error) {
	x := &exchange{v: v, win: win, open: []store.Interval{win}}
	refs, err := x.load(ctx, win.Lo, win.Hi)
	if err != nil {
		return false, v.local(ctx, fmt.Errorf("read what is held from %d on: %w", win.Lo, err))
	}
	x.held = int64(len(refs))
	end := negentropy.Infinity
	if win.Hi < maxTime {
		end = negentropy.At(win.Hi + 1)
	}
	plan := []negentropy.Ask{{Lo: negentropy.At(win.Lo), Hi: end, List: len(refs) == 0}}
	how, err := v.talk(ctx, x, negentropy.NewVector(refs), plan)
	if err != nil || how.TooMany() {
		return false, err
	}
	need, have, _ := x.differences()
	t, unsure, err := v.take(ctx, need)
	if err != nil {
		return false, err
	}
	gone, err := v.gone(ctx, have)
	if err != nil || unsure || gone {
		return false, err
	}
	return true, v.claimSettled(ctx, x, store.LevelWalked, "named", true, t)
}

// byName has the ids of a dense second listed, by a relay whose lists have been
// found to be whole. It reports whether the second is claimed.
func (w *walk) byName(ctx context.Context, second store.Interval) (bool, error) {
	v := w.v
	if w.listed || !v.neg.trusted || !v.negotiates() {
		return false, nil
	}
	return v.negotiate(ctx, func() (bool, error) { return v.current(ctx, second) })
}
