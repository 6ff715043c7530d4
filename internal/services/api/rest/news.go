package rest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// Store is what the stream needs of the archive.
type Store interface {
	store.EventReader
	store.EventScanner
}

const (
	// newsEvery is how often the archive is asked what is new.
	newsEvery = 500 * time.Millisecond
	// keptItems and keptBytes bound what is held of it for those who follow.
	keptItems = 5000
	keptBytes = 32 << 20
	// newsBatch is how many events are read before they are passed on.
	newsBatch = 200
)

// news reads what is newly archived, once for all who follow, and holds the
// newest of it. While nobody follows it reads nothing.
type news struct {
	store   store.EventScanner
	events  store.EventReader
	timeout time.Duration
	log     *slog.Logger

	mu       sync.Mutex
	followed int
	cursor   store.Cursor // up to where is read, while somebody follows
	items    []item
	first    uint64 // the number of items[0]
	places   map[store.Cursor]uint64
	size     int
	more     chan struct{} // closed when there is more

	over chan struct{} // closed when run ends
}

// item is a newly archived event.
type item struct {
	record store.Stored
	cursor store.Cursor
	public bool // strangers are served it
}

func newNews(st Store, timeout time.Duration, log *slog.Logger) *news {
	return &news{store: st, events: st, timeout: timeout, log: log, places: map[store.Cursor]uint64{}, more: make(chan struct{}), over: make(chan struct{})}
}

func (n *news) run(ctx context.Context) {
	defer close(n.over)
	tick := time.NewTicker(newsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := n.round(ctx); err != nil && ctx.Err() == nil {
			n.log.WarnContext(ctx, "what is new cannot be read", "error", err)
		}
	}
}

// join has what is archived from now on held, and returns where it begins.
func (n *news) join(ctx context.Context) (store.Cursor, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.followed == 0 {
		ctx, cancel := context.WithTimeout(ctx, n.timeout)
		defer cancel()
		head, err := n.store.Head(ctx)
		if err != nil {
			return "", err
		}
		n.restart(head)
	}
	n.followed++
	return n.cursor, nil
}

// check returns store.ErrCursor for a cursor that is none of the archive's.
func (n *news) check(ctx context.Context, at store.Cursor) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	one := 1
	for _, err := range n.store.ScanEvents(ctx, at, nostr.Filter{Limit: &one}) {
		return err
	}
	return nil
}

// restart forgets what is held. The caller holds the lock.
func (n *news) restart(at store.Cursor) {
	n.first += uint64(len(n.items))
	n.items, n.size, n.cursor = nil, 0, at
	clear(n.places)
	n.places[at] = n.first
}

func (n *news) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.followed--; n.followed == 0 {
		n.restart("")
	}
}

// place returns the number of the item behind a cursor, when it is held.
func (n *news) place(at store.Cursor) (uint64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nr, ok := n.places[at]
	return nr, ok
}

// from returns what is held from a number on, false when that is not held any
// longer, and what is closed when there is more.
func (n *news) from(nr uint64) ([]item, bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if nr < n.first {
		return nil, false, n.more
	}
	return n.items[min(nr-n.first, uint64(len(n.items))):], true, n.more
}

// round reads everything that is new.
func (n *news) round(ctx context.Context) error {
	n.mu.Lock()
	at, followed := n.cursor, n.followed > 0
	n.mu.Unlock()
	if !followed {
		return nil
	}
	err := n.scan(ctx, at, func(batch []item) bool {
		n.add(at, batch)
		at = batch[len(batch)-1].cursor
		return true
	})
	if errors.Is(err, store.ErrCursor) {
		// The database was replaced by a copy: what came with it is not news.
		if head, headErr := n.store.Head(ctx); headErr == nil {
			n.mu.Lock()
			n.restart(head)
			n.mu.Unlock()
		}
	}
	return err
}

// add holds a batch that was read from a position on, unless everybody has left
// meanwhile.
func (n *news) add(at store.Cursor, batch []item) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cursor != at {
		return
	}
	for _, i := range batch {
		n.items = append(n.items, i)
		n.size += i.record.Weight()
		n.places[i.cursor] = n.first + uint64(len(n.items))
	}
	n.cursor = batch[len(batch)-1].cursor
	drop := 0
	for size := n.size; drop < len(n.items)-1 && (len(n.items)-drop > keptItems || size > keptBytes); drop++ {
		size -= n.items[drop].record.Weight()
		n.size = size
	}
	if drop > 0 {
		n.items = append([]item{}, n.items[drop:]...) // those who read hold the old ones
		n.first += uint64(drop)
		for cursor, nr := range n.places {
			if nr < n.first {
				delete(n.places, cursor)
			}
		}
	}
	close(n.more)
	n.more = make(chan struct{})
}

// scan reads what was archived behind a position in batches, until there is no
// more or pass returns false.
func (n *news) scan(ctx context.Context, at store.Cursor, pass func([]item) bool) error {
	var batch []item
	flush := func() (bool, error) {
		if len(batch) == 0 {
			return true, nil
		}
		if err := n.judge(ctx, batch); err != nil {
			return false, err
		}
		more := pass(batch)
		batch = nil
		return more, nil
	}
	for s, err := range n.store.ScanEvents(ctx, at, nostr.Filter{}) {
		if err != nil {
			return err
		}
		batch = append(batch, item{record: s.Stored, cursor: s.Cursor})
		if len(batch) == newsBatch {
			if more, err := flush(); err != nil || !more {
				return err
			}
		}
	}
	_, err := flush()
	return err
}

// judge tells which of a batch strangers are served.
func (n *news) judge(ctx context.Context, batch []item) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	q := store.EventQuery{Public: true, Limit: len(batch), Now: time.Now().Unix()}
	places := make(map[nostr.ID]int, len(batch))
	for i := range batch {
		id := batch[i].record.Event.ID
		q.Filter.IDs = append(q.Filter.IDs, id)
		places[id] = i
	}
	for more := true; more; more = q.After != "" {
		page, next, err := n.events.Events(ctx, q)
		if err != nil {
			return err
		}
		for i := range page {
			batch[places[page[i].Event.ID]].public = true
		}
		q.After = next
	}
	return nil
}
