package simnet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
)

// Negentropy is how a relay answers NIP-77. The zero value is a relay that does
// not know it.
type Negentropy struct {
	As Negotiation
	// Newest, above 0, is how many of the newest matching records are
	// reconciled, as if there were no others. No client can notice within the
	// reconciliation.
	Newest int
	// Most, above 0, is how many records may match. TooMany is the wording of the
	// refusal of more.
	Most    int64
	TooMany TooMany
	// Restricted names events that are shown to nobody, as strfry does for
	// filters of time only.
	Restricted bool
	// Phantoms is how many ids are named of events that do not exist.
	Phantoms int
	// Omits leaves every so manieth record out, by id; 0 means none.
	Omits int
	// Frame is the most bytes of a message before hex; 0 means 500,000.
	Frame int
	// Faults go wrong on their occasions, which are the NEG-OPENs and NEG-MSGs
	// that reach the relay: Stall, Reset, Notice and Forget.
	Faults []Fault
}

// Negotiation is the manner of a relay's answers to NIP-77.
type Negotiation string

// The manners.
const (
	NegUnknown  Negotiation = ""         // a NOTICE, as for every unknown message
	NegHonest   Negotiation = "honest"   // as it should be
	NegClosed   Negotiation = "closed"   // CLOSED
	NegSilent   Negotiation = "silent"   // nothing
	NegDisabled Negotiation = "disabled" // NEG-ERR, for good
	NegNoDiff   Negotiation = "no-diff"  // nothing differs, whatever is asked
	NegNothing  Negotiation = "nothing"  // as if it held nothing
	NegEcho     Negotiation = "echo"     // what it was sent
	NegGarbage  Negotiation = "garbage"  // messages that are no negentropy
	NegEndless  Negotiation = "endless"  // the same fingerprint for all, for ever
	NegVersion  Negotiation = "version"  // speaks another version only
)

// TooMany is the wording of a refusal for size.
type TooMany string

// The wordings.
const (
	TooManyStated TooMany = ""      // strfry's, with the number behind it
	TooManyWords  TooMany = "words" // the same without the number
	TooManyOld    TooMany = "old"   // strfry's before NIP-77 had prefixes
	TooManyClosed TooMany = "closed"
)

// Forget is the fault of a relay that has lost the session of a NEG-MSG.
const Forget What = "forget"

// maxNegotiations bounds the open reconciliations of a connection.
const maxNegotiations = 16

// negotiation is an open reconciliation.
type negotiation struct {
	sub       string
	responder *negentropy.Responder
}

// negotiate answers NEG-OPEN, NEG-MSG and NEG-CLOSE.
func (c *conversation) negotiate(ctx context.Context, be *Behaviour, a ask) error {
	if a.Label == nostr.LabelNegClose {
		c.forget(a.Sub)
		return nil
	}
	n := &be.Negentropy
	r := c.relay
	occasion := r.counters.negs.Add(1)
	if a.Label == nostr.LabelNegOpen {
		r.counters.opens.Add(1)
	}
	if err := wait(ctx, be.Latency); err != nil {
		return err
	}
	for i, f := range n.Faults {
		if !f.When.strikes(r.seed+uint64(i), occasion) {
			continue
		}
		switch f.What {
		case Stall:
			return nil
		case Reset:
			c.wire.reset()
			return errBroke
		case Notice:
			if err := c.notice(ctx, f.text("error: something is odd")); err != nil {
				return err
			}
		case Forget:
			c.forget(a.Sub)
		}
	}
	switch n.As {
	case NegUnknown:
		return c.notice(ctx, "error: unknown message")
	case NegClosed:
		return c.closed(ctx, a.Sub, "unsupported: no negentropy here")
	case NegSilent:
		return nil
	case NegDisabled:
		return c.negErr(ctx, a.Sub, "blocked: Negentropy sync is disabled", 0)
	case NegNoDiff:
		return c.negMsg(ctx, a.Sub, []byte{0x61})
	case NegEcho:
		return c.negMsg(ctx, a.Sub, a.Payload)
	case NegGarbage:
		return c.negMsg(ctx, a.Sub, []byte(garbage[int(occasion)%len(garbage)]))
	case NegEndless:
		// All there is, in mode fingerprint, of nothing anybody holds.
		return c.negMsg(ctx, a.Sub, slices.Concat([]byte{0x61, 0, 0, 1}, make([]byte, 16)))
	case NegVersion:
		return c.negMsg(ctx, a.Sub, []byte{0x62})
	}
	if a.Label == nostr.LabelNegOpen {
		refused, err := c.openNegotiation(ctx, be, a)
		if err != nil || refused {
			return err
		}
	}
	i := c.negotiation(a.Sub)
	if i < 0 {
		return c.negErr(ctx, a.Sub, "closed: unknown subscription handle", 0)
	}
	reply, err := c.negotiations[i].responder.Reply(ctx, a.Payload)
	if err != nil {
		c.forget(a.Sub)
		return c.negErr(ctx, a.Sub, "error: "+err.Error(), 0)
	}
	return c.negMsg(ctx, a.Sub, reply)
}

// openNegotiation begins a reconciliation, or refuses to.
func (c *conversation) openNegotiation(ctx context.Context, be *Behaviour, a ask) (refused bool, err error) {
	n := &be.Negentropy
	c.forget(a.Sub)
	if why := c.refusal(be, a.Filters); why != "" {
		c.relay.counters.refused.Add(1)
		return true, c.negErr(ctx, a.Sub, why, 0)
	}
	if len(c.negotiations) == maxNegotiations {
		return true, c.negErr(ctx, a.Sub, "blocked: too many concurrent NEG requests", 0)
	}
	refs := c.relay.named(be, &a.Filters[0])
	if n.Most > 0 && int64(len(refs)) > n.Most {
		const words = "blocked: too many query results"
		switch n.TooMany {
		case TooManyWords:
			return true, c.negErr(ctx, a.Sub, words, 0)
		case TooManyOld:
			return true, c.negErr(ctx, a.Sub, "RESULTS_TOO_BIG", n.Most)
		case TooManyClosed:
			return true, c.closed(ctx, a.Sub, words)
		}
		return true, c.negErr(ctx, a.Sub, words, n.Most)
	}
	frame := n.Frame
	if frame == 0 {
		frame = 500_000
	}
	responder, err := negentropy.NewResponder(negentropy.NewVector(refs), negentropy.Limits{Frame: frame})
	if err != nil {
		return false, fmt.Errorf("open negotiation: %w", err)
	}
	c.negotiations = append(c.negotiations, negotiation{a.Sub, responder})
	return false, nil
}

// named are the records that a relay reconciles of a filter.
func (r *Relay) named(be *Behaviour, f *nostr.Filter) []nostr.Ref {
	n := &be.Negentropy
	if n.As == NegNothing {
		return nil
	}
	keep := be.shows
	if n.Restricted {
		keep = nil
	}
	w := boundsOf(f, &Behaviour{})
	rows := r.book.pick(f, w, -1, NewestFirst, keep)
	var refs []nostr.Ref
	for _, e := range rows {
		if n.Omits > 0 && int(e.ID[30])%n.Omits == 0 {
			continue
		}
		refs = append(refs, nostr.Ref{ID: e.ID, CreatedAt: e.CreatedAt})
	}
	if n.Newest > 0 && len(refs) > n.Newest {
		refs = refs[:n.Newest]
	}
	for _, p := range r.phantoms(n.Phantoms) {
		if w.lo <= p.CreatedAt && p.CreatedAt <= w.hi {
			refs = append(refs, p)
		}
	}
	return refs
}

// phantoms are records that nobody holds, spread over the time of those that
// the relay does.
func (r *Relay) phantoms(n int) []nostr.Ref {
	if n == 0 {
		return nil
	}
	all := r.book.pick(&nostr.Filter{}, boundsOf(&nostr.Filter{}, &Behaviour{}), -1, NewestFirst, nil)
	if len(all) == 0 {
		return nil
	}
	refs := make([]nostr.Ref, n)
	for i := range refs {
		text := binary.LittleEndian.AppendUint64([]byte(r.url.String()), uint64(i))
		refs[i] = nostr.Ref{ID: sha256.Sum256(text), CreatedAt: all[i*len(all)/n].CreatedAt}
	}
	return refs
}

func (c *conversation) negotiation(sub string) int {
	return slices.IndexFunc(c.negotiations, func(n negotiation) bool { return n.sub == sub })
}

func (c *conversation) forget(sub string) {
	if i := c.negotiation(sub); i >= 0 {
		c.negotiations = slices.Delete(c.negotiations, i, i+1)
	}
}

func (c *conversation) negMsg(ctx context.Context, sub string, payload []byte) error {
	c.out = nostr.AppendNegMsg(c.out[:0], sub, payload)
	return c.write(ctx, c.out)
}

func (c *conversation) negErr(ctx context.Context, sub, reason string, limit int64) error {
	c.out = nostr.AppendNegErr(c.out[:0], sub, reason, limit)
	return c.write(ctx, c.out)
}
