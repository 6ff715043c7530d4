package peers

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nbd-wtf/go-nostr"
	theirs "github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"

	words "bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
)

// diff is what an initiator learns, in order, and what it costs.
type diff struct {
	have, need []string
	rounds     int
	bytes      int // of both ways, before hex
}

func (d *diff) add(results []negentropy.Result) {
	for _, r := range results {
		for _, item := range r.Have {
			d.have = append(d.have, item.ID.String())
		}
		for _, id := range r.Need {
			d.need = append(d.need, id.String())
		}
	}
}

// sort also drops what is named twice: go-nostr's initiator does that when the
// responder's frame was full.
func (d *diff) sort() *diff {
	for _, ids := range []*[]string{&d.have, &d.need} {
		slices.Sort(*ids)
		*ids = slices.Compact(*ids)
	}
	return d
}

func (d *diff) compare(t *testing.T, name string, want *diff) {
	t.Helper()
	for label, pair := range map[string][2][]string{"have": {want.have, d.have}, "need": {want.need, d.need}} {
		if diff := cmp.Diff(pair[0], pair[1], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s of %d ids, want %d: %.1000s", name, label, len(pair[1]), len(pair[0]), diff)
		}
	}
}

func theirVector(items []words.Ref) *vector.Vector {
	v := vector.New()
	for _, item := range items {
		v.Insert(nostr.Timestamp(item.CreatedAt), item.ID.String())
	}
	v.Seal()
	return v
}

// weInitiate reconciles with answer, which gets and returns hex.
func weInitiate(t *testing.T, items []words.Ref, plan []negentropy.Ask, frame int, answer func(string) string) *diff {
	t.Helper()
	in, msg, err := negentropy.Open(t.Context(), negentropy.NewVector(slices.Clone(items)), plan, negentropy.Limits{Frame: frame})
	if err != nil {
		t.Fatal(err)
	}
	var d diff
	for msg != nil {
		text := answer(hex.EncodeToString(msg))
		reply, err := hex.DecodeString(text)
		if err != nil {
			t.Fatalf("go-nostr answers %q: %v", text, err)
		}
		d.rounds++
		d.bytes += len(msg) + len(reply)
		var results []negentropy.Result
		if results, msg, err = in.Answer(t.Context(), reply); err != nil {
			t.Fatalf("round %d: %v", d.rounds, err)
		}
		d.add(results)
	}
	return d.sort()
}

// theyInitiate has go-nostr reconcile with answer, which gets and returns hex.
func theyInitiate(t *testing.T, items []words.Ref, frame int, answer func(string) string) *diff {
	t.Helper()
	n := theirs.New(theirVector(items), frame)
	var d diff
	var collect sync.WaitGroup
	collect.Go(func() {
		for id := range n.Haves {
			d.have = append(d.have, id)
		}
	})
	collect.Go(func() {
		for id := range n.HaveNots {
			d.need = append(d.need, id)
		}
	})
	for msg := n.Start(); msg != ""; {
		reply := answer(msg)
		d.rounds++
		d.bytes += (len(msg) + len(reply)) / 2
		var err error
		if msg, err = n.Reconcile(reply); err != nil {
			t.Fatalf("round %d: %v", d.rounds, err)
		}
	}
	collect.Wait()
	return d.sort()
}

func theyRespond(t *testing.T, items []words.Ref, frame int) func(string) string {
	n := theirs.New(theirVector(items), frame)
	return func(msg string) string {
		reply, err := n.Reconcile(msg)
		if err != nil {
			t.Fatalf("go-nostr refuses %.200s: %v", msg, err)
		}
		return reply
	}
}

func weRespond(t *testing.T, items []words.Ref, frame int) func(string) string {
	r, err := negentropy.NewResponder(negentropy.NewVector(slices.Clone(items)), negentropy.Limits{Frame: frame})
	if err != nil {
		t.Fatal(err)
	}
	return func(msg string) string {
		b, err := hex.DecodeString(msg)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := r.Reply(t.Context(), b)
		if err != nil {
			t.Fatalf("go-nostr's message %.200s: %v", msg, err)
		}
		return hex.EncodeToString(reply)
	}
}

// randomItems makes items of so many seconds.
func randomItems(rng *rand.Rand, n int, seconds int64) []words.Ref {
	items := make([]words.Ref, n)
	for i := range items {
		items[i].CreatedAt = 1_700_000_000 + rng.Int64N(seconds)
		for j := range items[i].ID {
			items[i].ID[j] = byte(rng.Uint32())
		}
	}
	return items
}

// TestNegentropy reconciles the same sets with go-nostr in either role, under
// several frame limits: both find the differences that there are, and ours at no
// greater cost.
func TestNegentropy(t *testing.T) {
	for _, tt := range []struct {
		n       int
		seconds int64
		ours    float64 // the share that only we lack
		theirs  float64
	}{
		{0, 1, 0, 0},
		{1, 1, 1, 0},
		{31, 100, 0.3, 0.3},
		{33, 1, 0, 0.1},
		{1000, 1, 0.02, 0.01},
		{1000, 86400, 0, 0},
		{3000, 2, 0.5, 0.5},
		{5000, 86400, 1, 0},
		{5000, 86400, 0, 1},
		{20000, 86400 * 30, 0.01, 0.002},
		{20000, 86400 * 30, 0.5, 0},
	} {
		for _, frame := range []int{4096, 60_000} {
			t.Run(fmt.Sprintf("%d in %d s, %g and %g, frame %d", tt.n, tt.seconds, tt.ours, tt.theirs, frame), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(tt.n), uint64(tt.seconds)))
				var a, b []words.Ref
				var want diff
				for _, item := range randomItems(rng, tt.n, tt.seconds) {
					lacks, lack := rng.Float64() < tt.ours, rng.Float64() < tt.theirs
					if !lacks {
						a = append(a, item)
					}
					if !lack {
						b = append(b, item)
					}
					if lacks && !lack {
						want.need = append(want.need, item.ID.String())
					}
					if lack && !lacks {
						want.have = append(want.have, item.ID.String())
					}
				}
				want.sort()
				ours := weInitiate(t, a, nil, frame, theyRespond(t, b, frame))
				ours.compare(t, "we initiate", &want)
				own := weInitiate(t, a, nil, frame, weRespond(t, b, frame))
				own.compare(t, "we do both", &want)
				other := theyInitiate(t, a, frame, weRespond(t, b, frame))
				other.compare(t, "they initiate", &want)
				reference := theyInitiate(t, a, frame, theyRespond(t, b, frame))
				t.Logf("we initiate: %d rounds, %d bytes; both ours: %d, %d; they initiate: %d, %d; both theirs: %d, %d, %d and %d ids",
					ours.rounds, ours.bytes, own.rounds, own.bytes, other.rounds, other.bytes, reference.rounds, reference.bytes, len(reference.have), len(reference.need))
				if ours.bytes > reference.bytes+64 || ours.rounds > reference.rounds+1 {
					t.Errorf("we need %d bytes and %d rounds, go-nostr %d and %d", ours.bytes, ours.rounds, reference.bytes, reference.rounds)
				}
			})
		}
	}
}

// TestNegentropyPlan asks go-nostr's responder with a fingerprint for each day,
// and with lists for some.
func TestNegentropyPlan(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	all := randomItems(rng, 30_000, 86400*30)
	var a []words.Ref
	var want diff
	for _, item := range all {
		if day := (item.CreatedAt - 1_700_000_000) / 86400; day == 7 || day == 12 && rng.IntN(100) == 0 {
			want.need = append(want.need, item.ID.String())
			continue
		}
		a = append(a, item)
	}
	want.sort()
	plan := []negentropy.Ask{{Hi: negentropy.At(1_700_000_000)}}
	for day := range int64(30) {
		from := 1_700_000_000 + 86400*day
		plan = append(plan, negentropy.Ask{Lo: negentropy.At(from), Hi: negentropy.At(from + 86400), List: day%10 == 3})
	}
	for _, frame := range []int{4096, 60_000} {
		got := weInitiate(t, a, plan, frame, theyRespond(t, all, frame))
		got.compare(t, fmt.Sprint("frame ", frame), &want)
		t.Logf("frame %d: %d rounds, %d bytes", frame, got.rounds, got.bytes)
	}
}

// TestNegentropyKhatru reconciles with a relay over its WebSocket: our envelopes
// are read, and its are.
func TestNegentropyKhatru(t *testing.T) {
	events := realEvents(t)
	url := serve(t, events, len(events))
	var held []words.Ref
	var want diff
	for i, e := range events {
		id, err := words.ParseID(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			want.need = append(want.need, e.ID)
			continue
		}
		held = append(held, words.Ref{ID: id, CreatedAt: int64(e.CreatedAt)})
	}
	extra := words.Ref{CreatedAt: 1_700_000_000, ID: words.ID{1}}
	held = append(held, extra)
	want.have = []string{extra.ID.String()}
	want.sort()

	conn, _, err := websocket.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	send := func(b []byte) {
		if err := conn.Write(t.Context(), websocket.MessageText, b); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() words.Message {
		_, text, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, err := words.ParseMessage(text)
		if err != nil {
			t.Fatalf("%.200s: %v", text, err)
		}
		return m
	}
	opened, closed := false, 0
	began := time.Now()
	got := weInitiate(t, held, nil, 0, func(msg string) string {
		payload, err := hex.DecodeString(msg)
		if err != nil {
			t.Fatal(err)
		}
		if !opened {
			send(words.AppendNegOpen(nil, "n", &words.Filter{}, payload))
		} else {
			send(words.AppendNegMsg(nil, "n", payload))
		}
		m := receive()
		// khatru answers before it keeps what the next message needs: who is
		// quick is told that the session is closed, and may ask again.
		for range 100 {
			if !opened || m.Label != words.LabelNegErr || m.Text != "CLOSED" {
				break
			}
			closed++
			send(words.AppendNegMsg(nil, "n", payload))
			m = receive()
		}
		opened = true
		if m.Label != words.LabelNegMsg || m.Sub != "n" {
			t.Fatalf("khatru answers %+v", m)
		}
		return hex.EncodeToString(m.Payload)
	})
	send(words.AppendNegClose(nil, "n"))
	got.compare(t, "khatru", &want)
	t.Logf("%d events, %d and %d lacking: %d rounds, %d bytes, %v, refused %d times", len(events), len(got.need), len(got.have), got.rounds, got.bytes, time.Since(began), closed)
}
