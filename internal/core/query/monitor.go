package query

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/nostr/nip66"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// Opinion is what another monitor says of a relay (NIP-66). It is that monitor's
// word, shown beside ours.
type Opinion struct {
	Monitor  string          `json:"monitor" pattern:"^[0-9a-f]{64}$" doc:"public key of the monitor"`
	Name     string          `json:"name,omitempty" doc:"what the monitor calls itself"`
	At       int64           `json:"at" doc:"Unix seconds, as the monitor says"`
	OpenMS   float64         `json:"open_ms,omitempty"`
	ReadMS   float64         `json:"read_ms,omitempty"`
	WriteMS  float64         `json:"write_ms,omitempty"`
	NIPs     []string        `json:"nips,omitempty"`
	Requires map[string]bool `json:"requires,omitempty" doc:"by requirement, whether it holds"`
}

const (
	maxOpinions = 200 // reports read of one relay
	maxName     = 100 // bytes of a monitor's name
)

// Opinions returns the newest report of each other monitor that the archive
// holds, newest first.
func (c *Catalogue) Opinions(ctx context.Context, url relay.URL) ([]Opinion, error) {
	now := time.Now().Unix()
	// Monitors differ in the slash at the end.
	spellings := []string{url.String(), nip66.Identifier(url)}
	rows, _, err := c.store.Events(ctx, store.EventQuery{
		Filter: nostr.Filter{Kinds: []nostr.Kind{nip66.KindReport}, Tags: map[string][]string{"d": slices.Compact(spellings)}},
		Limit:  maxOpinions, Public: true, Now: now,
	})
	if err != nil {
		return nil, fmt.Errorf("read reports of monitors: %w", err)
	}
	list, seen := []Opinion{}, map[nostr.PubKey]bool{}
	var authors []nostr.PubKey
	for i := range rows {
		// Whether a relay may be local was decided when it was taken.
		f, err := nip66.Parse(&rows[i].Event, relay.Rules{AllowLocal: true})
		if err != nil || f.URL != url || seen[f.Monitor] {
			continue
		}
		seen[f.Monitor] = true
		authors = append(authors, f.Monitor)
		list = append(list, Opinion{
			Monitor: f.Monitor.String(), At: f.At, NIPs: f.NIPs, Requires: f.Requires,
			OpenMS: ms(f.Open), ReadMS: ms(f.Read), WriteMS: ms(f.Write),
		})
	}
	names, err := c.names(ctx, authors, now)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Name = names[list[i].Monitor]
	}
	return list, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// names reads what authors call themselves in their profiles.
func (c *Catalogue) names(ctx context.Context, authors []nostr.PubKey, now int64) (map[string]string, error) {
	names := map[string]string{}
	if len(authors) == 0 {
		return names, nil
	}
	rows, _, err := c.store.Events(ctx, store.EventQuery{
		Filter: nostr.Filter{Kinds: []nostr.Kind{nip66.KindProfile}, Authors: authors},
		Limit:  maxOpinions, Public: true, Now: now,
	})
	if err != nil {
		return nil, fmt.Errorf("read names of monitors: %w", err)
	}
	for _, row := range rows {
		var profile struct {
			Name string `json:"name"`
		}
		author := row.Event.PubKey.String()
		if names[author] == "" && json.Unmarshal([]byte(row.Event.Content), &profile) == nil {
			names[author] = strings.ToValidUTF8(profile.Name[:min(len(profile.Name), maxName)], "")
		}
	}
	return names, nil
}

// Change is a field of a relay's document that changed.
type Change struct {
	At     int64           `json:"at" doc:"the first check that found it, Unix seconds"`
	Field  string          `json:"field" example:"limitation.max_limit"`
	Before json.RawMessage `json:"before,omitempty" doc:"absent when the field is new"`
	After  json.RawMessage `json:"after,omitempty" doc:"absent when the field is gone"`
}

// Changes returns what changed between the newest versions of a relay's document
// (NIP-11), newest first.
func (c *Catalogue) Changes(ctx context.Context, id store.RelayID, versions int) ([]Change, error) {
	if versions < 1 || versions > MaxPage {
		return nil, ErrLimit
	}
	list, err := c.store.Versions(ctx, id, store.DocumentInfo, versions)
	if err != nil {
		return nil, fmt.Errorf("read versions of the document: %w", err)
	}
	changes := []Change{}
	for i := range len(list) - 1 {
		for _, d := range nip11.Diff(list[i+1].Data, list[i].Data) {
			changes = append(changes, Change{At: list[i].From, Field: d.Field, Before: d.Before, After: d.After})
		}
	}
	return changes, nil
}

// Health returns how a relay fared until now.
func (c *Catalogue) Health(ctx context.Context, id store.RelayID) (Health, error) {
	h, err := c.store.Health(ctx, id, time.Now().Unix())
	if err != nil {
		return Health{}, fmt.Errorf("read health: %w", err)
	}
	return newHealth(h), nil
}

// Tested is what a relay claims of itself, held against what it does.
type Tested struct {
	At     int64         `json:"at" doc:"when it was tested, Unix seconds"`
	Claims []TestedClaim `json:"claims" nullable:"false"`
}

// TestedClaim is one claim of a relay's document.
type TestedClaim struct {
	Name     string `json:"name" example:"max_limit"`
	Claimed  string `json:"claimed" doc:"as the document has it" example:"500"`
	Measured string `json:"measured,omitempty" doc:"what was found" example:"500"`
	Verdict  string `json:"verdict" enum:"kept,broken,untested" doc:"untested: there is too little to tell by, or it would cost the relay too much"`
}

// probeClaims is the probe whose document has the claims.
const probeClaims = "nips"

// Tested returns the newest test of a relay's claims; store.ErrNotFound before
// the first.
func (c *Catalogue) Tested(ctx context.Context, id store.RelayID) (Tested, error) {
	checks, err := c.store.LatestChecks(ctx, id)
	if err != nil {
		return Tested{}, fmt.Errorf("read checks: %w", err)
	}
	for _, check := range checks {
		if check.Probe != probeClaims || check.Document == nil {
			continue
		}
		t := Tested{At: check.At}
		// It is ours: what does not fit is of an older version.
		if json.Unmarshal(check.Document.Data, &t) == nil {
			t.At, t.Claims = check.At, append([]TestedClaim{}, t.Claims...)
			return t, nil
		}
	}
	return Tested{}, store.ErrNotFound
}
