package synchronizer

import (
	"context"
	"fmt"
	"slices"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// Some relays refuse every filter that names no authors. They are asked for the
// authors that are known, list by list; what is claimed is claimed for each list,
// and nothing for the relay as a whole.

const (
	// authorList is how many authors a list has, where the relay takes so many.
	authorList = 500
	// A list of less than fullList authors is short; when there are shortLists of
	// them, further authors wait until they make a list that is not.
	fullList   = 100
	shortLists = 8
	// namersPages is how many pages of events that name a relay are looked at for
	// their authors.
	namersPages = 20
	namersPage  = 500
)

// authorSets walks the stretches by lists of authors.
func (v *visit) authorSets(ctx context.Context, stretches []store.Interval) error {
	lists, err := v.authorLists(ctx)
	if err != nil {
		return v.local(ctx, fmt.Errorf("look for authors: %w", err))
	}
	for _, list := range lists {
		if err := v.authorSet(ctx, list, stretches); err != nil {
			return err
		}
	}
	return nil
}

// authorSet walks the stretches by one list, or by its parts where the relay
// takes no list of that length any more.
func (v *visit) authorSet(ctx context.Context, authors []nostr.PubKey, stretches []store.Interval) error {
	taken, err := v.part(ctx, v.by(authors), stretches)
	if taken {
		v.report.Authors += len(authors)
	}
	if err != nil || taken || len(authors) == 1 { // a single one that is refused is not for us
		return err
	}
	half := len(authors) / 2
	v.cal.AuthorList, v.learned = half, true
	if err := v.authorSet(ctx, authors[:half:half], stretches); err != nil {
		return err
	}
	return v.authorSet(ctx, authors[half:], stretches)
}

// authorLists returns the lists that something was claimed of before, which must
// not change, and the other authors known, in new ones.
func (v *visit) authorLists(ctx context.Context) ([][]nostr.PubKey, error) {
	lists, err := v.oldLists(ctx)
	if err != nil {
		return nil, err
	}
	full, short := min(fullList, v.cal.AuthorList), 0
	listed := map[nostr.PubKey]bool{}
	for _, list := range lists {
		if len(list) < full {
			short++
		}
		for _, k := range list {
			listed[k] = true
		}
	}
	fresh, err := v.knownAuthors(ctx, listed)
	if err != nil {
		return nil, err
	}
	if short < shortLists || len(fresh) >= full {
		for list := range slices.Chunk(fresh, v.cal.AuthorList) {
			lists = append(lists, list)
		}
	}
	return lists, nil
}

// oldLists returns the lists of authors that the archive knows of this relay.
// Those that are longer than what it takes now are left out.
func (v *visit) oldLists(ctx context.Context) ([][]nostr.PubKey, error) {
	claims, holes, err := v.store.RelayCoverage(ctx, v.relay.ID)
	if err != nil {
		return nil, err
	}
	var ids []store.FilterID
	for _, c := range claims {
		ids = append(ids, c.Filter)
	}
	for _, h := range holes {
		ids = append(ids, h.Filter)
	}
	slices.Sort(ids)
	base := store.FilterText(v.filter)
	var lists [][]nostr.PubKey
	for _, id := range slices.Compact(ids) {
		f, err := v.store.Filter(ctx, id)
		if err != nil {
			return nil, err
		}
		list := f.Authors
		f.Authors = v.filter.Authors
		if len(list) > 0 && len(list) <= v.cal.AuthorList && store.FilterText(f) == base {
			lists = append(lists, list)
		}
	}
	return lists, nil
}

// knownAuthors returns the authors that the archive knows and that are not in
// listed: first those who write at this relay, then those who name it, as the
// relay lists of NIP-65 do, then others.
func (v *visit) knownAuthors(ctx context.Context, listed map[nostr.PubKey]bool) ([]nostr.PubKey, error) {
	var fresh []nostr.PubKey
	add := func(keys []nostr.PubKey, most int) {
		slices.SortFunc(keys, comparePubKeys)
		for _, k := range keys {
			if !listed[k] && len(listed) < most {
				listed[k] = true
				fresh = append(fresh, k)
			}
		}
	}
	here, err := v.store.Authors(ctx, v.relay.ID, v.maxAuthors)
	if err != nil {
		return nil, err
	}
	add(here, v.maxAuthors)
	namers, err := v.namers(ctx)
	if err != nil {
		return nil, err
	}
	add(namers, v.maxAuthors)
	// Those who may have nothing to do with the relay leave room for those to come.
	others, err := v.store.Authors(ctx, 0, v.maxAuthors)
	if err != nil {
		return nil, err
	}
	add(others, v.maxAuthors/2)
	return fresh, nil
}

// namers returns the authors of events that name the relay in an r tag.
func (v *visit) namers(ctx context.Context) ([]nostr.PubKey, error) {
	url := v.relay.URL.String()
	q := store.EventQuery{Filter: nostr.Filter{Tags: map[string][]string{"r": {url, url + "/"}}}, Limit: namersPage}
	var keys []nostr.PubKey
	for range namersPages {
		events, next, err := v.store.Events(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range events {
			keys = append(keys, events[i].Event.PubKey)
		}
		if q.After = next; next == "" {
			break
		}
	}
	return keys, nil
}

// takesAuthors finds out how many authors the relay takes in a filter, when it
// takes none without any: 0 when it does not take those either, or none are
// known.
func (v *visit) takesAuthors(ctx context.Context) (int, error) {
	known, err := v.knownAuthors(ctx, map[nostr.PubKey]bool{})
	if err != nil {
		return 0, v.local(ctx, fmt.Errorf("look for authors: %w", err))
	}
	for n := min(authorList, len(known)); n > 0; n /= 2 {
		all, err := v.askAuthors(ctx, question{filter: v.by(known[:n]), win: v.target})
		if err != nil {
			return 0, err
		}
		if !all.clean() {
			continue
		}
		if n == 1 {
			return n, nil
		}
		if whole, err := v.takesAll(ctx, known[:n]); err != nil || whole {
			return n, err
		}
	}
	return 0, nil
}

// takesAll reports whether all of a list counts. Some relays look at the first
// authors only and do not say so: they show the last one of whom there is anything
// in a part of the list, and not in the whole of it.
func (v *visit) takesAll(ctx context.Context, list []nostr.PubKey) (bool, error) {
	var last nostr.Event
	for lo, hi := 0, len(list); lo < hi; {
		mid, at := (lo+hi)/2, -1
		part := list[mid:hi]
		q, err := v.askAuthors(ctx, question{filter: v.by(part), win: v.target, observe: func(e *nostr.Event) {
			if i := mid + slices.Index(part, e.PubKey); i > at {
				at, last = i, *e
			}
		}})
		if err != nil {
			return false, err
		}
		switch {
		case !q.clean():
			return false, nil
		case at < 0:
			hi = mid
		default:
			lo = at + 1
		}
	}
	if last.CreatedAt == 0 {
		return true, nil // nobody there has written anything here
	}
	f := v.by(list)
	f.Kinds = []nostr.Kind{last.Kind}
	// Until may be exclusive.
	p, err := v.askAuthors(ctx, question{filter: f, win: store.Interval{Lo: last.CreatedAt, Hi: last.CreatedAt + 1}})
	if err != nil {
		return false, err
	}
	return p.clean() && p.repeats([]nostr.ID{last.ID}), nil
}

// by is the filter for what authors wrote.
func (v *visit) by(authors []nostr.PubKey) nostr.Filter {
	f := v.filter
	f.Authors = authors
	return f
}

// askAuthors asks a question, and again after an accident.
func (v *visit) askAuthors(ctx context.Context, q question) (p *page, err error) {
	for range fetchTries {
		p, err = v.ask(ctx, q)
		if err == nil {
			err = v.save(ctx, p, nil)
		}
		switch {
		case err != nil:
			return nil, err
		case p.end.Cause() == dial.CauseRateLimited:
			return nil, &halt{why: refused, cause: p.end.Cause()}
		case p.clean():
			return p, nil
		}
	}
	return p, nil
}
