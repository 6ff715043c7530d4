package sqlite

import (
	"cmp"
	"log/slog"
	"slices"
	"time"
)

const (
	// mergeMin and mergeMax are how many rows of term_new are merged at once:
	// the more, the fewer pages of term are rewritten per row, but every
	// search by tag or author reads all of them.
	mergeMin = 1 << 16
	mergeMax = 1 << 18
	// mergeSlice is how long one transaction of a merge takes.
	mergeSlice = 50 * time.Millisecond
)

// merge moves rows of term_new to term, in slices between other work. What is
// moved stays in term_new until everything is, so a reader that looks there
// first sees each row once or twice and never not at all; a merge cut short by
// the end of the process is done again.
type merge struct {
	rows []term // sorted by h, what is still to be moved
	last int64  // the highest number among them all
}

var sqlMergeTerms = `INSERT INTO term (h, created_at, seq, kind) VALUES ` + placeholders("(?, ?, ?, ?)") + ` ON CONFLICT DO NOTHING`

const sqlMerged = `DELETE FROM term_new WHERE seq <= ?`

// mergeSome begins a merge when it is worth it, or when everything is wanted,
// or goes on with one that was begun, for a slice of time.
func (w *writer) mergeSome(everything bool) error {
	if w.merge == nil {
		wanted := min(max(int(w.nextSeq/4), mergeMin), mergeMax)
		if len(w.terms) < wanted && (!everything || len(w.terms) == 0) {
			return nil
		}
		w.merge = &merge{rows: w.terms, last: w.terms[len(w.terms)-1].seq}
		w.terms = nil
		slices.SortFunc(w.merge.rows, func(a, b term) int {
			return cmp.Or(cmp.Compare(a.h, b.h), cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
		})
	}
	err := w.mergeSlice()
	if err != nil {
		// The rows stay where readers find them.
		w.db.log.Warn("merging the index failed", slog.Any("error", w.db.failed(err)))
	}
	return err
}

// mergeAll empties term_new.
func (w *writer) mergeAll() error {
	for w.merge != nil || len(w.terms) > 0 {
		if err := w.mergeSome(true); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) mergeSlice() error {
	left := w.merge.rows
	err := w.begin(func() error {
		for begin := time.Now(); len(left) > 0 && time.Since(begin) < mergeSlice; {
			chunk := left[:min(len(left), 16*perStatement)]
			left = left[len(chunk):]
			if err := inChunks(nil, chunk, termArgs, func(args []any) error {
				_, err := w.c.exec(sqlMergeTerms, args...)
				return err
			}); err != nil {
				return err
			}
		}
		if len(left) > 0 {
			return nil
		}
		_, err := w.c.exec(sqlMerged, w.merge.last)
		return err
	})
	if err != nil {
		return err
	}
	if w.merge.rows = left; len(left) == 0 {
		w.merge = nil
	}
	return nil
}
