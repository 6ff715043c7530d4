package monitor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mmcloughlin/geohash"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/nostr/nip66"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/monitor/probe"
)

// PublishConfig says where results are published (NIP-66).
type PublishConfig struct {
	// Relays are the URLs of the relays that get the reports. Without any, or
	// without a key, nothing is published.
	Relays []string `yaml:"relays"`
	// Every is the time between two reports of a relay that does not change. A
	// change is reported by the check that finds it.
	Every config.Duration `yaml:"every"`
	// Name is what the monitor calls itself.
	Name string `yaml:"name"`
	// About is what it says of itself.
	About string `yaml:"about"`
	// Website is where more can be read.
	Website string `yaml:"website"`
}

const (
	publishTime  = time.Minute // for the reports of a group
	publishIdle  = 10 * time.Second
	announceTime = 24 * time.Hour // between two announcements
	maxKind      = 65535          // of an event, by NIP-01
	published    = "publish"      // the name under which it is kept what was published
)

// targets are the relays that get reports. Validate has seen that all parse;
// what may be dialled is the dialer's business.
func (c PublishConfig) targets() []relay.URL {
	var urls []relay.URL
	for _, text := range c.Relays {
		if u, err := (relay.Rules{AllowLocal: true}).Parse(text); err == nil {
			urls = append(urls, u)
		}
	}
	return urls
}

// publisher sends reports. One goroutine uses it.
type publisher struct {
	cfg       PublishConfig
	key       nostr.SecretKey
	relays    []relay.URL
	dialer    *dial.Dialer
	log       *slog.Logger
	announced time.Time
}

// report makes the event of a relay that was opened, with what was known before
// of probes that did not run now. It reports false for a relay that did not
// answer as one.
func (r *Report) report(before []store.Check) (nip66.Report, bool) {
	open, read, write := find(r.Checks, "open"), find(r.Checks, "read"), find(r.Checks, "write")
	answered := read.OK || read.Cause == dial.CauseReadAuth || read.Cause == dial.CauseReadRestricted || read.Cause == dial.CauseRateLimited
	if !open.OK || !answered || r.optedOut() {
		return nip66.Report{}, false
	}
	out := nip66.Report{
		URL: r.Relay.URL, At: r.At, Document: r.raw, Requires: map[string]bool{},
		Open: duration(open.Values[store.ValueOpen]), Read: duration(read.Values[store.ValueRead]), Write: duration(write.Values["ok_ms"]),
	}
	var document nip11.Document
	if r.raw != nil {
		document, _ = nip11.Parse(r.raw) // it was parsed when it was found
	}
	r.require(&out, document.Limitation)
	var claims probe.Claims
	r.known("nips", before, &claims)
	broken := func(nip string) bool {
		return slices.ContainsFunc(claims.Claims, func(c probe.Claim) bool { return c.Name == "NIP-"+nip && c.Verdict == probe.Broken })
	}
	for _, nip := range document.SupportedNIPs {
		if !broken(nip) {
			out.NIPs = append(out.NIPs, nip)
		}
	}
	anybody := write.OK && write.Values["authenticated"] == 0
	if read.OK && anybody {
		out.Types = append(out.Types, nip66.PublicOutbox, nip66.PublicInbox)
	}
	if slices.ContainsFunc(claims.Claims, func(c probe.Claim) bool { return c.Name == "NIP-50" && c.Verdict == probe.Kept }) {
		out.Types = append(out.Types, nip66.Search)
	}
	const most = 20 // of what a document lists without bound
	out.Topics = document.Tags[:min(len(document.Tags), most)]
	out.Kinds = kinds(document.Retention)
	var place probe.Place
	r.known("geo", before, &place)
	if place.Precision == probe.PreciseCity {
		// Five characters are 5 km: data of addresses is no better.
		out.Geohash = geohash.EncodeWithPrecision(*place.Lat, *place.Lon, 5)
	}
	if place.Country != "" {
		out.Labels = append(out.Labels, nip66.Label{Namespace: nip66.Country, Value: place.Country})
	}
	if place.ASN != 0 {
		out.Labels = append(out.Labels, nip66.Label{Namespace: nip66.ASN, Value: strconv.FormatUint(uint64(place.ASN), 10)})
	}
	for _, language := range document.LanguageTags[:min(len(document.LanguageTags), most)] {
		if code, _, _ := strings.Cut(strings.ToLower(language), "-"); len(code) == 2 {
			out.Labels = append(out.Labels, nip66.Label{Namespace: nip66.Language, Value: code})
		}
	}
	return out, true
}

// kinds is what a document says of the kinds that the relay keeps: none of those
// that it keeps for no time.
func kinds(retention []nip11.Retention) map[nostr.Kind]bool {
	const most = 100
	known := map[nostr.Kind]bool{}
	for _, r := range retention {
		for _, kinds := range r.Kinds {
			for kind := kinds.First; kind <= min(kinds.Last, maxKind) && len(known) < most; kind++ {
				known[kind] = r.Time == nil || *r.Time > 0
			}
		}
	}
	return known
}

// require says what the relay asks for: what was measured counts, then what it
// claims.
func (r *Report) require(out *nip66.Report, claimed nip11.Limitation) {
	read, write := find(r.Checks, "read"), find(r.Checks, "write")
	claim := func(name string, value *bool) {
		if value != nil {
			out.Requires[name] = *value
		}
	}
	claim("auth", claimed.AuthRequired)
	claim("writes", claimed.RestrictedWrites)
	claim("payment", claimed.PaymentRequired)
	if p := claimed.MinPoWDifficulty; p != nil {
		out.Requires["pow"] = *p > 0
	}
	switch {
	case read.Cause == dial.CauseReadAuth || write.Cause == dial.CauseWriteAuth || write.Values["authenticated"] > 0:
		out.Requires["auth"] = true
	case read.OK:
		out.Requires["auth"] = false
	}
	switch write.Cause {
	case dial.CauseWriteBlocked, dial.CauseWriteAuth:
		out.Requires["writes"] = true
	case dial.CauseWritePaid:
		out.Requires["writes"], out.Requires["payment"] = true, true
	case dial.CauseWritePoW:
		out.Requires["pow"] = true
	}
	if write.OK {
		out.Requires["writes"], out.Requires["payment"] = false, false
		out.Requires["pow"] = write.Values["pow_bits"] > 0
	}
}

// known reads the newest document of a probe, of this check or an earlier one.
func (r *Report) known(name string, before []store.Check, to any) {
	c := find(r.Checks, name)
	if c.Document == nil {
		c = find(before, name)
	}
	if c.Document != nil {
		_ = json.Unmarshal(c.Document.Data, to) // ours: what does not fit is of an older version
	}
}

func duration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// digest tells whether two reports of a relay say the same but for times.
func digest(e nostr.Event) string {
	e.CreatedAt = 0
	e.Tags = slices.DeleteFunc(slices.Clone(e.Tags), func(t nostr.Tag) bool { return strings.HasPrefix(t[0], "rtt-") })
	sum := sha256.Sum256(e.AppendCanonical(nil))
	return hex.EncodeToString(sum[:16])
}

// publish sends the reports of a group that are new or old enough, and notes in
// each what became of it. It never fails a group: what was not published now is
// due again with the next check.
func (s *Service) publish(ctx context.Context, reports []Report) {
	if s.publisher == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	ids := make([]store.RelayID, len(reports))
	for i, r := range reports {
		ids[i] = r.Relay.ID
	}
	last, err := s.store.LastChecks(ctx, published, ids)
	if err != nil {
		s.log.WarnContext(ctx, "nothing is published now", "error", err)
		return
	}
	var events []nostr.Event
	var of []int // index of the report
	digests := map[int]string{}
	for i := range reports {
		r := &reports[i]
		before, err := s.store.LatestChecks(ctx, r.Relay.ID)
		if err != nil {
			s.log.WarnContext(ctx, "nothing is published now", "error", err)
			return
		}
		report, ok := r.report(before)
		if !ok {
			continue
		}
		e := report.Event()
		digests[i] = digest(e)
		if l := last[r.Relay.ID]; l.OK && l.Detail == digests[i] && r.At-l.At < int64(s.cfg.Publish.Every.Std().Seconds()) {
			continue
		}
		events, of = append(events, e), append(of, i)
	}
	if len(events) == 0 {
		return
	}
	results := s.publisher.send(ctx, s.announcements(), events)
	for n, i := range of {
		check := results[n]
		check.At, check.Probe = reports[i].At, published
		if check.OK {
			check.Detail = digests[i]
		}
		reports[i].Checks = append(reports[i].Checks, check)
	}
}

// announcements says who reports, once a day.
func (s *Service) announcements() []nostr.Event {
	p := s.publisher
	now := time.Now()
	if now.Sub(p.announced) < announceTime {
		return nil
	}
	p.announced = now
	at := now.Unix()
	networks, longest := s.networks()
	a := nip66.Announcement{
		At: at, Frequency: p.cfg.Every.Std(), Networks: networks, Timeouts: map[string]time.Duration{"open": longest},
	}
	for _, check := range probe.All() {
		a.Checks = append(a.Checks, check.Name)
	}
	return []nostr.Event{nip66.Profile(at, p.cfg.Name, p.cfg.About, p.cfg.Website), nip66.RelayList(at, p.relays), a.Event()}
}

// send publishes events to every relay and returns what became of each of the
// reports: one relay that takes it is enough.
func (p *publisher) send(ctx context.Context, announcements, reports []nostr.Event) []store.Check {
	events := slices.Concat(announcements, reports)
	results := unsent(len(events))
	for i := range events {
		if err := p.key.Sign(&events[i]); err != nil {
			results[i].Detail = "cannot be signed"
			events[i].ID = nostr.ID{}
		}
	}
	for _, u := range p.relays {
		p.sendTo(ctx, u, events, results)
	}
	return results[len(announcements):]
}

// unsent are results of events that nobody has taken yet.
func unsent(n int) []store.Check {
	results := make([]store.Check, n)
	for i := range results {
		results[i] = store.Check{Cause: dial.CauseOther, Values: map[string]float64{"accepted": 0, "refused": 0}}
	}
	return results
}

// sendTo publishes signed events to one relay and notes in each result what
// became of it.
func (p *publisher) sendTo(ctx context.Context, u relay.URL, events []nostr.Event, results []store.Check) {
	var refused int
	var why dial.Cause
	defer func() {
		if refused > 0 {
			p.log.WarnContext(ctx, "events were not taken", "relay", u.String(), "events", len(events), "refused", refused, "cause", string(why))
		}
	}()
	failed := func(i int, cause dial.Cause, detail string) {
		refused, why = refused+1, cause
		results[i].Values["refused"]++
		if !results[i].OK {
			results[i].Cause, results[i].Detail = cause, detail
		}
	}
	s, err := session.Dial(ctx, u, session.Options{Dialer: p.dialer, Idle: publishIdle})
	if err != nil {
		cause := dial.CauseOf(err)
		if cause == "" {
			cause = dial.CauseBusy // our own time was over
		}
		for i := range events {
			failed(i, cause, "")
		}
		return
	}
	defer s.Close(ctx)
	for i := range events {
		if events[i].ID == (nostr.ID{}) {
			continue
		}
		ok, err := s.Publish(ctx, &events[i])
		if err == nil && !ok.Accepted && ok.Prefix == nostr.PrefixAuthRequired && s.Challenge() != "" {
			if who, auth := s.Auth(ctx, p.key); auth == nil && who.Accepted {
				ok, err = s.Publish(ctx, &events[i])
			}
		}
		switch {
		case err != nil:
			failed(i, dial.CauseBusy, "")
		case ok.Accepted:
			results[i].OK, results[i].Cause, results[i].Detail = true, "", ""
			results[i].Values["accepted"]++
		case ok.End.Kind != session.Unended:
			failed(i, ok.End.Cause(), "")
		default:
			failed(i, dial.CauseWriteBlocked, ok.Message)
		}
	}
}

// newPublisher returns nil when nothing is to be published.
func newPublisher(cfg Config, dialer *dial.Dialer, log *slog.Logger) (*publisher, *nostr.SecretKey) {
	if cfg.Key.IsZero() {
		return nil, nil
	}
	key, err := nip19.ParseSecret(cfg.Key.Reveal())
	if err != nil {
		panic(fmt.Sprintf("monitor: the key was not validated: %v", err))
	}
	relays := cfg.Publish.targets()
	if len(relays) == 0 {
		return nil, &key
	}
	return &publisher{cfg: cfg.Publish, key: key, relays: relays, dialer: dialer, log: log}, &key
}
