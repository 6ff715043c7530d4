// Package finder owns the discovery of relays: it reads every stored event once
// and records each relay URL it names, with the place and the author. Which of
// them are relays is for the validator to find out.
package finder

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// reader is the name of the finder's position in the store.
const reader = "finder"

// Config is what an operator may choose.
type Config struct {
	// Interval is the time between two looks at what is new in the store.
	Interval config.Duration `yaml:"interval"`
	// Batch is the number of events read between two saves.
	Batch int `yaml:"batch"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{Interval: config.Duration(time.Minute), Batch: 2000}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "interval", c.Interval, config.Duration(time.Second), config.Duration(7*24*time.Hour))
	config.InRange(check, "batch", c.Batch, 1, 100_000)
}

// Store is what the finder needs of the archive.
type Store interface {
	Position(ctx context.Context, reader string) (store.Cursor, error)
	SaveFindings(ctx context.Context, reader string, position store.Cursor, mentions []store.Mention) (int, error)
	store.EventScanner
}

// Service is the finder.
type Service struct {
	cfg   Config
	store Store
	rules relay.Rules
	log   *slog.Logger
}

// New returns a finder that accepts URLs by the given rules.
func New(cfg Config, st Store, rules relay.Rules, log *slog.Logger) *Service {
	return &Service{cfg: cfg, store: st, rules: rules, log: log}
}

// maxMentions bounds what one save holds: an event may name 2000 relays, and a
// batch of such events would be millions of rows in one transaction.
const maxMentions = 50_000

// Cycle reads all events that came since the last cycle. The mentions of a
// batch and the position behind it are saved together, so a crash reads at most
// one batch again.
func (s *Service) Cycle(ctx context.Context) error {
	var sum batch
	for {
		b, err := s.batch(ctx)
		if err != nil {
			return err
		}
		sum.events, sum.mentions, sum.candidates = sum.events+b.events, sum.mentions+b.mentions, sum.candidates+b.candidates
		if !b.more || service.Stopping(ctx) {
			break
		}
	}
	if sum.events == 0 {
		return nil
	}
	s.log.InfoContext(ctx, "relays looked for", "events", sum.events, "mentions", sum.mentions, "candidates", sum.candidates)
	return nil
}

// batch is what was read between two saves.
type batch struct {
	events, mentions int
	candidates       int // new ones
	more             bool
}

func (s *Service) batch(ctx context.Context) (batch, error) {
	position, err := s.store.Position(ctx, reader)
	if err != nil {
		return batch{}, fmt.Errorf("read position: %w", err)
	}
	var b batch
	now := time.Now().Unix()
	var mentions []store.Mention
	for scanned, err := range s.store.ScanEvents(ctx, position, nostr.Filter{Limit: &s.cfg.Batch}) {
		if err != nil {
			return batch{}, fmt.Errorf("scan events: %w", err)
		}
		for _, hint := range hints.Collect(&scanned.Event, s.rules) {
			mentions = append(mentions, store.Mention{URL: hint.URL, Class: hint.Class, Author: hint.Author, At: now})
		}
		position = scanned.Cursor
		b.events++
		if b.more = b.events == s.cfg.Batch || len(mentions) >= maxMentions; b.more {
			break
		}
	}
	if b.events == 0 {
		return b, nil
	}
	b.mentions = len(mentions)
	if b.candidates, err = s.store.SaveFindings(ctx, reader, position, mentions); err != nil {
		return batch{}, fmt.Errorf("save findings: %w", err)
	}
	return b, nil
}
