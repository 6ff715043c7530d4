package validator

import (
	"maps"
	"net/http"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// seconds makes a sample of one event a second.
func seconds(from, to int, name byte) sample {
	s := sample{}
	for at := from; at <= to; at++ {
		s[nostr.ID{name, byte(at), byte(at >> 8)}] = int64(at)
	}
	return s
}

func join(samples ...sample) sample {
	all := sample{}
	for _, s := range samples {
		maps.Copy(all, s)
	}
	return all
}

func TestProof(t *testing.T) {
	need := proof{0.9, 10}
	for _, test := range []struct {
		name string
		a, b sample
		want bool
	}{
		{"equal", seconds(1, 100, 0), seconds(1, 100, 0), true},
		{"one is cut earlier", seconds(1, 100, 0), seconds(60, 100, 0), true},
		{"too little in common", seconds(1, 100, 0), seconds(95, 100, 0), false},
		{"nothing", sample{}, sample{}, false},
		{"one is empty", seconds(1, 100, 0), sample{}, false},
		{"one event is late", seconds(1, 100, 0), seconds(1, 99, 0), true},
		{"other events", seconds(1, 100, 0), seconds(1, 100, 1), false},
		{"half of them", join(seconds(1, 50, 0), seconds(51, 100, 1)), join(seconds(1, 50, 0), seconds(51, 100, 2)), false},
		{"one holds more besides", seconds(1, 100, 0), join(seconds(1, 100, 0), seconds(1, 30, 1)), false},
		{"other times", seconds(1, 50, 0), seconds(51, 100, 0), false},
	} {
		if have := need.proves(test.a, test.b); have != test.want {
			t.Errorf("%s: %t", test.name, have)
		}
		if have := need.proves(test.b, test.a); have != test.want {
			t.Errorf("%s, the other way round: %t", test.name, have)
		}
	}
}

// TestDemands checks what makes a comparison worth while: never what a stranger
// could bring about alone.
func TestDemands(t *testing.T) {
	parse := func(text string) relay.URL {
		u, err := relay.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	document, self, pubkey := store.TraitDocument, store.TraitSelf, store.TraitPubKey
	certificate, address, host, onion := store.TraitCertificate, store.TraitAddress, store.TraitHost, store.TraitOnion
	const hidden = "ws://duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"
	kinds := func(list ...store.TraitKind) []store.TraitKind { return list }
	for _, test := range []struct {
		name, url, kin string
		has, shares    []store.TraitKind
		want           bool
	}{
		{"a path without a document", "wss://a.org/x", "wss://a.org", nil, kinds(host), true},
		{"a path with the same document", "wss://a.org/x", "wss://a.org", kinds(document), kinds(host, document), true},
		{"a path with a document of its own", "wss://a.org/x", "wss://a.org", kinds(document), kinds(host), false},
		{"a port with the same document of an operator", "wss://a.org:7777", "wss://a.org", kinds(document, pubkey), kinds(host, document, pubkey), true},
		{"a port with the same document of nobody", "wss://a.org:7777", "wss://a.org", kinds(document), kinds(host, document), false},
		{"a port with a relay of the same operator", "wss://a.org:7777", "wss://a.org", kinds(document, pubkey), kinds(host, pubkey), false},
		{"the other scheme", "ws://a.org", "wss://a.org", kinds(document, self), kinds(host, self), true},
		{"a name with the same document", "wss://b.org", "wss://a.org", kinds(document, pubkey), kinds(document, pubkey), false},
		{"a name with the same document and certificate", "wss://b.org", "wss://a.org", kinds(document, pubkey, certificate), kinds(document, pubkey, certificate), true},
		{"a name with the same key and address", "wss://b.org", "wss://a.org", kinds(self, address), kinds(self, address), true},
		{"a name that says to be an onion service", "wss://a.org", hidden, kinds(self, onion), kinds(self, onion), true},
		{"an onion service that a name says to be", hidden, "wss://a.org", kinds(self, onion), kinds(self, onion), false},
		{"a name that says so and has another key", "wss://a.org", hidden, kinds(self, onion), kinds(onion), false},
		{"a name with the key of an onion service", "wss://a.org", hidden, kinds(self), kinds(self), false},
		{"two names that say to be the same one", "wss://a.org", "wss://b.org", kinds(self, onion), kinds(self, onion), false},
		{"a name at the same address", "wss://b.org", "wss://a.org", kinds(document, self, address, certificate), kinds(address, certificate), false},
	} {
		var traits []store.Trait
		for _, kind := range test.has {
			traits = append(traits, store.Trait{Kind: kind})
		}
		k := store.Kin{Relay: store.Relay{URL: parse(test.kin)}, Shares: test.shares}
		if _, have := demands(parse(test.url), traits, k); have != test.want {
			t.Errorf("%s: compared is %t", test.name, have)
		}
	}
}

// TestOnion checks whom a web server's word is taken for which onion service.
func TestOnion(t *testing.T) {
	const name = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"
	for _, test := range []struct{ url, location, want string }{
		{"ws://" + name, "", name},
		{"ws://" + name + "/path", "http://other.onion", name},
		{"wss://a.org", "http://" + name + "/inbox", name},
		{"wss://a.org", "ws://" + name, name},
		{"ws://a.org", "http://" + name, ""},
		{"wss://a.org", "http://expyuzz4wqqyqhjn.onion", ""}, // version 2
		{"wss://a.org", "http://b.org", ""},
		{"wss://a.org", "http://[::1", ""},
		{"wss://a.org", "", ""},
	} {
		u, err := relay.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		if have := onionOf(u, http.Header{"Onion-Location": {test.location}}); have != test.want {
			t.Errorf("%s with %q is %q, want %q", test.url, test.location, have, test.want)
		}
	}
}
