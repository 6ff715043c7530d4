package sqlite

import (
	"context"
	"errors"
	"slices"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// purgeSlice is how many events one transaction of a purge deletes.
const purgeSlice = 500

const sqlAddTombstone = `
	INSERT INTO tombstone (target, until, purged) VALUES (?, ?, 0)
	ON CONFLICT (target) DO UPDATE SET until = excluded.until, purged = 0 WHERE excluded.until > until`

// vanish obeys the vanish requests of a batch before anything of it is stored.
// What was archived earlier is deleted after the batch, in slices of its own.
func (s *saving) vanish() error {
	for i := range s.batch.Events {
		e := &s.batch.Events[i]
		if !store.Vanishes(e) {
			continue
		}
		n, err := s.c.exec(sqlAddTombstone, e.PubKey[:], e.CreatedAt)
		if err != nil {
			return err
		}
		s.vanished = s.vanished || n > 0
		s.w.tombstones[prefix(e.PubKey[:])] = struct{}{}
	}
	return nil
}

const sqlUnpurged = `SELECT target, until FROM tombstone WHERE purged = 0`

// purge deletes what tombstones name. A process that ends before it does leaves
// the rest to the next Open.
func (db *DB) purge(ctx context.Context) error {
	for {
		var target []byte
		var until int64
		if err := db.writer.alone(ctx, func(w *writer) error {
			// From here the index holds every row of what is to be deleted:
			// nothing new of it can come.
			if err := w.mergeAll(); err != nil {
				return err
			}
			_, err := w.c.one(ctx, func(r row) { target, until = r.blob(0), r.int(1) }, sqlUnpurged)
			return err
		}); err != nil || target == nil {
			return err
		}
		for more := true; more; {
			if err := db.write(ctx, func(w *writer) (err error) {
				more, err = w.purgeSome(target, until)
				return err
			}); err != nil {
				return err
			}
		}
	}
}

const (
	sqlPurgeable = `
		SELECT e.seq, e.id, e.pubkey, e.created_at, e.kind, e.first_seen, e.sig, e.tags, e.content, e.raw, e.tagh, e.d, e.expires
		FROM term t JOIN event e ON e.seq = t.seq
		WHERE t.h = ? AND t.created_at <= ? AND t.kind <> 62 AND e.pubkey = ? LIMIT ?`
	sqlPurged          = `UPDATE tombstone SET purged = 1 WHERE target = ? AND until = ?`
	sqlDeleteEvent     = `DELETE FROM event WHERE seq = ?`
	sqlDeleteTerm      = `DELETE FROM term WHERE h = ? AND created_at = ? AND seq = ?`
	sqlDeleteDeletion  = `DELETE FROM deletion WHERE h = ? AND author = ? AND created_at = ? AND seq = ?`
	sqlSightingRelays  = `SELECT relay_id, gone_at IS NULL FROM sighting WHERE event_seq = ?`
	sqlDeleteSightings = `DELETE FROM sighting WHERE event_seq = ?`
)

// purgeSome deletes the next events of an author, takes them out of the sums
// and tells whether there may be more.
func (w *writer) purgeSome(target []byte, until int64) (more bool, err error) {
	if len(target) != len(nostr.PubKey{}) {
		return false, store.ErrCorrupt
	}
	var events []store.Record
	var bad error
	if err := w.c.each(func(r row) bool {
		var s store.Record
		s, bad = scanEvent(r)
		events = append(events, s)
		return bad == nil
	}, sqlPurgeable, authorHash(nostr.PubKey(target)), until, target, int64(purgeSlice)); err != nil || bad != nil {
		return false, errors.Join(err, bad)
	}
	w.purges++
	sums := store.NewSums()
	counted, err := w.counted(uninterrupted())
	if err != nil {
		return false, err
	}
	waiting, err := w.waiting(events)
	if err != nil {
		return false, err
	}
	tallies := make(map[int64]*tally)
	for i := range events {
		if err := w.purgeEvent(&events[i], sums, counted, waiting, tallies); err != nil {
			return false, err
		}
	}
	for _, t := range tallies {
		if err := t.save(w.c); err != nil {
			return false, err
		}
	}
	if err := w.add(sums, -1); err != nil {
		return false, err
	}
	if len(events) == purgeSlice {
		return true, nil
	}
	_, err = w.c.exec(sqlPurged, target, until)
	return false, err
}

// pair is a sighting.
type pair struct{ relay, seq int64 }

// waiting returns the sightings of events that the sums do not hold yet.
func (w *writer) waiting(events []store.Record) (map[pair]bool, error) {
	wanted := make(map[int64]bool, len(events))
	for i := range events {
		wanted[int64(events[i].Seq)] = true
	}
	found := make(map[pair]bool)
	return found, w.c.each(func(r row) bool {
		for seq := range steps(r.blob(2)) {
			if wanted[seq] {
				found[pair{r.int(1), seq}] = true
			}
		}
		return true
	}, sqlSightingLog)
}

func (w *writer) purgeEvent(s *store.Record, sums *store.Sums, counted int64, waiting map[pair]bool, tallies map[int64]*tally) error {
	e, seq := &s.Event, int64(s.Seq)
	if err := w.dropText(e.CreatedAt, seq); err != nil {
		return err
	}
	hashes := slices.Clone(s.Index.Tags)
	for _, t := range appendTerms(nil, seq, e) {
		hashes = append(hashes, t.h)
	}
	for _, h := range hashes {
		if _, err := w.c.exec(sqlDeleteTerm, h, e.CreatedAt, seq); err != nil {
			return err
		}
	}
	if e.Kind == store.KindDeletion {
		for _, h := range append(store.DeletionHashes(e), hashes...) {
			if _, err := w.c.exec(sqlDeleteDeletion, h, int64(prefix(e.PubKey[:])), e.CreatedAt, seq); err != nil {
				return err
			}
		}
	}
	var have []int64 // relays
	if err := w.c.each(func(r row) bool {
		if !waiting[pair{r.int(0), seq}] {
			sums.Sighting(r.int(0), e.CreatedAt, int64(e.Kind), 1)
		}
		if r.bool(1) {
			have = append(have, r.int(0))
		}
		return true
	}, sqlSightingRelays, seq); err != nil {
		return err
	}
	for _, relay := range have {
		if err := w.keepRefused(relay, seq, e.Ref(), tallies); err != nil {
			return err
		}
	}
	if seq <= counted {
		sums.Event(e.CreatedAt, int64(e.Kind), nil)
	}
	for _, sql := range []string{sqlDeleteSightings, sqlDeleteEvent} {
		if _, err := w.c.exec(sql, seq); err != nil {
			return err
		}
	}
	return nil
}

const sqlKeepRefused = `INSERT INTO missing (relay_id, id, at, hold, since) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

// keepRefused leaves behind that a relay whose sums are kept has an event that
// is deleted here: otherwise it would be asked for it again and again.
func (w *writer) keepRefused(relay, seq int64, ref nostr.Ref, tallies map[int64]*tally) (err error) {
	t := tallies[relay]
	if t == nil {
		if t, err = w.c.tally(relay); err != nil {
			return err
		}
		tallies[relay] = t
	}
	if !t.kept {
		return nil
	}
	t.sighting(seq, ref, false)
	n, err := w.c.exec(sqlKeepRefused, relay, ref.ID[:], ref.CreatedAt, int64(store.HoldRefused), time.Now().Unix())
	if n > 0 {
		t.add(ref, true)
	}
	return err
}
