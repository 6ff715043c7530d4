package simnet

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// Plan says what events Generate makes. Equal plans give equal events, byte
// for byte.
type Plan struct {
	Seed  uint64
	Count int
	// Since and Until bound created_at, inclusive. Equal bounds put all events
	// into one second; bounds in the past or future make late or early ones.
	Since, Until int64
	// Kinds are used in equal shares; empty means the mix of kinds that the
	// network was found to hold.
	Kinds []nostr.Kind
	// Authors is the size of the pool of authors, of whom few write most;
	// 0 means one for eight events. Plans of one seed share their authors.
	Authors int
	// Relays are named in relay lists, hints and texts. Texts that are no
	// relay of anybody's may be among them.
	Relays []relay.URL
}

// kindShare is the share of a kind in the network, in tenths of a percent.
type kindShare struct {
	kind  nostr.Kind
	share int
}

// mix follows the published survey of 208 million events; the rest of it is
// spread over kinds that carry relay URLs or long texts.
var mix = []kindShare{
	{1, 390},
	{7, 190},
	{4, 56},
	{0, 47},
	{3, 45},
	{6, 44},
	{5, 31},
	{9735, 28},
	{1000, 26},
	{1059, 22},
	{9041, 21},
	{10002, 19},
	{42, 15},
	{30023, 13},
	{16, 12},
	{5300, 10},
	{6300, 10},
	{1984, 7},
	{10000, 5},
	{30078, 5},
	{2, 4},
}

// Generate makes signed events by ascending order of making, which is not the
// order of created_at. It signs on all cores.
func Generate(plan Plan) []*Event {
	if plan.Count <= 0 {
		return nil
	}
	if plan.Authors <= 0 {
		plan.Authors = max(plan.Count/8, 4)
	}
	g := newGenerator(plan)
	events := make([]nostr.Event, plan.Count)
	signers := make([]nostr.SecretKey, plan.Count)
	for i := range events {
		signers[i] = g.write(&events[i], i)
	}
	out := make([]*Event, plan.Count)
	// A repost quotes a whole signed event, so reposts come in a second round.
	for _, reposts := range []bool{false, true} {
		parallel(len(events), func(i int) {
			e := &events[i]
			if out[i] != nil || (g.quotes[i] >= 0) != reposts {
				return
			}
			if reposts {
				e.Content = string(out[g.quotes[i]].JSON)
			}
			if err := signers[i].Sign(e); err != nil {
				panic(fmt.Sprintf("simnet: sign generated event: %v", err)) // generated text is always valid
			}
			out[i] = NewEvent(e)
		})
	}
	return out
}

// parallel runs do(0) to do(n-1) on all cores and waits for them.
func parallel(n int, do func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wg.Wait()
}

type generator struct {
	plan    Plan
	rng     *rand.Rand
	zipf    *rand.Zipf
	authors []nostr.SecretKey
	kinds   []nostr.Kind // to draw from, repeated by share
	made    []nostr.Ref  // what later events can refer to
	makers  []nostr.PubKey
	seen    map[nostr.ID]bool
	quotes  []int // the event that event i quotes, or -1
	targets []int // index into the events, of made
}

func newGenerator(plan Plan) *generator {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], plan.Seed)
	binary.LittleEndian.PutUint64(seed[8:], uint64(plan.Since)) // any bits will do
	binary.LittleEndian.PutUint64(seed[16:], uint64(plan.Until))
	for _, k := range plan.Kinds {
		seed[24] = seed[24]*31 + byte(k) + byte(k>>8)
	}
	g := &generator{
		plan:    plan,
		rng:     rand.New(rand.NewChaCha8(seed)),
		authors: make([]nostr.SecretKey, plan.Authors),
		kinds:   plan.Kinds,
		seen:    make(map[nostr.ID]bool, plan.Count),
		quotes:  make([]int, plan.Count),
	}
	g.zipf = rand.NewZipf(g.rng, 1.1, 8, uint64(plan.Authors-1))
	if len(g.kinds) == 0 {
		for _, k := range mix {
			g.kinds = append(g.kinds, slices.Repeat([]nostr.Kind{k.kind}, k.share)...)
		}
	}
	parallel(plan.Authors, func(i int) {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], plan.Seed)
		binary.LittleEndian.PutUint64(b[8:], uint64(i))
		secret := sha256.Sum256(b[:])
		key, err := nostr.SecretKeyFromBytes(secret[:])
		if err != nil {
			panic(fmt.Sprintf("simnet: author %d: %v", i, err)) // one in 2^128
		}
		g.authors[i] = key
	})
	return g
}

// write fills everything of an event but its signature and returns who signs.
func (g *generator) write(e *nostr.Event, i int) nostr.SecretKey {
	author := g.authors[g.zipf.Uint64()]
	e.PubKey = author.PubKey()
	e.CreatedAt = g.plan.Since + g.rng.Int64N(max(g.plan.Until-g.plan.Since, 0)+1)
	e.Kind = g.kinds[g.rng.IntN(len(g.kinds))]
	g.quotes[i] = -1
	g.fill(e, i)
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	if g.seen[e.ID] { // the same words by the same author in one second
		e.Tags = append(e.Tags, nostr.Tag{"nonce", strconv.Itoa(i)})
		e.ID = sha256.Sum256(e.AppendCanonical(nil))
	}
	g.seen[e.ID] = true
	if g.quotes[i] >= 0 {
		return author // the final id follows from a signature that does not exist yet
	}
	g.made = append(g.made, e.Ref())
	g.makers = append(g.makers, e.PubKey)
	g.targets = append(g.targets, i)
	return author
}

// fill writes tags and content as the kind asks for.
func (g *generator) fill(e *nostr.Event, i int) {
	switch e.Kind {
	case 0:
		name := g.words(2)
		e.Content = fmt.Sprintf(`{"name":%q,"about":%q,"picture":"https://img.example/%s.jpg","nip05":"%s@names.example"}`,
			name, g.text(300), hex.EncodeToString(g.bytes(8)), g.word())
	case 1:
		e.Content = g.text(400)
		if g.chance(55) { // a reply, with hints
			for range 1 + g.rng.IntN(2) {
				e.Tags = append(e.Tags, g.eTag("reply"))
			}
			for range 1 + g.rng.IntN(3) {
				e.Tags = append(e.Tags, g.pTag())
			}
		}
		for range g.tail(0.6, 8) {
			e.Tags = append(e.Tags, nostr.Tag{"t", g.word()})
		}
		if g.chance(2) && len(g.plan.Relays) > 0 {
			e.Content += "\nread me at " + g.relay()
		}
	case 2:
		e.Content = g.relay()
	case 3:
		for range 4 + g.tail(10, 60) {
			e.Tags = append(e.Tags, g.pTag())
		}
		if g.chance(50) && len(g.plan.Relays) > 0 {
			var b strings.Builder
			b.WriteByte('{')
			for n := range 1 + g.rng.IntN(4) {
				if n > 0 {
					b.WriteByte(',')
				}
				fmt.Fprintf(&b, `%q:{"read":true,"write":%v}`, g.relay(), g.chance(70))
			}
			b.WriteByte('}')
			e.Content = b.String()
		}
	case 4:
		e.Tags = []nostr.Tag{g.pTag()}
		e.Content = base64.StdEncoding.EncodeToString(g.bytes(48+16*g.tail(8, 400))) +
			"?iv=" + base64.StdEncoding.EncodeToString(g.bytes(16))
	case 5:
		e.Content = g.text(40)
		for range 1 + g.tail(1, 10) {
			e.Tags = append(e.Tags, nostr.Tag{"e", g.unknownID()})
		}
		e.Tags = append(e.Tags, nostr.Tag{"k", "1"})
	case 6, 16:
		tag := g.eTag("")
		e.Tags = []nostr.Tag{tag[:3], g.pTag()}
		if e.Kind == 6 && len(g.targets) > 0 && g.chance(50) {
			t := g.rng.IntN(len(g.targets))
			e.Tags[0][1] = g.made[t].ID.String()
			e.Tags[1] = nostr.Tag{"p", g.makers[t].String()}
			g.quotes[i] = g.targets[t]
		}
	case 7:
		e.Tags = []nostr.Tag{g.eTag("")[:3], g.pTag(), {"k", "1"}}
		e.Content = reactions[g.rng.IntN(len(reactions))]
	case 42:
		e.Tags = []nostr.Tag{g.eTag("root")}
		e.Content = g.text(90)
	case 1059:
		e.Tags = []nostr.Tag{g.pTag()}
		e.Content = base64.StdEncoding.EncodeToString(g.bytes(420 + 64*g.tail(4, 200)))
	case 9735:
		e.Tags = []nostr.Tag{
			g.pTag(),
			g.eTag("")[:2],
			{"bolt11", "lnbc" + hex.EncodeToString(g.bytes(120))},
			{"description", fmt.Sprintf(
				`{"id":%q,"pubkey":%q,"created_at":%d,"kind":9734,"tags":[["relays",%q,%q],["amount","%d"]],"content":"","sig":"%x"}`,
				g.unknownID(), g.person(), e.CreatedAt, g.relay(), g.relay(), g.rng.IntN(1e6), g.bytes(64))},
			{"preimage", hex.EncodeToString(g.bytes(32))},
		}
	case 10002:
		for range 1 + g.tail(4, 14) {
			tag := nostr.Tag{"r", g.relay()}
			if g.chance(40) {
				tag = append(tag, [...]string{"read", "write"}[g.rng.IntN(2)])
			}
			e.Tags = append(e.Tags, tag)
		}
	case 30023:
		e.Tags = []nostr.Tag{{"d", g.word() + "-" + strconv.Itoa(g.rng.IntN(1000))}, {"title", g.words(5)}, {"published_at", strconv.FormatInt(e.CreatedAt, 10)}}
		for range g.tail(2, 8) {
			e.Tags = append(e.Tags, nostr.Tag{"t", g.word()})
		}
		e.Content = g.text(5000)
	default:
		if e.Kind.IsAddressable() {
			e.Tags = append(e.Tags, nostr.Tag{"d", g.word()})
		}
		for range g.tail(2, 14) {
			e.Tags = append(e.Tags, g.pTag())
		}
		e.Content = g.text(150)
	}
}

// eTag refers to an event made before, with a hint where to find it.
func (g *generator) eTag(marker string) nostr.Tag {
	var id string
	if n := len(g.made); n > 0 && g.chance(80) {
		// Near ones more often than far ones, as in a conversation.
		id = g.made[n-1-min(g.tail(200, n), n-1)].ID.String()
	} else {
		id = g.unknownID()
	}
	hint := ""
	if g.chance(40) {
		hint = g.relay()
	}
	return nostr.Tag{"e", id, hint, marker}
}

func (g *generator) pTag() nostr.Tag {
	if g.chance(10) {
		return nostr.Tag{"p", g.person(), g.relay()}
	}
	return nostr.Tag{"p", g.person()}
}

func (g *generator) person() string { return g.authors[g.zipf.Uint64()].PubKey().String() }

func (g *generator) unknownID() string { return hex.EncodeToString(g.bytes(32)) }

func (g *generator) relay() string {
	if len(g.plan.Relays) == 0 {
		return ""
	}
	// The first relays are the ones that everybody names.
	n := len(g.plan.Relays)
	return g.plan.Relays[min(g.rng.IntN(n), g.rng.IntN(n))].String()
}

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

// tail draws a count with the given mean and a long tail, at most most.
func (g *generator) tail(mean float64, most int) int {
	return min(int(g.rng.ExpFloat64()*(mean+0.5)), most)
}

func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], g.rng.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

func (g *generator) word() string { return vocabulary[g.rng.IntN(len(vocabulary))] }

func (g *generator) words(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = g.word()
	}
	return strings.Join(words, " ")
}

// text writes about mean bytes, sometimes far more, with what a codec has to
// escape now and then.
func (g *generator) text(mean float64) string {
	n := int(mean * 0.61 * math.Exp(g.rng.NormFloat64())) // the mean of e^N(0,1) is 1.65
	n = min(max(n, 4), 40_000)
	b := make([]byte, 0, n+16)
	for len(b) < n {
		b = append(b, g.word()...)
		switch g.rng.IntN(24) {
		case 0:
			b = append(b, ".\n"...)
		case 1:
			b = append(b, `, "`...)
		case 2:
			b = append(b, " 🤙 "...)
		default:
			b = append(b, ' ')
		}
	}
	return string(b)
}

var reactions = []string{"+", "+", "+", "🤙", "❤️", "💜", "🔥", "-", ":soapbox:"}

var vocabulary = strings.Fields(`a about again all also always and another any archive are ask at
back because before better between block bread bridge by can change chess city clock coffee cold come
could day deep did door dream each early east enough event every evening far few find fire first fish
follow for free friend from garden gate give glass go good great green hand harbour has have hear here
hill home hour house how if in into is island it join just keep key kind know late leave less letter
light like line little long look love make map market may maybe mean message might mill moon more
morning most mountain music name near never new night no north note now of off old on once one only
open or orange other our out over own page paper path people place plain play point quiet quick rain
read real relay right river road rock room run sail salt same sand say sea second see send sheet ship
should shore show side sign since sit sky slow small snow so some song soon south speak spring stand
star start stay still stone story street such summer sun table take talk tell than thank that the
their them then there they thing think this through time to today together tomorrow too town train
tree true try turn two under until up use very village voice wait walk wall want warm was water way we
week well west what when where which while white who why will wind window winter with without wood
word work world would write year yes yesterday yet you young your café über señor naïve Straße привет
мир море 日本語 ありがとう 你好 朋友 안녕 שלום مرحبا`)
