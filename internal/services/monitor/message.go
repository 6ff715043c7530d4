package monitor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip59"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// The kinds of private messages (NIP-17).
const (
	kindMessage nostr.Kind = 14
	kindInbox   nostr.Kind = 10050
)

// maxInbox is how many of the relays that somebody reads messages at are used;
// NIP-17 asks for three at most.
const maxInbox = 4

var (
	errNoInbox  = errors.New("the receiver names no relays for messages (kind 10050)")
	errNotTaken = errors.New("no relay of the receiver takes the message")
)

// message tells a key, at the relays that it reads private messages at. One that
// takes it is enough.
func (a *Alerter) message(ctx context.Context, r Receiver, due []store.DueAlert) error {
	to, err := parsePubKey(r.NPub)
	if err != nil {
		return err
	}
	relays, err := a.inbox(ctx, to)
	if err != nil {
		return err
	}
	now := time.Now()
	letter := nostr.Event{CreatedAt: now.Unix(), Kind: kindMessage, Tags: []nostr.Tag{{"p", to.String()}}, Content: letterText(due)}
	wrap, err := nip59.Wrap(*a.key, to, letter, now)
	if err != nil {
		return err
	}
	p := &publisher{key: *a.key, dialer: a.dialer, log: a.log}
	taken := false
	for _, u := range relays {
		result := unsent(1)
		p.sendTo(ctx, u, []nostr.Event{wrap}, result)
		taken = taken || result[0].OK
	}
	if !taken {
		return errNotTaken
	}
	return nil
}

// letterText says in a line each what the alerts are.
func letterText(due []store.DueAlert) string {
	lines := make([]string, len(due))
	date := func(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04 UTC") }
	for i, d := range due {
		switch d.Kind {
		case store.AlertDown:
			lines[i] = fmt.Sprintf("%s is down since %s: %s", d.URL, date(d.About), d.Cause)
		case store.AlertUp:
			lines[i] = fmt.Sprintf("%s is up again at %s; it was down since %s: %s", d.URL, date(d.At), date(d.About), d.Cause)
		case store.AlertCertificate:
			lines[i] = fmt.Sprintf("The certificate of %s ends on %s", d.URL, date(d.About))
		default:
			lines[i] = fmt.Sprintf("Many relays failed at once at %s: the monitor suspects its own network and publishes nothing", date(d.At))
		}
	}
	return strings.Join(lines, "\n")
}

// inbox returns the relays at which a key reads private messages, by the newest
// of its lists that the archive or the relays of our reports hold.
func (a *Alerter) inbox(ctx context.Context, of nostr.PubKey) ([]relay.URL, error) {
	// A relay may hold several versions, and such that are not signed.
	filter := nostr.Filter{Authors: []nostr.PubKey{of}, Kinds: []nostr.Kind{kindInbox}, Limit: new(maxInbox)}
	var newest nostr.Event
	held, _, err := a.store.Events(ctx, store.EventQuery{Filter: filter, Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("read the receiver's relays: %w", err)
	}
	for _, e := range held {
		newest = e.Event
	}
	for _, u := range a.cfg.Publish.targets() {
		if e, found := a.lookFor(ctx, u, of, filter); found && e.CreatedAt > newest.CreatedAt {
			newest = e
		}
	}
	var list []relay.URL
	for _, tag := range newest.Tags {
		if len(tag) < 2 || tag[0] != "relay" || len(list) == maxInbox {
			continue
		}
		// Which addresses may be dialled is the dialer's business.
		if u, err := (relay.Rules{AllowLocal: true}).Parse(tag[1]); err == nil && a.dialer.Enabled(u.Network()) {
			list = append(list, u)
		}
	}
	if len(list) == 0 {
		return nil, errNoInbox
	}
	return list, nil
}

// lookFor asks a relay for the list of a key. What it sends is believed when it
// is signed.
func (a *Alerter) lookFor(ctx context.Context, u relay.URL, of nostr.PubKey, filter nostr.Filter) (found nostr.Event, ok bool) {
	s, err := session.Dial(ctx, u, session.Options{Dialer: a.dialer, Idle: publishIdle})
	if err != nil {
		return found, false
	}
	defer s.Close(ctx)
	_, err = s.Req(ctx, filter, func(raw []byte) error {
		e, err := nostr.ParseChecked(raw)
		if err == nil && e.PubKey == of && e.Kind == kindInbox && e.CreatedAt >= found.CreatedAt && e.Verify() == nil {
			found, ok = e, true
		}
		return nil // what is wrong with it is no matter: the next may be right
	})
	return found, err == nil && ok
}
