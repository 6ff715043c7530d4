package face

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"strings"

	"bigbrotr/internal/core/nostr"
)

// maxCount is how many events are counted: they are looked at one by one.
const maxCount = 200_000

// count answers COUNT (NIP-45).
func (c *client) count(ctx context.Context, m *nostr.ClientMessage) {
	filters, _, why := c.check(ctx, m)
	if why != "" {
		c.closed(ctx, m.Sub, why)
		return
	}
	c.accepted()
	c.run(ctx, func() {
		result, err := c.counted(ctx, filters)
		switch {
		case err != nil:
			c.closed(ctx, m.Sub, c.face.reason(ctx, err))
		case result.Count > maxCount:
			c.closed(ctx, m.Sub, nostr.PrefixRestricted+": too many to be counted; ask a narrower question")
		default:
			_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendCountMessage(dst, m.Sub, result) })
		}
	})
}

func (c *client) counted(ctx context.Context, filters []nostr.Filter) (nostr.CountResult, error) {
	list := c.face.serve(filters, c.authenticated())
	defer list.close()
	list.whole, list.size = false, max(countSize/len(filters), 10)
	for _, l := range list.lists {
		l.limit, l.ties = maxCount+1, 0 // that of a filter is for what is sent
	}
	var result nostr.CountResult
	hll := newSketch(filters)
	for {
		e, err := list.next(ctx)
		if err != nil || e == nil {
			if hll != nil {
				result.HLL = hll.registers[:]
			}
			return result, err
		}
		// Tags that are not kept fit by their hash.
		result.Approximate = result.Approximate || e.IndexOnly
		if hll != nil {
			hll.add(e.Event.PubKey)
		}
		if result.Count++; result.Count > maxCount {
			return result, nil
		}
	}
}

// sketch is the HyperLogLog of the authors of what was counted, by which
// clients add up the counts of several relays.
type sketch struct {
	offset    int // in the key, of the byte that names a register
	registers [256]byte
}

// newSketch returns nil when NIP-45 defines no sketch of a question: it needs
// one value of one tag, of which the offset is made so that nobody can choose
// keys that count much in every question.
func newSketch(filters []nostr.Filter) *sketch {
	if len(filters) != 1 || len(filters[0].Tags) != 1 {
		return nil
	}
	for _, values := range filters[0].Tags {
		if len(values) != 1 {
			return nil
		}
		return &sketch{offset: offsetOf(values[0])}
	}
	return nil
}

// offsetOf is 8 more than the digit in the middle of the key or id that a tag's
// value is or names, else of its hash.
func offsetOf(value string) int {
	text := value
	if _, err := nostr.ParsePubKey(text); err != nil {
		text = ""
		if parts := strings.SplitN(value, ":", 3); len(parts) == 3 {
			text = parts[1]
		}
		if _, err := nostr.ParsePubKey(text); err != nil {
			sum := sha256.Sum256([]byte(value))
			text = hex.EncodeToString(sum[:])
		}
	}
	return 8 + strings.IndexByte("0123456789abcdef", text[32])
}

func (s *sketch) add(key nostr.PubKey) {
	register := &s.registers[key[s.offset]]
	zeros := bits.LeadingZeros64(binary.BigEndian.Uint64(key[s.offset+1:]))
	*register = max(*register, byte(zeros+1))
}
