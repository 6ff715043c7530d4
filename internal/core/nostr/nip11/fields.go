package nip11

import (
	"strconv"
	"strings"

	"bigbrotr/internal/core/nostr"
)

// NIP-13 counts leading zero bits of an id; beyond this nobody can mine.
const absurdPoW = 64

func (d *decoder) document(v *value) {
	doc := &d.Document
	for i := range v.members {
		m := &v.members[i]
		if !d.field(m) {
			if m.repeated {
				d.find("", Repeated)
			}
			continue
		}
		doc.Known++
		if m.repeated {
			d.find(m.name, Repeated)
		}
	}
	if doc.Known == 0 {
		d.find("", NoFields)
	}
}

// field reads one top-level member and tells whether NIP-11 knows it.
func (d *decoder) field(m *member) bool {
	doc, v := &d.Document, &m.value
	switch m.name {
	case "name":
		doc.Name = d.text(m.name, v)
	case "description":
		doc.Description = d.text(m.name, v)
	case "banner":
		doc.Banner = d.url(m.name, v)
	case "icon":
		doc.Icon = d.url(m.name, v)
	case "pubkey":
		doc.PubKey = d.key(m.name, v)
	case "self":
		doc.Self = d.key(m.name, v)
	case "contact":
		doc.Contact = d.text(m.name, v)
	case "supported_nips":
		doc.SupportedNIPs = d.nips(m.name, v)
	case "software":
		doc.Software = d.url(m.name, v)
	case "version":
		doc.Version = d.text(m.name, v)
	case "terms_of_service":
		doc.TermsOfService = d.url(m.name, v)
	case "payments_url":
		doc.PaymentsURL = d.url(m.name, v)
	case "limitation":
		d.limitation(m.name, v)
	case "fees":
		d.fees(m.name, v)
	default:
		return d.legacyField(m)
	}
	return true
}

func (d *decoder) legacyField(m *member) bool {
	doc, v := &d.Document, &m.value
	switch m.name {
	case "posting_policy":
		doc.PostingPolicy = d.url(m.name, v)
	case "privacy_policy":
		doc.PrivacyPolicy = d.url(m.name, v)
	case "retention":
		doc.Retention = d.retention(m.name, v)
	case "relay_countries":
		doc.RelayCountries = d.texts(m.name, v)
	case "language_tags":
		doc.LanguageTags = d.texts(m.name, v)
	case "tags":
		doc.Tags = d.texts(m.name, v)
	default:
		return false
	}
	d.find(m.name, Legacy)
	return true
}

func (d *decoder) limitation(path string, v *value) {
	if !d.isObject(path, v) {
		return
	}
	l := &d.Limitation
	numbers := []struct {
		name   string
		to     **int64
		legacy bool
	}{
		{"max_message_length", &l.MaxMessageLength, false},
		{"max_subscriptions", &l.MaxSubscriptions, false},
		{"max_limit", &l.MaxLimit, false},
		{"default_limit", &l.DefaultLimit, false},
		{"max_subid_length", &l.MaxSubIDLength, false},
		{"max_event_tags", &l.MaxEventTags, false},
		{"max_content_length", &l.MaxContentLength, false},
		{"min_pow_difficulty", &l.MinPoWDifficulty, false},
		{"created_at_lower_limit", &l.CreatedAtLowerLimit, false},
		{"created_at_upper_limit", &l.CreatedAtUpperLimit, false},
		{"max_filters", &l.MaxFilters, true},
		{"min_prefix", &l.MinPrefix, true},
	}
	for _, n := range numbers {
		m := d.member(path, v, n.name)
		if m == nil {
			continue
		}
		*n.to = d.count(path+"."+n.name, &m.value)
		if n.legacy {
			d.find(path+"."+n.name, Legacy)
		}
	}
	if p := l.MinPoWDifficulty; p != nil && *p > absurdPoW {
		d.find(path+".min_pow_difficulty", Absurd)
	}
	flags := []struct {
		name string
		to   **bool
	}{
		{"auth_required", &l.AuthRequired},
		{"payment_required", &l.PaymentRequired},
		{"restricted_writes", &l.RestrictedWrites},
	}
	for _, f := range flags {
		if m := d.member(path, v, f.name); m != nil {
			*f.to = d.flag(path+"."+f.name, &m.value)
		}
	}
}

func (d *decoder) fees(path string, v *value) {
	if !d.isObject(path, v) {
		return
	}
	groups := []struct {
		name string
		to   *[]Fee
	}{
		{"admission", &d.Fees.Admission},
		{"subscription", &d.Fees.Subscription},
		{"publication", &d.Fees.Publication},
	}
	for _, g := range groups {
		m := d.member(path, v, g.name)
		if m == nil {
			continue
		}
		group := path + "." + g.name
		for i, item := range d.list(group, &m.value) {
			if fee, ok := d.fee(index(group, i), &item); ok {
				*g.to = append(*g.to, fee)
			}
		}
	}
}

func (d *decoder) fee(path string, v *value) (fee Fee, ok bool) {
	if !d.isObject(path, v) {
		return Fee{}, false
	}
	if m := d.member(path, v, "amount"); m != nil {
		fee.Amount = d.amount(path+".amount", &m.value)
	}
	if m := d.member(path, v, "unit"); m != nil {
		fee.Unit = d.text(path+".unit", &m.value)
	}
	if m := d.member(path, v, "period"); m != nil {
		fee.Period = d.count(path+".period", &m.value)
	}
	if m := d.member(path, v, "kinds"); m != nil {
		fee.Kinds = d.kinds(path+".kinds", &m.value)
	}
	return fee, true
}

func (d *decoder) retention(path string, v *value) []Retention {
	var out []Retention
	for i, item := range d.list(path, v) {
		path := index(path, i)
		if !d.isObject(path, &item) {
			continue
		}
		var r Retention
		if m := d.member(path, &item, "kinds"); m != nil {
			r.Kinds = d.kinds(path+".kinds", &m.value)
		}
		// A null time meant "for ever" here, and is no problem.
		if m := d.member(path, &item, "time"); m != nil && m.value.kind != null {
			r.Time = d.count(path+".time", &m.value)
		}
		if m := d.member(path, &item, "count"); m != nil && m.value.kind != null {
			r.Count = d.count(path+".count", &m.value)
		}
		out = append(out, r)
	}
	return out
}

// kinds reads [0, 1, [5, 7]].
func (d *decoder) kinds(path string, v *value) []KindRange {
	var out []KindRange
	for i, item := range d.list(path, v) {
		path := index(path, i)
		if item.kind == array && len(item.items) == 2 {
			first, last := d.count(path, &item.items[0]), d.count(path, &item.items[1])
			switch {
			case first == nil || last == nil:
			case *first > *last:
				d.find(path, OutOfRange)
			default:
				out = append(out, KindRange{nostr.Kind(*first), nostr.Kind(*last)})
			}
			continue
		}
		if n := d.count(path, &item); n != nil {
			out = append(out, KindRange{nostr.Kind(*n), nostr.Kind(*n)})
		}
	}
	return out
}

func (d *decoder) nips(path string, v *value) []string {
	var out []string
	seen := make(map[string]bool)
	for i, item := range d.list(path, v) {
		path := index(path, i)
		var nip string
		switch item.kind {
		case number:
			n, ok := integer(item.text)
			if !ok || n < 0 || n > 99_999 {
				d.find(path, OutOfRange)
				continue
			}
			nip = strconv.FormatInt(n, 10)
		case text:
			var ok bool
			if nip, ok = parseNIP(item.text); !ok {
				d.find(path, WrongType)
				continue
			}
			d.find(path, Coerced)
		case null:
			d.find(path, Null)
			continue
		default:
			d.find(path, WrongType)
			continue
		}
		if seen[nip] {
			d.find(path, Repeated)
			continue
		}
		seen[nip] = true
		out = append(out, nip)
	}
	return out
}

// parseNIP reads the name of a NIP written as text. NIPs are numbered in
// hexadecimal by now ("C7", "7D"), and a few relays add letters of their own
// ("11a").
func parseNIP(s string) (string, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	s = strings.TrimPrefix(s, "NIP-")
	if s == "" || len(s) > 5 {
		return "", false
	}
	n := digits(s)
	if n < len(s) && len(s) > 3 {
		return "", false
	}
	for i := n; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return "", false
		}
	}
	if n == len(s) {
		if s = strings.TrimLeft(s, "0"); s == "" {
			s = "0"
		}
	}
	return s, true
}
