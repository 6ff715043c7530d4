package postgres

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
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
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				for i, name := range v.Names {
					if i < len(v.Values) {
						values[name.Name] = v.Values[i]
					}
				}
			}
			return true
		})
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

// TestStatements has the server read every statement: its tables, columns,
// functions and the types of its parameters.
func TestStatements(t *testing.T) {
	all := statements(t)
	if len(all) < 80 {
		t.Fatalf("only %d statements found", len(all))
	}
	db := openNew(t, Options{})
	conn, err := db.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, err := conn.Conn().Prepare(t.Context(), name, all[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
