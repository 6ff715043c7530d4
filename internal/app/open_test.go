package app

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"bigbrotr/internal/core/store"
)

// TestExplain checks that every trouble of opening a store comes with a remedy.
func TestExplain(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Store.URL = "sqlite:here.db"
	for _, test := range []struct {
		err    error
		remedy string // empty for none
	}{
		{&fs.PathError{Op: "open", Path: "here.db", Err: fs.ErrNotExist}, "`bigbrotr init`"},
		{store.ErrUninitialised, "`bigbrotr init`"},
		{fs.ErrPermission, "check its permissions"},
		{fmt.Errorf("schema 9: %w", store.ErrNewer), "use the newer bigbrotr"},
		{store.ErrSchema, "`bigbrotr init` to bring it to this version"},
		{store.ErrCorrupt, "restore it from a backup"},
		{store.ErrFull, "free some space"},
		{&store.LockedError{Path: "here.db", PID: 123}, "stop it first"},
		{errors.New("odd"), ""},
	} {
		err := explain(cfg, test.err)
		if !errors.Is(err, test.err) {
			t.Errorf("%v is lost in %v", test.err, err)
		}
		text, remedy, _ := strings.Cut(err.Error(), "; ")
		if text != "open sqlite:here.db: "+test.err.Error() || !strings.Contains(remedy, test.remedy) || (remedy == "") != (test.remedy == "") {
			t.Errorf("%v is explained as %q", test.err, err)
		}
	}
	if err := Explain(cfg, fmt.Errorf("save: %w", store.ErrFull)); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "sqlite:here.db") {
		t.Errorf("a full disk is explained as %v", err)
	}
	if err := Explain(cfg, nil); err != nil {
		t.Errorf("nothing is explained as %v", err)
	}
}
