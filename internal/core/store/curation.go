package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
)

// ErrBanned is returned for a URL that the operator keeps out.
var ErrBanned = errors.New("banned by the operator")

// KeptOut says why nobody works on a relay or candidate; empty: it is not kept
// out.
type KeptOut string

// The reasons to keep a URL out.
const (
	Removed KeptOut = "removed" // until somebody mentions it again
	Banned  KeptOut = "banned"  // until the ban is lifted
)

// MaxPerHost is how many URLs of one host are candidates and relays at most.
// Most hosts have one relay and answer on every path and many ports; without a
// bound one author could have us try a million. The root of a host and what the
// operator names are taken all the same.
const MaxPerHost = 50

// Ban keeps a URL out, or a host with all of its URLs.
type Ban struct {
	Target string // what ParseTarget returns
	At     int64
	Reason string // the operator's words, at most MaxReason bytes
}

// The reasons of bans that relays' own operators asked for. OptedOut is how all
// of them begin, those that an operator of ours writes down too.
const (
	OptedOut       = "opted out"
	OptedOutRobots = OptedOut + ": robots.txt"
	OptedOutConfig = OptedOut + ": configuration"
)

// MaxReason is how many bytes of a reason are kept.
const MaxReason = 500

// Reason bounds the reason of a ban to what is kept of it.
func Reason(text string) string {
	return strings.ToValidUTF8(Substitute(text[:min(len(text), MaxReason)]), "")
}

// ParseTarget reads what a ban can name: the URL of a relay, or a host without
// scheme, port and path, and returns its one form.
func ParseTarget(text string, rules relay.Rules) (string, error) {
	host := strings.TrimSpace(text)
	if strings.Contains(host, "://") {
		u, err := rules.Parse(host)
		if err != nil {
			return "", err
		}
		return u.String(), nil
	}
	if strings.ContainsAny(host, "/?#") {
		return "", fmt.Errorf("%q is neither the URL of a relay nor a host", host)
	}
	u, err := rules.Parse("wss://" + host)
	if err != nil {
		return "", err
	}
	if !u.IsRoot() {
		return "", fmt.Errorf("%q names a port: write the URL of a relay, or a host alone", host)
	}
	return u.Hostname(), nil
}

// Provenance is where a URL was seen, of one class.
type Provenance struct {
	Class   hints.Class
	First   int64
	Last    int64
	Count   int64
	Authors int64 // distinct ones, estimated above 64
}

// ClassTotal counts the URLs of one source class.
type ClassTotal struct {
	Class     hints.Class
	URLs      int64 // that somebody mentioned in this class
	Strongest int64 // of these, in no stronger one
}

// Curation is the operator's hand on the set of relays.
type Curation interface {
	// Ban keeps the targets out: no service works on them, and no mention makes
	// candidates of them. A target that is banned already gets the new time and
	// reason.
	Ban(ctx context.Context, bans []Ban) error
	// LiftBans ends bans. What no other ban keeps out is in the set again. It
	// returns the targets that were banned.
	LiftBans(ctx context.Context, targets []string) ([]string, error)
	// ScanBans yields the bans by target. It pages inside.
	ScanBans(ctx context.Context) iter.Seq2[Ban, error]
	// RemoveURLs takes relays and candidates out of the set until somebody
	// mentions them again; what a relay delivered stays archived. It returns
	// those that were in the set.
	RemoveURLs(ctx context.Context, urls []relay.URL) ([]relay.URL, error)
	// Recheck makes relays and candidates due at once, for every service, and
	// has aliases stand for themselves until they are found to be one again. It
	// returns those that are in the set.
	Recheck(ctx context.Context, urls []relay.URL, at int64) ([]relay.URL, error)
	// ScanCandidates yields every candidate by URL, those kept out included. It
	// pages inside.
	ScanCandidates(ctx context.Context) iter.Seq2[Candidate, error]
	// Mentions returns where a URL was seen, strongest class first.
	Mentions(ctx context.Context, url relay.URL) ([]Provenance, error)
	// ClassTotals counts the mentioned URLs of each class, strongest first.
	ClassTotals(ctx context.Context) ([]ClassTotal, error)
}

// Known is what a backend knows of the URLs of a batch, for Admit.
type Known struct {
	URLs   map[string]bool  // relays and candidates among them
	Hosts  map[string]int64 // relays and candidates of each host
	Banned map[string]bool  // targets
}

// NewKnown returns one that knows nothing yet.
func NewKnown() *Known {
	return &Known{URLs: map[string]bool{}, Hosts: map[string]int64{}, Banned: map[string]bool{}}
}

// Admit leaves out the places of banned URLs, and of new URLs of hosts that
// have enough. Places are sorted as Places returns them.
func Admit(places []*Place, known *Known) []*Place {
	admitted := places[:0]
	var last relay.URL
	keep := false
	for _, p := range places {
		if p.URL != last {
			last, keep = p.URL, known.admits(p)
		}
		if keep {
			admitted = append(admitted, p)
		}
	}
	return admitted
}

// admits decides by the strongest place of a URL.
func (k *Known) admits(p *Place) bool {
	url, host := p.URL.String(), p.URL.Hostname()
	switch {
	case k.Banned[url], k.Banned[host]:
		return false
	case k.URLs[url]:
		return true
	case p.Rank > hints.Seed.Rank() && k.Hosts[host] >= MaxPerHost && !p.URL.IsRoot():
		return false
	}
	k.Hosts[host]++
	return true
}

// Pages yields what page reads behind a key, until a page is not full.
func Pages[T any](full int, page func(after string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		after := ""
		for {
			items, next, err := page(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if len(items) < full {
				return
			}
			after = next
		}
	}
}
