package rest

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/parquet-go/parquet-go"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

// The types of exports.
const (
	jsonlType   = "application/jsonl"
	csvType     = "text/csv; charset=utf-8"
	parquetType = "application/vnd.apache.parquet"
)

type exportInput struct {
	FilterInput
	Format string `query:"format" enum:"jsonl,csv,parquet" default:"jsonl" doc:"of the file"`
	After  string `query:"after" maxLength:"200" doc:"created_at and id of the last event that the client has, with a dot between" example:"1767225600.64ee9b916675384031e55d868139aa1aa6f66c46646153d51b8d96e3003e7baa"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000000000" doc:"the most events; the operator may allow fewer, and that many are the default"`

	request *http.Request
}

// Resolve makes the filter, and tells which parameters are no part of one.
func (in *exportInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return in.FilterInput.Resolve(ctx)
}

const (
	// exportBuffer is how much is written at once.
	exportBuffer = 64 << 10
	// chunkWithin is how long a client may take to read as much.
	chunkWithin = 30 * time.Second
	// trailerNext is where the cursor stands at the end of an export that the
	// limit ended.
	trailerNext = "X-Next"
)

// errBusy is returned when too many exports or streams run.
var errBusy = errors.New("as many run as may at a time; try again later")

func (a *API) getExport(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	if _, err := store.ParsePosition(store.Cursor(in.After)); err != nil {
		return nil, a.problem(ctx, err)
	}
	limit := a.cfg.ExportRows
	if in.Limit > 0 {
		limit = min(limit, in.Limit)
	}
	who := a.options.Client(in.request)
	if !a.exports.Enter(who) {
		return nil, huma.NewError(http.StatusServiceUnavailable, errBusy.Error())
	}
	// The first event is read before the answer begins: what fails then is a
	// problem.
	next, stop := iter.Pull2(a.query.Scan(in.request.Context(), in.filter, store.Cursor(in.After), a.options.Timeout))
	first, err, more := next()
	if more && err != nil {
		stop()
		a.exports.Leave(who)
		return nil, a.problem(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer a.exports.Leave(who)
		defer stop()
		a.export(hc, in.Format, limit, func(yield func(query.Found, error) bool) {
			for e, err, more := first, error(nil), more; more && yield(e, err); {
				e, err, more = next()
			}
		})
	}}, nil
}

// export writes the file. An error ends the connection: an answer that looks
// whole and is not would be worse.
func (a *API) export(hc huma.Context, format string, limit int, events iter.Seq2[query.Found, error]) {
	r, w := humago.Unwrap(hc)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Trailer", trailerNext)
	h.Set("Content-Disposition", "attachment; filename=events."+format)
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // that of the request would end the connection
	out := bufio.NewWriterSize(&patient{w, control}, exportBuffer)
	var file eventWriter
	switch format {
	case "csv":
		h.Set("Content-Type", csvType)
		file = newCSV(out)
	case "parquet":
		h.Set("Content-Type", parquetType)
		file = newParquet(out)
	default:
		h.Set("Content-Type", jsonlType)
		file = &jsonl{out: out}
	}
	if r.Method == http.MethodHead {
		return
	}
	var last query.Found
	n := 0
	for e, err := range events {
		if err == nil && n == limit {
			h.Set(trailerNext, string(last.Cursor()))
			break
		}
		if err == nil {
			err = file.write(&e)
			last = e
			n++
		}
		if err != nil {
			if r.Context().Err() == nil && !errors.Is(err, errClient) {
				a.log.ErrorContext(r.Context(), "export failed", "events", n, "error", err)
			}
			panic(http.ErrAbortHandler)
		}
	}
	err := file.end()
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// errClient says that the client has left, or reads too slowly.
var errClient = errors.New("the client does not read")

// patient writes to a client who must read each piece within a time.
type patient struct {
	w       io.Writer
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	// Without a connection, as in tests, there is no deadline.
	if err := p.control.SetWriteDeadline(time.Now().Add(chunkWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("%w: %w", errClient, err)
	}
	n, err := p.w.Write(b)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errClient, err)
	}
	return n, nil
}

// eventWriter writes the events of a file.
type eventWriter interface {
	write(e *query.Found) error
	end() error
}

type jsonl struct {
	out *bufio.Writer
	buf []byte
}

func (j *jsonl) write(e *query.Found) (err error) {
	if j.buf, err = e.AppendJSON(j.buf[:0]); err != nil {
		return err
	}
	j.buf = append(j.buf, '\n')
	_, err = j.out.Write(j.buf)
	return err
}

func (*jsonl) end() error { return nil }

type csvFile struct{ out *csv.Writer }

func newCSV(out io.Writer) *csvFile {
	f := &csvFile{csv.NewWriter(out)}
	_ = f.out.Write([]string{"id", "pubkey", "created_at", "kind", "tags", "content", "sig", "index_only"}) // an error is that of the next one
	return f
}

func (f *csvFile) write(e *query.Found) error {
	tags, sig := "", ""
	if !e.IndexOnly {
		text, err := json.Marshal(e.Event.Tags)
		if err != nil {
			return fmt.Errorf("write tags: %w", err)
		}
		tags, sig = string(text), e.Event.Sig.String()
	}
	return f.out.Write([]string{
		e.Event.ID.String(), e.Event.PubKey.String(), strconv.FormatInt(e.Event.CreatedAt, 10), strconv.FormatInt(int64(e.Event.Kind), 10),
		tags, e.Event.Content, sig, strconv.FormatBool(e.IndexOnly),
	})
}

func (f *csvFile) end() error {
	f.out.Flush()
	return f.out.Error()
}

// row is an event in a parquet file. Raw is the event as it was signed, where
// its tags or content are not UTF-8; those have U+FFFD then.
type row struct {
	ID        string `parquet:"id"`
	PubKey    string `parquet:"pubkey,dict"`
	CreatedAt int64  `parquet:"created_at,delta"`
	Kind      int64  `parquet:"kind,dict"`
	Tags      string `parquet:"tags,json"`
	Content   string `parquet:"content"`
	Sig       string `parquet:"sig"`
	IndexOnly bool   `parquet:"index_only"`
	Raw       []byte `parquet:"raw,optional"`
}

const (
	// groupRows and groupBytes bound a row group, which is in memory.
	groupRows  = 20_000
	groupBytes = 16 << 20
)

type parquetFile struct {
	out  *parquet.GenericWriter[row]
	rows int // of the group
	size int
}

func newParquet(out io.Writer) *parquetFile {
	return &parquetFile{out: parquet.NewGenericWriter[row](out, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(groupRows))}
}

func (f *parquetFile) write(e *query.Found) error {
	r := row{ID: e.Event.ID.String(), PubKey: e.Event.PubKey.String(), CreatedAt: e.Event.CreatedAt, Kind: int64(e.Event.Kind), Tags: "[]", IndexOnly: e.IndexOnly}
	if !e.IndexOnly {
		text, err := json.Marshal(e.Event.Tags)
		if err != nil {
			return fmt.Errorf("write tags: %w", err)
		}
		r.Tags, r.Content, r.Sig = string(text), e.Event.Content, e.Event.Sig.String()
		if !utf8.ValidString(r.Content) || !validTags(e) {
			r.Content = strings.ToValidUTF8(r.Content, "\ufffd")
			r.Raw = e.Event.AppendJSON(nil)
		}
	}
	if _, err := f.out.Write([]row{r}); err != nil {
		return fmt.Errorf("write a row: %w", err)
	}
	f.rows++
	f.size += e.Weight()
	if f.rows < groupRows && f.size < groupBytes {
		return nil
	}
	f.rows, f.size = 0, 0
	return f.out.Flush()
}

func validTags(e *query.Found) bool {
	for _, tag := range e.Event.Tags {
		for _, value := range tag {
			if !utf8.ValidString(value) {
				return false
			}
		}
	}
	return true
}

func (f *parquetFile) end() error { return f.out.Close() }
