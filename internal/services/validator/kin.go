package validator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// One relay is often reached under many URLs: by every path of its host, by
// several names, through an overlay. What such URLs share (a host, a document, a
// key, a certificate, an address) makes them worth comparing and proves nothing:
// operators run several relays, and anybody can copy a document. Only the events
// tell: the newest ones of both must be the same. Two that hold nothing are left
// apart, which costs nothing.

const (
	// Name is the validator's name in the store's schedule.
	Name = "validator"
	// maxKin is how many relays that share something are looked at, maxCompared
	// with how many of them one is compared.
	maxKin      = 16
	maxCompared = 3
	// sampled is how many events a comparison asks for.
	sampled = 100
	// kinAge is how long a comparison is believed; what could not be compared is
	// tried again after kinRetry.
	kinAge   = 30 * 24 * time.Hour
	kinRetry = 24 * time.Hour
)

// sampledKinds are kinds that every relay has and nobody restricts: policy
// relays refuse filters without any.
var sampledKinds = []nostr.Kind{0, 1, 3, 5, 6, 7, 10002, 30023}

// proof is how alike the newest events of two URLs must be to be one relay.
type proof struct {
	share  float64 // of the events that either has, those that both have
	events int     // that either has
}

// demands says whether a URL with these traits may be the relay that shares
// something with it, and on what proof. The further apart they are, the more of
// it: on one server, behind another port, under another name. A name that only
// copies the document of another relay is never taken for it, or it could stand
// in front of it.
func demands(u relay.URL, traits []store.Trait, k store.Kin) (proof, bool) {
	shares := func(kinds ...store.TraitKind) bool {
		return slices.ContainsFunc(kinds, func(kind store.TraitKind) bool { return slices.Contains(k.Shares, kind) })
	}
	has := func(kinds ...store.TraitKind) bool {
		return slices.ContainsFunc(traits, func(t store.Trait) bool { return slices.Contains(kinds, t.Kind) })
	}
	introduced := shares(store.TraitDocument, store.TraitSelf)
	named := introduced && has(store.TraitSelf, store.TraitPubKey)
	switch {
	case shares(store.TraitHost) && u.Host() == k.URL.Host():
		return proof{0.9, 10}, introduced || !has(store.TraitDocument)
	case shares(store.TraitHost):
		return proof{0.9, 20}, named
	}
	// A name that says to be an onion service may be taken for it, and never the
	// other way round: of others anybody can say so.
	onion := k.URL.Network() == relay.Tor && u.Network() == relay.Clearnet && shares(store.TraitOnion)
	return proof{0.95, 30}, named && (onion || shares(store.TraitCertificate, store.TraitAddress))
}

// sample is the newest events of a relay: when they were made, by id.
type sample map[nostr.ID]int64

// oldest is the lower end of what a sample tells.
func (s sample) oldest() int64 {
	oldest := int64(1<<63 - 1)
	for _, at := range s {
		oldest = min(oldest, at)
	}
	return oldest
}

// proves tells whether two samples are of one relay. Each was cut somewhere
// below: only what is newer than either end counts, and of the seconds at the
// ends nobody knows whether they are whole.
func (p proof) proves(a, b sample) bool {
	from := max(a.oldest(), b.oldest())
	var both, either int
	for id, at := range a {
		if at > from {
			either++
			if _, ok := b[id]; ok {
				both++
			}
		}
	}
	for id, at := range b {
		if _, ok := a[id]; !ok && at > from {
			either++
		}
	}
	return either >= p.events && float64(both) >= p.share*float64(either)
}

// errNoSample: the relay did not answer so that a comparison could be made.
var errNoSample = errors.New("no sample of events")

// take reads the newest events of a relay until a time.
func (s *Service) take(ctx context.Context, u relay.URL, until int64) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout(u))
	defer cancel()
	conn, err := session.Dial(ctx, u, s.session(u))
	if err != nil {
		return nil, errNoSample
	}
	defer conn.Close(ctx)
	found := sample{}
	page, err := conn.Req(ctx, nostr.Filter{Kinds: sampledKinds, Until: &until, Limit: new(sampled)}, func(raw []byte) error {
		if ref, ok := nostr.ScanEvent(raw); ok && ref.CreatedAt <= until {
			found[ref.ID] = ref.CreatedAt
		}
		if len(found) >= 2*sampled {
			return session.ErrStop
		}
		return nil
	})
	if err != nil || !page.End.EOSE() {
		return nil, errNoSample
	}
	return found, nil
}

// settled is how old the newest events must be to have reached a relay by all of
// its ways.
const settled = time.Minute

// compare returns the relay that stands for a URL, 0 when it stands for itself.
// Older relays stand for younger ones, so number is that of the URL, 0 when it
// has none yet. errNoSample: it cannot be told now.
func (s *Service) compare(ctx context.Context, u relay.URL, number store.RelayID, traits []store.Trait) (store.RelayID, error) {
	kin, err := s.store.Kin(ctx, u, traits, maxKin)
	if err != nil {
		return 0, fmt.Errorf("read kin: %w", err)
	}
	var ours sample
	var missing error
	until := time.Now().Add(-settled).Unix()
	compared := 0
	for _, k := range kin {
		need, worth := demands(u, traits, k)
		if !worth || number != 0 && k.ID > number || !s.dialer.Enabled(k.URL.Network()) || k.State == store.StateDead {
			continue
		}
		if compared++; compared > maxCompared {
			break
		}
		if ours == nil {
			if ours, err = s.take(ctx, u, until); err != nil {
				return 0, err
			}
		}
		theirs, err := s.take(ctx, k.URL, until)
		if err != nil {
			missing = err
			continue
		}
		if need.proves(ours, theirs) {
			return k.ID, nil
		}
	}
	return 0, missing
}

// traits returns by what a relay can be recognised, as it opened.
func (s *Service) traits(u relay.URL, o session.Opening) []store.Trait {
	list := []store.Trait{}
	if onion := onionOf(u, o.Header); onion != "" {
		list = append(list, store.Trait{Kind: store.TraitOnion, Value: []byte(onion)})
	}
	if addr := o.Addr.Addr(); addr.IsValid() {
		bytes := addr.As16()
		list = append(list, store.Trait{Kind: store.TraitAddress, Value: bytes[:]})
	}
	if o.State != nil && len(o.State.PeerCertificates) > 0 {
		sum := sha256.Sum256(o.State.PeerCertificates[0].Raw)
		list = append(list, store.Trait{Kind: store.TraitCertificate, Value: sum[:]})
	}
	return list
}

// onionOf is the name of the onion service that a relay is or says to be.
func onionOf(u relay.URL, h http.Header) string {
	if u.Network() == relay.Tor {
		return u.Hostname()
	}
	at, err := url.Parse(h.Get("Onion-Location"))
	if err != nil || !u.Secure() { // anybody on the way could have put it there
		return ""
	}
	onion, err := relay.Parse("ws://" + at.Host)
	if err != nil || onion.Network() != relay.Tor {
		return ""
	}
	return onion.Hostname()
}

// document adds what the information document of a relay tells; nothing when
// there is none.
func (s *Service) document(ctx context.Context, u relay.URL, list []store.Trait) []store.Trait {
	ctx, cancel := context.WithTimeout(ctx, s.timeout(u))
	defer cancel()
	answer, err := nip11.Fetch(ctx, s.dialer.HTTPClient(u), u)
	if err != nil {
		return list
	}
	document, err := nip11.Parse(answer.Body)
	if err != nil {
		return list
	}
	sum, err := nip11.Hash(answer.Body)
	if err != nil {
		return list
	}
	list = append(list, store.Trait{Kind: store.TraitDocument, Value: sum[:]})
	if onion := onionOf(u, answer.Header); onion != "" { // known or not: kept once
		list = append(list, store.Trait{Kind: store.TraitOnion, Value: []byte(onion)})
	}
	for _, key := range []struct {
		kind store.TraitKind
		key  *nostr.PubKey
	}{{store.TraitSelf, document.Self}, {store.TraitPubKey, document.PubKey}} {
		if key.key != nil {
			list = append(list, store.Trait{Kind: key.kind, Value: key.key[:]})
		}
	}
	return list
}

// Revisit compares relays again: those that were promoted at the same time as
// their kin, and once a month those that are or may have become aliases.
func (s *Service) revisit(ctx context.Context) error {
	var compared, aliases int
	for !service.Stopping(ctx) {
		now := time.Now()
		leasing, cancel := context.WithTimeout(ctx, service.StoreTime)
		// Of each relay, one connection for itself and some for others.
		most := (maxCompared + 1) * max(s.cfg.Timeout, s.cfg.OverlayTimeout).Std()
		work, err := s.store.DueRelays(leasing, store.Due{
			Service: Name, Now: now.Unix(), Limit: s.cfg.Parallel, Owner: s.owner, Aliases: true,
			Until: now.Add(service.LeaseTime(s.cfg.Parallel, s.cfg.Parallel, most)).Unix() + 1, Networks: s.dialer.Networks(),
		})
		cancel()
		if err != nil {
			return fmt.Errorf("lease relays: %w", err)
		}
		type result struct {
			found store.Kinship
			err   error
		}
		var list []store.Kinship
		for _, r := range service.Gather(ctx, s.cfg.Parallel, work, func(ctx context.Context, w store.Work) result {
			found, err := s.again(ctx, w.Relay)
			return result{found, err}
		}) {
			if r.err != nil {
				return r.err
			}
			list = append(list, r.found)
			compared++
			if r.found.AliasOf != 0 {
				aliases++
			}
		}
		saving, done := context.WithTimeout(ctx, service.StoreTime)
		err = s.store.SaveKinship(saving, list)
		done()
		if err != nil {
			return fmt.Errorf("save kinship: %w", err)
		}
		if len(work) < s.cfg.Parallel {
			break
		}
	}
	if compared > 0 {
		s.log.InfoContext(ctx, "relays compared", "relays", compared, "aliases", aliases)
	}
	return nil
}

// again compares one relay. Without kin it is not even connected to.
func (s *Service) again(ctx context.Context, r store.Relay) (store.Kinship, error) {
	k := store.Kinship{At: time.Now().Unix(), AliasOf: r.AliasOf, Next: store.Next{Relay: r.ID, Service: Name, Owner: s.owner}}
	wait := service.Jitter(kinAge, jitter)
	kin, err := s.store.Kin(ctx, r.URL, nil, 1)
	if err != nil {
		return k, fmt.Errorf("read kin: %w", err)
	}
	if len(kin) > 0 {
		of, traits, err := s.examine(ctx, r.URL, r.ID)
		switch {
		case err == nil:
			k.AliasOf, k.Traits = of, traits
		case errors.Is(err, errNoSample):
			wait = service.Jitter(kinRetry, jitter)
		default:
			return k, err
		}
	} else {
		k.AliasOf = 0
	}
	k.Next.DueAt = time.Now().Add(wait).Unix()
	return k, nil
}

// examine connects to a relay, reads its traits and compares it.
func (s *Service) examine(ctx context.Context, u relay.URL, number store.RelayID) (store.RelayID, []store.Trait, error) {
	opening, err := s.opening(ctx, u)
	if err != nil {
		return 0, nil, errNoSample
	}
	traits := s.document(ctx, u, s.traits(u, opening))
	of, err := s.compare(ctx, u, number, traits)
	return of, traits, err
}

func (s *Service) opening(ctx context.Context, u relay.URL) (session.Opening, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout(u))
	defer cancel()
	conn, err := session.Dial(ctx, u, s.session(u))
	if err != nil {
		return session.Opening{}, err
	}
	defer conn.Close(ctx)
	return conn.Opening(), nil
}
