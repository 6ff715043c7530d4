package hints

// Class says in what kind of place a relay URL was found, the word that the
// archive keeps as its provenance.
type Class string

// The classes, from the most to the least trusted. Events yield Monitor, List,
// Hint and Content; the others are the words of other sources.
const (
	Seed    Class = "seed"    // the operator's or the built-in list
	Monitor Class = "monitor" // what a monitor measures: NIP-66 and its kin
	List    Class = "list"    // a list of relays, as NIP-65 or NIP-51
	API     Class = "api"     // an HTTP source
	NIP05   Class = "nip05"   // a NIP-05 relay map
	Hint    Class = "hint"    // a hint beside a reference
	Content Class = "content" // free text, or a place no specification names
	NIP11   Class = "nip11"   // the information document of another relay
)

// Rank orders classes by trust, the most trusted first: 0 is Seed. A word that
// is no class comes last.
func (c Class) Rank() int {
	for i, known := range [...]Class{Seed, Monitor, List, API, NIP05, Hint, Content, NIP11} {
		if c == known {
			return i
		}
	}
	return 8
}
