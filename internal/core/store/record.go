package store

import (
	"slices"

	"bigbrotr/internal/core/nostr"
)

// Index is what an archive keeps of an event's tags when it does not keep the
// event whole.
type Index struct {
	// Tags are the hashes of the tags that filters find, of a deletion request
	// those of DeletionHashes, and one that says that the event is protected;
	// ascending, each once.
	Tags    []int64
	D       *int64 // the hash of the d tag, of an addressable event
	Expires *int64 // when it expires (NIP-40)
}

// IndexOf returns what to keep of an event.
func IndexOf(e *nostr.Event) Index {
	var in Index
	for _, t := range e.Tags {
		if Indexed(t) {
			in.Tags = append(in.Tags, TagHash(t[0], t[1]))
		}
	}
	if e.Kind == KindDeletion {
		in.Tags = append(in.Tags, DeletionHashes(e)...)
	}
	if isProtected(e) {
		in.Tags = append(in.Tags, protectedHash)
	}
	slices.Sort(in.Tags)
	in.Tags = slices.Compact(in.Tags)
	if e.Kind.IsAddressable() {
		d := TagHash("d", DTag(e))
		in.D = &d
	}
	if at, ok := Expiry(e); ok {
		in.Expires = &at
	}
	return in
}

// Record is an event as a backend reads it: with an Index in the place of its
// tags when it is not kept whole.
type Record struct {
	Stored
	Index
}

// Expired tells whether an event's time is over (NIP-40).
func (r *Record) Expired(now int64) bool {
	if r.IndexOnly {
		return r.Expires != nil && *r.Expires <= now
	}
	at, ok := Expiry(&r.Event)
	return ok && at <= now
}

// Protected tells whether only its author may pass an event on (NIP-70).
func (r *Record) Protected() bool {
	if r.IndexOnly {
		return r.Index.has(protectedHash)
	}
	return isProtected(&r.Event)
}

// addressed tells whether an event is for one of the keys: a p tag names it.
func (r *Record) addressed(keys []nostr.PubKey) bool {
	return slices.ContainsFunc(keys, func(k nostr.PubKey) bool {
		if r.IndexOnly {
			return r.Index.has(TagHash("p", k.String()))
		}
		f := nostr.Filter{Tags: map[string][]string{"p": {k.String()}}}
		return f.Matches(&r.Event)
	})
}

func (in *Index) has(hash int64) bool {
	_, found := slices.BinarySearch(in.Tags, hash)
	return found
}

// protectedHash stands for the tag of NIP-70. No filter asks for it: its name is
// not a letter.
var protectedHash = TagHash("-", "")

func isProtected(e *nostr.Event) bool {
	return slices.ContainsFunc(e.Tags, func(t nostr.Tag) bool { return len(t) > 0 && t[0] == "-" })
}

// Weight is about how many bytes an event takes in memory.
func (s *Stored) Weight() int {
	n := 200 + len(s.Event.Content)
	for _, t := range s.Event.Tags {
		for _, value := range t {
			n += 16 + len(value)
		}
	}
	return n
}

// Matcher tells which records match a filter. Of an event that is not kept
// whole, tags match by their hashes.
type Matcher struct {
	Filter nostr.Filter
	// The filter without its tags, and the sorted hashes of the values of each.
	// Made for the first record that needs them.
	rest   *nostr.Filter
	hashes [][]int64
	// What it searches for; made for the first record.
	words []string
}

// Matches tells whether a record matches. It may not be called from several
// goroutines at once.
func (m *Matcher) Matches(r *Record) bool {
	if m.Filter.Search != "" && !m.finds(r) {
		return false
	}
	if !r.IndexOnly {
		return m.Filter.Matches(&r.Event)
	}
	if m.rest == nil {
		m.split()
	}
	if !m.rest.Matches(&r.Event) {
		return false
	}
	for _, wanted := range m.hashes {
		if !slices.ContainsFunc(r.Index.Tags, func(h int64) bool {
			_, found := slices.BinarySearch(wanted, h)
			return found
		}) {
			return false
		}
	}
	return true
}

// finds tells whether a record has what is searched for. Of one that is not kept
// whole there is no text.
func (m *Matcher) finds(r *Record) bool {
	if m.words == nil {
		words, err := SearchWords(m.Filter.Search)
		if err != nil {
			return false
		}
		m.words = words
	}
	return !r.IndexOnly && hasWords(&r.Event, m.words)
}

func (m *Matcher) split() {
	rest := m.Filter
	rest.Tags = nil
	m.rest = &rest
	for name, values := range m.Filter.Tags {
		if len(values) > 0 {
			hashes := TagHashes(name, values)
			slices.Sort(hashes)
			m.hashes = append(m.hashes, hashes)
		}
	}
}

// TagHashes returns the hash of a tag with each of the values.
func TagHashes(name string, values []string) []int64 {
	hashes := make([]int64, len(values))
	for i, v := range values {
		hashes[i] = TagHash(name, v)
	}
	return hashes
}
