package session

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
)

const (
	firstBuffer = 16 << 10
	keepBuffer  = 256 << 10 // larger buffers are not kept between messages
)

// read is the reader: it reads messages until the connection ends. The bytes
// of a message live in one buffer that the next message overwrites.
func (s *Session) read(ctx context.Context) {
	buf := make([]byte, 0, firstBuffer)
	var end Terminal
	for end.Kind == Unended {
		typ, r, err := s.ws.Reader(ctx)
		if err != nil {
			end = lost(err)
			break
		}
		var whole bool
		buf, whole, err = s.message(buf[:0], r)
		if err != nil {
			end = lost(err)
			break
		}
		s.stats.messages.Add(1)
		s.stats.in.Add(int64(len(buf)))
		switch {
		case !whole:
			end = s.oversize(r)
		case typ != websocket.MessageText:
			end = s.malformed(len(buf))
		default:
			end = s.handle(buf)
		}
		if cap(buf) > keepBuffer {
			buf = make([]byte, 0, firstBuffer)
		}
	}
	s.end = end
	close(s.gone)
	s.conn.Abort()
	_ = s.ws.CloseNow() // frees what the library holds
}

// lost makes the terminal of a read error.
func lost(err error) Terminal {
	t := Terminal{Kind: Disconnect}
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		t.Code, t.Message = int(e.Code), printable(e.Reason)
	}
	return t
}

// message reads one message of at most MaxFrame bytes into buf. It reports
// whether that was all of it.
func (s *Session) message(buf []byte, r io.Reader) (_ []byte, whole bool, err error) {
	limit := s.options.MaxFrame
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*cap(buf), limit+1))
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return buf, false, nil
		case errors.Is(err, io.EOF):
			return buf, true, nil
		case err != nil:
			return buf, false, err
		}
	}
}

// oversize skips the rest of a large message.
func (s *Session) oversize(r io.Reader) Terminal {
	s.stats.oversize.Add(1)
	limit := int64(s.options.MaxFrame) * (skipFactor - 1)
	n, err := io.CopyN(io.Discard, r, limit)
	s.stats.in.Add(n)
	switch {
	case err == nil:
		return Terminal{Kind: Oversize}
	case !errors.Is(err, io.EOF):
		return lost(err)
	}
	s.each(func(q *request) { q.page.Oversize++ })
	return s.strayed(s.options.MaxFrame + int(n))
}

// malformed counts a message that is not Nostr.
func (s *Session) malformed(size int) Terminal {
	if s.stats.malformed.Add(1) > maxMalformed {
		return Terminal{Kind: Malformed}
	}
	s.each(func(q *request) { q.page.Malformed++ })
	return s.strayed(size)
}

// strayed counts a message that answers nothing. A relay that sends on without
// being asked is cut off.
func (s *Session) strayed(size int) Terminal {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stray++
	s.strayBytes += size
	if s.stray > maxStray || s.strayBytes > maxStrayByte {
		return Terminal{Kind: Malformed}
	}
	return Terminal{}
}

// each calls f for every request on its way, under its lock.
func (s *Session) each(f func(*request)) {
	s.mu.Lock()
	all := make([]*request, 0, len(s.active))
	for _, q := range s.active {
		all = append(all, q)
	}
	s.mu.Unlock()
	for _, q := range all {
		q.mu.Lock()
		if !q.over {
			f(q)
		}
		q.mu.Unlock()
	}
}

// handle acts on one text message. A terminal other than Unended ends the
// connection.
func (s *Session) handle(b []byte) Terminal {
	m, err := nostr.ParseMessage(b)
	if err != nil {
		return s.malformed(len(b))
	}
	switch m.Label {
	case nostr.LabelEvent, nostr.LabelEOSE, nostr.LabelClosed, nostr.LabelCount, nostr.LabelNegMsg, nostr.LabelNegErr:
		s.mu.Lock()
		q := s.active[m.Sub]
		s.mu.Unlock()
		if q != nil && s.answer(q, &m, len(b)) {
			return Terminal{}
		}
		if m.Label == nostr.LabelEvent {
			s.late(&m)
		}
	case nostr.LabelNotice:
		s.noticed(m.Text)
	case nostr.LabelAuth:
		if len(m.Text) > maxChallenge {
			return s.malformed(len(b))
		}
		s.mu.Lock()
		s.challenge = m.Text
		s.mu.Unlock()
		s.each(func(q *request) { q.page.Challenged = true })
	case nostr.LabelOK:
		s.mu.Lock()
		w := s.oks[m.ID]
		delete(s.oks, m.ID)
		s.mu.Unlock()
		if w != nil {
			t := spoken(Unended, m.Text)
			w.ok = OK{Accepted: m.Accepted, Prefix: t.Prefix, Message: t.Message}
			close(w.done)
			return Terminal{}
		}
	default:
		s.stats.unknown.Add(1)
	}
	return s.strayed(len(b))
}

// answer gives a message to its request. It reports false when the request has
// ended.
func (s *Session) answer(q *request, m *nostr.Message, size int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over || !q.answeredBy(m) {
		return false
	}
	now := s.clock.now()
	if q.stands { // what arrives by a tail answers no request
		s.mu.Lock()
		s.stray, s.strayBytes = 0, 0
		s.mu.Unlock()
	} else {
		s.clock.answered.Store(now)
	}
	q.notice.at = 0
	q.page.Bytes += int64(size)
	if q.stood != nil {
		s.stats.tail.Add(int64(size))
	}
	switch m.Label {
	case nostr.LabelEOSE:
		if q.stood != nil {
			if !q.stands {
				q.stands = true
				q.stood()
			}
			return true
		}
		s.finish(q, endOf(m.Hints))
	case nostr.LabelClosed:
		s.finish(q, spoken(Closed, m.Text))
	case nostr.LabelCount:
		q.count = m.Count
		s.finish(q, Terminal{Kind: Counted})
	case nostr.LabelNegMsg:
		s.negMsg(q, m.Payload, size)
	case nostr.LabelNegErr:
		s.negErr(q, m)
	case nostr.LabelEvent:
		if q.visit == nil {
			return true // an event for a COUNT says nothing
		}
		q.page.Events++
		s.stats.events.Add(1)
		if q.page.Events == 1 {
			q.page.FirstEvent = time.Duration(max(1, now-q.begin))
		}
		s.clock.visiting.Store(true)
		err := q.visit(m.Event)
		after := s.clock.now()
		s.clock.visits.Add(after - now)
		if !q.stands {
			s.clock.answered.Store(after)
		}
		s.clock.visiting.Store(false)
		if err != nil {
			if !errors.Is(err, ErrStop) {
				q.err = err
			}
			s.finish(q, Terminal{Kind: Stopped})
		}
	}
	return true
}

// late counts an event for a request that has ended.
func (s *Session) late(m *nostr.Message) {
	ref, ok := nostr.ScanEvent(m.Event)
	s.stats.late.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.ended {
		l := &s.ended[i]
		if l.Sub != m.Sub {
			continue
		}
		l.Events++
		switch {
		case !ok:
			l.Unread++
		case l.Events-l.Unread == 1:
			l.Oldest, l.Newest = ref.CreatedAt, ref.CreatedAt
		default:
			l.Oldest, l.Newest = min(l.Oldest, ref.CreatedAt), max(l.Newest, ref.CreatedAt)
		}
		return
	}
}

// noticed lets every request on its way know of a NOTICE, which names none.
func (s *Session) noticed(text string) {
	s.stats.notices.Add(1)
	now := s.clock.now()
	t := spoken(Notice, text)
	s.each(func(q *request) {
		q.page.Notices++
		q.page.Notice = t.Message
		q.notice.at = max(1, now)
		q.notice.terminal = t
		select {
		case q.poke <- struct{}{}:
		default:
		}
	})
}
