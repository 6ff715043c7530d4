package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"bigbrotr/internal/core/nostr"
)

// The bounds of words, of texts and of searches.
const (
	MaxSearch      = 256 // bytes of a search
	MaxSearchWords = 12
	maxWordBytes   = 48 // longer words are cut
	minWordBytes   = 2  // shorter ones are left out: letters alone
	maxTextBytes   = 64 << 10
	maxTextWords   = 1000 // of one event
)

// The errors of searches.
var (
	// ErrSearch is returned for a search that has no words, or too many.
	ErrSearch = fmt.Errorf("a search has from 1 to %d words", MaxSearchWords)
	// ErrNoSearch is returned for a search in an archive that has no index of
	// words, or not yet.
	ErrNoSearch = errors.New("this archive has no index of words")
)

// textKinds are those that are written for everybody to read: profiles, notes,
// threads, comments, channels, highlights, articles and pages of wikis.
var textKinds = []nostr.Kind{0, 1, 11, 42, 1111, 9802, 30023, 30818}

// TextKinds returns the kinds that searches find.
func TextKinds() []nostr.Kind { return slices.Clone(textKinds) }

// Words returns the words of an event that searches find it by, sorted, each
// once; none for a kind that they do not find.
func Words(e *nostr.Event) []string {
	if !slices.Contains(textKinds, e.Kind) {
		return nil
	}
	var w words
	if e.Kind == 0 {
		var profile map[string]any
		if len(e.Content) <= maxTextBytes && json.Unmarshal([]byte(e.Content), &profile) == nil {
			for _, name := range []string{"name", "display_name", "nip05", "about"} {
				text, _ := profile[name].(string)
				w.add(text)
			}
		}
		return w.sorted()
	}
	for _, t := range e.Tags {
		if len(t) > 1 && (t[0] == "title" || t[0] == "summary" || t[0] == "subject") {
			w.add(t[1])
		}
	}
	w.add(e.Content)
	return w.sorted()
}

// SearchWords returns the words that a search (NIP-50) asks for, of which an event
// must have all: sorted, each once. Words of the form key:value are extensions,
// none of which is known here, and are read over. The error is ErrSearch.
func SearchWords(search string) ([]string, error) {
	if len(search) > MaxSearch {
		return nil, ErrSearch
	}
	var w words
	for part := range strings.FieldsSeq(search) {
		if !extension(part) {
			w.add(part)
		}
	}
	list := w.sorted()
	if len(list) == 0 || len(list) > MaxSearchWords {
		return nil, ErrSearch
	}
	return list, nil
}

// extension tells whether a part of a search is key:value, which an address is
// not.
func extension(part string) bool {
	key, value, found := strings.Cut(part, ":")
	if !found || key == "" || value == "" || strings.HasPrefix(value, "//") {
		return false
	}
	return strings.Trim(key, "abcdefghijklmnopqrstuvwxyz-_") == ""
}

// Finds tells whether an event has all words of a search; any event has those of
// none.
func Finds(search string, e *nostr.Event) bool {
	if search == "" {
		return true
	}
	wanted, err := SearchWords(search)
	return err == nil && hasWords(e, wanted)
}

func hasWords(e *nostr.Event, wanted []string) bool {
	have := Words(e)
	return !slices.ContainsFunc(wanted, func(word string) bool {
		_, found := slices.BinarySearch(have, word)
		return !found
	})
}

// words are gathered from texts. A word is a run of letters and digits in lower
// case without accents; of scripts that write no spaces each pair of neighbours
// is one.
type words struct {
	list  []string
	bytes int // of texts looked at
}

func (w *words) add(text string) {
	if left := maxTextBytes - w.bytes; len(text) > left {
		text = text[:left]
	}
	w.bytes += len(text)
	var run []byte  // of a script with spaces
	var last string // the letter before, of one without
	alone := false  // last has no neighbour yet
	end := func() {
		w.put(string(run))
		run = run[:0]
		if alone {
			w.list = append(w.list, last)
		}
		last, alone = "", false
	}
	for _, r := range norm.NFC.String(unmarked(norm.NFKD.String(text))) {
		switch {
		case len(w.list) >= 4*maxTextWords:
			return
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) || r == 'ー':
			if len(run) > 0 {
				end()
			}
			if last != "" {
				w.list = append(w.list, last+string(r))
			}
			alone = last == ""
			last = string(r)
		case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.Mc, r):
			if last != "" {
				end()
			}
			run = utf8.AppendRune(run, unicode.ToLower(r))
		default:
			end()
		}
	}
	end()
}

// put takes a word of a script with spaces.
func (w *words) put(word string) {
	if len(word) < minWordBytes {
		return
	}
	if len(word) > maxWordBytes {
		word = strings.ToValidUTF8(word[:maxWordBytes], "")
	}
	w.list = append(w.list, word)
}

// unmarked leaves out marks that stand above or below letters.
func unmarked(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, text)
}

func (w *words) sorted() []string {
	slices.Sort(w.list)
	list := slices.Compact(w.list)
	return list[:min(len(list), maxTextWords)]
}
