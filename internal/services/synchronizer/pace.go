package synchronizer

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// complaint is what a relay says of how we ask.
type complaint uint8

const (
	noComplaint complaint = iota
	tooFast               // too many requests in a time
	tooMany               // too many requests at once
)

const (
	// A first complaint makes requests leastSpacing apart, or twice as far as they
	// were; further ones double that, up to mostSpacing.
	leastSpacing = 250 * time.Millisecond
	mostSpacing  = time.Minute
	// tooManySpacing is how far apart requests become at most because one at a time
	// is too many.
	tooManySpacing = time.Second
	// Who complains is left alone for firstQuiet, twice as long each further time in
	// a row, up to mostQuiet.
	firstQuiet = 30 * time.Second
	mostQuiet  = time.Hour
	// easeTime is after how long without a complaint one of them is forgotten: the
	// spacing is halved, and one more request is sent at once.
	easeTime = time.Hour
	// mostParallel is how many requests are sent at once where nobody complains.
	mostParallel = 4
	// hostShare is how many times as much a host with all of its relays is asked as
	// one of them.
	hostShare = 2
)

// complaintOf reads a complaint out of how a request ended. Most relays say it in
// words only, so the words decide; the worst they can do is to slow us down.
func complaintOf(prefix, text string) complaint {
	text = strings.ToLower(text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("concurrent", "subscription", "open req") && has("too many", "max", "limit", "exceed"):
		return tooMany
	case prefix == nostr.PrefixRateLimited, has("rate limit", "rate-limit", "ratelimit", "too fast", "slow down", "too many requests", "throttl"):
		return tooFast
	}
	return noComplaint
}

// bucket is the token bucket of a relay, or of a host with all of its relays. All
// visits of a process share it.
type bucket struct {
	base  rate.Limit // while nobody complains
	users int        // of paces

	mu      sync.Mutex
	pace    store.Pace
	limiter *rate.Limiter
}

// ease forgets complaints that are long ago. b.mu is held.
func (b *bucket) ease(now int64) {
	p := &b.pace
	n := (now - p.At) / int64(easeTime.Seconds())
	if n <= 0 || p.Spacing == 0 && p.Parallel == 0 && p.Complaints == 0 {
		return
	}
	p.Spacing >>= min(n, 62)
	p.Complaints = int(max(0, int64(p.Complaints)-n))
	if p.Parallel > 0 {
		p.Parallel += int(min(n, mostParallel))
	}
	if p.Parallel >= mostParallel {
		p.Parallel = 0
	}
	p.At += n * int64(easeTime.Seconds())
	b.adjust()
}

// adjust makes the limiter keep the spacing. b.mu is held.
func (b *bucket) adjust() {
	limit, burst := b.base, max(1, int(b.base))
	if b.pace.Spacing > 0 {
		limit, burst = min(limit, rate.Every(time.Duration(b.pace.Spacing)*time.Millisecond)), 1
	}
	b.limiter.SetLimit(limit)
	b.limiter.SetBurst(burst)
}

// wait waits for the turn of one request.
func (b *bucket) wait(ctx context.Context, now time.Time) error {
	b.mu.Lock()
	b.ease(now.Unix())
	b.mu.Unlock()
	return b.limiter.Wait(ctx)
}

// quiet is until when nothing is to be asked; zero or past when something may.
func (b *bucket) quiet() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pace.Until
}

// parallel is how many requests may be sent at once.
func (b *bucket) parallel() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pace.Parallel == 0 {
		return mostParallel
	}
	return b.pace.Parallel
}

// complain takes a complaint in. Of a host the first one does not count for all
// of its relays, of which there may be hundreds.
func (b *bucket) complain(what complaint, host bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ease(now.Unix())
	p := &b.pace
	p.At = now.Unix()
	if parallel := p.Parallel; what == tooMany {
		if parallel == 0 {
			parallel = mostParallel
		}
		if p.Parallel = max(1, parallel/2); parallel > 1 {
			return
		}
		// One at a time is still too many: those that we closed count, too.
	}
	most := mostSpacing
	if what == tooMany {
		most = tooManySpacing
	}
	p.Spacing = max(p.Spacing, min(max(2*p.Spacing, int64(2000/float64(b.base)), leastSpacing.Milliseconds()), most.Milliseconds()))
	b.adjust()
	if what != tooFast {
		return
	}
	p.Complaints++
	n := p.Complaints
	if host {
		n--
	}
	if n > 0 {
		p.Until = max(p.Until, now.Add(service.Jitter(min(firstQuiet<<min(n-1, 10), mostQuiet), spread)).Unix())
	}
}

// spend counts bytes of the current day and returns those of the day so far.
func (b *bucket) spend(bytes, now int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if day := now / store.Day; b.pace.Day != day {
		b.pace.Day, b.pace.Bytes = day, 0
	}
	b.pace.Bytes += bytes
	return b.pace.Bytes
}

func (b *bucket) current() store.Pace {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pace
}

// paces holds the buckets that are in use.
type paces struct {
	store store.Paces
	host  func(netip.Addr) string // names the host of an address; empty: none

	mu      sync.Mutex
	buckets map[string]*bucket
}

// enter returns the bucket of a target, which leave gives back.
func (p *paces) enter(ctx context.Context, target string, base rate.Limit) (*bucket, error) {
	known, err := p.store.Paces(ctx, []string{target})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.buckets[target]
	if b == nil {
		b = &bucket{base: base, pace: known[0], limiter: rate.NewLimiter(base, max(1, int(base)))}
		b.adjust()
		p.buckets[target] = b
	}
	b.users++
	b.mu.Lock()
	b.pace.Until = max(b.pace.Until, known[0].Until) // another process may have met a complaint
	b.mu.Unlock()
	return b, nil
}

func (p *paces) leave(b *bucket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.users--; b.users == 0 {
		delete(p.buckets, b.pace.Target)
	}
}

// hostOf names the host of an address. What comes through a proxy has none that we
// know, and this machine is not to be spared.
func hostOf(addr netip.Addr) string {
	if !addr.IsValid() || addr.IsLoopback() {
		return ""
	}
	return dial.Host(addr)
}

// join adds the bucket of the host that a visit is connected to.
func (p *paces) join(ctx context.Context, v *visit, sess *session.Session) error {
	host := p.host(sess.Opening().Addr.Addr())
	if host == "" {
		return nil
	}
	target := "host " + host
	if v.host != nil && v.host.current().Target == target {
		return nil
	}
	b, err := p.enter(ctx, target, hostShare*v.relayPace.base)
	if err != nil {
		return err
	}
	p.part(v)
	v.host = b
	return nil
}

// part gives the bucket of the host back.
func (p *paces) part(v *visit) {
	if v.host != nil {
		p.leave(v.host)
		v.host = nil
	}
}

// buckets are those that the visit takes from.
func (v *visit) buckets() []*bucket {
	if v.host == nil {
		return []*bucket{v.relayPace}
	}
	return []*bucket{v.relayPace, v.host}
}

// patient ends the visit when nothing is to be asked now: the relay, or another
// one at its host, has complained, or the bytes of the day are spent.
func (v *visit) patient() error {
	now := v.now().Unix()
	for _, b := range v.buckets() {
		if until := b.quiet(); until > now {
			return &halt{why: waits, cause: dial.CauseRateLimited, until: until}
		}
	}
	if v.daily > 0 && v.relayPace.spend(0, now) >= v.daily {
		return &halt{why: waits, cause: dial.CauseBusy, until: (now/store.Day + 1) * store.Day}
	}
	return nil
}

// heed takes the complaint out of how a request ended, and keeps it at once, so
// that it holds whatever happens to this process. It reports whether there was
// one.
func (v *visit) heed(ctx context.Context, end *session.Terminal, notice string) (complaint, error) {
	if end.EOSE() && notice == "" {
		return noComplaint, nil
	}
	what := complaintOf(end.Prefix, end.Message)
	if what == noComplaint {
		what = complaintOf("", notice)
	}
	if what == noComplaint {
		return what, nil
	}
	var paces []store.Pace
	for _, b := range v.buckets() {
		b.complain(what, b == v.host, v.now())
		paces = append(paces, b.current())
	}
	v.sums.complaints.WithLabelValues(what.String()).Inc()
	if what == tooFast && !end.EOSE() && !end.Lost() {
		end.Prefix = nostr.PrefixRateLimited // also where it said so in other words
	}
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := v.store.SavePaces(saving, paces); err != nil {
		return what, v.local(ctx, fmt.Errorf("save pace: %w", err))
	}
	return what, nil
}

func (c complaint) String() string {
	return [...]string{noComplaint: "none", tooFast: "rate", tooMany: "subscriptions"}[c]
}
