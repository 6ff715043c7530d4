package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"bigbrotr/internal/core/store"
)

// Source is an archive to copy from, and what a copy is compared with.
type Source interface {
	store.Transfer
	store.Keeper
}

// Target is an archive to copy into.
type Target interface {
	Source
	store.Rollups
}

// The errors of Copy, by meaning.
var (
	// ErrNotEmpty is returned for a target that has an archive already.
	ErrNotEmpty = errors.New("the target is not empty")
	// ErrOtherCopy is returned for a target that holds a part of another source.
	ErrOtherCopy = errors.New("the target holds an unfinished copy of another archive")
)

// DifferenceError lists the tables of a copy that are not as in the source.
type DifferenceError struct{ Tables []Compared }

func (e *DifferenceError) Error() string {
	var b strings.Builder
	b.WriteString("the copy differs from its source:")
	for _, t := range e.Tables {
		fmt.Fprintf(&b, " %s (%d rows, %d in the copy)", t.Table, t.Source.Rows, t.Target.Rows)
	}
	return b.String()
}

// Sum is a checksum of the rows of a table, whatever their order.
type Sum struct {
	Rows int64  `json:"rows"`
	Hash uint64 `json:"hash"`
}

func (s *Sum) add(row []byte) {
	digest := sha256.Sum256(row)
	s.Rows++
	s.Hash += binary.BigEndian.Uint64(digest[:])
}

// Compared is a table of the source beside that of the copy.
type Compared struct {
	Table  string `json:"table"`
	Source Sum    `json:"source"`
	Target Sum    `json:"target"`
}

// Progress tells what a copy does.
type Progress struct {
	Table string // "event" for events and sightings
	Check bool   // comparing, not copying
	Rows  int64  // done so far
}

const (
	// copyRows and copyBytes bound what one transaction writes.
	copyRows  = 1000
	copyBytes = 8 << 20
	// copyFold is how many events are added to the sums at once.
	copyFold = 5000
)

// Copy moves an archive into an empty one, of whichever backend: relays,
// candidates, results, events with sightings, claims and holes, in this order,
// so that no claim is ahead of its events. Sums are made anew. Then both are
// read again and compared by counts and checksums. A copy that was cut short
// goes on where it was when Copy is called again with the same name of the
// source. Nothing else may write to either meanwhile. A full archive may be
// copied into an index, not the other way round.
func Copy(ctx context.Context, name string, source Source, target Target, progress func(Progress)) ([]Compared, error) {
	keep, err := target.Keep(ctx)
	if err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	have, err := source.Keep(ctx)
	if err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	if have.Mode == store.KeepIndex && keep.Mode != store.KeepIndex {
		return nil, fmt.Errorf("copy: %w", &store.KeepError{Have: have.Mode, Want: keep.Mode})
	}
	c := copying{source: source, target: target, keep: keep, progress: progress}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return c.begin(ctx, name) },
		func(ctx context.Context) error { return c.tables(ctx, false) },
		c.events,
		func(ctx context.Context) error { return c.tables(ctx, true) },
		c.sums,
	} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("copy: %w", err)
		}
	}
	compared, err := c.compare(ctx)
	if err != nil {
		return compared, fmt.Errorf("compare the copy: %w", err)
	}
	return compared, target.SetCopyState(ctx, store.CopyState{})
}

// copying is one Copy under way.
type copying struct {
	source   Source
	target   Target
	keep     store.Keep
	progress func(Progress)
	state    store.CopyState
}

func (c *copying) begin(ctx context.Context, name string) (err error) {
	if c.state, err = c.target.CopyState(ctx); err != nil {
		return err
	}
	switch c.state.Source {
	case name:
		return nil
	case "":
	default:
		return fmt.Errorf("%w: %s", ErrOtherCopy, c.state.Source)
	}
	for _, err := range c.target.ScanTable(ctx, store.Tables[0], nil) {
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: it has relays", ErrNotEmpty)
	}
	for _, err := range c.target.ScanCopies(ctx, "") {
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: it has events", ErrNotEmpty)
	}
	c.state.Source = name
	return c.target.SetCopyState(ctx, c.state)
}

// behind tells whether a table comes after the events.
func behind(table store.Table) bool {
	return table.Name == "coverage" || table.Name == "hole" || table.Name == "missing"
}

func (c *copying) tables(ctx context.Context, afterEvents bool) error {
	for i, table := range store.Tables {
		if i < c.state.Tables || behind(table) != afterEvents {
			continue
		}
		if err := c.table(ctx, table); err != nil {
			return err
		}
		c.state.Tables = i + 1
		if err := c.target.SetCopyState(ctx, c.state); err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) table(ctx context.Context, table store.Table) error {
	var rows []store.Row
	var size int
	p := Progress{Table: table.Name}
	put := func() error {
		if err := c.target.PutRows(ctx, table, rows); err != nil {
			return err
		}
		p.Rows += int64(len(rows))
		rows, size = rows[:0], 0
		c.progress(p)
		return nil
	}
	for row, err := range c.source.ScanTable(ctx, table, nil) {
		if err != nil {
			return err
		}
		rows = append(rows, row)
		for _, v := range row {
			switch v := v.(type) {
			case string:
				size += len(v)
			case []byte:
				size += len(v)
			}
		}
		if len(rows) == copyRows || size > copyBytes {
			if err := put(); err != nil {
				return err
			}
		}
	}
	return put()
}

func (c *copying) events(ctx context.Context) error {
	if c.state.Events {
		return nil
	}
	var copies []store.Copied
	var size int
	p := Progress{Table: "event"}
	position := c.state.Position
	put := func() error {
		if err := c.target.PutCopies(ctx, copies, position); err != nil {
			return err
		}
		p.Rows += int64(len(copies))
		copies, size = copies[:0], 0
		c.progress(p)
		return nil
	}
	for one, err := range c.source.ScanCopies(ctx, position) {
		if err != nil {
			return err
		}
		copies, position = append(copies, one.Copied), one.Cursor
		size += len(one.Event.Content) + 64*len(one.Event.Tags)
		if len(copies) == copyRows || size > copyBytes {
			if err := put(); err != nil {
				return err
			}
		}
	}
	if len(copies) > 0 {
		if err := put(); err != nil {
			return err
		}
	}
	c.state.Position, c.state.Events = position, true
	return c.target.SetCopyState(ctx, c.state)
}

func (c *copying) sums(ctx context.Context) error {
	for more := true; more; {
		done, err := c.target.Refresh(ctx, copyFold)
		if err != nil {
			return err
		}
		more = done.More
	}
	return nil
}

// compare reads both sides again.
func (c *copying) compare(ctx context.Context) ([]Compared, error) {
	var all, different []Compared
	add := func(table string, source, target Sum) {
		one := Compared{table, source, target}
		if all = append(all, one); source != target {
			different = append(different, one)
		}
	}
	for _, table := range store.Tables {
		source, err := c.sumTable(ctx, c.source, table)
		if err != nil {
			return nil, err
		}
		target, err := c.sumTable(ctx, c.target, table)
		if err != nil {
			return nil, err
		}
		add(table.Name, source, target)
	}
	events, sightings, err := c.sumEvents(ctx, c.source)
	if err != nil {
		return nil, err
	}
	events2, sightings2, err := c.sumEvents(ctx, c.target)
	if err != nil {
		return nil, err
	}
	add("event", events, events2)
	add("sighting", sightings, sightings2)
	if len(different) > 0 {
		return all, &DifferenceError{different}
	}
	return all, nil
}

func (c *copying) sumTable(ctx context.Context, from store.Transfer, table store.Table) (Sum, error) {
	var sum Sum
	var buf []byte
	for row, err := range from.ScanTable(ctx, table, nil) {
		if err != nil {
			return sum, err
		}
		buf = buf[:0]
		for i, column := range table.Columns {
			if buf, err = appendValue(buf, column.Type, row[i]); err != nil {
				return sum, fmt.Errorf("table %s, column %s: %w", table.Name, column.Name, err)
			}
		}
		sum.add(buf)
	}
	c.progress(Progress{Table: table.Name, Check: true, Rows: sum.Rows})
	return sum, nil
}

// appendValue appends a value in a form that no other value of the type has.
func appendValue(b []byte, t store.ColumnType, v any) ([]byte, error) {
	sized := func(p []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(p))+1), p...) }
	switch v := v.(type) {
	case int64:
		return binary.AppendVarint(b, v), nil
	case float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v)), nil
	case bool:
		if v {
			return append(b, 1), nil
		}
		return append(b, 0), nil
	case []byte:
		if v == nil {
			return append(b, 0), nil
		}
		return sized(v), nil
	case nil:
		return append(b, 0), nil
	case string:
		if t != store.JSON {
			return sized([]byte(v)), nil
		}
		var value any
		if err := json.Unmarshal([]byte(v), &value); err != nil {
			return nil, err
		}
		text, err := json.Marshal(value) // which sorts keys
		return sized(text), err
	default:
		return nil, fmt.Errorf("unknown value %T", v)
	}
}

func (c *copying) sumEvents(ctx context.Context, from store.Transfer) (events, sightings Sum, err error) {
	var buf []byte
	p := Progress{Table: "event", Check: true}
	for one, err := range from.ScanCopies(ctx, "") {
		if err != nil {
			return events, sightings, err
		}
		buf = c.appendEvent(buf[:0], &one.Copied)
		events.add(buf)
		for _, s := range one.Sightings {
			buf = append(buf[:0], one.Event.ID[:]...)
			buf = binary.AppendVarint(buf, int64(s.Relay))
			buf = binary.AppendVarint(buf, s.SeenAt)
			buf = binary.AppendVarint(buf, s.GoneAt)
			buf = strconv.AppendBool(buf, s.Claimed)
			sightings.add(buf)
		}
		if p.Rows = events.Rows; p.Rows%copyRows == 0 {
			c.progress(p)
		}
	}
	c.progress(p)
	return events, sightings, nil
}

// appendEvent appends what the target keeps of an event.
func (c *copying) appendEvent(b []byte, e *store.Copied) []byte {
	b = binary.AppendVarint(b, e.FirstSeen)
	if c.keep.Full(e.Event.Kind) && !e.IndexOnly {
		return e.Event.AppendJSON(b)
	}
	b = append(b, e.Event.ID[:]...)
	b = append(b, e.Event.PubKey[:]...)
	b = binary.AppendVarint(b, e.Event.CreatedAt)
	return binary.AppendVarint(b, int64(e.Event.Kind))
}
