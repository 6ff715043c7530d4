package service

import (
	"context"
	"errors"
)

// ErrFatal marks an error that repeating cannot mend: an invariant is broken,
// and going on could damage the archive. Wrapped by a cycle it ends the process
// at once, without the grace that other stops give.
var ErrFatal = errors.New("broken invariant")

// softKey finds the context that ends when a stop is asked for, below one that
// ends when work is cut.
type softKey struct{}

// withSoft returns hard with soft to be found by Stopping and UntilStop.
func withSoft(hard, soft context.Context) context.Context {
	return context.WithValue(hard, softKey{}, soft)
}

// softOf returns the context that ends when a stop is asked for. One that no
// Runner made has a single stage, its own end.
func softOf(ctx context.Context) context.Context {
	if soft, ok := ctx.Value(softKey{}).(context.Context); ok {
		return soft
	}
	return ctx
}

// Stopping tells whether the process was asked to stop or ctx has ended. A
// cycle asks between two units of work, such as a page that was saved and the
// next to be read, and returns nil when there is no time for another.
func Stopping(ctx context.Context) bool {
	return softOf(ctx).Err() != nil || ctx.Err() != nil
}

// UntilStop returns a context that ends with ctx and as soon as the process is
// asked to stop, for what may be broken off at any moment: waiting, following
// live, accepting connections. Call the function when done with it.
func UntilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	until, cancel := context.WithCancel(ctx)
	unwatch := context.AfterFunc(softOf(ctx), cancel)
	return until, func() { unwatch(); cancel() }
}
