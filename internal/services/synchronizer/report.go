package synchronizer

import (
	"context"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// Report says what a visit of one relay brought and what is proved of that
// relay now.
type Report struct {
	URL            string `json:"url"`
	Requests       int64  `json:"requests"`
	EventsReceived int64  `json:"events_received"`
	BytesReceived  int64  `json:"bytes_received"`
	BytesSent      int64  `json:"bytes_sent"` // in reconciliations (NIP-77)
	New            int64  `json:"new"`        // archived for the first time
	Known          int64  `json:"known"`      // archived before, from any source
	// Claimed are events that the relay has named (NIP-77), archived from
	// elsewhere, so that it need not send them; Withheld are those that it has
	// named and does not send, and Gone those that it had and has no longer.
	Claimed  int64 `json:"claimed"`
	Withheld int64 `json:"withheld"`
	Gone     int64 `json:"gone"`
	// Negentropy says why the relay is not reconciled, in one word; empty where
	// nothing speaks against it.
	Negentropy string `json:"negentropy"`
	// Auth says how the relay has answered to authentication (NIP-42); empty when
	// it did not ask for any.
	Auth store.AuthResult `json:"auth"`
	// Authors are those that a relay was asked for which takes no filter without
	// authors: Coverage is empty then, since nothing is claimed but for lists.
	Authors  int       `json:"authors"`
	Coverage []Covered `json:"coverage"`
	Holes    []Missing `json:"holes"`
	// Cause says why the visit ended early; empty when it did not.
	Cause dial.Cause `json:"cause"`
	Tail  TailReport `json:"tail"`
}

// Cost is what the visit has cost and brought.
func (r *Report) Cost() store.Cost {
	return store.Cost{Requests: r.Requests, Bytes: r.BytesReceived, Received: r.EventsReceived, New: r.New, Known: r.Known}
}

// TailReport says what is known of a relay by what arrives there. Times are Unix
// seconds.
type TailReport struct {
	Stands bool  `json:"stands"`
	Since  int64 `json:"since"` // 0 when it does not stand
	// Lag is how many seconds ago the last arrival came of which all before are
	// archived.
	Lag int64 `json:"lag"`
	// Proved is when the relay's answers last agreed with what came; 0: never.
	Proved int64        `json:"proved"`
	Cause  dial.Cause   `json:"cause"` // why the last one ended
	Gaps   []ArrivalGap `json:"gaps"`
	// Missed are shares of events that claims, and tails, had left out.
	Missed MissRates `json:"missed"`
}

// ArrivalGap is a time in which arrivals may have been missed that are dated
// below Below. Until is 0 while no tail stands again, Below the largest int64
// while nothing of it has been read again.
type ArrivalGap struct {
	From  int64      `json:"from"`
	Until int64      `json:"until"`
	Below int64      `json:"below"`
	Cause dial.Cause `json:"cause"`
}

// MissRates are what samples say.
type MissRates struct {
	Old  MissRate `json:"old"`  // of stretches claimed long ago by walking
	Tail MissRate `json:"tail"` // of what arrived while a tail stood
}

// MissRate is the share of events that were missed, and the bounds between which
// the true share lies with 95 % confidence.
type MissRate struct {
	Samples int64   `json:"samples"`
	Seen    int64   `json:"seen"`
	Missed  int64   `json:"missed"`
	Rate    float64 `json:"rate"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
}

// Tailed reports on a tail.
func Tailed(ctx context.Context, st interface {
	store.Tails
	store.Samples
}, t store.Tail, now time.Time,
) (TailReport, error) {
	r := TailReport{Stands: t.Stands(now.Unix()), Proved: t.Proved, Cause: t.Cause, Gaps: []ArrivalGap{}}
	if r.Stands {
		r.Since, r.Lag = t.Since, max(0, now.Unix()-t.Heard)
	}
	gaps, err := st.ArrivalGaps(ctx, t.Relay)
	if err != nil {
		return r, err
	}
	for _, g := range gaps {
		r.Gaps = append(r.Gaps, ArrivalGap{g.From, g.Until, g.Below, g.Cause})
	}
	if r.Missed.Old, err = missRate(ctx, st, t.Relay, store.SampleOld); err != nil {
		return r, err
	}
	r.Missed.Tail, err = missRate(ctx, st, t.Relay, store.SampleTail)
	return r, err
}

func missRate(ctx context.Context, st store.Samples, relay store.RelayID, kind store.SampleKind) (MissRate, error) {
	s, err := st.SampleTotal(ctx, relay, kind)
	if err != nil {
		return MissRate{}, err
	}
	rate, low, high := s.Rate()
	return MissRate{Samples: s.Samples, Seen: s.Seen, Missed: s.Missed, Rate: rate, Low: low, High: high}, nil
}

// Covered is a stretch of created_at that is proved to be held.
type Covered struct {
	// Filter is what it is proved of; empty where that is everything.
	Filter string      `json:"filter,omitempty"`
	Lo     int64       `json:"lo"`
	Hi     int64       `json:"hi"`
	Level  store.Level `json:"level"`
	AsOf   int64       `json:"as_of"`
}

// Missing is a place of which something is known to be missing. Kind is -1 when
// it is not about one kind, Count when the number is not known.
type Missing struct {
	Lo     int64            `json:"lo"`
	Hi     int64            `json:"hi"`
	Kind   nostr.Kind       `json:"kind"`
	Reason store.HoleReason `json:"reason"`
	Count  int64            `json:"count"`
}

// Progress is where a visit stands, after each answer.
type Progress struct {
	Window   store.Interval // what was asked last
	Oldest   int64          // how far down the walk has come; 0 at the bottom
	Requests int64
	Events   int64
	New      int64
	Known    int64
	Bytes    int64
}
