// Package nip66test holds the tables of what monitors publish (NIP-66, NIP-65,
// NIP-11), for tests of whoever makes such events.
package nip66test

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/nostr/nip66"
)

// maxKinds is how many kinds a report names at most.
const maxKinds = 100

// rules are NIP-66's table of tags: how often each may stand, how long it is,
// and what its first value looks like.
var rules = map[nostr.Kind]map[string]struct {
	most, length int
	value        *regexp.Regexp
}{
	nip66.KindReport: {
		"d":         {1, 2, regexp.MustCompile(`^wss?://[^/]+/`)},
		"n":         {1, 2, regexp.MustCompile(`^(clearnet|tor|i2p|loki)$`)},
		"rtt-open":  {1, 2, regexp.MustCompile(`^[1-9][0-9]*$`)},
		"rtt-read":  {1, 2, regexp.MustCompile(`^[1-9][0-9]*$`)},
		"rtt-write": {1, 2, regexp.MustCompile(`^[1-9][0-9]*$`)},
		"T": {9, 2, regexp.MustCompile(`^(PublicOutbox|PublicInbox|PrivateInbox|PrivateStorage|Search|Directory|Community|Algo|Archival|` +
			`LocalCache|Blob|Broadcast|Proxy|Trusted|Push)$`)},
		"N": {99, 2, regexp.MustCompile(`^[0-9A-F]{1,3}$`)},
		"R": {4, 2, regexp.MustCompile(`^!?(auth|writes|pow|payment)$`)},
		"t": {99, 2, regexp.MustCompile(`^.+$`)},
		"k": {maxKinds, 2, regexp.MustCompile(`^!?[0-9]{1,5}$`)},
		"g": {9, 2, regexp.MustCompile(`^[0-9b-hjkmnp-z]{1,9}$`)},
		"L": {9, 2, regexp.MustCompile(`^.+$`)},
		"l": {99, 3, regexp.MustCompile(`^.+$`)},
	},
	nip66.KindAnnouncement: {
		"frequency": {1, 2, regexp.MustCompile(`^[1-9][0-9]*$`)},
		"timeout":   {9, 3, regexp.MustCompile(`^[a-z0-9]+$`)},
		"c":         {20, 2, regexp.MustCompile(`^[a-z0-9]+$`)},
		"n":         {4, 2, regexp.MustCompile(`^(clearnet|tor|i2p|loki)$`)},
		"g":         {9, 2, regexp.MustCompile(`^[0-9b-hjkmnp-z]{1,9}$`)},
	},
	nip66.KindRelays: {"r": {9, 3, regexp.MustCompile(`^wss?://`)}},
}

// Validate holds every tag of an event against the table, and its content against
// what NIP-01 and NIP-11 say of it.
func Validate(t testing.TB, e nostr.Event) {
	t.Helper()
	counts := map[string]int{}
	var names, labels []string
	for _, tag := range e.Tags {
		rule, ok := rules[e.Kind][tag[0]]
		counts[tag[0]]++
		if !ok || len(tag) != rule.length || !rule.value.MatchString(tag[1]) || counts[tag[0]] > rule.most {
			t.Errorf("kind %d: tag %q", e.Kind, tag)
		}
		switch tag[0] {
		case "L":
			names = append(names, tag[1])
		case "l":
			labels = append(labels, tag[2])
		}
	}
	for _, space := range labels {
		if !slices.Contains(names, space) {
			t.Errorf("a label of the namespace %q, which no L tag names", space)
		}
	}
	if e.Kind == nip66.KindReport && counts["d"] != 1 {
		t.Errorf("%d d tags", counts["d"])
	}
	for _, tag := range e.Tags {
		if e.Kind == nip66.KindRelays && len(tag) > 2 && tag[2] != "read" && tag[2] != "write" {
			t.Errorf("kind %d: tag %q", e.Kind, tag)
		}
	}
	switch e.Kind {
	case nip66.KindProfile:
		var profile map[string]string
		if err := json.Unmarshal([]byte(e.Content), &profile); err != nil || profile["name"] == "" {
			t.Errorf("profile %q: %v", e.Content, err)
		}
	case nip66.KindReport:
		if _, err := nip11.Parse([]byte(e.Content)); e.Content != "" && err != nil {
			t.Errorf("content %q is no document: %v", e.Content, err)
		}
	default:
		if e.Content != "" {
			t.Errorf("kind %d: content %q", e.Kind, e.Content)
		}
	}
}
