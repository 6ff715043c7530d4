package archive

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// The reasons for which a line is rejected, besides those of Intake.
const (
	ReasonOversize = "oversize" // the line is longer than MaxLine
	ReasonRefused  = "refused"  // its author or id has a tombstone
)

// MaxLine is the longest line that is imported, in bytes. The largest event
// seen in the wild has 1.8 MB.
const MaxLine = 16 << 20

// The size of a slice of a file that is saved at once.
const (
	importLines = 1000
	importBytes = 8 << 20
)

// maxWindow bounds what a compressed file may make us hold.
const maxWindow = 128 << 20

// Importer is what an import needs of the archive.
type Importer interface {
	SaveBatch(ctx context.Context, batch store.Batch) (store.Saved, error)
}

// Reject is a line that was not stored.
type Reject struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// Imported says what became of the lines of a file.
type Imported struct {
	Read     int `json:"read"`   // lines that are not blank
	Stored   int `json:"stored"` // archived for the first time
	Known    int `json:"known"`  // archived before, or earlier in the file
	Rejected int `json:"rejected"`
}

// Import reads events, one JSON object a line, plain or compressed with zstd,
// and saves them slice by slice in the order of the file, so that an import
// that was cut short goes on where it was when it is run again. Ephemeral kinds
// are kept too. A bad line is counted and given to rejected, in order, and
// never stops the others. progress is called with the bytes read so far of r.
// The error is of the file or of the store.
func Import(ctx context.Context, r io.Reader, in *Intake, st Importer, rejected func(Reject), progress func(int64)) (Imported, error) {
	counter := &countingReader{r: r, progress: progress}
	text, err := decompressed(counter)
	if err != nil {
		return Imported{}, err
	}
	defer text.Close()
	im := importer{in: in, store: st, rejected: rejected}
	lines := bufio.NewReaderSize(text, 256<<10)
	for number := 1; ; number++ {
		line, err := readLine(lines)
		if len(bytes.TrimSpace(line)) > 0 || errors.Is(err, errLong) {
			im.add(number, line, errors.Is(err, errLong))
		}
		end := errors.Is(err, io.EOF)
		if err != nil && !end && !errors.Is(err, errLong) {
			// What stands before the damage is good and kept.
			return im.done, errors.Join(fmt.Errorf("read line %d: %w", number, err), im.save(ctx))
		}
		if end || len(im.lines) >= importLines || im.bytes >= importBytes {
			if err := im.save(ctx); err != nil {
				return im.done, err
			}
		}
		if end {
			return im.done, nil
		}
	}
}

// importer holds the slice in hand.
type importer struct {
	in       *Intake
	store    Importer
	rejected func(Reject)
	done     Imported

	lines   [][]byte
	numbers []int // of lines
	bytes   int
	long    []int // numbers of the lines in between that were too long
}

func (im *importer) add(number int, line []byte, long bool) {
	im.done.Read++
	if long {
		im.long = append(im.long, number)
		return
	}
	im.lines = append(im.lines, line)
	im.numbers = append(im.numbers, number)
	im.bytes += len(line)
}

// save sorts and saves the slice in hand.
func (im *importer) save(ctx context.Context) error {
	sorted, err := im.in.Sort(ctx, im.lines, nil)
	if err != nil {
		return err
	}
	saved, err := im.store.SaveBatch(ctx, store.Batch{
		SeenAt: time.Now().Unix(), Events: sorted.New, Rejected: sorted.Rejected, Ephemeral: true,
	})
	if err != nil {
		return fmt.Errorf("save %d events: %w", len(sorted.New), err)
	}
	refused := make(map[nostr.ID]bool, len(saved.Refused))
	for _, id := range saved.Refused {
		refused[id] = true
	}
	rejected := sorted.Rejected
	long := im.long
	for i, f := range sorted.Findings {
		for len(long) > 0 && long[0] < im.numbers[i] {
			im.reject(long[0], ReasonOversize)
			long = long[1:]
		}
		switch {
		case f.Verdict == Refused || f.Verdict == Unread:
			im.reject(im.numbers[i], rejected[0].Reason)
			rejected = rejected[1:]
		case refused[f.ID]:
			im.reject(im.numbers[i], ReasonRefused)
		case f.Verdict != New:
			im.done.Known++
		}
	}
	for _, number := range long {
		im.reject(number, ReasonOversize)
	}
	im.done.Stored += saved.New
	im.done.Known += saved.Known
	im.lines, im.numbers, im.long, im.bytes = im.lines[:0], im.numbers[:0], im.long[:0], 0
	return nil
}

func (im *importer) reject(line int, reason string) {
	im.done.Rejected++
	im.rejected(Reject{Line: line, Reason: reason})
}

var errLong = errors.New("line too long")

// readLine returns the next line without its end. A line longer than MaxLine is
// skipped whole with errLong. The last line comes with io.EOF.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > MaxLine; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case long && (err == nil || errors.Is(err, io.EOF)):
			// The end, if this is it, is met again by the next read.
			return nil, errLong
		default:
			return bytes.TrimRight(line, "\r\n"), err
		}
	}
}

// zstdMagic begins every zstd frame.
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// decompressed looks at the first bytes, not at the name: names lie.
func decompressed(r io.Reader) (io.ReadCloser, error) {
	head := bufio.NewReaderSize(r, 64<<10)
	magic, err := head.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(magic, zstdMagic) {
		return io.NopCloser(head), nil
	}
	z, err := zstd.NewReader(head, zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("read zstd: %w", err)
	}
	return z.IOReadCloser(), nil
}

// countingReader tells how far a file was read.
type countingReader struct {
	r        io.Reader
	n        int64
	progress func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.progress(c.n)
	return n, err
}
