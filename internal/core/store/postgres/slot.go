package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/dial"
)

// slotTimes are how long what is noted about slots holds.
type slotTimes struct {
	lease time.Duration // of a slot, unless it is renewed
	renew time.Duration // how often all are renewed
	turn  time.Duration // of a place in line, unless its owner asks again
	// How often who waits asks again: after an eighth of the time waited, but not
	// sooner or later than these.
	soonest, latest time.Duration
	patience        time.Duration // how far ahead the opening of a connection is planned
}

// defaultSlotTimes keep the slots of a killed process for two minutes and its
// place in line for ten seconds.
var defaultSlotTimes = slotTimes{
	lease: 2 * time.Minute, renew: 30 * time.Second, turn: 10 * time.Second,
	soonest: 25 * time.Millisecond, latest: 2 * time.Second, patience: time.Minute,
}

// Slots are this process's share of the connections that all processes on the
// database may have to a host, and may open in a minute. They are kept for the
// process until it frees them, dies, or cannot renew them.
type Slots struct {
	db    *DB
	owner string
	times slotTimes
	stop  context.CancelFunc
	kept  sync.WaitGroup
	freed chan struct{} // holds one when there are freed slots

	mu     sync.Mutex
	ticket int64
	known  map[slot]bool // whether it is held; if not, it waits in line
	gone   []slot        // still in the table
}

// slot is a row of host_slot.
type slot struct {
	host   string
	ticket int64
}

var _ dial.Slots = (*Slots)(nil)

// Slots returns the share of a process, whose name no other has. It is kept until
// the database is closed, also when ctx has ended.
func (db *DB) Slots(ctx context.Context, owner string) *Slots {
	return db.newSlots(ctx, owner, defaultSlotTimes)
}

func (db *DB) newSlots(ctx context.Context, owner string, times slotTimes) *Slots {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Slots{
		db: db, owner: owner, times: times, stop: stop,
		freed: make(chan struct{}, 1), known: make(map[slot]bool),
	}
	s.kept.Go(func() { s.keep(ctx) })
	db.mu.Lock()
	defer db.mu.Unlock()
	db.slots = append(db.slots, s)
	return s
}

const sqlTakeSlot = `SELECT taken, pause FROM take_slot($1, $2, $3, $4, $5, $6, $7, $8)`

// errPace is the failure to get a moment before the context's end.
var errPace = errors.New("no connection may be opened in time")

// Take implements dial.Slots. Each try is one statement. It fails with the
// context, when a connection may not be opened before the context's end, and
// when the database stays away for Options.RetryFor.
func (s *Slots) Take(ctx context.Context, host string, limit, perMinute int) (func(), error) {
	row := s.enter(host)
	free := sync.OnceFunc(func() { s.leave(row) })
	if err := s.wait(ctx, row, limit, perMinute); err != nil {
		free()
		return nil, fmt.Errorf("take a slot: %w", err)
	}
	return free, nil
}

// wait waits in line for the slot, and then for the moment to open a connection.
func (s *Slots) wait(ctx context.Context, row slot, limit, perMinute int) error {
	begin := time.Now()
	for {
		patience := s.times.patience
		deadline, ends := ctx.Deadline()
		if ends {
			patience = min(patience, time.Until(deadline))
		}
		var taken bool
		var ms *int64
		if err := s.db.retry(ctx, func() error {
			return s.db.pool.QueryRow(ctx, sqlTakeSlot, row.host, s.owner, row.ticket, limit,
				s.times.lease.Milliseconds(), s.times.turn.Milliseconds(), perMinute, patience.Milliseconds()).Scan(&taken, &ms)
		}); err != nil {
			return err
		}
		if ms != nil {
			opens := time.Duration(*ms) * time.Millisecond
			switch {
			case taken:
				s.hold(row)
				return rest(ctx, opens)
			case ends && opens > time.Until(deadline):
				return errPace
			}
		}
		again := min(max(time.Since(begin)/8, s.times.soonest), s.times.latest)
		if err := rest(ctx, again/2+rand.N(again)); err != nil {
			return err
		}
	}
}

func (s *Slots) enter(host string) slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticket++
	// A redirect may lead to a name that the server does not take for text.
	row := slot{strings.ToValidUTF8(strings.ReplaceAll(host, "\x00", ""), "?"), s.ticket}
	s.known[row] = false
	return row
}

func (s *Slots) hold(row slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[row] = true
}

// leave does not wait: what was freed is told to the server by keep.
func (s *Slots) leave(row slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, row)
	s.gone = append(s.gone, row)
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// keep renews the slots and deletes the freed ones until ctx ends, and then gives
// all back. A failure is made good by the next renewal.
func (s *Slots) keep(ctx context.Context) {
	ticker := time.NewTicker(s.times.renew)
	defer ticker.Stop()
	for {
		work := s.renew
		select {
		case <-ctx.Done():
			s.drop(ctx)
			return
		case <-ticker.C:
		case <-s.freed:
			work = s.discard
		}
		if err := work(ctx); err != nil && ctx.Err() == nil {
			s.db.log.WarnContext(ctx, "slots for connections cannot be kept", "error", err)
		}
	}
}

const (
	sqlUnhurried = `SELECT set_config('synchronous_commit', 'off', true)`
	sqlFreeSlots = `
		DELETE FROM host_slot s USING unnest($2::text[], $3::bigint[]) AS g (host, ticket)
		WHERE s.host = g.host AND s.owner = $1 AND s.ticket = g.ticket`
	sqlForgetSlots = `
		DELETE FROM host_slot s WHERE s.owner = $1 AND s.ticket <= $4
		AND NOT EXISTS (SELECT 1 FROM unnest($2::text[], $3::bigint[]) AS g (host, ticket) WHERE g.host = s.host AND g.ticket = s.ticket)`
	sqlRenewSlots = `
		INSERT INTO host_slot (host, owner, ticket, since, until, held)
		SELECT g.host, $1, g.ticket, clock_timestamp(), clock_timestamp() + $4 * interval '1 millisecond', true
		FROM unnest($2::text[], $3::bigint[]) AS g (host, ticket)
		ON CONFLICT (host, owner, ticket) DO UPDATE SET until = excluded.until, held = true`
	// Two that meet here do not wait for one another.
	sqlBurySlots = `
		DELETE FROM host_slot WHERE (host, owner, ticket) IN (
			SELECT host, owner, ticket FROM host_slot WHERE until < clock_timestamp() - interval '10 minutes'
			FOR UPDATE SKIP LOCKED)`
	sqlBuryPace = `
		DELETE FROM open_pace WHERE minute IN (
			SELECT minute FROM open_pace WHERE minute < floor(extract(epoch FROM clock_timestamp()) / 60) - 10
			FOR UPDATE SKIP LOCKED)`
	sqlDropSlots = `DELETE FROM host_slot WHERE owner = $1`
)

// discard deletes what was freed.
func (s *Slots) discard(ctx context.Context) error {
	s.mu.Lock()
	hosts, tickets := columns(s.gone)
	s.gone = nil
	s.mu.Unlock()
	return s.send(ctx, func(b *pgx.Batch) { b.Queue(sqlFreeSlots, s.owner, hosts, tickets) })
}

// renew makes the table say what is held: it prolongs that, also what the
// server lost in a crash, and forgets what is not, such as what was taken by a
// statement whose answer nobody waited for. It also buries what is long past: the
// rows of dead processes, and old minutes.
func (s *Slots) renew(ctx context.Context) error {
	s.mu.Lock()
	s.gone = nil
	last := s.ticket // later ones may be in the table already
	var held, all []slot
	for row, has := range s.known {
		if all = append(all, row); has {
			held = append(held, row)
		}
	}
	s.mu.Unlock()
	hosts, tickets := columns(all)
	heldHosts, heldTickets := columns(held)
	return s.send(ctx, func(b *pgx.Batch) {
		b.Queue(sqlForgetSlots, s.owner, hosts, tickets, last)
		b.Queue(sqlRenewSlots, s.owner, heldHosts, heldTickets, s.times.lease.Milliseconds())
		b.Queue(sqlBurySlots)
		b.Queue(sqlBuryPace)
	})
}

// columns returns the rows as arrays.
func columns(rows []slot) (hosts []string, tickets []int64) {
	hosts, tickets = make([]string, len(rows)), make([]int64, len(rows))
	for i, row := range rows {
		hosts[i], tickets[i] = row.host, row.ticket
	}
	return hosts, tickets
}

// send runs statements in a transaction that does not wait for the disk. Who
// never took a slot has nothing to say.
func (s *Slots) send(ctx context.Context, queue func(*pgx.Batch)) error {
	s.mu.Lock()
	unused := s.ticket == 0
	s.mu.Unlock()
	if unused {
		return nil
	}
	return s.db.write(ctx, func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(sqlUnhurried)
		queue(&b)
		return tx.SendBatch(ctx, &b).Close()
	})
}

// dropWithin bounds giving back slots to a database that may be away.
const dropWithin = 5 * time.Second

// drop gives back everything. A server that cannot be reached finds out by
// itself.
func (s *Slots) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
	defer cancel()
	if err := s.send(ctx, func(b *pgx.Batch) { b.Queue(sqlDropSlots, s.owner) }); err != nil {
		s.db.log.WarnContext(ctx, "slots for connections were not given back and end by themselves", "error", err)
	}
}

// close gives back everything and returns when that is done.
func (s *Slots) close() {
	s.stop()
	s.kept.Wait()
}
