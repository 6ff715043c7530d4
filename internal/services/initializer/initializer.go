// Package initializer owns the first step of an installation: it brings the
// store's schema to this version, checks it, and hands the seed relays to the
// validator as candidates. It proves no relay itself.
package initializer

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// builtin is a list of public relays; its head says where it is from.
//
//go:embed seed_relays.tsv
var builtin []byte

// maxSeeds bounds a seed file, in bytes: the longest list known is 0.3 MiB.
const maxSeeds = 16 << 20

// reader is the name under which the store remembers which seeds were read.
const reader = "initializer"

// Config is what an operator may choose.
type Config struct {
	// Seeds is a file of relay URLs, one or more a line, that replaces the
	// built-in list; lines that begin with # are comments. Empty means the
	// built-in list.
	Seeds string `yaml:"seeds"`
	// OptOut are URLs of relays, and hosts with all of theirs, whose operators do
	// not want to be connected to. Who is taken off this list may be found
	// again.
	OptOut []string `yaml:"opt_out"`
}

// DefaultConfig returns the values of a key that is not set.
func DefaultConfig() Config { return Config{} }

// Validate reports a seed file that cannot be read, and who cannot opt out.
func (c Config) Validate(check *config.Check) {
	for i, text := range c.OptOut {
		if _, err := store.ParseTarget(text, relay.Rules{AllowLocal: true}); err != nil {
			check.Add(fmt.Sprintf("opt_out[%d]", i), "is neither the URL of a relay nor a host", "write one such as wss://relay.example.com")
		}
	}
	if c.Seeds == "" {
		return
	}
	if _, err := readSeeds(c.Seeds); err != nil {
		check.Add("seeds", err.Error(), "name a readable file or leave it empty for the built-in list")
	}
}

// Store is what the initializer needs of the archive.
type Store interface {
	store.Schema
	Position(ctx context.Context, reader string) (store.Cursor, error)
	SaveFindings(ctx context.Context, reader string, position store.Cursor, found store.Found) (int, error)
	Ban(ctx context.Context, bans []store.Ban) error
	LiftBans(ctx context.Context, targets []string) ([]string, error)
	ScanBans(ctx context.Context) iter.Seq2[store.Ban, error]
}

// Service is the initializer.
type Service struct {
	cfg   Config
	store Store
	rules relay.Rules
	log   *slog.Logger
}

// New returns an initializer that accepts seeds by the given rules.
func New(cfg Config, st Store, rules relay.Rules, log *slog.Logger) *Service {
	return &Service{cfg: cfg, store: st, rules: rules, log: log}
}

// Cycle migrates and verifies the schema and adds the seeds that the store has
// not had yet. Running it again changes nothing.
func (s *Service) Cycle(ctx context.Context) error {
	steps, err := s.store.Migrate(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := s.store.VerifySchema(ctx); err != nil {
		return fmt.Errorf("verify schema: %w", err)
	}
	// Before the seeds, so that no candidate is made of who opted out.
	back, err := s.optOut(ctx)
	if err != nil {
		return err
	}
	added, refused, err := s.seed(ctx, back)
	if err != nil {
		return err
	}
	s.log.InfoContext(ctx, "initialised", "migrations", len(steps), "seeds_added", added, "seed_lines_refused", refused)
	return nil
}

// optOut makes the bans of the configuration those of the store, and tells
// whether some were lifted. Other bans are not its business.
func (s *Service) optOut(ctx context.Context) (lifted bool, err error) {
	missing := map[string]bool{}
	for _, text := range s.cfg.OptOut {
		target, err := store.ParseTarget(text, relay.Rules{AllowLocal: true})
		if err != nil {
			return false, fmt.Errorf("opt out: %w", err)
		}
		missing[target] = true
	}
	var gone []string
	for ban, err := range s.store.ScanBans(ctx) {
		if err != nil {
			return false, fmt.Errorf("read bans: %w", err)
		}
		if ban.Reason == store.OptedOutConfig && !missing[ban.Target] {
			gone = append(gone, ban.Target)
		}
		delete(missing, ban.Target)
	}
	var bans []store.Ban
	now := time.Now().Unix()
	for target := range missing {
		bans = append(bans, store.Ban{Target: target, At: now, Reason: store.OptedOutConfig})
	}
	if len(bans) > 0 {
		if err := s.store.Ban(ctx, bans); err != nil {
			return false, fmt.Errorf("opt out: %w", err)
		}
	}
	if len(gone) > 0 {
		if _, err := s.store.LiftBans(ctx, gone); err != nil {
			return false, fmt.Errorf("opt out: %w", err)
		}
	}
	return len(gone) > 0, nil
}

// seed reads the list that was not read yet, or again, because some on it were
// kept out then.
func (s *Service) seed(ctx context.Context, again bool) (added, refused int, err error) {
	text := builtin
	if s.cfg.Seeds != "" {
		if text, err = readSeeds(s.cfg.Seeds); err != nil {
			return 0, 0, fmt.Errorf("read seeds %s: %w", s.cfg.Seeds, err)
		}
	}
	// The hash stands for the list: an unchanged list is not counted as a
	// mention again at each start.
	sum := sha256.Sum256(text)
	list := store.Cursor(hex.EncodeToString(sum[:]))
	have, err := s.store.Position(ctx, reader)
	if err != nil {
		return 0, 0, fmt.Errorf("read position: %w", err)
	}
	if have == list && !again {
		return 0, 0, nil
	}
	urls, refused := parseSeeds(text, s.rules)
	now := time.Now().Unix()
	mentions := make([]store.Mention, len(urls))
	for i, url := range urls {
		mentions[i] = store.Mention{URL: url, Class: hints.Seed, At: now}
	}
	added, err = s.store.SaveFindings(ctx, reader, list, store.Found{Mentions: mentions})
	if err != nil {
		return 0, 0, fmt.Errorf("save seeds: %w", err)
	}
	return added, refused, nil
}

// parseSeeds returns the URLs of a list in its order, each once, and the number
// of lines that hold none.
func parseSeeds(text []byte, rules relay.Rules) (urls []relay.URL, refused int) {
	seen := map[relay.URL]bool{}
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		found := rules.ParseList(string(line))
		if len(found) == 0 {
			refused++
		}
		for _, url := range found {
			if !seen[url] {
				seen[url] = true
				urls = append(urls, url)
			}
		}
	}
	return urls, refused
}

var (
	errLarge   = errors.New("larger than 16 MiB")
	errNotFile = errors.New("not a regular file")
)

func readSeeds(name string) ([]byte, error) {
	// Before opening: that of a pipe waits for a writer, and what is read when
	// the configuration is checked would be gone afterwards.
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotFile
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSeeds+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSeeds {
		return nil, errLarge
	}
	return text, nil
}
