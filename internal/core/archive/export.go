package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// Exporter is what an export needs of the archive.
type Exporter interface {
	store.Keeper
	store.EventScanner
}

// IndexOnlyError says that an export would need an event that the archive does
// not keep whole.
type IndexOnlyError struct {
	Kind  nostr.Kind
	Whole []nostr.Kind // what the archive keeps whole
}

func (e *IndexOnlyError) Error() string {
	text := fmt.Sprintf("the archive is an index, which keeps no tags, content and signature of events of kind %d", e.Kind)
	if len(e.Whole) == 0 {
		return text + "; export from a full archive"
	}
	kinds, err := json.Marshal(e.Whole)
	if err != nil {
		panic(err) // numbers
	}
	return text + fmt.Sprintf(`; export the kinds it keeps whole by the filter {"kinds":%s}, or from a full archive`, kinds)
}

// Export writes the archived events that match the filter in the archive's
// order, one NIP-01 object a line with its keys in the order of NIP-01 and no
// escape that JSON does not ask for. It returns their number; progress is
// called with it now and then. When one of them is not kept whole, nothing is
// written and the error is an *IndexOnlyError.
func Export(ctx context.Context, w io.Writer, st Exporter, filter nostr.Filter, progress func(int)) (int, error) {
	keep, err := st.Keep(ctx)
	if err != nil {
		return 0, err
	}
	if keep.Mode == store.KeepIndex {
		// Which kinds are kept whole may have changed: only a look tells.
		for scanned, err := range st.ScanEvents(ctx, "", filter) {
			if err != nil {
				return 0, fmt.Errorf("scan events: %w", err)
			}
			if scanned.IndexOnly {
				return 0, &IndexOnlyError{Kind: scanned.Event.Kind, Whole: keep.FullKinds}
			}
		}
	}
	out := bufio.NewWriterSize(w, 256<<10)
	var n int
	var line []byte
	for scanned, err := range st.ScanEvents(ctx, "", filter) {
		if err != nil {
			return n, fmt.Errorf("scan events: %w", err)
		}
		if scanned.IndexOnly { // it came since
			return n, &IndexOnlyError{Kind: scanned.Event.Kind, Whole: keep.FullKinds}
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
