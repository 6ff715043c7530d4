package nip44

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"bigbrotr/internal/core/nostr"
)

// vectors are the official ones of NIP-44: nip44.vectors.json of
// github.com/paulmillr/nip44 at 671a1f0, whose SHA-256 the NIP names.
type vectors struct {
	V2 struct {
		Valid struct {
			Keys []struct {
				Sec1 string `json:"sec1"`
				Pub2 string `json:"pub2"`
				Key  string `json:"conversation_key"`
			} `json:"get_conversation_key"`
			Messages struct {
				Key  string `json:"conversation_key"`
				Keys []struct {
					Nonce  string `json:"nonce"`
					Cipher string `json:"chacha_key"`
					Start  string `json:"chacha_nonce"`
					Code   string `json:"hmac_key"`
				} `json:"keys"`
			} `json:"get_message_keys"`
			Padded [][2]int `json:"calc_padded_len"`
			Texts  []struct {
				Sec1    string `json:"sec1"`
				Sec2    string `json:"sec2"`
				Key     string `json:"conversation_key"`
				Nonce   string `json:"nonce"`
				Text    string `json:"plaintext"`
				Payload string `json:"payload"`
			} `json:"encrypt_decrypt"`
			Long []struct {
				Key     string `json:"conversation_key"`
				Nonce   string `json:"nonce"`
				Pattern string `json:"pattern"`
				Repeat  int    `json:"repeat"`
				Text    string `json:"plaintext_sha256"`
				Payload string `json:"payload_sha256"`
			} `json:"encrypt_decrypt_long_msg"`
		} `json:"valid"`
		Invalid struct {
			Lengths []int `json:"encrypt_msg_lengths"`
			Keys    []struct {
				Sec1 string `json:"sec1"`
				Pub2 string `json:"pub2"`
				Note string `json:"note"`
			} `json:"get_conversation_key"`
			Payloads []struct {
				Key     string `json:"conversation_key"`
				Payload string `json:"payload"`
				Note    string `json:"note"`
			} `json:"decrypt"`
		} `json:"invalid"`
	} `json:"v2"`
}

const digest = "269ed0f69e4c192512cc779e78c555090cebc7c785b609e338a62afc3ce25040"

func load(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/nip44.vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sum(string(text)); sum != digest {
		t.Fatalf("the vectors hash to %s, want %s", sum, digest)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func sum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func raw(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func secret(t *testing.T, text string) nostr.SecretKey {
	t.Helper()
	k, err := nostr.SecretKeyFromBytes(raw(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestVectors checks what the NIP's vectors say of what is right.
func TestVectors(t *testing.T) {
	v := load(t).V2.Valid
	for _, test := range v.Keys {
		key, err := NewKey(secret(t, test.Sec1), nostr.PubKey(raw(t, test.Pub2)))
		if got := hex.EncodeToString(key.secret); err != nil || got != test.Key {
			t.Errorf("key of %s and %s is %s (%v), want %s", test.Sec1, test.Pub2, got, err, test.Key)
		}
	}
	for _, test := range v.Messages.Keys {
		m, err := Key{raw(t, v.Messages.Key)}.message(raw(t, test.Nonce))
		if err != nil || !bytes.Equal(m.codeKey, raw(t, test.Code)) {
			t.Errorf("nonce %s makes the code's key %x (%v), want %s", test.Nonce, m.codeKey, err, test.Code)
		}
	}
	for _, test := range v.Padded {
		if got := paddedSize(test[0]); got != test[1] {
			t.Errorf("%d bytes are padded to %d, want %d", test[0], got, test[1])
		}
	}
	for _, test := range v.Texts {
		one, other := secret(t, test.Sec1), secret(t, test.Sec2)
		key, err := NewKey(one, other.PubKey())
		if err != nil || !bytes.Equal(key.secret, raw(t, test.Key)) {
			t.Errorf("the key is %x (%v), want %s", key.secret, err, test.Key)
		}
		if got, err := key.encrypt(test.Text, [32]byte(raw(t, test.Nonce))); err != nil || got != test.Payload {
			t.Errorf("%q is encrypted as %s (%v), want %s", test.Text, got, err, test.Payload)
		}
		if back, err := NewKey(other, one.PubKey()); err != nil || !bytes.Equal(back.secret, key.secret) {
			t.Errorf("the other side has another key (%v)", err)
		}
		if got, err := key.Decrypt(test.Payload); err != nil || got != test.Text {
			t.Errorf("%s is decrypted as %q (%v), want %q", test.Payload, got, err, test.Text)
		}
	}
	for _, test := range v.Long {
		text := strings.Repeat(test.Pattern, test.Repeat)
		key := Key{raw(t, test.Key)}
		got, err := key.encrypt(text, [32]byte(raw(t, test.Nonce)))
		if err != nil || sum(text) != test.Text || sum(got) != test.Payload {
			t.Errorf("%d times %q hashes to %s (%v), want %s", test.Repeat, test.Pattern, sum(got), err, test.Payload)
		}
		if back, err := key.Decrypt(got); err != nil || back != text {
			t.Errorf("%d times %q is not decrypted (%v)", test.Repeat, test.Pattern, err)
		}
	}
	if len(v.Keys)*len(v.Messages.Keys)*len(v.Padded)*len(v.Texts)*len(v.Long) == 0 {
		t.Error("a list of vectors is empty")
	}
}

// TestInvalidVectors checks what they say of what is wrong.
func TestInvalidVectors(t *testing.T) {
	v := load(t).V2.Invalid
	for _, n := range v.Lengths {
		if _, err := new(Key).Encrypt(strings.Repeat("x", n)); !errors.Is(err, ErrLength) {
			t.Errorf("%d bytes: %v, want %v", n, err, ErrLength)
		}
	}
	for _, test := range v.Keys {
		own, err := nostr.SecretKeyFromBytes(raw(t, test.Sec1))
		if err == nil {
			_, err = NewKey(own, nostr.PubKey(raw(t, test.Pub2)))
		}
		if err == nil {
			t.Errorf("a key is made: %s", test.Note)
		}
	}
	for _, test := range v.Payloads {
		text, err := Key{raw(t, test.Key)}.Decrypt(test.Payload)
		if !errors.Is(err, ErrPayload) && !errors.Is(err, ErrVersion) {
			t.Errorf("decrypted as %q (%v): %s", text, err, test.Note)
		}
	}
	if len(v.Lengths)*len(v.Keys)*len(v.Payloads) == 0 {
		t.Error("a list of vectors is empty")
	}
}

// TestNonce checks that equal texts are not seen to be equal, and that keys do
// not print.
func TestNonce(t *testing.T) {
	one := nostr.GenerateKey()
	key, err := NewKey(one, nostr.GenerateKey().PubKey())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 3 {
		payload, err := key.Encrypt("the same")
		if err != nil {
			t.Fatal(err)
		}
		seen[payload] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d payloads of three texts", len(seen))
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); shown != "•••• •••• •••• ••••" {
		t.Errorf("a key prints as %s", shown)
	}
}

// FuzzDecrypt checks that no payload does harm, and that one which is read is
// what its text is encrypted as.
func FuzzDecrypt(f *testing.F) {
	key := Key{bytes.Repeat([]byte{7}, 32)}
	for _, text := range []string{"a", strings.Repeat("b", 33), strings.Repeat("c", 1000)} {
		payload, err := key.encrypt(text, [32]byte{1})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
		f.Add(payload[:len(payload)-4])
	}
	f.Add("")
	f.Add("#")
	f.Fuzz(func(t *testing.T, payload string) {
		text, err := key.Decrypt(payload)
		if err != nil {
			if !errors.Is(err, ErrPayload) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if text == "" || len(text) > MaxText {
			t.Fatalf("a text of %d bytes", len(text))
		}
	})
}
