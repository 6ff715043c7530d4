package refresher

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

const (
	// textBatch is how many events are read for one transaction of the index of
	// words.
	textBatch = 1000
	// textTurns is how many of them a cycle has, so that sums stay fresh while an
	// old archive is indexed.
	textTurns = 20
)

// texts brings the index of words up to what is archived, or drops it.
func (s *Service) texts(ctx context.Context) error {
	at, complete, err := s.store.TextsAt(ctx)
	if err != nil {
		return fmt.Errorf("refresh words: %w", err)
	}
	if !s.cfg.Search {
		if at == "" && !complete {
			return nil
		}
		if err := s.store.DropTexts(ctx); err != nil {
			return fmt.Errorf("refresh words: %w", err)
		}
		s.log.InfoContext(ctx, "index of words dropped")
		return nil
	}
	indexed := 0
	for range textTurns {
		batch, err := s.read(ctx, at)
		if errors.Is(err, store.ErrCursor) {
			// The database was replaced by a copy, which numbers events anew.
			if err = s.store.DropTexts(ctx); err == nil {
				at = ""
				continue
			}
		}
		if err == nil && (batch.To != at || batch.Complete != complete) {
			err = s.store.SaveTexts(ctx, batch)
		}
		if err != nil {
			return fmt.Errorf("refresh words: %w", err)
		}
		indexed += len(batch.Add)
		at, complete = batch.To, complete || batch.Complete
		if batch.Complete || service.Stopping(ctx) {
			break
		}
	}
	if indexed > 0 {
		s.log.InfoContext(ctx, "words indexed", "events", indexed, "complete", complete)
	}
	return nil
}

// read makes a batch of the next events: those that strangers are served, now and
// as long as nobody deletes them.
func (s *Service) read(ctx context.Context, at store.Cursor) (store.TextBatch, error) {
	batch := store.TextBatch{From: at, To: at}
	head, err := s.store.Head(ctx)
	if err != nil {
		return batch, err
	}
	limit := textBatch
	wanted := nostr.Filter{Kinds: append(store.TextKinds(), store.KindDeletion), Limit: &limit}
	var texts []nostr.ID
	n := 0
	for one, err := range s.store.ScanEvents(ctx, at, wanted) {
		if err != nil {
			return batch, err
		}
		batch.To = one.Cursor
		n++
		if one.Event.Kind == store.KindDeletion {
			if err := s.deleted(ctx, &one.Event, &batch); err != nil {
				return batch, err
			}
			continue
		}
		if _, expires := store.Expiry(&one.Event); !expires && !one.IndexOnly {
			texts = append(texts, one.Event.ID)
		}
	}
	if n < limit {
		// All that there was when it began, of other kinds too.
		batch.To, batch.Complete = head, true
	}
	return batch, s.events(ctx, store.EventQuery{Filter: nostr.Filter{IDs: texts}, Public: true}, func(e *store.Stored) {
		batch.Add = append(batch.Add, store.EventWords{Seq: e.Seq, CreatedAt: e.Event.CreatedAt, Words: store.Words(&e.Event)})
	})
}

// deleted takes off what an author asks to forget.
func (s *Service) deleted(ctx context.Context, request *nostr.Event, batch *store.TextBatch) error {
	var ids []nostr.ID
	for _, t := range request.Tags {
		if len(t) > 1 && t[0] == "e" && len(ids) < textBatch {
			if id, err := nostr.ParseID(t[1]); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return s.events(ctx, store.EventQuery{Filter: nostr.Filter{IDs: ids, Authors: []nostr.PubKey{request.PubKey}}}, func(e *store.Stored) {
		batch.Remove = append(batch.Remove, store.EventWords{Seq: e.Seq, CreatedAt: e.Event.CreatedAt})
	})
}

// events hands on the events of a query that names ids.
func (s *Service) events(ctx context.Context, q store.EventQuery, each func(*store.Stored)) error {
	for ids := range slices.Chunk(q.Filter.IDs, textBatch) {
		part := q
		part.Filter.IDs, part.Limit = ids, len(ids)
		for more := true; more; more = part.After != "" {
			page, next, err := s.store.Events(ctx, part)
			if err != nil {
				return err
			}
			for i := range page {
				each(&page[i])
			}
			part.After = next
		}
	}
	return nil
}
