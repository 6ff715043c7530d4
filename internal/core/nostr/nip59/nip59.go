// Package nip59 owns gift wraps (NIP-59): an event that is not signed, in a seal
// that only its receiver can open, in a wrap of a key made for it alone. Whoever
// carries it learns for whom it is, and not from whom, nor when it was written.
package nip59

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip44"
)

// The kinds of the layers.
const (
	KindSeal nostr.Kind = 13
	KindWrap nostr.Kind = 1059
)

// spread is how far back in time the layers are dated, at random.
const spread = 2 * 24 * time.Hour

// rumor is an event without a signature, so that what leaks can be denied.
type rumor struct {
	ID        string      `json:"id"`
	PubKey    string      `json:"pubkey"`
	CreatedAt int64       `json:"created_at"`
	Kind      nostr.Kind  `json:"kind"`
	Tags      []nostr.Tag `json:"tags"`
	Content   string      `json:"content"`
}

// Wrap returns the wrap of an event of from's for a receiver. Of the event its
// kind, tags, content and time are taken.
func Wrap(from nostr.SecretKey, to nostr.PubKey, e nostr.Event, now time.Time) (nostr.Event, error) {
	// Signing gives it its author and id; the signature stays here.
	if err := from.Sign(&e); err != nil {
		return nostr.Event{}, fmt.Errorf("wrap: %w", err)
	}
	tags := e.Tags
	if tags == nil {
		tags = []nostr.Tag{}
	}
	text, err := json.Marshal(rumor{e.ID.String(), e.PubKey.String(), e.CreatedAt, e.Kind, tags, e.Content})
	if err != nil {
		return nostr.Event{}, fmt.Errorf("wrap: %w", err)
	}
	seal, err := layer(from, to, KindSeal, nil, string(text), now)
	if err != nil {
		return nostr.Event{}, fmt.Errorf("wrap: %w", err)
	}
	wrap, err := layer(nostr.GenerateKey(), to, KindWrap, []nostr.Tag{{"p", to.String()}}, string(seal.AppendJSON(nil)), now)
	if err != nil {
		return nostr.Event{}, fmt.Errorf("wrap: %w", err)
	}
	return wrap, nil
}

// layer is an event of a key whose content only the receiver can read.
func layer(from nostr.SecretKey, to nostr.PubKey, kind nostr.Kind, tags []nostr.Tag, text string, now time.Time) (nostr.Event, error) {
	key, err := nip44.NewKey(from, to)
	if err != nil {
		return nostr.Event{}, err
	}
	content, err := key.Encrypt(text)
	if err != nil {
		return nostr.Event{}, err
	}
	e := nostr.Event{CreatedAt: now.Add(-rand.N(spread)).Unix(), Kind: kind, Tags: tags, Content: content}
	return e, from.Sign(&e)
}

// ErrWrap means that an event is no wrap for this key, or holds something else
// than a sealed event of the one who sealed it.
var ErrWrap = errors.New("not a gift wrap for this key")

// Open returns the event in a wrap, without a signature: its author is who
// sealed it. The wrap's own signature is the business of who received it.
func Open(to nostr.SecretKey, wrap nostr.Event) (nostr.Event, error) {
	if wrap.Kind != KindWrap {
		return nostr.Event{}, ErrWrap
	}
	text, err := open(to, wrap)
	if err != nil {
		return nostr.Event{}, fmt.Errorf("%w: %w", ErrWrap, err)
	}
	seal, err := nostr.ParseChecked([]byte(text))
	if err != nil || seal.Kind != KindSeal || seal.Verify() != nil {
		return nostr.Event{}, fmt.Errorf("%w: no seal in it", ErrWrap)
	}
	if text, err = open(to, seal); err != nil {
		return nostr.Event{}, fmt.Errorf("%w: %w", ErrWrap, err)
	}
	var r rumor
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nostr.Event{}, fmt.Errorf("%w: no event in it", ErrWrap)
	}
	e := nostr.Event{PubKey: seal.PubKey, CreatedAt: r.CreatedAt, Kind: r.Kind, Tags: r.Tags, Content: r.Content}
	if e.ID, err = nostr.ParseID(r.ID); err != nil || r.PubKey != seal.PubKey.String() || e.CheckID() != nil {
		return nostr.Event{}, fmt.Errorf("%w: the event in it is not of who sealed it", ErrWrap)
	}
	return e, nil
}

func open(to nostr.SecretKey, e nostr.Event) (string, error) {
	key, err := nip44.NewKey(to, e.PubKey)
	if err != nil {
		return "", err
	}
	return key.Decrypt(e.Content)
}
