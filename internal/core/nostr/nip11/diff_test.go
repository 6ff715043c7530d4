package nip11_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr/nip11"
)

func TestDiff(t *testing.T) {
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	for _, test := range []struct {
		name, before, after string
		want                []nip11.Change
	}{
		{"equal", `{"name":"A"}`, `{"name":"A"}`, nil},
		{
			"in every way",
			`{"gone":1,"limitation":{"auth_required":true,"max_limit":500},"name":"A","supported_nips":[1,11]}`,
			`{"limitation":{"auth_required":true,"max_limit":300},"name":"A","new":null,"supported_nips":[1]}`,
			[]nip11.Change{
				{"gone", raw(`1`), nil},
				{"limitation.max_limit", raw(`500`), raw(`300`)},
				{"new", nil, raw(`null`)},
				{"supported_nips", raw(`[1,11]`), raw(`[1]`)},
			},
		},
		{"an object becomes something else", `{"limitation":{}}`, `{"limitation":null}`, []nip11.Change{{"limitation", raw(`{}`), raw(`null`)}}},
		{"no documents", `[1]`, ``, nil},
	} {
		if d := cmp.Diff(test.want, nip11.Diff([]byte(test.before), []byte(test.after))); d != "" {
			t.Errorf("%s (-want +have):\n%s", test.name, d)
		}
	}
}
