package negentropy

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
)

type vector struct {
	Name        string
	ClientItems []vectorItem `json:"client_items"`
	ServerItems []vectorItem `json:"server_items"`
	ClientFrame int          `json:"frame_size_limit_client"`
	ServerFrame int          `json:"frame_size_limit_server"`
	Steps       []struct{ Dir, Msg string }
	Have        []string `json:"client_have_ids"`
	Need        []string `json:"client_need_ids"`
}

type vectorItem nostr.Ref

func (item *vectorItem) UnmarshalJSON(b []byte) error {
	var id string
	if err := json.Unmarshal(b, &[]any{&item.CreatedAt, &id}); err != nil {
		return err
	}
	var err error
	item.ID, err = nostr.ParseID(id)
	return err
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(text, &file); err != nil {
		tb.Fatal(err)
	}
	if len(file.Vectors) < 8 {
		tb.Fatalf("%d vectors", len(file.Vectors))
	}
	return file.Vectors
}

func vectorItems(items []vectorItem) *Vector {
	refs := make([]nostr.Ref, len(items))
	for i, item := range items {
		refs[i] = nostr.Ref(item)
	}
	return NewVector(refs)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestVectorsResponder: our answers to the reference implementation's client are
// its server's, byte by byte, where no message is cut. A cut one may end elsewhere
// and gives the fingerprint of exactly the rest.
func TestVectorsResponder(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			r, err := NewResponder(vectorItems(v.ServerItems), Limits{Frame: v.ServerFrame})
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i+1 < len(v.Steps); i += 2 {
				got, err := r.Reply(t.Context(), unhex(t, v.Steps[i].Msg))
				if err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				if v.ServerFrame > 0 {
					if len(got) > v.ServerFrame {
						t.Errorf("answer of %d bytes", len(got))
					}
					continue
				}
				if diff := cmp.Diff(v.Steps[i+1].Msg, hex.EncodeToString(got)); diff != "" {
					t.Errorf("answer to message %d: %s", i, diff)
				}
			}
		})
	}
}

// TestVectorsInitiator: our first message is the reference implementation's
// where it has no ids in it, and from its server's answers we learn what its
// client learns. The server's answers do not depend on the ids that a client
// names, so that those to its client are those to ours. In the run with a frame
// limit almost all differs, and our second message asks for longer lists than its
// client's: our Responder answers there.
func TestVectorsInitiator(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			in, msg, err := Open(t.Context(), vectorItems(v.ClientItems), nil, Limits{Frame: v.ClientFrame})
			if err != nil {
				t.Fatal(err)
			}
			want := v.Steps[0].Msg
			if n := len(v.ClientItems); n < listBelow {
				want = "6100000200"
			}
			if diff := cmp.Diff(want, hex.EncodeToString(msg)); diff != "" {
				t.Error(diff)
			}
			r, err := NewResponder(vectorItems(v.ServerItems), Limits{Frame: v.ServerFrame})
			if err != nil {
				t.Fatal(err)
			}
			var have, need []string
			for i := 1; i < len(v.Steps); i += 2 {
				if msg == nil {
					t.Fatalf("settled before answer %d", i)
				}
				answer := unhex(t, v.Steps[i].Msg)
				if v.ServerFrame > 0 {
					if answer, err = r.Reply(t.Context(), msg); err != nil {
						t.Fatal(err)
					}
				}
				var results []Result
				if results, msg, err = in.Answer(t.Context(), answer); err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
				for _, r := range results {
					for _, item := range r.Have {
						have = append(have, item.ID.String())
					}
					for _, id := range r.Need {
						need = append(need, id.String())
					}
				}
			}
			if msg != nil {
				t.Errorf("not settled: %x", msg)
			}
			slices.Sort(have)
			slices.Sort(need)
			if diff := cmp.Diff(v.Have, have); diff != "" && len(v.Have)+len(have) > 0 {
				t.Error("have:", diff)
			}
			if diff := cmp.Diff(v.Need, need); diff != "" && len(v.Need)+len(need) > 0 {
				t.Error("need:", diff)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	r, err := NewResponder(NewVector(nil), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Reply(t.Context(), unhex(t, "62aabbccddeeff"))
	if diff := cmp.Diff("61", hex.EncodeToString(got)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	in, _, err := Open(t.Context(), NewVector(nil), nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Answer(t.Context(), []byte{0x62}); causeOf(err) != CauseVersion {
		t.Error(err)
	}
}
