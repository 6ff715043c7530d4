// Package simnet is a network of scripted relays whose truth is known: real
// TCP and WebSockets on loopback addresses, validly signed events shaped like
// those of the real network, every fault that relays were seen to have, and an
// oracle that compares an archive with what the relays would have shown. Tests,
// benchmarks and the demo run against it. It keeps everything in memory and
// knows no store but for the words of its records.
package simnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"bigbrotr/internal/core/relay"
)

// Network is a set of relays. Each has an address of its own in 127/8, so that
// budgets per address treat them as they treat real relays; where the system
// has only 127.0.0.1, each has a port of its own.
type Network struct {
	seed  uint64
	pipes *pipes // nil: the relays listen on sockets

	mu     sync.Mutex
	block  int // third byte of the addresses, -1 before the first relay
	next   int // fourth byte of the next address
	relays []*Relay
	dead   []relay.URL
}

// port is where every simulated relay listens.
const port = 7447

// New returns an empty network. The seed decides about addresses (as far as
// they are free), about faults that strike by chance and about who gets what
// from Spread.
func New(seed uint64) *Network { return &Network{seed: seed, block: -1, next: 1} }

// AddRelay starts a relay that holds nothing yet.
func (n *Network) AddRelay(b Behaviour) (*Relay, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ln, err := n.listen()
	if err != nil {
		return nil, fmt.Errorf("add relay: %w", err)
	}
	addr := addrOf(ln)
	url, err := localURL(addr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("add relay: %w", err), ln.Close())
	}
	r := &Relay{url: url, addr: addr, listen: n.listenAt, seed: n.seed<<16 + uint64(len(n.relays))<<8}
	r.SetBehaviour(b)
	r.serve(ln)
	n.relays = append(n.relays, r)
	return r, nil
}

// AddDead returns the URL of a relay at which nothing answers.
func (n *Network) AddDead() (relay.URL, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ln, err := n.listen()
	if err != nil {
		return relay.URL{}, fmt.Errorf("add dead relay: %w", err)
	}
	addr := addrOf(ln)
	if err := ln.Close(); err != nil {
		return relay.URL{}, fmt.Errorf("add dead relay: %w", err)
	}
	url, err := localURL(addr)
	if err != nil {
		return relay.URL{}, fmt.Errorf("add dead relay: %w", err)
	}
	n.dead = append(n.dead, url)
	return url, nil
}

func localURL(addr netip.AddrPort) (relay.URL, error) {
	return relay.Rules{AllowLocal: true}.Parse("ws://" + addr.String())
}

func (n *Network) listenAt(addr netip.AddrPort) (net.Listener, error) {
	if n.pipes != nil {
		return n.pipes.listen(addr)
	}
	return net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
}

func addrOf(ln net.Listener) netip.AddrPort {
	return ln.Addr().(*net.TCPAddr).AddrPort() // of no other type
}

// listen takes the next address. The first relay looks for a block in which
// nobody else is, so that networks of several processes do not meet.
func (n *Network) listen() (net.Listener, error) {
	const first, blocks, perBlock = 32, 256, 250
	second := first + byte(n.seed%64)
	try := func(block int) (net.Listener, error) {
		addr := netip.AddrFrom4([4]byte{127, second, byte(block), byte(n.next)})
		return n.listenAt(netip.AddrPortFrom(addr, port))
	}
	var ln net.Listener
	var err error
	switch {
	case n.next > perBlock:
		return nil, fmt.Errorf("more than %d relays", perBlock)
	case n.block >= 0:
		ln, err = try(n.block)
	default:
		for block := range blocks {
			if ln, err = try(block); !errors.Is(err, syscall.EADDRINUSE) {
				n.block = block
				break
			}
		}
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		ln, err = n.listenAt(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
	}
	n.next++
	return ln, err
}

// Relays returns the relays in the order in which they were added.
func (n *Network) Relays() []*Relay {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Relay(nil), n.relays...)
}

// URLs returns the URLs of all relays, dead ones last.
func (n *Network) URLs() []relay.URL {
	n.mu.Lock()
	defer n.mu.Unlock()
	urls := make([]relay.URL, 0, len(n.relays)+len(n.dead))
	for _, r := range n.relays {
		urls = append(urls, r.url)
	}
	return append(urls, n.dead...)
}

// Spread gives every event to some of the relays, on average copies of them,
// as the real network does: four in ten events are on one relay only, and the
// first relays get most.
func (n *Network) Spread(events []*Event, copies float64) {
	relays := n.Relays()
	const alone = 0.42
	rng := rand.New(rand.NewPCG(n.seed, uint64(len(events))))
	weights := make([]float64, len(relays))
	for i := range weights {
		weights[i] = 1 / float64(i+1)
	}
	lots := make([][]*Event, len(relays))
	more := max((copies-alone)/(1-alone)-2, 0) // the mean beyond two of those that are not alone
	taken := make([]bool, len(relays))
	for _, e := range events {
		want := 1
		if rng.Float64() >= alone {
			want = 2 + int(rng.ExpFloat64()*more+0.5)
		}
		clear(taken)
		for range min(want, len(relays)) {
			i := draw(rng, weights, taken)
			taken[i] = true
			lots[i] = append(lots[i], e)
		}
	}
	for i, r := range relays {
		r.Add(lots[i]...)
	}
}

// draw picks an index that is not taken, by weight.
func draw(rng *rand.Rand, weights []float64, taken []bool) int {
	sum := 0.0
	for i, w := range weights {
		if !taken[i] {
			sum += w
		}
	}
	x, last := rng.Float64()*sum, 0
	for i, w := range weights {
		if taken[i] {
			continue
		}
		last = i
		if x -= w; x < 0 {
			break
		}
	}
	return last
}

// Close stops all relays and waits until nothing of them runs.
func (n *Network) Close() {
	var wg sync.WaitGroup
	for _, r := range n.Relays() {
		wg.Go(r.Stop)
	}
	wg.Wait()
}
