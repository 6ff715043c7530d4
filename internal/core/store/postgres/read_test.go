package postgres

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/pgtest"
)

// sqlSynthetic adds those of $1 events whose numbers are from $4 to $5: over the
// time from $2 to $3, by 20,000 authors of a long tail, of the usual kinds, with
// tags of which one is on every fifth event. Ids are hashes of the numbers only.
const sqlSynthetic = `
INSERT INTO event (seq, created_at, kind, author, first_seen, d, id, pubkey, tagh, sig, tags, content)
SELECT i, created_at, kind, author_key(encode(pubkey, 'hex')), created_at, CASE WHEN kind = 30023 THEN tag_hash('d', 'd' || i % 50) END, id, pubkey,
	(SELECT array_agg(DISTINCT tag_hash(t ->> 0, t ->> 1)) FROM jsonb_array_elements(tags) t), id || pubkey, tags, content
FROM (
	SELECT i, created_at, kind, sha256(convert_to('author ' || n, 'UTF8')) AS pubkey, sha256(convert_to('event ' || i, 'UTF8')) AS id, content,
		CASE WHEN kind = 30023 THEN jsonb_build_array(jsonb_build_array('d', 'd' || i % 50)) ELSE '[]' END
		|| CASE WHEN r1 < 0.4 THEN jsonb_build_array(jsonb_build_array('e', encode(sha256(convert_to('event ' || (i * 7919) % $1::bigint, 'UTF8')), 'hex'), 'wss://relay.example.com')) ELSE '[]' END
		|| CASE WHEN r2 < 0.6 THEN jsonb_build_array(jsonb_build_array('p', encode(sha256(convert_to('author ' || floor(20000 * power(r3, 3))::int, 'UTF8')), 'hex'))) ELSE '[]' END
		|| CASE WHEN r4 < 0.2 THEN '[["t","nostr"]]' WHEN r4 < 0.7 THEN jsonb_build_array(jsonb_build_array('t', 'topic' || floor(5000 * power(r3, 3))::int)) ELSE '[]' END AS tags
	FROM (
		SELECT i, $2::bigint + ($3::bigint - $2::bigint) * i / $1::bigint AS created_at, floor(20000 * power(random(), 3))::int AS n,
			(ARRAY[1,1,1,1,1,1,1,7,7,7,7,1059,1059,0,3,6,10002,9735,4,30023])[1 + floor(random() * 20)::int]::bigint AS kind,
			random() AS r1, random() AS r2, random() AS r3, random() AS r4, repeat(md5(i::text), floor(random() * 14)::int) AS content
		FROM generate_series($4::bigint, $5::bigint) AS i
	) a
) b`

// synthetic knows what sqlSynthetic has made.
type synthetic struct {
	n, from, to int64
	r           *rand.Rand
}

const year = 365 * day

// fill makes n events of the last years.
func fill(t testing.TB, db *DB, n int, years int64) *synthetic {
	t.Helper()
	to := time.Now().Unix()
	s := &synthetic{n: int64(n), from: to - years*year, to: to, r: rand.New(rand.NewPCG(3, 5))}
	const slice = 50_000
	next := make(chan int64, n/slice+1)
	for i := int64(1); i <= s.n; i += slice {
		next <- i
	}
	close(next)
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for i := range next {
				if err := db.write(t.Context(), func(tx pgx.Tx) error {
					_, err := tx.Exec(t.Context(), sqlSynthetic, s.n, s.from, s.to, i, min(i+slice-1, s.n))
					return err
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if _, err := db.pool.Exec(t.Context(), "VACUUM ANALYZE event"); err != nil {
		t.Fatal(err)
	}
	return s
}

// low is a number below n, low ones often.
func (s *synthetic) low(n int) int {
	x := s.r.Float64()
	return int(float64(n) * x * x * x)
}

func (s *synthetic) author() nostr.PubKey {
	return sha256.Sum256(fmt.Appendf(nil, "author %d", s.low(20000)))
}

func (s *synthetic) id() nostr.ID {
	return sha256.Sum256(fmt.Appendf(nil, "event %d", 1+s.r.Int64N(s.n)))
}

func (s *synthetic) kind() nostr.Kind {
	return []nostr.Kind{1, 7, 0, 3, 6, 10002, 9735, 30023}[s.r.IntN(8)]
}

func withTag(name string, values ...string) nostr.Filter {
	return nostr.Filter{Tags: map[string][]string{name: values}}
}

// questions are what readers ask, each with the index that finds the answer.
func (s *synthetic) questions() []question {
	return []question{
		{"author and kind", "_author_created_at_kind_idx", false, func() nostr.Filter {
			return nostr.Filter{Authors: []nostr.PubKey{s.author()}, Kinds: []nostr.Kind{s.kind()}}
		}},
		{"author", "_author_created_at_kind_idx", false, func() nostr.Filter {
			return nostr.Filter{Authors: []nostr.PubKey{s.author()}}
		}},
		{"authors and kinds", "_author_created_at_kind_idx", false, func() nostr.Filter {
			return nostr.Filter{Authors: []nostr.PubKey{s.author(), s.author(), s.author(), s.author()}, Kinds: []nostr.Kind{0, 3, 10002}}
		}},
		{"kind and time", "_kind_created_at_idx", true, func() nostr.Filter {
			until := s.from + s.r.Int64N(s.to-s.from)
			return nostr.Filter{Kinds: []nostr.Kind{s.kind()}, Since: new(until - 7*day), Until: &until}
		}},
		{"a kind that is not there", "_kind_created_at_idx", false, func() nostr.Filter {
			return nostr.Filter{Kinds: []nostr.Kind{30024}}
		}},
		{"tag e", "_tagh_idx", false, func() nostr.Filter { return withTag("e", s.id().String()) }},
		{"tag t", "_tagh_idx", false, func() nostr.Filter { return withTag("t", fmt.Sprint("topic", s.low(5000))) }},
		{"tag p and kinds", "_tagh_idx", false, func() nostr.Filter {
			f := withTag("p", s.author().String())
			f.Kinds = []nostr.Kind{1, 7}
			return f
		}},
		{"a popular tag", "", false, func() nostr.Filter { return withTag("t", "nostr") }},
		{"ids", "_id_idx", false, func() (f nostr.Filter) {
			for range 100 {
				f.IDs = append(f.IDs, s.id())
			}
			return f
		}},
		{"time", "_created_at_substring_idx", true, func() nostr.Filter {
			until := s.from + s.r.Int64N(s.to-s.from)
			return nostr.Filter{Until: &until}
		}},
	}
}

type question struct {
	name   string
	index  string
	newest bool // the answer is in few partitions, the newest, and the others are not looked at
	filter func() nostr.Filter
}

// telling is a connection whose server tells how it has run each statement,
// those within functions included.
type telling struct {
	*pgx.Conn
	plans []string
}

func tell(t testing.TB, url string) *telling {
	t.Helper()
	c := &telling{}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if strings.HasPrefix(n.Message, "duration:") {
			c.plans = append(c.plans, n.Message)
		}
	}
	if c.Conn, err = pgx.ConnectConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	if _, err := c.Exec(t.Context(), `LOAD 'auto_explain'; SET auto_explain.log_nested_statements = on; SET auto_explain.log_analyze = on;
		SET auto_explain.log_timing = off; SET auto_explain.log_level = notice; SET auto_explain.log_min_duration = 0`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	return c
}

// looked finds the scans of partitions in a plan.
var looked = regexp.MustCompile(`Scan (?:using|on) \w*event_\w+ .*`)

// planned checks how a question is answered.
func planned(t testing.TB, c *telling, q question, public bool) {
	t.Helper()
	plannedPage(t, c, q, store.EventQuery{Limit: 100, Public: public})
}

// plannedPage checks how a page is found.
func plannedPage(t testing.TB, c *telling, q question, page store.EventQuery) {
	t.Helper()
	page.Filter, page.Now = q.filter(), time.Now().Unix()
	public := page.Public
	s, err := newSearch(page, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.plans = nil
	if err := s.run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	// The statements about events; besides there are prices, and deletions.
	plans := slices.DeleteFunc(c.plans, func(p string) bool { return !strings.Contains(p, "created_at >= ") || !strings.Contains(p, "actual") })
	if len(plans) == 0 {
		t.Fatalf("%s: no plan among %d", q.name, len(c.plans))
	}
	plan := plans[0]
	if !strings.Contains(plan, q.index) || strings.Contains(plan, "Seq Scan on event") || strings.Contains(plan, "JIT") {
		t.Errorf("%s, public %t: want the index *%s, found\n%s", q.name, public, q.index, plan)
	}
	scans := looked.FindAllString(plan, -1)
	scans = slices.DeleteFunc(scans, func(s string) bool { return strings.Contains(s, "never executed") })
	if q.newest && len(scans) > 3 {
		t.Errorf("%s, public %t: looked at %d partitions:\n%s", q.name, public, len(scans), plan)
	}
}

// TestReadPlans looks at how the server answers: by the index that fits, in its
// order, the newest partitions first, never through a table.
func TestReadPlans(t *testing.T) {
	db := openNew(t, Options{})
	made := fill(t, db, 20_000, 1)
	questions := made.questions()
	c := tell(t, pgtest.Shared(t).Superuser(db.pool.Config().ConnString()))
	for _, q := range questions {
		t.Run(q.name, func(t *testing.T) {
			planned(t, c, q, false)
			planned(t, c, q, true)
		})
	}
	t.Run("a search", func(t *testing.T) {
		if _, err := db.pool.Exec(t.Context(), `INSERT INTO event_text (created_at, seq, words)
			SELECT created_at, seq, array_to_tsvector(ARRAY['common', 'word' || seq % 500]) FROM event; ANALYZE event_text`, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		for _, search := range []string{"word7", "common word7", "word7 word8"} {
			planned(t, c, question{search, "event_text_words", false, func() nostr.Filter { return nostr.Filter{Search: search} }}, true)
		}
	})
	// An export is pages of the largest size: wherever one begins, it costs itself.
	t.Run("an export", func(t *testing.T) {
		for _, at := range []int64{made.to, made.from + (made.to-made.from)/2, made.from + 60*day} {
			q := question{"an export", "_created_at_substring_idx", true, func() nostr.Filter { return nostr.Filter{} }}
			plannedPage(t, c, q, store.EventQuery{Limit: maxPage, Public: true, After: store.Position{At: at, ID: nostr.ID{1}}.Cursor()})
		}
	})
}

// TestListPlans looks at how lists about relays and sums are read: by an index,
// in whose order they are, so that a page costs a page.
func TestListPlans(t *testing.T) {
	db := openNew(t, Options{})
	c := tell(t, pgtest.Shared(t).Superuser(db.pool.Config().ConnString()))
	// What is joined is planned by how much there is. Tables this small would be read
	// whole all the same.
	if _, err := c.Exec(t.Context(), `INSERT INTO relay (url, network, host, first_seen, promoted_at, state_since)
			SELECT 'wss://r' || i || '.example.com', 'clearnet', 'r' || i || '.example.com', 0, 0, 0 FROM generate_series(1, 500) i;
		INSERT INTO outage (relay_id, started, cause) SELECT id, 100 * i + id, 'tls' FROM relay, generate_series(1, 20) i;
		ANALYZE relay, outage; SET enable_seqscan = off; SET enable_bitmapscan = off`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	one, many := int32(1), int64(100)
	for _, tt := range []struct {
		name, sql, index string
		sorts            bool // what is found is little
		args             []any
	}{
		{"claims of a relay", sqlClaimPage, "coverage_pkey", false, []any{one, int64(2), int64(3), many}},
		{"holes of a relay", sqlHolePage, "hole_pkey", false, []any{one, int64(2), int64(3), int64(4), int64(5), many}},
		{"results of a probe", sqlResults, "check_result_pkey", false, []any{one, "open", int64(9), many}},
		{"outages of a relay", sqlOutages, "outage_pkey", false, []any{one, many}},
		{"days", sqlDays, "rollup_day_pkey", false, []any{int64(1), int64(9)}},
		{"days of a relay", sqlDaysOf, "rollup_relay_day_pkey", false, []any{one, int64(1), int64(9)}},
		{"kinds of a relay", sqlKindsOf, "rollup_relay_kind_pkey", true, []any{one, many}},
		{"incidents", sqlIncidents, "outage_time", false, []any{int64(1500), one, many}},
		{"the directory", sqlSummaries, "relay_url_key", false, []any{"wss://a.example.com", "", "", 1000}},
		{"claims of the directory", sqlCoverageOf, "coverage_pkey", true, []any{[]int32{1, 2, 3}}},
		{"relays of an event", sqlEventRelays, "_event_seq", true, []any{int64(1), int64(2)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.plans = nil
			rows, err := c.Query(t.Context(), tt.sql, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			rows.Close()
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			plan := strings.Join(c.plans, "\n")
			if !strings.Contains(plan, tt.index) || strings.Contains(plan, "Seq Scan") || !tt.sorts && strings.Contains(plan, "Sort") {
				t.Errorf("want the index %s in its order, found\n%s", tt.index, plan)
			}
		})
	}
}

// TestVersionPlans: whether a version is superseded takes one look into an index,
// however many lines its author has and however old it is.
func TestVersionPlans(t *testing.T) {
	db := openNew(t, Options{})
	const lines, from = 5000, 1_700_000_000
	if _, err := db.pool.Exec(t.Context(), `INSERT INTO event (seq, created_at, kind, author, first_seen, d, id, pubkey, sig, tags, content)
		SELECT -i, $1::bigint + i, CASE WHEN i = $2 THEN 0 ELSE 30166 END, author_key(encode(key, 'hex')), 0, CASE WHEN i < $2 THEN tag_hash('d', 'd' || i) END,
			sha256(convert_to('line ' || i, 'UTF8')), key, key || key, '[]', ''
		FROM generate_series(1, $2) AS i, sha256('one author') AS key`, from, lines); err != nil {
		t.Fatal(err)
	}
	if _, err := db.pool.Exec(t.Context(), "VACUUM ANALYZE event"); err != nil {
		t.Fatal(err)
	}
	author := nostr.PubKey(sha256.Sum256([]byte("one author")))
	var events []store.Stored
	for i := range 50 {
		tags := []nostr.Tag{{"d", fmt.Sprintf("d%d", 1+i)}}
		events = append(events, store.Stored{Event: nostr.Event{
			ID: sha256.Sum256(fmt.Appendf(nil, "line %d", 1+i)), PubKey: author, CreatedAt: from + int64(1+i), Kind: 30166, Tags: tags,
		}})
	}
	events = append(events, store.Stored{Event: nostr.Event{PubKey: author, CreatedAt: from, Kind: 0}})
	c := tell(t, pgtest.Shared(t).Superuser(db.pool.Config().ConnString()))
	lined, err := linesOf(t.Context(), c, events)
	if err != nil {
		t.Fatal(err)
	}
	newest, err := newestOf(t.Context(), c, events, lined)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if newest.Supersedes(lined[i], nostr.Ref{ID: events[i].Event.ID, CreatedAt: events[i].Event.CreatedAt}) {
			t.Errorf("version %d is said to be superseded", i)
		}
	}
	if !newest.Supersedes(lined[50], nostr.Ref{CreatedAt: from}) {
		t.Error("the newest profile is not found")
	}
	plans := slices.DeleteFunc(c.plans, func(p string) bool { return !strings.Contains(p, "v.created_at >= ") || !strings.Contains(p, "actual") })
	if len(plans) != 1 {
		t.Fatalf("%d plans", len(plans))
	}
	if strings.Contains(plans[0], "Seq Scan") || !strings.Contains(plans[0], "_author_kind_coalesce_created_at_idx") {
		t.Errorf("not by the index of lines:\n%s", plans[0])
	}
	for _, rows := range regexp.MustCompile(`actual rows=(\d+)`).FindAllStringSubmatch(plans[0], -1) {
		if n, err := strconv.Atoi(rows[1]); err != nil || n > len(events) {
			t.Errorf("%s rows were looked at:\n%s", rows[1], plans[0])
		}
	}
}

// counted counts the statements of a search.
type counted struct {
	querier
	n int
}

func (c *counted) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.n++
	return c.querier.Query(ctx, sql, args...)
}

func (c *counted) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	c.n++
	return c.querier.SendBatch(ctx, b)
}

// TestReadSteps: one statement fills a page, and with a price it is two.
func TestReadSteps(t *testing.T) {
	db := openNew(t, Options{})
	s := fill(t, db, 20_000, 1)
	for _, tt := range []struct {
		filter nostr.Filter
		limit  int
		most   int
	}{
		{nostr.Filter{}, 100, 1},
		{nostr.Filter{Kinds: []nostr.Kind{1}}, 100, 1},
		{nostr.Filter{Kinds: []nostr.Kind{30024}}, 100, 1},
		{nostr.Filter{Authors: []nostr.PubKey{{1}}}, 100, 1},
		{nostr.Filter{IDs: []nostr.ID{{1}, s.id()}}, 100, 1},
		{withTag("t", "nostr"), 10, 2},
		{withTag("t", "of nobody"), 10, 2},
	} {
		search, err := newSearch(store.EventQuery{Filter: tt.filter, Limit: tt.limit}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c := &counted{querier: db.pool}
		if err := search.run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if c.n > tt.most {
			t.Errorf("%s, limit %d: %d statements, want %d at most", tt.filter.AppendJSON(nil), tt.limit, c.n, tt.most)
		}
	}
}

// TestSlices cuts what is cheap as if it were dear: the answers are the same.
func TestSlices(t *testing.T) {
	db := openNew(t, Options{})
	r := rand.New(rand.NewPCG(1, 1))
	var batch store.Batch
	for i := range 400 {
		e := nostr.Event{
			PubKey: nostr.PubKey{byte(r.IntN(3))}, CreatedAt: 1_700_000_000 + r.Int64N(2)*year/2 + r.Int64N(40), Kind: nostr.Kind(r.IntN(3)),
			Content: fmt.Sprint(i),
		}
		for range r.IntN(3) {
			e.Tags = append(e.Tags, nostr.Tag{"t", fmt.Sprint(r.IntN(4))})
		}
		e.ID = sha256.Sum256(e.AppendCanonical(nil))
		batch.Events = append(batch.Events, e)
	}
	if _, err := db.SaveBatch(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(batch.Events, func(a, b nostr.Event) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), bytes.Compare(a.ID[:], b.ID[:]))
	})
	for range 60 {
		f := withTag("t", fmt.Sprint(r.IntN(5)), fmt.Sprint(r.IntN(5)))
		if r.IntN(2) == 0 {
			f.Kinds = []nostr.Kind{nostr.Kind(r.IntN(3))}
		}
		if r.IntN(2) == 0 {
			f.Since = new(1_700_000_000 + r.Int64N(40))
		}
		q := store.EventQuery{Filter: f, Limit: 1 + r.IntN(20)}
		var want, got []nostr.ID
		for _, e := range batch.Events {
			if f.Matches(&e) {
				want = append(want, e.ID)
			}
		}
		rows := 1 + r.IntN(30)
		for {
			s, err := newSearch(q, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			s.dear, s.rows = 0, rows
			if err := s.run(t.Context(), db.pool); err != nil {
				t.Fatal(err)
			}
			for _, e := range s.events {
				got = append(got, e.Event.ID)
			}
			if !s.full {
				break
			}
			last := s.events[len(s.events)-1].Event
			q.After = store.Position{At: last.CreatedAt, ID: last.ID}.Cursor()
		}
		if !slices.Equal(want, got) {
			t.Fatalf("%s by %d, slices of %d: want %d events, got %d", f.AppendJSON(nil), q.Limit, rows, len(want), len(got))
		}
	}
}

// BenchmarkEvents asks for pages of 100 at 100 requests a second, whether or not
// earlier ones are answered: a latency counts from when the request was due. At
// full size it is of five million events.
func BenchmarkEvents(b *testing.B) {
	size, requests := 50_000, 100
	if os.Getenv("BENCH_FULL") != "" {
		size, requests = 5_000_000, 2000
	}
	cluster := pgtest.Start(b, pgtest.Options{Settings: map[string]string{"fsync": "off", "shared_buffers": "1GB", "max_wal_size": "4GB"}})
	url := cluster.Database(b)
	direct := reach(b, url)
	if _, err := direct.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	s := fill(b, direct, size, 3)
	questions := s.questions()
	told := tell(b, cluster.Superuser(url))
	for _, way := range []struct {
		name string
		db   *DB
	}{{"direct", direct}, {"PgBouncer", reach(b, cluster.Bouncer(b).URL(url))}} {
		for _, q := range questions {
			b.Run(way.name+"/"+q.name, func(b *testing.B) {
				planned(b, told, q, true)
				openLoop(b, way.db, requests, q.filter)
			})
		}
		b.Run(way.name+"/all", func(b *testing.B) {
			n := 0
			openLoop(b, way.db, requests, func() nostr.Filter {
				n++
				return questions[n%len(questions)].filter()
			})
		})
	}
}

func reach(t testing.TB, url string) *DB {
	t.Helper()
	db, err := Open(t.Context(), url, Options{Connections: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openLoop(b *testing.B, db *DB, requests int, filter func() nostr.Filter) {
	const every = 10 * time.Millisecond
	// Connections that have planned nothing yet are those of a start, not of a day.
	for range 8 {
		var wait sync.WaitGroup
		for range db.opts.Connections {
			f := filter()
			wait.Go(func() {
				if _, _, err := db.Events(b.Context(), store.EventQuery{Filter: f, Limit: 100, Public: true, Now: time.Now().Unix()}); err != nil {
					b.Error(err)
				}
			})
		}
		wait.Wait()
	}
	var latencies []time.Duration
	var found int
	for b.Loop() {
		var wait sync.WaitGroup
		var mu sync.Mutex
		begin := time.Now()
		for i := range requests {
			f := filter()
			due := begin.Add(time.Duration(i) * every)
			time.Sleep(time.Until(due))
			wait.Go(func() {
				page, _, err := db.Events(b.Context(), store.EventQuery{Filter: f, Limit: 100, Public: true, Now: due.Unix()})
				took := time.Since(due)
				mu.Lock()
				defer mu.Unlock()
				latencies, found = append(latencies, took), found+len(page)
				if err != nil {
					b.Error(err)
				}
			})
		}
		wait.Wait()
	}
	slices.Sort(latencies)
	for _, p := range []int{50, 95, 99} {
		b.ReportMetric(float64(latencies[len(latencies)*p/100].Microseconds())/1e3, fmt.Sprintf("p%d-ms", p))
	}
	b.ReportMetric(float64(found)/float64(len(latencies)), "events/page")
	b.ReportMetric(0, "ns/op")
}
