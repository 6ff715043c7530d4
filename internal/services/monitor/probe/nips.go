package probe

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

// Claims is the document of the probe "nips".
type Claims struct {
	Claims []Claim `json:"claims"`
}

// Claim is something that the document of a relay says of it, beside what it
// does.
type Claim struct {
	Name     string  `json:"name"`    // "max_limit", "NIP-45"
	Claimed  string  `json:"claimed"` // as the document has it
	Measured string  `json:"measured,omitempty"`
	Verdict  Verdict `json:"verdict"`
}

// Verdict is how a claim stands.
type Verdict string

// The verdicts.
const (
	Kept     Verdict = "kept"
	Broken   Verdict = "broken"
	Untested Verdict = "untested" // there is too little to tell by, or it would cost the relay too much
)

const (
	maxAsked    = 500       // events asked for to test a limit
	maxTogether = 30        // subscriptions opened at once
	maxSent     = 256 << 10 // bytes sent to test a limit
)

// nips holds what the document claims against what the relay does. What would
// put off later tests comes last: authentication, then large messages.
func nips(ctx context.Context, t *Target) (Result, bool) {
	if !t.readable {
		return Result{}, false
	}
	c := Claims{Claims: []Claim{}}
	if t.document == nil {
		return Result{OK: true, Document: pack(c)}, true // it claims nothing
	}
	l := t.document.Limitation
	for _, test := range []struct {
		name    string
		claimed *int64
		run     func(context.Context, int64) (string, Verdict)
	}{
		{"max_limit", l.MaxLimit, t.maxLimit},
		{"default_limit", l.DefaultLimit, t.defaultLimit},
		{"max_subscriptions", l.MaxSubscriptions, t.maxSubscriptions},
		{"created_at_lower_limit", l.CreatedAtLowerLimit, t.lowerBound},
		{"created_at_upper_limit", l.CreatedAtUpperLimit, t.upperBound},
	} {
		if test.claimed == nil || ctx.Err() != nil {
			continue
		}
		measured, verdict := test.run(ctx, *test.claimed)
		c.add(test.name, strconv.FormatInt(*test.claimed, 10), measured, verdict)
	}
	for _, test := range []struct {
		nip string
		run func(context.Context) (string, Verdict)
	}{
		{"9", t.deletes},
		{"11", t.informs},
		{"40", t.expires},
		{"45", t.counts},
		{"50", t.searches},
		{"67", t.hints},
		{"70", t.protects},
		{"77", t.reconciles},
		{"42", t.authenticates},
	} {
		if !slices.Contains(t.document.SupportedNIPs, test.nip) || ctx.Err() != nil {
			continue
		}
		measured, verdict := test.run(ctx)
		c.add("NIP-"+test.nip, "supported", measured, verdict)
	}
	if l.MaxMessageLength != nil && ctx.Err() == nil {
		measured, verdict := t.maxMessage(ctx, *l.MaxMessageLength)
		c.add("max_message_length", strconv.FormatInt(*l.MaxMessageLength, 10), measured, verdict)
	}
	values := map[string]float64{"kept": 0, "broken": 0, "untested": 0}
	for _, claim := range c.Claims {
		values[string(claim.Verdict)]++
	}
	return Result{OK: true, Document: pack(c), Values: values}, true
}

func (c *Claims) add(name, claimed, measured string, verdict Verdict) {
	c.Claims = append(c.Claims, Claim{Name: name, Claimed: claimed, Measured: measured, Verdict: verdict})
}

// take counts the events of a filter, at most so many, and finds the time of
// the oldest. It reports false when the answer proves nothing.
func (t *Target) take(ctx context.Context, f nostr.Filter, most int) (n int, oldest int64, ok bool) {
	page, err := t.session.Req(ctx, f, func(raw []byte) error {
		n++
		if e, err := nostr.ParseEvent(raw); err == nil && (oldest == 0 || e.CreatedAt < oldest) {
			oldest = e.CreatedAt
		}
		if n >= most {
			return session.ErrStop
		}
		return nil
	})
	return n, oldest, err == nil && (page.End.EOSE() || page.End.Kind == session.Stopped)
}

// more tells whether there are events before a time.
func (t *Target) more(ctx context.Context, before int64) bool {
	until := before - 1
	n, _, ok := t.take(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Until: &until, Limit: new(1)}, 1)
	return ok && n > 0
}

// maxLimit asks for a little more than the claim allows.
func (t *Target) maxLimit(ctx context.Context, claimed int64) (string, Verdict) {
	if claimed < 1 {
		return "", Untested
	}
	ask := maxAsked
	if claimed < maxAsked {
		ask = int(claimed) + min(int(claimed), 50)
	}
	n, oldest, ok := t.take(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Limit: &ask}, 2*maxAsked)
	measured := strconv.Itoa(n)
	switch {
	case !ok || n == 0:
		return "", Untested
	case int64(n) > claimed || n > ask:
		return measured, Broken
	case int64(n) == claimed:
		return measured, Kept
	case n == ask:
		return "at least " + measured, Kept
	case t.more(ctx, oldest):
		return measured, Broken
	}
	return "", Untested // it has no more events
}

// defaultLimit asks without a limit.
func (t *Target) defaultLimit(ctx context.Context, claimed int64) (string, Verdict) {
	n, oldest, ok := t.take(ctx, nostr.Filter{Kinds: []nostr.Kind{1}}, maxAsked)
	measured := strconv.Itoa(n)
	switch {
	case !ok || n == 0:
		return "", Untested
	case int64(n) > claimed:
		return measured, Broken
	case int64(n) == claimed:
		return measured, Kept
	case n == maxAsked:
		return "at least " + measured, Untested
	case t.more(ctx, oldest):
		return measured, Broken
	}
	return "", Untested
}

// maxSubscriptions opens as many as are allowed at once.
func (t *Target) maxSubscriptions(ctx context.Context, claimed int64) (string, Verdict) {
	if claimed < 1 || claimed > maxTogether {
		return "", Untested
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	served, refused := 0, 0
	for range claimed {
		wg.Go(func() {
			page, err := t.session.Req(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Limit: new(1)}, func([]byte) error { return nil })
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
			case page.End.EOSE():
				served++
			case page.End.Kind == session.Closed || page.End.Kind == session.Notice:
				refused++
			}
		})
	}
	wg.Wait()
	switch {
	case int64(served) == claimed:
		return "at least " + strconv.Itoa(served), Kept
	case refused > 0:
		return strconv.Itoa(served), Broken
	}
	return "", Untested
}

// maxMessage sends a request just below the size that is claimed.
func (t *Target) maxMessage(ctx context.Context, claimed int64) (string, Verdict) {
	const id, around = 67, 200 // bytes of an id in a filter, and of the rest
	if claimed < around+id || claimed > maxSent {
		return "", Untested
	}
	f := nostr.Filter{IDs: make([]nostr.ID, (claimed-around)/id), Limit: new(1)}
	for i := range f.IDs {
		f.IDs[i] = nostr.ID{1, byte(i >> 16), byte(i >> 8), byte(i)}
	}
	page, err := t.session.Req(ctx, f, func([]byte) error { return nil })
	switch {
	case err != nil || page.End.Kind == session.Closed || page.End.Kind == session.Notice:
		return "", Untested // the number of ids may be what is refused
	case page.End.EOSE():
		return "at least " + strconv.Itoa(around+len(f.IDs)*id), Kept
	case page.End.Lost():
		return "disconnects", Broken
	}
	return "", Untested
}

// informs: the document was read.
func (t *Target) informs(context.Context) (string, Verdict) { return "", Kept }

// counts asks how many events of a kind there are.
func (t *Target) counts(ctx context.Context) (string, Verdict) {
	_, page, err := t.session.Count(ctx, nostr.Filter{Kinds: []nostr.Kind{1}})
	switch {
	case err != nil:
		return "", Untested
	case page.End.Kind == session.Counted:
		return "", Kept
	}
	return page.End.Kind.String(), Broken
}

// searches for a word that nobody has written: who finds something ignores what
// is searched for.
func (t *Target) searches(ctx context.Context) (string, Verdict) {
	n, _, ok := t.take(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Search: random(), Limit: new(1)}, 1)
	switch {
	case n > 0:
		return "finds what nobody wrote", Broken
	case !ok:
		return "refuses", Broken
	}
	return "", Kept
}

// hints looks whether an EOSE says if there is more.
func (t *Target) hints(ctx context.Context) (string, Verdict) {
	page, err := t.session.Req(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Limit: new(1)}, func([]byte) error { return nil })
	switch {
	case err != nil || !page.End.EOSE():
		return "", Untested
	case page.End.Kind == session.EOSE:
		return "no hint", Broken
	}
	return page.End.Kind.String(), Kept
}

// reconciles opens a reconciliation of the last minute with a set that is empty:
// one message of the relay shows that it can.
func (t *Target) reconciles(ctx context.Context) (string, Verdict) {
	since := time.Now().Unix() - 60
	first := []byte{0x61, 0, 0, 2, 0} // version 1; up to infinity; a list of ids; none
	r, err := t.session.Reconcile(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Since: &since}, first, func([]byte) ([]byte, error) {
		return nil, nil
	})
	switch {
	case err != nil:
		return "", Untested
	case r.Rounds > 0:
		return "", Kept
	}
	return r.End.Kind.String(), Broken
}

// authenticates answers a challenge, if one came, as somebody whom the relay
// does not know.
func (t *Target) authenticates(ctx context.Context) (string, Verdict) {
	if t.session.Challenge() == "" {
		return "no challenge", Untested
	}
	ok, err := t.session.Auth(ctx, nostr.GenerateKey())
	switch {
	case err != nil:
		return "", Untested
	case ok.Accepted:
		return "accepted", Kept
	case ok.Prefix == nostr.PrefixRestricted || ok.Prefix == nostr.PrefixBlocked:
		return "strangers are refused", Kept
	}
	return "refused", Broken
}

// attempt publishes an event of ours and says whether it was taken. It reports
// false without a key, or when no answer came.
func (t *Target) attempt(ctx context.Context, e nostr.Event) (taken, known bool, id nostr.ID) {
	if t.Key == nil || !t.writable {
		return false, false, nostr.ID{}
	}
	ok, err := t.publish(ctx, &e)
	if err != nil || ok.End.Kind != session.Unended {
		return false, false, nostr.ID{}
	}
	return received(ok), true, e.ID
}

// holds tells whether an event can be read.
func (t *Target) holds(ctx context.Context, id nostr.ID) (held, known bool) {
	n, _, ok := t.take(ctx, nostr.Filter{IDs: []nostr.ID{id}}, 1)
	return n > 0, ok
}

const (
	// kindStored is the kind of events by which storing is tested: data of an
	// application, of which a relay keeps one for a name. They expire by
	// themselves (NIP-40).
	kindStored nostr.Kind = 30078
	kindDelete nostr.Kind = 5
	storedFor             = 3600 // seconds
)

func stored(now int64, expires int64) nostr.Event {
	return nostr.Event{CreatedAt: now, Kind: kindStored, Tags: []nostr.Tag{
		{"d", "bigbrotr-check"}, {"expiration", strconv.FormatInt(expires, 10)},
	}}
}

// deletes stores an event and asks for its deletion.
func (t *Target) deletes(ctx context.Context) (string, Verdict) {
	now := time.Now().Unix()
	taken, known, id := t.attempt(ctx, stored(now, now+storedFor))
	if !known || !taken {
		return "", Untested
	}
	if held, known := t.holds(ctx, id); !known || !held {
		return "does not store", Untested
	}
	taken, known, _ = t.attempt(ctx, nostr.Event{CreatedAt: now, Kind: kindDelete, Tags: []nostr.Tag{
		{"e", id.String()},
		{"a", strconv.Itoa(int(kindStored)) + ":" + t.Key.PubKey().String() + ":bigbrotr-check"},
		{"k", strconv.Itoa(int(kindStored))},
		{"expiration", strconv.FormatInt(now+storedFor, 10)},
	}})
	if !known || !taken {
		return "deletion refused", Broken
	}
	switch held, known := t.holds(ctx, id); {
	case !known:
		return "", Untested
	case held:
		return "still served", Broken
	}
	return "", Kept
}

// expires sends an event whose time is over: it may be taken, and must not be
// served.
func (t *Target) expires(ctx context.Context) (string, Verdict) {
	now := time.Now().Unix()
	taken, known, id := t.attempt(ctx, stored(now-1, now-storedFor))
	switch {
	case !known:
		return "", Untested
	case !taken:
		return "refused", Kept
	}
	switch held, known := t.holds(ctx, id); {
	case !known:
		return "", Untested
	case held:
		return "served after its time", Broken
	}
	return "", Kept
}

// protects sends an event that only its author may send, without saying who we
// are (NIP-70). Where we had to say so, nothing can be told.
func (t *Target) protects(ctx context.Context) (string, Verdict) {
	if t.authenticated {
		return "", Untested
	}
	e := stored(time.Now().Unix()-2, time.Now().Unix()+storedFor)
	e.Tags = append(e.Tags, nostr.Tag{"-"})
	taken, known, _ := t.attempt(ctx, e)
	switch {
	case !known:
		return "", Untested
	case taken:
		return "taken from anybody", Broken
	}
	return "refused", Kept
}

const margin = 120 // seconds beyond a bound

// lowerBound sends an event that is older than the claim allows. A bound of 0 is
// how software writes that there is none.
func (t *Target) lowerBound(ctx context.Context, claimed int64) (string, Verdict) {
	if claimed == 0 {
		return "", Untested
	}
	return t.bound(ctx, time.Now().Unix()-claimed-margin)
}

// upperBound sends an event of a later time than the claim allows.
func (t *Target) upperBound(ctx context.Context, claimed int64) (string, Verdict) {
	if claimed == 0 {
		return "", Untested
	}
	return t.bound(ctx, time.Now().Unix()+claimed+margin)
}

func (t *Target) bound(ctx context.Context, at int64) (string, Verdict) {
	if at < 0 {
		return "", Untested
	}
	taken, known, _ := t.attempt(ctx, nostr.Event{CreatedAt: at, Kind: kindProbe})
	switch {
	case !known:
		return "", Untested
	case taken:
		return "taken beyond it", Broken
	}
	return "refused beyond it", Kept
}
