package finder

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// maxAddress bounds the address in a profile (NIP-05), in bytes.
const maxAddress = 320

// address reads the NIP-05 address of a profile: the name and the domain, which
// is a public host without a port.
func address(e *nostr.Event, rules relay.Rules) (name string, domain relay.URL, ok bool) {
	if e.Kind != 0 || !strings.Contains(e.Content, `"nip05"`) {
		return "", relay.URL{}, false
	}
	var profile struct {
		NIP05 any `json:"nip05"`
	}
	if json.Unmarshal([]byte(e.Content), &profile) != nil {
		return "", relay.URL{}, false
	}
	text, _ := profile.NIP05.(string)
	name, host, found := strings.Cut(strings.ToLower(strings.TrimSpace(text)), "@")
	if !found { // a domain alone means its root
		name, host = "_", name
	}
	if len(text) > maxAddress || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", relay.URL{}, false
	}
	domain, err := rules.Parse("wss://" + host)
	if err != nil || domain.Path() != "" || domain.Network() != relay.Clearnet || !domain.IsRoot() && !rules.AllowLocal {
		return "", relay.URL{}, false
	}
	return name, domain, true
}

// authority is the name of a domain with its port, if it has one.
func authority(domain relay.URL) string { return strings.TrimPrefix(domain.String(), "wss://") }

// askDomain reads the relay map of a domain (NIP-05). A domain can name any key,
// so it speaks for itself only: all that one registered domain says is the word
// of one author.
func (s *Service) askDomain(ctx context.Context, source store.Source) ([]store.Mention, error) {
	domain, err := s.rules.Parse("wss://" + source.Name)
	if err != nil {
		return nil, &dial.Error{Cause: dial.CauseAddress, Phase: dial.PhaseResolve, Err: err}
	}
	body, _, err := s.get(ctx, request{
		url:     "https://" + source.Name + "/.well-known/nostr.json?name=" + url.QueryEscape(source.Detail),
		circuit: domain, most: maxNIP05,
		stay: true, // as NIP-05 demands
	})
	if err != nil || body == nil {
		return nil, err
	}
	var document struct {
		Relays map[string]any `json:"relays"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, invalid(err)
	}
	named := newNames(s.rules, hints.NIP05)
	for _, list := range document.Relays {
		named.all(list)
	}
	author := domainAuthor(domain.Hostname())
	for i := range named.mentions {
		named.mentions[i].Author = author
	}
	return named.mentions, nil
}

// domainAuthor is the author that a domain counts as.
func domainAuthor(host string) nostr.PubKey {
	if registered, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		host = registered
	}
	return sha256.Sum256([]byte("nip05:" + host))
}
