package postgres_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/store"
)

func pubkey(n int) nostr.PubKey { return sha256.Sum256(fmt.Appendf(nil, "author %d", n)) }

// mentionRow is what the database holds of a URL in a class.
type mentionRow struct {
	URL                       string
	Class, First, Last, Count int64
	Authors                   int64
}

func mentionRows(t *testing.T, conn *pgx.Conn) (list []mentionRow) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT url, class, first_seen, last_seen, n, authors FROM mention ORDER BY url, class`)
	if err != nil {
		t.Fatal(err)
	}
	var r mentionRow
	var authors []byte
	if _, err := pgx.ForEachRow(rows, []any{&r.URL, &r.Class, &r.First, &r.Last, &r.Count, &authors}, func() error {
		d, err := store.ParseDistinct(authors)
		if err == nil {
			r.Authors = d.Count()
			list = append(list, r)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestMentionsAddedAtOnce has finders add the same mentions at the same time,
// while the validator saves what it found of the URLs: that gives the same
// counts and authors as one after the other.
func TestMentionsAddedAtOnce(t *testing.T) {
	const urls, batches, finders = 150, 6, 4
	r := rand.New(rand.NewPCG(1, 2))
	list := relayURLs(urls)
	var work [finders][batches][]store.Mention
	for f := range work {
		for b := range work[f] {
			for range 1000 {
				work[f][b] = append(work[f][b], store.Mention{
					URL: list[int(r.ExpFloat64()*urls/4)%urls], Class: []hints.Class{hints.List, hints.Hint, hints.Content}[r.IntN(3)],
					Author: pubkey(r.IntN(300)), At: now + int64(r.IntN(1000)),
				})
			}
		}
	}
	ways(t, 2, func(t *testing.T, s *shared) {
		var added atomic.Int64
		atOnce(t, finders+1, func(i int) error {
			db := s.handles[i%2]
			if i == finders {
				for n := range int64(20) {
					due, err := db.DueCandidates(t.Context(), store.Due{Now: now + 2000 + n, Limit: 50, Owner: "validator", Until: now + 9000})
					if err != nil {
						return err
					}
					var verdicts []store.Verdict
					for _, c := range due {
						verdicts = append(verdicts, store.Verdict{URL: c.URL, Owner: "validator", At: now, NextDue: now})
					}
					slices.Reverse(verdicts)
					if err := db.SaveVerdicts(t.Context(), verdicts); err != nil {
						return err
					}
				}
				return nil
			}
			for _, mentions := range work[i] {
				n, err := db.AddMentions(t.Context(), mentions)
				if err != nil {
					return err
				}
				added.Add(int64(n))
			}
			return nil
		})
		together := mentionRows(t, s.direct)
		all, err := s.handles[0].DueCandidates(t.Context(), store.Due{Now: now + 9999, Limit: 2 * urls, Owner: "reader", Until: now + 9999})
		if err != nil {
			t.Fatal(err)
		}
		if int(added.Load()) != len(all) {
			t.Errorf("%d were told to be new, %d are there", added.Load(), len(all))
		}
		authors := make(map[string]int)
		for _, c := range all {
			authors[c.URL.String()] = c.DistinctAuthors
		}

		if _, err := s.direct.Exec(t.Context(), `TRUNCATE mention, candidate`); err != nil {
			t.Fatal(err)
		}
		for _, finder := range work {
			for _, mentions := range finder {
				if _, err := s.handles[1].AddMentions(t.Context(), mentions); err != nil {
					t.Fatal(err)
				}
			}
		}
		if d := cmp.Diff(mentionRows(t, s.direct), together); d != "" {
			t.Errorf("mentions (-one after the other +at once):\n%.2000s", d)
		}
		all, err = s.handles[0].DueCandidates(t.Context(), store.Due{Now: now + 9999, Limit: 2 * urls, Owner: "reader", Until: now + 9999})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if authors[c.URL.String()] != c.DistinctAuthors {
				t.Errorf("%s has %d authors at once, %d one after the other", c.URL, authors[c.URL.String()], c.DistinctAuthors)
			}
		}
	})
}

// TestPromotionBesideMentions has URLs promoted and mentioned at once: none is
// a relay and a candidate.
func TestPromotionBesideMentions(t *testing.T) {
	const urls = 300
	ways(t, 2, func(t *testing.T, s *shared) {
		list := relayURLs(urls)
		atOnce(t, 2, func(i int) error {
			for n := range urls {
				switch i {
				case 0:
					if _, err := s.handles[0].AddMentions(t.Context(), []store.Mention{{URL: list[n], Class: hints.List, At: now}}); err != nil {
						return err
					}
				case 1:
					if err := s.handles[1].SaveVerdicts(t.Context(), []store.Verdict{{URL: list[n], At: now, Valid: true}}); err != nil {
						return err
					}
				}
			}
			return nil
		})
		var both, relays int
		if err := s.direct.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM relay JOIN candidate USING (url)), (SELECT count(*) FROM relay)`).Scan(&both, &relays); err != nil {
			t.Fatal(err)
		}
		if both != 0 || relays != urls {
			t.Errorf("%d relays, of which %d are candidates too; want %d and none", relays, both, urls)
		}
	})
}

// note returns an event with the right id.
func note(by int, kind nostr.Kind, at int64, content string, tags ...nostr.Tag) nostr.Event {
	e := nostr.Event{PubKey: pubkey(by), CreatedAt: at, Kind: kind, Tags: tags, Content: content}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	return e
}

// ingest has writers save overlapping events of a few relays until each has
// saved n batches. One in ten writers' batches carries a request to vanish when
// vanish is set.
func (s *shared) ingest(ctx context.Context, writer, n int, relays []store.Relay, vanish bool) error {
	r := rand.New(rand.NewPCG(uint64(writer), 7))
	db := s.handles[writer%len(s.handles)]
	for b := range n {
		batch := store.Batch{Relay: relays[r.IntN(len(relays))].ID, SeenAt: now}
		if r.IntN(5) == 0 {
			batch.Relay = 0
		}
		for range 1 + r.IntN(80) {
			// Few different events, so that writers meet.
			of := r.IntN(3000)
			batch.Events = append(batch.Events, note(of%17, nostr.Kind(of%4), now+int64(of)*400, fmt.Sprint("note ", of)))
		}
		if vanish && r.IntN(10) == 0 {
			batch.Events = append(batch.Events, note(r.IntN(17), 62, now+int64(r.IntN(3000)*400), "", nostr.Tag{"relay", "ALL_RELAYS"}))
		}
		if _, err := db.SaveBatch(ctx, batch); err != nil {
			return fmt.Errorf("batch %d: %w", b, err)
		}
	}
	return nil
}

// TestSumsUnderIngest has refreshers and a recount work beside writers: nothing
// is counted twice or left out, and the recount never finds fault with what is
// only under way.
func TestSumsUnderIngest(t *testing.T) {
	const writers, batches = 4, 40
	for _, vanish := range []bool{false, true} {
		name := map[bool]string{false: "adding", true: "vanishing"}[vanish]
		t.Run(name, func(t *testing.T) {
			ways(t, 2, func(t *testing.T, s *shared) {
				ctx := t.Context()
				relays, err := s.handles[0].AddRelays(ctx, relayURLs(5), now)
				if err != nil {
					t.Fatal(err)
				}
				var done atomic.Int32
				var recounts atomic.Int32
				atOnce(t, writers+3, func(i int) error {
					switch {
					case i < writers:
						defer done.Add(1)
						return s.ingest(ctx, i, batches, relays, vanish)
					case i < writers+2:
						for done.Load() < writers {
							if _, err := s.handles[i%2].Refresh(ctx, 100); err != nil {
								return err
							}
						}
						return nil
					}
					for done.Load() < writers && !vanish { // a recount is given up when events keep going
						found, err := s.handles[1].Recount(ctx)
						if err != nil {
							return err
						}
						if len(found) > 0 {
							return fmt.Errorf("recount %d beside ingest: %v", recounts.Load(), found)
						}
						recounts.Add(1)
					}
					return nil
				})
				if !vanish && recounts.Load() == 0 {
					t.Error("there was no recount beside ingest")
				}
				s.settled(t)
			})
		})
	}
}

// settled refreshes to the end and checks the sums.
func (s *shared) settled(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for more := true; more; {
		r, err := s.handles[0].Refresh(ctx, 10000)
		if err != nil {
			t.Fatal(err)
		}
		more = r.More
	}
	found, err := s.handles[0].Recount(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Errorf("wrong sums: %v", found)
	}
	var events, sightings, summed, sighted, waiting int64
	if err := s.direct.QueryRow(ctx, `SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM sighting),
		(SELECT n FROM rollup_total WHERE name = 'events'), (SELECT n FROM rollup_total WHERE name = 'sightings'), (SELECT count(*) FROM sighting_log)`,
	).Scan(&events, &sightings, &summed, &sighted, &waiting); err != nil {
		t.Fatal(err)
	}
	if events != summed || sightings != sighted || waiting != 0 || events == 0 || sightings == 0 {
		t.Errorf("the sums are %d events and %d sightings, there are %d and %d; %d rows wait", summed, sighted, events, sightings, waiting)
	}
}

// TestRecountRepairsUnderIngest damages every rollup while writers and a
// refresher work: a recount sets right what was wrong and nothing else.
func TestRecountRepairsUnderIngest(t *testing.T) {
	const writers = 2
	ways(t, 2, func(t *testing.T, s *shared) {
		ctx := t.Context()
		relays, err := s.handles[0].AddRelays(ctx, relayURLs(5), now)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ingest(ctx, 99, 30, relays, false); err != nil {
			t.Fatal(err)
		}
		s.settled(t)
		var rollups []string
		for _, damage := range []string{
			`UPDATE rollup_total SET n = n + 5`,
			`UPDATE rollup_day SET n = n + 7 WHERE day = (SELECT min(day) FROM rollup_day)`,
			`DELETE FROM rollup_kind WHERE kind = 1`,
			`INSERT INTO rollup_day_kind (day, kind, n) VALUES (1, 77, 3)`,
			`UPDATE rollup_relay SET n = n - 1 WHERE relay_id = (SELECT min(relay_id) FROM rollup_relay)`,
			`INSERT INTO rollup_relay_kind (relay_id, kind, n) VALUES (9999, 77, 3)`,
			`DELETE FROM rollup_relay_day WHERE relay_id = (SELECT min(relay_id) FROM rollup_relay)`,
		} {
			if _, err := s.direct.Exec(ctx, damage); err != nil {
				t.Fatal(err)
			}
		}
		var done atomic.Int32
		atOnce(t, writers+2, func(i int) error {
			switch {
			case i < writers:
				defer done.Add(1)
				return s.ingest(ctx, i, 40, relays, false)
			case i == writers:
				for done.Load() < writers {
					if _, err := s.handles[0].Refresh(ctx, 100); err != nil {
						return err
					}
				}
				return nil
			}
			found, err := s.handles[1].Recount(ctx)
			for _, d := range found {
				rollups = append(rollups, d.Rollup)
			}
			return err
		})
		slices.Sort(rollups)
		want := []string{"rollup_day", "rollup_day_kind", "rollup_kind", "rollup_relay", "rollup_relay_day", "rollup_relay_kind", "rollup_total"}
		if d := cmp.Diff(want, slices.Compact(rollups), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("rollups that differed (-want +got):\n%s", d)
		}
		s.settled(t)
	})
}
