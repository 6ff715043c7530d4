// Package archive owns the way of events into the archive and out of it: the
// one pipeline that turns raw bytes into a batch that a store may save. It
// leaves the asking to the services, the form of events to package nostr, and
// the keeping to the store.
package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// The reasons for which an event is rejected, besides the words of
// nostr.Reason, which say why the bytes are no event at all.
const (
	ReasonHash      = "hash"      // the id is not the hash of the event
	ReasonSignature = "signature" // the signature does not verify
)

// Knower tells which events are archived already; every store.Archive does.
type Knower interface {
	Known(ctx context.Context, refs []nostr.Ref) ([]store.Seq, error)
}

// Verdict is what Intake found about one input.
type Verdict uint8

// The verdicts.
const (
	New       Verdict = iota + 1 // valid, not archived yet
	Known                        // valid, archived before
	Duplicate                    // the same event stands earlier in the slice
	Stray                        // valid, and not what was asked for
	Refused                      // an event in form, with a wrong id or signature
	Unread                       // not an event at all
)

// Finding says what one input is. Of an Unread one nothing else is set.
type Finding struct {
	nostr.Ref
	Kind    nostr.Kind
	PubKey  nostr.PubKey
	Verdict Verdict
}

// Sorted is a slice of raw events, sorted by what is to be done with them.
type Sorted struct {
	New      []nostr.Event // in the order of the input
	Known    []store.Seen
	Rejected []store.Rejected
	Findings []Finding // one for each input, in its order
}

// Intake sorts raw events by whether they are new, known or wrong. All of its
// users share one set of processors, so that twenty relays at once cost no more
// memory than two. It is safe for concurrent use.
type Intake struct {
	store Knower
	slots chan struct{} // one for each processor
	sums  *metrics
}

// NewIntake returns an intake in front of a store. Metrics are registered with
// reg, which may be nil.
func NewIntake(st Knower, reg prometheus.Registerer) *Intake {
	return &Intake{
		store: st,
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		sums:  newMetrics(reg),
	}
}

// item is an input on its way.
type item struct {
	raw     []byte
	finding Finding
	seq     store.Seq
	event   nostr.Event
	reason  string
}

// Sort judges raw events. Their ids are scanned first; events that the archive
// holds are parsed and hashed, so that nothing is taken for a sighting that is
// not the event, and never verified: a duplicate does not cost a signature
// check. The others are verified too, on all processors. An event that comes
// twice counts once.
//
// keep, which may be nil, tells which valid events were asked for; it is called
// by several goroutines. The raw bytes are not kept. The error is the store's
// or the context's: bad bytes are a result.
func (in *Intake) Sort(ctx context.Context, raws [][]byte, keep func(*nostr.Event) bool) (Sorted, error) {
	items := make([]item, len(raws))
	refs := make([]nostr.Ref, 0, len(raws))
	work := make([]*item, 0, len(raws))
	first := make(map[nostr.ID]int, len(raws))
	for i, raw := range raws {
		it := &items[i]
		it.raw = raw
		it.scan()
		if it.finding.Verdict == Unread {
			continue
		}
		// Two inputs may share an id and differ, a forgery and the event. Both are
		// judged then, so that the forgery cannot stand in the event's way.
		if j, ok := first[it.finding.ID]; ok && bytes.Equal(items[j].raw, raw) {
			it.finding.Verdict = Duplicate
			it.finding.Kind, it.finding.PubKey = items[j].finding.Kind, items[j].finding.PubKey
			continue
		} else if !ok {
			first[it.finding.ID] = i
		}
		work = append(work, it)
		refs = append(refs, it.finding.Ref)
	}
	if len(refs) > 0 {
		seqs, err := in.store.Known(ctx, refs)
		if err != nil {
			return Sorted{}, fmt.Errorf("look up %d events: %w", len(refs), err)
		}
		for i, seq := range seqs {
			work[i].seq = seq
		}
	}
	if err := in.judge(ctx, work, keep); err != nil {
		return Sorted{}, err
	}
	out := gather(items, first)
	in.sums.count(out)
	return out, nil
}

// scan reads id and time. A text that is too unusual for the scan is parsed
// here, which is rare.
func (it *item) scan() {
	if ref, ok := nostr.ScanEvent(it.raw); ok {
		it.finding.Ref = ref
		return
	}
	e, err := nostr.ParseEvent(it.raw)
	if err != nil {
		it.unread(err)
		return
	}
	it.finding.Ref = e.Ref()
}

func (it *item) unread(err error) {
	it.reason = string(nostr.ReasonSyntax)
	if e, ok := errors.AsType[*nostr.ParseError](err); ok {
		it.reason = string(e.Reason)
	}
	it.finding = Finding{Verdict: Unread}
}

// stride is the number of items a worker takes at once: enough that counting
// costs nothing beside 100 µs for a signature, few enough to share the end.
const stride = 8

// judge runs the items through all processors and returns when all are done.
func (in *Intake) judge(ctx context.Context, work []*item, keep func(*nostr.Event) bool) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(cap(in.slots), (len(work)+stride-1)/stride) {
		workers.Go(func() {
			select {
			case in.slots <- struct{}{}:
				defer func() { <-in.slots }()
			case <-ctx.Done():
				return
			}
			for ctx.Err() == nil {
				end := int(next.Add(stride))
				if end-stride >= len(work) {
					return
				}
				for _, it := range work[end-stride : min(end, len(work))] {
					it.judge(keep)
				}
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

func (it *item) judge(keep func(*nostr.Event) bool) {
	e, err := nostr.ParseChecked(it.raw)
	if err != nil && !errors.Is(err, nostr.ErrID) {
		it.unread(err)
		return
	}
	it.finding.Kind, it.finding.PubKey = e.Kind, e.PubKey
	if err != nil {
		it.reason, it.finding.Verdict = ReasonHash, Refused
		return
	}
	if it.seq == 0 && e.Verify() != nil {
		it.reason, it.finding.Verdict = ReasonSignature, Refused
		return
	}
	switch {
	case keep != nil && !keep(&e):
		it.finding.Verdict = Stray
	case it.seq != 0:
		it.finding.Verdict = Known
	default:
		it.finding.Verdict = New
		it.event = e
	}
}

// gather brings the verdicts together in the order of the input.
func gather(items []item, first map[nostr.ID]int) Sorted {
	out := Sorted{Findings: make([]Finding, len(items))}
	taken := make(map[nostr.ID]bool)
	for i := range items {
		it := &items[i]
		f := &it.finding
		switch f.Verdict {
		case New, Known:
			// An id is hashed by now, so equal ids are equal events, unless the
			// signatures differ; either is good.
			if len(first) < len(items) && taken[f.ID] {
				f.Verdict = Duplicate
				break
			}
			if len(first) < len(items) {
				taken[f.ID] = true
			}
			if f.Verdict == New {
				out.New = append(out.New, it.event)
			} else {
				out.Known = append(out.Known, store.Seen{Seq: it.seq, CreatedAt: f.CreatedAt})
			}
		case Refused, Unread:
			raw := bytes.Clone(it.raw[:min(len(it.raw), store.MaxRejected)])
			out.Rejected = append(out.Rejected, store.Rejected{Reason: it.reason, Raw: raw})
		}
		out.Findings[i] = *f
	}
	return out
}

// metrics counts what went through.
type metrics struct {
	events   *prometheus.CounterVec
	rejected *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bigbrotr_intake_events_total",
			Help: "Raw events sorted, by what they were.",
		}, []string{"verdict"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bigbrotr_intake_rejected_total",
			Help: "Raw events rejected, by reason.",
		}, []string{"reason"}),
	}
	if reg != nil {
		reg.MustRegister(m.events, m.rejected)
	}
	return m
}

func (m *metrics) count(s Sorted) {
	var n [Unread + 1]int
	for _, f := range s.Findings {
		n[f.Verdict]++
	}
	for v, name := range [...]string{New: "new", Known: "known", Duplicate: "duplicate", Stray: "stray"} {
		if name != "" && n[v] > 0 {
			m.events.WithLabelValues(name).Add(float64(n[v]))
		}
	}
	for _, r := range s.Rejected {
		m.rejected.WithLabelValues(r.Reason).Inc()
	}
}
