package dvm

import (
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip04"
	"bigbrotr/internal/core/nostr/nip44"
)

// cipher encrypts for the customer of a request, in the way in which the request
// was encrypted.
type cipher func(text string) (string, error)

// decrypt returns the text of an encrypted request, and what to answer it with.
func decrypt(key nostr.SecretKey, customer nostr.PubKey, payload string) (cipher, string, error) {
	if nip04.Looks(payload) {
		text, err := nip04.Decrypt(key, customer, payload)
		return func(text string) (string, error) { return nip04.Encrypt(key, customer, text) }, text, err
	}
	shared, err := nip44.NewKey(key, customer)
	if err != nil {
		return nil, "", err
	}
	text, err := shared.Decrypt(payload)
	return shared.Encrypt, text, err
}
