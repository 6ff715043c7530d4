package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"github.com/oschwald/maxminddb-golang/v2"
	"github.com/phuslu/iploc"

	"bigbrotr/internal/core/relay"
)

// Place is the document of the probe "geo": where the address is that open went
// to, as far as it is known.
type Place struct {
	Addr string `json:"addr"`
	// Anycast tells that the address is that of a network with many places,
	// such as a CDN. Then nothing is said of where it is.
	Anycast   bool      `json:"anycast"`
	Country   string    `json:"country,omitempty"` // ISO 3166-1, two letters
	City      string    `json:"city,omitempty"`
	Lat       *float64  `json:"lat,omitempty"`
	Lon       *float64  `json:"lon,omitempty"`
	Precision Precision `json:"precision"`
	Source    string    `json:"source,omitempty"` // "mmdb", "iploc"
	ASN       uint32    `json:"asn,omitempty"`
	Org       string    `json:"org,omitempty"`
	Prefix    string    `json:"prefix,omitempty"`
	ASNSource string    `json:"asn_source,omitempty"` // "mmdb", "cymru"
}

// Precision is how well a place is known.
type Precision string

// The precisions.
const (
	PreciseNone    Precision = "none"
	PreciseCountry Precision = "country"
	PreciseCity    Precision = "city"
)

// edges are networks whose addresses are at many places at once: what a data
// set says of where they are is not where the relay is.
var edges = []uint32{
	13335, 209242, // Cloudflare
	54113,        // Fastly
	16625, 20940, // Akamai
	19551, // Imperva
	60068, // CDN77
	30148, // Sucuri
	59796, // StormWall
	57724, // DDoS-Guard
}

// Places knows where addresses are. It is safe for concurrent use.
type Places struct {
	city, asn *maxminddb.Reader // nil: no such file
	cymru     bool

	mu    sync.Mutex
	known map[netip.Prefix]network
}

// network is who runs a range of addresses.
type network struct {
	asn    uint32
	org    string
	prefix netip.Prefix
	source string
}

// OpenPlaces reads the files of an operator, either of which may be empty. With
// cymru, numbers of networks that no file knows are asked of Team Cymru's DNS
// zone. Nothing is downloaded.
func OpenPlaces(city, asn string, cymru bool) (*Places, error) {
	p := &Places{cymru: cymru, known: map[netip.Prefix]network{}}
	for _, file := range []struct {
		path string
		to   **maxminddb.Reader
	}{{city, &p.city}, {asn, &p.asn}} {
		if file.path == "" {
			continue
		}
		db, err := maxminddb.Open(file.path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", file.path, err), p.Close())
		}
		*file.to = db
	}
	return p, nil
}

// Close gives the files back.
func (p *Places) Close() error {
	var err error
	for _, db := range []*maxminddb.Reader{p.city, p.asn} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// cityRecord is what is read of an operator's file: the fields that the common
// data sets share.
type cityRecord struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	City struct {
		Names map[string]string `maxminddb:"names"`
	} `maxminddb:"city"`
	Location struct {
		Lat *float64 `maxminddb:"latitude"`
		Lon *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	Traits struct {
		Anycast bool `maxminddb:"is_anycast"`
	} `maxminddb:"traits"`
}

type asnRecord struct {
	Number uint32 `maxminddb:"autonomous_system_number"`
	Org    string `maxminddb:"autonomous_system_organization"`
}

// geo says where the relay is and whose network that is. It fails never: what
// is not known is absent.
func geo(ctx context.Context, t *Target) (Result, bool) {
	addr := t.trace.Addr.Addr()
	if t.URL.Network() != relay.Clearnet || t.Places == nil || !addr.IsValid() || !(relay.Rules{}).AllowsAddr(addr) {
		return Result{}, false
	}
	place := t.Places.Find(ctx, addr, t.Dialer.NameServer())
	if h := t.header(); h.Get("Cf-Ray") != "" || strings.EqualFold(h.Get("Server"), "cloudflare") {
		place.edge()
	}
	return Result{OK: true, Document: pack(place)}, true
}

// Find says where an address is. It asks server, or the system's name servers,
// for what no file knows.
func (p *Places) Find(ctx context.Context, addr netip.Addr, server string) Place {
	place := Place{Addr: addr.String(), Precision: PreciseNone}
	n := p.network(ctx, addr, server)
	place.ASN, place.Org, place.ASNSource = n.asn, word(n.org), n.source
	if n.prefix.IsValid() {
		place.Prefix = n.prefix.String()
	}
	if p.city != nil {
		var c cityRecord
		if p.city.Lookup(addr).Decode(&c) == nil && c.Country.Code != "" {
			place.Country, place.City, place.Source = word(c.Country.Code), word(c.City.Names["en"]), "mmdb"
			place.Precision = PreciseCountry
			if place.City != "" && c.Location.Lat != nil && c.Location.Lon != nil {
				place.Lat, place.Lon, place.Precision = c.Location.Lat, c.Location.Lon, PreciseCity
			}
			place.Anycast = c.Traits.Anycast
		}
	}
	if place.Country == "" {
		if code := iploc.IPCountry(addr); len(code) == 2 && code != "ZZ" {
			place.Country, place.Precision, place.Source = code, PreciseCountry, "iploc"
		}
	}
	if place.Anycast || slices.Contains(edges, n.asn) {
		place.edge()
	}
	return place
}

// edge takes back what was said of where an address is.
func (p *Place) edge() {
	p.Anycast, p.Precision = true, PreciseNone
	p.Country, p.City, p.Lat, p.Lon, p.Source = "", "", nil, nil, ""
}

func (p *Places) network(ctx context.Context, addr netip.Addr, server string) network {
	if p.asn != nil {
		var r asnRecord
		found := p.asn.Lookup(addr)
		if found.Decode(&r) == nil && r.Number != 0 {
			return network{r.Number, r.Org, found.Prefix(), "mmdb"}
		}
	}
	if !p.cymru {
		return network{}
	}
	// Networks are announced in blocks of at least this size.
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	block, err := addr.Prefix(bits)
	if err != nil {
		return network{}
	}
	p.mu.Lock()
	n, ok := p.known[block]
	p.mu.Unlock()
	if ok {
		return n
	}
	n, ok = cymru(ctx, addr, server)
	if !ok {
		return network{}
	}
	const most = 10_000
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= most {
		clear(p.known)
	}
	p.known[block] = n
	return n
}

// cymru asks Team Cymru's zone, whose answers read "15169 | 8.8.8.0/24 | US |
// arin | 2023-12-28" and "15169 | US | arin | 2000-03-30 | GOOGLE, US". It
// reports false when there was no answer.
func cymru(ctx context.Context, addr netip.Addr, server string) (network, bool) {
	q, err := newQuestions(server)
	if err != nil {
		return network{}, false
	}
	origin := q.ask(ctx, cymruName(addr), dns.TypeTXT)
	if len(origin.values) == 0 {
		return network{}, false
	}
	n, ok := parseOrigin(origin.values[0], addr)
	if !ok {
		return network{}, false
	}
	who := q.ask(ctx, fmt.Sprintf("AS%d.asn.cymru.com", n.asn), dns.TypeTXT)
	if len(who.values) > 0 {
		n.org = parseHolder(who.values[0])
	}
	return n, true
}

// parseOrigin reads the answer about an address.
func parseOrigin(text string, addr netip.Addr) (network, bool) {
	origins, rest, _ := strings.Cut(text, "|")
	// Of several origins, which are written with blanks between, the first.
	first, _, _ := strings.Cut(strings.TrimSpace(origins), " ")
	asn, err := strconv.ParseUint(first, 10, 32)
	if err != nil || asn == 0 {
		return network{}, false
	}
	n := network{asn: uint32(asn), source: "cymru"}
	block, _, _ := strings.Cut(rest, "|")
	if prefix, err := netip.ParsePrefix(strings.TrimSpace(block)); err == nil && prefix.Contains(addr) {
		n.prefix = prefix.Masked()
	}
	return n, true
}

// parseHolder reads the answer about a network: whose it is.
func parseHolder(text string) string { return strings.TrimSpace(text[strings.LastIndex(text, "|")+1:]) }

// cymruName is the name at which the origin of an address is asked for.
func cymruName(addr netip.Addr) string {
	var b strings.Builder
	if addr.Is4() {
		for _, n := range slices.Backward(addr.AsSlice()) {
			fmt.Fprintf(&b, "%d.", n)
		}
		return b.String() + "origin.asn.cymru.com"
	}
	for _, n := range slices.Backward(addr.AsSlice()) {
		fmt.Fprintf(&b, "%x.%x.", n&0xf, n>>4)
	}
	return b.String() + "origin6.asn.cymru.com"
}
