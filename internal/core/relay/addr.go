package relay

import "net/netip"

// The blocks that are not public, from the IANA special-purpose registries
// for IPv4 and IPv6 and the registry of multicast. Some small blocks inside
// them are globally reachable (anycast of protocols): no relay lives there,
// so they are not carved out.
var (
	notPublic4 = prefixes(
		"0.0.0.0/8",       // this network
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // shared address space (carrier NAT, Tailscale)
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // protocol assignments
		"192.0.2.0/24",    // documentation
		"192.31.196.0/24", // AS112
		"192.52.193.0/24", // AMT
		"192.88.99.0/24",  // 6to4 relays, deprecated
		"192.168.0.0/16",  // private
		"192.175.48.0/24", // AS112
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved and limited broadcast
	)

	// Global unicast is 2000::/3 alone. That leaves out loopback, mapped and
	// compatible IPv4, NAT64, unique local, link-local, site-local, multicast,
	// segment routing and Yggdrasil without naming them.
	globalUnicast6 = netip.MustParsePrefix("2000::/3")
	notPublic6     = prefixes(
		"2001::/23",         // protocol assignments: Teredo, benchmarks, ORCHID
		"2001:db8::/32",     // documentation
		"2002::/16",         // 6to4, holds an IPv4 address
		"2620:4f:8000::/48", // AS112
		"3fff::/20",         // documentation
	)

	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// publicAddr tells whether an address is public: a unicast address that
// belongs to one host of the internet. It is false for every special-purpose
// block, for the IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4,
// Teredo), for an address with a zone and for the zero Addr.
//
// A mapped address is judged as it stands. A resolver may hand out the answer
// of an A record in that form; unmap such an answer first.
func publicAddr(a netip.Addr) bool {
	switch {
	case a.Is4():
		return !within(notPublic4, a)
	case a.Is6():
		// Contains is false for an address with a zone.
		return globalUnicast6.Contains(a) && !within(notPublic6, a)
	}
	return false
}

// AllowsAddr tells whether a relay may stand at an address: a public one, and
// with AllowLocal also loopback, private, link-local and shared space.
func (r Rules) AllowsAddr(a netip.Addr) bool {
	if publicAddr(a) {
		return true
	}
	if !r.AllowLocal || a.Is4In6() || a.Zone() != "" {
		return false
	}
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a)
}

func within(blocks []netip.Prefix, a netip.Addr) bool {
	for _, block := range blocks {
		if block.Contains(a) {
			return true
		}
	}
	return false
}
