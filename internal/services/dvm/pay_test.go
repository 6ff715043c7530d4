package dvm_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/services/dvm"
)

const charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// bill makes an invoice (BOLT 11) of an amount, such as 10n, that a preimage
// proves to be paid. Its signature is nobody's.
func bill(amount string, at, expiry int64, preimage []byte) string {
	number := func(v int64, n int) (words []byte) {
		for i := range n {
			words = append(words, byte(v>>(5*(n-1-i))&31))
		}
		return words
	}
	field := func(kind byte, words []byte) []byte {
		return append([]byte{kind, byte(len(words) >> 5), byte(len(words) & 31)}, words...)
	}
	hash := sha256.Sum256(preimage)
	var hashed []byte
	var acc, bits uint32
	for _, b := range append(hash[:], 0) {
		acc = acc<<8 | uint32(b)
		for bits += 8; bits >= 5 && len(hashed) < 52; {
			bits -= 5
			hashed = append(hashed, byte(acc>>bits&31))
		}
	}
	words := number(at, 7)
	words = append(words, field(13, []byte{1, 2})...) // a description
	words = append(words, field(1, hashed)...)
	words = append(words, field(6, number(expiry, 4))...)
	words = append(words, make([]byte, 104)...)
	prefix := "lnbc" + amount
	sum := uint32(1)
	put := func(v byte) {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for i := range len(prefix) {
		put(prefix[i] >> 5)
	}
	put(0)
	for i := range len(prefix) {
		put(prefix[i] & 31)
	}
	text := prefix + "1"
	for _, w := range words {
		put(w)
		text += string(charset[w])
	}
	for range 6 {
		put(0)
	}
	sum ^= 1
	for i := range 6 {
		text += string(charset[sum>>(5*(5-i))&31])
	}
	return text
}

// TestPaid has a job that costs something: it is answered when the service that
// is paid says so of our invoice and proves it, and not before, whatever the
// customer says.
func TestPaid(t *testing.T) {
	f := newFixture(t)
	preimage := []byte("known to who has paid")
	w := newWallet(t, bill("10n", time.Now().Unix(), 3600, preimage))
	other := bill("10n", time.Now().Unix(), 3600, []byte("another"))
	price := map[string]any{"price": map[string]any{"msats": 1000, "lnurl": w.URL + "/pay"}}
	_, stop := f.start("a", price)
	request := f.request("stats", nostr.Tag{"bid", "100000"}, nostr.Tag{"amount", "1000", w.bill}, nostr.Tag{"preimage", hex.EncodeToString(preimage)})
	f.ask(request)
	demand := f.feedback(f.ours, request.ID, "payment-required")
	if amount := values(demand, "amount"); len(amount) != 2 || amount[0] != "1000" || amount[1] != w.bill {
		t.Errorf("amount %q", amount)
	}
	// Receipts of strangers, and claims that do not fit.
	receipt := nostr.Event{Kind: 9735, CreatedAt: time.Now().Unix(), Tags: []nostr.Tag{{"e", request.ID.String()}, {"bolt11", w.bill}, {"p", f.key.PubKey().String()}}}
	f.ask(f.sign(receipt))
	for _, claim := range []map[string]any{
		{"status": "OK", "settled": true, "pr": other},
		{"status": "OK", "settled": true},
		{"status": "OK", "settled": true, "pr": w.bill, "preimage": strings.Repeat("00", 32)},
		{"status": "ERROR", "settled": true, "pr": w.bill},
	} {
		w.state <- claim
	}
	f.await("all claims", func() bool { return len(w.state) == 0 })
	if n := len(about(f.ours, 6050, request.ID)); n != 0 {
		t.Fatalf("%d answers before the payment", n)
	}
	// Another process asks on, and is told.
	stop()
	f.start("b", price)
	w.state <- map[string]any{"status": "OK", "settled": true, "pr": strings.ToUpper(w.bill), "preimage": hex.EncodeToString(preimage)}
	f.result(f.ours, request.ID)
	f.feedback(f.ours, request.ID, "processing")
	f.feedback(f.ours, request.ID, "success")
}

// TestUnpaid has jobs that cannot be paid, or are not.
func TestUnpaid(t *testing.T) {
	now := time.Now().Unix()
	for name, tt := range map[string]struct {
		bill  string
		msats int64
		want  string
	}{
		"another amount":   {bill("20n", now, 3600, nil), 1000, "no invoice"},
		"no amount":        {bill("", now, 3600, nil), 1000, "no invoice"},
		"no invoice":       {"lnbc10n1nonsense", 1000, "no invoice"},
		"out of its range": {bill("10n", now, 3600, nil), 6000, "no invoice"},
		"not paid in time": {bill("10n", now-100, 60, nil), 1000, "not paid in time"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			w := newWallet(t, tt.bill)
			f.start("a", map[string]any{"price": map[string]any{"msats": tt.msats, "lnurl": w.URL + "/pay"}})
			request := f.request("stats")
			f.ask(request)
			if why := values(f.feedback(f.ours, request.ID, "error"), "status"); len(why) != 2 || !strings.Contains(why[1], tt.want) {
				t.Errorf("%q", why)
			}
			if n := len(about(f.ours, 6050, request.ID)); n != 0 {
				t.Errorf("%d answers", n)
			}
		})
	}
}

// TestAmounts reads amounts as BOLT 11 writes them.
func TestAmounts(t *testing.T) {
	for prefix, want := range map[string]int64{
		"lnbc1": 100_000_000_000, "lnbc2500u": 250_000_000, "lnbc20m": 2_000_000_000, "lntb10n": 1000, "lnbcrt9678785340p": 967_878_534,
		"lnbc": 0, "lnbc1p": 0, "lnbc0u": 0, "lnbc-1u": 0, "lnbc99999999999999999999m": 0, "lnbc9000000000000000000": 0, "bc10n": 0, "lnbcu": 0, "lnbc1u1": 0,
	} {
		have, err := dvm.AmountOf(prefix)
		if have != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %d, %v, want %d", prefix, have, err, want)
		}
	}
}

// FuzzBill reads invoices that may be none.
func FuzzBill(f *testing.F) {
	f.Add(bill("10n", 1_700_000_000, 3600, nil))
	f.Add("lnbc10n1qqqqqqq")
	f.Fuzz(func(t *testing.T, text string) {
		if msats, expires, err := dvm.ParseBill(text); err == nil && (msats <= 0 || expires < 0) {
			t.Errorf("%d msats until %d", msats, expires)
		}
	})
}

// FuzzQuestion makes addresses of questions: they are below REST's, or refused.
func FuzzQuestion(f *testing.F) {
	for _, seed := range []string{"events?kinds=1", "/api/v1/stats", "../x", "//host/x", "relays/wss%3A%2F%2Fa.example", "events?%zz", "a\x00b", "http://x/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := dvm.Address(text)
		if err != nil {
			return
		}
		if u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, "/api/v1/") || strings.Contains(u.Path, "/../") || strings.HasSuffix(u.Path, "/..") {
			t.Errorf("%q leads to %q", text, u.String())
		}
	})
}
