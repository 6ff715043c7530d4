package nip59_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip44"
	"bigbrotr/internal/core/nostr/nip59"
)

var now = time.Unix(1_700_000_000, 0)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWrap checks what a carrier can see and what the receiver gets.
func TestWrap(t *testing.T) {
	from, to := nostr.GenerateKey(), nostr.GenerateKey()
	for _, content := range []string{"", "down", "<&> \" \\ \n \u2028 \x01 é " + strings.Repeat("x", 20_000)} {
		letter := nostr.Event{Kind: 14, CreatedAt: now.Unix(), Tags: []nostr.Tag{{"p", to.PubKey().String()}, {"subject", "a relay"}}, Content: content}
		wrap, err := nip59.Wrap(from, to.PubKey(), letter, now)
		must(t, err)
		if err := errors.Join(wrap.CheckID(), wrap.Verify()); err != nil {
			t.Errorf("the wrap: %v", err)
		}
		age := now.Unix() - wrap.CreatedAt
		if wrap.Kind != 1059 || wrap.PubKey == from.PubKey() || age < 0 || age > 2*24*60*60 {
			t.Errorf("a wrap of kind %d by %s, %d s old", wrap.Kind, wrap.PubKey, age)
		}
		if diff := cmp.Diff([]nostr.Tag{{"p", to.PubKey().String()}}, wrap.Tags); diff != "" {
			t.Errorf("tags of the wrap (-want +got):\n%s", diff)
		}
		got, err := nip59.Open(to, wrap)
		must(t, err)
		want := letter
		want.PubKey, want.ID = from.PubKey(), got.ID
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what was in it (-want +got):\n%s", diff)
		}
		if _, err := nip59.Open(from, wrap); !errors.Is(err, nip59.ErrWrap) {
			t.Errorf("opened by another: %v", err)
		}
	}
}

// TestForged checks that nobody can send in another's name.
func TestForged(t *testing.T) {
	honest, forger, to := nostr.GenerateKey(), nostr.GenerateKey(), nostr.GenerateKey()
	put := func(by nostr.SecretKey, kind nostr.Kind, text string) nostr.Event {
		t.Helper()
		key, err := nip44.NewKey(by, to.PubKey())
		must(t, err)
		content, err := key.Encrypt(text)
		must(t, err)
		e := nostr.Event{Kind: kind, CreatedAt: now.Unix(), Content: content}
		must(t, by.Sign(&e))
		return e
	}
	text := func(e nostr.Event) string { return string(e.AppendJSON(nil)) }
	said := nostr.Event{Kind: 14, CreatedAt: now.Unix(), Content: "trust me"}
	must(t, honest.Sign(&said))
	sealed := put(forger, nip59.KindSeal, text(said))
	renamed := put(forger, nip59.KindSeal, text(said))
	renamed.PubKey = honest.PubKey()
	unlike := said
	unlike.PubKey = forger.PubKey()
	for name, wrap := range map[string]nostr.Event{
		"an event of another than who sealed it": put(forger, nip59.KindWrap, text(sealed)),
		"a seal in the name of another":          put(forger, nip59.KindWrap, text(renamed)),
		"an event with another id":               put(forger, nip59.KindWrap, text(put(forger, nip59.KindSeal, text(unlike)))),
		"no seal":                                put(forger, nip59.KindWrap, text(said)),
		"no event in the seal":                   put(forger, nip59.KindWrap, text(put(forger, nip59.KindSeal, "[]"))),
		"no event at all":                        put(forger, nip59.KindWrap, "nothing"),
		"another kind":                           put(honest, 1, text(put(honest, nip59.KindSeal, text(said)))),
	} {
		if e, err := nip59.Open(to, wrap); !errors.Is(err, nip59.ErrWrap) {
			t.Errorf("%s: opened as %q (%v)", name, e.Content, err)
		}
	}
	good := put(forger, nip59.KindWrap, text(put(honest, nip59.KindSeal, text(said))))
	if e, err := nip59.Open(to, good); err != nil || e.PubKey != honest.PubKey() {
		t.Errorf("what is right is refused: %v", err)
	}
}
