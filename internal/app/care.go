package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

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

// Migrate brings the schema to this version and returns the steps it ran, or
// with dry the steps that it would run. A dry
// run makes no file.
func Migrate(ctx context.Context, cfg Config, dry bool, log *slog.Logger) (steps []string, err error) {
	st, err := openDatabase(ctx, cfg, dry, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if dry {
		return st.Pending(ctx)
	}
	if steps, err = st.Migrate(ctx); err != nil {
		return steps, explain(cfg, err)
	}
	if err := st.VerifySchema(ctx); err != nil {
		return steps, explain(cfg, err)
	}
	return steps, nil
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
	switch {
	case errors.Is(err, archive.ErrNotEmpty), errors.Is(err, archive.ErrOtherCopy):
		err = fmt.Errorf("%w; name an empty database with --to", err)
	case err != nil && ctx.Err() == nil:
		err = fmt.Errorf("%w; run it again to go on where it was", err)
	}
	return compared, err
}
