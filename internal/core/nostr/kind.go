package nostr

// IsReplaceable reports whether only the newest event of an author and this
// kind counts (NIP-01: 0, 3 and 10000 to 19999).
func (k Kind) IsReplaceable() bool { return k == 0 || k == 3 || (k >= 10000 && k < 20000) }

// IsEphemeral reports whether relays are not expected to store this kind
// (NIP-01: 20000 to 29999).
func (k Kind) IsEphemeral() bool { return k >= 20000 && k < 30000 }

// IsAddressable reports whether only the newest event of an author, this kind
// and a d tag counts (NIP-01: 30000 to 39999).
func (k Kind) IsAddressable() bool { return k >= 30000 && k < 40000 }
