package synchronizer

import (
	"context"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

const (
	// tailPatience is how long a tail may have brought nothing for its claims to
	// be kept by it. A relay that is quiet for longer has little to read again.
	tailPatience = 6 * time.Hour
	// youngest is how old events are at least whose coming by a tail is checked:
	// younger ones may be on their way.
	youngest = 60
	// oldest is how far back such a check reaches.
	oldest = 24 * 3600
	// enough is how many events must have come by a tail for it to be believed.
	enough = 5
	// sampleSize is how many events are looked at in one sample.
	sampleSize = 100
	// worst is the share of arrivals that a tail may surely leave out.
	worst = 0.01
)

// nostrBirth is when the first events were made: 2020-11-01.
const nostrBirth = 1604188800

// follows tells whether the relay's tail keeps what was claimed since it stood:
// it lives, it was found to bring what the relay shows, and it still brings
// something.
func (v *visit) follows() bool {
	now := v.now().Unix()
	return v.tail.Stands(now) && v.tail.Proved > 0 && now-v.tail.Heard <= int64(tailPatience.Seconds())
}

// kept returns the claims that a tail keeps, which need not be read again.
func (v *visit) kept(coverage []store.Coverage) []store.Interval {
	if !v.follows() {
		return nil
	}
	var out []store.Interval
	for _, c := range coverage {
		if c.Level > store.LevelUnknown && c.Tail == v.tail.Since {
			out = append(out, c.Interval)
		}
	}
	return out
}

// keep gives claims to the tail that stood before their REQs were sent.
func (v *visit) keep(claims []store.Coverage) {
	if v.tail.Since == 0 {
		return
	}
	for i := range claims {
		if claims[i].AsOf >= v.tail.Since {
			claims[i].Tail = v.tail.Since
		}
	}
}

// checkTail reads what the relay shows of the time since its tail stood, and
// compares that with what came by the tail. When something did not come, the
// tail has died without a word, or leaves things out.
func (v *visit) checkTail(ctx context.Context) error {
	now := v.now().Unix()
	win := store.Interval{Lo: max(v.tail.Since, now-oldest), Hi: now - youngest}
	if !v.tail.Stands(now) || win.Lo > win.Hi || v.cal.OpenRefused || now-v.tail.Proved < int64(v.every.Seconds()) && v.tail.Heard >= win.Hi {
		return nil
	}
	p, err := v.ask(ctx, question{filter: v.filter, win: win, limit: min(sampleSize, v.limit), exact: true})
	if err != nil {
		return err
	}
	s := store.Sample{Relay: v.relay.ID, Kind: store.SampleTail, At: now, Seen: int64(len(p.refs) - p.refused - p.stray), Missed: int64(p.fresh)}
	if err := v.save(ctx, p, nil); err != nil || !p.clean() || s.Seen == 0 {
		return err
	}
	if err := v.store.AddSample(ctx, s); err != nil {
		return v.local(ctx, err)
	}
	v.sums.sampled(s)
	switch _, least, _ := (store.SampleTotal{Samples: 1, Seen: s.Seen, Missed: s.Missed}).Rate(); {
	case s.Missed == 0 && s.Seen >= enough:
		v.tail.Proved = now
		err = v.store.NoteTail(ctx, v.relay.ID, v.tail.Since, false, now)
	case s.Missed > 1 && least > worst:
		// Where all that did not come is younger than what did, the subscription
		// has ended and nobody said so.
		lied := p.knownHi > p.freshLo
		cause := dial.CauseReadTimeout
		if lied {
			cause = dial.CauseContradicts
		}
		err = v.store.EndTail(ctx, store.TailEnd{Relay: v.relay.ID, Since: v.tail.Since, Heard: v.tail.Heard, Cause: cause, Lied: lied})
		v.tail.Since = 0
	}
	if err != nil {
		return v.local(ctx, err)
	}
	return nil
}

// sampleOld reads a stretch again that was claimed long ago, at a time drawn at
// random, and counts what is there and was not archived: events that reached the
// relay after the claim was made, or that the walk has missed. It is the measure
// of what a claim by walking is worth. Where negentropy has found no difference,
// nothing is left to measure.
func (v *visit) sampleOld(ctx context.Context) error {
	now := v.now().Unix()
	if v.every == 0 || v.cal.OpenRefused {
		return nil
	}
	last, err := v.store.LastSample(ctx, v.relay.ID, store.SampleOld)
	if err != nil {
		return v.local(ctx, err)
	}
	if now-last < int64(v.every.Seconds()) {
		return nil
	}
	coverage, err := v.store.Coverage(ctx, v.relay.ID, v.filterID)
	if err != nil {
		return v.local(ctx, err)
	}
	win := v.stretch(coverage, store.Interval{Lo: nostrBirth, Hi: v.top - v.overlap})
	if win.Lo > win.Hi {
		return nil
	}
	p, err := v.ask(ctx, question{filter: v.filter, win: win, limit: min(sampleSize, v.limit), exact: true})
	if err != nil {
		return err
	}
	s := store.Sample{Relay: v.relay.ID, Kind: store.SampleOld, At: now, Seen: int64(len(p.refs) - p.refused - p.stray), Missed: int64(p.fresh)}
	if err := v.save(ctx, p, nil); err != nil || !p.clean() {
		return err
	}
	if err := v.store.AddSample(ctx, s); err != nil {
		return v.local(ctx, err)
	}
	v.sums.sampled(s)
	return nil
}

// stretch draws a second of the claims within bounds, each as likely as any
// other, and returns what is claimed from there down; an empty interval when
// there is nothing.
func (v *visit) stretch(coverage []store.Coverage, within store.Interval) store.Interval {
	var parts []store.Interval
	var length int64
	for _, c := range coverage {
		iv := store.Interval{Lo: max(c.Lo, within.Lo), Hi: min(c.Hi, within.Hi)}
		if c.Level == store.LevelUnknown || c.Level == store.LevelFingerprint || iv.Lo > iv.Hi {
			continue
		}
		parts = append(parts, iv)
		length += iv.Hi - iv.Lo + 1
	}
	if length == 0 {
		return store.Interval{Lo: 1, Hi: 0}
	}
	at := v.draw(length)
	for _, iv := range parts {
		if n := iv.Hi - iv.Lo + 1; at >= n {
			at -= n
			continue
		}
		return store.Interval{Lo: iv.Lo, Hi: iv.Lo + at}
	}
	return store.Interval{Lo: 1, Hi: 0}
}

// tellTail notes what the visit has found out about the tail, and puts it into
// the report.
func (v *visit) tellTail(ctx context.Context) error {
	if len(v.ahead) == len(v.filters) && v.tail.Since > 0 && !v.cal.PostFiltering && !v.cal.OpenRefused {
		if err := v.store.NoteTail(ctx, v.relay.ID, v.tail.Since, true, 0); err != nil {
			return err
		}
	}
	now, err := v.store.Tail(ctx, v.relay.ID)
	if err != nil {
		return err
	}
	v.stood = now.Since > 0 && now.Since != v.tail.Since
	v.report.Tail, err = Tailed(ctx, v.store, now, v.now())
	return err
}
