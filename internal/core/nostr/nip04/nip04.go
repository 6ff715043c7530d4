// Package nip04 owns the old way to encrypt text for another key (NIP-04), which
// NIP-44 has taken the place of. It is here for those who still use it: what is
// encrypted can be changed on its way without notice.
package nip04

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"

	"bigbrotr/internal/core/nostr"
)

// MaxText is how many bytes a text has at most.
const MaxText = 1 << 20

// ErrPayload means that a payload is none of NIP-04, or for somebody else.
var ErrPayload = errors.New("not an encrypted payload for this key")

// separator stands between what is encrypted and where the cipher began.
const separator = "?iv="

// Looks tells whether a payload has the form of NIP-04.
func Looks(payload string) bool { return strings.Contains(payload, separator) }

func block(own nostr.SecretKey, other nostr.PubKey) (cipher.Block, error) {
	x, err := own.SharedX(other)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(x[:])
}

// Encrypt returns a payload, another one each time.
func Encrypt(own nostr.SecretKey, other nostr.PubKey, text string) (string, error) {
	b, err := block(own, other)
	if err != nil {
		return "", err
	}
	var iv [aes.BlockSize]byte
	_, _ = rand.Read(iv[:]) // never fails, by its contract
	pad := aes.BlockSize - len(text)%aes.BlockSize
	padded := append([]byte(text), strings.Repeat(string(rune(pad)), pad)...)
	cipher.NewCBCEncrypter(b, iv[:]).CryptBlocks(padded, padded)
	return base64.StdEncoding.EncodeToString(padded) + separator + base64.StdEncoding.EncodeToString(iv[:]), nil
}

// Decrypt returns the text of a payload: ErrPayload when there is none for this
// key that can be told from one.
func Decrypt(own nostr.SecretKey, other nostr.PubKey, payload string) (string, error) {
	text, start, found := strings.Cut(payload, separator)
	if !found || len(payload) > 2*MaxText {
		return "", ErrPayload
	}
	padded, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(padded) == 0 || len(padded)%aes.BlockSize != 0 {
		return "", ErrPayload
	}
	iv, err := base64.StdEncoding.DecodeString(start)
	if err != nil || len(iv) != aes.BlockSize {
		return "", ErrPayload
	}
	b, err := block(own, other)
	if err != nil {
		return "", err
	}
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(padded, padded)
	pad := int(padded[len(padded)-1])
	if pad == 0 || pad > aes.BlockSize {
		return "", ErrPayload
	}
	for _, c := range padded[len(padded)-pad:] {
		if int(c) != pad {
			return "", ErrPayload
		}
	}
	return string(padded[:len(padded)-pad]), nil
}
