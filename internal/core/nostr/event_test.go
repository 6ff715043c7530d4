package nostr

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestRealEvents(t *testing.T) {
	for i, text := range realEvents(t) {
		e, err := ParseEvent(text)
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if err := e.CheckID(); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		if checked, err := ParseChecked(text); err != nil || !reflect.DeepEqual(checked, e) {
			t.Errorf("line %d: ParseChecked: %v", i+1, err)
		}
		if err := e.Verify(); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		if ref, ok := ScanEvent(text); !ok || ref != (Ref{e.ID, e.CreatedAt}) {
			t.Errorf("line %d: ScanEvent: %v %v", i+1, ref, ok)
		}
		out := e.AppendJSON(nil)
		if again, err := ParseEvent(out); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("line %d: AppendJSON does not come back: %v", i+1, err)
		}
		var want, got jsonEvent
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("line %d: AppendJSON is not JSON: %v", i+1, err)
		}
		if !reflect.DeepEqual(want, got) { // cmp takes seconds for all of them
			t.Errorf("line %d: AppendJSON, as encoding/json reads it: %s", i+1, cmp.Diff(want, got))
		}
	}
}

// TestInvalidEvents holds every kind of trouble found in the wild against the
// way it must be refused.
func TestInvalidEvents(t *testing.T) {
	type refusal struct {
		reasons []Reason // of ParseEvent; none if it must accept
		id, sig bool     // whether CheckID and Verify must accept
	}
	want := map[string]refusal{
		// Where there is more than one trouble the first in the text counts.
		"bad hex: id":     {reasons: []Reason{ReasonID, ReasonPubKey}},
		"bad hex: pubkey": {reasons: []Reason{ReasonPubKey}},
		"bad hex: sig":    {reasons: []Reason{ReasonSig}},
		"bad type: created_at (id mismatch, pubkey not on curve)": {reasons: []Reason{ReasonCreatedAt}},
		"bad type: id":                                {reasons: []Reason{ReasonID}},
		"bad type: tags (id mismatch, sig ok)":        {reasons: []Reason{ReasonTags, ReasonTag, ReasonTagElement}},
		"created_at not an integer (id ok, sig ok)":   {reasons: []Reason{ReasonCreatedAt}},
		"id does not hash but sig over id is ok":      {sig: true},
		"id mismatch, pubkey not on curve":            {},
		"id mismatch, sig BAD":                        {},
		"id ok, sig BAD":                              {id: true},
		"missing field: created_at":                   {reasons: []Reason{ReasonMissingKey, ReasonID, ReasonPubKey}},
		"missing field: id":                           {reasons: []Reason{ReasonMissingKey, ReasonID, ReasonPubKey}},
		"missing field: tags":                         {reasons: []Reason{ReasonMissingKey, ReasonID, ReasonPubKey}},
		"tag element is not a string (id ok, sig ok)": {reasons: []Reason{ReasonTagElement}},
		"tags is null, id and sig ok for tags=[]":     {reasons: []Reason{ReasonTags}},
		"uppercase hex (otherwise valid)":             {reasons: []Reason{ReasonID, ReasonPubKey, ReasonSig}},
		// A kind beyond NIP-01's range is stored like any other.
		"kind out of range 0..65535 (id mismatch, pubkey not on curve)": {},
	}
	for i, line := range lines(t, "events_invalid.jsonl.zst") {
		var c struct{ Reason, Raw string }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		w, known := want[c.Reason]
		if !known {
			t.Fatalf("line %d: no expectation for %q", i+1, c.Reason)
		}
		e, err := ParseEvent([]byte(c.Raw))
		if len(w.reasons) > 0 {
			if !slices.Contains(w.reasons, reasonOf(err)) {
				t.Errorf("line %d: %s: got %v", i+1, c.Reason, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("line %d: %s: %v", i+1, c.Reason, err)
			continue
		}
		if err := e.CheckID(); (err == nil) != w.id || err != nil && err != ErrID {
			t.Errorf("line %d: %s: CheckID: %v", i+1, c.Reason, err)
		}
		if _, err := ParseChecked([]byte(c.Raw)); (err == nil) != w.id || err != nil && err != ErrID {
			t.Errorf("line %d: %s: ParseChecked: %v", i+1, c.Reason, err)
		}
		if err := e.Verify(); (err == nil) != w.sig || err != nil && err != ErrSig {
			t.Errorf("line %d: %s: Verify: %v", i+1, c.Reason, err)
		}
	}
}

func reasonOf(err error) Reason {
	if e, ok := errors.AsType[*ParseError](err); ok {
		return e.Reason
	}
	return ""
}

var (
	hexID  = strings.Repeat("0a", 32)
	hexKey = strings.Repeat("1b", 32)
	hexSig = strings.Repeat("2c", 64)
)

// eventText writes an event with the given JSON for three of its keys.
func eventText(createdAt, tags, content string) string {
	return `{"id":"` + hexID + `","pubkey":"` + hexKey + `","created_at":` + createdAt +
		`,"kind":1,"tags":` + tags + `,"content":` + content + `,"sig":"` + hexSig + `"}`
}

func TestParseEventAccepts(t *testing.T) {
	tests := []struct {
		name                     string
		createdAt, tags, content string
		want                     Event  // CreatedAt, Tags, Content
		canonical                string // of tags and content
	}{
		{"plain", `1`, `[]`, `"a"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "a"}, `[],"a"`},
		{"empty", `0`, `[[],[""]]`, `""`, Event{Tags: []Tag{{}, {""}}}, `[[],[""]],""`},
		{"largest time", `9223372036854775807`, `[]`, `""`, Event{CreatedAt: 1<<63 - 1, Tags: []Tag{}}, `[],""`},
		{"white space", " \t\r\n7 ", " [ [ \"a\" , \"b\" ]\n,[ ] ] ", ` "c" `, Event{CreatedAt: 7, Tags: []Tag{{"a", "b"}, {}}, Content: "c"}, `[["a","b"],[]],"c"`},
		{"all escapes", `1`, `[]`, `"\"\\\/\b\f\n\r\t"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "\"\\/\b\f\n\r\t"}, `[],"\"\\/\b\f\n\r\t"`},
		{"NUL and control characters", `1`, `[["\u0000"]]`, `"\u0001\u001F\u007f"`, Event{CreatedAt: 1, Tags: []Tag{{"\x00"}}, Content: "\x01\x1f\x7f"}, "[[\"\\u0000\"]],\"\\u0001\\u001f\x7f\""},
		{"needless \\u", `1`, `[]`, `"\u0061\u00e9\u20AC\u000a"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "aé€\n"}, `[],"aé€\n"`},
		{"surrogate pair", `1`, `[]`, `"\ud83d\uDE00"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "😀"}, `[],"😀"`},
		{"first and last pair", `1`, `[]`, `"\ud800\udc00\udbff\udfff"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "\U00010000\U0010ffff"}, "[],\"\U00010000\U0010ffff\""},
		{"slash alone", `1`, `[]`, `"\/"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "/"}, `[],"/"`},
		{"white space alone", `1`, `[["a"] ]`, `""`, Event{CreatedAt: 1, Tags: []Tag{{"a"}}}, `[["a"]],""`},
		{"upper-case control", `1`, `[]`, `"\u001F"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "\x1f"}, `[],"\u001f"`},
		{"lone surrogates", `1`, `[["\uD83D"]]`, `"\ude00x\ud83d\ud83d\ude00\udfff"`, Event{CreatedAt: 1, Tags: []Tag{{"\xed\xa0\xbd"}}, Content: "\xed\xb8\x80x\xed\xa0\xbd😀\xed\xbf\xbf"}, `[["\ud83d"]],"\ude00x\ud83d😀\udfff"`},
		{"high surrogate, other escape", `1`, `[]`, `"\ud83d\n\ud83d\u0041"`, Event{CreatedAt: 1, Tags: []Tag{}, Content: "\xed\xa0\xbd\n\xed\xa0\xbdA"}, `[],"\ud83d\n\ud83dA"`},
		{"neighbours of surrogates", `1`, `[]`, "\"\ud7ff\ue000\"", Event{CreatedAt: 1, Tags: []Tag{}, Content: "\ud7ff\ue000"}, "[],\"\ud7ff\ue000\""},
		{"not for HTML", `1`, `[]`, "\"<a href='x'>&\u2028\u2029\"", Event{CreatedAt: 1, Tags: []Tag{}, Content: "<a href='x'>&\u2028\u2029"}, "[],\"<a href='x'>&\u2028\u2029\""},
		{"escapes everywhere", `1`, `[["a","\n\"b"],["c"],["\\"]]`, `"d\te"`, Event{CreatedAt: 1, Tags: []Tag{{"a", "\n\"b"}, {"c"}, {"\\"}}, Content: "d\te"}, `[["a","\n\"b"],["c"],["\\"]],"d\te"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := eventText(tt.createdAt, tt.tags, tt.content)
			want := tt.want
			want.ID, want.PubKey, want.Sig, want.Kind = ID(bytes.Repeat([]byte{0x0a}, 32)), PubKey(bytes.Repeat([]byte{0x1b}, 32)), Sig(bytes.Repeat([]byte{0x2c}, 64)), 1
			e, err := ParseEvent([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, e); d != "" {
				t.Error(d)
			}
			canonical := fmt.Sprintf(`[0,"%s",%d,1,%s]`, hexKey, want.CreatedAt, tt.canonical)
			if d := cmp.Diff(canonical, string(e.AppendCanonical(nil))); d != "" {
				t.Errorf("canonical: %s", d)
			}
			// With its true id the text passes both ways of the check.
			id := ID(sha256.Sum256([]byte(canonical)))
			right := []byte(strings.Replace(text, hexID, id.String(), 1))
			if _, err := ParseChecked(right); err != nil {
				t.Errorf("ParseChecked: %v", err)
			}
			if _, err := ParseChecked([]byte(text)); err != ErrID {
				t.Errorf("ParseChecked with a wrong id: %v", err)
			}
			// The hash of what was received is wrong unless that is canonical.
			received := fmt.Sprintf(`[0,"%s",%d,1,%s,%s]`, hexKey, want.CreatedAt, strings.TrimSpace(tt.tags), strings.TrimSpace(tt.content))
			id = sha256.Sum256([]byte(received))
			if _, err := ParseChecked([]byte(strings.Replace(text, hexID, id.String(), 1))); (err == nil) != (received == canonical) {
				t.Errorf("ParseChecked with the hash of the received text: %v", err)
			}
			id = sha256.Sum256([]byte(canonical))
			e.ID = id
			if err := e.CheckID(); err != nil {
				t.Errorf("CheckID: %v", err)
			}
			if again, err := ParseEvent(e.AppendJSON(nil)); err != nil || !cmp.Equal(again, e) {
				t.Errorf("AppendJSON does not come back: %v", err)
			}
		})
	}
}

func TestParseEventKeys(t *testing.T) {
	plain := eventText(`1`, `[]`, `"a"`)
	want, err := ParseEvent([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat(`[{"a":`, maxDepth/2) + `0` + strings.Repeat(`}]`, maxDepth/2)
	for _, text := range []string{
		"\n" + plain + " ",
		strings.Replace(plain, `{`, `{"seen_on":["wss://a"],"id2":{"id":"x","\"":[[],{},-1.5e+3,true,false,null]},`, 1),
		strings.Replace(plain, `{`, `{"deep":`+deep+`,`, 1),
		strings.Replace(plain, `{`, `{"twice":1,"twice":2,"":0,`, 1),
		strings.Replace(plain, `"id"`, `"\u0069d"`, 1),
		strings.Replace(plain, `}`, `,"\n":0}`, 1),
		`{"sig":"` + hexSig + `","content":"a","tags":[],"kind":1,"created_at":1,"pubkey":"` + hexKey + `","id":"` + hexID + `"}`,
	} {
		e, err := ParseEvent([]byte(text))
		if err != nil || !cmp.Equal(e, want) {
			t.Errorf("%s: %v %v", text, e, err)
		}
	}
}

func TestParseEventRefuses(t *testing.T) {
	plain := eventText(`1`, `[["a"]]`, `"b"`)
	edit := func(from, to string) string {
		if !strings.Contains(plain, from) {
			t.Fatalf("%q is not in the event", from)
		}
		return strings.Replace(plain, from, to, 1)
	}
	value := func(key string) func(string) string {
		return func(v string) string {
			switch key {
			case "created_at":
				return eventText(v, `[]`, `""`)
			case "tags":
				return eventText(`1`, v, `""`)
			}
			return eventText(`1`, `[]`, v)
		}
	}
	at, tags, content := value("created_at"), value("tags"), value("content")
	tests := []struct {
		name string
		text string
		want Reason
	}{
		{"nothing", ``, ReasonTruncated},
		{"only space", " \n", ReasonTruncated},
		{"array", `[]`, ReasonType},
		{"null", `null`, ReasonType},
		{"word", `hello`, ReasonSyntax},
		{"byte order mark", "\ufeff" + plain, ReasonSyntax},
		{"empty object", `{}`, ReasonMissingKey},
		{"trailing", plain + plain, ReasonTrailing},
		{"trailing NUL", plain + "\x00", ReasonTrailing},
		{"comma at the end", edit(`"}`, `",}`), ReasonSyntax},
		{"comma at the start", edit(`{`, `{,`), ReasonSyntax},
		{"no comma", edit(`,"kind"`, ` "kind"`), ReasonSyntax},
		{"no colon", edit(`"kind":`, `"kind" `), ReasonSyntax},
		{"form feed between", edit(`{`, "{\f"), ReasonSyntax},
		{"bare key", edit(`"kind"`, `kind`), ReasonSyntax},
		{"comment", edit(`{`, `{/**/`), ReasonSyntax},

		{"id twice", edit(`{`, `{"id":"`+hexID+`",`), ReasonDuplicateKey},
		{"pubkey twice", edit(`{`, `{"pubkey":"`+hexKey+`",`), ReasonDuplicateKey},
		{"created_at twice", edit(`{`, `{"created_at":1,`), ReasonDuplicateKey},
		{"kind twice", edit(`{`, `{"kind":1,`), ReasonDuplicateKey},
		{"tags twice", edit(`{`, `{"tags":[],`), ReasonDuplicateKey},
		{"content twice", edit(`{`, `{"content":"",`), ReasonDuplicateKey},
		{"sig twice", edit(`{`, `{"sig":"`+hexSig+`",`), ReasonDuplicateKey},
		{"id twice, once with an escape", edit(`{`, `{"i\u0064":"`+hexID+`",`), ReasonDuplicateKey},

		{"id null", edit(`"`+hexID+`"`, `null`), ReasonID},
		{"id short", edit(hexID, hexID[1:]), ReasonID},
		{"id long", edit(hexID, hexID+"0"), ReasonID},
		{"id upper case", edit(hexID, strings.ToUpper(hexID)), ReasonID},
		{"id not hex", edit(hexID, "g"+hexID[1:]), ReasonID},
		{"id with an escape", edit(hexID, `\u0030`+hexID[1:]), ReasonID},
		{"pubkey empty", edit(hexKey, ""), ReasonPubKey},
		{"sig number", edit(`"`+hexSig+`"`, `12`), ReasonSig},
		{"id a bare word", edit(`"`+hexID+`"`, hexKey[1:]), ReasonSyntax},

		{"time negative", at(`-1`), ReasonCreatedAt},
		{"time minus zero", at(`-0`), ReasonCreatedAt},
		{"time fraction", at(`1.0`), ReasonCreatedAt},
		{"time exponent", at(`1e9`), ReasonCreatedAt},
		{"time exponent, huge", at(`99999999999999999999e9`), ReasonCreatedAt},
		{"time string", at(`"1"`), ReasonCreatedAt},
		{"time null", at(`null`), ReasonCreatedAt},
		{"time 2^63", at(`9223372036854775808`), ReasonCreatedAtRange},
		{"time 2^64", at(`18446744073709551616`), ReasonCreatedAtRange},
		{"time 2^64+1, wrapping", at(`18446744073709551617`), ReasonCreatedAtRange},
		{"time of 5,000 digits", at(strings.Repeat("1", 5000)), ReasonCreatedAtRange},
		{"time leading zero", at(`01`), ReasonSyntax},
		{"time leading plus", at(`+1`), ReasonSyntax},
		{"time bare dot", at(`1.`), ReasonSyntax},
		{"time hex", at(`0x1`), ReasonSyntax},
		{"time infinite", at(`Infinity`), ReasonSyntax},
		{"kind negative", edit(`"kind":1`, `"kind":-1`), ReasonKind},
		{"kind true", edit(`"kind":1`, `"kind":true`), ReasonKind},
		{"kind 2^63", edit(`"kind":1`, `"kind":9223372036854775808`), ReasonKindRange},

		{"tags null", tags(`null`), ReasonTags},
		{"tags object", tags(`{}`), ReasonTags},
		{"tag null", tags(`[null]`), ReasonTag},
		{"tag string", tags(`["a"]`), ReasonTag},
		{"tag element null", tags(`[["a",null]]`), ReasonTagElement},
		{"tag element number", tags(`[["a",1]]`), ReasonTagElement},
		{"tag element array", tags(`[[[]]]`), ReasonTagElement},
		{"tags, comma at the end", tags(`[["a"],]`), ReasonSyntax},
		{"tags, comma at the start", tags(`[,["a"]]`), ReasonSyntax},
		{"tag, comma at the end", tags(`[["a",]]`), ReasonSyntax},
		{"tag, no comma", tags(`[["a" "b"]]`), ReasonSyntax},
		{"tags, no comma", tags(`[["a"]["b"]]`), ReasonSyntax},
		{"tags closed by a brace", tags(`[["a"}]`), ReasonSyntax},

		{"content null", content(`null`), ReasonContent},
		{"content object", content(`{}`), ReasonContent},
		{"raw line feed", content("\"a\nb\""), ReasonControl},
		{"raw NUL", content("\"a\x00b\""), ReasonControl},
		{"raw 0x1f in a tag", tags("[[\"\x1f\"]]"), ReasonControl},
		{"unknown escape", content(`"\x41"`), ReasonSyntax},
		{"escape of a quote sort", content(`"\'"`), ReasonSyntax},
		{"upper-case U", content(`"\U0041"`), ReasonSyntax},
		{"short \\u", content(`"\u041"`), ReasonSyntax},
		{"invalid UTF-8", content("\"\xff\""), ReasonUTF8},
		{"overlong UTF-8", content("\"\xc0\x80\""), ReasonUTF8},
		{"raw surrogate", content("\"\xed\xa0\x80\""), ReasonUTF8},
		{"sequence cut by an escape", content("\"\xe2\x82\\n\xac\""), ReasonUTF8},
		{"sequence cut by the end", content("\"abcdefgh\xe2\x82\""), ReasonUTF8},
		{"beyond U+10FFFF", content("\"\xf4\x90\x80\x80\""), ReasonUTF8},
		{"invalid UTF-8 in a tag", tags("[[\"\x80\"]]"), ReasonUTF8},
		{"invalid UTF-8 in an unknown key", edit(`{`, "{\"\xff\":0,"), ReasonUTF8},
		{"invalid UTF-8 in an unknown value", edit(`{`, "{\"a\":\"\xff\","), ReasonUTF8},

		{"unknown value too deep", edit(`{`, `{"a":`+strings.Repeat(`[`, maxDepth+1)+strings.Repeat(`]`, maxDepth+1)+`,`), ReasonDepth},
		{"unknown value far too deep", edit(`{`, `{"a":`+strings.Repeat(`[`, 1<<20)), ReasonDepth},
		{"unknown value, wrong bracket", edit(`{`, `{"a":[{"b":1]},`), ReasonSyntax},
		{"unknown value, comma at the end", edit(`{`, `{"a":[1,],`), ReasonSyntax},
		{"unknown value, object comma at the end", edit(`{`, `{"a":{"b":1,},`), ReasonSyntax},
		{"unknown value, no key", edit(`{`, `{"a":{1},`), ReasonSyntax},
		{"unknown value, bad word", edit(`{`, `{"a":nul,`), ReasonSyntax},
		{"unknown value, bad number", edit(`{`, `{"a":1.e1,`), ReasonSyntax},
		{"unknown value missing", edit(`{`, `{"a":,`), ReasonSyntax},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseEvent([]byte(tt.text))
			if got := reasonOf(err); got != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if _, checked := ParseChecked([]byte(tt.text)); !cmp.Equal(err, checked) {
				t.Errorf("ParseChecked: %v", checked)
			}
		})
	}
	for _, key := range []string{"id", "pubkey", "created_at", "kind", "tags", "content", "sig"} {
		if _, err := ParseEvent([]byte(edit(`"`+key+`"`, `"x"`))); reasonOf(err) != ReasonMissingKey {
			t.Errorf("without %s: %v", key, err)
		}
	}
}

func TestTruncated(t *testing.T) {
	text := strings.Replace(eventText(`12`, `[["a","\u00e9\n"],[],["é😀","\ud83d\ude00"]]`, `"x\\y"`),
		`{`, `{"a":[true,false,null,-1.5e+7,{"b":"c\"","d":{}},[]],`, 1)
	if _, err := ParseEvent([]byte(text)); err != nil {
		t.Fatal(err)
	}
	for n := range len(text) {
		_, err := ParseEvent([]byte(text[:n]))
		if reasonOf(err) != ReasonTruncated {
			t.Errorf("%q: %v", text[:n], err)
		}
		if _, ok := ScanEvent([]byte(text[:n])); ok && n <= strings.Index(text, `,"kind"`) {
			t.Errorf("ScanEvent(%q) is sure", text[:n])
		}
	}
}

func TestManyTags(t *testing.T) {
	const n = 24000
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `["p","%064x","wss://relay.example/%d"]`, i, i)
	}
	b.WriteByte(']')
	e, err := ParseEvent([]byte(eventText(`1`, b.String(), `""`)))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Tags) != n || e.Tags[n-1][2] != "wss://relay.example/23999" {
		t.Errorf("%d tags, the last %q", len(e.Tags), e.Tags[len(e.Tags)-1])
	}
}

// TestCheckIDVerbatim: an author who hashed control characters as they are
// followed the letter of NIP-01.
func TestCheckIDVerbatim(t *testing.T) {
	e := Event{Kind: 1, Tags: []Tag{{"t", "\x00\x1f"}}, Content: "\x01\n\"\x7f"}
	canonical := `[0,"` + strings.Repeat("0", 64) + `",0,1,[["t","` + "\x00\x1f" + `"]],"` + "\x01" + `\n\"` + "\x7f" + `"]`
	e.ID = sha256.Sum256([]byte(canonical))
	if err := e.CheckID(); err != nil {
		t.Error(err)
	}
	if _, err := ParseChecked(e.AppendJSON(nil)); err != nil {
		t.Error(err)
	}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	if err := e.CheckID(); err != nil {
		t.Error(err)
	}
	e.ID[0]++
	if err := e.CheckID(); err != ErrID {
		t.Error(err)
	}
}

func TestAppendJSON(t *testing.T) {
	e := Event{CreatedAt: 5, Kind: 6, Tags: []Tag{{"a", "<&>"}, {}}, Content: "\u2028\x00/"}
	zeros := strings.Repeat("0", 64)
	want := `prefix{"id":"` + zeros + `","pubkey":"` + zeros + `","created_at":5,"kind":6,"tags":[["a","<&>"],[]],"content":"` +
		"\u2028" + `\u0000/","sig":"` + zeros + zeros + `"}`
	if d := cmp.Diff(want, string(e.AppendJSON([]byte("prefix")))); d != "" {
		t.Error(d)
	}
}

func TestOwned(t *testing.T) {
	text := []byte(eventText(`1`, `[["a","b\n"]]`, `"content"`))
	e, err := ParseEvent(text)
	if err != nil {
		t.Fatal(err)
	}
	want := e.AppendJSON(nil)
	clear(text)
	if _, err := ParseEvent([]byte(eventText(`2`, `[["c","d\t"]]`, `"other"`))); err != nil {
		t.Fatal(err)
	}
	if got := e.AppendJSON(nil); !bytes.Equal(got, want) {
		t.Errorf("the event changed with its text: %s", got)
	}
}

func TestAllocations(t *testing.T) {
	text := []byte(eventText(`1700000000`, `[["e","`+hexID+`","wss://relay.example"],["p","`+hexKey+`"],["t","x\ny"]]`, `"`+strings.Repeat("text\\n", 100)+`"`))
	e, err := ParseEvent(text)
	if err != nil {
		t.Fatal(err)
	}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	checked := e.AppendJSON(nil)
	for _, tt := range []struct {
		name string
		most float64
		f    func()
	}{
		{"ParseEvent", 3, func() { _, _ = ParseEvent(text) }},
		{"ParseChecked", 3, func() { _, _ = ParseChecked(checked) }},
		{"CheckID", 0, func() { _ = e.CheckID() }},
		{"ScanEvent", 0, func() { ScanEvent(text) }},
	} {
		// The race detector makes pools forget at random.
		if got := testing.AllocsPerRun(100, tt.f); got > tt.most && !raceEnabled {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.most)
		}
	}
}

func seedEvents(f *testing.F) {
	for i, text := range realEvents(f) {
		if i%500 == 0 && len(text) < 4096 {
			f.Add(text)
		}
	}
	f.Add([]byte(eventText(`1`, `[["a","\u00e9\n\ud83d"],[]]`, `"\u0001\/ x"`)))
	f.Add([]byte(eventText(`9223372036854775808`, `null`, `1`)))
	f.Add([]byte(` { "id" : "` + hexID + `" , "x":[{"id":"\""},-0.5e-7,true,null] }`))
}

func FuzzParseEvent(f *testing.F) {
	seedEvents(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEvent(b)
		checked, checkedErr := ParseChecked(b)
		if err != nil {
			if !cmp.Equal(err, checkedErr) {
				t.Errorf("ParseChecked: %v, ParseEvent: %v", checkedErr, err)
			}
			switch reasonOf(err) {
			case "":
				t.Errorf("untyped error %v", err)
			case ReasonSyntax, ReasonTruncated, ReasonControl, ReasonTrailing:
				if json.Valid(b) {
					t.Errorf("%v, but encoding/json takes it for JSON", err)
				}
			case ReasonUTF8:
				if utf8.Valid(b) {
					t.Errorf("%v, but it is", err)
				}
			}
			return
		}
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Errorf("accepted what is not JSON in UTF-8")
		}
		if !cmp.Equal(e, checked) || checkedErr != e.CheckID() {
			t.Errorf("ParseChecked: %v %v", checked, checkedErr)
		}
		if again, err := ParseEvent(e.AppendJSON(nil)); err != nil || !cmp.Equal(again, e) {
			t.Errorf("AppendJSON does not come back: %v", err)
		}
		// Text taken for canonical is hashed as it is: it must be.
		var (
			s  scratch
			e2 Event
			at parts
		)
		s.parse(b, &e2, &at)
		received := fmt.Appendf(nil, "[0,%s,%s,%s,%s,%s]", at.pubkey.of(b), at.createdAt.of(b), at.kind.of(b), at.tags.of(b), at.content.of(b))
		if at.canonical != bytes.Equal(received, e.AppendCanonical(nil)) {
			t.Errorf("canonical: %v, but received %s", at.canonical, received)
		}
		// The same text with its true id must pass, however it is escaped.
		if old := []byte(e.ID.String()); bytes.Count(b, old) == 1 {
			id := ID(sha256.Sum256(e.AppendCanonical(nil)))
			if _, err := ParseChecked(bytes.Replace(b, old, []byte(id.String()), 1)); err != nil {
				t.Errorf("with its true id: %v", err)
			}
		}
	})
}

func TestParseHex(t *testing.T) {
	id, err := ParseID(hexID)
	if err != nil || id.String() != hexID {
		t.Errorf("ParseID: %s %v", id, err)
	}
	key, err := ParsePubKey(hexKey)
	if err != nil || key.String() != hexKey {
		t.Errorf("ParsePubKey: %s %v", key, err)
	}
	for _, s := range []string{"", hexID[1:], hexID + "0a", strings.ToUpper(hexID), "é" + hexID[2:], "g" + hexID[1:]} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) passes", s)
		}
		if _, err := ParsePubKey(s); err == nil {
			t.Errorf("ParsePubKey(%q) passes", s)
		}
	}
}
