package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Names is a name server on a loopback address whose answers are scripted. A
// name it was not told of does not exist.
type Names struct {
	addr   netip.AddrPort
	server *dns.Server
	done   sync.WaitGroup

	mu    sync.Mutex
	zone  map[string][]Answer
	asked map[string]int // by name and type
	stop  chan struct{}
}

// Answer is what a name server says of a name. The zero value is a name without
// records.
type Answer struct {
	// Records are in the form of a zone file without the owner: "60 A
	// 127.0.0.1". A CNAME is followed to the records of its target.
	Records []string
	// ServFail answers with a failure.
	ServFail bool
	// Silent never answers.
	Silent bool
	// Wait passes before the answer.
	Wait time.Duration
}

// NewNames starts a name server.
func NewNames() (*Names, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, fmt.Errorf("start name server: %w", err)
	}
	n := &Names{
		addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), // of no other type
		zone: map[string][]Answer{}, asked: map[string]int{}, stop: make(chan struct{}),
	}
	started := make(chan struct{})
	n.server = &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(n.serve), NotifyStartedFunc: func() { close(started) }}
	n.done.Go(func() { _ = n.server.ActivateAndServe() }) // ends with Close
	<-started
	return n, nil
}

// Addr is where the name server stands.
func (n *Names) Addr() netip.AddrPort { return n.addr }

// Set says what is answered to questions of a name and type ("A"): each
// question takes the next of turns, and the last one stays.
func (n *Names) Set(name, kind string, turns ...Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zone[key(name, kind)] = turns
}

// Asked is how often a name and type was asked for.
func (n *Names) Asked(name, kind string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[key(name, kind)]
}

// Close stops the name server and waits until nothing of it runs.
func (n *Names) Close() error {
	close(n.stop)
	err := n.server.Shutdown()
	n.done.Wait()
	if err != nil {
		return fmt.Errorf("stop name server: %w", err)
	}
	return nil
}

func key(name, kind string) string { return strings.ToLower(dns.Fqdn(name)) + " " + kind }

// next takes the answer whose turn it is. Known tells whether the name exists.
func (n *Names) next(q dns.Question) (a Answer, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	kind := dns.TypeToString[q.Qtype]
	k := key(q.Name, kind)
	n.asked[k]++
	turns, ok := n.zone[k]
	if !ok {
		if turns, ok = n.zone[key(q.Name, "CNAME")]; !ok {
			return Answer{}, n.hasName(q.Name)
		}
		k = key(q.Name, "CNAME")
	}
	if len(turns) > 1 {
		n.zone[k] = turns[1:]
	}
	return turns[0], true
}

func (n *Names) hasName(name string) bool {
	prefix := key(name, "")
	for k := range n.zone {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// maxChain bounds a chain of CNAMEs.
const maxChain = 8

func (n *Names) serve(w dns.ResponseWriter, req *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(req)
	m.RecursionAvailable = true
	if len(req.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		_ = w.WriteMsg(m)
		return
	}
	q := req.Question[0]
	for range maxChain {
		a, known := n.next(q)
		if a.Wait > 0 {
			select {
			case <-time.After(a.Wait):
			case <-n.stop:
				return
			}
		}
		switch {
		case a.Silent:
			return
		case a.ServFail:
			m.Rcode = dns.RcodeServerFailure
		case !known:
			m.Rcode = dns.RcodeNameError
		}
		target, err := appendRecords(m, q.Name, a.Records)
		if err != nil {
			m.Rcode = dns.RcodeServerFailure
		}
		if target == "" || q.Qtype == dns.TypeCNAME {
			break
		}
		q.Name = target
	}
	_ = w.WriteMsg(m) // a client that has gone asks no more
}

// appendRecords adds the records of a name and returns where a CNAME leads.
func appendRecords(m *dns.Msg, name string, records []string) (target string, err error) {
	for _, text := range records {
		rr, parse := dns.NewRR(name + " " + text)
		if parse != nil {
			err = errors.Join(err, parse)
			continue
		}
		if c, ok := rr.(*dns.CNAME); ok {
			target = c.Target
		}
		m.Answer = append(m.Answer, rr)
	}
	return target, err
}
