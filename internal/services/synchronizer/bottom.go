package synchronizer

import (
	"context"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

// maxProbes bounds the probes behind an empty page: from one hour, doubling, 17
// of them reach 7.5 years back, further than Nostr is old.
const (
	maxProbes  = 17
	firstProbe = 3600
)

// bottom decides what an empty page means. It is not the end by itself: strfry
// filters restricted kinds after the limit, so that 520 gift wraps on top of
// 1,000 notes give an empty page with a regular EOSE. It returns where the walk
// goes on.
func (w *walk) bottom(ctx context.Context, p *page, stretch store.Interval, edge int64, d direction) (int64, error) {
	v := w.v
	past := d.past(p.win)
	if !w.claims {
		return past, v.save(ctx, p, nil)
	}
	n, exact, err := v.count(ctx, w.filter, p.win)
	if err != nil {
		return 0, err
	}
	switch {
	case exact && n == 0:
		v.prove(w.claim(stretch, p, store.LevelCounted, "count"))
		return past, v.save(ctx, p, nil)
	case exact && n > 0:
		// More is there than is shown.
		again, err := w.reask(ctx, p)
		if err != nil || again {
			return edge, err
		}
		if !w.listed {
			v.hidesEvents()
		}
	}

	subs := []string{p.sub}
	probes := 0
	if !v.bounded {
		// Whether until is inclusive is not known yet. If it is not, the newest
		// second of the window was left out.
		win := p.win
		if win.Hi < maxTime {
			win.Hi++
		}
		q, err := w.probe(ctx, win)
		if err != nil {
			return 0, err
		}
		subs = append(subs, q.sub)
		probes++
		if len(q.at(p.win.Hi)) > 0 {
			v.cal.ExclusiveUntil, v.bounded, v.learned = true, true, true
			return edge, nil
		}
		if q.frames() > 0 && q.lo < p.win.Hi {
			return edge, nil // the empty page was an accident
		}
	}
	for i := range maxProbes {
		back := int64(firstProbe) << i
		win := p.win
		if d == down {
			win.Hi = edge - back
		} else {
			win.Lo = edge + back
		}
		if win.Hi < win.Lo || win.Hi < 1 {
			break
		}
		q, err := w.probe(ctx, win)
		if err != nil {
			return 0, err
		}
		subs = append(subs, q.sub)
		probes++
		if q.empty() {
			continue
		}
		again, err := w.reask(ctx, p)
		if err != nil || again {
			return edge, err
		}
		// The walk goes on where the probe found something. What lies between is
		// not proved, and is left to the walk by lists of kinds.
		v.unproved++
		if !w.listed {
			v.hidesEvents()
		}
		if d == down {
			return win.Hi, nil
		}
		return win.Lo, nil
	}
	if probes == 0 {
		again, err := w.reask(ctx, p)
		if err != nil || again {
			return edge, err
		}
	}
	if w.hides() {
		v.unproved++
		return past, v.save(ctx, p, nil)
	}
	if c := w.claim(stretch, p, store.LevelWalked, "bottom-probed"); c != nil {
		c.subs = subs
		v.await(c)
	}
	return past, v.save(ctx, p, nil)
}

// probe asks a window that should be empty.
func (w *walk) probe(ctx context.Context, win store.Interval) (*page, error) {
	q, err := w.v.ask(ctx, question{filter: w.filter, win: win})
	if err != nil {
		return nil, err
	}
	if err := w.v.save(ctx, q, nil); err != nil {
		return nil, err
	}
	if !q.clean() {
		if err := w.trouble(q); err != nil {
			return nil, err
		}
		return nil, &halt{why: refused, cause: dial.CauseReadRestricted}
	}
	return q, nil
}

// reask repeats an empty page that is contradicted. It reports whether it was
// an accident.
func (w *walk) reask(ctx context.Context, p *page) (bool, error) {
	if w.accidents >= maxAccidents {
		return false, nil
	}
	q, err := w.probe(ctx, p.win)
	if err != nil {
		return false, err
	}
	if q.empty() {
		return false, nil
	}
	w.accidents++
	return true, nil
}

// maxAccidents bounds how often the walk turns back because a page that was
// empty is not any more.
const maxAccidents = 100
