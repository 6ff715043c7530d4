// Package monitor owns the health of relays: when each is checked, what the
// results of its probes mean for its state, and the causes. How a check is done
// is in package probe.
package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/monitor/probe"
)

// Name is the monitor's name in the store's schedule.
const Name = "monitor"

// Config is what an operator may choose.
type Config struct {
	// Interval is the time between two looks at what is due.
	Interval config.Duration `yaml:"interval"`
	// Every is the time between two checks of a relay that is up.
	Every config.Duration `yaml:"every"`
	// Parallel is the number of relays checked at once.
	Parallel int `yaml:"parallel"`
	// Timeout bounds all probes of one relay together.
	Timeout config.Duration `yaml:"timeout"`
	// OverlayTimeout takes the place of Timeout for Tor, I2P and Lokinet.
	OverlayTimeout config.Duration `yaml:"overlay_timeout"`
	// Retry is the wait after a first failed check; it grows with each that
	// follows, to 1,440 times as much.
	Retry config.Duration `yaml:"retry"`
	// Key is the secret key of the monitor: an nsec, or 64 hex digits. With it
	// checks also write, an ephemeral event each hour and once a day one that
	// expires, and reports are published. Without one nothing is written.
	Key config.Secret `yaml:"key"`
	// Publish says where results are published (NIP-66).
	Publish PublishConfig `yaml:"publish"`
	// Alerts are who is told when a relay goes down or comes up again, when a
	// certificate ends soon, and when we suspect our own network.
	Alerts []Receiver `yaml:"alerts"`
	// Geo says where it is known from where relays are.
	Geo GeoConfig `yaml:"geo"`
}

// GeoConfig says where it is known from where relays are and whose networks
// they are in. Countries are known without any of it; nothing is downloaded.
type GeoConfig struct {
	// City is a file of places in MaxMind's format (mmdb), such as
	// GeoLite2-City or DB-IP's.
	City string `yaml:"city"`
	// ASN is a file of networks in the same format.
	ASN string `yaml:"asn"`
	// Cymru asks Team Cymru's DNS zone for networks that no file knows: their
	// name servers learn the addresses of relays.
	Cymru bool `yaml:"cymru"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{
		Interval:       config.Duration(10 * time.Second),
		Every:          config.Duration(time.Hour),
		Parallel:       50,
		Timeout:        config.Duration(30 * time.Second),
		OverlayTimeout: config.Duration(120 * time.Second),
		Retry:          config.Duration(time.Minute),
		Publish:        PublishConfig{Every: config.Duration(3 * time.Hour), Name: "BigBrotr"},
		Geo:            GeoConfig{Cymru: true},
	}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	second := config.Duration(time.Second)
	config.InRange(check, "interval", c.Interval, second, config.Duration(24*time.Hour))
	config.InRange(check, "every", c.Every, second, config.Duration(7*24*time.Hour))
	config.InRange(check, "parallel", c.Parallel, 1, 1000)
	config.InRange(check, "timeout", c.Timeout, second, config.Duration(10*time.Minute))
	config.InRange(check, "overlay_timeout", c.OverlayTimeout, second, config.Duration(10*time.Minute))
	config.InRange(check, "retry", c.Retry, second, config.Duration(time.Hour))
	config.InRange(check, "publish.every", c.Publish.Every, config.Duration(time.Minute), config.Duration(24*time.Hour))
	if !c.Key.IsZero() {
		if _, err := nip19.ParseSecret(c.Key.Reveal()); err != nil {
			check.Add("key", "is not a secret key", "put an nsec or 64 hex digits in the variable or file")
		}
	}
	c.validateAlerts(check)
	for i, text := range c.Publish.Relays {
		if _, err := (relay.Rules{AllowLocal: true}).Parse(text); err != nil {
			check.Add(fmt.Sprintf("publish.relays[%d]", i), "is not the URL of a relay", "write one such as wss://relay.example.com")
		}
	}
}

// Store is what the monitor needs of the archive.
type Store interface {
	DueRelays(ctx context.Context, due store.Due) ([]store.Work, error)
	SaveOutcomes(ctx context.Context, outcomes []store.Outcome) error
	LatestChecks(ctx context.Context, relay store.RelayID) ([]store.Check, error)
	LastChecks(ctx context.Context, probe string, relays []store.RelayID) (map[store.RelayID]store.Check, error)
	Ban(ctx context.Context, bans []store.Ban) error
	Events(ctx context.Context, q store.EventQuery) ([]store.Stored, store.Cursor, error)
	store.Alerts
}

// Service is the monitor.
type Service struct {
	cfg       Config
	store     Store
	kit       probe.Kit
	publisher *publisher // nil: nothing is published
	owner     string
	log       *slog.Logger
}

// New returns a monitor that leases relays as owner. Without places it is not
// looked up where relays are.
func New(cfg Config, st Store, dialer *dial.Dialer, places *probe.Places, owner string, log *slog.Logger) *Service {
	s := &Service{cfg: cfg, store: st, owner: owner, log: log}
	s.kit = probe.Kit{Dialer: dialer, Places: places, Work: probe.NewWork()}
	s.publisher, s.kit.Key = newPublisher(cfg, dialer, log)
	return s
}

// Places opens the files of the configuration.
func (c GeoConfig) Places() (*probe.Places, error) { return probe.OpenPlaces(c.City, c.ASN, c.Cymru) }

// Report is the result of checking one relay now. When Cause is a trouble of
// ours, nothing was learned and State is what it was before.
type Report struct {
	Relay  store.Relay
	At     int64
	Checks []store.Check
	State  store.State
	Cause  dial.Cause

	raw []byte // the relay's document as it came
}

// Check runs the probes on one relay, with daily also those that have their turn
// once a day. It reads and writes no store.
func (s *Service) Check(ctx context.Context, r store.Relay, daily bool) Report {
	ctx, cancel := context.WithTimeout(ctx, s.timeout(r.URL.Network()))
	defer cancel()
	at := time.Now().Unix()
	results := s.kit.Check(ctx, r.URL, daily)
	report := Report{Relay: r, At: at, Checks: make([]store.Check, len(results))}
	for i, result := range results {
		report.Checks[i] = store.Check{
			At: at, Probe: result.Probe, OK: result.OK, Cause: result.Cause, Values: result.Values, Detail: result.Detail,
		}
		if result.Raw != nil {
			report.raw = result.Raw
		}
		if result.Document != nil {
			report.Checks[i].Document = &store.Document{Type: result.Probe, Data: result.Document}
		}
	}
	report.State, report.Cause = judge(r, report.Checks, at)
	return report
}

func (s *Service) timeout(n relay.Network) time.Duration {
	if n != relay.Clearnet {
		return s.cfg.OverlayTimeout.Std()
	}
	return s.cfg.Timeout.Std()
}

// networks are those that can be dialled, and the longest timeout among them.
func (s *Service) networks() (list []relay.Network, longest time.Duration) {
	list = s.kit.Dialer.Networks()
	for _, n := range list {
		longest = max(longest, s.timeout(n))
	}
	return list, longest
}

// Cycle checks every relay that is due. The relays of a group are judged
// together, to tell a fault of theirs from one of ours, and saved together.
func (s *Service) Cycle(ctx context.Context) error {
	counts, undecided := map[store.State]int{}, 0
	for !service.Stopping(ctx) {
		reports, err := s.group(ctx)
		if err != nil {
			return err
		}
		if len(reports) == 0 {
			break
		}
		for _, r := range reports {
			if store.Ours(r.Cause) {
				undecided++
			} else {
				counts[r.State]++
			}
		}
	}
	if len(counts)+undecided > 0 {
		s.log.InfoContext(ctx, "relays checked", "up", counts[store.StateUp], "degraded", counts[store.StateDegraded],
			"down", counts[store.StateDown], "dead", counts[store.StateDead], "undecided", undecided)
	}
	return nil
}

const (
	lastDaily  = "nips"       // the last of the probes that run once a day
	dailyEvery = 23 * 60 * 60 // seconds: checks come with jitter
)

// rounds is how many checks one after the other a group may take.
const rounds = 2

func (s *Service) group(ctx context.Context) ([]Report, error) {
	now, limit := time.Now(), rounds*s.cfg.Parallel
	networks, longest := s.networks()
	leasing, cancel := context.WithTimeout(ctx, service.StoreTime)
	defer cancel()
	due, err := s.store.DueRelays(leasing, store.Due{
		Service: Name, Now: now.Unix(), Limit: limit, Owner: s.owner,
		Until: now.Add(service.LeaseTime(limit, s.cfg.Parallel, longest)+publishTime).Unix() + 1, Networks: networks,
	})
	if err != nil {
		return nil, fmt.Errorf("due relays: %w", err)
	}
	ids := make([]store.RelayID, len(due))
	for i, w := range due {
		ids[i] = w.Relay.ID
	}
	thorough, err := s.store.LastChecks(leasing, lastDaily, ids)
	if err != nil {
		return nil, fmt.Errorf("last thorough checks: %w", err)
	}
	reports := service.Gather(ctx, s.cfg.Parallel, due, func(ctx context.Context, w store.Work) Report {
		return s.Check(ctx, w.Relay, now.Unix()-thorough[w.Relay.ID].At >= dailyEvery)
	})
	if len(reports) == 0 {
		return nil, nil
	}
	ours := selfDoubt(reports)
	if ours {
		s.log.WarnContext(ctx, "many relays fail at once: suspecting our own network, keeping their states and publishing nothing", "relays", len(reports))
	}
	if !ours {
		s.publish(ctx, reports)
	}
	outcomes := make([]store.Outcome, len(reports))
	for i, r := range reports {
		outcomes[i] = s.outcome(r, ours)
		outcomes[i].Alerts = s.alerts(r, &outcomes[i])
	}
	if ours {
		outcomes[0].Alerts = append(outcomes[0].Alerts, s.doubt(now.Unix())...)
	}
	// What was found before a stop is kept.
	saving, done := context.WithTimeout(ctx, service.StoreTime)
	defer done()
	if err := s.optOut(saving, reports); err != nil {
		return nil, err
	}
	if err := s.store.SaveOutcomes(saving, outcomes); err != nil {
		return nil, fmt.Errorf("save outcomes: %w", err)
	}
	return reports, nil
}

// optOut keeps out the relays whose operators do not want us.
func (s *Service) optOut(ctx context.Context, reports []Report) error {
	var bans []store.Ban
	for _, r := range reports {
		if r.optedOut() {
			bans = append(bans, store.Ban{Target: r.Relay.URL.String(), At: r.At, Reason: store.OptedOutRobots})
		}
	}
	if len(bans) == 0 {
		return nil
	}
	if err := s.store.Ban(ctx, bans); err != nil {
		return fmt.Errorf("opt out: %w", err)
	}
	s.log.InfoContext(ctx, "relays opted out", "relays", len(bans))
	return nil
}

func (r *Report) optedOut() bool { return find(r.Checks, "robots").Cause == dial.CauseOptedOut }
