package monitor

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

var errWebhook = errors.New("not an address by https or http")

// notice is an alert as a webhook gets it. Times are Unix seconds.
type notice struct {
	// ID is the same whenever this is told: who has heard it can leave it out.
	ID    string          `json:"id"`
	Kind  store.AlertKind `json:"kind"`
	At    int64           `json:"at"`
	Relay string          `json:"relay,omitempty"`
	Cause dial.Cause      `json:"cause,omitempty"`
	Since int64           `json:"since,omitempty"` // when the outage began
	Ends  int64           `json:"ends,omitempty"`  // when the certificate does
}

// notices is what a webhook gets.
type notices struct {
	Monitor string   `json:"monitor"`
	Alerts  []notice `json:"alerts"`
}

func newNotice(d store.DueAlert) notice {
	n := notice{ID: fmt.Sprintf("%s:%d:%d", d.Kind, d.Relay, d.About), Kind: d.Kind, At: d.At, Cause: d.Cause}
	if !d.URL.IsZero() {
		n.Relay = d.URL.String()
	}
	switch d.Kind {
	case store.AlertDown, store.AlertUp:
		n.Since = d.About
	case store.AlertCertificate:
		n.Ends = d.About
	}
	return n
}

// post tells a webhook. Any status of success will do; redirects are not
// followed, so that alerts go where the operator sent them.
func (a *Alerter) post(ctx context.Context, r Receiver, due []store.DueAlert) error {
	address, at, err := webhook(r.Webhook)
	if err != nil {
		return err
	}
	message := notices{Monitor: a.cfg.Publish.Name}
	for _, d := range due {
		message.Alerts = append(message.Alerts, newNotice(d))
	}
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return errWebhook
	}
	if err := sign(req, r, body); err != nil {
		return err
	}
	client := a.dialer.HTTPClient(at)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		// Its text names the address, which may hold a token.
		return fmt.Errorf("webhook: %s", dial.CauseOf(err))
	}
	_ = resp.Body.Close()
	if resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("webhook: %s %d", dial.CauseHTTPStatus, resp.StatusCode)
	}
	return nil
}

// secretPrefix is before a secret that is written in base64.
const secretPrefix = "whsec_"

func signingKey(secret string) ([]byte, error) {
	if encoded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		return base64.StdEncoding.DecodeString(encoded)
	}
	return []byte(secret), nil
}

// sign writes the headers of Standard Webhooks: an id that is that of the
// content, the time, and with a secret the HMAC-SHA256 of all three.
func sign(req *http.Request, r Receiver, body []byte) error {
	sum := sha256.Sum256(body)
	id, at := "msg_"+hex.EncodeToString(sum[:16]), strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	if r.Secret.IsZero() {
		return nil
	}
	key, err := signingKey(r.Secret.Reveal())
	if err != nil {
		return errors.New("the webhook's secret is not base64")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}
