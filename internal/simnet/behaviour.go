package simnet

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"bigbrotr/internal/core/nostr"
)

// Behaviour is how a relay answers. The zero value is a correct relay without
// limits, compression, COUNT and negentropy. Everything but Faults holds for every answer.
type Behaviour struct {
	// Cap is the most events of a page, whatever was asked; 0 means no cap.
	Cap int
	// DefaultLimit is the size of a page when no limit was asked; 0 means Cap.
	DefaultLimit int
	// RefuseOverCap refuses a limit above Cap instead of lowering it.
	RefuseOverCap bool
	// Order is how a page is filled and sorted.
	Order Order

	IgnoreSince    bool
	IgnoreUntil    bool
	IgnoreLimit    bool // a page is as long as Cap allows
	ExclusiveUntil bool // created_at = until is left out
	// Flood is how many events are sent beyond the limit, as far as there are.
	Flood int

	// Restricted kinds are shown to nobody. A filter that asks for nothing else
	// is refused.
	Restricted []nostr.Kind
	// PostFilter drops restricted kinds after the limit was counted, as strfry
	// does, so that a page may be short or empty while older events exist.
	// COUNT then counts them too.
	PostFilter bool
	// Broad says which filters are refused for being too broad.
	Broad Broad
	// MostKinds and MostAuthors are how many a filter may name; 0 means any number.
	MostKinds, MostAuthors int
	// FirstAuthors is how many authors of a filter count; the others are left out
	// and nobody says so. 0 means all.
	FirstAuthors int
	// FirstIDs is the same of ids.
	FirstIDs int
	// Auth refuses everything until the client has authenticated (NIP-42).
	Auth bool
	// Admits says whom authentication helps.
	Admits Admission
	// Parties serves a filter of restricted kinds to clients that have
	// authenticated, with what is for them: nothing.
	Parties bool
	// Rate limits requests.
	Rate Rate
	// MaxSubs is how many subscriptions a connection may hold open; 0 means any
	// number.
	MaxSubs int
	// RefuseZero refuses a limit of 0.
	RefuseZero bool
	// Live is what of arriving events open subscriptions are told.
	Live Live
	// RefuseAs is the form in which all of the above refuse.
	RefuseAs Refusal

	// Writes says which published events are taken.
	Writes Writes

	// Hints adds NIP-67 hints to EOSE.
	Hints bool
	// Count is how COUNT is answered.
	Count Count
	// Negentropy is how NIP-77 is answered.
	Negentropy Negentropy
	// Compress accepts permessage-deflate.
	Compress bool
	// Latency passes before every answer.
	Latency time.Duration
	// Info is the NIP-11 document; nil means one that tells the truth.
	Info *Info
	// Robots is the robots.txt; empty means that there is none.
	Robots string

	// Faults go wrong now and then, or always.
	Faults []Fault
}

// Order is the order in which a relay fills a page.
type Order string

// The orders of a page.
const (
	// NewestFirst is what NIP-01 asks for: ties by lowest id.
	NewestFirst Order = ""
	// NewestLatest is newest first, ties by latest arrival, as in strfry.
	NewestLatest Order = "newest-latest"
	// OldestFirst fills the page from the old end of the window.
	OldestFirst Order = "oldest"
	// Shuffled fills the page with the newest events and shuffles them.
	Shuffled Order = "shuffled"
	// ByID fills the page with those that come first by id, wherever in the
	// window they are.
	ByID Order = "by-id"
)

// Admission says whom a relay lets in that wants to know who is there.
type Admission string

// Who is let in.
const (
	AdmitAll     Admission = ""        // every key
	AdmitNone    Admission = "none"    // authentication is refused
	AdmitMembers Admission = "members" // authentication is accepted, and nothing is served
)

// Live is what of arriving events a relay tells open subscriptions.
type Live string

// What is told.
const (
	LiveAll  Live = ""
	LiveNone Live = "none"
	LiveHalf Live = "half" // those whose id ends with an even number
)

// tells reports whether an arriving event is told.
func (l Live) tells(e *Event) bool { return l == LiveAll || l == LiveHalf && e.ID[31]%2 == 0 }

// Broad says which filters a relay refuses for being too broad.
type Broad string

// What is too broad.
const (
	BroadNone Broad = ""
	// BroadOpen refuses filters without ids, authors, kinds and tags.
	BroadOpen Broad = "open"
	// BroadAuthorless refuses filters without ids and authors.
	BroadAuthorless Broad = "authorless"
)

// Refusal is the form of a refusal.
type Refusal string

// The forms of a refusal.
const (
	RefuseClosed     Refusal = ""            // CLOSED with a prefix
	RefuseNotice     Refusal = "notice"      // NOTICE and nothing more
	RefuseNoticeEOSE Refusal = "notice-eose" // NOTICE, then EOSE
	RefuseEmpty      Refusal = "empty"       // EOSE, as if there were nothing
)

// Rate is a limit on requests.
type Rate struct {
	// Requests is how many REQs and COUNTs are answered; 0 means any number.
	Requests int
	// Per is the time after which the count starts again; 0 means never on
	// the same connection.
	Per time.Duration
	// Text is with what further ones are refused; empty means as rate-limited.
	Text string
}

// Writes is how a relay receives events. The zero value takes every valid one,
// and none without authentication where Auth is set.
type Writes struct {
	// Refuse is the text with which all are refused.
	Refuse string
	// Bits is the proof of work that an id must show (NIP-13).
	Bits int
	// Past and Future bound created_at around now; 0 means no bound.
	Past, Future time.Duration
	// Deletes obeys deletions (NIP-09).
	Deletes bool
	// Expires refuses events whose time is over (NIP-40).
	Expires bool
	// Protects refuses protected events (NIP-70).
	Protects bool
}

// Count is how a relay answers COUNT.
type Count string

// The answers to COUNT.
const (
	CountNever       Count = "" // not at all, as relays without NIP-45
	CountNotice      Count = "notice"
	CountClosed      Count = "closed"
	CountExact       Count = "exact"
	CountApproximate Count = "approximate" // a tenth too many, and says so
	CountWrong       Count = "wrong"       // a tenth too many, and does not say so
)

// Info is a NIP-11 answer.
type Info struct {
	Status      int    // 0 means 200
	ContentType string // empty means application/nostr+json
	Location    string // of a redirect
	// Header holds further headers; an empty value takes one away.
	Header map[string]string
	Body   string
}

// Fault is something that goes wrong.
type Fault struct {
	What What
	When When
	N    int           // a number whose meaning What says
	Text string        // of a NOTICE or CLOSED
	Wait time.Duration // of Drip
}

// What goes wrong.
type What string

// Faults of a connection.
const (
	// Refuse resets the TCP connection as soon as it is made. Its occasions
	// are TCP connections; those of the other connection faults are WebSocket
	// handshakes.
	Refuse What = "refuse"
	// Status answers the handshake with HTTP status N.
	Status What = "status"
	// Hang never answers the handshake.
	Hang What = "hang"
	// Silent opens the WebSocket and never says anything.
	Silent What = "silent"
	// Echo opens the WebSocket and sends back what it gets.
	Echo What = "echo"
)

// Faults of an answer to REQ. Those that end the answer do so after N events,
// or at the page's end when it is shorter.
const (
	// Empty says EOSE as if nothing matched. No client can notice.
	Empty What = "empty"
	// Short says EOSE after the page's first N events. No client can notice
	// within a single second.
	Short What = "short"
	// Notice says NOTICE first and then answers as it should.
	Notice What = "notice"
	// NoticeEOSE says NOTICE and then EOSE, as khatru does when its database
	// fails.
	NoticeEOSE What = "notice-eose"
	// NoticeOnly says NOTICE and nothing more.
	NoticeOnly What = "notice-only"
	// Closed ends with CLOSED.
	Closed What = "closed"
	// NoEOSE sends the page and no EOSE.
	NoEOSE What = "no-eose"
	// Stall goes silent on this subscription.
	Stall What = "stall"
	// Reset ends the TCP connection with a reset.
	Reset What = "reset"
	// Leave ends the connection with a close frame.
	Leave What = "leave"
	// BadFrame breaks the WebSocket protocol.
	BadFrame What = "bad-frame"
	// Outside puts N events in that the window excludes.
	Outside What = "outside"
	// Duplicates sends the page's first N events twice.
	Duplicates What = "duplicates"
	// Late sends the page's last N events after EOSE.
	Late What = "late"
	// Stray puts N events in for a subscription that does not exist.
	Stray What = "stray"
	// Garbage puts N messages in that are not Nostr.
	Garbage What = "garbage"
	// Oversize puts a message of N bytes in.
	Oversize What = "oversize"
	// Bomb puts a message of N bytes in that compresses to almost nothing.
	Bomb What = "bomb"
	// Drip lets N bytes through, waits, and so on.
	Drip What = "drip"
)

// ofConnection tells the faults of a connection from those of an answer.
func (w What) ofConnection() bool {
	return w == Refuse || w == Status || w == Hang || w == Silent || w == Echo
}

// mutes tells whether nothing gets through while the fault strikes.
func (f Fault) mutes() bool {
	switch f.What {
	case Empty, NoticeEOSE, NoticeOnly:
		return true
	case Closed, Stall, Reset, Leave, BadFrame, Short:
		return f.N == 0
	}
	return f.What.ofConnection()
}

// When says on which occasions a fault strikes: any of the conditions will do.
// Occasions are counted from 1 over the life of the relay.
type When struct {
	First  int     // on the first so many
	After  int     // on all after so many
	Every  int     // on every so manieth
	Chance float64 // with this probability; the same occasions in every run
}

// Always strikes on every occasion.
var Always = When{Every: 1}

func (w When) always() bool { return w.Every == 1 || w.Chance >= 1 }

func (w When) strikes(seed uint64, occasion int64) bool {
	n := int(occasion)
	if n <= w.First || w.After > 0 && n > w.After || w.Every > 0 && n%w.Every == 0 {
		return true
	}
	if w.Chance <= 0 {
		return false
	}
	h := fnv.New64a()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(occasion))
	h.Write(b[:])
	return float64(mixBits(h.Sum64()))/math.MaxUint64 < w.Chance
}

// mixBits spreads the bits of a hash whose high ones are poor.
func mixBits(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// struck returns the faults that strike on an occasion.
func (be *Behaviour) struck(seed uint64, occasion int64, want func(What) bool) []Fault {
	var out []Fault
	for i, f := range be.Faults {
		if want(f.What) && f.When.strikes(seed+uint64(i), occasion) {
			out = append(out, f)
		}
	}
	return out
}

// mute tells whether no event ever reaches a client, which may authenticate.
func (be *Behaviour) mute(authenticates bool) bool {
	return be.Auth && (!authenticates || be.Admits != AdmitAll) || slices.ContainsFunc(be.Faults, func(f Fault) bool { return f.When.always() && f.mutes() })
}

// shows tells whether an event is ever shown.
func (be *Behaviour) shows(e *Event) bool { return !slices.Contains(be.Restricted, e.Kind) }

// limit is the size of the page for a filter; negative means all.
func (be *Behaviour) limit(f *nostr.Filter) int {
	n := -1
	switch {
	case f.Limit != nil && !be.IgnoreLimit:
		n = *f.Limit
	case f.Limit == nil && be.DefaultLimit > 0:
		n = be.DefaultLimit
	}
	if be.Cap > 0 && (n < 0 || n > be.Cap) {
		n = be.Cap
	}
	if n > 0 {
		n += be.Flood
	}
	return n
}

// refuses returns why a filter is refused, as the text of a CLOSED, or "".
func (be *Behaviour) refuses(f *nostr.Filter, authenticated bool) string {
	switch {
	case be.RefuseOverCap && be.Cap > 0 && f.Limit != nil && *f.Limit > be.Cap:
		return "invalid: limit is too large"
	case be.RefuseZero && f.Limit != nil && *f.Limit == 0:
		return "invalid: a limit of 0"
	case be.Broad == BroadOpen && len(f.IDs)+len(f.Authors)+len(f.Kinds)+len(f.Tags) == 0:
		return "blocked: the filter is too broad"
	case be.Broad == BroadAuthorless && len(f.IDs)+len(f.Authors) == 0:
		return "blocked: name the authors you want"
	case be.MostKinds > 0 && len(f.Kinds) > be.MostKinds:
		return "blocked: too many kinds"
	case be.MostAuthors > 0 && len(f.Authors) > be.MostAuthors:
		return "blocked: too many authors"
	case len(f.Kinds) > 0 && len(be.Restricted) > 0 && !(be.Parties && authenticated) &&
		!slices.ContainsFunc(f.Kinds, func(k nostr.Kind) bool { return !slices.Contains(be.Restricted, k) }):
		return "auth-required: these kinds are private"
	}
	return ""
}

// bounds are a filter's since and until as a relay applies them.
type bounds struct{ lo, hi int64 }

func boundsOf(f *nostr.Filter, be *Behaviour) bounds {
	w := bounds{math.MinInt64, math.MaxInt64}
	if f.Since != nil && !be.IgnoreSince {
		w.lo = *f.Since
	}
	if f.Until != nil && !be.IgnoreUntil {
		w.hi = *f.Until
		if be.ExclusiveUntil {
			w.hi--
		}
	}
	return w
}
