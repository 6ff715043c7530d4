package dvm

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const kindDeletion = store.KindDeletion

// The states of a job as feedback names them (NIP-90).
const (
	statusPayment    = "payment-required"
	statusProcessing = "processing"
	statusError      = "error"
	statusSuccess    = "success"
	statusPartial    = "partial"
)

// arrive looks at what a relay brought: a request, or the cancellation of one.
func (s *Service) arrive(ctx context.Context, raw []byte) {
	e, err := nostr.ParseEvent(raw)
	if err != nil {
		s.metrics.end(endMalformed)
		return
	}
	us, all := addressed(&e, s.key.PubKey())
	if e.Kind == s.cfg.Kind && !us && (!all || !ours(&e)) || e.Kind != s.cfg.Kind && e.Kind != kindDeletion || e.PubKey == s.key.PubKey() {
		return // none of our business
	}
	now := time.Now()
	switch age := now.Unix() - e.CreatedAt; {
	case age > int64(s.cfg.MaxAge.Std().Seconds()) || age < -aheadWithin:
		s.metrics.end(endStale)
		return
	case e.CheckID() != nil || e.Verify() != nil:
		s.metrics.end(endMalformed)
		return
	case !s.seen.first(e.ID):
		return
	case e.Kind == kindDeletion:
		s.cancel(ctx, &e)
		return
	}
	r, err := s.read(e)
	if allowed, tell := s.limits.allow(e.PubKey, now); !allowed {
		s.metrics.end(endLimited)
		if tell {
			s.tell(ctx, &r, statusError, "no more than "+strconv.Itoa(s.cfg.PerHour)+" jobs in an hour; ask again later")
		}
		return
	}
	if err != nil {
		s.metrics.end(endQuestion)
		s.tell(ctx, &r, statusError, err.Error())
		return
	}
	job := store.Job{ID: e.ID, Customer: e.PubKey, At: now.Unix(), Request: e.AppendJSON(nil), State: store.JobOpen}
	added, err := s.store.AddJob(ctx, job, s.lease())
	if !s.stored(ctx, "add", err) {
		s.seen.forget(e.ID)
		return
	}
	if !added {
		s.metrics.end(endKnown)
		return
	}
	s.work(ctx, job)
}

func (s *Service) lease() store.Lease {
	return store.Lease{Owner: s.owner, Until: time.Now().Add(leaseTime).Unix()}
}

// free gives a job back.
func (s *Service) free() store.Lease { return store.Lease{Owner: s.owner} }

// cancel ends the jobs that their customer does not want any more.
func (s *Service) cancel(ctx context.Context, e *nostr.Event) {
	for _, t := range e.Tags[:min(len(e.Tags), maxInputs)] {
		if len(t) < 2 || t[0] != "e" {
			continue
		}
		id, err := nostr.ParseID(t[1])
		if err != nil {
			continue
		}
		cancelled, err := s.store.CancelJob(ctx, id, e.PubKey)
		if s.stored(ctx, "cancel", err) && cancelled {
			s.hand.cancel(id)
			s.metrics.end(endCancelled)
		}
	}
}

// work takes a job that we lease a step further.
func (s *Service) work(ctx context.Context, job store.Job) {
	e, err := nostr.ParseEvent(job.Request)
	if err != nil { // written by another version
		s.end(ctx, job)
		return
	}
	r, err := s.read(e)
	if err != nil && job.State != store.JobAnswered {
		s.end(ctx, job)
		return
	}
	ctx, done := s.hand.enter(ctx, job.ID)
	defer done()
	switch {
	case job.State == store.JobAnswered:
		s.sendAgain(ctx, job, &r)
	case s.wallet != nil && job.Payment == nil:
		s.bill(ctx, job, &r)
	case job.State == store.JobUnpaid:
		s.collect(ctx, job, &r)
	default:
		s.answer(ctx, job, &r)
	}
}

// end ends a job without an answer.
func (s *Service) end(ctx context.Context, job store.Job) bool {
	job.State = store.JobEnded
	saved, err := s.store.SaveJob(ctx, job, s.free(), time.Now().Unix())
	return s.stored(ctx, "end", err) && saved
}

// answer puts the question and sends what comes of it.
func (s *Service) answer(ctx context.Context, job store.Job, r *request) {
	box := s.outbox(ctx, r.relays)
	s.say(box, r, statusProcessing, "")
	a, err := s.put(ctx, r.asked)
	if ctx.Err() != nil { // cancelled, or we end: who takes the job over begins anew
		box.close()
		return
	}
	if err != nil {
		end := endTrouble
		if _, ok := errors.AsType[*questionError](err); ok || errors.Is(err, errLarge) || errors.Is(err, errBytes) || errors.Is(err, errQuestion) {
			end = endQuestion
		}
		if s.end(ctx, job) {
			s.metrics.end(end)
			s.say(box, r, statusError, err.Error())
		}
		box.close()
		return
	}
	result, err := s.result(r, a)
	if err != nil {
		s.end(ctx, job)
		s.say(box, r, statusError, errAway.Error())
		box.close()
		return
	}
	// From here this one is the answer, whoever sends it.
	job.State, job.Answer = store.JobAnswered, result.AppendJSON(nil)
	saved, err := s.store.SaveJob(ctx, job, s.lease(), time.Now().Unix())
	if !s.stored(ctx, "answer", err) || !saved {
		box.close()
		return
	}
	box.send(&result)
	if a.more {
		s.metrics.end(endPart)
		s.say(box, r, statusPartial, "there is more: ask again with after set to next")
	} else {
		s.metrics.end(endAnswered)
		s.say(box, r, statusSuccess, "")
	}
	s.sent(ctx, job, box.close()[result.ID])
}

// sendAgain sends the answer of a job that no relay has taken yet, or of which
// that is not known.
func (s *Service) sendAgain(ctx context.Context, job store.Job, r *request) {
	result, err := nostr.ParseEvent(job.Answer)
	if err != nil {
		s.end(ctx, job)
		return
	}
	box := s.outbox(ctx, r.relays)
	box.send(&result)
	s.sent(ctx, job, box.close()[result.ID])
}

// sent notes that an answer was sent, or when to try again.
func (s *Service) sent(ctx context.Context, job store.Job, relays int) {
	now := time.Now()
	job.State = store.JobAnswered
	switch {
	case relays > 0:
		job.State = store.JobDone
	case now.Unix()-job.At > int64(sendFor.Seconds()):
		job.State = store.JobDone
		s.metrics.end(endUnsent)
	}
	_, err := s.store.SaveJob(context.WithoutCancel(ctx), job, s.free(), now.Add(sendAgain).Unix())
	s.stored(ctx, "sent", err)
}

// result makes the answer's event.
func (s *Service) result(r *request, a answer) (nostr.Event, error) {
	e := nostr.Event{
		CreatedAt: time.Now().Unix(), Kind: s.cfg.Kind + resultOffset, Content: a.text,
		Tags: append([]nostr.Tag{{"request", string(r.event.AppendJSON(nil))}}, s.about(r)...),
	}
	e.Tags = append(e.Tags, r.inputs...)
	if err := seal(r, &e); err != nil {
		return e, err
	}
	return e, s.key.Sign(&e)
}

// about are the tags by which events name the request and its sender.
func (s *Service) about(r *request) []nostr.Tag {
	return []nostr.Tag{{"e", r.event.ID.String(), s.peers[0].url.String()}, {"p", r.event.PubKey.String()}}
}

// seal encrypts the content of an event if the request was.
func seal(r *request, e *nostr.Event) (err error) {
	if r.cipher == nil || e.Content == "" {
		return nil
	}
	e.Tags = append(e.Tags, nostr.Tag{"encrypted"})
	e.Content, err = r.cipher(e.Content)
	return err
}

// say sends a feedback, with tags of its own. Of an encrypted request only who
// asked reads why.
func (s *Service) say(box *outbox, r *request, status, text string, more ...nostr.Tag) {
	state := nostr.Tag{"status", status}
	e := nostr.Event{CreatedAt: time.Now().Unix(), Kind: kindFeedback}
	if text = printable(text); r.cipher != nil {
		e.Content = text
	} else if text != "" {
		state = append(state, text)
	}
	e.Tags = slices.Concat([]nostr.Tag{state}, s.about(r), more)
	if seal(r, &e) != nil || s.key.Sign(&e) != nil {
		return
	}
	box.send(&e)
}

// tell sends a feedback alone.
func (s *Service) tell(ctx context.Context, r *request, status, text string, more ...nostr.Tag) {
	box := s.outbox(ctx, r.relays)
	s.say(box, r, status, text, more...)
	box.close()
}

// payment is what is noted of the payment of a job.
type payment struct {
	invoice
	Paid bool `json:"paid"`
}

// bill asks for the price of a job.
func (s *Service) bill(ctx context.Context, job store.Job, r *request) {
	inv, err := s.wallet.invoice(ctx, s.cfg.Price.Msats, s.cfg.Price.Within.Std())
	if err != nil {
		s.log.WarnContext(ctx, "no invoice can be had", "error", err)
		if s.end(ctx, job) {
			s.metrics.end(endUnpaid)
			s.tell(ctx, r, statusError, "no invoice can be made now; ask again later")
		}
		return
	}
	if !s.note(ctx, &job, payment{invoice: inv}, store.JobUnpaid, s.free(), time.Now().Add(s.payEvery)) {
		return
	}
	amount := strconv.FormatInt(s.cfg.Price.Msats, 10)
	s.tell(ctx, r, statusPayment, "", nostr.Tag{"amount", amount, inv.Text})
}

// note writes what is known of a payment.
func (s *Service) note(ctx context.Context, job *store.Job, p payment, state store.JobState, lease store.Lease, due time.Time) bool {
	text, err := json.Marshal(p)
	if err != nil {
		return false
	}
	job.Payment, job.State = text, state
	saved, err := s.store.SaveJob(ctx, *job, lease, due.Unix())
	return s.stored(ctx, "payment", err) && saved
}

// collect looks whether a job is paid, and answers it then.
func (s *Service) collect(ctx context.Context, job store.Job, r *request) {
	var p payment
	if json.Unmarshal(job.Payment, &p) != nil || s.wallet == nil {
		s.end(ctx, job)
		return
	}
	now := time.Now()
	paid, err := s.wallet.paid(ctx, p.invoice)
	if err != nil {
		s.log.DebugContext(ctx, "payment cannot be verified", "error", err)
	}
	switch {
	case paid:
		p.Paid = true
		if s.note(ctx, &job, p, store.JobOpen, s.lease(), now) {
			s.answer(ctx, job, r)
		}
	case now.Unix() > p.Expires:
		if s.end(ctx, job) {
			s.metrics.end(endUnpaid)
			s.tell(ctx, r, statusError, "not paid in time")
		}
	default:
		// Less and less often.
		wait := max(s.payEvery, time.Duration(now.Unix()-job.At)*time.Second/10)
		s.note(ctx, &job, p, store.JobUnpaid, s.free(), now.Add(wait))
	}
}

// maxText bounds what a feedback says.
const maxText = 300

// printable makes one line of a text that has what a stranger wrote in it.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}
