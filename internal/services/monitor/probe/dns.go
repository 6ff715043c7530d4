package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
)

// Names is the document of the probe "dns". Lists are sorted.
type Names struct {
	A     []string            `json:"a,omitempty"`
	AAAA  []string            `json:"aaaa,omitempty"`
	CNAME []string            `json:"cname,omitempty"` // in the order in which they lead on
	NS    []string            `json:"ns,omitempty"`    // of the domain that was registered
	PTR   map[string][]string `json:"ptr,omitempty"`   // by address
}

const (
	queryTime  = 3 * time.Second
	familyTime = 5 * time.Second
	maxRecords = 16 // of one name and type
	maxPTR     = 4  // addresses whose names are asked for
	systemFile = "/etc/resolv.conf"
)

// errNoServer means that the machine names no name server.
var errNoServer = errors.New("no name server")

// names succeeds when the name leads to an address. It asks the name server for
// the records themselves, which resolving hides, and tries the address family
// that open did not use.
func names(ctx context.Context, t *Target) (Result, bool) {
	host := t.URL.Hostname()
	if t.URL.Network() != relay.Clearnet {
		return Result{}, false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return Result{}, false
	}
	q, err := newQuestions(t.Dialer.NameServer())
	if err != nil {
		return Result{}, false
	}
	var doc Names
	var a, aaaa, ns records
	domain := host
	if d, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		domain = d
	}
	var wg sync.WaitGroup
	wg.Go(func() { a = q.ask(ctx, host, dns.TypeA) })
	wg.Go(func() { aaaa = q.ask(ctx, host, dns.TypeAAAA) })
	wg.Go(func() { ns = q.ask(ctx, domain, dns.TypeNS) })
	wg.Wait()
	doc.A, doc.AAAA, doc.NS = a.values, aaaa.values, ns.values
	if doc.CNAME = a.aliases; len(doc.CNAME) == 0 {
		doc.CNAME = aaaa.aliases
	}
	if len(doc.A)+len(doc.AAAA) == 0 {
		return Result{Cause: worse(a.cause, aaaa.cause)}, true
	}
	doc.PTR = q.reverse(ctx, slices.Concat(doc.A, doc.AAAA))
	r := Result{OK: true, Document: pack(doc), Values: map[string]float64{"ttl_s": float64(shorter(a, aaaa))}}
	t.families(ctx, doc, r.Values)
	return r, true
}

// worse says why a name has no address of either family. A name that exists
// without addresses counts as one that does not.
func worse(a, b dial.Cause) dial.Cause {
	for _, cause := range []dial.Cause{dial.CauseServFail, dial.CauseDNSTimeout} {
		if a == cause || b == cause {
			return cause
		}
	}
	return dial.CauseNXDomain
}

func shorter(a, b records) uint32 {
	switch {
	case len(a.values) == 0:
		return b.ttl
	case len(b.values) == 0:
		return a.ttl
	}
	return min(a.ttl, b.ttl)
}

// families finds out by which kind of address the relay is reached: open has
// shown one, the other gets a connection of its own. 1 means yes; what was not
// tried is absent.
func (t *Target) families(ctx context.Context, doc Names, values map[string]float64) {
	ctx, cancel := context.WithTimeout(ctx, familyTime)
	defer cancel()
	for _, family := range []struct {
		value string
		addrs []string
		four  bool
	}{{"ipv4", doc.A, true}, {"ipv6", doc.AAAA, false}} {
		if len(family.addrs) == 0 {
			continue
		}
		if used := t.trace.Addr.Addr(); used.IsValid() && used.Is4() == family.four {
			values[family.value] = 1
			continue
		}
		addr, err := netip.ParseAddr(family.addrs[0])
		if err != nil {
			continue
		}
		conn, err := t.Dialer.To(addr).Dial(ctx, t.URL)
		switch cause := dial.CauseOf(err); {
		case err == nil:
			conn.Abort()
			values[family.value] = 1
		case cause == dial.CauseBusy || cause == dial.CauseSelf || cause == "":
			// Nothing was learned.
		default:
			values[family.value] = 0
		}
	}
}

// questions asks name servers.
type questions struct {
	servers []string // host:port
	client  dns.Client
}

// newQuestions takes the server of the configuration, or those of the system.
func newQuestions(server string) (*questions, error) {
	q := &questions{client: dns.Client{Timeout: queryTime}}
	if server != "" {
		q.servers = []string{server}
		return q, nil
	}
	file, err := os.Open(systemFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	system, err := dns.ClientConfigFromReader(file)
	if err != nil {
		return nil, err
	}
	if len(system.Servers) == 0 {
		return nil, errNoServer
	}
	const enough = 2
	for _, s := range system.Servers[:min(len(system.Servers), enough)] {
		q.servers = append(q.servers, net.JoinHostPort(s, system.Port))
	}
	return q, nil
}

// records are what one question brought.
type records struct {
	values  []string // sorted
	aliases []string
	ttl     uint32     // the shortest
	cause   dial.Cause // why there are none
}

// ask puts one question, to the next server when one does not answer.
func (q *questions) ask(ctx context.Context, name string, kind uint16) records {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	m.SetEdns0(dns.DefaultMsgSize, false)
	out := records{cause: dial.CauseDNSTimeout}
	for _, server := range q.servers {
		resp, _, err := q.client.ExchangeContext(ctx, m, server)
		if err != nil {
			continue
		}
		switch resp.Rcode {
		case dns.RcodeSuccess:
			return collect(resp.Answer, kind)
		case dns.RcodeNameError:
			return records{cause: dial.CauseNXDomain}
		}
		out.cause = dial.CauseServFail
	}
	return out
}

func collect(answer []dns.RR, kind uint16) records {
	out := records{cause: dial.CauseNXDomain}
	for _, rr := range answer[:min(len(answer), 2*maxRecords)] {
		value := ""
		switch rr := rr.(type) {
		case *dns.CNAME:
			out.aliases = append(out.aliases, plain(rr.Target))
			continue
		case *dns.A:
			value = rr.A.String()
		case *dns.AAAA:
			value = rr.AAAA.String()
		case *dns.NS:
			value = plain(rr.Ns)
		case *dns.PTR:
			value = plain(rr.Ptr)
		case *dns.TXT:
			value = word(strings.Join(rr.Txt, ""))
		}
		if rr.Header().Rrtype != kind || len(out.values) == maxRecords {
			continue
		}
		if len(out.values) == 0 || rr.Header().Ttl < out.ttl {
			out.ttl = rr.Header().Ttl
		}
		out.values, out.cause = append(out.values, value), ""
	}
	slices.Sort(out.values)
	out.values = slices.Compact(out.values)
	return out
}

func plain(name string) string { return word(strings.ToLower(strings.TrimSuffix(name, "."))) }

// reverse asks for the names of addresses.
func (q *questions) reverse(ctx context.Context, addrs []string) map[string][]string {
	addrs = addrs[:min(len(addrs), maxPTR)]
	found := make([]records, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		if name, err := dns.ReverseAddr(addr); err == nil {
			wg.Go(func() { found[i] = q.ask(ctx, name, dns.TypePTR) })
		}
	}
	wg.Wait()
	out := map[string][]string{}
	for i, addr := range addrs {
		if len(found[i].values) > 0 {
			out[addr] = found[i].values
		}
	}
	return out
}
