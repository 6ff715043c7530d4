package finder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/theory/jsonpath"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// Source is a JSON document on the web that lists relays.
type Source struct {
	// URL is the address, by http or https.
	URL string `yaml:"url"`
	// Path is a JSONPath (RFC 9535), such as $.relays[*].url. It picks texts, or
	// lists of texts, or objects of which the keys are read too. Empty means the
	// whole document.
	Path string `yaml:"path"`
	// Every is the time between two looks.
	Every config.Duration `yaml:"every"`
}

// circuit is the relay that would live at the address: what the dialer knows
// hosts by.
func (s Source) circuit(rules relay.Rules) (relay.URL, error) {
	_, at, err := dial.ParseAddress(s.URL, rules)
	return at, err
}

func (s Source) path() (*jsonpath.Path, error) {
	if s.Path == "" {
		return jsonpath.Parse("$")
	}
	return jsonpath.Parse(s.Path)
}

func (s Source) validate(check *config.Check, path string) {
	// Local addresses are the dialer's matter.
	if _, err := s.circuit(relay.Rules{AllowLocal: true}); err != nil {
		check.Add(path+".url", err.Error(), "write one such as https://example.com/relays.json")
	}
	if _, err := s.path(); err != nil {
		check.Add(path+".path", "is not a JSONPath: "+err.Error(), "write one such as $.relays[*].url, or leave it empty")
	}
	config.InRange(check, path+".every", s.Every, config.Duration(time.Minute), config.Duration(maxEvery))
}

// maxEvery is below store.MaxWait, jitter included.
const maxEvery = 60 * 24 * time.Hour

// The bounds of asking sources.
const (
	maxSource   = 5 << 20 // bytes of a document of a Source
	maxNIP05    = 1 << 20 // bytes of a NIP-05 document
	maxNamed    = 20_000  // URLs taken from one document
	askTime     = 20 * time.Second
	askAtOnce   = 8
	askPerCycle = 64 // so that events do not wait for slow servers
	nip05Every  = 7 * 24 * time.Hour
	jitter      = 0.15
)

// waits are when a source that failed is asked again: what does not answer for
// a day may not answer for long.
var waits = service.Multiples(time.Hour, jitter, 1, 6, 24, 7*24, 30*24)

// answer is what a source gave.
type answer struct {
	result   store.SourceResult
	mentions []store.Mention
}

// ask asks the sources that are due, some at once.
func (s *Service) ask(ctx context.Context) (asked, named, added int, err error) {
	now := time.Now()
	var configured []store.SourceMention
	var names []string
	for _, source := range s.cfg.Sources {
		circuit, err := source.circuit(s.rules)
		if err != nil {
			s.log.WarnContext(ctx, "source left out", "url", source.URL, "error", err)
			continue
		}
		names = append(names, source.URL)
		configured = append(configured, store.SourceMention{Class: hints.API, Name: source.URL, Host: circuit.Hostname(), At: now.Unix()})
	}
	var due []store.Source
	want := store.Due{Now: now.Unix(), Limit: askPerCycle, Owner: s.owner, Until: now.Add(service.LeaseTime(2*askPerCycle, askAtOnce, askTime)).Unix() + 1}
	if len(configured) > 0 {
		if err := s.store.AddSources(ctx, configured); err != nil {
			return 0, 0, 0, fmt.Errorf("add sources: %w", err)
		}
		if due, err = s.store.DueSources(ctx, hints.API, names, want); err != nil {
			return 0, 0, 0, fmt.Errorf("due sources: %w", err)
		}
	}
	if s.cfg.NIP05 {
		domains, err := s.store.DueSources(ctx, hints.NIP05, nil, want)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("due sources: %w", err)
		}
		due = append(due, domains...)
	}
	answers := service.Gather(ctx, askAtOnce, due, s.askOne)
	if len(answers) == 0 {
		return 0, 0, 0, nil
	}
	var results []store.SourceResult
	var mentions []store.Mention
	for _, a := range answers {
		results, mentions = append(results, a.result), append(mentions, a.mentions...)
	}
	saving, cancel := context.WithTimeout(ctx, service.StoreTime)
	defer cancel()
	if added, err = s.store.SaveSources(saving, results, mentions); err != nil {
		return 0, 0, 0, fmt.Errorf("save sources: %w", err)
	}
	return len(answers), len(mentions), added, nil
}

// askOne asks one source. What is wrong with it is a cause.
func (s *Service) askOne(ctx context.Context, source store.Source) answer {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	a := answer{result: store.SourceResult{Class: source.Class, Name: source.Name, Owner: s.owner, ETag: source.ETag}}
	every := nip05Every
	var err error
	if source.Class == hints.NIP05 {
		a.mentions, err = s.askDomain(ctx, source)
	} else {
		for _, configured := range s.cfg.Sources {
			if configured.URL == source.Name {
				every = configured.Every.Std()
				a.mentions, a.result.ETag, err = s.askURL(ctx, configured, source.ETag)
			}
		}
	}
	now := time.Now()
	a.result.At = now.Unix()
	for i := range a.mentions {
		a.mentions[i].At = now.Unix()
	}
	wait := service.Jitter(every, jitter)
	if err != nil {
		if a.result.Cause = dial.CauseOf(err); a.result.Cause == "" {
			a.result.Cause = dial.CauseReadTimeout
		}
		a.result.Ours = store.Ours(a.result.Cause)
		wait = waits.After(source.Attempts + 1)
		if a.result.Ours {
			wait = waits.After(1)
		}
	}
	a.result.NextDue = now.Add(wait).Unix() + 1
	s.log.DebugContext(ctx, "source asked", "class", string(source.Class), "name", source.Name,
		"cause", string(a.result.Cause), "mentions", len(a.mentions))
	return a
}

// request is one GET of a document.
type request struct {
	url     string
	circuit relay.URL
	etag    string
	most    int64
	// stay refuses redirects.
	stay bool
}

var errTooLarge = errors.New("document too large")

// get returns the body of an answer with status 200, and nil for one that says
// that nothing has changed. Errors are *dial.Error.
func (s *Service) get(ctx context.Context, r request) (body []byte, etag string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, "", &dial.Error{Cause: dial.CauseOther, Phase: dial.PhaseHandshake, Err: err}
	}
	req.Header.Set("Accept", "application/json")
	if r.etag != "" {
		req.Header.Set("If-None-Match", r.etag)
	}
	client := s.dialer.HTTPClient(r.circuit)
	if r.stay {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, r.etag, nil
	case http.StatusTooManyRequests:
		return nil, "", &dial.Error{Cause: dial.CauseRateLimited, Phase: dial.PhaseHandshake, Status: resp.StatusCode}
	default:
		return nil, "", &dial.Error{Cause: dial.CauseHTTPStatus, Phase: dial.PhaseHandshake, Status: resp.StatusCode}
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, r.most+1))
	if err == nil && int64(len(body)) > r.most {
		err = invalid(errTooLarge)
	}
	return body, resp.Header.Get("ETag"), err
}

// invalid is the error of a document that cannot be read.
func invalid(err error) error {
	return &dial.Error{Cause: dial.CauseDocument, Phase: dial.PhaseHandshake, Err: err}
}

// askURL reads a configured source.
func (s *Service) askURL(ctx context.Context, source Source, etag string) ([]store.Mention, string, error) {
	circuit, err := source.circuit(s.rules)
	if err != nil {
		return nil, "", &dial.Error{Cause: dial.CauseAddress, Phase: dial.PhaseResolve, Err: err}
	}
	body, tag, err := s.get(ctx, request{url: source.URL, circuit: circuit, etag: etag, most: maxSource})
	if err != nil || body == nil {
		return nil, tag, err
	}
	path, err := source.path()
	if err != nil {
		return nil, "", invalid(err)
	}
	var document any
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, "", invalid(err)
	}
	named := newNames(s.rules, hints.API)
	for _, node := range path.Select(document) {
		named.all(node)
	}
	return named.mentions, tag, nil
}

// names collects the relays that a document names, each once.
type names struct {
	rules    relay.Rules
	class    hints.Class
	seen     map[relay.URL]bool
	mentions []store.Mention
}

func newNames(rules relay.Rules, class hints.Class) *names {
	return &names{rules: rules, class: class, seen: map[relay.URL]bool{}}
}

// all reads a value and everything in it. Its depth is that of JSON that the
// standard library reads, which bounds it.
func (n *names) all(value any) {
	switch value := value.(type) {
	case string:
		n.text(value)
	case []any:
		for _, one := range value {
			n.all(one)
		}
	case map[string]any:
		for key, one := range value {
			n.text(key)
			n.all(one)
		}
	}
}

func (n *names) text(text string) {
	if len(n.mentions) >= maxNamed {
		return
	}
	u, err := n.rules.Parse(text)
	if err == nil {
		n.add(u)
		return
	}
	for _, u := range n.rules.ParseList(text) {
		n.add(u)
	}
}

func (n *names) add(u relay.URL) {
	if !n.seen[u] && len(n.mentions) < maxNamed {
		n.seen[u] = true
		n.mentions = append(n.mentions, store.Mention{URL: u, Class: n.class})
	}
}
