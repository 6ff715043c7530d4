package nostr

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilterMatches(t *testing.T) {
	id, key, otherKey := ID{1}, PubKey{2}, PubKey{3}
	n := func(v int64) *int64 { return &v }
	zero := 0
	e := Event{ID: id, PubKey: key, CreatedAt: 100, Kind: 30023, Tags: []Tag{
		{}, {"d"}, {"t", "first", "second"}, {"t", "third"}, {"title", "word"}, {"e", hexID, "wss://a"}, {"d", ""},
	}}
	tests := []struct {
		name string
		f    Filter
		want bool
	}{
		{"empty", Filter{}, true},
		{"empty lists", Filter{IDs: []ID{}, Authors: []PubKey{}, Kinds: []Kind{}, Tags: map[string][]string{"t": {}}}, true},
		{"id", Filter{IDs: []ID{{9}, id}}, true},
		{"other id", Filter{IDs: []ID{{9}}}, false},
		{"author", Filter{Authors: []PubKey{otherKey, key}}, true},
		{"other author", Filter{Authors: []PubKey{otherKey}}, false},
		{"kind", Filter{Kinds: []Kind{1, 30023}}, true},
		{"other kind", Filter{Kinds: []Kind{1}}, false},
		{"since is inclusive", Filter{Since: n(100)}, true},
		{"before since", Filter{Since: n(101)}, false},
		{"until is inclusive", Filter{Until: n(100)}, true},
		{"after until", Filter{Until: n(99)}, false},
		{"tag", Filter{Tags: map[string][]string{"t": {"none", "third"}}}, true},
		{"tag, first value", Filter{Tags: map[string][]string{"t": {"first"}}}, true},
		{"only the first value of a tag counts", Filter{Tags: map[string][]string{"t": {"second"}}}, false},
		{"case of the name", Filter{Tags: map[string][]string{"T": {"first"}}}, false},
		{"whole name", Filter{Tags: map[string][]string{"ti": {"word"}}}, false},
		{"an empty value is a value", Filter{Tags: map[string][]string{"d": {""}}}, true},
		{"every tag condition", Filter{Tags: map[string][]string{"t": {"first"}, "e": {hexID}}}, true},
		{"one tag condition fails", Filter{Tags: map[string][]string{"t": {"first"}, "e": {hexKey}}}, false},
		{"conditions are joined by and", Filter{IDs: []ID{id}, Kinds: []Kind{1}}, false},
		{"limit and search are not conditions", Filter{Limit: &zero, Search: "x"}, true},
	}
	for _, tt := range tests {
		if got := tt.f.Matches(&e); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
	if (&Filter{Tags: map[string][]string{"d": {""}}}).Matches(&Event{Tags: []Tag{{"d"}}}) {
		t.Error("a tag without a value has matched an empty value")
	}
}

func TestParseFilter(t *testing.T) {
	tests := []struct{ text, want string }{ // want as AppendJSON writes it
		{`{}`, `{}`},
		{" { } ", `{}`},
		{`{"ids":[],"authors":[],"kinds":[],"#t":[],"search":""}`, `{}`},
		{`{"limit":0,"since":0,"until":9223372036854775807}`, `{"since":0,"until":9223372036854775807,"limit":0}`},
		{`{"kinds":[ 1 , 65536,0],"authors":["` + hexKey + `"],"ids":["` + hexID + `"]}`, `{"ids":["` + hexID + `"],"authors":["` + hexKey + `"],"kinds":[1,65536,0]}`},
		{`{"#t":["a","\u0062\n",""],"#E":["x"],"#e":["` + hexID + `"]}`, `{"#E":["x"],"#e":["` + hexID + `"],"#t":["a","b\n",""]}`},
		{`{"search":"a <b> \"c\""}`, `{"search":"a <b> \"c\""}`},
		{`{"\u006bin\u0064s":[7]}`, `{"kinds":[7]}`},
	}
	for _, tt := range tests {
		f, err := ParseFilter([]byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if got := string(f.AppendJSON(nil)); got != tt.want {
			t.Errorf("%s: got %s", tt.text, got)
		}
	}
	refused := []struct {
		text string
		want Reason
	}{
		{``, ReasonTruncated},
		{`[]`, ReasonType},
		{`{}{}`, ReasonTrailing},
		{`{"kinds":[1],}`, ReasonSyntax},
		{`{"kinds":[1,]}`, ReasonSyntax},
		{`{"kinds":[1]`, ReasonTruncated},
		{`{"kinds":[`, ReasonTruncated},
		{`{"kinds":1}`, ReasonFilterValue},
		{`{"kinds":[-1]}`, ReasonFilterValue},
		{`{"kinds":[1.0]}`, ReasonFilterValue},
		{`{"kinds":["1"]}`, ReasonFilterValue},
		{`{"kinds":null}`, ReasonFilterValue},
		{`{"kinds":[9223372036854775808]}`, ReasonFilterValue},
		{`{"ids":["` + hexID[2:] + `"]}`, ReasonFilterValue},
		{`{"ids":["` + strings.ToUpper(hexID) + `"]}`, ReasonFilterValue},
		{`{"authors":["npub1"]}`, ReasonFilterValue},
		{`{"#e":["x"]}`, ReasonFilterValue},
		{`{"#p":[""]}`, ReasonFilterValue},
		{`{"#t":[1]}`, ReasonFilterValue},
		{`{"since":"1"}`, ReasonFilterValue},
		{`{"until":1e9}`, ReasonFilterValue},
		{`{"limit":-1}`, ReasonFilterValue},
		{`{"search":1}`, ReasonFilterValue},
		{`{"kinds":[1],"kinds":[1]}`, ReasonDuplicateKey},
		{`{"#t":[],"#t":["a"]}`, ReasonDuplicateKey},
		{`{"#tt":["a"]}`, ReasonFilterKey},
		{`{"#":["a"]}`, ReasonFilterKey},
		{`{"#1":["a"]}`, ReasonFilterKey},
		{`{"&t":["a"]}`, ReasonFilterKey},
		{`{"Kinds":[1]}`, ReasonFilterKey},
		{`{"":1}`, ReasonFilterKey},
		{`{"search":"\ud800` + "\xff" + `"}`, ReasonUTF8},
	}
	for _, tt := range refused {
		if _, err := ParseFilter([]byte(tt.text)); reasonOf(err) != tt.want {
			t.Errorf("%s: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add([]byte(`{"ids":["` + hexID + `"],"authors":["` + hexKey + `"],"kinds":[1, 30023],"#t":["a","\n"],"#e":["` + hexID + `"],"since":1,"until":2,"limit":3,"search":"\ud83d"}`))
	f.Add([]byte(`{"kinds":[],"#Z":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		filter, err := ParseFilter(b)
		if err != nil {
			if reasonOf(err) == "" {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if !json.Valid(b) {
			t.Error("accepted what is not JSON")
		}
		text := filter.AppendJSON(nil)
		again, err := ParseFilter(text)
		if err != nil || !cmp.Equal(again, filter) {
			t.Errorf("%s does not come back: %v", text, err)
		}
	})
}

func TestKinds(t *testing.T) {
	tests := []struct {
		kind                                Kind
		replaceable, ephemeral, addressable bool
	}{
		{0, true, false, false},
		{1, false, false, false},
		{2, false, false, false},
		{3, true, false, false},
		{4, false, false, false},
		{44, false, false, false},
		{9999, false, false, false},
		{10000, true, false, false},
		{10002, true, false, false},
		{19999, true, false, false},
		{20000, false, true, false},
		{29999, false, true, false},
		{30000, false, false, true},
		{39999, false, false, true},
		{40000, false, false, false},
		{641800, false, false, false},
	}
	for _, tt := range tests {
		if tt.kind.IsReplaceable() != tt.replaceable || tt.kind.IsEphemeral() != tt.ephemeral || tt.kind.IsAddressable() != tt.addressable {
			t.Errorf("kind %d: replaceable %v, ephemeral %v, addressable %v", tt.kind, tt.kind.IsReplaceable(), tt.kind.IsEphemeral(), tt.kind.IsAddressable())
		}
	}
}
