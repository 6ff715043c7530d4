package store

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"bigbrotr/internal/core/nostr"
)

// Position is a place in the order of EventReader's answers: newest first, then
// lowest id. It stands behind the event of that time and id.
type Position struct {
	At int64
	ID nostr.ID
}

// Cursor returns the position as a token for the next query.
func (p Position) Cursor() Cursor {
	return Cursor(strconv.FormatInt(p.At, 10) + "." + p.ID.String())
}

// ParsePosition reads what Position.Cursor returned: nil for the empty cursor,
// ErrCursor for anything else.
func ParsePosition(c Cursor) (*Position, error) {
	if c == "" {
		return nil, nil
	}
	at, id, _ := strings.Cut(string(c), ".")
	var p Position
	var err error
	if p.At, err = strconv.ParseInt(at, 10, 64); err != nil {
		return nil, ErrCursor
	}
	if p.ID, err = nostr.ParseID(id); err != nil {
		return nil, ErrCursor
	}
	return &p, nil
}

// Key is a place in a list that is ordered by numbers. It stands behind the entry
// that has them.
type Key []int64

// Cursor returns the key as a token for the next page.
func (p Key) Cursor() Cursor {
	var b []byte
	for i, n := range p {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return Cursor(b)
}

// ParseKey reads what Key.Cursor returned of n numbers: for the empty cursor the
// place before every entry, ErrCursor for anything else.
func ParseKey(c Cursor, n int) (Key, error) {
	p := make(Key, n)
	if c == "" {
		for i := range p {
			p[i] = math.MinInt64
		}
		return p, nil
	}
	parts := strings.Split(string(c), ".")
	if len(parts) != n {
		return nil, ErrCursor
	}
	for i, text := range parts {
		var err error
		if p[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, ErrCursor
		}
	}
	return p, nil
}

// Before tells whether an event comes after the position; every event does
// after a nil one.
func (p *Position) Before(e *nostr.Event) bool {
	return p == nil || e.CreatedAt < p.At || e.CreatedAt == p.At && bytes.Compare(e.ID[:], p.ID[:]) > 0
}
