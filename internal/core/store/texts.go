package store

import "context"

// EventWords is an event as searches find it.
type EventWords struct {
	Seq       Seq
	CreatedAt int64
	Words     []string // see Words
}

// TextBatch is what the reading of a stretch of the archive adds to the index of
// words, and takes off.
type TextBatch struct {
	From, To Cursor // the stretch
	Complete bool   // To was the end of the archive: searches can be answered
	Add      []EventWords
	Remove   []EventWords // whose words do not matter
}

// Texts keeps an index of the words of public texts, by which EventQuery finds
// what a filter searches for (NIP-50). It is filled by somebody who reads the
// archive, a bounded part at a time; what is purged leaves it by itself.
type Texts interface {
	// TextsAt returns up to where the archive is in the index, and whether it was
	// complete once, so that searches are answered.
	TextsAt(ctx context.Context) (at Cursor, complete bool, err error)
	// SaveTexts adds to the index what is still archived, takes off, and moves the
	// position, in one transaction. When the position is not From any more it does
	// nothing. The error is ErrNoSearch in an archive that is an index, which
	// keeps no texts.
	SaveTexts(ctx context.Context, batch TextBatch) error
	// DropTexts empties the index, after which searches are not answered.
	DropTexts(ctx context.Context) error
}
