package nostr

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMessage(t *testing.T) {
	event := eventText(`1`, `[]`, `"]}"`)
	hll := strings.Repeat("0f", hllSize)
	id, err := ParseID(hexID)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		text string
		want Message
	}{
		{`["EVENT","s",` + event + `]`, Message{Label: "EVENT", Sub: "s", Event: []byte(event)}},
		{" [ \"EVENT\" ,\t\"s\\n\" , " + event + " ] \n", Message{Label: "EVENT", Sub: "s\n", Event: []byte(event)}},
		{`["\u0045VENT","s",{}]`, Message{Label: "EVENT", Sub: "s", Event: []byte(`{}`)}},
		{`["EOSE","s"]`, Message{Label: "EOSE", Sub: "s"}},
		{`["EOSE","s",["finish"]]`, Message{Label: "EOSE", Sub: "s", Hints: HintFinish}},
		{`["EOSE","s",["more", "auth"]]`, Message{Label: "EOSE", Sub: "s", Hints: HintMore | HintAuth}},
		{`["EOSE","s",["new",1,["finish"]],2]`, Message{Label: "EOSE", Sub: "s"}},
		{`["EOSE","s",{"finish":true}]`, Message{Label: "EOSE", Sub: "s"}},
		{`["EOSE","s","finish"]`, Message{Label: "EOSE", Sub: "s"}},
		{`["CLOSED","s","auth-required: who?"]`, Message{Label: "CLOSED", Sub: "s", Text: "auth-required: who?"}},
		{`["CLOSED","s"]`, Message{Label: "CLOSED", Sub: "s"}},
		{`["NOTICE","hello \u263a"]`, Message{Label: "NOTICE", Text: "hello ☺"}},
		{`["AUTH","challenge"]`, Message{Label: "AUTH", Text: "challenge"}},
		{`["OK","` + hexID + `",true,""]`, Message{Label: "OK", ID: id, Accepted: true}},
		{`["OK","` + hexID + `",false,"pow: more",{"a":[]}]`, Message{Label: "OK", ID: id, Text: "pow: more"}},
		{`["OK","` + hexID + `",false]`, Message{Label: "OK", ID: id}},
		{`["COUNT","s",{"count":5}]`, Message{Label: "COUNT", Sub: "s", Count: CountResult{Count: 5}}},
		{`["COUNT","s",{"hll":"` + hll + `","approximate":true,"x":{},"count":0 }]`, Message{Label: "COUNT", Sub: "s", Count: CountResult{Approximate: true, HLL: bytes.Repeat([]byte{15}, hllSize)}}},
		{`["NEG-MSG","s","61aB"]`, Message{Label: "NEG-MSG", Sub: "s", Payload: []byte{0x61, 0xab}}},
		{`["NEG-MSG","s",""]`, Message{Label: "NEG-MSG", Sub: "s", Payload: []byte{}}},
		{`["NEG-ERR","s","closed: later"]`, Message{Label: "NEG-ERR", Sub: "s", Text: "closed: later"}},
		{`["NEG-ERROR","s","CLOSED"]`, Message{Label: "NEG-ERR", Sub: "s", Text: "CLOSED"}},
		{`["NEG-ERR","s","blocked: too big",500]`, Message{Label: "NEG-ERR", Sub: "s", Text: "blocked: too big", Limit: 500}},
		{`["NEW",1,{"a":"b"}]`, Message{Label: "NEW"}},
		{`["event","s",{}]`, Message{Label: "event"}},
		{`[""]`, Message{}},
	}
	for _, tt := range tests {
		m, err := ParseMessage([]byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if d := cmp.Diff(tt.want, m); d != "" {
			t.Errorf("%s: %s", tt.text, d)
		}
	}
	refused := []struct {
		text string
		want Reason
	}{
		{``, ReasonTruncated},
		{`[`, ReasonTruncated},
		{`{}`, ReasonType},
		{`hello`, ReasonSyntax},
		{`[]`, ReasonLabel},
		{`[1]`, ReasonLabel},
		{`["EVENT`, ReasonTruncated},
		{`["EVENT"]`, ReasonType},
		{`["EVENT",1,{}]`, ReasonSub},
		{`["EVENT","s"]`, ReasonType},
		{`["EVENT","s",1]`, ReasonType},
		{`["EVENT","s",[]]`, ReasonType},
		{`["EVENT","s",{}`, ReasonTruncated},
		{`["EVENT","s",{]`, ReasonSyntax},
		{`["EVENT","s",`, ReasonTruncated},
		{`["EVENT","s",{},1]`, ReasonSyntax},
		{`["EVENT" "s",{}]`, ReasonSyntax},
		{`["EOSE"]`, ReasonType},
		{`["EOSE","s"`, ReasonTruncated},
		{`["EOSE","s"]x`, ReasonTrailing},
		{`["EOSE","s",]`, ReasonSyntax},
		{`["EOSE","s",[`, ReasonTruncated},
		{`["EOSE","s",["more"`, ReasonTruncated},
		{`["EOSE","s",["more",]]`, ReasonSyntax},
		{`["NOTICE"]`, ReasonType},
		{`["NOTICE",null]`, ReasonType},
		{"[\"NOTICE\",\"\xff\"]", ReasonUTF8},
		{"[\"NOTICE\",\"\n\"]", ReasonControl},
		{`["OK"]`, ReasonType},
		{`["OK","x",true,""]`, ReasonID},
		{`["OK","` + hexID + `"]`, ReasonType},
		{`["OK","` + hexID + `","true",""]`, ReasonType},
		{`["OK","` + hexID + `",tru]`, ReasonSyntax},
		{`["COUNT","s"]`, ReasonType},
		{`["COUNT","s",5]`, ReasonCount},
		{`["COUNT","s",{}]`, ReasonCount},
		{`["COUNT","s",{"count":-1}]`, ReasonCount},
		{`["COUNT","s",{"count":1,"count":2}]`, ReasonDuplicateKey},
		{`["COUNT","s",{"count":1,"hll":"00"}]`, ReasonCount},
		{`["COUNT","s",{"count":1,"approximate":1}]`, ReasonType},
		{`["NEG-MSG","s"]`, ReasonType},
		{`["NEG-MSG","s","6"]`, ReasonHex},
		{`["NEG-MSG","s","zz"]`, ReasonHex},
		{`["NEG-MSG","s",61]`, ReasonHex},
		{`["NEG-ERR","s","x","y"]`, ReasonType},
		{`["NEW",` + strings.Repeat(`[`, 1<<20), ReasonDepth},
		{`["NEW",]`, ReasonSyntax},
	}
	for _, tt := range refused {
		if _, err := ParseMessage([]byte(tt.text)); reasonOf(err) != tt.want {
			t.Errorf("%.80s: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

// TestMessageEventAliases: the span lies in the message and cannot be appended
// into it.
func TestMessageEventAliases(t *testing.T) {
	b := []byte(`["EVENT","s",{"a":1}]`)
	m, err := ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	if &m.Event[0] != &b[13] || cap(m.Event) != len(m.Event) {
		t.Errorf("span %q with capacity %d", m.Event, cap(m.Event))
	}
}

func TestParseClientMessage(t *testing.T) {
	limit := 5
	many := func(n int) string { return `["REQ","s"` + strings.Repeat(`,{}`, n) + `]` }
	tests := []struct {
		text string
		want ClientMessage
	}{
		{`["EVENT",{"a":1}]`, ClientMessage{Label: "EVENT", Event: []byte(`{"a":1}`)}},
		{`["AUTH", {} ]`, ClientMessage{Label: "AUTH", Event: []byte(`{}`)}},
		{`["REQ","s",{}]`, ClientMessage{Label: "REQ", Sub: "s", Filters: []Filter{{}}}},
		{`["REQ","s",{"limit":5},{"kinds":[1]}]`, ClientMessage{Label: "REQ", Sub: "s", Filters: []Filter{{Limit: &limit}, {Kinds: []Kind{1}}}}},
		{many(maxFilters), ClientMessage{Label: "REQ", Sub: "s", Filters: make([]Filter, maxFilters)}},
		{`["COUNT","s",{}]`, ClientMessage{Label: "COUNT", Sub: "s", Filters: []Filter{{}}}},
		{`["CLOSE","s",1]`, ClientMessage{Label: "CLOSE", Sub: "s"}},
		{`["REQ","` + strings.Repeat("é", MaxSub) + `",{}]`, ClientMessage{Label: "REQ", Sub: strings.Repeat("é", MaxSub), Filters: []Filter{{}}}},
		{`["NEG-OPEN","s",{"kinds":[1]},"6100"]`, ClientMessage{Label: "NEG-OPEN", Sub: "s", Filters: []Filter{{Kinds: []Kind{1}}}, Payload: []byte{0x61, 0}}},
		{`["NEG-MSG","s","61"]`, ClientMessage{Label: "NEG-MSG", Sub: "s", Payload: []byte{0x61}}},
		{`["NEG-CLOSE","s"]`, ClientMessage{Label: "NEG-CLOSE", Sub: "s"}},
		{`["NEW",null]`, ClientMessage{Label: "NEW"}},
	}
	for _, tt := range tests {
		m, err := ParseClientMessage([]byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if d := cmp.Diff(tt.want, m); d != "" {
			t.Errorf("%s: %s", tt.text, d)
		}
	}
	refused := []struct {
		text string
		want Reason
	}{
		{`["EVENT"]`, ReasonType},
		{`["EVENT","s",{}]`, ReasonType},
		{`["EVENT",`, ReasonTruncated},
		{`["REQ","s"]`, ReasonFilters},
		{`["REQ","s",1]`, ReasonType},
		{`["REQ","s",{"x":1}]`, ReasonFilterKey},
		{`["REQ","",{}]`, ReasonSub},
		{`["REQ",1,{}]`, ReasonSub},
		{`["REQ","` + strings.Repeat("a", MaxSub+1) + `",{}]`, ReasonSub},
		{`["REQ","s",{}`, ReasonTruncated},
		{`["REQ","s",{}]]`, ReasonTrailing},
		{many(maxFilters + 1), ReasonFilters},
		{`["CLOSE"]`, ReasonType},
		{`["NEG-OPEN","s","61"]`, ReasonType},
		{`["NEG-OPEN","s",{}]`, ReasonType},
		{`["NEG-MSG","s"]`, ReasonType},
	}
	for _, tt := range refused {
		if _, err := ParseClientMessage([]byte(tt.text)); reasonOf(err) != tt.want {
			t.Errorf("%.80s: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestAppendEnvelopes(t *testing.T) {
	e := Event{Tags: []Tag{}, Content: "x"}
	event := string(e.AppendJSON(nil))
	limit := 1
	filters := []Filter{{Limit: &limit}, {Kinds: []Kind{1, 2}}}
	tests := []struct {
		got  []byte
		want string
	}{
		{AppendREQ(nil, "s\"", filters...), `["REQ","s\"",{"limit":1},{"kinds":[1,2]}]`},
		{AppendCOUNT(nil, "s", filters[1]), `["COUNT","s",{"kinds":[1,2]}]`},
		{AppendCLOSE(nil, "s"), `["CLOSE","s"]`},
		{AppendEVENT(nil, &e), `["EVENT",` + event + `]`},
		{AppendAUTH(nil, &e), `["AUTH",` + event + `]`},
		{AppendNegOpen(nil, "s", &filters[0], []byte{0x61}), `["NEG-OPEN","s",{"limit":1},"61"]`},
		{AppendNegMsg(nil, "s", []byte{0x61, 0xff}), `["NEG-MSG","s","61ff"]`},
		{AppendNegClose(nil, "s"), `["NEG-CLOSE","s"]`},
		{AppendNegErr(nil, "s", "closed: x", 0), `["NEG-ERR","s","closed: x"]`},
		{AppendNegErr(nil, "s", "blocked: x", 9), `["NEG-ERR","s","blocked: x",9]`},
		{AppendEventMessage(nil, "s", &e), `["EVENT","s",` + event + `]`},
		{AppendEOSE(nil, "s", 0), `["EOSE","s"]`},
		{AppendEOSE(nil, "s", HintFinish), `["EOSE","s",["finish"]]`},
		{AppendEOSE(nil, "s", HintAuth|HintMore), `["EOSE","s",["more","auth"]]`},
		{AppendOK(nil, ID{1}, true, ""), `["OK","01` + strings.Repeat("00", 31) + `",true,""]`},
		{AppendOK(nil, ID{}, false, "pow: 1\n"), `["OK","` + strings.Repeat("00", 32) + `",false,"pow: 1\n"]`},
		{AppendCLOSED(nil, "s", "error: x"), `["CLOSED","s","error: x"]`},
		{AppendNOTICE(nil, "<x>"), `["NOTICE","<x>"]`},
		{AppendChallenge(nil, "c"), `["AUTH","c"]`},
		{AppendCountMessage(nil, "s", CountResult{Count: 3}), `["COUNT","s",{"count":3}]`},
		{AppendCountMessage([]byte("x"), "s", CountResult{Approximate: true, HLL: []byte{1}}), `x["COUNT","s",{"count":0,"approximate":true,"hll":"01"}]`},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, string(tt.got)); d != "" {
			t.Error(d)
		}
	}
}

func TestPrefix(t *testing.T) {
	for message, want := range map[string]string{
		"":                                "",
		"auth-required: log in":           PrefixAuthRequired,
		"rate-limited:":                   PrefixRateLimited,
		"new-word: x":                     "new-word",
		": x":                             "",
		"Error: x":                        "",
		"too many: x":                     "",
		"error":                           "",
		"error : x":                       "",
		strings.Repeat("a", 32) + ": x":   strings.Repeat("a", 32),
		strings.Repeat("a", 33) + ": x":   "",
		strings.Repeat("a", 1000000):      "",
		"blocked: relay: see https://a.b": PrefixBlocked,
	} {
		if got := Prefix(message); got != want {
			t.Errorf("Prefix(%.40q) = %q, want %q", message, got, want)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(`["EVENT","s",` + eventText(`1`, `[]`, `""`) + `]`))
	f.Add([]byte(`["EOSE","s",["finish","more"]]`))
	f.Add([]byte(`["OK","` + hexID + `",true,"pow: x",1]`))
	f.Add([]byte(`["COUNT","s",{"count":5,"approximate":true}]`))
	f.Add([]byte(`["NEG-ERR","s","blocked: x",500]`))
	f.Add([]byte(`["NEG-MSG","s","61"]`))
	f.Add([]byte(` [ "AUTH" , "\ud83d" ] `))
	f.Add([]byte(`["CLOSED","s","x"]`))
	f.Add([]byte(`["NOTICE","x"]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			if reasonOf(err) == "" {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		var out []byte
		switch m.Label {
		case LabelEvent:
			out = append(append(append(appendText([]byte(`["EVENT"`), m.Sub), ','), m.Event...), ']')
		case LabelEOSE:
			out = AppendEOSE(nil, m.Sub, m.Hints)
		case LabelClosed:
			out = AppendCLOSED(nil, m.Sub, m.Text)
		case LabelNotice:
			out = AppendNOTICE(nil, m.Text)
		case LabelAuth:
			out = AppendChallenge(nil, m.Text)
		case LabelOK:
			out = AppendOK(nil, m.ID, m.Accepted, m.Text)
		case LabelCount:
			out = AppendCountMessage(nil, m.Sub, m.Count)
		case LabelNegMsg:
			out = AppendNegMsg(nil, m.Sub, m.Payload)
		case LabelNegErr:
			out = AppendNegErr(nil, m.Sub, m.Text, m.Limit)
		}
		if m.Label != LabelEvent && !json.Valid(b) {
			t.Error("accepted what is not JSON")
		}
		if out == nil {
			return
		}
		if again, err := ParseMessage(out); err != nil || !cmp.Equal(again, m) {
			t.Errorf("%s does not come back: %v", out, err)
		}
	})
}

func FuzzParseClientMessage(f *testing.F) {
	f.Add([]byte(`["EVENT",{}]`))
	f.Add([]byte(`["REQ","s",{"kinds":[1]},{}]`))
	f.Add([]byte(`["COUNT","s",{}]`))
	f.Add([]byte(`["CLOSE","s"]`))
	f.Add([]byte(`["NEG-OPEN","s",{"#t":["x"]},"61"]`))
	f.Add([]byte(`["NEG-MSG","s","61"]`))
	f.Add([]byte(`["NEG-CLOSE","s"]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseClientMessage(b)
		if err != nil {
			if reasonOf(err) == "" {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		var out []byte
		switch m.Label {
		case LabelReq:
			out = AppendREQ(nil, m.Sub, m.Filters...)
		case LabelCount:
			out = AppendCOUNT(nil, m.Sub, m.Filters...)
		case LabelClose:
			out = AppendCLOSE(nil, m.Sub)
		case LabelNegOpen:
			out = AppendNegOpen(nil, m.Sub, &m.Filters[0], m.Payload)
		case LabelNegMsg:
			out = AppendNegMsg(nil, m.Sub, m.Payload)
		case LabelNegClose:
			out = AppendNegClose(nil, m.Sub)
		default:
			return
		}
		if !json.Valid(b) {
			t.Error("accepted what is not JSON")
		}
		if again, err := ParseClientMessage(out); err != nil || !cmp.Equal(again, m) {
			t.Errorf("%s does not come back: %v", out, err)
		}
	})
}
