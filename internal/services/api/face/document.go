package face

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// supported returns the NIPs of a relay that the face keeps.
func supported(search bool) []int {
	nips := []int{1, 9, 11, 40, 42, 45, 67, 70, 77}
	if search {
		nips = slices.Insert(nips, slices.Index(nips, 67), 50)
	}
	return nips
}

const contentType = "application/nostr+json"

// document is the relay's information document (NIP-11).
type document struct {
	Name        string     `json:"name,omitempty"`
	Description string     `json:"description,omitempty"`
	PubKey      string     `json:"pubkey,omitempty"`
	Contact     string     `json:"contact,omitempty"`
	NIPs        []int      `json:"supported_nips"`
	Version     string     `json:"version"`
	Limitation  limitation `json:"limitation"`
}

// limitation holds the limits that are enforced.
type limitation struct {
	MaxMessage   int  `json:"max_message_length"`
	MaxSubs      int  `json:"max_subscriptions"`
	MaxLimit     int  `json:"max_limit"`
	DefaultLimit int  `json:"default_limit"`
	MaxSubID     int  `json:"max_subid_length"`
	Auth         bool `json:"auth_required"`
	Payment      bool `json:"payment_required"`
	Restricted   bool `json:"restricted_writes"` // all are refused
}

// wantsDocument tells whether a request is for the document, or asks before it
// asks for it, as browsers do.
func wantsDocument(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return strings.Contains(r.Header.Get("Accept"), contentType)
	case http.MethodOptions:
		return true
	}
	return false
}

func (f *Face) serveDocument(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
	h.Add("Vary", "Accept")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	keep, err := f.policy(r.Context())
	search := false
	if err == nil {
		search, err = f.searchable(r.Context())
	}
	if err != nil {
		f.log.ErrorContext(r.Context(), "policy cannot be read", "error", err)
		http.Error(w, "the archive cannot answer now", http.StatusServiceUnavailable)
		return
	}
	text, err := json.Marshal(document{
		Name: f.cfg.Name, Description: f.description(keep), PubKey: f.cfg.PubKey, Contact: f.cfg.Contact,
		NIPs: supported(search), Version: f.version,
		Limitation: limitation{
			MaxMessage: maxMessage, MaxSubs: f.cfg.Subscriptions, MaxLimit: f.cfg.MaxLimit,
			DefaultLimit: f.cfg.DefaultLimit, MaxSubID: nostr.MaxSub, Restricted: true,
		},
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", contentType)
	_, _ = w.Write(text)
}

// description says what is not served, too.
func (f *Face) description(keep store.Keep) string {
	if keep.Mode != store.KeepIndex {
		return f.cfg.Description
	}
	return strings.TrimSpace(f.cfg.Description + " " + indexed(keep))
}

// indexed tells what an archive that is an index serves.
func indexed(keep store.Keep) string {
	return fmt.Sprintf("It is an index: only events of the kinds %s are kept whole and served, others are counted.",
		strings.Trim(strings.ReplaceAll(fmt.Sprint(keep.FullKinds), " ", ", "), "[]"))
}
