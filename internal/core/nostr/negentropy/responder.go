package negentropy

import (
	"context"

	"bigbrotr/internal/core/nostr"
)

// maxTail is the room that the end of a cut message needs: a skip over what was
// equal and a fingerprint of all that is left.
const maxTail = maxSkip + 1 + 1 + 1 + len(Fingerprint{})

// Responder answers the messages of a peer that initiates. It is not safe for
// concurrent use.
type Responder struct {
	items  Items
	limits Limits
	rounds int
}

// NewResponder answers with items. The error is one of the limits.
func NewResponder(items Items, limits Limits) (*Responder, error) {
	limits, err := limits.orDefault()
	if err != nil {
		return nil, err
	}
	return &Responder{items: items, limits: limits}, nil
}

// Reply answers one message. Where a message finds no room for all that would
// have to be said, its last range is a fingerprint of the whole rest, which the
// peer asks for again. After an error, an *Error if the message is at fault, the
// reconciliation is over.
func (r *Responder) Reply(ctx context.Context, msg []byte) ([]byte, error) {
	if r.rounds++; r.rounds > r.limits.Rounds {
		return nil, &Error{Cause: CauseRounds}
	}
	d, known, err := newDecoder(msg, r.limits.Message)
	if err != nil {
		return nil, err
	}
	e := newEncoder()
	for known {
		b, ok, err := d.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		end := b.hi // of what is answered
		switch {
		case b.lo == b.hi:
		case b.mode == modeFingerprint:
			end, err = r.compare(ctx, e, &b)
		case b.mode == modeList:
			end, err = r.list(ctx, e, b.lo, b.hi)
		}
		if err != nil {
			return nil, err
		}
		if end == b.hi {
			continue
		}
		rest, err := r.items.Sum(ctx, end, Infinity)
		if err != nil {
			return nil, err
		}
		e.fingerprint(end, Infinity, rest.Fingerprint())
		break
	}
	return e.buf, nil
}

// room returns how many bytes a range may have that is written next.
func (r *Responder) room(e *encoder) int {
	return r.limits.Frame - len(e.buf) - maxSkip - maxTail
}

// compare answers a fingerprint and returns the bound up to which there was room.
func (r *Responder) compare(ctx context.Context, e *encoder, b *block) (Bound, error) {
	a, err := r.items.Sum(ctx, b.lo, b.hi)
	if err != nil {
		return b.lo, err
	}
	if a.Fingerprint() == b.fingerprint {
		return b.hi, nil
	}
	if a.Count < listBelow {
		return r.list(ctx, e, b.lo, b.hi)
	}
	cuts, err := r.items.Cut(ctx, b.lo, b.hi, fanout)
	if err != nil {
		return b.lo, err
	}
	if len(cuts) == 0 {
		return r.list(ctx, e, b.lo, b.hi)
	}
	lo := b.lo
	for _, hi := range append(cuts, b.hi) {
		if r.room(e) < maxFingerprint {
			return lo, nil
		}
		part, err := r.items.Sum(ctx, lo, hi)
		if err != nil {
			return lo, err
		}
		e.fingerprint(lo, hi, part.Fingerprint())
		lo = hi
	}
	return b.hi, nil
}

// list names all our ids of a range and returns the bound up to which there was
// room. Which ids the peer named makes no difference.
func (r *Responder) list(ctx context.Context, e *encoder, lo, hi Bound) (Bound, error) {
	most := (r.room(e) - maxListHead) / len(nostr.ID{})
	if most < 1 {
		return lo, nil
	}
	var ids []byte
	var last nostr.Ref
	for item, err := range r.items.Scan(ctx, lo, hi) {
		if err != nil {
			return lo, err
		}
		if len(ids)/len(item.ID) == most {
			hi = Between(last, item)
			break
		}
		ids = append(ids, item.ID[:]...)
		last = item
	}
	e.list(lo, hi, ids)
	return hi, nil
}
