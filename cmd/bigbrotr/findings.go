package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/services/monitor/probe"
)

// findings say what a probe found beyond numbers, a line each. Remote text is
// quoted: it must not steer the terminal.
func findings(name string, document json.RawMessage) []string {
	switch name {
	case "tls":
		return describe(document, certificateLines)
	case "nip11":
		info, err := nip11.Parse(document)
		if err != nil {
			return nil
		}
		return []string{fmt.Sprintf("name %q, software %q, version %q", info.Name, info.Software, info.Version)}
	case "schema":
		return describe(document, func(s probe.Schema) (lines []string) {
			for _, f := range s.Findings {
				lines = append(lines, fmt.Sprintf("%q: %s", f.Field, f.Problem))
			}
			return lines
		})
	case "http":
		return describe(document, webLines)
	case "dns":
		return describe(document, nameLines)
	case "geo":
		return describe(document, placeLines)
	case "nips":
		return describe(document, func(c probe.Claims) (lines []string) {
			for _, claim := range c.Claims {
				line := fmt.Sprintf("%s %s: %s", claim.Name, claim.Claimed, claim.Verdict)
				if claim.Measured != "" {
					line += ", measured " + claim.Measured
				}
				lines = append(lines, line)
			}
			return lines
		})
	}
	return nil
}

// describe decodes a document of ours.
func describe[T any](document json.RawMessage, lines func(T) []string) []string {
	var v T
	if json.Unmarshal(document, &v) != nil {
		return nil
	}
	return lines(v)
}

func certificateLines(c probe.Certificate) []string {
	lines := []string{
		fmt.Sprintf("%s, by %q, from %s to %s", c.Key, c.Issuer, dateOf(c.NotBefore), dateOf(c.NotAfter)),
		fmt.Sprintf("names %q", c.Names),
		"fingerprint " + c.Fingerprint,
	}
	if c.Protocol != "" {
		lines = append(lines, c.Protocol+", "+c.Cipher)
	}
	for _, bug := range c.Problems {
		lines = append(lines, string(bug))
	}
	return lines
}

func dateOf(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateOnly) }

func webLines(w probe.Web) (lines []string) {
	for _, field := range []struct{ name, value string }{
		{"server", w.Server}, {"powered by", w.PoweredBy}, {"onion location", w.OnionLocation},
	} {
		if field.value != "" {
			lines = append(lines, fmt.Sprintf("%s %q", field.name, field.value))
		}
	}
	for _, to := range w.Redirects {
		lines = append(lines, fmt.Sprintf("redirect to %q", to))
	}
	for _, bug := range w.Findings {
		lines = append(lines, string(bug))
	}
	return lines
}

func nameLines(n probe.Names) (lines []string) {
	for _, records := range []struct {
		kind   string
		values []string
	}{{"A", n.A}, {"AAAA", n.AAAA}, {"CNAME", n.CNAME}, {"NS", n.NS}} {
		if len(records.values) > 0 {
			lines = append(lines, fmt.Sprintf("%s %q", records.kind, records.values))
		}
	}
	return lines
}

func placeLines(p probe.Place) []string {
	var words []string
	switch {
	case p.Anycast:
		words = append(words, "an address of many places (anycast or CDN)")
	case p.Country != "":
		words = append(words, fmt.Sprintf("country %q", p.Country))
	}
	if p.City != "" {
		words = append(words, fmt.Sprintf("city %q", p.City))
	}
	if p.ASN != 0 {
		words = append(words, fmt.Sprintf("AS%d %q, %s", p.ASN, p.Org, p.Prefix))
	}
	if len(words) == 0 {
		return nil
	}
	return []string{p.Addr + ": " + strings.Join(words, ", ")}
}
