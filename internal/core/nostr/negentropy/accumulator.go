package negentropy

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"bigbrotr/internal/core/nostr"
)

// Accumulator is what a fingerprint is made of. It is additive: that of two
// disjoint sets together is the Merge of both, so a day's needs 40 bytes and no
// ids. The zero value is that of no ids.
type Accumulator struct {
	Count int64
	Sum   [32]byte // of the ids as little-endian numbers, modulo 2^256
}

// Fingerprint stands for a set of ids.
type Fingerprint [16]byte

// Add puts an id in. An id that is in already counts twice: keeping a set is the
// caller's.
func (a *Accumulator) Add(id nostr.ID) {
	a.Count++
	a.plus((*[32]byte)(&id))
}

// Sub takes an id out that was put in.
func (a *Accumulator) Sub(id nostr.ID) {
	a.Count--
	a.minus((*[32]byte)(&id))
}

// Merge puts in all that is in b.
func (a *Accumulator) Merge(b Accumulator) {
	a.Count += b.Count
	a.plus(&b.Sum)
}

// without returns what is in a and not in b, a part of it.
func (a Accumulator) without(b Accumulator) Accumulator {
	a.Count -= b.Count
	a.minus(&b.Sum)
	return a
}

func (a *Accumulator) plus(b *[32]byte) {
	var carry uint64
	for i := 0; i < len(b); i += 8 {
		var w uint64
		w, carry = bits.Add64(binary.LittleEndian.Uint64(a.Sum[i:]), binary.LittleEndian.Uint64(b[i:]), carry)
		binary.LittleEndian.PutUint64(a.Sum[i:], w)
	}
}

func (a *Accumulator) minus(b *[32]byte) {
	var borrow uint64
	for i := 0; i < len(b); i += 8 {
		var w uint64
		w, borrow = bits.Sub64(binary.LittleEndian.Uint64(a.Sum[i:]), binary.LittleEndian.Uint64(b[i:]), borrow)
		binary.LittleEndian.PutUint64(a.Sum[i:], w)
	}
}

// Fingerprint returns the fingerprint of the ids put in.
func (a Accumulator) Fingerprint() Fingerprint {
	var buf [32 + maxVarint]byte
	copy(buf[:], a.Sum[:])
	sum := sha256.Sum256(appendVarint(buf[:32], uint64(a.Count)))
	return Fingerprint(sum[:16])
}
