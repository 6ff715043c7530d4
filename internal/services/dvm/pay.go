package dvm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
)

const (
	payTime     = 10 * time.Second // for one request to the service that is paid
	maxPayReply = 64 << 10         // bytes of its answer
)

// wallet asks an LNURL-pay service for invoices (LUD-06, LUD-16) and whether they
// are paid (LUD-21). What anybody else says of a payment counts for nothing.
type wallet struct {
	address string
	dialer  *dial.Dialer
}

var errLNURL = errors.New("is neither a lightning address nor an https address")

// newWallet reads who is paid.
func newWallet(lnurl string, dialer *dial.Dialer) (*wallet, error) {
	if name, host, ok := strings.Cut(lnurl, "@"); ok && name != "" && host != "" && !strings.Contains(host, "@") {
		lnurl = "https://" + host + "/.well-known/lnurlp/" + url.PathEscape(name)
	}
	w := &wallet{address: lnurl, dialer: dialer}
	if _, _, err := w.target(lnurl); err != nil {
		return nil, errLNURL
	}
	return w, nil
}

// target returns an address, and the relay that would live at its host: what
// the dialer knows hosts by. Without TLS only hosts are asked that have none: our
// own, and those of Tor.
func (w *wallet) target(text string) (*url.URL, relay.URL, error) {
	// Whether it may be local is the dialer's business.
	u, circuit, err := dial.ParseAddress(text, relay.Rules{AllowLocal: true})
	if err != nil || u.User != nil {
		return nil, relay.URL{}, errLNURL
	}
	_, public := relay.Parse("wss://" + u.Host)
	if u.Scheme == "http" && public == nil && circuit.Network() == relay.Clearnet {
		return nil, relay.URL{}, errLNURL
	}
	return u, circuit, nil
}

// The troubles with the service that is paid.
var (
	errPayReply  = errors.New("not an answer of an LNURL-pay service")
	errPayRange  = errors.New("it does not take this price")
	errNoVerify  = errors.New("it does not tell whether invoices are paid (LUD-21)")
	errPayAmount = errors.New("its invoice is not of the price")
)

// get reads a JSON answer.
func (w *wallet) get(ctx context.Context, text string, into any) error {
	u, circuit, err := w.target(text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, payTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := w.dialer.HTTPClient(circuit).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPayReply))
	if err != nil {
		return err
	}
	var failed struct {
		Status string `json:"status"`
	}
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &failed) != nil || strings.EqualFold(failed.Status, "ERROR") {
		return fmt.Errorf("status %d: %w", resp.StatusCode, errPayReply)
	}
	if json.Unmarshal(body, into) != nil {
		return errPayReply
	}
	return nil
}

// invoice is what a job waits to be paid by.
type invoice struct {
	Text    string `json:"invoice"`
	Verify  string `json:"verify"`  // where to ask whether it is paid
	Expires int64  `json:"expires"` // when the job is given up
}

// invoice asks for an invoice.
func (w *wallet) invoice(ctx context.Context, msats int64, within time.Duration) (invoice, error) {
	var service struct {
		Tag      string `json:"tag"`
		Callback string `json:"callback"`
		Min      int64  `json:"minSendable"`
		Max      int64  `json:"maxSendable"`
	}
	if err := w.get(ctx, w.address, &service); err != nil {
		return invoice{}, fmt.Errorf("ask %s: %w", w.address, err)
	}
	callback, err := url.Parse(service.Callback)
	switch {
	case service.Tag != "payRequest" || err != nil:
		return invoice{}, errPayReply
	case msats < service.Min || msats > service.Max:
		return invoice{}, errPayRange
	}
	query := callback.Query()
	query.Set("amount", strconv.FormatInt(msats, 10))
	callback.RawQuery = query.Encode()
	var made struct {
		Text   string `json:"pr"`
		Verify string `json:"verify"`
	}
	if err := w.get(ctx, callback.String(), &made); err != nil {
		return invoice{}, fmt.Errorf("ask for an invoice: %w", err)
	}
	bill, err := parseBill(made.Text)
	if err != nil {
		return invoice{}, err
	}
	if bill.msats != msats {
		return invoice{}, errPayAmount
	}
	if _, _, err := w.target(made.Verify); err != nil {
		return invoice{}, errNoVerify
	}
	return invoice{Text: made.Text, Verify: made.Verify, Expires: min(time.Now().Add(within).Unix(), bill.expires)}, nil
}

// paid asks whether an invoice is paid.
func (w *wallet) paid(ctx context.Context, i invoice) (bool, error) {
	var state struct {
		Settled  bool   `json:"settled"`
		Preimage string `json:"preimage"`
		Text     string `json:"pr"`
	}
	if err := w.get(ctx, i.Verify, &state); err != nil || !state.Settled {
		return false, err
	}
	bill, err := parseBill(i.Text)
	if err != nil {
		return false, err
	}
	// It has to speak of our invoice, and what proves a payment has to fit.
	preimage, err := hex.DecodeString(state.Preimage)
	if err != nil || !strings.EqualFold(state.Text, i.Text) || len(preimage) > 0 && sha256.Sum256(preimage) != bill.hash {
		return false, errPayReply
	}
	return true, nil
}

// bill is what an invoice says (BOLT 11).
type bill struct {
	msats   int64
	expires int64
	hash    [32]byte // of what the payer gets for paying
}

var errBill = errors.New("not an invoice")

// The parts of an invoice, in words of five bits.
const (
	wordsTime      = 7
	wordsSignature = 104
	wordsHash      = 52
	fieldHash      = 1 // p
	fieldExpiry    = 6 // x
	defaultExpiry  = 3600
)

// parseBill reads an invoice. Its signature is not looked at: it comes from the
// service that is paid.
func parseBill(text string) (bill, error) {
	prefix, words, err := nip19.Words(text)
	if err != nil || len(words) < wordsTime+wordsSignature {
		return bill{}, errBill
	}
	b := bill{expires: defaultExpiry}
	if b.msats, err = amountOf(prefix); err != nil {
		return bill{}, err
	}
	fields := words[wordsTime : len(words)-wordsSignature]
	hashed := false
	for len(fields) > 0 {
		if len(fields) < 3 {
			return bill{}, errBill
		}
		kind, n := fields[0], int(fields[1])<<5|int(fields[2])
		if fields = fields[3:]; len(fields) < n {
			return bill{}, errBill
		}
		switch {
		case kind == fieldHash && n == wordsHash && !hashed:
			copy(b.hash[:], nip19.Pack(fields[:n]))
			hashed = true
		case kind == fieldExpiry && n <= wordsTime:
			b.expires = number(fields[:n])
		}
		fields = fields[n:]
	}
	if !hashed {
		return bill{}, errBill
	}
	b.expires += number(words[:wordsTime])
	return b, nil
}

func number(words []byte) (n int64) {
	for _, w := range words {
		n = n<<5 | int64(w)
	}
	return n
}

// amountOf reads how much an invoice is for, in thousandths of a satoshi: ln, the
// network, a number of bitcoin and its part.
func amountOf(prefix string) (int64, error) {
	at := strings.IndexAny(prefix, "0123456789")
	if !strings.HasPrefix(prefix, "ln") || at < 0 || strings.Trim(prefix[:at], "abcdefghijklmnopqrstuvwxyz") != "" {
		return 0, errBill // also one for any amount
	}
	digits, part := prefix[at:], int64(100_000_000_000)
	for letter, msats := range map[string]int64{"m": 100_000_000, "u": 100_000, "n": 100} {
		if rest, ok := strings.CutSuffix(digits, letter); ok {
			digits, part = rest, msats
		}
	}
	pico := false
	if rest, ok := strings.CutSuffix(digits, "p"); ok { // tenths
		digits, part, pico = rest, 1, true
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/part || pico && n%10 != 0 {
		return 0, errBill
	}
	if pico {
		n /= 10
	}
	return n * part, nil
}
