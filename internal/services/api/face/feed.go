package face

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	// feedEvery is how often the archive is asked what is new.
	feedEvery = 500 * time.Millisecond
	// feedBatch is how many events that somebody waits for are judged at once,
	// feedBytes how large they may be together.
	feedBatch = 200
	feedBytes = maxQueue / 4
	// feedPatience is how long the feed waits, after each batch, for clients of
	// whose queue half is used. One that reads nothing costs the others a few of
	// these, then it is cut.
	feedPatience = 250 * time.Millisecond
)

// feed reads what is newly archived, once for all, and passes it to the
// subscriptions that it matches. While there are none it reads nothing.
type feed struct {
	store Store
	log   *slog.Logger

	mu     sync.Mutex
	subs   int
	index  map[key][]*subscription
	cursor store.Cursor // valid while there are subscriptions
	// rounds that have begun, and the last that has come to its end.
	begun, ended uint64
	settling     []*subscription // to be told when a round has ended
	marks        uint64          // of the event that subscriptions are looked for
	// generation changes when the feed starts anew from the head.
	generation uint64
}

// key is one condition of a filter by which events find it.
type key struct {
	what byte // 'i' id, 'a' author, 'k' kind, '*' any event, else a tag
	hash int64
}

func newFeed(st Store, log *slog.Logger) *feed {
	return &feed{store: st, log: log, index: map[key][]*subscription{}}
}

// keysOf returns the keys of one condition that every match of a filter meets:
// the most selective one, by what filters usually ask.
func keysOf(f *nostr.Filter) []key {
	var keys []key
	switch {
	case len(f.IDs) > 0:
		for _, id := range f.IDs {
			keys = append(keys, key{'i', prefix(id[:])})
		}
	case len(f.Authors) > 0:
		for _, a := range f.Authors {
			keys = append(keys, key{'a', prefix(a[:])})
		}
	case len(f.Tags) > 0:
		name := slices.Min(slices.Collect(maps.Keys(f.Tags))) // any one will do, but always the same
		for _, h := range store.TagHashes(name, f.Tags[name]) {
			keys = append(keys, key{'#', h})
		}
	case len(f.Kinds) > 0:
		for _, k := range f.Kinds {
			keys = append(keys, key{'k', int64(k)})
		}
	default:
		keys = append(keys, key{what: '*'})
	}
	return keys
}

func prefix(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

// join has a subscription told of everything that is archived from now on. What
// was archived a moment ago may come, too.
func (f *feed) join(ctx context.Context, s *subscription) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == 0 {
		head, err := f.store.Head(ctx)
		if err != nil {
			return err
		}
		f.cursor = head
		f.generation++
	}
	f.subs++
	for i := range s.filters {
		for _, k := range keysOf(&s.filters[i]) {
			if list := f.index[k]; len(list) == 0 || list[len(list)-1] != s {
				f.index[k] = append(list, s)
			}
		}
	}
	return nil
}

func (f *feed) leave(s *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs--
	for i := range s.filters {
		for _, k := range keysOf(&s.filters[i]) {
			list := slices.DeleteFunc(f.index[k], func(o *subscription) bool { return o == s })
			if len(list) == 0 {
				delete(f.index, k)
			} else {
				f.index[k] = list
			}
		}
	}
}

// settle has a subscription told when everything has been passed on that is
// archived by now: when the round that begins next has ended.
func (f *feed) settle(s *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.until = f.begun + 1
	f.settling = append(f.settling, s)
}

// settled tells those whose round has ended.
func (f *feed) settled() {
	f.mu.Lock()
	var told []*subscription
	f.settling = slices.DeleteFunc(f.settling, func(s *subscription) bool {
		if s.until > f.ended {
			return false
		}
		told = append(told, s)
		return true
	})
	f.mu.Unlock()
	for _, s := range told {
		s.client.settled(s)
	}
}

// match returns the subscriptions that an event matches.
func (f *feed) match(e *nostr.Event) []*subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marks++
	var found []*subscription
	look := func(k key) {
		for _, s := range f.index[k] {
			if s.mark == f.marks {
				continue
			}
			s.mark = f.marks // looked at
			if slices.ContainsFunc(s.filters, func(filter nostr.Filter) bool { return filter.Matches(e) && store.Finds(filter.Search, e) }) {
				found = append(found, s)
			}
		}
	}
	look(key{what: '*'})
	look(key{'i', prefix(e.ID[:])})
	look(key{'a', prefix(e.PubKey[:])})
	look(key{'k', int64(e.Kind)})
	for _, t := range e.Tags {
		if store.Indexed(t) {
			look(key{'#', store.TagHash(t[0], t[1])})
		}
	}
	return found
}

// pass asks once for what is new.
func (f *feed) pass(ctx context.Context) {
	if err := f.round(ctx); err != nil && ctx.Err() == nil {
		f.log.WarnContext(ctx, "what is new cannot be read", "error", err)
	}
	f.settled()
}

// fresh is a newly archived event and who waits for it.
type fresh struct {
	record store.Stored
	subs   []*subscription
}

// round passes on everything that is new. After an error the next one goes on
// where this one was.
func (f *feed) round(ctx context.Context) error {
	f.mu.Lock()
	if f.subs == 0 {
		f.begun++ // which there was nothing to do for
		f.ended = f.begun
		f.mu.Unlock()
		return nil
	}
	at, generation := f.cursor, f.generation
	f.begun++
	round := f.begun
	f.mu.Unlock()

	reached := at
	err := f.read(ctx, at, func(c store.Cursor) { reached = c })
	if errors.Is(err, store.ErrCursor) {
		// The database was replaced by a copy: what came with it is not news.
		if head, headErr := f.store.Head(ctx); headErr == nil {
			reached = head
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.generation == generation {
		f.cursor = reached
		if err == nil {
			f.ended = round
		}
	}
	return err
}

// read passes on what is behind a position and tells how far it came.
func (f *feed) read(ctx context.Context, at store.Cursor, done func(store.Cursor)) error {
	var batch []fresh
	size := 0 // of batch
	flush := func() error {
		err := f.deliver(ctx, batch)
		if err == nil {
			done(at)
		}
		batch, size = batch[:0], 0
		return err
	}
	n := 0
	for s, err := range f.store.ScanEvents(ctx, at, nostr.Filter{}) {
		if err != nil {
			return err
		}
		at = s.Cursor
		if n++; !s.IndexOnly {
			if subs := f.match(&s.Event); len(subs) > 0 {
				batch = append(batch, fresh{s.Stored, subs})
				size += s.Weight()
			}
		}
		if len(batch) >= feedBatch || size >= feedBytes || n%10_000 == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// deliver passes on those events that are served: the rules are those of what
// is stored.
func (f *feed) deliver(ctx context.Context, batch []fresh) error {
	if len(batch) == 0 {
		return nil
	}
	var behind []*client
	query := store.EventQuery{Public: true, Now: time.Now().Unix()}
	ids := make([]nostr.ID, 0, len(batch))
	waiting := make(map[nostr.ID][]*subscription, len(batch))
	for i := range batch {
		id := batch[i].record.Event.ID
		ids = append(ids, id)
		waiting[id] = batch[i].subs
		for _, s := range batch[i].subs {
			for _, reader := range s.client.authenticated() {
				if !slices.Contains(query.Readers, reader) {
					query.Readers = append(query.Readers, reader)
				}
			}
		}
	}
	if err := judge(ctx, f.store, query, ids, func(e *store.Stored) {
		for _, s := range waiting[e.Event.ID] {
			if s.client.deliver(ctx, s, e) && !slices.Contains(behind, s.client) {
				behind = append(behind, s.client)
			}
		}
	}); err != nil {
		return err
	}
	wait(ctx, behind)
	return nil
}

// wait gives clients that are behind some time to read.
func wait(ctx context.Context, behind []*client) {
	ctx, cancel := context.WithTimeout(ctx, feedPatience)
	defer cancel()
	for _, c := range behind {
		c.waitFor(ctx)
	}
}
