package nostr

import (
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
)

func TestBIP340Vectors(t *testing.T) {
	f, err := os.Open("testdata/bip340/test-vectors.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 20 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows[1:] {
		column := func(i int) []byte {
			b, err := hex.DecodeString(row[i])
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		secret, pub, aux, msg, sig := column(1), PubKey(column(2)), column(3), column(4), Sig(column(5))
		if got, want := verifyBIP340(&pub, msg, &sig), row[6] == "TRUE"; got != want {
			t.Errorf("vector %s (%s): got %v, want %v", row[0], row[7], got, want)
		}
		if len(secret) == 0 {
			continue
		}
		pair, ok := newKeyPair((*[32]byte)(secret))
		if !ok || pair.pub != pub {
			t.Errorf("vector %s: public key %s", row[0], pair.pub)
			continue
		}
		if got, err := pair.sign(msg, (*[32]byte)(aux)); err != nil || got != sig {
			t.Errorf("vector %s: signed %s, want %s (%v)", row[0], got, sig, err)
		}
	}
}

var (
	fieldPrime, _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f", 16)
	groupOrder, _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
)

// TestVerifyDamaged: no change of a right signature passes.
func TestVerifyDamaged(t *testing.T) {
	events := realEvents(t)
	for i := 0; i < len(events); i += 100 {
		e, err := ParseEvent(events[i])
		if err != nil {
			t.Fatal(err)
		}
		bit := i / 100
		for _, damage := range []func(*Event){
			func(e *Event) { e.ID[bit%32] ^= 1 << (bit % 8) },
			func(e *Event) { e.PubKey[bit%32] ^= 1 << (bit % 8) },
			func(e *Event) { e.Sig[bit%64] ^= 1 << (bit % 8) },
			func(e *Event) { e.Sig[63-bit%64] ^= 0x80 >> (bit % 8) },
			func(e *Event) { // the other s of the same r
				s := new(big.Int).SetBytes(e.Sig[32:])
				s.Sub(groupOrder, s).FillBytes(e.Sig[32:])
			},
			func(e *Event) { clear(e.Sig[32:]) },
			func(e *Event) { clear(e.Sig[:32]) },
			func(e *Event) { clear(e.PubKey[:]) },
			func(e *Event) { fieldPrime.FillBytes(e.Sig[:32]) },
			func(e *Event) { groupOrder.FillBytes(e.Sig[32:]) },
			func(e *Event) { fieldPrime.FillBytes(e.PubKey[:]) },
		} {
			d := e
			damage(&d)
			if err := d.Verify(); err != ErrSig {
				t.Errorf("event %d: sig %s of key %s over %s passes", i, d.Sig, d.PubKey, d.ID)
			}
		}
	}
}

func TestSign(t *testing.T) {
	key, err := SecretKeyFromBytes([]byte(strings.Repeat("\x07", 32)))
	if err != nil {
		t.Fatal(err)
	}
	e := Event{CreatedAt: 1, Kind: 1, Tags: []Tag{{"t", "x"}}, Content: "hello"}
	if err := key.Sign(&e); err != nil {
		t.Fatal(err)
	}
	if e.PubKey != key.PubKey() || e.CheckID() != nil || e.Verify() != nil {
		t.Errorf("signed %+v", e)
	}
	again := Event{CreatedAt: 1, Kind: 1, Tags: []Tag{{"t", "x"}}, Content: "hello"}
	if err := key.Sign(&again); err != nil || again.Sig != e.Sig {
		t.Errorf("a second signature differs: %v", err)
	}
	if a, b := GenerateKey(), GenerateKey(); a.PubKey() == b.PubKey() {
		t.Error("two generated keys are equal")
	}
	for name, e := range map[string]Event{
		"negative time":  {CreatedAt: -1},
		"negative kind":  {Kind: -1},
		"bad content":    {Content: "\xff"},
		"bad tag":        {Tags: []Tag{{"a"}, {"b", "\x80"}}},
		"lone surrogate": {Content: "\xed\xa0\x80"},
	} {
		if err := key.Sign(&e); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestSecretKey(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 31), make([]byte, 32), make([]byte, 33), groupOrder.Bytes(), []byte(strings.Repeat("\xff", 32))} {
		if _, err := SecretKeyFromBytes(b); err == nil {
			t.Errorf("accepted %x", b)
		}
	}
	key, err := SecretKeyFromBytes(append(make([]byte, 31), 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := key.PubKey().String(); got != "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" {
		t.Errorf("the key 1 has the public key %s", got)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, key); got != "••••" {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, struct{ K SecretKey }{key}); strings.Contains(got, "0x") {
			t.Errorf("%s in a struct prints %q", verb, got)
		}
	}
}
