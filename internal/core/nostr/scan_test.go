package nostr

import (
	"bytes"
	"strings"
	"testing"
)

func TestScanEvent(t *testing.T) {
	plain := eventText(`1700000000`, `[["a"]]`, `"b"`)
	other := strings.Repeat("ff", 32)
	lure := `"id":"` + other + `","created_at":5`
	quoted := strings.ReplaceAll(lure, `"`, `\"`)
	first := func(more string) string { return strings.Replace(plain, `{`, `{`+more+`,`, 1) }
	last := `{"content":"","kind":1,"pubkey":"` + hexKey + `","sig":"` + hexSig + `","tags":[],"created_at":1700000000,"id":"` + hexID + `"}`
	for _, tt := range []struct{ name, text string }{
		{"plain", plain},
		{"last keys", last},
		{"lure in a string", first(`"a":"` + quoted + `"`)},
		{"lure behind a backslash", first(`"a":"\\","b":"\\\"` + quoted + `\\"`)},
		{"lure in a key", first(`"a":{"\"` + quoted + `":1}`)},
		{"lure in an object", first(`"a":{` + lure + `}`)},
		{"lure in arrays", first(`"a":[[{` + lure + `}],"]","}"]`)},
		{"lure in the content", strings.Replace(last, `"content":""`, `"content":"{`+quoted+`}"`, 1)},
		{"lure in the tags", strings.Replace(last, `"tags":[]`, `"tags":[["]","{`+quoted+`}"],["[","\\"],["\""]]`, 1)},
		{"words and numbers", first(`"a":true,"b":null,"c":-1.5e3 ,"d":{},"e":[]`)},
		{"white space", strings.NewReplacer(`":`, "\" :\n", `,"`, "\t,\r\"", `{`, " { ").Replace(plain)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := ParseEvent([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			ref, ok := ScanEvent([]byte(tt.text))
			if want := (Ref{e.ID, e.CreatedAt}); !ok || ref != want || ref.ID.String() != hexID {
				t.Errorf("got %v %v, want %v", ref, ok, want)
			}
		})
	}
	for _, text := range []string{
		``, `{`, `{}`, `[]`, `null`, `{"id"}`, `{"id":}`, `{"id":"` + hexID + `"}`, `{"created_at":1}`,
		`{"id":"` + hexID + `","created_at":1`, `{"id":"` + hexID + `","created_at":1.5}`,
		`{"id":"` + hexID + `","created_at":9223372036854775808}`, `{"id":"` + strings.ToUpper(hexID) + `","created_at":1}`,
		strings.Replace(plain, `"id"`, `"\u0069d"`, 1), // not read, and not misread
	} {
		if ref, ok := ScanEvent([]byte(text)); ok {
			t.Errorf("%s: %v", text, ref)
		}
	}
}

func FuzzScanEvent(f *testing.F) {
	seedEvents(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		ref, ok := ScanEvent(b)
		e, err := ParseEvent(b)
		if err != nil {
			return
		}
		if ok && ref != (Ref{e.ID, e.CreatedAt}) {
			t.Errorf("scanned %v, parsed %v", ref, e)
		}
		if !ok && bytes.IndexByte(b, '\\') < 0 {
			t.Error("not found in a valid event without escapes")
		}
	})
}
