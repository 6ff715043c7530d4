package sqlite

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// statements returns every constant and variable of the package whose name
// begins with sql, by name.
func statements(t *testing.T) map[string]string {
	t.Helper()
	values := make(map[string]ast.Expr)
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					for i, name := range v.Names {
						if i < len(v.Values) {
							values[name.Name] = v.Values[i]
						}
					}
				}
			}
		}
	}
	var text func(ast.Expr) string
	text = func(x ast.Expr) string {
		switch x := x.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(x.Value)
			if err != nil {
				t.Fatal(err)
			}
			return s
		case *ast.BinaryExpr:
			return text(x.X) + text(x.Y)
		case *ast.Ident:
			return text(values[x.Name])
		case *ast.CallExpr: // only placeholders is called in statements
			return placeholders(text(x.Args[0]))
		}
		t.Fatalf("cannot read %T", x)
		return ""
	}
	found := make(map[string]string)
	for name, x := range values {
		if strings.HasPrefix(name, "sql") {
			found[name] = text(x)
		}
	}
	return found
}

func TestStatements(t *testing.T) {
	all := statements(t)
	if len(all) < 80 {
		t.Fatalf("only %d statements found", len(all))
	}
	err := openNew(t).read(context.Background(), func(c *conn) error {
		for name, sql := range all {
			if _, err := c.prepare(sql); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPlans looks at how SQLite runs what grows with the archive: by an index,
// in its order, never through a whole table.
func TestPlans(t *testing.T) {
	db := openNew(t)
	for _, tt := range []struct {
		name, sql string
		want      []string
	}{
		{"known", sqlKnown, []string{"SEARCH event USING COVERING INDEX sqlite_autoindex_event_1 (id=?)"}},
		{"by id", sqlByID, []string{"SEARCH event USING INDEX sqlite_autoindex_event_1 (id=?)"}},
		{"by number", sqlEventsBySeq, []string{"SEARCH event USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"by time", sqlByTime, []string{"SEARCH event USING INDEX event_time (created_at>? AND created_at<?)"}},
		{"of a kind", sqlOfKind, []string{"SEARCH event USING INDEX event_kind (kind=? AND created_at>? AND created_at<?)"}},
		{"by kind", sqlByKind, []string{"SEARCH event USING COVERING INDEX event_kind (kind=? AND created_at>? AND created_at<?)"}},
		{"by term", sqlByTerm, []string{"SEARCH term USING PRIMARY KEY (h=? AND created_at>? AND (created_at,seq)<(?,?))"}},
		{"versions by their d tag", sqlVersionsByD, []string{"SEARCH t USING PRIMARY KEY (h=? AND created_at>?)", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"estimate", sqlEstimate, []string{"SEARCH term USING PRIMARY KEY (h=? AND created_at>? AND created_at<?)"}},
		{"scan", sqlScanEvents, []string{"SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"thin", sqlThinnable, []string{"SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"fold", sqlFoldEvents, []string{"SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"deletions of a page", sqlAskedFor, []string{"SEARCH deletion EXISTS USING PRIMARY KEY (h=?)"}},
		{"deletions", sqlDeletions, []string{"SEARCH deletion USING PRIMARY KEY (h=? AND author=? AND created_at>?)"}},
		{"relays of an event", sqlEventRelays, []string{"SEARCH s USING INDEX sighting_event (event_seq=?)", "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"sightings of a relay", sqlRelaySightings, []string{"SEARCH s USING PRIMARY KEY (relay_id=? AND event_seq>?)", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"sightings that say more", sqlSighted, []string{"SEARCH s USING PRIMARY KEY (relay_id=? AND event_seq=?)"}},
		{"what a relay has by number", sqlSightingRefs, []string{"SEARCH s USING PRIMARY KEY (relay_id=? AND event_seq>?)", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"what a relay has by time", sqlHeld, []string{"SEARCH e USING INDEX event_time (", "SEARCH s USING PRIMARY KEY (relay_id=? AND event_seq=?)"}},
		{"the end of a page of it", sqlHeldEdge, []string{"SEARCH event USING COVERING INDEX event_time ("}},
		{"what is missing by time", sqlMissingHeld, []string{"SEARCH missing USING COVERING INDEX missing_time (relay_id=? AND at>? AND at<?)"}},
		{"touching claims", sqlTouching, []string{"SEARCH coverage USING PRIMARY KEY (relay_id=? AND filter_id=? AND lo<?)"}},
		{"claims of a relay", sqlClaimPage, []string{"SEARCH coverage USING PRIMARY KEY (relay_id=? AND (filter_id,lo)>(?,?))"}},
		{"holes of a relay", sqlHolePage, []string{"SEARCH hole USING PRIMARY KEY (relay_id=? AND (filter_id,lo,hi,kind)>(?,?,?,?))"}},
		{"due relays", sqlDueRelays, []string{"SEARCH w USING INDEX work_due (service=? AND due_at<?)", "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"due candidates", sqlDueCandidates, []string{"SCAN candidate USING INDEX candidate_rank"}},
		{"latest checks", sqlLatestChecks, []string{"SEARCH c USING PRIMARY KEY (relay_id=? AND probe=? AND at=?)"}},
		{"results of a probe", sqlResults, []string{"SEARCH c USING PRIMARY KEY (relay_id=? AND probe=? AND at<?)"}},
		{"incidents", sqlIncidents, []string{"SEARCH o USING INDEX outage_time ((started,relay_id)<(?,?))", "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"days of a relay", sqlDaysOf, []string{"SEARCH rollup_relay_day USING PRIMARY KEY (relay_id=? AND day>? AND day<?)"}},
		{"a drawn event", sqlDrawnEvents, []string{"SEARCH event USING INTEGER PRIMARY KEY (rowid>?)"}},
		{"a drawn event of a relay", sqlDrawnSeen, []string{"SEARCH sighting USING PRIMARY KEY (relay_id=? AND event_seq>?)"}},
		{"the span of a relay", sqlSeenSpan, []string{"SEARCH sighting USING PRIMARY KEY (relay_id=?)"}},
		{"carriers", sqlCarriers, []string{"SEARCH sighting USING INDEX sighting_event (event_seq=?)"}},
		{"summaries", sqlSummaries, []string{"SEARCH r USING INDEX sqlite_autoindex_relay_1 (url>?)", "SEARCH hole USING PRIMARY KEY (relay_id=?)"}},
		{"vanishing", sqlPurgeable, []string{"SEARCH t USING PRIMARY KEY (h=? AND created_at<?)", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"next relay", sqlNextRelay, []string{"SEARCH sighting USING PRIMARY KEY (relay_id>?)"}},
		{"totals", sqlTotals, []string{"SEARCH event USING COVERING INDEX event_time (created_at>? AND created_at<?)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var plan []string
			if err := db.read(context.Background(), func(c *conn) error {
				args := make([]any, strings.Count(tt.sql, "?")+1)
				return c.query(context.Background(), func(r row) bool {
					plan = append(plan, r.text(3))
					return true
				}, "EXPLAIN QUERY PLAN "+tt.sql, args...)
			}); err != nil {
				t.Fatal(err)
			}
			whole := strings.Join(plan, "\n")
			for _, want := range tt.want {
				if !strings.Contains(whole, want) {
					t.Errorf("no %q in the plan:\n%s", want, whole)
				}
			}
			for _, line := range plan {
				sorts := strings.Contains(line, "TEMP B-TREE FOR ORDER") && tt.name != "relays of an event" && tt.name != "latest checks"
				scans := strings.HasPrefix(line, "SCAN e") || strings.HasPrefix(line, "SCAN term") || strings.HasPrefix(line, "SCAN s")
				if sorts || scans {
					t.Errorf("%q in the plan:\n%s", line, whole)
				}
			}
		})
	}
}
