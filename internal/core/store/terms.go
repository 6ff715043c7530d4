package store

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"bigbrotr/internal/core/nostr"
)

// TagHash is what the index of tags holds instead of a tag: the first eight
// bytes of SHA-256 of "name:value". A hit must be compared with the event.
func TagHash(name, value string) int64 {
	var buf [256]byte
	b := append(buf[:0], name...)
	b = append(b, ':')
	b = append(b, value...)
	sum := sha256.Sum256(b)
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// Indexed tells whether a tag is found by filters: its name is a single letter
// and it has a value (NIP-01).
func Indexed(t nostr.Tag) bool {
	return len(t) > 1 && len(t[0]) == 1 && (t[0][0]|0x20 >= 'a' && t[0][0]|0x20 <= 'z')
}

// private lists the kinds that are for their recipients only: direct messages
// (NIP-04, NIP-17), seals and gift wraps (NIP-59).
var private = []nostr.Kind{4, 13, 14, 15, 1059}

// Private tells whether events of a kind are never served to strangers: those
// for their recipients, and ephemeral ones, which are nobody's any more.
func Private(k nostr.Kind) bool { return k.IsEphemeral() || slices.Contains(private, k) }

// PrivateKinds returns the kinds for which Private is true, but for the
// ephemeral ones.
func PrivateKinds() []nostr.Kind { return slices.Clone(private) }
