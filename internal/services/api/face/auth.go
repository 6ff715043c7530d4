package face

import (
	"context"
	"slices"
	"time"

	"bigbrotr/internal/core/nostr"
)

const (
	// kindAuth is the kind of an authentication event (NIP-42).
	kindAuth nostr.Kind = 22242
	// authWithin is how far its time may be from ours, in seconds.
	authWithin = 600
)

// authenticate takes the client's word for a key (NIP-42): from then on it is
// served what was written by that key or for it.
func (c *client) authenticate(ctx context.Context, m *nostr.ClientMessage) {
	e, err := nostr.ParseEvent(m.Event)
	if err != nil {
		c.refuse(ctx, m, nostr.PrefixInvalid, problem(err))
		return
	}
	c.mu.Lock()
	challenge := c.challenge
	many := len(c.readers) >= maxReaders && !slices.Contains(c.readers, e.PubKey)
	c.mu.Unlock()
	value := func(name string) string {
		for _, t := range e.Tags {
			if len(t) > 1 && t[0] == name {
				return t[1]
			}
		}
		return ""
	}
	age := time.Now().Unix() - e.CreatedAt
	why := ""
	switch {
	case e.Kind != kindAuth:
		why = "not an authentication"
	case value("challenge") != challenge:
		why = "not our challenge"
	case hostOf(value("relay")) != c.host:
		why = "meant for another relay"
	case age > authWithin || age < -authWithin:
		why = "too old, or from the future"
	case e.CheckID() != nil || e.Verify() != nil:
		why = "the signature does not verify"
	}
	switch {
	case why != "":
		c.ok(ctx, e.ID, false, nostr.PrefixInvalid+": "+why)
		return
	case many:
		c.ok(ctx, e.ID, false, nostr.PrefixRestricted+": too many keys on one connection")
		return
	}
	c.mu.Lock()
	if !slices.Contains(c.readers, e.PubKey) {
		c.readers = append(slices.Clip(c.readers), e.PubKey)
	}
	c.mu.Unlock()
	c.accepted()
	c.ok(ctx, e.ID, true, "")
}
