package probe

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

const (
	// kindProbe is ephemeral: relays hand such events on and keep none.
	kindProbe nostr.Kind = 22456
	// The most work that a relay gets for an event, by NIP-13.
	maxBits  = 24
	workTime = 5 * time.Second
)

// write succeeds when the relay says OK to an ephemeral event. Nothing is read
// back: relays do not keep those. A relay that wants to know who writes is told;
// one that wants work gets it up to a bound.
func write(ctx context.Context, t *Target) (Result, bool) {
	if t.Key == nil || t.session == nil {
		return Result{}, false
	}
	difficulty := 0
	if t.document != nil && t.document.Limitation.MinPoWDifficulty != nil {
		if wanted := *t.document.Limitation.MinPoWDifficulty; wanted > maxBits {
			return Result{Cause: dial.CauseWritePoW, Detail: "wants " + strconv.FormatInt(wanted, 10) + " bits, not tried"}, true
		}
		difficulty = int(*t.document.Limitation.MinPoWDifficulty)
	}
	e := nostr.Event{CreatedAt: time.Now().Unix(), Kind: kindProbe, Content: "check of " + t.URL.String()}
	if !t.Work.mine(ctx, &e, t.Key.PubKey(), difficulty) {
		return Result{Cause: dial.CauseWritePoW, Detail: strconv.Itoa(difficulty) + " bits were not found in time"}, true
	}
	values := map[string]float64{"pow_bits": float64(difficulty)}
	begin := time.Now()
	ok, err := t.publish(ctx, &e)
	if err == nil && ok.Prefix == nostr.PrefixAuthRequired && t.session.Challenge() != "" {
		if who, authErr := t.session.Auth(ctx, t.Key); authErr == nil && who.Accepted {
			values["authenticated"], t.authenticated = 1, true
			begin = time.Now()
			ok, err = t.session.Publish(ctx, &e)
		}
	}
	if err != nil {
		return Result{Cause: dial.CauseReadTimeout}, true
	}
	r := Result{OK: received(ok), Detail: ok.Message}
	if !r.OK {
		r.Cause = t.refused(ok)
		return r, true
	}
	t.writable = true
	values["ok_ms"] = milliseconds(time.Since(begin))
	r.Values = values
	return r, true
}

// received tells whether an event was taken. Mute is what a relay says that has
// nobody to hand an ephemeral event on to (NIP-01): it refuses nothing.
func received(ok session.OK) bool { return ok.Accepted || ok.Prefix == nostr.PrefixMute }

// publish signs and sends an event.
func (t *Target) publish(ctx context.Context, e *nostr.Event) (session.OK, error) {
	if err := t.Key.Sign(e); err != nil {
		return session.OK{}, err
	}
	return t.session.Publish(ctx, e)
}

// refused says why an event was refused: by the machine-readable prefix, and
// where that leaves open who may write, by what the relay claims of payment.
func (t *Target) refused(ok session.OK) dial.Cause {
	if ok.End.Kind != session.Unended {
		return ok.End.Cause()
	}
	switch ok.Prefix {
	case nostr.PrefixAuthRequired:
		return dial.CauseWriteAuth
	case nostr.PrefixPoW:
		return dial.CauseWritePoW
	case nostr.PrefixRateLimited:
		return dial.CauseRateLimited
	case nostr.PrefixRestricted, nostr.PrefixBlocked, "":
		if t.asksMoney() || speaksOfMoney(ok.Message) {
			return dial.CauseWritePaid
		}
	}
	return dial.CauseWriteBlocked
}

// asksMoney tells whether the document claims that writing has a price.
func (t *Target) asksMoney() bool {
	if t.document == nil {
		return false
	}
	paid := t.document.Limitation.PaymentRequired
	return paid != nil && *paid || len(t.document.Fees.Admission)+len(t.document.Fees.Subscription) > 0
}

// speaksOfMoney reads a refusal's words, for relays that claim nothing.
func speaksOfMoney(text string) bool {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r < 'a' || r > 'z' })
	return slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains([]string{"pay", "paid", "payment", "invoice", "sats", "subscription", "admission"}, w)
	})
}

// Work is proof of work, one at a time: it takes a whole core.
type Work struct{ turn chan struct{} }

// NewWork returns a place to work at.
func NewWork() *Work { return &Work{turn: make(chan struct{}, 1)} }

// mine gives the event a nonce by which its id begins with so many zero bits
// (NIP-13), and reports whether it was found in time.
func (w *Work) mine(ctx context.Context, e *nostr.Event, by nostr.PubKey, difficulty int) bool {
	if difficulty <= 0 {
		return true
	}
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	// The nonce is written into the bytes that are hashed, in place.
	const digits = 16
	mark := strings.Repeat("0", digits)
	e.PubKey = by
	e.Tags = append(e.Tags, nostr.Tag{"nonce", mark, strconv.Itoa(difficulty)})
	text := e.AppendCanonical(nil)
	at := strings.LastIndex(string(text), `"nonce","`+mark) + len(`"nonce","`)
	const round = 1 << 14
	for n := uint64(1); ctx.Err() == nil; {
		for range round {
			for i, rest := at+digits-1, n; i >= at; i, rest = i-1, rest/10 {
				text[i] = '0' + byte(rest%10)
			}
			if sum := sha256.Sum256(text); leadingZeros(sum[:]) >= difficulty {
				e.Tags[len(e.Tags)-1][1] = string(text[at : at+digits])
				return true
			}
			n++
		}
	}
	return false
}

func leadingZeros(sum []byte) int {
	n := 0
	for _, b := range sum {
		n += bits.LeadingZeros8(b)
		if b != 0 {
			break
		}
	}
	return n
}

// random is text that nobody has written before.
func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	return hex.EncodeToString(b[:])
}
