package archive

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// Export writes the archived events that match the filter in the archive's
// order, one NIP-01 object a line with its keys in the order of NIP-01 and no
// escape that JSON does not ask for. It returns their number; progress is
// called with it now and then.
func Export(ctx context.Context, w io.Writer, st store.EventScanner, filter nostr.Filter, progress func(int)) (int, error) {
	out := bufio.NewWriterSize(w, 256<<10)
	var n int
	var line []byte
	for scanned, err := range st.ScanEvents(ctx, "", filter) {
		if err != nil {
			return n, fmt.Errorf("scan events: %w", err)
		}
		line = append(scanned.Event.AppendJSON(line[:0]), '\n')
		if _, err := out.Write(line); err != nil {
			return n, fmt.Errorf("write event %d: %w", n+1, err)
		}
		if n++; n%1000 == 0 {
			progress(n)
		}
	}
	if err := out.Flush(); err != nil {
		return n, fmt.Errorf("write: %w", err)
	}
	progress(n)
	return n, nil
}

// Compress returns a writer that compresses with zstd. Closing it ends the
// frame and leaves w open.
func Compress(w io.Writer) (io.WriteCloser, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return z, nil
}
