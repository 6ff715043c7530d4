// Package refresher owns the freshness of the sums that pages and statistics
// read: it adds what is new, seconds after it came, and now and then counts
// everything again to show that the sums are right. How sums are kept is the
// store's business.
package refresher

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// Config is what an operator may choose.
type Config struct {
	// Interval is the time between two additions of what is new.
	Interval config.Duration `yaml:"interval"`
	// Batch is the number of events added in one transaction.
	Batch int `yaml:"batch"`
	// Audit is the time between two full recounts; 0s means never.
	Audit config.Duration `yaml:"audit"`
	// Search keeps an index of the words of notes, articles and profiles, so that
	// the archive can be searched (NIP-50). It is made of what is archived already
	// a part at a time, and is dropped when this is turned off. An archive that is
	// an index (store.keep) cannot have one.
	Search bool `yaml:"search"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{
		Interval: config.Duration(5 * time.Second),
		Batch:    5000,
		Audit:    config.Duration(7 * 24 * time.Hour),
	}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "interval", c.Interval, config.Duration(time.Second), config.Duration(24*time.Hour))
	config.InRange(check, "batch", c.Batch, 1, 5000)
	if c.Audit != 0 {
		config.InRange(check, "audit", c.Audit, config.Duration(time.Minute), config.Duration(366*24*time.Hour))
	}
}

// Store is what the refresher needs of the archive.
type Store interface {
	store.Rollups
	store.Texts
	store.EventScanner
	store.EventReader
}

// Service is the refresher.
type Service struct {
	cfg     Config
	store   Store
	log     *slog.Logger
	audited time.Time // when the last recount ended, or the service began
}

// New returns a refresher. The first audit is due one audit interval later: an
// archive is not recounted at each start.
func New(cfg Config, st Store, log *slog.Logger) *Service {
	return &Service{cfg: cfg, store: st, log: log, audited: time.Now()}
}

// Cycle adds what is new to the sums and recounts when an audit is due.
func (s *Service) Cycle(ctx context.Context) error {
	var events, sightings int
	for {
		done, err := s.store.Refresh(ctx, s.cfg.Batch)
		if err != nil {
			return fmt.Errorf("refresh: %w", err)
		}
		events, sightings = events+done.Events, sightings+done.Sightings
		if !done.More || service.Stopping(ctx) {
			break
		}
	}
	if err := s.texts(ctx); err != nil {
		return err
	}
	if events > 0 || sightings > 0 {
		s.log.InfoContext(ctx, "sums refreshed", "events", events, "sightings", sightings)
	}
	if s.cfg.Audit == 0 || time.Since(s.audited) < s.cfg.Audit.Std() {
		return nil
	}
	return s.audit(ctx)
}

func (s *Service) audit(ctx context.Context) error {
	differences, err := s.store.Recount(ctx)
	if err != nil {
		return fmt.Errorf("recount: %w", err)
	}
	s.audited = time.Now()
	for _, d := range differences[:min(len(differences), 10)] {
		s.log.WarnContext(ctx, "sum was wrong", "rollup", d.Rollup, "key", d.Key, "was", d.Was, "is", d.Is)
	}
	s.log.InfoContext(ctx, "sums recounted", "differences", len(differences))
	return nil
}
