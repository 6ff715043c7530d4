package synchronizer

import (
	"context"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// split walks a gap of a relay whose pages are in no order. The oldest event of
// such a page says nothing about what lies above it, so windows are halved
// until both halves add nothing to the whole, and the whole was no full page.
// That costs about three times the pages of a walk.
func (w *walk) split(ctx context.Context, gap store.Interval) error {
	w.plain = false
	w.v.noSince = false // a window needs both ends
	if !w.listed {
		if err := w.v.calibratePrivate(ctx); err != nil {
			return err
		}
	}
	p, err := w.whole(ctx, gap)
	if err != nil || p == nil {
		return err
	}
	if !w.v.bounded && len(p.refs) > 0 {
		if err := w.v.calibrateUntil(ctx, p.refs[0]); err != nil {
			return err
		}
		if !w.v.bounded {
			w.v.unproved++
			return nil
		}
		if w.v.cal.ExclusiveUntil {
			return w.split(ctx, gap)
		}
	}
	return w.halve(ctx, p)
}

// whole asks for a window of an unordered relay. It returns nil when the window
// cannot be had; then its gap stays.
func (w *walk) whole(ctx context.Context, win store.Interval) (*page, error) {
	v := w.v
	for range 2 * maxFaults {
		p, err := v.ask(ctx, question{filter: w.filter, win: win})
		if err != nil {
			return nil, err
		}
		if err := v.save(ctx, p, w.holes(p, win)); err != nil {
			return nil, err
		}
		switch {
		case !p.clean():
			if p.flood {
				return p, nil // narrower windows follow anyway
			}
			if err := w.trouble(p); err != nil {
				return nil, err
			}
			w.span = maxTime // halving is narrow enough
		case p.above+p.below > 0:
			if paged, err := w.outside(ctx, p, win, up); err != nil || !paged {
				return nil, err
			}
		case p.murky() && w.murky < maxMurky:
			w.murky++
		default:
			w.faults, w.strays, w.murky, w.served = 0, 0, 0, true
			w.grow(p)
			return p, nil
		}
	}
	v.unproved++
	return nil, nil
}

// halve finishes the window of p: the newer half, then the older one in its place,
// which may be little smaller where a relay gives few events.
func (w *walk) halve(ctx context.Context, p *page) error {
	for p != nil {
		newer, older, err := w.cut(ctx, p)
		if err != nil {
			return err
		}
		if newer != nil {
			if err := w.halve(ctx, newer); err != nil {
				return err
			}
		}
		p = older
	}
	return nil
}

// cut finishes the window of p, or returns the pages of its halves, as far as they
// are not finished.
func (w *walk) cut(ctx context.Context, p *page) (newer, older *page, err error) {
	v, win := w.v, p.win
	if win.Lo == win.Hi || win.Hi <= 1 {
		if (p.full() || w.fills(p)) && !v.tiny(p) || p.flood {
			return nil, nil, w.dense(ctx, win, p)
		}
		return nil, nil, w.finished(ctx, p)
	}
	mid := middle(p)
	if newer, err = w.whole(ctx, store.Interval{Lo: mid + 1, Hi: win.Hi}); err != nil {
		return nil, nil, err
	}
	if older, err = w.whole(ctx, store.Interval{Lo: win.Lo, Hi: mid}); err != nil {
		return nil, nil, err
	}
	capped := p.frames() >= smallestLimit && (p.full() || w.fills(p)) // no relay gives fewer in a page
	if newer != nil && older != nil && p.clean() && !capped && sameIDs(p, newer, older) {
		return nil, nil, w.finished(ctx, p, newer.from, older.from)
	}
	if newer != nil && older != nil && p.clean() && w.short(p) && w.tests < maxTests && !w.hides() && (newer.adds(win, p.all()) || older.adds(win, p.all())) {
		// The whole was no full page, and its halves hold more.
		w.tests++
		again, err := w.whole(ctx, win)
		if err != nil {
			return nil, nil, err
		}
		if again != nil && again.frames() <= p.frames() && !w.listed {
			v.hidesEvents()
		}
	}
	return newer, older, nil
}

// finished claims a window that was had completely, unless a COUNT knows more.
func (w *walk) finished(ctx context.Context, p *page, after ...*answer) error {
	v := w.v
	n, exact, err := v.count(ctx, w.filter, p.win)
	if err != nil {
		return err
	}
	if exact && n > int64(len(p.refs)) && !w.listed {
		v.hidesEvents()
	}
	if w.hides() || exact && n > int64(len(p.refs)) {
		v.unproved++
		return nil
	}
	if c := w.claim(p.win, p, store.LevelWalked, "split"); c != nil {
		c.after = append(c.after, after...)
		v.await(c)
	}
	return nil
}

// sameIDs reports whether the halves hold exactly what the whole holds.
func sameIDs(whole, newer, older *page) bool {
	ids := make(map[nostr.ID]bool, len(whole.refs))
	for _, r := range whole.refs {
		ids[r.ID] = true
	}
	halves := make(map[nostr.ID]bool, len(ids))
	for _, p := range []*page{newer, older} {
		for _, r := range p.refs {
			if !ids[r.ID] {
				return false
			}
			halves[r.ID] = true
		}
	}
	return len(halves) == len(ids)
}
