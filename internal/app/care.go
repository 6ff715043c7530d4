package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/core/store/sqlite"
)

// Examine looks at the store and at what connections need. It changes nothing.
func Examine(ctx context.Context, cfg Config, log *slog.Logger) store.Findings {
	var found store.Findings
	at, err := parseStoreURL(cfg.StoreURL())
	switch {
	case err != nil:
		found.Bad("store", err.Error(), "write sqlite:FILE or postgres://USER@HOST:PORT/DATABASE")
	case at.postgres != "":
		found = postgres.Examine(ctx, at.postgres, cfg.Store.options(log))
	default:
		found = sqlite.Examine(ctx, at.file)
	}
	for _, proxy := range []struct{ name, key, address string }{
		{"Tor", "dial.tor", cfg.Dial.Tor}, {"I2P", "dial.i2p", cfg.Dial.I2P}, {"Lokinet", "dial.loki", cfg.Dial.Loki},
	} {
		if proxy.address == "" {
			found.OK(proxy.name, "not used: "+proxy.key+" is not set")
			continue
		}
		if err := dial.CheckProxy(ctx, proxy.address); err != nil {
			found.Bad(proxy.name, proxy.address+": "+err.Error(), "start it, or correct "+proxy.key)
			continue
		}
		found.OK(proxy.name, proxy.address+" answers")
	}
	if cfg.Dial.Contact == "" {
		found.Note("contact", "relay operators cannot tell who connects", "set dial.contact to a page or mail address")
	}
	return found
}

// Migrate brings the schema to this version, and on PostgreSQL the partitions to
// as many as there should be. It returns the steps it ran, or with dry the steps
// that it would run. A dry run makes no file.
func Migrate(ctx context.Context, cfg Config, dry bool, log *slog.Logger) (steps []string, err error) {
	st, err := openDatabase(ctx, cfg, dry, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	db, onServer := st.(*postgres.DB)
	if dry {
		if steps, err = st.Pending(ctx); err != nil || len(steps) > 0 || !onServer {
			return steps, err
		}
		return db.PendingMerges(ctx)
	}
	if steps, err = st.Migrate(ctx); err != nil {
		return steps, explain(cfg, err)
	}
	if err := st.VerifySchema(ctx); err != nil {
		return steps, explain(cfg, err)
	}
	if !onServer {
		return steps, nil
	}
	merged, err := db.MergePeriods(ctx)
	return append(steps, merged...), err
}

// Thinned says what is kept of an archive that becomes an index.
type Thinned struct {
	Whole  int64 `json:"whole"`  // events kept whole
	Index  int64 `json:"index"`  // events without tags, content and signature
	Before int64 `json:"before"` // bytes of the database
	After  int64 `json:"after"`  // the same afterwards; 0 for a dry run
}

// Thin makes an index of a full archive, as the configuration wants it, or with
// dry says what that would do. The other way is refused.
func Thin(ctx context.Context, cfg Config, dry bool, log *slog.Logger, progress func(at, all int64)) (done Thinned, err error) {
	st, err := openKept(ctx, cfg, dry, store.Keep{}, log)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.VerifySchema(ctx); err != nil {
		return done, explain(cfg, err)
	}
	if err := copied(ctx, cfg, st); err != nil {
		return done, err
	}
	have, err := st.Keep(ctx)
	if err != nil {
		return done, err
	}
	want := cfg.Store.keep()
	switch {
	case want.Mode == store.KeepIndex:
	case have.Mode == store.KeepIndex:
		return done, explain(cfg, &store.KeepError{Have: have.Mode, Want: want.Mode})
	default:
		return done, errors.New("store.keep is full, and an archive that keeps every event whole has nothing to drop; set store.keep to index, in the configuration of every process, to make an index of it")
	}
	if err := done.count(ctx, st, want); err != nil || dry {
		return done, err
	}
	if err := st.Thin(ctx, want, progress); err != nil {
		if errors.Is(err, store.ErrFull) {
			err = fmt.Errorf("%w; what an index does not need is dropped, and new events take its place; make room and run it again to give the space back", err)
		}
		return done, err
	}
	totals, err := st.Totals(ctx, time.Now().Unix())
	done.After = totals.Bytes
	return done, err
}

// count says what the policy leaves of the events that the sums know.
func (t *Thinned) count(ctx context.Context, st store.StatsReader, keep store.Keep) error {
	kinds, err := st.Kinds(ctx, math.MaxInt32)
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if keep.Full(k.Kind) {
			t.Whole += k.Events
		} else {
			t.Index += k.Events
		}
	}
	totals, err := st.Totals(ctx, time.Now().Unix())
	t.Before = totals.Bytes
	return err
}

// Copy copies the archive at one URL into the empty database at another, which
// gets its schema by the configuration's policy.
func Copy(ctx context.Context, cfg Config, from, to string, log *slog.Logger, progress func(archive.Progress)) (compared []archive.Compared, err error) {
	// Only the configured store has a configured password.
	at := func(url string) Config {
		other := cfg
		if other.Store.URL = url; url != cfg.StoreURL() {
			other.Store.Password = DefaultConfig().Store.Password
		}
		return other
	}
	source, err := openDatabase(ctx, at(from), true, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := source.VerifySchema(ctx); err != nil {
		return nil, explain(at(from), err)
	}
	target, err := openDatabase(ctx, at(to), false, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if _, err := target.Migrate(ctx); err != nil {
		return nil, explain(at(to), err)
	}
	compared, err = archive.Copy(ctx, from, source, target, progress)
	keep, unlike := errors.AsType[*store.KeepError](err)
	switch {
	case unlike:
		err = fmt.Errorf("%w; to copy what is there set store.keep to %s", err, keep.Have)
	case errors.Is(err, archive.ErrNotEmpty), errors.Is(err, archive.ErrOtherCopy):
		err = fmt.Errorf("%w; name an empty database with --to", err)
	case err != nil && ctx.Err() == nil:
		err = fmt.Errorf("%w; run it again to go on where it was", err)
	}
	return compared, err
}
