package archive

import "bigbrotr/internal/core/nostr"

// Explain says for people what a reason means.
func Explain(reason string) string {
	if text, ok := explanations[reason]; ok {
		return text
	}
	return reason
}

var explanations = map[string]string{
	ReasonHash:      "the id is not the hash of the event",
	ReasonSignature: "the signature does not verify",
	ReasonOversize:  "the line is too long",
	ReasonRefused:   "its author or id is kept out of this archive",

	string(nostr.ReasonTruncated):      "the text ends too early",
	string(nostr.ReasonSyntax):         "not JSON",
	string(nostr.ReasonControl):        "a raw control character in a string",
	string(nostr.ReasonUTF8):           "not valid UTF-8",
	string(nostr.ReasonTrailing):       "something stands behind the event",
	string(nostr.ReasonDepth):          "nested too deeply",
	string(nostr.ReasonType):           "not a JSON object, or a value of another type than an event has",
	string(nostr.ReasonDuplicateKey):   "a key appears twice",
	string(nostr.ReasonMissingKey):     "a key of an event is missing",
	string(nostr.ReasonID):             "the id is not 64 lower-case hex digits",
	string(nostr.ReasonPubKey):         "the pubkey is not 64 lower-case hex digits",
	string(nostr.ReasonSig):            "the sig is not 128 lower-case hex digits",
	string(nostr.ReasonCreatedAt):      "created_at is not an integer of at least 0",
	string(nostr.ReasonCreatedAtRange): "created_at is too large",
	string(nostr.ReasonKind):           "kind is not an integer of at least 0",
	string(nostr.ReasonKindRange):      "kind is too large",
	string(nostr.ReasonTags):           "tags is not an array",
	string(nostr.ReasonTag):            "a tag is not an array",
	string(nostr.ReasonTagElement):     "an element of a tag is not a string",
	string(nostr.ReasonContent):        "content is not a string",
}
