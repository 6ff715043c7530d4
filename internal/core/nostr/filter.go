package nostr

import (
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Filter is a NIP-01 filter. Nil and empty lists mean "any". Since and Until
// are inclusive.
type Filter struct {
	IDs     []ID
	Authors []PubKey
	Kinds   []Kind
	// Tags maps a single letter (without the #) to the wanted first values.
	Tags   map[string][]string
	Since  *int64
	Until  *int64
	Limit  *int
	Search string // NIP-50
}

// Matches reports whether the event fits every condition but Limit and Search.
// Of a tag only the first value counts (NIP-01).
func (f *Filter) Matches(e *Event) bool {
	if f.Since != nil && e.CreatedAt < *f.Since || f.Until != nil && e.CreatedAt > *f.Until {
		return false
	}
	if len(f.Kinds) > 0 && !slices.Contains(f.Kinds, e.Kind) ||
		len(f.Authors) > 0 && !slices.Contains(f.Authors, e.PubKey) ||
		len(f.IDs) > 0 && !slices.Contains(f.IDs, e.ID) {
		return false
	}
	for letter, values := range f.Tags {
		if len(values) > 0 && !slices.ContainsFunc(e.Tags, func(t Tag) bool {
			return len(t) > 1 && t[0] == letter && slices.Contains(values, t[1])
		}) {
			return false
		}
	}
	return true
}

// AppendJSON appends the filter as a JSON object: ids, authors, kinds, tags by
// letter, since, until, limit, search. Empty lists are left out.
func (f *Filter) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	start := len(dst)
	key := func(name string) {
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name, false)
		dst = append(dst, ':')
	}
	number := func(name string, v int64) {
		key(name)
		dst = strconv.AppendInt(dst, v, 10)
	}
	if len(f.IDs) > 0 {
		key("ids")
		dst = appendList(dst, f.IDs, func(dst []byte, id ID) []byte { return appendHex(dst, id[:]) })
	}
	if len(f.Authors) > 0 {
		key("authors")
		dst = appendList(dst, f.Authors, func(dst []byte, k PubKey) []byte { return appendHex(dst, k[:]) })
	}
	if len(f.Kinds) > 0 {
		key("kinds")
		dst = appendList(dst, f.Kinds, func(dst []byte, k Kind) []byte { return strconv.AppendInt(dst, int64(k), 10) })
	}
	for _, letter := range slices.Sorted(maps.Keys(f.Tags)) {
		if values := f.Tags[letter]; len(values) > 0 {
			key("#" + letter)
			dst = appendList(dst, values, func(dst []byte, s string) []byte { return appendString(dst, s, false) })
		}
	}
	if f.Since != nil {
		number("since", *f.Since)
	}
	if f.Until != nil {
		number("until", *f.Until)
	}
	if f.Limit != nil {
		number("limit", int64(*f.Limit))
	}
	if f.Search != "" {
		key("search")
		dst = appendString(dst, f.Search, false)
	}
	return append(dst, '}')
}

func appendList[T any](dst []byte, list []T, one func([]byte, T) []byte) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = one(dst, v)
	}
	return append(dst, ']')
}

// ParseFilter reads one JSON object. It is strict: a key it does not know is
// refused, because to ignore a condition is to answer more than was asked. The
// error is a *ParseError.
func ParseFilter(b []byte) (Filter, error) {
	f, i, r := scanFilter(b, space(b, 0))
	if r == "" {
		if i = space(b, i); i < len(b) {
			r = ReasonTrailing
		}
	}
	if r != "" {
		return Filter{}, &ParseError{Reason: r, Offset: i}
	}
	return f, nil
}

func scanFilter(b []byte, i int) (f Filter, end int, r Reason) {
	var seen [128]bool // by the letter of a tag; words have the low numbers
	end, r = scanObject(b, i, ReasonType, func(key []byte, i int) (end int, r Reason) {
		var mark byte
		switch string(key) {
		case "ids":
			mark = 1
			f.IDs, end, r = scanList(b, i, func(i int) (id ID, end int, r Reason) {
				end, r = scanHex(b, i, id[:], ReasonFilterValue)
				return id, end, r
			})
		case "authors":
			mark = 2
			f.Authors, end, r = scanList(b, i, func(i int) (k PubKey, end int, r Reason) {
				end, r = scanHex(b, i, k[:], ReasonFilterValue)
				return k, end, r
			})
		case "kinds":
			mark = 3
			f.Kinds, end, r = scanList(b, i, func(i int) (Kind, int, Reason) {
				v, end, r := scanUint(b, i, ReasonFilterValue, ReasonFilterValue)
				return Kind(v), end, r
			})
		case "since":
			mark = 4
			f.Since = new(int64)
			*f.Since, end, r = scanUint(b, i, ReasonFilterValue, ReasonFilterValue)
		case "until":
			mark = 5
			f.Until = new(int64)
			*f.Until, end, r = scanUint(b, i, ReasonFilterValue, ReasonFilterValue)
		case "limit":
			mark = 6
			var v int64
			v, end, r = scanUint(b, i, ReasonFilterValue, ReasonFilterValue)
			f.Limit = new(int)
			*f.Limit = int(min(v, math.MaxInt))
		case "search":
			mark = 7
			f.Search, end, r = scanText(b, i, ReasonFilterValue)
		default:
			if len(key) != 2 || key[0] != '#' || key[1]|0x20 < 'a' || key[1]|0x20 > 'z' {
				return i, ReasonFilterKey
			}
			mark = key[1]
			var values []string
			values, end, r = scanList(b, i, func(i int) (string, int, Reason) {
				if mark == 'e' || mark == 'p' {
					var h [32]byte
					end, r := scanHex(b, i, h[:], ReasonFilterValue)
					return hex.EncodeToString(h[:]), end, r
				}
				return scanText(b, i, ReasonFilterValue)
			})
			if len(values) > 0 {
				if f.Tags == nil {
					f.Tags = make(map[string][]string)
				}
				f.Tags[string(rune(mark))] = values
			}
		}
		if seen[mark] {
			return i, ReasonDuplicateKey
		}
		seen[mark] = true
		return end, r
	})
	return f, end, r
}

// scanList reads an array. An empty one gives nil.
func scanList[T any](b []byte, i int, one func(int) (T, int, Reason)) (list []T, end int, r Reason) {
	end, r = scanArray(b, i, ReasonFilterValue, func(i int) (int, Reason) {
		v, end, r := one(i)
		list = append(list, v)
		return end, r
	})
	return list, end, r
}
