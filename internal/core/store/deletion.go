package store

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"

	"bigbrotr/internal/core/nostr"
)

// The kinds by which authors ask to forget.
const (
	KindDeletion nostr.Kind = 5  // NIP-09
	KindVanish   nostr.Kind = 62 // NIP-62
)

// DeletionHashes returns the hashes by which a request is found: those of its
// tags and, since the address of an event that is not kept whole is known by
// parts, those of the author's own addresses.
func DeletionHashes(e *nostr.Event) []int64 {
	var hashes []int64
	for _, t := range e.Tags {
		if len(t) < 2 || t[0] != "e" && t[0] != "a" {
			continue
		}
		hashes = append(hashes, TagHash(t[0], t[1]))
		if t[0] == "e" {
			continue
		}
		if kind, d, own := OwnAddress(t[1], e.PubKey); own {
			hashes = append(hashes, AddressHash(kind, TagHash("d", d)))
		}
	}
	return hashes
}

// Deletion is a way in which its author can ask to forget an event: by its id for
// ever, by its address for versions up to the request.
type Deletion struct {
	Hash  int64 // one of DeletionHashes of the request
	Since int64 // the least created_at of the request
}

// DeletionsOf returns the ways in which an event can be deleted, none for a
// request to delete.
func DeletionsOf(r *Record) []Deletion {
	e := &r.Event
	if e.Kind == KindDeletion {
		return nil
	}
	ways := append(make([]Deletion, 0, 2), Deletion{TagHash("e", e.ID.String()), math.MinInt64})
	switch {
	case e.Kind.IsAddressable() && r.IndexOnly:
		var d int64
		if r.Index.D != nil {
			d = *r.Index.D
		}
		ways = append(ways, Deletion{AddressHash(e.Kind, d), e.CreatedAt})
	case e.Kind.IsAddressable():
		ways = append(ways, Deletion{TagHash("a", Address(e.Kind, e.PubKey, DTag(e))), e.CreatedAt})
	case e.Kind.IsReplaceable():
		ways = append(ways, Deletion{TagHash("a", Address(e.Kind, e.PubKey, "")), e.CreatedAt})
	}
	return ways
}

// AskedFor tells whether a request is one for that. Hash and half a key are strong
// enough to find it; whether to believe it, its tags say unless they are not kept.
func (d Deletion) AskedFor(author nostr.PubKey, request *Record) bool {
	return request.Event.PubKey == author && (request.IndexOnly || slices.Contains(DeletionHashes(&request.Event), d.Hash))
}

// Address is how a tags write where versions of an event are (NIP-01).
func Address(kind nostr.Kind, author nostr.PubKey, d string) string {
	return strconv.FormatInt(int64(kind), 10) + ":" + author.String() + ":" + d
}

// OwnAddress takes an address apart; false for one that is of another author, or not
// written as Address does.
func OwnAddress(text string, author nostr.PubKey) (kind nostr.Kind, d string, own bool) {
	number, rest, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	d, own = strings.CutPrefix(rest, author.String()+":")
	kind = nostr.Kind(n)
	return kind, d, err == nil && own && text == Address(kind, author, d)
}

// AddressHash is the address of an event by its kind and the hash of its d tag.
// Whose it is, the column author says. Its name is longer than a letter, so no
// tag has it.
func AddressHash(kind nostr.Kind, d int64) int64 {
	b := binary.BigEndian.AppendUint64(nil, uint64(kind))
	return TagHash("address", string(binary.BigEndian.AppendUint64(b, uint64(d))))
}

// Vanishes tells whether an event asks every relay to forget its author
// (NIP-62).
func Vanishes(e *nostr.Event) bool {
	if e.Kind != KindVanish {
		return false
	}
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == "relay" && t[1] == "ALL_RELAYS" {
			return true
		}
	}
	return false
}

// DTag is the value of the d tag, empty when there is none.
func DTag(e *nostr.Event) string {
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == "d" {
			return t[1]
		}
	}
	return ""
}

// Expiry returns when an event expires (NIP-40).
func Expiry(e *nostr.Event) (at int64, ok bool) {
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == "expiration" {
			at, err := strconv.ParseInt(t[1], 10, 64)
			return at, err == nil
		}
	}
	return 0, false
}
