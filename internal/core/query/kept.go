package query

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// The ages of what is kept: at which it is read anew while somebody asks, unless
// reading it takes too large a part of the time, and up to which it is given. While
// nobody asks it is read more seldom, and who asks then waits for a new one, unless
// reading it takes long.
const (
	keptEvery = time.Second
	keptPart  = 20
	keptFresh = 10 * time.Second
	keptIdle  = time.Minute // after which nobody asks
	keptRest  = 1000        // the part while nobody does
	keptLong  = 100 * time.Millisecond
	keptOld   = 2 * keptIdle // up to which one that takes long is given
)

// kept is an answer about the whole archive. It costs too much to be read for
// everybody who asks, and is given to all of them for some seconds.
type kept[T any] struct {
	read    func(context.Context) (T, error)
	reading chan struct{} // one entry: the right to read it anew
	wake    chan struct{} // one entry: somebody was given an old one

	mu      sync.Mutex
	now     T
	at      time.Time // when it was read; zero: it was not
	asked   time.Time
	took    time.Duration // to read it
	running bool          // run reads it anew
}

func keep[T any](read func(context.Context) (T, error)) kept[T] {
	return kept[T]{read: read, reading: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// get returns the answer, which is not to be changed.
func (k *kept[T]) get(ctx context.Context) (T, error) {
	k.mu.Lock()
	age, long := keptFresh, k.took >= keptLong
	switch {
	case long && k.running && time.Since(k.at) >= keptFresh:
		age = keptOld
		select {
		case k.wake <- struct{}{}:
		default:
		}
	case !long && time.Since(k.asked) >= keptIdle:
		age = keptEvery / 2
	}
	k.asked = time.Now()
	k.mu.Unlock()
	return k.younger(ctx, age)
}

// younger returns the answer of an age at most. Of those who want it anew one
// reads it and the others wait.
func (k *kept[T]) younger(ctx context.Context, age time.Duration) (now T, err error) {
	if now, ok := k.known(age); ok {
		return now, nil
	}
	select {
	case k.reading <- struct{}{}:
		defer func() { <-k.reading }()
	case <-ctx.Done():
		return now, fmt.Errorf("wait for who reads: %w", ctx.Err())
	}
	if now, ok := k.known(age); ok {
		return now, nil
	}
	begin := time.Now()
	if now, err = k.read(ctx); err != nil {
		return now, err
	}
	k.mu.Lock()
	k.now, k.at, k.took = now, begin, time.Since(begin)
	k.mu.Unlock()
	return now, nil
}

func (k *kept[T]) known(age time.Duration) (T, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now, !k.at.IsZero() && time.Since(k.at) < age
}

// run reads the answer and then anew, so that nobody has to wait for it long,
// until ctx ends.
func (k *kept[T]) run(ctx context.Context) {
	k.runs(true)
	defer k.runs(false)
	tick := time.NewTicker(keptEvery)
	defer tick.Stop()
	for {
		// Who asks next meets the same error, and tells of it.
		_, _ = k.younger(ctx, k.due())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-k.wake:
		}
	}
}

func (k *kept[T]) runs(running bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running = running
}

// due is the age at which run reads it anew.
func (k *kept[T]) due() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := min(keptPart*k.took, keptIdle)
	if time.Since(k.asked) >= keptIdle {
		age = min(keptRest*k.took, keptIdle)
	}
	return max(age, keptEvery/2)
}
