package synchronizer

import (
	"context"
	"errors"
	"slices"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/nostr/session"
)

// negModel is how a relay of the model answers NIP-77.
type negModel struct {
	speaks   bool
	newest   int   // reconciles only the newest so many, if above 0
	most     int64 // refuses more, if above 0
	hidden   bool  // names private events, too
	phantoms int   // ids without an event
	frame    int
	equal    bool // calls everything equal
	nothing  bool // names nothing
}

func drawNeg(t *rapid.T) negModel {
	flag := func(name string, percent int) bool { return rapid.IntRange(0, 99).Draw(t, name) < percent }
	n := negModel{speaks: true, frame: rapid.SampledFrom([]int{300, 2000, 500_000}).Draw(t, "frame")}
	if flag("reconciles a part", 20) {
		n.newest = rapid.SampledFrom([]int{1, 5, 40, 100}).Draw(t, "newest")
	}
	if flag("refuses many", 20) {
		n.most = rapid.SampledFrom([]int64{10, 50, 200}).Draw(t, "most")
	}
	n.hidden = flag("names private events", 50)
	if flag("names phantoms", 20) {
		n.phantoms = rapid.IntRange(1, 20).Draw(t, "phantoms")
	}
	n.equal = flag("calls all equal", 10)
	n.nothing = flag("names nothing", 10)
	return n
}

func (m *model) Reconcile(ctx context.Context, f nostr.Filter, first []byte, step func([]byte) ([]byte, error)) (session.Reconciliation, error) {
	if m.closed {
		return session.Reconciliation{}, errGone
	}
	m.sent++
	out := session.Reconciliation{SentAt: m.now(), End: session.Terminal{Kind: session.Reconciled}}
	end := func(t session.Terminal) (session.Reconciliation, error) {
		out.End = t
		return out, nil
	}
	if !m.neg.speaks {
		return end(session.Terminal{Kind: session.Notice})
	}
	var refs []nostr.Ref
	for i := range m.facts {
		e := &m.facts[i]
		inside := (f.Since == nil || *f.Since <= e.event.CreatedAt) && (f.Until == nil || e.event.CreatedAt <= *f.Until)
		if inside && (m.neg.hidden || m.visible(e)) {
			refs = append(refs, nostr.Ref{ID: e.event.ID, CreatedAt: e.event.CreatedAt})
		}
	}
	slices.SortFunc(refs, compareRefs)
	if n := m.neg.newest; n > 0 && len(refs) > n {
		refs = refs[len(refs)-n:]
	}
	if len(refs) > 0 {
		for i := range m.neg.phantoms {
			refs = append(refs, nostr.Ref{ID: nostr.ID{1, byte(i)}, CreatedAt: refs[i*7%len(refs)].CreatedAt})
		}
	}
	if m.neg.most > 0 && int64(len(refs)) > m.neg.most {
		return end(session.Terminal{Kind: session.NegRefused, Prefix: "blocked", Message: "blocked: too many query results", Limit: m.neg.most * int64(m.rng.IntN(2))})
	}
	if m.neg.nothing {
		refs = nil
	}
	r, err := negentropy.NewResponder(negentropy.NewVector(refs), negentropy.Limits{Frame: m.neg.frame})
	if err != nil {
		return out, err
	}
	for msg := first; msg != nil; {
		if m.rng.Float64() < m.faults {
			switch m.rng.IntN(4) {
			case 0:
				m.closed = true
				return end(session.Terminal{Kind: session.Disconnect})
			case 1:
				return end(session.Terminal{Kind: session.Idle})
			case 2:
				return end(session.Terminal{Kind: session.NegRefused, Message: "CLOSED"})
			default:
				return end(session.Terminal{Kind: session.Notice})
			}
		}
		reply, err := r.Reply(ctx, msg)
		if err != nil {
			return end(session.Terminal{Kind: session.NegRefused, Prefix: "error"})
		}
		if m.neg.equal {
			reply = []byte{0x61}
		}
		out.Rounds++
		out.Bytes += int64(2 * len(reply))
		if msg, err = step(reply); errors.Is(err, session.ErrStop) {
			return end(session.Terminal{Kind: session.Stopped})
		} else if err != nil {
			return out, err
		}
	}
	return out, nil
}
