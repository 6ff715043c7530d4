// Package finder owns the discovery of relays: it reads every stored event and
// every information document once, asks the domains of profiles and the sources
// an operator names, and records each relay URL, with the place and the author.
// Which of them are relays is for the validator to find out.
package finder

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
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
	// NIP05 says whether the domains in profiles are asked for the relays of
	// their users (NIP-05), each once a week.
	NIP05 bool `yaml:"nip05"`
	// Sources are JSON documents on the web that list relays.
	Sources []Source `yaml:"sources"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{Interval: config.Duration(time.Minute), Batch: 2000, NIP05: true}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "interval", c.Interval, config.Duration(time.Second), config.Duration(7*24*time.Hour))
	config.InRange(check, "batch", c.Batch, 1, 100_000)
	for i, source := range c.Sources {
		source.validate(check, fmt.Sprintf("sources[%d]", i))
	}
}

// Store is what the finder needs of the archive.
type Store interface {
	Position(ctx context.Context, reader string) (store.Cursor, error)
	SaveFindings(ctx context.Context, reader string, position store.Cursor, found store.Found) (int, error)
	store.EventScanner
	store.Sources
}

// Service is the finder.
type Service struct {
	cfg    Config
	store  Store
	dialer *dial.Dialer
	rules  relay.Rules
	owner  string
	log    *slog.Logger
}

// New returns a finder that accepts URLs by the given rules and leases sources
// as owner.
func New(cfg Config, st Store, dialer *dial.Dialer, rules relay.Rules, owner string, log *slog.Logger) *Service {
	return &Service{cfg: cfg, store: st, dialer: dialer, rules: rules, owner: owner, log: log}
}

// maxMentions bounds what one save holds: an event may name 2000 relays, and a
// batch of such events would be millions of rows in one transaction.
const maxMentions = 50_000

// Cycle reads all events and documents that came since the last cycle, and asks
// sources that are due. The mentions of a batch and the position behind it are
// saved together, so a crash reads at most one batch again.
func (s *Service) Cycle(ctx context.Context) error {
	var sum batch
	for _, read := range []func(context.Context) (batch, error){s.batch, s.documents, s.sources} {
		for !service.Stopping(ctx) {
			b, err := read(ctx)
			if err != nil {
				return err
			}
			sum.add(b)
			if !b.more {
				break
			}
		}
	}
	if sum.events+sum.documents+sum.asked == 0 {
		return nil
	}
	s.log.InfoContext(ctx, "relays looked for", "events", sum.events, "documents", sum.documents, "sources", sum.asked,
		"mentions", sum.mentions, "candidates", sum.candidates)
	return nil
}

// batch is what was read between two saves.
type batch struct {
	events, documents, asked int
	mentions                 int
	candidates               int // new ones
	more                     bool
}

func (b *batch) add(other batch) {
	b.events, b.documents, b.asked = b.events+other.events, b.documents+other.documents, b.asked+other.asked
	b.mentions, b.candidates = b.mentions+other.mentions, b.candidates+other.candidates
}

func (s *Service) batch(ctx context.Context) (batch, error) {
	position, err := s.store.Position(ctx, reader)
	if err != nil {
		return batch{}, fmt.Errorf("read position: %w", err)
	}
	var b batch
	now := time.Now().Unix()
	var mentions []store.Mention
	var sources []store.SourceMention
	for scanned, err := range s.store.ScanEvents(ctx, position, nostr.Filter{Limit: &s.cfg.Batch}) {
		if err != nil {
			return batch{}, fmt.Errorf("scan events: %w", err)
		}
		for _, hint := range hints.Collect(&scanned.Event, s.rules) {
			mentions = append(mentions, store.Mention{URL: hint.URL, Class: hint.Class, Author: hint.Author, At: now})
		}
		if name, domain, ok := address(&scanned.Event, s.rules); ok && s.cfg.NIP05 {
			sources = append(sources, store.SourceMention{
				Class: hints.NIP05, Name: authority(domain), Host: domain.Hostname(), Detail: name, Author: scanned.Event.PubKey, At: now,
			})
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
	if b.candidates, err = s.store.SaveFindings(ctx, reader, position, store.Found{Mentions: mentions, Sources: sources}); err != nil {
		return batch{}, fmt.Errorf("save findings: %w", err)
	}
	return b, nil
}

// documentBatch is how many information documents are read between two saves.
const documentBatch = 100

// documents looks into the information documents of relays (NIP-11): their
// texts name other relays of the same operator, mirrors and friends. Whoever is
// named as operator there has relay lists, which are events.
func (s *Service) documents(ctx context.Context) (batch, error) {
	list, err := s.store.NewDocuments(ctx, documentBatch)
	if err != nil {
		return batch{}, fmt.Errorf("read documents: %w", err)
	}
	if len(list) == 0 {
		return batch{}, nil
	}
	now := time.Now().Unix()
	var ids []store.DocumentID
	var mentions []store.Mention
	for _, d := range list {
		ids = append(ids, d.ID)
		if d.Type != "nip11" {
			continue
		}
		for _, u := range s.rules.ParseList(string(d.Data)) {
			mentions = append(mentions, store.Mention{URL: u, Class: hints.NIP11, At: now})
		}
	}
	b := batch{documents: len(list), mentions: len(mentions), more: len(list) == documentBatch}
	if b.candidates, err = s.store.SaveSearched(ctx, ids, mentions); err != nil {
		return batch{}, fmt.Errorf("save what documents name: %w", err)
	}
	return b, nil
}

// sources asks what is due, once a cycle.
func (s *Service) sources(ctx context.Context) (batch, error) {
	asked, named, added, err := s.ask(ctx)
	return batch{asked: asked, mentions: named, candidates: added}, err
}
