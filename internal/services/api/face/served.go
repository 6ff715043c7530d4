package face

import (
	"bytes"
	"context"
	"slices"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// served is what the archive serves of the filters of one question, as one
// list: newest first, ties by lowest id, each event once.
type served struct {
	face    *Face
	lists   []*list
	size    int           // of a page
	whole   bool          // leave out what is not kept whole
	left    time.Duration // of the time for reading
	omitted bool          // something was left out that matches
	last    nostr.ID      // given before
}

// list is what is served of one filter.
type list struct {
	query   store.EventQuery
	latest  bool // leave out versions that a newer one has superseded
	limit   int  // how many it may still give
	ties    int  // how many more of the second of the last one
	buf     []store.Stored
	weight  int64 // of buf, held
	end     bool  // nothing is behind buf
	at      int64 // when the last one given was made
	started bool
}

// serve prepares the answer. Limits are those of the filters, or the default one
// and what is left of its last second.
func (f *Face) serve(filters []nostr.Filter, readers []nostr.PubKey) *served {
	s := &served{face: f, whole: true, left: f.timeout, size: max(pageSize/len(filters), 10)}
	for _, filter := range filters {
		l := &list{
			query: store.EventQuery{Filter: filter, Public: true, Readers: readers, Now: time.Now().Unix()},
			// Who names an event wants that one.
			latest: len(filter.IDs) == 0,
			limit:  min(f.cfg.DefaultLimit, f.cfg.MaxLimit),
		}
		l.ties = f.cfg.MaxLimit - l.limit
		if filter.Limit != nil {
			l.limit, l.ties = min(*filter.Limit, f.cfg.MaxLimit), 0
		}
		s.lists = append(s.lists, l)
	}
	return s
}

// next returns the next event, nil at the end. It is valid until the call after
// it.
func (s *served) next(ctx context.Context) (*store.Stored, error) {
	for {
		var first *list
		for _, l := range s.lists {
			if l.exhausted() {
				continue
			}
			if err := s.fill(ctx, l); err != nil {
				return nil, err
			}
			if len(l.buf) == 0 || l.limit == 0 && l.buf[0].Event.CreatedAt != l.at {
				continue
			}
			if first == nil || newestFirst(&l.buf[0].Event, &first.buf[0].Event) < 0 {
				first = l
			}
		}
		if first == nil {
			return nil, nil
		}
		e := first.take()
		// What several lists have comes from them in a row.
		if e.Event.ID != s.last {
			s.last = e.Event.ID
			return e, nil
		}
	}
}

// exhausted tells whether a list gives no more, whatever is behind.
func (l *list) exhausted() bool {
	return l.end && len(l.buf) == 0 || l.limit == 0 && (l.ties == 0 || !l.started)
}

func (l *list) take() *store.Stored {
	e := &l.buf[0]
	l.buf = l.buf[1:]
	l.at, l.started = e.Event.CreatedAt, true
	if l.limit > 0 {
		l.limit--
	} else {
		l.ties--
	}
	return e
}

func newestFirst(a, b *nostr.Event) int {
	if a.CreatedAt != b.CreatedAt {
		if a.CreatedAt > b.CreatedAt {
			return -1
		}
		return 1
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// more tells, at the end, whether events were left out only because there are
// limits.
func (s *served) more(ctx context.Context) (bool, error) {
	for _, l := range s.lists {
		if err := s.fill(ctx, l); err != nil {
			return false, err
		}
		if len(l.buf) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// fill reads the next page of a list unless there is something left of the one
// before.
func (s *served) fill(ctx context.Context, l *list) error {
	for len(l.buf) == 0 && !l.end {
		s.release(l)
		begin := time.Now()
		limited, cancel := context.WithTimeout(ctx, s.left)
		err := s.read(limited, l)
		cancel()
		s.left -= time.Since(begin)
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads one page, of which nothing may be left.
func (s *served) read(ctx context.Context, l *list) error {
	f := s.face
	select {
	case f.reading <- struct{}{}:
		defer func() { <-f.reading }()
	case <-ctx.Done():
		return errBusy
	}
	l.query.Limit = min(s.size, l.limit+l.ties+1) // one more tells whether there are more
	page, next, err := f.store.Events(ctx, l.query)
	if err != nil {
		return err
	}
	l.query.After, l.end = next, next == ""
	if l.latest {
		superseded, err := f.store.Superseded(ctx, page)
		if err != nil {
			return err
		}
		kept := page[:0]
		for i := range page {
			if !superseded[i] {
				kept = append(kept, page[i])
			}
		}
		page = kept
	}
	if s.whole {
		n := len(page)
		page = slices.DeleteFunc(page, func(e store.Stored) bool { return e.IndexOnly })
		s.omitted = s.omitted || len(page) < n
	}
	// The page holds its place among those being read until there is room for it
	// among those on their way, so that no more pages are in memory than both.
	weight := int64(0)
	for i := range page {
		weight += int64(page[i].Weight())
	}
	weight = min(weight, maxHeld)
	if err := f.held.Acquire(ctx, weight); err != nil {
		return errBusy
	}
	l.buf, l.weight = page, weight
	return nil
}

func (s *served) release(l *list) {
	s.face.held.Release(l.weight)
	l.buf, l.weight = nil, 0
}

// close gives up what is held.
func (s *served) close() {
	for _, l := range s.lists {
		s.release(l)
	}
}

// judged is how many events are asked for by their ids at once.
const judged = 400

// judge visits those of some events that a query finds and that are served.
func judge(ctx context.Context, st Store, q store.EventQuery, ids []nostr.ID, visit func(*store.Stored)) error {
	return each(ctx, st, q, ids, func(page []store.Stored) error {
		superseded, err := st.Superseded(ctx, page)
		if err != nil {
			return err
		}
		for i := range page {
			if !superseded[i] && !page[i].IndexOnly {
				visit(&page[i])
			}
		}
		return nil
	})
}

// each reads those of some events that a query finds.
func each(ctx context.Context, st Store, q store.EventQuery, ids []nostr.ID, visit func([]store.Stored) error) error {
	for part := range slices.Chunk(ids, judged) {
		q.Filter.IDs, q.Limit, q.After = part, judged, ""
		for more := true; more; more = q.After != "" {
			page, next, err := st.Events(ctx, q)
			if err != nil {
				return err
			}
			if err := visit(page); err != nil {
				return err
			}
			q.After = next
		}
	}
	return nil
}
