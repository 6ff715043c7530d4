package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/monitor/probe"
)

// Receiver is somebody who is alerted, by a webhook or by messages.
type Receiver struct {
	// Name tells receivers apart. What one was told is kept under it.
	Name string `yaml:"name"`
	// Webhook is an address, by https or http, to which alerts are posted as
	// JSON.
	Webhook string `yaml:"webhook"`
	// Secret signs what the webhook gets, as Standard Webhooks has it.
	Secret config.Secret `yaml:"secret"`
	// NPub is a public key, an npub or 64 hex digits, to which alerts are sent
	// as private messages (NIP-17), signed by the monitor's key.
	NPub string `yaml:"npub"`
	// Relays are whom the receiver is alerted to: URLs of relays, or hosts with
	// all of theirs. Empty means every relay.
	Relays []string `yaml:"relays"`
	// Kinds are what the receiver is alerted to: down, up, certificate or doubt.
	// Empty means all.
	Kinds []store.AlertKind `yaml:"kinds"`
}

// maxReceiver is how many bytes the name of a receiver has at most.
const maxReceiver = 64

func (c *Config) validateAlerts(check *config.Check) {
	names := map[string]bool{}
	for i, r := range c.Alerts {
		path := fmt.Sprintf("alerts[%d]", i)
		if r.Name == "" || len(r.Name) > maxReceiver || names[r.Name] {
			check.Add(path+".name", "is empty, too long, or that of another receiver", "give each a short name of its own")
		}
		names[r.Name] = true
		if (r.Webhook == "") == (r.NPub == "") {
			check.Add(path, "has no way to be told, or two", "set webhook or npub")
		}
		if _, _, err := webhook(r.Webhook); r.Webhook != "" && err != nil {
			check.Add(path+".webhook", "is not an address by https or http", "write one such as https://example.com/alerts")
		}
		if !r.Secret.IsZero() {
			if _, err := signingKey(r.Secret.Reveal()); err != nil {
				check.Add(path+".secret", "begins with "+secretPrefix+" and is not base64", "write it as whoever gave it does")
			}
		}
		if r.NPub != "" {
			if _, err := parsePubKey(r.NPub); err != nil {
				check.Add(path+".npub", "is not a public key", "write an npub or 64 hex digits")
			}
			if c.Key.IsZero() {
				check.Add(path+".npub", "needs a key to sign with", "set the monitor's key")
			}
		}
		for j, text := range r.Relays {
			if _, err := store.ParseTarget(text, relay.Rules{AllowLocal: true}); err != nil {
				check.Add(fmt.Sprintf("%s.relays[%d]", path, j), "is neither the URL of a relay nor a host", "write one such as wss://relay.example.com")
			}
		}
	}
}

func parsePubKey(text string) (nostr.PubKey, error) {
	if k, err := nostr.ParsePubKey(text); err == nil {
		return k, nil
	}
	e, err := nip19.Decode(text)
	if err == nil && e.Prefix != nip19.PubKey {
		err = fmt.Errorf("%q is no npub", text)
	}
	return e.PubKey, err
}

// wants tells whether the receiver is alerted to this; u is zero for what is of
// no relay.
func (r *Receiver) wants(kind store.AlertKind, u relay.URL) bool {
	if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, kind) {
		return false
	}
	return u.IsZero() || len(r.Relays) == 0 || slices.ContainsFunc(r.Relays, func(text string) bool {
		target, err := store.ParseTarget(text, relay.Rules{AllowLocal: true})
		return err == nil && (target == u.String() || target == u.Hostname())
	})
}

const (
	// certificateTime is how long before its end a certificate is spoken of.
	certificateTime = 14 * 24 * time.Hour
	// doubtEvery is how often we speak of suspecting ourselves.
	doubtEvery = 6 * 60 * 60 // seconds
)

// alerts are those that an outcome raises: for a relay that was up and is down
// now, or was down and opens, and for a certificate that will not be valid for
// long.
func (s *Service) alerts(r Report, o *store.Outcome) []store.Alert {
	var list []store.Alert
	down := func(state store.State) bool { return state == store.StateDown || state == store.StateDead }
	up := func(state store.State) bool { return state == store.StateUp || state == store.StateDegraded }
	switch before := r.Relay.State; {
	case up(before) && down(o.State):
		list = s.raise(list, store.AlertDown, r.Relay, 0, r.At, o.Cause)
	case down(before) && up(o.State):
		list = s.raise(list, store.AlertUp, r.Relay, 0, r.At, r.Relay.Cause)
	}
	if c := find(o.Checks, "tls"); c.OK && c.Document != nil {
		var cert probe.Certificate
		if json.Unmarshal(c.Document.Data, &cert) == nil && cert.NotAfter-r.At < int64(certificateTime.Seconds()) {
			list = s.raise(list, store.AlertCertificate, r.Relay, cert.NotAfter, r.At, "")
		}
	}
	return list
}

// doubt are the alerts of a time in which we suspect ourselves.
func (s *Service) doubt(at int64) []store.Alert {
	return s.raise(nil, store.AlertDoubt, store.Relay{}, at-at%doubtEvery, at, dial.CauseSelf)
}

func (s *Service) raise(list []store.Alert, kind store.AlertKind, r store.Relay, about, at int64, cause dial.Cause) []store.Alert {
	for _, receiver := range s.cfg.Alerts {
		if receiver.wants(kind, r.URL) {
			key := store.AlertKey{Receiver: receiver.Name, Kind: kind, Relay: r.ID, About: about}
			list = append(list, store.Alert{AlertKey: key, At: at, Cause: cause})
		}
	}
	return list
}

// AlertName is the name of the loop of an Alerter.
const AlertName = "alerts"

// The bounds of delivery.
const (
	alertBatch      = 100 // alerts of one post or message
	alertTime       = time.Minute
	receiversAtOnce = 4 // receivers at once
)

// alertWaits are when an alert that was not delivered is tried again; after the
// last of them it is given up.
var alertWaits = service.Multiples(time.Minute, jitter, 1, 5, 20, 60, 6*60, 24*60, 24*60, 24*60)

// Alerter tells receivers what they have not heard yet.
type Alerter struct {
	cfg    Config
	store  Store
	dialer *dial.Dialer
	key    *nostr.SecretKey
	owner  string
	log    *slog.Logger
}

// Alerter returns what delivers the alerts that the monitor raises; nil when
// nobody is to be alerted.
func (s *Service) Alerter() *Alerter {
	if len(s.cfg.Alerts) == 0 {
		return nil
	}
	return &Alerter{cfg: s.cfg, store: s.store, dialer: s.kit.Dialer, key: s.kit.Key, owner: s.owner, log: s.log}
}

// Cycle delivers the alerts that are due, some receivers at once. A receiver who
// cannot be told is a matter of that receiver: only troubles of the store are
// returned.
func (a *Alerter) Cycle(ctx context.Context) error {
	for _, err := range service.Gather(ctx, receiversAtOnce, a.cfg.Alerts, a.tell) {
		if err != nil {
			return err
		}
	}
	return nil
}

// tell delivers what one receiver is to hear, until nothing is left or it fails.
func (a *Alerter) tell(ctx context.Context, r Receiver) error {
	for ctx.Err() == nil {
		now := time.Now()
		leasing, cancel := context.WithTimeout(ctx, service.StoreTime)
		due, err := a.store.DueAlerts(leasing, r.Name, store.Due{
			Now: now.Unix(), Limit: alertBatch, Owner: a.owner, Until: now.Add(service.LeaseTime(1, 1, alertTime)).Unix() + 1,
		})
		cancel()
		if err != nil {
			return fmt.Errorf("due alerts: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		why := a.deliver(ctx, r, due)
		if why == "" || ctx.Err() == nil { // else it was cut short by a stop; the next start does it
			if err := a.save(ctx, r, due, why); err != nil {
				return err
			}
		}
		if why != "" {
			return nil
		}
	}
	return nil
}

// deliver returns why a receiver could not be told; empty when it was.
func (a *Alerter) deliver(ctx context.Context, r Receiver, due []store.DueAlert) (why string) {
	ctx, cancel := context.WithTimeout(ctx, alertTime)
	defer cancel()
	tell := a.message
	if r.Webhook != "" {
		tell = a.post
	}
	if err := tell(ctx, r, due); err != nil {
		return err.Error()
	}
	return ""
}

// save notes what came of a delivery. It was made: that is kept although a stop
// was asked for.
func (a *Alerter) save(ctx context.Context, r Receiver, due []store.DueAlert, why string) error {
	now := time.Now()
	results := make([]store.AlertResult, len(due))
	given := 0
	for i, d := range due {
		results[i] = store.AlertResult{AlertKey: d.AlertKey, Owner: a.owner, Done: why == ""}
		if why != "" {
			if d.Attempts >= len(alertWaits.Steps) {
				results[i].Done = true
				given++
			}
			results[i].NextDue = now.Add(alertWaits.After(d.Attempts+1)).Unix() + 1
		}
	}
	if why != "" {
		a.log.WarnContext(ctx, "alerts were not delivered", "receiver", r.Name, "alerts", len(due), "given_up", given, "reason", why)
	} else {
		a.log.InfoContext(ctx, "alerts delivered", "receiver", r.Name, "alerts", len(due))
	}
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), service.StoreTime)
	defer cancel()
	if err := a.store.SaveAlerts(saving, results, now.Unix()); err != nil {
		return fmt.Errorf("save alerts: %w", err)
	}
	return nil
}

// webhook reads the address of a webhook: how it is asked for, and the relay
// that would live there, which is what the dialer knows hosts by.
func webhook(text string) (*url.URL, relay.URL, error) {
	u, at, err := dial.ParseAddress(text, relay.Rules{AllowLocal: true})
	if u == nil || u.User != nil {
		return nil, relay.URL{}, errWebhook
	}
	return u, at, err
}
