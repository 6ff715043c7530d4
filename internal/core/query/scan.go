package query

import (
	"context"
	"fmt"
	"iter"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// Found is an event of a scan.
type Found struct{ store.Stored }

// Cursor is where a scan goes on behind the event.
func (f *Found) Cursor() store.Cursor {
	return store.Position{At: f.Event.CreatedAt, ID: f.Event.ID}.Cursor()
}

// Scan yields the events of a filter that strangers may be served, newest first,
// behind a cursor. While the caller works on a page the next one is read, each for
// at most a time; more than two pages are never in memory.
func (c *Catalogue) Scan(ctx context.Context, filter nostr.Filter, after store.Cursor, each time.Duration) iter.Seq2[Found, error] {
	type answer struct {
		rows []store.Stored
		next store.Cursor
		err  error
	}
	read := func(ctx context.Context, after store.Cursor) answer {
		ctx, cancel := context.WithTimeout(ctx, each)
		defer cancel()
		rows, next, err := c.store.Events(ctx, store.EventQuery{Filter: filter, After: after, Limit: MaxPage, Public: true, Now: time.Now().Unix()})
		if err != nil {
			err = fmt.Errorf("read events: %w", err)
		}
		return answer{rows, next, err}
	}
	return func(yield func(Found, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		ahead := make(chan answer, 1)
		ask := func(after store.Cursor) { go func() { ahead <- read(ctx, after) }() }
		ask(after)
		waiting := true
		defer func() {
			if cancel(); waiting {
				<-ahead
			}
		}()
		for waiting {
			page := <-ahead
			if waiting = page.err == nil && page.next != ""; waiting {
				ask(page.next)
			}
			for i := range page.rows {
				if !yield(Found{page.rows[i]}, nil) {
					return
				}
			}
			if page.err != nil {
				yield(Found{}, page.err)
				return
			}
		}
	}
}

// AppendJSON writes an event as it was signed, or what is kept of it.
func (f *Found) AppendJSON(dst []byte) ([]byte, error) {
	if !f.IndexOnly {
		return f.Event.AppendJSON(dst), nil
	}
	text, err := eventJSON(&f.Stored)
	return append(dst, text...), err
}
