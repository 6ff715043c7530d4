package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	// thinRows is how many events one transaction of Thin drops.
	thinRows = 1000
	// settingThin is up to which seq events were thinned, while an archive
	// becomes an index.
	settingThin = "thin"
)

const (
	sqlOwner     = `SELECT pg_has_role(relowner, 'USAGE'), pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'event'::regclass`
	sqlLastSeq   = `SELECT coalesce(max(seq), 0) FROM event`
	sqlThinnable = `
		SELECT ` + eventColumns + ` FROM event e
		WHERE e.seq > $1 AND e.seq <= $2 AND e.sig IS NOT NULL AND NOT e.kind = ANY($3) ORDER BY e.seq LIMIT $4`
	sqlThin = `
		UPDATE event e SET sig = NULL, tags = NULL, content = NULL, raw = NULL, tagh = u.tagh::bigint[], d = u.d, expires = u.expires
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) AS u (created_at, seq, tagh, d, expires)
		WHERE e.created_at = u.created_at AND e.seq = u.seq`
)

// Thin implements store.Thinner. It needs the rights of the schema's owner. To
// give the space back each partition is rewritten, under a lock that keeps
// others from it and with as much free space as is left of it; a Thin that
// found no room for that does it when it is called again.
func (db *DB) Thin(ctx context.Context, keep store.Keep, progress func(done, all int64)) error {
	if keep.Mode != store.KeepIndex {
		return &store.KeepError{Have: store.KeepIndex, Want: keep.Mode}
	}
	if err := db.thin(ctx, keep, progress); err != nil {
		return fmt.Errorf("make an index: %w", err)
	}
	return nil
}

func (db *DB) thin(ctx context.Context, keep store.Keep, progress func(done, all int64)) error {
	// Others could drop what is to go, and would not get the space back.
	var ours bool
	var owner string
	if err := db.read(ctx, func(q querier) error { return q.QueryRow(ctx, sqlOwner).Scan(&ours, &owner) }); err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("only %s, who owns the schema, can do that", owner)
	}
	at, last, err := db.startThin(ctx, keep)
	if err != nil {
		return err
	}
	if err := db.DropTexts(ctx); err != nil {
		return err
	}
	kinds := make([]int64, len(keep.FullKinds))
	for i, k := range keep.FullKinds {
		kinds[i] = int64(k)
	}
	for at < last {
		if err := db.write(ctx, func(tx pgx.Tx) (err error) {
			at, err = thinSome(ctx, tx, at, last, kinds)
			return err
		}); err != nil {
			return err
		}
		progress(at, last)
	}
	list, err := db.periods(ctx)
	if err != nil {
		return err
	}
	for _, p := range list {
		if _, err := db.pool.Exec(ctx, "VACUUM (FULL, ANALYZE) event_"+p.name, pgx.QueryExecModeSimpleProtocol); err != nil {
			return explain(err)
		}
	}
	progress(last, last)
	return db.write(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sqlDropSetting, settingThin)
		return err
	})
}

// startThin writes the policy and finds where an earlier Thin was.
func (db *DB) startThin(ctx context.Context, keep store.Keep) (at, last int64, err error) {
	full, err := json.Marshal(append([]nostr.Kind{}, keep.FullKinds...))
	if err != nil {
		return 0, 0, err
	}
	err = db.write(ctx, func(tx pgx.Tx) error {
		at = 0
		// Ingests that keep events by the old policy have ended then.
		if _, err := tx.Exec(ctx, sqlLock, vanishing); err != nil {
			return err
		}
		have, err := readKeep(ctx, tx)
		if err != nil {
			return err
		}
		var text string
		if there, err := found(tx.QueryRow(ctx, sqlSetting, settingThin).Scan(&text)); err != nil {
			return err
		} else if there && slices.Equal(have.FullKinds, keep.FullKinds) {
			if at, err = strconv.ParseInt(text, 10, 64); err != nil {
				return err
			}
		}
		for name, value := range map[string]string{"keep": string(keep.Mode), "keep_full_kinds": string(full), settingThin: strconv.FormatInt(at, 10)} {
			if _, err := tx.Exec(ctx, sqlPutSetting, name, value); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, sqlLastSeq).Scan(&last)
	})
	return at, last, err
}

// thinSome drops what an index does not keep of the next events and returns how
// far it came.
func thinSome(ctx context.Context, tx pgx.Tx, at, last int64, full []int64) (int64, error) {
	createdAts, seqs, taghs := []int64{}, []int64{}, []*string{}
	ds, expiries := []*int64{}, []*int64{}
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		r, err := scanEvent(rows)
		if err != nil {
			return err
		}
		in := store.IndexOf(&r.Event)
		createdAts, seqs = append(createdAts, r.Event.CreatedAt), append(seqs, int64(r.Seq))
		taghs, ds, expiries = append(taghs, numbers(in.Tags)), append(ds, in.D), append(expiries, in.Expires)
		return nil
	}, sqlThinnable, at, last, full, int64(thinRows)); err != nil {
		return at, err
	}
	if len(seqs) < thinRows {
		at = last
	} else {
		at = seqs[len(seqs)-1]
	}
	if _, err := tx.Exec(ctx, sqlThin, createdAts, seqs, taghs, ds, expiries); err != nil {
		return at, err
	}
	_, err := tx.Exec(ctx, sqlPutSetting, settingThin, strconv.FormatInt(at, 10))
	return at, err
}
