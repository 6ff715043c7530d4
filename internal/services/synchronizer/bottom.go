package synchronizer

import (
	"context"

	"bigbrotr/internal/core/nostr/session"
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
// goes on. lone is the single second above the empty page, if that waits for it.
func (w *walk) bottom(ctx context.Context, p *page, lone *step, edge int64, d direction) (int64, error) {
	v := w.v
	past := d.past(p.win)
	stretch, held := cover(p.win, lone), int64(0)
	if lone != nil {
		held = int64(len(lone.page.refs))
	}
	w.plain = w.plain && p.empty()
	if !w.claims {
		return past, v.save(ctx, p, nil)
	}
	counted := stretch
	if !v.bounded && counted.Hi < maxTime {
		counted.Hi++ // in case until is exclusive
	}
	n, exact, err := v.count(ctx, w.filter, counted)
	if err != nil {
		return 0, err
	}
	if exact && n == held {
		v.prove(w.claimBoth(p, lone, store.LevelCounted, "count"))
		return past, v.save(ctx, p, nil)
	}
	if exact && n > held && !v.bounded {
		// The second that was added may hold what is above held.
		if n, exact, err = v.count(ctx, w.filter, stretch); err != nil {
			return 0, err
		}
	}
	if exact && n > held || p.end.Kind == session.EOSEMore {
		// More is there than is shown.
		again, err := w.reask(ctx, p)
		if err != nil || again {
			return edge, err
		}
		if !w.listed {
			v.hidesEvents()
		}
	}
	if !w.listed {
		if err := v.calibratePrivate(ctx); err != nil {
			return 0, err
		}
	}

	after := []*answer{p.from}
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
		after = append(after, q.from)
		probes++
		if len(q.at(p.win.Hi)) > 0 {
			v.cal.ExclusiveUntil, v.bounded, v.learned = true, true, true
			return edge, nil
		}
		if len(q.refs) > 0 && q.lo < p.win.Hi {
			w.plain = false
			if w.accidents++; w.accidents > maxAccidents {
				v.unproved++
				return past, v.save(ctx, p, nil)
			}
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
		after = append(after, q.from)
		probes++
		if q.empty() {
			continue
		}
		if q.murky() {
			v.unproved++
			return past, v.save(ctx, p, nil)
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
	if c := w.claimBoth(p, lone, store.LevelWalked, "bottom-probed"); c != nil {
		c.after = append(c.after, after...)
		v.await(c)
	}
	return past, v.save(ctx, p, nil)
}

// probe asks a window that should be empty.
func (w *walk) probe(ctx context.Context, win store.Interval) (*page, error) {
	for {
		q, err := w.v.ask(ctx, question{filter: w.filter, win: win})
		if err != nil {
			return nil, err
		}
		if err := w.v.save(ctx, q, nil); err != nil {
			return nil, err
		}
		if q.clean() && (!q.murky() || w.murky >= maxMurky) {
			w.faults, w.murky = 0, 0
			return q, nil
		}
		if q.clean() {
			w.murky++
			continue
		}
		span := w.span
		if err := w.trouble(q); err != nil {
			return nil, err
		}
		w.span = span // a probe is not narrowed
	}
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
	if len(q.refs) == 0 {
		return false, nil
	}
	w.accidents++
	w.plain = false
	return true, nil
}

// maxAccidents bounds how often the walk turns back because a page that was
// empty is not any more.
const maxAccidents = 100
