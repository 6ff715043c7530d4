// Package hints finds every relay URL that an event names, each with the class
// of the place it stands in. It judges no URL beyond its form and asks no
// network.
package hints

// Class says in what kind of place a relay URL was found, the word that the
// archive keeps as its provenance.
type Class string

// The classes, from the most to the least trusted.
const (
	Seed    Class = "seed"    // the operator's or the built-in list
	Monitor Class = "monitor" // a NIP-66 event of a monitor
	List    Class = "list"    // a relay list of its author, as NIP-65
	API     Class = "api"     // an HTTP source
	NIP05   Class = "nip05"   // a NIP-05 relay map
	Hint    Class = "hint"    // a hint beside a reference
	Content Class = "content" // free text
)
