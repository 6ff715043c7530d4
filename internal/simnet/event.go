package simnet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"

	"bigbrotr/internal/core/nostr"
)

// Event is an event as simulated relays keep it: what filters look at, and the
// text that is sent. It never changes, and every relay that holds it shares it.
type Event struct {
	ID        nostr.ID
	PubKey    nostr.PubKey
	CreatedAt int64
	Kind      nostr.Kind
	// Valid tells whether id and signature hold. Nobody can archive an event
	// that is not valid, so it is never part of what a relay makes visible.
	Valid bool
	JSON  []byte
}

// NewEvent encodes a signed event.
func NewEvent(e *nostr.Event) *Event {
	return &Event{
		ID: e.ID, PubKey: e.PubKey, CreatedAt: e.CreatedAt, Kind: e.Kind,
		Valid: true, JSON: e.AppendJSON(nil),
	}
}

// Parse returns the whole event.
func (e *Event) Parse() nostr.Event {
	full, err := nostr.ParseEvent(e.JSON)
	if err != nil {
		panic(fmt.Sprintf("simnet: own event does not parse: %v", err)) // only NewEvent makes the text
	}
	return full
}

// ForgeID returns a copy under an id that is not the hash of its text.
func ForgeID(e *Event) *Event {
	full := e.Parse()
	full.ID[0] ^= 0x80
	full.ID[31] ^= 1
	return forged(&full)
}

// ForgeText returns a copy that puts other words under the true event's id and
// signature.
func ForgeText(e *Event) *Event {
	full := e.Parse()
	full.Content += " (sponsored)"
	return forged(&full)
}

// ForgeSig returns a copy whose id is right and whose signature is not.
func ForgeSig(e *Event) *Event {
	full := e.Parse()
	full.Sig[40] ^= 1
	return forged(&full)
}

func forged(e *nostr.Event) *Event {
	f := NewEvent(e)
	f.Valid = false
	return f
}

// WriteEvents writes events as JSON lines, so that a benchmark signs its load
// once and reads it back afterwards.
func WriteEvents(w io.Writer, events []*Event) error {
	buf := bufio.NewWriterSize(w, 1<<20)
	for _, e := range events {
		_, _ = buf.Write(e.JSON) // Flush reports an error
		_ = buf.WriteByte('\n')
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

// ReadEvents reads JSON lines of events that are taken to be valid: signatures
// are not checked.
func ReadEvents(r io.Reader) ([]*Event, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var events []*Event
	for lines.Scan() {
		text := bytes.Clone(bytes.TrimSpace(lines.Bytes()))
		if len(text) == 0 {
			continue
		}
		full, err := nostr.ParseEvent(text)
		if err != nil {
			return nil, fmt.Errorf("read event %s: %w", strconv.Itoa(len(events)+1), err)
		}
		events = append(events, &Event{
			ID: full.ID, PubKey: full.PubKey, CreatedAt: full.CreatedAt, Kind: full.Kind,
			Valid: true, JSON: text,
		})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

// maxLine bounds a line of ReadEvents.
const maxLine = 8 << 20
