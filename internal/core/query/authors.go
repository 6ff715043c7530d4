package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// KindRelayList is the kind of an author's list of relays (NIP-65).
const KindRelayList nostr.Kind = 10002

const (
	maxLists   = 100 // versions of an author's list that are told of
	maxEntries = 200 // of one list
)

// ErrIndexOnly is returned for a question about what an archive that is an index
// does not keep.
var ErrIndexOnly = errors.New("this archive is an index and does not keep the tags and content of such events")

// AuthorRelays are the lists of relays of an author.
type AuthorRelays struct {
	PubKey string        `json:"pubkey" pattern:"^[0-9a-f]{64}$"`
	At     int64         `json:"at" doc:"the date that was asked for, Unix seconds"`
	List   *RelayList    `json:"list,omitempty" doc:"the list that was in force then; absent when there was none"`
	All    []ListVersion `json:"all" nullable:"false" doc:"the newest hundred lists up to today, newest first"`
}

// ListVersion is a list of relays and when it was in force.
type ListVersion struct {
	ID     string `json:"id" doc:"of its event"`
	From   int64  `json:"from" doc:"when the author made it, Unix seconds"`
	Until  int64  `json:"until,omitempty" doc:"when the next one was made; absent of the newest"`
	Relays int    `json:"relays" doc:"entries"`
}

// RelayList is an author's list of relays, with what we know of them today.
type RelayList struct {
	ListVersion
	Entries []ListEntry `json:"entries" nullable:"false"`
	Grade   string      `json:"grade" enum:"A,B,C,D,F" doc:"how well the list serves its author today"`
	Reasons []string    `json:"reasons" nullable:"false" doc:"why it is not better"`
}

// ListEntry is a relay of a list.
type ListEntry struct {
	URL    string      `json:"url" doc:"canonical where it is a relay's URL, else as it stands there"`
	Read   bool        `json:"read" doc:"where the author reads what is for them"`
	Write  bool        `json:"write" doc:"where the author writes"`
	Valid  bool        `json:"valid" doc:"that it is the URL of a relay that everybody can reach"`
	Known  bool        `json:"known" doc:"that we watch it"`
	State  store.State `json:"state,omitempty" doc:"of a relay that we watch"`
	Uptime float64     `json:"uptime,omitempty" doc:"of 30 days, 0 to 1"`
}

// usable tells whether what is written there can be read today, as far as we
// know.
func (e *ListEntry) usable() bool { return e.Known && e.State == store.StateUp }

// AuthorRelays returns the lists of relays of an author, and the one that was in
// force at a date.
func (c *Catalogue) AuthorRelays(ctx context.Context, author nostr.PubKey, at int64) (AuthorRelays, error) {
	out := AuthorRelays{PubKey: author.String(), At: at, All: []ListVersion{}}
	now := time.Now().Unix()
	rows, _, err := c.store.Events(ctx, store.EventQuery{
		Filter: nostr.Filter{Authors: []nostr.PubKey{author}, Kinds: []nostr.Kind{KindRelayList}, Until: &now},
		Limit:  maxLists, Public: true, Now: now,
	})
	if err != nil {
		return out, fmt.Errorf("read relay lists: %w", err)
	}
	until := int64(0)
	for i := range rows {
		if rows[i].IndexOnly {
			return out, ErrIndexOnly
		}
		v := newListVersion(&rows[i].Event, until)
		until = v.From
		out.All = append(out.All, v)
	}
	// What was in force long ago may be older than those.
	rows, _, err = c.store.Events(ctx, store.EventQuery{
		Filter: nostr.Filter{Authors: []nostr.PubKey{author}, Kinds: []nostr.Kind{KindRelayList}, Until: &at},
		Limit:  1, Public: true, Now: now,
	})
	if err != nil || len(rows) == 0 {
		return out, err
	}
	list, err := c.grade(ctx, &rows[0].Event)
	if err != nil {
		return out, err
	}
	for _, v := range out.All {
		if v.ID == list.ID {
			list.Until = v.Until
		}
	}
	out.List = &list
	return out, nil
}

func newListVersion(e *nostr.Event, until int64) ListVersion {
	v := ListVersion{ID: e.ID.String(), From: e.CreatedAt, Until: until}
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == "r" {
			v.Relays++
		}
	}
	return v
}

// grade reads a list of relays and says how good it is.
func (c *Catalogue) grade(ctx context.Context, e *nostr.Event) (RelayList, error) {
	list := RelayList{ListVersion: newListVersion(e, 0), Entries: []ListEntry{}, Reasons: []string{}}
	now, err := c.directory.get(ctx)
	if err != nil {
		return list, err
	}
	for _, t := range e.Tags {
		if len(t) < 2 || t[0] != "r" || len(list.Entries) == maxEntries {
			continue
		}
		entry := ListEntry{URL: store.Substitute(t[1][:min(len(t[1]), maxName)]), Read: true, Write: true}
		if len(t) > 2 && (t[2] == "read" || t[2] == "write") {
			entry.Read, entry.Write = t[2] == "read", t[2] == "write"
		}
		if url, err := relay.Parse(t[1]); err == nil {
			entry.URL, entry.Valid = url.String(), true
			if r := now.find(url); r != nil {
				entry.Known, entry.State, entry.Uptime = true, r.State, r.Uptime
			}
		}
		list.Entries = append(list.Entries, entry)
	}
	list.judge()
	return list, nil
}

// fewRelays is how many relays NIP-65 would have a list name at most in each
// direction.
const fewRelays = 4

// judge grades a list: each thing that is wrong costs a grade, and a list by which
// nobody finds what its author writes is an F.
func (l *RelayList) judge() {
	var write, read, usable, dead, invalid int
	for i := range l.Entries {
		e := &l.Entries[i]
		switch {
		case !e.Valid:
			invalid++
			continue
		case e.Known && (e.State == store.StateDown || e.State == store.StateDead):
			dead++
		}
		if e.Write {
			write++
			if e.usable() {
				usable++
			}
		}
		if e.Read {
			read++
		}
	}
	fault := func(is bool, text string) {
		if is {
			l.Reasons = append(l.Reasons, text)
		}
	}
	fault(usable == 0, "no relay that the author writes to is known to be up")
	fault(usable == 1, "only one relay that the author writes to is known to be up")
	fault(read == 0, "no relay to read from")
	fault(write > fewRelays || read > fewRelays, fmt.Sprintf("more than %d relays to write to or read from", fewRelays))
	fault(dead > 0, fmt.Sprintf("relays that are down: %d", dead))
	fault(invalid > 0, fmt.Sprintf("entries that are no relay everybody can reach: %d", invalid))
	grades := [...]string{"A", "B", "C", "D"}
	if l.Grade = "F"; usable > 0 {
		l.Grade = grades[min(len(l.Reasons), len(grades)-1)]
	}
}
