package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"

	"bigbrotr/internal/core/relay"
)

// TraitKind says what a trait is.
type TraitKind string

// The kinds of traits, and TraitHost, which is none of a relay's own but that of
// its URL.
const (
	TraitHost        TraitKind = "host"
	TraitDocument    TraitKind = "document"    // SHA-256 of the information document
	TraitSelf        TraitKind = "self"        // the relay's own key in it
	TraitPubKey      TraitKind = "pubkey"      // the operator's key in it
	TraitCertificate TraitKind = "certificate" // SHA-256 of the certificate
	TraitAddress     TraitKind = "address"     // 16 bytes
	// TraitOnion is the name of the onion service that a relay is, or that its web
	// server says it is too (Onion-Location).
	TraitOnion TraitKind = "onion"
)

// Trait is something by which a relay may be recognised under another URL. It
// proves nothing alone: operators have several relays, and addresses many.
type Trait struct {
	Kind  TraitKind
	Value []byte
}

// Kin is a relay that shares something with another URL.
type Kin struct {
	Relay
	Shares []TraitKind // by name
}

// Kinship is what an examination of a relay found.
type Kinship struct {
	At      int64
	Traits  []Trait // nil: those known stay
	AliasOf RelayID // the relay that stands for it; 0: itself
	Next    Next    // of the relay, and when to examine it again
}

// Aliases tells relays that are one under several URLs.
type Aliases interface {
	// Kin returns relays in the set that stand for themselves and share the host
	// of url, one of the traits, or one of those kept of url; most shared first,
	// then the lowest number, at most limit.
	Kin(ctx context.Context, url relay.URL, traits []Trait, limit int) ([]Kin, error)
	// SaveKinship keeps the traits in place of those known, links each relay to
	// the one that stands for it, and reschedules, in one transaction. What is
	// leased by another since is left as it is. A relay is linked only to one
	// that stands for itself; its own aliases are linked along.
	SaveKinship(ctx context.Context, kinships []Kinship) error
}

// sortTraits returns traits in order, each once.
func sortTraits(traits []Trait) []Trait {
	list := slices.Clone(traits)
	slices.SortFunc(list, func(a, b Trait) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Value, b.Value)) })
	return slices.CompactFunc(list, func(a, b Trait) bool { return a.Kind == b.Kind && bytes.Equal(a.Value, b.Value) })
}

// TraitList is traits as a JSON array of pairs of kind and value in hex, in
// order, each once.
func TraitList(traits []Trait) string {
	pairs := make([][2]string, 0, len(traits))
	for _, t := range sortTraits(traits) {
		pairs = append(pairs, [2]string{string(t.Kind), hex.EncodeToString(t.Value)})
	}
	text, err := json.Marshal(pairs)
	if err != nil {
		panic(err) // texts always have a form
	}
	return string(text)
}
