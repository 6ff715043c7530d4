package store

import (
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
	KeepIndex KeepMode = "index"
)

// Keep is the policy of an archive. It is written into the database by its
// first Migrate and stays with it.
type Keep struct {
	Mode KeepMode
	// FullKinds are kept whole in an index too.
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
	return fmt.Sprintf("the database keeps events by the policy %q, not %q", e.Have, e.Want)
}
