package synchronizer

import (
	"context"
	"errors"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// privateKinds are what relays show to their parties only: direct messages
// (NIP-04) and gift wraps (NIP-59).
var privateKinds = []nostr.Kind{4, 1059}

// publicKinds are what is walked where the open filter cannot be: the kinds
// that make up nearly all of what public relays hold. The list never changes
// its order, since coverage is recorded for each list.
var publicKinds = []nostr.Kind{
	1, 0, 3, 5, 6, 7, 16, 30023, 10002, 1984,
	9735, 9734, 30078, 1111, 40, 41, 42, 43, 44, 2,
	8, 14, 20, 21, 22, 62, 64, 818, 1018, 1021,
	1022, 1040, 1063, 1065, 1068, 1085, 1311, 1617, 1618, 1619,
	1621, 1622, 1630, 1631, 1632, 1633, 1971, 1985, 1986, 1987,
	4550, 5000, 5050, 5100, 5300, 5301, 5302, 6000, 6050, 6100,
	6300, 6301, 6302, 7000, 7374, 7375, 7376, 9041, 9321, 9467,
	9802, 10000, 10001, 10003, 10004, 10005, 10006, 10007, 10009, 10012,
	10013, 10015, 10019, 10020, 10030, 10050, 10051, 10063, 10096, 10102,
	10166, 10312, 10377, 11111, 13194, 13534, 15128, 17375, 30000, 30001,
	30002, 30003, 30004, 30005, 30007, 30008, 30009, 30015, 30017, 30018,
	30019, 30020, 30024, 30030, 30040, 30041, 30063, 30166, 30267, 30311,
	30312, 30313, 30315, 30382, 30388, 30402, 30403, 30617, 30618, 30818,
	30819, 31234, 31388, 31890, 31922, 31923, 31924, 31925, 31989, 31990,
	32267, 34235, 34236, 34237, 34550, 37516, 38172, 38173, 38383, 39000,
	39001, 39002, 39003, 39089, 39092, 39701, 9007, 9021, 9022, 1337,
}

// lists walks what the open filter could not prove by lists of public kinds.
// The claims are those of the lists: of the open filter nothing is claimed,
// because kinds exist that no list names. What may be hidden becomes a hole.
func (v *visit) lists(ctx context.Context, reason store.HoleReason) error {
	stretches, err := v.open(ctx, v.filterID, true)
	if err != nil {
		return err
	}
	if !v.cal.OpenRefused {
		// What is younger than this pass is not unproved, only not claimed yet.
		stretches = slices.DeleteFunc(stretches, func(s store.Interval) bool { return s.Lo >= v.pass.begun })
	}
	if len(stretches) == 0 {
		return nil
	}
	if v.cal.AuthorList > 0 {
		if err := v.authorSets(ctx, stretches); err != nil {
			return err
		}
		return v.hidden(ctx, stretches, reason)
	}
	kinds := publicKinds
	if len(v.filter.Kinds) > 0 {
		kinds = slices.Sorted(slices.Values(v.filter.Kinds))
	}
	for chunk := range slices.Chunk(kinds, listChunk) {
		if err := v.list(ctx, chunk, stretches); err != nil {
			return err
		}
	}
	if len(v.filter.Kinds) > 0 {
		return v.hidden(ctx, stretches, reason)
	}
	// A relay that is picky about filters may show private kinds all the same.
	others := slices.Clone(privateKinds)
	for _, k := range v.notedKinds() {
		if !slices.Contains(publicKinds, k) && !slices.Contains(privateKinds, k) && !k.IsEphemeral() {
			others = append(others, k)
		}
	}
	if v.pass.calibrates {
		found, err := v.sweep(ctx, stretches, others)
		if err != nil {
			return err
		}
		others = append(others, found...)
	}
	for _, k := range others {
		// One at a time: which of them are seen changes, and with it a list.
		if err := v.list(ctx, []nostr.Kind{k}, stretches); err != nil {
			return err
		}
	}
	return v.hidden(ctx, stretches, reason)
}

// listChunk is how many public kinds one list names. Refused lists are halved:
// khatru with a SQL backend takes 10.
const listChunk = 40

// list walks the stretches with a filter of these kinds.
func (v *visit) list(ctx context.Context, kinds []nostr.Kind, stretches []store.Interval) error {
	f := v.filter
	f.Kinds = kinds
	taken, err := v.part(ctx, f, stretches)
	if err != nil || taken || len(kinds) == 1 { // a single kind that is refused is not for us
		return err
	}
	half := len(kinds) / 2
	if err := v.list(ctx, kinds[:half:half], stretches); err != nil {
		return err
	}
	return v.list(ctx, kinds[half:], stretches)
}

// part walks the stretches with a filter that asks for a part of what the visit
// is about, and claims them for that filter. It reports false when the relay
// does not take it.
func (v *visit) part(ctx context.Context, f nostr.Filter, stretches []store.Interval) (bool, error) {
	id, err := v.store.FilterID(ctx, f)
	if err != nil {
		return false, v.local(ctx, err)
	}
	open, err := v.open(ctx, id, false)
	if err != nil {
		return false, err
	}
	v.listIDs = append(v.listIDs, id)
	w := v.walk(f, id)
	w.listed = len(f.Kinds) > 0
	for _, gap := range slices.Backward(open) {
		for _, s := range slices.Backward(stretches) {
			part := store.Interval{Lo: max(gap.Lo, s.Lo), Hi: min(gap.Hi, s.Hi)}
			if part.Lo > part.Hi {
				continue
			}
			err := w.gap(ctx, part)
			if h, ok := errors.AsType[*halt](err); ok && h.why == unwanted {
				return false, nil
			}
			if err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// sweep looks once in a calibration for kinds that no list names, in chunks
// over all of 0 to 65,535, and returns those it found. What an earlier visit of
// this pass has seen to is not asked for again.
func (v *visit) sweep(ctx context.Context, stretches []store.Interval, known []nostr.Kind) ([]nostr.Kind, error) {
	listed := map[nostr.Kind]bool{}
	for _, k := range slices.Concat(publicKinds, privateKinds, known) {
		listed[k] = true
	}
	var rest []nostr.Kind
	if v.pass.swept == nil {
		v.pass.swept = &kindSet{}
	}
	found := slices.DeleteFunc(slices.Clone(v.pass.found), func(k nostr.Kind) bool { return listed[k] })
	for k := nostr.Kind(0); k <= maxKind; k++ {
		if !k.IsEphemeral() && !listed[k] && !v.pass.swept.has(k) && !slices.Contains(found, k) {
			rest = append(rest, k)
		}
	}
	whole := store.Interval{Lo: stretches[0].Lo, Hi: stretches[len(stretches)-1].Hi}
	defer func() { v.pass.found = found }()
	refusals := 0
	queue := slices.Collect(slices.Chunk(rest, kindChunk))
	for budget := 2 * len(queue); len(queue) > 0 && budget > 0; budget-- {
		chunk := queue[0]
		queue = queue[1:]
		f := v.filter
		f.Kinds = chunk
		p, err := v.ask(ctx, question{filter: f, win: whole})
		if err != nil {
			return found, err
		}
		if err := v.save(ctx, p, nil); err != nil {
			return found, err
		}
		if !p.clean() && p.frames() == 0 {
			refusals++
			if refusals > 2 {
				return found, nil // it does not take so many kinds
			}
			queue = append(queue, chunk)
			continue
		}
		fresh := 0
		for k := range p.kinds {
			if !slices.Contains(found, k) {
				found = append(found, k)
				fresh++
			}
		}
		if fresh == 0 {
			v.pass.swept.add(chunk...)
		} else {
			// More of them may stand behind those in the page.
			queue = append(queue, slices.DeleteFunc(chunk, func(k nostr.Kind) bool { return slices.Contains(found, k) }))
		}
	}
	slices.Sort(found)
	return found, nil
}

// farthest is the end of a hole that has none: the largest whole number that
// every reader of JSON can take.
const farthest = 1<<53 - 1

// hidden replaces the holes that say what the relay keeps from us. Without a
// reason it only closes those whose time to be tried again has come: they were
// tried, and nothing was missing.
func (v *visit) hidden(ctx context.Context, stretches []store.Interval, reason store.HoleReason) error {
	old, err := v.store.Holes(ctx, v.relay.ID, v.filterID)
	if err != nil {
		return v.local(ctx, err)
	}
	batch := store.Batch{Relay: v.relay.ID, SeenAt: v.now().Unix(), Filter: v.filterID}
	retry := v.now().Add(retryPolicy).Unix()
	gone := make([]bool, len(old))
	for i, h := range old {
		switch {
		case h.Reason == store.HoleAuth, h.Reason == store.HolePolicy, h.Reason == store.HoleUnpaged:
		case h.Reason == store.HoleOverflow && h.Lo > h.SeenAt+lead && h.SeenAt < v.pass.begun:
			// Of the lane beyond the future limit, which is asked each time.
			gone[i] = true
			batch.Healed = append(batch.Healed, h.Interval)
			continue
		default:
			continue
		}
		if h.Reason == reason && h.Kind == store.AnyKind && h.NextTry > v.pass.begun && h.SeenAt < v.pass.begun {
			retry = min(retry, h.NextTry) // waiting on, not waiting anew
		}
		if reason != "" && h.Reason != store.HoleUnpaged || h.NextTry <= v.pass.begun {
			gone[i] = true
			batch.Healed = append(batch.Healed, h.Interval)
		}
	}
	for i, h := range old {
		// Healing closes every hole inside; the others are put back.
		if !gone[i] && slices.ContainsFunc(batch.Healed, func(iv store.Interval) bool { return iv.Lo <= h.Lo && h.Hi <= iv.Hi }) {
			batch.Holes = append(batch.Holes, h)
		}
	}
	if reason != "" {
		// These holes keep the open filter from being asked again for some time,
		// so a next visit must know why even if this one does not end well.
		if err := v.saveCalibration(ctx); err != nil {
			return v.local(ctx, err)
		}
	}
	add := func(iv store.Interval, k nostr.Kind) {
		h := v.hole(iv, k, reason, -1, 0)
		h.NextTry = retry
		batch.Holes = append(batch.Holes, h)
	}
	for _, s := range stretches {
		if s.Hi == v.target.Hi && !v.ends {
			s.Hi = farthest // what lies beyond is kept from us as well
		}
		add(s, store.AnyKind)
	}
	if reason == store.HoleAuth {
		for _, k := range privateKinds {
			if v.kinds[k] > 0 && !v.party || len(v.filter.Kinds) > 0 && !slices.Contains(v.filter.Kinds, k) {
				continue // shown, and walked like the others, or not wanted
			}
			add(store.Interval{Lo: 0, Hi: farthest}, k)
		}
	}
	if len(batch.Healed)+len(batch.Holes) == 0 {
		return nil
	}
	return v.saveBatch(ctx, batch)
}
