package nostr

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"unicode/utf8"
)

// ErrSig means that a signature does not verify.
var ErrSig = errors.New("signature does not verify")

// Verify returns ErrSig unless Sig is PubKey's BIP-340 signature over ID. It
// does not look at where ID is from: call CheckID first.
func (e *Event) Verify() error {
	if !verifyBIP340(&e.PubKey, e.ID[:], &e.Sig) {
		return ErrSig
	}
	return nil
}

var (
	errSecretKey = errors.New("not a secret key: want 32 bytes, not zero and below the group order")
	errSignText  = errors.New("event text is not valid UTF-8")
	errSignRange = errors.New("event kind or created_at is negative")
)

// SecretKey signs events. It prints as dots. The zero value is not usable.
type SecretKey struct{ pair *keyPair }

// GenerateKey returns a random key.
func GenerateKey() SecretKey {
	for {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails, by its contract
		// One in 2^128 is outside the group's order.
		if k, err := SecretKeyFromBytes(b[:]); err == nil {
			return k
		}
	}
}

// SecretKeyFromBytes returns the key whose secret is the 32 bytes of b.
func SecretKeyFromBytes(b []byte) (SecretKey, error) {
	if len(b) != 32 {
		return SecretKey{}, errSecretKey
	}
	pair, ok := newKeyPair((*[32]byte)(b))
	if !ok {
		return SecretKey{}, errSecretKey
	}
	return SecretKey{pair: &pair}, nil
}

// PubKey returns the public key.
func (k SecretKey) PubKey() PubKey { return k.pair.pub }

var errPoint = errors.New("not a public key: no point of the curve has this x")

// SharedX returns the x coordinate of the secret's product with the point of a
// public key: the same for both of two keys, and known to nobody else. It is not
// hashed; NIP-44 says what is made of it.
func (k SecretKey) SharedX(with PubKey) ([32]byte, error) {
	x, ok := k.pair.sharedX(&with)
	if !ok {
		return [32]byte{}, errPoint
	}
	return x, nil
}

// String hides the secret.
func (SecretKey) String() string { return "••••" }

// GoString hides the secret.
func (SecretKey) GoString() string { return "••••" }

// Sign sets PubKey, ID and Sig. The event's text must be valid UTF-8: we never
// make an event that others may hash differently. BIP-340's auxiliary
// randomness is zero, so equal events get equal signatures and a generated
// network is the same in every run.
func (k SecretKey) Sign(e *Event) error {
	if e.CreatedAt < 0 || e.Kind < 0 {
		return errSignRange
	}
	ok := utf8.ValidString(e.Content)
	for _, t := range e.Tags {
		for _, s := range t {
			ok = ok && utf8.ValidString(s)
		}
	}
	if !ok {
		return errSignText
	}
	e.PubKey = k.pair.pub
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	sig, err := k.pair.sign(e.ID[:], new([32]byte))
	if err != nil {
		return err
	}
	e.Sig = sig
	return nil
}
