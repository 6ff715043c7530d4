package synchronizer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// Filter is a filter of the configuration, written as in NIP-01:
// {"kinds":[0,3,10002]}. What it may name are authors, kinds, tags and a time.
type Filter struct{ nostr.Filter }

// MarshalText returns the filter as JSON.
func (f Filter) MarshalText() ([]byte, error) { return f.AppendJSON(nil), nil }

// UnmarshalText reads a filter.
func (f *Filter) UnmarshalText(b []byte) error {
	parsed, err := nostr.ParseFilter(b)
	switch {
	case err != nil:
		return fmt.Errorf(`not a filter of NIP-01 (%w); write one such as '{"kinds":[0,3]}'`, err)
	case len(parsed.IDs) > 0:
		return errors.New("it names ids, which are no set to be complete of; name authors, kinds or tags")
	case parsed.Limit != nil:
		return errors.New("it has a limit; the limit of pages is a key of its own")
	case parsed.Search != "":
		return errors.New("it has a search, whose results are never known to be complete; name authors, kinds or tags")
	case parsed.Since != nil && *parsed.Since < 0 || parsed.Until != nil && *parsed.Until < 0:
		return errors.New("its time begins below 0; write Unix seconds")
	case parsed.Since != nil && parsed.Until != nil && *parsed.Since > *parsed.Until:
		return errors.New("its since is after its until; write the earlier one as since")
	}
	f.Filter = parsed
	return nil
}

// RelayConfig is what is different for one relay. A key that is not set, or 0, is
// as for all relays.
type RelayConfig struct {
	// URL is the relay, in any form that leads to it.
	URL string `yaml:"url"`
	// Off leaves the relay alone: it is neither read nor followed live, as its
	// operator may have asked for.
	Off bool `yaml:"off"`
	// Filters take the place of those for all relays.
	Filters []Filter `yaml:"filters"`
	// Limit is the number of events asked for in a page.
	Limit int `yaml:"limit"`
	// PerSecond is the number of requests in a second.
	PerSecond int `yaml:"per_second"`
	// DailyBytes bounds what visits receive in a UTC day.
	DailyBytes config.Bytes `yaml:"daily_bytes"`
}

// Bounds of what a configuration may ask for.
const (
	minLimit, maxLimit = 10, 5000
	maxPerSecond       = 1000
	maxFilters         = 20
)

// terms is what holds for one relay.
func (c Config) terms(u relay.URL) RelayConfig {
	var own RelayConfig
	for _, r := range c.Relays {
		if parsed, err := anyRelay.Parse(r.URL); err == nil && parsed == u {
			own = r
		}
	}
	own.Limit = cmp.Or(own.Limit, c.Limit)
	own.PerSecond = cmp.Or(own.PerSecond, c.PerSecond)
	own.DailyBytes = cmp.Or(own.DailyBytes, c.DailyBytes)
	if len(own.Filters) == 0 {
		own.Filters = c.Filters
	}
	return own
}

// anyRelay reads every URL: what may be dialled is the dialer's business.
var anyRelay = relay.Rules{AllowLocal: true}

// live are the filters of what arrives.
func (r RelayConfig) live() []nostr.Filter {
	list := make([]nostr.Filter, len(r.Filters))
	for i, f := range r.Filters {
		list[i] = f.Filter
	}
	return list
}

// validateTerms reports filters and relays that cannot work.
func (c Config) validateTerms(check *config.Check) {
	if n := len(c.Filters); n == 0 || n > maxFilters {
		check.Add("filters", fmt.Sprintf("has %d filters", n), fmt.Sprintf("write 1 to %d, or remove the key for all events", maxFilters))
	}
	seen := map[relay.URL]int{}
	for i, r := range c.Relays {
		key := func(name string) string { return fmt.Sprintf("relays[%d].%s", i, name) }
		u, err := anyRelay.Parse(r.URL)
		if err != nil {
			check.Add(key("url"), "is not the URL of a relay", "write one such as wss://relay.example.com")
		} else if first, ok := seen[u]; ok {
			check.Add(key("url"), fmt.Sprintf("names the relay of relays[%d] again", first), "put both together")
		} else {
			seen[u] = i
		}
		if r.Limit != 0 {
			config.InRange(check, key("limit"), r.Limit, minLimit, maxLimit)
		}
		if r.PerSecond != 0 {
			config.InRange(check, key("per_second"), r.PerSecond, 1, maxPerSecond)
		}
		config.InRange(check, key("daily_bytes"), r.DailyBytes, 0, 1<<50)
		if n := len(r.Filters); n > maxFilters {
			check.Add(key("filters"), fmt.Sprintf("has %d filters", n), fmt.Sprintf("write at most %d", maxFilters))
		}
	}
}

// narrow reports whether a filter asks for a part of the events only.
func narrow(f *nostr.Filter) bool {
	return len(f.IDs)+len(f.Authors)+len(f.Kinds)+len(f.Tags) > 0 || f.Search != ""
}

// forEveryone reports whether a filter names kinds that are for everyone, and no
// others.
func forEveryone(kinds []nostr.Kind) bool {
	return len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k nostr.Kind) bool { return slices.Contains(privateKinds, k) })
}
