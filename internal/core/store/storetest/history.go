package storetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

// rows counts a table, as an archive that is copied would be read.
func (f *fixture) rows(table string) int {
	f.t.Helper()
	source, ok := f.Store.(store.Transfer)
	i := slices.IndexFunc(store.Tables, func(t store.Table) bool { return t.Name == table })
	if !ok || i < 0 {
		f.t.Fatalf("table %s cannot be read", table)
	}
	n := 0
	for _, err := range source.ScanTable(f.ctx, store.Tables[i], nil) {
		f.must(err)
		n++
	}
	return n
}

func testHistories(t *testing.T, open opener) {
	info := func(text string) *store.Document {
		return &store.Document{Type: store.DocumentInfo, Data: []byte(text)}
	}
	document := func(at int64, text string) store.Check {
		return store.Check{At: at, Probe: "nip11", OK: true, Values: map[string]float64{}, Document: info(text)}
	}
	version := func(from, to int64, text string) store.Version {
		return store.Version{From: from, To: to, Document: *info(text)}
	}
	save := func(f *fixture, relay store.RelayID, at int64, checks ...store.Check) {
		f.t.Helper()
		for range 2 {
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(relay, at, store.StateUp, "", checks...)}))
		}
	}
	versions := func(f *fixture, relay store.RelayID, kind string, limit int) []store.Version {
		f.t.Helper()
		got, err := f.Versions(f.ctx, relay, kind, limit)
		f.must(err)
		return got
	}

	cases(t, open, map[string]func(*testing.T, *fixture){
		"nothing is known at first": func(_ *testing.T, f *fixture) {
			r := f.relays(1)[0]
			h, err := f.Health(f.ctx, r.ID, base)
			f.must(err)
			f.equal("health", store.Health{}, h)
			f.equal("versions", 0, len(versions(f, r.ID, store.DocumentInfo, 9)))
			last, err := f.LastChecks(f.ctx, "open", []store.RelayID{r.ID})
			f.must(err)
			f.equal("last", 0, len(last))
		},
		"results of a probe": func(_ *testing.T, f *fixture) {
			r := f.relays(2)
			var want []store.Check
			for i := range int64(5) {
				c := store.Check{At: base + i*60, Probe: "open", OK: i != 2, Values: map[string]float64{store.ValueOpen: float64(i)}, Detail: fmt.Sprint(i)}
				if !c.OK {
					c.Cause = dial.CauseTLS
				}
				save(f, r[0].ID, c.At, c, document(c.At, "A"))
				want = slices.Insert(want, 0, c)
			}
			results := func(relay store.RelayID, before int64, limit int) []store.Check {
				list, err := f.Results(f.ctx, relay, "open", before, limit)
				f.must(err)
				return list
			}
			f.equal("all", want, results(r[0].ID, math.MaxInt64, 9))
			f.equal("the newest", want[:2], results(r[0].ID, math.MaxInt64, 2))
			f.equal("before", want[2:4], results(r[0].ID, want[1].At, 2))
			f.equal("before all", 0, len(results(r[0].ID, math.MinInt64, 2)))
			f.equal("of another relay", 0, len(results(r[1].ID, math.MaxInt64, 2)))
			f.equal("none", 0, len(results(r[0].ID, math.MaxInt64, 0)))
		},
		"incidents": func(_ *testing.T, f *fixture) {
			r := f.relays(3)
			down := func(relay store.RelayID, at int64) {
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(relay, at, store.StateDown, dial.CauseTLS)}))
			}
			down(r[0].ID, base)
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r[0].ID, base+10, store.StateUp, "")}))
			down(r[1].ID, base+20)
			down(r[2].ID, base+20)
			down(r[0].ID, base+30)
			incident := func(relay store.RelayID, from, to int64) store.Incident {
				return store.Incident{Relay: relay, Outage: store.Outage{From: from, To: to, Cause: dial.CauseTLS}}
			}
			want := []store.Incident{incident(r[0].ID, base+30, 0), incident(r[2].ID, base+20, 0), incident(r[1].ID, base+20, 0), incident(r[0].ID, base, base+10)}
			newest := incident(math.MaxInt32, math.MaxInt64, 0)
			for _, limit := range []int{1, 2, 9} {
				var got []store.Incident
				for before := newest; ; before = got[len(got)-1] {
					page, err := f.Incidents(f.ctx, before, limit)
					f.must(err)
					if got = append(got, page...); len(page) == 0 || len(got) > len(want) {
						break
					}
				}
				f.equal(fmt.Sprint("by ", limit), want, got)
			}
		},
		"versions of documents": func(_ *testing.T, f *fixture) {
			r := f.relays(2)
			for i, text := range []string{"A", "A", "B", "A", "A"} {
				at := base + int64(i)*60
				save(f, r[0].ID, at, document(at, text))
			}
			save(f, r[1].ID, base, document(base, "A"))
			want := []store.Version{version(base+180, base+240, "A"), version(base+120, base+120, "B"), version(base, base+60, "A")}
			for _, limit := range []int{0, 1, 2, 3, 9} {
				f.equal(fmt.Sprint("limit ", limit), want[:min(limit, 3)], append([]store.Version{}, versions(f, r[0].ID, store.DocumentInfo, limit)...))
			}
			f.equal("of another relay", []store.Version{version(base, base, "A")}, versions(f, r[1].ID, store.DocumentInfo, 9))
			f.equal("of another type", 0, len(versions(f, r[0].ID, "tls", 9)))
		},
		"the oldest versions make room": func(_ *testing.T, f *fixture) {
			r := f.relays(2)
			shared := document(base, "1")
			save(f, r[1].ID, base, shared)
			for i := range int64(store.KeepVersions + 3) {
				at := base + i*60
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r[0].ID, at, store.StateUp, "", document(at, fmt.Sprint(i)))}))
			}
			got := versions(f, r[0].ID, store.DocumentInfo, 2*store.KeepVersions)
			f.equal("kept", store.KeepVersions, len(got))
			f.equal("oldest", "3", string(got[len(got)-1].Data))
			f.equal("what another relay has", []store.Version{version(base, base, "1")}, versions(f, r[1].ID, store.DocumentInfo, 9))
			f.equal("documents", store.KeepVersions+1, f.rows("document"))
		},
		"only its own document names a relay": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			certificate := store.Check{At: base, Probe: "tls", OK: true, Document: &store.Document{Type: "tls", Data: []byte(`{"name":"B"}`)}}
			save(f, r.ID, base, document(base, `{"name":"A"}`), certificate)
			page, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 9})
			f.must(err)
			if len(page) != 1 || page[0].Name != "A" {
				t.Errorf("relays: %+v", page)
			}
		},
		"health": func(_ *testing.T, f *fixture) {
			r := f.relays(1)[0]
			for i, ms := range []float64{10, 20, 0, 40} {
				at := base + int64(i)*3600
				check := store.Check{At: at, Probe: "open", OK: ms > 0, Values: map[string]float64{store.ValueOpen: ms}}
				o := outcome(r.ID, at, store.StateUp, "", check)
				if ms == 0 {
					o = outcome(r.ID, at, store.StateDown, dial.CauseTCPTimeout, store.Check{At: at, Probe: "open", Cause: dial.CauseTCPTimeout})
				} else {
					o.Checks = append(o.Checks, store.Check{At: at, Probe: "read", OK: true, Values: map[string]float64{store.ValueRead: ms / 2}})
				}
				for range 2 {
					f.must(f.SaveOutcomes(f.ctx, []store.Outcome{o}))
				}
			}
			h, err := f.Health(f.ctx, r.ID, base+4*3600)
			f.must(err)
			hours := store.Share{Up: 0.75, Watched: 4 * 3600}
			f.equal("health", store.Health{
				Day: hours, Week: hours, Month: hours, All: hours,
				Open: store.Percentiles{P50: 20, P95: 40, P99: 40, N: 3}, Read: store.Percentiles{P50: 10, P95: 20, P99: 20, N: 3},
			}, h)
		},
		"nobody watched": func(_ *testing.T, f *fixture) {
			r := f.relays(1)[0]
			for _, at := range []int64{base, base + store.Unwatched + 1} {
				save(f, r.ID, at, store.Check{At: at, Probe: "open", OK: true})
			}
			h, err := f.Health(f.ctx, r.ID, base+store.Unwatched+1)
			f.must(err)
			f.equal("health", store.Share{}, h.All)
		},
		"results make room": func(_ *testing.T, f *fixture) {
			r := f.relays(1)[0]
			other := store.Check{At: base, Probe: "nips", OK: true, Values: map[string]float64{}}
			save(f, r.ID, base, store.Check{At: base, Probe: "open", OK: true}, other)
			for _, at := range []int64{base + 3600, base + store.KeepResults + 3601} {
				save(f, r.ID, at, store.Check{At: at, Probe: "open", OK: true, Values: map[string]float64{}})
			}
			f.equal("results", 2, f.rows("check_result")) // the newest of either probe
			last, err := f.LastChecks(f.ctx, "nips", []store.RelayID{r.ID, 999})
			f.must(err)
			f.equal("the newest of a probe stays", map[store.RelayID]store.Check{r.ID: other}, last)
		},
	})
}
