package store

import (
	"context"
	"fmt"
	"slices"

	"bigbrotr/internal/core/nostr"
)

// KeepMode says how much of an event an archive keeps.
type KeepMode string

// The modes of keeping.
const (
	// KeepFull keeps every event whole.
	KeepFull KeepMode = "full"
	// KeepIndex keeps of most events what filters and statistics need: id,
	// author, time, kind, hashes of the indexed tags, the hash of the d tag and
	// the time of expiry. Their tags, content and signature are not stored.
	// Questions have the answers that a full archive gives, but that such an
	// event fits a condition on a tag when the hash of its value does (64
	// bits), and no condition on a tag whose name is not a single letter.
	KeepIndex KeepMode = "index"
)

// Keep is the policy of an archive. It is written into the database by its
// first Migrate, and the mode stays with it. The zero Keep takes what the
// database has, and is full for a new one.
type Keep struct {
	Mode KeepMode
	// FullKinds are kept whole in an index too. Opening an index with others
	// changes what is kept of events from then on.
	FullKinds []nostr.Kind
}

// Full tells whether events of a kind are kept whole.
func (k Keep) Full(kind nostr.Kind) bool {
	return k.Mode != KeepIndex || slices.Contains(k.FullKinds, kind)
}

// DefaultFullKinds are the kinds that discovery, deletion and vanishing read:
// profiles and every list of relays.
func DefaultFullKinds() []nostr.Kind {
	return []nostr.Kind{0, 2, 5, 62, 10002, 10006, 10007, 10012, 10050, 10102, 10166, 30002, 30166}
}

// KeepError says that a database keeps events by another policy than the one
// that was asked for.
type KeepError struct{ Have, Want KeepMode }

func (e *KeepError) Error() string {
	text := fmt.Sprintf("the database keeps events by the policy %q, not %q", e.Have, e.Want)
	if e.Have == KeepIndex {
		return text + ": what an index has dropped cannot come back, so a full archive begins as a new database that is synchronized again"
	}
	return text + ": it becomes an index only by the step that drops tags, content and signatures for good"
}

// Keeper tells how an archive keeps events.
type Keeper interface {
	// Keep returns the policy that the database holds.
	Keep(ctx context.Context) (Keep, error)
}

// Thinner makes an index of an archive that has events it is not to keep whole.
type Thinner interface {
	// Thin makes keep, whose mode is KeepIndex, the policy of the database, so
	// that new events are kept by it at once, then drops what it does not keep
	// of the events that are there, and gives the space back. The work is done
	// in bounded transactions beside ingest; one that was cut short goes on
	// where it was when Thin is called again. progress is called with how many
	// events were looked at, of how many. For any other mode the error is a
	// *KeepError: nothing brings back what was dropped.
	Thin(ctx context.Context, keep Keep, progress func(done, all int64)) error
}
