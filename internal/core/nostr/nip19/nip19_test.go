package nip19_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
)

// vector is a name and what an independent decoder made of it.
type vector struct {
	S       string
	Result  string
	Decoded *struct {
		Hex string
		TLV [][2]any
	}
}

func specVectors(t testing.TB) (vectors []vector) {
	t.Helper()
	text, err := os.ReadFile("testdata/spec_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	for i := range vectors {
		vectors[i].Result = "ok"
	}
	return vectors
}

// emptyAuthor was found in the wild: its checksum is right, but its author
// record has no bytes.
const emptyAuthor = "naddr1qvzqqqrcvgpqqqgwwaehxw309ahx7uewd3hkctcqq4hx7um5wgmcv7gd"

func wildVectors(t testing.TB) (vectors []vector) {
	t.Helper()
	packed, err := os.ReadFile("testdata/in_the_wild.jsonl.zst")
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for dec := json.NewDecoder(d); dec.More(); {
		var v vector
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, v)
	}
	if len(vectors) != 1244 {
		t.Fatalf("%d vectors", len(vectors))
	}
	return vectors
}

// content writes what a vector says as an Entity.
func (v vector) content(t *testing.T) nip19.Entity {
	t.Helper()
	prefix, _, _ := strings.Cut(v.S, "1")
	e := nip19.Entity{Prefix: nip19.Prefix(prefix)}
	fill := func(dst []byte, text string) {
		if n, err := hex.Decode(dst, []byte(text)); err != nil || n != len(dst) {
			t.Fatalf("vector %s: %q", v.S, text)
		}
	}
	switch e.Prefix {
	case nip19.PubKey:
		fill(e.PubKey[:], v.Decoded.Hex)
	case nip19.Note:
		fill(e.ID[:], v.Decoded.Hex)
	}
	for _, record := range v.Decoded.TLV {
		value := record[1].(string)
		switch record[0].(float64) {
		case 0:
			switch e.Prefix {
			case nip19.Profile:
				fill(e.PubKey[:], value)
			case nip19.Event:
				fill(e.ID[:], value)
			case nip19.Address:
				e.Identifier = value
			}
		case 1:
			e.Relays = append(e.Relays, value)
		case 2:
			fill(e.PubKey[:], value)
		case 3:
			var b [4]byte
			fill(b[:], value)
			k := nostr.Kind(b[0])<<24 | nostr.Kind(b[1])<<16 | nostr.Kind(b[2])<<8 | nostr.Kind(b[3])
			e.Kind = &k
		}
	}
	return e
}

func TestDecodeVectors(t *testing.T) {
	refused := 0
	for _, v := range append(specVectors(t), wildVectors(t)...) {
		if strings.HasPrefix(v.S, "nsec") {
			if _, err := nip19.Decode(v.S); !errors.Is(err, nip19.ErrSecret) {
				t.Errorf("Decode(nsec) = %v", err)
			}
			key, err := nip19.DecodeSecret(v.S)
			if err != nil || hex.EncodeToString(key[:]) != v.Decoded.Hex {
				t.Errorf("DecodeSecret = %x, %v", key, err)
			}
			continue
		}
		got, err := nip19.Decode(v.S)
		if v.Result != "ok" || v.S == emptyAuthor {
			refused++
			want := nip19.ErrChecksum
			switch {
			case v.Result == "bad char":
				want = nip19.ErrCharacter
			case v.S == emptyAuthor:
				want = nip19.ErrRecord
			}
			if !errors.Is(err, want) {
				t.Errorf("Decode(%s) = %v, want %v", v.S, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("Decode(%s): %v", v.S, err)
			continue
		}
		if diff := cmp.Diff(v.content(t), got); diff != "" {
			t.Errorf("Decode(%s) (-want +got):\n%s", v.S, diff)
		}
		if upper, err := nip19.Decode(strings.ToUpper(v.S)); err != nil || !cmp.Equal(upper, got) {
			t.Errorf("upper case of %s: %v", v.S, err)
		}
		// The order of records is free, so the text may differ; the content not.
		text, err := nip19.Encode(got)
		if err != nil {
			t.Errorf("Encode(%+v): %v", got, err)
			continue
		}
		if again, err := nip19.Decode(text); err != nil || !cmp.Equal(again, got) {
			t.Errorf("%s became %s: %v", v.S, text, err)
		}
		if (got.Prefix == nip19.PubKey || got.Prefix == nip19.Note) && text != v.S {
			t.Errorf("Encode = %s, want %s", text, v.S)
		}
	}
	if refused != 31 {
		t.Errorf("%d vectors refused", refused)
	}
}

// TestEncodeVectors: with records in the order that the specification's
// example has, the text is the same too.
func TestEncodeVectors(t *testing.T) {
	for _, v := range specVectors(t) {
		if strings.HasPrefix(v.S, "nsec") {
			continue
		}
		if got, err := nip19.Encode(v.content(t)); err != nil || got != v.S {
			t.Errorf("Encode = %s, %v; want %s", got, err, v.S)
		}
	}
}

// TestDecodeRefuses reads lines of "error TAB name".
func TestDecodeRefuses(t *testing.T) {
	errs := map[string]error{
		"prefix": nip19.ErrPrefix, "secret": nip19.ErrSecret, "length": nip19.ErrLength, "case": nip19.ErrCase,
		"character": nip19.ErrCharacter, "padding": nip19.ErrPadding, "checksum": nip19.ErrChecksum, "record": nip19.ErrRecord,
	}
	f, err := os.Open("testdata/invalid.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := make(map[string]bool)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		word, name, ok := strings.Cut(lines.Text(), "\t")
		want := errs[word]
		if !ok || want == nil {
			t.Fatalf("line %q", lines.Text())
		}
		seen[word] = true
		if _, err := nip19.Decode(name); !errors.Is(err, want) {
			t.Errorf("Decode(%s) = %v, want %v", name, err, want)
		}
	}
	if len(seen) != len(errs) {
		t.Errorf("only %v are covered", seen)
	}
	if _, err := nip19.Decode("npub1" + strings.Repeat("q", nip19.MaxLength)); !errors.Is(err, nip19.ErrLength) {
		t.Errorf("overlong: %v", err)
	}
	if _, err := nip19.DecodeSecret("npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6"); !errors.Is(err, nip19.ErrPrefix) {
		t.Errorf("DecodeSecret of an npub: %v", err)
	}
}

// TestSecretStaysSecret: an error about an nsec must not repeat it.
func TestSecretStaysSecret(t *testing.T) {
	for _, s := range []string{
		"nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5",
		"nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe4",
	} {
		_, err := nip19.Decode(s)
		_, err2 := nip19.DecodeSecret(s)
		if err2 == nil {
			err2 = errors.New("none")
		}
		if text := err.Error() + err2.Error(); strings.Contains(text, "vl029") {
			t.Errorf("error tells the key: %s", text)
		}
		if found := nip19.Find("my key is "+s, 10); found != nil {
			t.Errorf("Find = %v", found)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	kind, huge, negative := nostr.Kind(1), nostr.Kind(1)<<32, nostr.Kind(-1)
	for _, test := range []struct {
		entity nip19.Entity
		want   error
	}{
		{nip19.Entity{}, nip19.ErrPrefix},
		{nip19.Entity{Prefix: "nsec"}, nip19.ErrPrefix},
		{nip19.Entity{Prefix: nip19.Relay, Relays: []string{"wss://a"}}, nip19.ErrPrefix},
		{nip19.Entity{Prefix: nip19.Address, Identifier: long, Kind: &kind}, nip19.ErrLength},
		{nip19.Entity{Prefix: nip19.Profile, Relays: []string{long}}, nip19.ErrLength},
		{nip19.Entity{Prefix: nip19.Profile, Relays: make([]string, 4000)}, nip19.ErrLength},
		{nip19.Entity{Prefix: nip19.Address}, nip19.ErrRecord},
		{nip19.Entity{Prefix: nip19.Event, Kind: &huge}, nip19.ErrRecord},
		{nip19.Entity{Prefix: nip19.Event, Kind: &negative}, nip19.ErrRecord},
	} {
		if got, err := nip19.Encode(test.entity); !errors.Is(err, test.want) {
			t.Errorf("Encode(%+v) = %s, %v; want %v", test.entity, got, err, test.want)
		}
	}
}

// TestRoundTrip: whatever can be written is read back the same.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes32 := rapid.SliceOfN(rapid.Byte(), 32, 32)
		short := rapid.StringN(0, 60, 255)
		e := nip19.Entity{Prefix: rapid.SampledFrom([]nip19.Prefix{
			nip19.PubKey, nip19.Note, nip19.Profile, nip19.Event, nip19.Address,
		}).Draw(t, "prefix")}
		kind := nostr.Kind(rapid.Uint32().Draw(t, "kind"))
		switch e.Prefix {
		case nip19.PubKey, nip19.Profile:
			e.PubKey = nostr.PubKey(bytes32.Draw(t, "pubkey"))
		case nip19.Note, nip19.Event:
			e.ID = nostr.ID(bytes32.Draw(t, "id"))
		}
		if e.Prefix == nip19.Event && rapid.Bool().Draw(t, "author") || e.Prefix == nip19.Address {
			e.PubKey = nostr.PubKey(bytes32.Draw(t, "author key"))
		}
		if e.Prefix == nip19.Event && rapid.Bool().Draw(t, "with kind") || e.Prefix == nip19.Address {
			e.Kind = &kind
		}
		if e.Prefix == nip19.Address {
			e.Identifier = short.Draw(t, "identifier")
		}
		if e.Prefix != nip19.PubKey && e.Prefix != nip19.Note {
			e.Relays = rapid.SliceOfN(short, 1, 8).Draw(t, "relays")
		}
		text, err := nip19.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := nip19.Decode(text); err != nil || !cmp.Equal(got, e) {
			t.Fatalf("%s: %v\n%s", text, err, cmp.Diff(e, got))
		}
		if got := nip19.Find("("+text+")", 1); len(got) != 1 || !cmp.Equal(got[0], e) {
			t.Fatalf("Find(%s) = %v", text, got)
		}
	})
}

// TestOneTypo: BIP-173 promises that no single wrong character goes unnoticed.
func TestOneTypo(t *testing.T) {
	const name = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6"
	for i := len("npub1"); i < len(name); i++ {
		for _, c := range []byte("qpzry9x8gf2tvdw0s3jn54khce6mua7l") {
			if c == name[i] {
				continue
			}
			if _, err := nip19.Decode(name[:i] + string(c) + name[i+1:]); !errors.Is(err, nip19.ErrChecksum) {
				t.Fatalf("%c at %d: %v", c, i, err)
			}
		}
	}
}

// Names made by hand: records of type 9, 0, 0 again, 2 and 3; two authors and
// two kinds; and the deprecated kind of name.
const (
	twoAuthors        = "nevent1qqsqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzyqqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszq3qqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqxpqqqqqqwqcyqqqqqzqfktw0m"
	withUnknownRecord = "nprofile1pypkuethqqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gqqyqsyqg8qvqq6mxwl6"
	oldRelay          = "nrelay1qqvhwumn8ghj7un9d3shjtnwdaehgu3wv4uxzmtsd3jsh6r089"
)

func TestRecords(t *testing.T) {
	// Unknown record types are ignored, of repeated ones the first counts, and
	// an nprofile has no author of its own.
	const name = "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhxue69uhkg6nzv9ejuumpv34kytnrdaksjlyr9p"
	e, err := nip19.Decode(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"wss://r.x.com", "wss://djbas.sadkb.com"}, e.Relays); diff != "" {
		t.Error(diff)
	}
	got, err := nip19.Decode(withUnknownRecord)
	if err != nil || got.PubKey != e.PubKey || len(got.Relays) != 0 || got.Kind != nil {
		t.Errorf("with an unknown record: %+v, %v", got, err)
	}
	event, err := nip19.Decode(twoAuthors)
	if err != nil || event.PubKey[0] != 1 || event.Kind == nil || *event.Kind != 7 {
		t.Errorf("with two authors: %+v, %v", event, err)
	}
	relay, err := nip19.Decode(oldRelay)
	if err != nil || !cmp.Equal(relay, nip19.Entity{Prefix: nip19.Relay, Relays: []string{"wss://relay.nostr.example"}}) {
		t.Errorf("nrelay: %+v, %v", relay, err)
	}
}

func TestFind(t *testing.T) {
	const (
		npub    = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6"
		note    = "note12fsqmnahla7ux0vupctkvsyx03we57v2wqdepjakkq79ad83hhsqg83l69"
		profile = "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhxue69uhkg6nzv9ejuumpv34kytnrdaksjlyr9p"
	)
	for _, test := range []struct {
		text string
		want []nip19.Prefix
	}{
		{"", nil},
		{"1", nil},
		{npub, []nip19.Prefix{nip19.PubKey}},
		{"nostr:" + npub + " and nostr:" + note + ".", []nip19.Prefix{nip19.PubKey, nip19.Note}},
		{"@" + npub + "'s", []nip19.Prefix{nip19.PubKey}},
		{"あ" + npub + "さん", []nip19.Prefix{nip19.PubKey}},
		{npub + "sats", []nip19.Prefix{nip19.PubKey}}, // glued prose
		{"https://njump.me/" + profile + "?x=1", []nip19.Prefix{nip19.Profile}},
		{"x" + npub, nil},
		{"9" + npub, nil},
		{"npub1" + npub, nil},
		{"npub1 " + npub, []nip19.Prefix{nip19.PubKey}},
		{npub[:60], nil},
		{"note1 event1 invent1 nevent1 nprofile1", nil},
		{strings.Repeat(npub+" ", 100), []nip19.Prefix{nip19.PubKey, nip19.PubKey, nip19.PubKey, nip19.PubKey, nip19.PubKey}},
	} {
		var got []nip19.Prefix
		for _, e := range nip19.Find(test.text, 5) {
			got = append(got, e.Prefix)
		}
		if !cmp.Equal(got, test.want) {
			t.Errorf("Find(%.90q) = %v, want %v", test.text, got, test.want)
		}
	}
	if got := nip19.Find(npub, 0); got != nil {
		t.Errorf("Find with limit 0 = %v", got)
	}
}

func TestFindVectors(t *testing.T) {
	for _, v := range wildVectors(t) {
		want := 0
		if v.Result == "ok" && v.S != emptyAuthor {
			want = 1
		}
		if got := nip19.Find("see nostr:"+v.S+", please", 3); len(got) != want {
			t.Errorf("Find(%s) = %v", v.S, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range specVectors(f) {
		f.Add(v.S)
	}
	for i, v := range wildVectors(f) {
		if i%20 == 0 || v.Result != "ok" {
			f.Add(v.S)
		}
	}
	f.Add("see nostr:npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6, please")
	f.Add(oldRelay)
	f.Fuzz(func(t *testing.T, s string) {
		if found := nip19.Find(s, 3); len(found) > 3 {
			t.Fatalf("Find gives %d", len(found))
		}
		_, _ = nip19.DecodeSecret(s)
		e, err := nip19.Decode(s)
		if err != nil || e.Prefix == nip19.Relay {
			return
		}
		text, err := nip19.Encode(e)
		if err != nil {
			t.Fatalf("Encode(%+v): %v", e, err)
		}
		again, err := nip19.Decode(text)
		if err != nil || !cmp.Equal(again, e) {
			t.Fatalf("%q became %q: %v", s, text, err)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	var text strings.Builder
	for i, v := range wildVectors(b) {
		if i%50 == 0 {
			text.WriteString(strings.Repeat("some words of 2021 without any name, at 12:11. ", 20))
			text.WriteString("nostr:" + v.S + "\n")
		}
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		nip19.Find(text.String(), 1000)
	}
}
