// Package nostr owns the words of NIP-01: events, filters, ids, signatures and
// the envelopes they travel in. It reads and writes bytes and opens no
// connection.
package nostr

import (
	"encoding/hex"
	"errors"
)

// ID is the SHA-256 of an event's canonical form.
type ID [32]byte

// PubKey is a 32-byte x-only public key (BIP-340).
type PubKey [32]byte

// Sig is a 64-byte BIP-340 signature.
type Sig [64]byte

// String returns lower-case hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// String returns lower-case hex.
func (k PubKey) String() string { return hex.EncodeToString(k[:]) }

// String returns lower-case hex.
func (s Sig) String() string { return hex.EncodeToString(s[:]) }

var errHex = errors.New("not 64 lower-case hex digits")

// ParseID reads 64 lower-case hex digits.
func ParseID(s string) (ID, error) {
	var id ID
	if !decodeHex(id[:], s) {
		return ID{}, errHex
	}
	return id, nil
}

// ParsePubKey reads 64 lower-case hex digits. The point is not checked to be
// on the curve.
func ParsePubKey(s string) (PubKey, error) {
	var k PubKey
	if !decodeHex(k[:], s) {
		return PubKey{}, errHex
	}
	return k, nil
}

func decodeHex(dst []byte, s string) bool {
	return len(s) == 2*len(dst) && unhex(dst, []byte(s))
}

// Kind is the kind of an event. NIP-01 allows 0 to 65535; relays store more.
type Kind int64

// Tag is a list of strings whose first is the tag's name. It may be empty.
type Tag []string

// Event is a Nostr event. Strings hold the exact characters that were hashed;
// a lone UTF-16 surrogate escape is held as its three-byte WTF-8 form, so that
// the canonical form can be written again and still hashes to ID.
type Event struct {
	ID        ID
	PubKey    PubKey
	CreatedAt int64 // Unix seconds, 0 to 2^63-1
	Kind      Kind
	Tags      []Tag
	Content   string
	Sig       Sig
}

// Ref returns the id of the event and when it was made.
func (e *Event) Ref() Ref { return Ref{ID: e.ID, CreatedAt: e.CreatedAt} }

// Ref is what an id scan learns of an event without parsing it.
type Ref struct {
	ID        ID
	CreatedAt int64
}
