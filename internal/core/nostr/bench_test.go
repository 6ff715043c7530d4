package nostr

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
)

// benchEvents runs f over the real events in turn; the figures are per event.
func benchEvents(b *testing.B, f func(text []byte)) {
	texts := realEvents(b)
	size := 0
	for _, t := range texts {
		size += len(t)
	}
	b.SetBytes(int64(size / len(texts)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f(texts[i])
		if i++; i == len(texts) {
			i = 0
		}
	}
}

func BenchmarkParse(b *testing.B) {
	benchEvents(b, func(text []byte) {
		if _, err := ParseEvent(text); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkParseCheckID(b *testing.B) {
	benchEvents(b, func(text []byte) {
		e, err := ParseEvent(text)
		if err != nil || e.CheckID() != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkParseChecked(b *testing.B) {
	benchEvents(b, func(text []byte) {
		if _, err := ParseChecked(text); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkStandardLibrary is the usual way to do what BenchmarkParseCheckID
// does, for the ratio of the two in one run.
func BenchmarkStandardLibrary(b *testing.B) {
	benchEvents(b, func(text []byte) {
		var j jsonEvent
		if err := json.Unmarshal(text, &j); err != nil {
			b.Fatal(err)
		}
		e := j.event(b)
		if sha256.Sum256(e.AppendCanonical(nil)) != e.ID {
			b.Fatal("id")
		}
	})
}

func BenchmarkScan(b *testing.B) {
	benchEvents(b, func(text []byte) {
		if _, ok := ScanEvent(text); !ok {
			b.Fatal("not found")
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	message := []byte(`["EVENT","a-subscription",` + string(realEvents(b)[0]) + `]`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseMessage(message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	var events []Event
	for _, t := range realEvents(b) {
		e, err := ParseEvent(t)
		if err != nil {
			b.Fatal(err)
		}
		events = append(events, e)
	}
	b.ReportAllocs()
	var buf []byte
	i := 0
	for b.Loop() {
		buf = events[i].AppendJSON(buf[:0])
		if i++; i == len(events) {
			i = 0
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	var events []Event
	for _, t := range realEvents(b)[:1000] {
		e, err := ParseEvent(t)
		if err != nil {
			b.Fatal(err)
		}
		events = append(events, e)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := events[i].Verify(); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(events) {
			i = 0
		}
	}
}

func BenchmarkSign(b *testing.B) {
	key := GenerateKey()
	e := Event{CreatedAt: 1700000000, Kind: 1, Content: "hello"}
	b.ReportAllocs()
	for b.Loop() {
		if err := key.Sign(&e); err != nil {
			b.Fatal(err)
		}
	}
}

// jsonEvent is an event as encoding/json sees it.
type jsonEvent struct {
	ID        string     `json:"id"`
	PubKey    string     `json:"pubkey"`
	CreatedAt int64      `json:"created_at"`
	Kind      int64      `json:"kind"`
	Tags      [][]string `json:"tags"`
	Content   string     `json:"content"`
	Sig       string     `json:"sig"`
}

func (j *jsonEvent) event(tb testing.TB) Event {
	e := Event{CreatedAt: j.CreatedAt, Kind: Kind(j.Kind), Content: j.Content, Tags: make([]Tag, len(j.Tags))}
	for _, h := range []struct {
		dst []byte
		src string
	}{{e.ID[:], j.ID}, {e.PubKey[:], j.PubKey}, {e.Sig[:], j.Sig}} {
		if n, err := hex.Decode(h.dst, []byte(h.src)); err != nil || n != len(h.dst) {
			tb.Fatalf("hex %q: %v", h.src, err)
		}
	}
	for i, t := range j.Tags {
		e.Tags[i] = t
	}
	return e
}
