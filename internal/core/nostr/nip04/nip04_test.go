package nip04_test

import (
	"strings"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip04"
	"bigbrotr/internal/core/nostr/nip19"
)

// TestRoundTrip encrypts texts of every length around the cipher's blocks: the
// other key reads them, a third does not.
func TestRoundTrip(t *testing.T) {
	alice, bob, eve := nostr.GenerateKey(), nostr.GenerateKey(), nostr.GenerateKey()
	for n := range 40 {
		text := strings.Repeat("ä", n)
		payload, err := nip04.Encrypt(alice, bob.PubKey(), text)
		if err != nil || !nip04.Looks(payload) {
			t.Fatal(payload, err)
		}
		if have, err := nip04.Decrypt(bob, alice.PubKey(), payload); err != nil || have != text {
			t.Errorf("%d: %q, %v", n, have, err)
		}
		if have, err := nip04.Decrypt(eve, alice.PubKey(), payload); err == nil && have == text {
			t.Errorf("%d: a third reads it", n)
		}
	}
}

// TestGoNostr reads what go-nostr (v0.52.3) has written.
func TestGoNostr(t *testing.T) {
	alice, err := nip19.ParseSecret("91ba716fa9e7ea2fcbad360cf4f8e0d312f73984da63d90f524ad61a6a1e7dbe")
	if err != nil {
		t.Fatal(err)
	}
	bob, err := nip19.ParseSecret("96f6fa197aa07477ab88f6981118466ae3a982faab8ad5db9d5426870c73d220")
	if err != nil {
		t.Fatal(err)
	}
	const payload = "zJxfaJ32rN5Dg1ODjOlEew==?iv=EV5bUjcc4OX2Km/zPp4ndQ=="
	if have, err := nip04.Decrypt(bob, alice.PubKey(), payload); err != nil || have != "nanana" {
		t.Errorf("%q, %v", have, err)
	}
}

func FuzzDecrypt(f *testing.F) {
	f.Add("zJxfaJ32rN5Dg1ODjOlEew==?iv=EV5bUjcc4OX2Km/zPp4ndQ==")
	f.Add("?iv=")
	own, other := nostr.GenerateKey(), nostr.GenerateKey().PubKey()
	f.Fuzz(func(_ *testing.T, payload string) { _, _ = nip04.Decrypt(own, other, payload) })
}
