package peers

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip44"
	"github.com/nbd-wtf/go-nostr/nip59"

	words "bigbrotr/internal/core/nostr"
	ours "bigbrotr/internal/core/nostr/nip59"
)

// TestMessages has go-nostr open wraps of ours, and us such of go-nostr.
func TestMessages(t *testing.T) {
	secret, err := words.SecretKeyFromBytes([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	theirSecret := nostr.GeneratePrivateKey()
	their, err := nostr.GetPublicKey(theirSecret)
	if err != nil {
		t.Fatal(err)
	}
	to, err := words.ParsePubKey(their)
	if err != nil {
		t.Fatal(err)
	}
	own := secret.PubKey().String()
	keyWith := func(other string) [32]byte {
		t.Helper()
		key, err := nip44.GenerateConversationKey(other, theirSecret)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for _, text := range []string{"down", "é \"<&>\u2028\n" + strings.Repeat("x", 20_000)} {
		wrap, err := ours.Wrap(secret, to, words.Event{Kind: 14, CreatedAt: 1_700_000_000, Content: text, Tags: []words.Tag{{"p", their}}}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var foreign nostr.Event
		if err := json.Unmarshal(wrap.AppendJSON(nil), &foreign); err != nil {
			t.Fatal(err)
		}
		if ok, err := foreign.CheckSignature(); !ok || err != nil {
			t.Errorf("go-nostr does not take the wrap: %v", err)
		}
		letter, err := nip59.GiftUnwrap(foreign, func(other, payload string) (string, error) { return nip44.Decrypt(payload, keyWith(other)) })
		if err != nil || letter.Content != text || letter.PubKey != own || letter.GetID() != letter.ID || letter.Kind != 14 {
			t.Errorf("go-nostr opens %+v, %v", letter, err)
		}

		rumor := nostr.Event{Kind: 14, PubKey: their, CreatedAt: 1_700_000_000, Content: text, Tags: nostr.Tags{{"p", own}}}
		rumor.ID = rumor.GetID()
		theirs, err := nip59.GiftWrap(rumor, own,
			func(plain string) (string, error) { return nip44.Encrypt(plain, keyWith(own)) },
			func(e *nostr.Event) error { return e.Sign(theirSecret) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := words.ParseChecked([]byte(theirs.String()))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ours.Open(secret, e); err != nil || back.Content != text || back.PubKey != to {
			t.Errorf("we open %+v, %v", back, err)
		}
	}
}
