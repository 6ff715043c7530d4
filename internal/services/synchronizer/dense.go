package synchronizer

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	// denseRequests bounds what one second may cost. The kinds from 0 to 65,535
	// take 66 requests; the rest is for cells that have to be divided.
	denseRequests = 240
	// denseTries is how often a request is repeated whose answer proves nothing.
	denseTries = 1
	// kindChunk is how many kinds one filter names, until a relay refuses that.
	kindChunk = 1000
	// valueChunk is how many authors or tag values one filter names.
	valueChunk = 200
	// maxKind is the highest kind of NIP-01. Relays store higher ones, which is
	// why going through all kinds proves nothing by itself.
	maxKind nostr.Kind = 65535
	// maxValues bounds the authors and tag values that are remembered of a
	// second.
	maxValues = 5000
)

// dense is a second that holds more events than the relay gives in a page.
type dense struct {
	w        *walk
	second   store.Interval
	filterID store.FilterID
	budget   int // requests

	ids     map[nostr.ID]nostr.Kind // everything delivered of this second
	authors map[nostr.Kind]map[nostr.PubKey]bool
	named   map[nostr.PubKey]bool // in p tags: people of the same circle
	tags    map[nostr.Kind]map[string]map[string]bool
	open    map[nostr.Kind]bool // kinds that could not be had completely
	asked   int                 // kinds from 0 to maxKind that were answered
	had     kindSet             // those, and those that were divided as far as they could be
	resumed bool                // begun in an earlier visit
	left    bool                // some kinds were not answered
	first   *page
	holes   []store.Hole // what came and could not be read
	answers []*answer    // nothing of the second may follow them
}

// dense gets a second that does not fit into a page: by negentropy, where the
// relay does it well; else by kinds, since every event has exactly one, and a kind that does not fit by authors, then by tags.
// The second is claimed only when an exact COUNT agrees with what came; else it
// becomes a hole that says what is known.
func (w *walk) dense(ctx context.Context, second store.Interval, p *page) error {
	v := w.v
	v.sums.dense.Inc()
	if named, err := w.byName(ctx, second); err != nil || named {
		return err
	}
	d := w.ladder(second, p)
	for _, r := range p.refs {
		if inside(second, r.CreatedAt) {
			d.ids[r.ID] = store.AnyKind // a lower count is none of this second
		}
	}
	total, exact, err := v.count(ctx, w.filter, second)
	if err != nil {
		return err
	}
	done := func() bool { return exact && int64(len(d.ids)) >= total }

	// The page is asked again, to see the kinds, authors and tags of its events.
	if _, err := d.ask(ctx, w.filter); err != nil {
		return err
	}
	if int64(len(d.ids)) > total {
		exact = false // whatever it counts, it is not what it shows
	}
	if !done() {
		if err := d.byKind(ctx, done); err != nil {
			return err
		}
	}
	if err := d.conclude(ctx, total, exact); err != nil {
		return err
	}
	v.pass.dense = nil
	return nil
}

// ladder goes on with the second where an earlier visit of this pass had to stop,
// with what is left of its budget, or begins with it.
func (w *walk) ladder(second store.Interval, p *page) *dense {
	if d := w.v.pass.dense; d != nil && d.second == second && d.filterID == w.filterID {
		d.w, d.resumed = w, true
		return d
	}
	d := &dense{
		w: w, second: second, filterID: w.filterID, budget: denseRequests, first: p,
		ids:     map[nostr.ID]nostr.Kind{},
		authors: map[nostr.Kind]map[nostr.PubKey]bool{},
		named:   map[nostr.PubKey]bool{},
		tags:    map[nostr.Kind]map[string]map[string]bool{},
		open:    map[nostr.Kind]bool{},
	}
	w.v.pass.dense = d
	return d
}

// ask sends a filter for the second. It returns nil when no try has brought an
// answer that proves anything.
func (d *dense) ask(ctx context.Context, f nostr.Filter) (*page, error) {
	var p *page
	for try := 0; ; try++ {
		var err error
		d.budget--
		if p, err = d.w.v.ask(ctx, question{filter: f, win: d.second, observe: d.observe}); err != nil {
			return nil, err
		}
		if err := d.w.v.save(ctx, p, nil); err != nil {
			return nil, err
		}
		if p.clean() {
			break
		}
		if err := d.w.wall(p); err != nil {
			return nil, err
		}
		if try == denseTries {
			return nil, nil
		}
	}
	d.holes = append(d.holes, d.w.holes(p, d.second)...)
	d.answers = append(d.answers, p.from)
	for _, r := range p.refs {
		// Wrong events stand in the relay's count as well.
		if _, seen := d.ids[r.ID]; !seen && inside(d.second, r.CreatedAt) {
			d.ids[r.ID] = store.AnyKind
		}
	}
	return p, nil
}

// observe remembers an event of the second.
func (d *dense) observe(e *nostr.Event) {
	if !inside(d.second, e.CreatedAt) {
		return
	}
	d.ids[e.ID] = e.Kind
	authors := d.authors[e.Kind]
	if authors == nil {
		authors = map[nostr.PubKey]bool{}
		d.authors[e.Kind] = authors
	}
	if len(authors) < maxValues {
		authors[e.PubKey] = true
	}
	for _, t := range e.Tags {
		if len(t) < 2 || len(t[0]) != 1 || len(t[1]) > 256 {
			continue
		}
		if t[0] == "p" && len(d.named) < maxValues {
			if k, err := nostr.ParsePubKey(t[1]); err == nil {
				d.named[k] = true
			}
		}
		letters := d.tags[e.Kind]
		if letters == nil {
			letters = map[string]map[string]bool{}
			d.tags[e.Kind] = letters
		}
		values := letters[t[0]]
		if values == nil {
			values = map[string]bool{}
			letters[t[0]] = values
		}
		if len(values) < maxValues {
			values[t[1]] = true
		}
	}
}

// byKind asks for all kinds: those seen in this second, those seen at this
// relay, the usual ones, then the rest.
func (d *dense) byKind(ctx context.Context, done func() bool) error {
	w := d.w
	wanted := w.filter.Kinds
	allowed := func(k nostr.Kind) bool { return len(wanted) == 0 || slices.Contains(wanted, k) }
	asked := map[nostr.Kind]bool{}
	var queue [][]nostr.Kind
	push := func(kinds []nostr.Kind, size int) {
		var fresh []nostr.Kind
		for _, k := range kinds {
			if !asked[k] && !d.had.has(k) && allowed(k) {
				asked[k] = true
				fresh = append(fresh, k)
			}
		}
		for chunk := range slices.Chunk(fresh, max(1, size)) {
			queue = append(queue, chunk)
		}
	}
	// By how often they come in this second: the full cells are found first and
	// the many small ones share a page.
	seen := d.seenKinds()
	push(seen, w.v.kindChunk)
	push(w.v.notedKinds(), w.v.kindChunk)
	push(publicKinds, w.v.kindChunk)
	var rest []nostr.Kind
	if len(wanted) == 0 {
		for k := nostr.Kind(0); k <= maxKind; k++ {
			rest = append(rest, k)
		}
	} else {
		rest = wanted
	}
	push(rest, w.v.kindChunk)

	for len(queue) > 0 && d.budget > 0 && !done() {
		chunk := queue[0]
		queue = queue[1:]
		if len(chunk) > w.v.kindChunk {
			for part := range slices.Chunk(chunk, w.v.kindChunk) {
				queue = append(queue, part)
			}
			continue
		}
		f := w.filter
		f.Kinds = chunk
		p, err := d.ask(ctx, f)
		if err != nil {
			return err
		}
		switch {
		case p == nil && len(chunk) > 1:
			// Too many kinds for this relay, or one of them is refused.
			if !w.v.kindsServed {
				w.v.kindChunk = max(1, min(w.v.kindChunk, len(chunk)/2))
			}
			half := len(chunk) / 2
			queue = append([][]nostr.Kind{chunk[:half], chunk[half:]}, queue...)
		case p == nil:
			d.left = true // refused alone: a private kind
		case !p.full():
			d.asked += inRange(chunk)
			d.had.add(chunk...)
			if len(chunk) >= w.v.kindChunk {
				w.v.kindsServed = true
			}
		case len(chunk) > 1:
			half := len(chunk) / 2
			queue = append([][]nostr.Kind{chunk[:half], chunk[half:]}, queue...)
		default:
			d.asked += inRange(chunk)
			if err := d.byAuthor(ctx, chunk[0], done); err != nil {
				return err
			}
			d.had.add(chunk...)
		}
	}
	d.left = d.left || len(queue) > 0
	return nil
}

func inRange(kinds []nostr.Kind) int {
	n := 0
	for _, k := range kinds {
		if k >= 0 && k <= maxKind {
			n++
		}
	}
	return n
}

// seenKinds returns the kinds of the second, the most frequent first.
func (d *dense) seenKinds() []nostr.Kind {
	counts := map[nostr.Kind]int{}
	for _, k := range d.ids {
		if k != store.AnyKind {
			counts[k]++
		}
	}
	kinds := make([]nostr.Kind, 0, len(counts))
	for k := range counts {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b nostr.Kind) int {
		if c := counts[b] - counts[a]; c != 0 {
			return c
		}
		return int(a - b)
	})
	return kinds
}

// maxRounds is how often authors and tag values that were found on the way are
// asked for in turn.
const maxRounds = 3

// byAuthor divides a kind that does not fit into a page by the authors seen,
// then by tags. Other authors may exist, so only a COUNT can show that it is
// complete.
func (d *dense) byAuthor(ctx context.Context, kind nostr.Kind, done func() bool) error {
	d.open[kind] = true
	base := d.w.filter
	base.Kinds = []nostr.Kind{kind}
	authorsAsked := map[nostr.PubKey]bool{}
	valuesAsked := map[string]bool{}
	for range maxRounds {
		before := len(d.ids)
		// Those of this kind first, then those of the second and whom it names,
		// then all that the visit has met.
		authors := unasked(d.authors[kind], authorsAsked, comparePubKeys)
		for _, k := range slices.Sorted(maps.Keys(d.authors)) {
			authors = append(authors, unasked(d.authors[k], authorsAsked, comparePubKeys)...)
		}
		authors = append(authors, unasked(d.named, authorsAsked, comparePubKeys)...)
		authors = append(authors, unasked(d.w.v.authors, authorsAsked, comparePubKeys)...)
		err := divide(ctx, d, authors, done, func(part []nostr.PubKey) nostr.Filter {
			f := base
			f.Authors = part
			return f
		})
		if err != nil {
			return err
		}
		for _, letter := range slices.Sorted(maps.Keys(d.tags[kind])) {
			asked := map[string]bool{}
			for value := range d.tags[kind][letter] {
				asked[value] = valuesAsked[letter+value]
				valuesAsked[letter+value] = true
			}
			maps.DeleteFunc(asked, func(_ string, old bool) bool { return !old })
			values := unasked(d.tags[kind][letter], asked, strings.Compare)
			err := divide(ctx, d, values, done, func(part []string) nostr.Filter {
				f := base
				f.Tags = map[string][]string{letter: part}
				return f
			})
			if err != nil {
				return err
			}
		}
		if len(d.ids) == before || done() {
			return nil
		}
	}
	return nil
}

// unasked returns the keys of all that are not in asked, and puts them there.
func unasked[T comparable](all, asked map[T]bool, compare func(a, b T) int) []T {
	var out []T
	for v := range all {
		if !asked[v] {
			asked[v] = true
			out = append(out, v)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

func comparePubKeys(a, b nostr.PubKey) int { return bytes.Compare(a[:], b[:]) }

// maxHalvings bounds what dividing one list may cost: thousands of events by
// one author cannot be divided at all.
const maxHalvings = 48

// divide asks for a list in parts that fit into a page.
func divide[T any](ctx context.Context, d *dense, list []T, done func() bool, filter func([]T) nostr.Filter) error {
	queue := slices.Collect(slices.Chunk(list, valueChunk))
	halvings := 0
	for len(queue) > 0 && d.budget > 0 && !done() {
		part := queue[0]
		queue = queue[1:]
		p, err := d.ask(ctx, filter(part))
		if err != nil {
			return err
		}
		if (p == nil || p.full()) && len(part) > 1 && halvings < maxHalvings {
			halvings++
			queue = append([][]T{part[:len(part)/2], part[len(part)/2:]}, queue...)
		}
	}
	return nil
}

// conclude claims the second, or says what is missing in it.
func (d *dense) conclude(ctx context.Context, total int64, exact bool) error {
	v, w := d.w.v, d.w
	level := store.LevelCounted
	if d.resumed {
		level = store.LevelWalked // one that came and one that went since look alike
	}
	if c := w.claim(d.second, d.first, level, "count"); exact && int64(len(d.ids)) == total {
		if c != nil {
			c.N, c.after, c.holes = total, nil, append(c.holes, d.holes...)
		}
		v.await(c)
		return v.save(ctx, nil, nil)
	}
	if len(w.filter.Kinds) > 0 && len(d.open) == 0 && !d.left && !exact {
		// The filter names its kinds, and each of them fitted.
		c := w.claim(d.second, d.first, store.LevelWalked, "kinds")
		if c != nil {
			c.N, c.after, c.holes = int64(len(d.ids)), d.answers, append(c.holes, d.holes...)
		}
		v.await(c)
		return v.save(ctx, nil, nil)
	}
	// What is missing is told by kind as far as that is known. The rest is a hole
	// of its own, unless the counts leave nothing for it: a relay may hold kinds
	// above 65,535, which nobody has asked for.
	rest, known := total-int64(len(d.ids)), exact
	var holes []store.Hole
	for kind := range d.open {
		missing := int64(-1)
		f := w.filter
		f.Kinds = []nostr.Kind{kind}
		n, ok, err := v.count(ctx, f, d.second)
		if err != nil {
			return err
		}
		if known = known && ok; ok {
			if missing = n - d.held(kind); missing <= 0 {
				continue // all of this kind came after all
			}
			rest -= missing
		}
		holes = append(holes, w.hole(d.second, kind, store.HoleOverflow, missing, retryDense))
	}
	if !known || rest > 0 || len(holes) == 0 {
		if !known || rest <= 0 {
			rest = -1
		}
		retry := retryDense
		if len(holes) == 0 && d.asked > int(maxKind) {
			retry = retryOpaque
		}
		holes = append(holes, w.hole(d.second, store.AnyKind, store.HoleOverflow, rest, retry))
	}
	v.log.DebugContext(ctx, "second does not fit into pages", "relay", v.relay.URL.String(),
		"second", d.second.Lo, "held", len(d.ids), "total", total, "holes", len(holes))
	return v.save(ctx, nil, holes)
}

// held is how many events of a kind came.
func (d *dense) held(kind nostr.Kind) int64 {
	var n int64
	for _, k := range d.ids {
		if k == kind {
			n++
		}
	}
	return n
}
