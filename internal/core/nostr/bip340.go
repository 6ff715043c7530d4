package nostr

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"gitlab.com/yawning/secp256k1-voi"
)

// This file is all that is done on the curve, which is BIP-340 and an exchange of
// keys, over a library for the group; the choice is recorded in docs/adr/0001-bip340-verification.md.

var (
	tagAux       = sha256.Sum256([]byte("BIP0340/aux"))
	tagNonce     = sha256.Sum256([]byte("BIP0340/nonce"))
	tagChallenge = sha256.Sum256([]byte("BIP0340/challenge"))
)

func taggedHash(tag *[32]byte, parts ...[]byte) [32]byte {
	buf := make([]byte, 0, 5*32) // enough for all uses with a 32-byte message
	buf = append(buf, tag[:]...)
	buf = append(buf, tag[:]...)
	for _, p := range parts {
		buf = append(buf, p...)
	}
	return sha256.Sum256(buf)
}

func taggedScalar(tag *[32]byte, parts ...[]byte) *secp256k1.Scalar {
	h := taggedHash(tag, parts...)
	s, _ := secp256k1.NewScalarFromBytes(&h) // modulo n, as the BIP says
	return s
}

// lift returns the point with an even y that has the x of a public key.
func lift(pub *PubKey) (*secp256k1.Point, bool) {
	compressed := [33]byte{0: 2} // even y
	copy(compressed[1:], pub[:])
	p, err := secp256k1.NewPointFromBytes(compressed[:])
	return p, err == nil
}

// verifyBIP340 checks sig over msg by the public key. Its time depends on its
// input, all of which is public.
func verifyBIP340(pub *PubKey, msg []byte, sig *Sig) bool {
	p, ok := lift(pub)
	if !ok {
		return false
	}
	s, err := secp256k1.NewScalarFromCanonicalBytes((*[32]byte)(sig[32:]))
	if err != nil {
		return false // s ≥ n
	}
	e := taggedScalar(&tagChallenge, sig[:32], pub[:], msg)
	r := secp256k1.NewIdentityPoint().DoubleScalarMultBasepointVartime(s, e.Negate(e), p)
	if r.IsIdentity() != 0 {
		return false
	}
	// x is below p, so a received r ≥ p equals none.
	x, odd := secp256k1.SplitUncompressedPoint(r.UncompressedBytes())
	return odd == 0 && [32]byte(x) == [32]byte(sig[:32])
}

// keyPair is a secret scalar, negated if need be so that the public point has
// an even y.
type keyPair struct {
	d   *secp256k1.Scalar
	pub PubKey
}

func newKeyPair(secret *[32]byte) (keyPair, bool) {
	d, err := secp256k1.NewScalarFromCanonicalBytes(secret)
	if err != nil || d.IsZero() != 0 {
		return keyPair{}, false
	}
	x, odd := mulBase(d)
	return keyPair{d: d.ConditionalNegate(d, odd), pub: PubKey(x)}, true
}

func mulBase(k *secp256k1.Scalar) (x []byte, odd uint64) {
	return secp256k1.SplitUncompressedPoint(secp256k1.NewIdentityPoint().ScalarBaseMult(k).UncompressedBytes())
}

// sharedX is Diffie and Hellman's exchange, in constant time. Signs do not
// matter: a point and its negative have one x.
func (k *keyPair) sharedX(pub *PubKey) (x [32]byte, ok bool) {
	p, ok := lift(pub)
	if !ok {
		return x, false
	}
	bytes, _ := secp256k1.SplitUncompressedPoint(secp256k1.NewIdentityPoint().ScalarMult(k.d, p).UncompressedBytes())
	return [32]byte(bytes), true
}

var errSign = errors.New("signing failed: the signature does not verify")

func (k *keyPair) sign(msg []byte, aux *[32]byte) (Sig, error) {
	t := taggedHash(&tagAux, aux[:])
	subtle.XORBytes(t[:], t[:], k.d.Bytes())
	nonce := taggedScalar(&tagNonce, t[:], k.pub[:], msg)
	if nonce.IsZero() != 0 {
		return Sig{}, errSign
	}
	r, odd := mulBase(nonce)
	nonce.ConditionalNegate(nonce, odd)
	e := taggedScalar(&tagChallenge, r, k.pub[:], msg)
	ed := secp256k1.NewScalar().Multiply(e, k.d)
	s := secp256k1.NewScalar().Add(nonce, ed)

	// A miscalculated signature can give the key away. Knowing the key, one
	// base multiplication checks it: (s - ed)G must be R with an even y.
	check, odd := mulBase(secp256k1.NewScalar().Subtract(s, ed))
	if odd != 0 || subtle.ConstantTimeCompare(check, r) == 0 {
		return Sig{}, errSign
	}
	var sig Sig
	copy(sig[:32], r)
	copy(sig[32:], s.Bytes())
	return sig, nil
}
