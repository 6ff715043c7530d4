package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"bigbrotr/internal/core/nostr"
)

// Bounds of one reconciliation. What a relay lists of a window of 100,000 ids
// comes in seven messages and 6.4 MB.
const (
	maxTurns     = 2048
	maxTurnBytes = 256 << 20

	// maxRepeats is how often a message is said again that the relay says it
	// has no session for, after pauses that double from firstRepeat on.
	maxRepeats  = 6
	firstRepeat = 5 * time.Millisecond
)

// turns are the messages of a reconciliation that came.
type turns struct {
	theirs  chan turn // holds the relay's last message until it is taken
	due     bool      // one is waited for
	read    int
	bytes   int64
	repeats int
}

// turn is what the relay said to our last message.
type turn struct {
	payload []byte
	again   bool // it has no session: say it again
}

// Reconciliation is what came of one NEG-OPEN.
type Reconciliation struct {
	End Terminal
	// SentAt is when the NEG-OPEN was sent, by our clock. What it proves holds
	// for the time before.
	SentAt time.Time
	Rounds int   // messages read
	Bytes  int64 // of the messages read, as hex in their envelopes
	Sent   int64 // of ours
	// Notices came meanwhile, and Malformed and Oversize messages were skipped.
	Notices, Malformed, Oversize int
	Duration                     time.Duration
}

// Reconcile opens a reconciliation of a filter (NIP-77) with our first message,
// and hands each message of the relay to step, which returns ours that follows,
// or nil when there is nothing left to say. step may use the session; its time
// does not count against the relay.
//
// The error is nil whatever the relay does. It is the context's when that ended
// first, ErrClosed after Close, or what step returned other than ErrStop.
func (s *Session) Reconcile(ctx context.Context, f nostr.Filter, first []byte, step func(payload []byte) ([]byte, error)) (Reconciliation, error) {
	r := &request{turns: &turns{theirs: make(chan turn, 1)}}
	if err := s.register(ctx, r); err != nil {
		return Reconciliation{}, err
	}
	sent, err := s.takeTurns(ctx, r, first, step, func(dst []byte) []byte {
		return nostr.AppendNegOpen(dst, r.sub, &f, first)
	})
	s.conclude(r)
	if k := r.page.End.Kind; k != NegRefused && k != Closed && k != Notice && !r.page.End.Lost() {
		// A relay that does not know NIP-77 would only complain once more.
		s.send(ctx, func(dst []byte) []byte { return nostr.AppendNegClose(dst, r.sub) })
	}
	return Reconciliation{
		End: r.page.End, SentAt: r.page.SentAt,
		Rounds: r.turns.read, Bytes: r.page.Bytes, Sent: sent,
		Notices: r.page.Notices, Malformed: r.page.Malformed, Oversize: r.page.Oversize,
		Duration: r.page.Duration,
	}, err
}

// takeTurns speaks and listens until the request is over. It returns how many
// bytes were sent.
func (s *Session) takeTurns(ctx context.Context, r *request, last []byte, step func([]byte) ([]byte, error), message func([]byte) []byte) (int64, error) {
	next := func(dst []byte) []byte { return nostr.AppendNegMsg(dst, r.sub, last) }
	var sent int64
	for {
		r.mu.Lock()
		r.turns.due, r.asked = true, s.clock.now()
		r.mu.Unlock()
		s.send(ctx, func(dst []byte) []byte {
			dst = message(dst)
			sent += int64(len(dst))
			return dst
		})
		t, err := s.await(ctx, r)
		if err != nil {
			return sent, err
		}
		if t == nil {
			select { // it said something before it ended
			case said := <-r.turns.theirs:
				t = &said
			default:
				return sent, nil
			}
		}
		message = next
		if t.again {
			if err := s.pause(ctx, r); err != nil {
				return sent, err
			}
			continue
		}
		begin := s.clock.now()
		last, err = step(t.payload)
		r.mu.Lock()
		r.own += s.clock.now() - begin
		if err != nil || last == nil {
			kind := Reconciled
			if err != nil {
				kind = Stopped
			}
			s.settle(r, Terminal{Kind: kind})
		}
		over := r.over
		r.mu.Unlock()
		switch {
		case errors.Is(err, ErrStop):
			return sent, nil
		case err != nil || over:
			return sent, err
		}
	}
}

// settle ends a reconciliation as we see it: what the relay said after its last
// message does not change what that settled. The caller holds r.mu.
func (s *Session) settle(r *request, t Terminal) {
	if r.over {
		r.page.End = t
		return
	}
	s.finish(r, t)
}

// pause waits before a message is said again.
func (s *Session) pause(ctx context.Context, r *request) error {
	r.mu.Lock()
	wait := firstRepeat << r.turns.repeats
	r.turns.repeats++
	r.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.done:
	case <-s.gone:
	case <-ctx.Done():
	}
	return nil // await finds out what it was
}

// disbelief is how long a NOTICE that follows a NEG-OPEN may turn out to mean
// something else: relays that do not know NIP-77 say so in this way only, at
// about the speed of their handshake.
func (s *Session) disbelief() time.Duration {
	const least = 200 * time.Millisecond
	return max(least, 4*s.opening.WebSocket)
}

// answeredBy tells whether a message may answer the request.
func (r *request) answeredBy(m *nostr.Message) bool {
	switch m.Label {
	case nostr.LabelNegMsg:
		return r.turns != nil && r.turns.due
	case nostr.LabelNegErr:
		return r.turns != nil
	case nostr.LabelEvent, nostr.LabelEOSE, nostr.LabelCount:
		return r.turns == nil
	}
	return true
}

// negMsg takes the relay's turn. The caller holds q.mu.
func (s *Session) negMsg(q *request, payload []byte, size int) {
	t := q.turns
	t.due, t.repeats = false, 0
	t.read++
	t.bytes += int64(size)
	if t.read > maxTurns || t.bytes > maxTurnBytes {
		s.finish(q, Terminal{Kind: Endless})
		return
	}
	t.theirs <- turn{payload: payload}
}

// negErr ends the reconciliation, unless the relay is only not ready yet: khatru
// answers a NEG-OPEN before it keeps the session that the next message needs.
// The caller holds q.mu.
func (s *Session) negErr(q *request, m *nostr.Message) {
	end := spoken(NegRefused, m.Text)
	end.Limit = m.Limit
	if t := q.turns; t.due && t.read > 0 && t.repeats < maxRepeats && end.Forgotten() {
		t.due = false
		t.theirs <- turn{again: true}
		return
	}
	s.finish(q, end)
}

// Forgotten reports whether the relay says by its NEG-ERR that it has no such
// session, in the words of NIP-77 or of khatru.
func (t Terminal) Forgotten() bool {
	return t.Kind == NegRefused && (t.Prefix == "closed" || strings.EqualFold(t.Message, "closed"))
}

// tooMany are the words in which relays say that a filter has more records than
// they reconcile at once. Neither NIP-77 nor the relays have a sign for programs:
// "blocked", the prefix, also stands before refusals for good.
var tooMany = []string{"too many", "too big", "too large", "results_too_big", "max_sync"}

// TooMany reports whether a NEG-ERR asks for a narrower filter: it states how
// many records are taken, or says in words that these are too many.
func (t Terminal) TooMany() bool {
	if t.Kind != NegRefused || t.Prefix == nostr.PrefixRateLimited {
		return false
	}
	text := strings.ToLower(t.Message)
	return t.Limit > 0 || slices.ContainsFunc(tooMany, func(words string) bool { return strings.Contains(text, words) })
}
