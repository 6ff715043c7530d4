// Package nip19 reads and writes the bech32 names of NIP-19: npub, note,
// nprofile, nevent, naddr and the old nrelay; and finds them in text. It has a
// bech32 of its own, because BIP-173's limit of 90 characters does not hold
// here.
//
// Relay hints are returned as they are written; package relay decides whether
// they are relays. A secret key (nsec) is refused everywhere but in
// DecodeSecret, which exists for reading one's own configuration.
package nip19

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"

	"bigbrotr/internal/core/nostr"
)

// MaxLength is the longest text that is decoded or written, as NIP-19 advises.
const MaxLength = 5000

// Why a text is not a name. Callers match them with errors.Is.
var (
	ErrPrefix    = errors.New("unknown prefix")
	ErrSecret    = errors.New("a secret key")
	ErrLength    = errors.New("wrong length")
	ErrCase      = errors.New("mixed case")
	ErrCharacter = errors.New("not a bech32 character")
	ErrPadding   = errors.New("wrong padding")
	ErrChecksum  = errors.New("wrong checksum")
	ErrRecord    = errors.New("malformed or missing record")
)

// Prefix is the human-readable part of a name: what it names.
type Prefix string

// The prefixes of NIP-19 but for nsec.
const (
	PubKey  Prefix = "npub"
	Note    Prefix = "note"
	Profile Prefix = "nprofile"
	Event   Prefix = "nevent"
	Address Prefix = "naddr"
	Relay   Prefix = "nrelay" // deprecated
)

const secret = "nsec"

// Entity is what a name says. Which fields count depends on Prefix:
//
//	npub      PubKey
//	note      ID
//	nprofile  PubKey, Relays
//	nevent    ID, Relays, and perhaps PubKey and Kind of the event
//	naddr     Identifier, PubKey, Kind, Relays
//	nrelay    Relays, with one element
type Entity struct {
	Prefix     Prefix
	PubKey     nostr.PubKey // zero when an nevent does not name its author
	ID         nostr.ID
	Identifier string      // the d tag
	Kind       *nostr.Kind // nil when an nevent does not name its kind
	Relays     []string    // as written
}

// The record types of NIP-19.
const (
	recordSpecial = 0
	recordRelay   = 1
	recordAuthor  = 2
	recordKind    = 3
)

// Decode reads a name, without "nostr:" before it. Records of unknown type are
// ignored, of a repeated one the first counts.
func Decode(s string) (Entity, error) {
	e, err := decode(s)
	if err != nil {
		return Entity{}, fmt.Errorf("decode nip19 name: %w", err)
	}
	return e, nil
}

func decode(s string) (Entity, error) {
	prefix, data, err := split(s)
	if err != nil {
		return Entity{}, err
	}
	switch Prefix(prefix) {
	case PubKey, Note, Profile, Event, Address, Relay:
	case secret:
		return Entity{}, ErrSecret
	default:
		return Entity{}, ErrPrefix
	}
	raw, err := decodeBech32(prefix, data)
	if err != nil {
		return Entity{}, err
	}
	e := Entity{Prefix: Prefix(prefix)}
	switch e.Prefix {
	case PubKey:
		err = fill(e.PubKey[:], raw)
	case Note:
		err = fill(e.ID[:], raw)
	default:
		err = e.records(raw)
	}
	return e, err
}

// DecodeSecret reads an nsec. The key must go nowhere but into signing.
func DecodeSecret(s string) (key [32]byte, err error) {
	prefix, data, err := split(s)
	if err == nil && prefix != secret {
		err = ErrPrefix
	}
	if err == nil {
		var raw []byte
		if raw, err = decodeBech32(prefix, data); err == nil {
			err = fill(key[:], raw)
		}
	}
	if err != nil {
		return [32]byte{}, fmt.Errorf("decode secret key: %w", err)
	}
	return key, nil
}

// ParseSecret reads a secret key as people keep it: an nsec, or 64 hex digits,
// with white space around.
func ParseSecret(text string) (nostr.SecretKey, error) {
	text = strings.TrimSpace(text)
	raw, err := hex.DecodeString(text)
	if err != nil {
		key, err := DecodeSecret(text)
		if err != nil {
			return nostr.SecretKey{}, err
		}
		raw = key[:]
	}
	return nostr.SecretKeyFromBytes(raw)
}

// split parts a text at its last 1 and brings it to lower case.
func split(s string) (prefix, data string, err error) {
	if len(s) > MaxLength {
		return "", "", ErrLength
	}
	if lower := strings.ToLower(s); lower != s {
		if strings.ToUpper(s) != s {
			return "", "", ErrCase
		}
		s = lower
	}
	at := strings.LastIndexByte(s, '1')
	if at < 0 {
		return "", "", ErrPrefix
	}
	return s[:at], s[at+1:], nil
}

func fill(dst, raw []byte) error {
	if len(raw) != len(dst) {
		return ErrLength
	}
	copy(dst, raw)
	return nil
}

func (e *Entity) records(raw []byte) error {
	var special, author bool
	for len(raw) > 0 {
		if len(raw) < 2 || len(raw) < 2+int(raw[1]) {
			return ErrRecord
		}
		kind, value := raw[0], raw[2:2+int(raw[1])]
		raw = raw[2+len(value):]
		switch kind {
		case recordSpecial:
			if special {
				continue
			}
			special = true
			if err := e.special(value); err != nil {
				return err
			}
		case recordRelay:
			e.Relays = append(e.Relays, string(value))
		case recordAuthor:
			if author || e.Prefix == Profile || e.Prefix == Relay {
				continue
			}
			author = true
			if fill(e.PubKey[:], value) != nil {
				return ErrRecord
			}
		case recordKind:
			if e.Kind != nil || e.Prefix == Profile || e.Prefix == Relay {
				continue
			}
			if len(value) != 4 {
				return ErrRecord
			}
			k := nostr.Kind(binary.BigEndian.Uint32(value))
			e.Kind = &k
		}
	}
	if !special || e.Prefix == Address && (!author || e.Kind == nil) {
		return ErrRecord
	}
	return nil
}

func (e *Entity) special(value []byte) error {
	var err error
	switch e.Prefix {
	case Profile:
		err = fill(e.PubKey[:], value)
	case Event:
		err = fill(e.ID[:], value)
	case Address:
		e.Identifier = string(value)
	case Relay:
		e.Relays = append(e.Relays, string(value))
	}
	if err != nil {
		return ErrRecord
	}
	return nil
}

// Encode writes the name of e. It fails with ErrLength when an identifier, a
// relay or the whole is too long for the format, with ErrRecord when a kind is
// missing or beyond 32 bits, and with ErrPrefix for anything but npub, note,
// nprofile, nevent and naddr.
func Encode(e Entity) (string, error) {
	s, err := encode(e)
	if err != nil {
		return "", fmt.Errorf("encode nip19 name: %w", err)
	}
	return s, nil
}

func encode(e Entity) (string, error) {
	var raw []byte
	switch e.Prefix {
	case PubKey:
		return EncodePubKey(e.PubKey), nil
	case Note:
		return EncodeID(e.ID), nil
	case Profile:
		raw = appendRecord(raw, recordSpecial, e.PubKey[:])
	case Event:
		raw = appendRecord(raw, recordSpecial, e.ID[:])
	case Address:
		if len(e.Identifier) > math.MaxUint8 {
			return "", ErrLength
		}
		raw = appendRecord(raw, recordSpecial, []byte(e.Identifier))
	default:
		return "", ErrPrefix
	}
	for _, r := range e.Relays {
		if len(r) > math.MaxUint8 {
			return "", ErrLength
		}
		raw = appendRecord(raw, recordRelay, []byte(r))
	}
	if e.Prefix == Address || e.Prefix == Event && e.PubKey != (nostr.PubKey{}) {
		raw = appendRecord(raw, recordAuthor, e.PubKey[:])
	}
	if e.Prefix == Address && e.Kind == nil {
		return "", ErrRecord
	}
	if e.Kind != nil && e.Prefix != Profile {
		if *e.Kind < 0 || *e.Kind > math.MaxUint32 {
			return "", ErrRecord
		}
		raw = appendRecord(raw, recordKind, binary.BigEndian.AppendUint32(nil, uint32(*e.Kind)))
	}
	s := encodeBech32(string(e.Prefix), raw)
	if len(s) > MaxLength {
		return "", ErrLength
	}
	return s, nil
}

func appendRecord(raw []byte, kind byte, value []byte) []byte {
	return append(append(raw, kind, byte(len(value))), value...)
}

// EncodePubKey writes an npub.
func EncodePubKey(k nostr.PubKey) string { return encodeBech32(string(PubKey), k[:]) }

// EncodeID writes a note.
func EncodeID(id nostr.ID) string { return encodeBech32(string(Note), id[:]) }

// Find returns the names that stand in a text, with "nostr:" before them or
// bare, in order, at most limit of them. Only those with a right checksum
// count, so prose is not mistaken for one. The time is linear in the text.
func Find(text string, limit int) []Entity {
	var found []Entity
	for at := 0; len(found) < limit; {
		one := strings.IndexByte(text[at:], '1')
		if one < 0 {
			break
		}
		one += at
		at = one + 1
		prefix, ok := prefixBefore(text[:one])
		if !ok {
			continue
		}
		end := at
		for end < len(text) && charValue[text[end]] >= 0 {
			end++
		}
		// Text runs on right behind some: the length of these two is known.
		if n := at + fixedLength; (prefix == PubKey || prefix == Note) && end > n {
			end = n
		}
		at, one = end, one-len(prefix)
		if e, err := decode(text[one:end]); err == nil {
			found = append(found, e)
		}
	}
	return found
}

// fixedLength is the length of the data part of npub and note.
const fixedLength = (32*8+4)/5 + checksumLength

// prefixBefore tells which prefix a text ends in; a longer word that only ends
// like one does not count.
func prefixBefore(text string) (Prefix, bool) {
	if len(text) < 4 {
		return "", false
	}
	var p Prefix
	switch text[len(text)-4:] {
	case "npub":
		p = PubKey
	case "note":
		p = Note
	case "file":
		p = Profile
	case "vent":
		p = Event
	case "addr":
		p = Address
	case "elay":
		p = Relay
	default:
		return "", false
	}
	before, ok := strings.CutSuffix(text, string(p))
	if !ok {
		return "", false
	}
	if before == "" {
		return p, true
	}
	c := before[len(before)-1]
	return p, (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
}
