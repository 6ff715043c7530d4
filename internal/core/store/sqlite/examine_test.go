package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"bigbrotr/internal/core/store"
)

func worst(found store.Findings) store.Grade {
	grade := store.GradeOK
	for _, f := range found {
		if f.Subject == "disk" {
			continue // that of the machine
		}
		if f.Grade == store.GradeBad || f.Grade == store.GradeNote && grade == store.GradeOK {
			grade = f.Grade
		}
	}
	return grade
}

func TestExamine(t *testing.T) {
	db := openNew(t)
	if found := Examine(t.Context(), db.path); worst(found) != store.GradeOK {
		t.Errorf("a new database: %+v", found)
	}
	if found := Examine(t.Context(), filepath.Join(t.TempDir(), "none.db")); worst(found) != store.GradeNote {
		t.Errorf("no database: %+v", found)
	}
	other := filepath.Join(t.TempDir(), "other.db")
	if err := os.WriteFile(other, []byte("something else, longer than a header"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := Examine(t.Context(), other); worst(found) != store.GradeBad {
		t.Errorf("not a database: %+v", found)
	}
	if err := db.write(t.Context(), func(w *writer) error {
		_, err := w.c.exec("DROP INDEX event_kind")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if found := Examine(t.Context(), db.path); worst(found) != store.GradeBad {
		t.Errorf("without an index: %+v", found)
	}
}
