// Package nip44 owns version 2 of encrypted payloads (NIP-44): text that two
// keys can read and nobody else. It hides neither who writes to whom nor when;
// for that there is package nip59.
package nip44

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/bits"

	"golang.org/x/crypto/chacha20"

	"bigbrotr/internal/core/nostr"
)

// MaxText is how many bytes a text has at most. It has at least one.
const MaxText = 65535

const (
	version = 2
	// The parts of a payload: version, nonce, text with its length and padding,
	// and a code by which it is known to be whole.
	nonceSize = 32
	codeSize  = sha256.Size
	minBytes  = 1 + nonceSize + 2 + minPadded + codeSize
	maxBytes  = 1 + nonceSize + 2 + MaxText + 1 + codeSize
	minPadded = 32
)

// The errors of this package.
var (
	// ErrLength: a text that is empty or too long.
	ErrLength = errors.New("text is empty or longer than 65535 bytes")
	// ErrVersion: a payload of another version.
	ErrVersion = errors.New("unknown version of encryption")
	// ErrPayload: a payload that is damaged, or for somebody else.
	ErrPayload = errors.New("not an encrypted payload for this key")
)

// Key is what two keys have in common. It prints as dots. Make one with
// NewKey.
type Key struct{ secret []byte }

// String hides the secret.
func (Key) String() string { return "••••" }

// GoString hides the secret.
func (Key) GoString() string { return "••••" }

// NewKey returns the key of a conversation of two, which is the same for both.
// It fails for a public key that is none.
func NewKey(own nostr.SecretKey, other nostr.PubKey) (Key, error) {
	x, err := own.SharedX(other)
	if err != nil {
		return Key{}, err
	}
	secret, err := hkdf.Extract(sha256.New, x[:], []byte("nip44-v2"))
	return Key{secret}, err
}

// Encrypt returns a payload, another one each time.
func (k Key) Encrypt(text string) (string, error) {
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails, by its contract
	return k.encrypt(text, nonce)
}

func (k Key) encrypt(text string, nonce [nonceSize]byte) (string, error) {
	if text == "" || len(text) > MaxText {
		return "", ErrLength
	}
	m, err := k.message(nonce[:])
	if err != nil {
		return "", err
	}
	padded := make([]byte, 2+paddedSize(len(text)))
	binary.BigEndian.PutUint16(padded, uint16(len(text)))
	copy(padded[2:], text)
	payload := append([]byte{version}, nonce[:]...)
	m.cipher.XORKeyStream(padded, padded)
	payload = append(payload, padded...)
	payload = append(payload, m.code(nonce[:], padded)...)
	return base64.StdEncoding.EncodeToString(payload), nil
}

// Decrypt returns the text of a payload: ErrVersion or ErrPayload when there is
// none for this key.
func (k Key) Decrypt(payload string) (string, error) {
	if payload == "" || payload[0] == '#' { // reserved for versions that are not in base64
		return "", ErrVersion
	}
	if len(payload) > base64.StdEncoding.EncodedLen(maxBytes) {
		return "", ErrPayload
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(payload)
	if err != nil || len(raw) < minBytes || len(raw) > maxBytes {
		return "", ErrPayload
	}
	if raw[0] != version {
		return "", ErrVersion
	}
	nonce, padded, code := raw[1:1+nonceSize], raw[1+nonceSize:len(raw)-codeSize], raw[len(raw)-codeSize:]
	m, err := k.message(nonce)
	if err != nil {
		return "", err
	}
	if !hmac.Equal(m.code(nonce, padded), code) {
		return "", ErrPayload
	}
	m.cipher.XORKeyStream(padded, padded)
	n := int(binary.BigEndian.Uint16(padded))
	if n == 0 || len(padded) != 2+paddedSize(n) {
		return "", ErrPayload
	}
	return string(padded[2 : 2+n]), nil
}

// message is what one payload is made with.
type message struct {
	cipher  *chacha20.Cipher
	codeKey []byte
}

func (k Key) message(nonce []byte) (message, error) {
	keys, err := hkdf.Expand(sha256.New, k.secret, string(nonce), chacha20.KeySize+chacha20.NonceSize+codeSize)
	if err != nil {
		return message{}, err
	}
	key, rest := keys[:chacha20.KeySize], keys[chacha20.KeySize:]
	cipher, err := chacha20.NewUnauthenticatedCipher(key, rest[:chacha20.NonceSize])
	return message{cipher, rest[chacha20.NonceSize:]}, err
}

// code proves the nonce along with what is encrypted.
func (m message) code(nonce, encrypted []byte) []byte {
	h := hmac.New(sha256.New, m.codeKey)
	h.Write(nonce)
	h.Write(encrypted)
	return h.Sum(nil)
}

// paddedSize is to what length a text is filled up, so that its own does not
// show.
func paddedSize(n int) int {
	if n <= minPadded {
		return minPadded
	}
	const small, parts = 256, 8
	chunk := minPadded
	if power := 1 << bits.Len(uint(n-1)); power > small {
		chunk = power / parts
	}
	return chunk * ((n-1)/chunk + 1)
}
