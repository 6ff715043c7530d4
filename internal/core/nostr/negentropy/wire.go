package negentropy

import (
	"math"

	"bigbrotr/internal/core/nostr"
)

const (
	// version is protocol version 1; anyVersion the half of the byte that all
	// versions have in common.
	version    = 0x61
	anyVersion = 0x60

	modeSkip        = 0
	modeFingerprint = 1
	modeList        = 2
)

// Sizes of parts of a message at most.
const (
	maxVarint      = 10
	maxBound       = maxVarint + 1 + len(nostr.ID{})
	maxSkip        = maxBound + 1
	maxFingerprint = maxBound + 1 + len(Fingerprint{})
	maxListHead    = maxBound + 1 + 4 // the count of a list never needs more
)

// appendVarint appends n in base 128, the most significant digit first.
func appendVarint(dst []byte, n uint64) []byte {
	shift := 0
	for n>>shift > 0x7f {
		shift += 7
	}
	for ; shift > 0; shift -= 7 {
		dst = append(dst, 0x80|byte(n>>shift))
	}
	return append(dst, byte(n)&0x7f)
}

// encoder writes one message. Ranges are contiguous in the protocol; what is
// left out between two that are written becomes a skip.
type encoder struct {
	buf  []byte
	at   Bound  // the end of what is written
	time uint64 // of the bound last written
}

func newEncoder() *encoder { return &encoder{buf: []byte{version}} }

func (e *encoder) bound(b Bound) {
	e.at = b
	if b.Time == math.MaxUint64 {
		e.time = b.Time
		e.buf = append(e.buf, 0, 0)
		return
	}
	e.buf = appendVarint(e.buf, b.Time-e.time+1)
	e.time = b.Time
	n := len(b.ID)
	for n > 0 && b.ID[n-1] == 0 {
		n--
	}
	e.buf = append(e.buf, byte(n))
	e.buf = append(e.buf, b.ID[:n]...)
}

func (e *encoder) skipTo(b Bound) {
	if e.at.Compare(b) < 0 {
		e.bound(b)
		e.buf = append(e.buf, modeSkip)
	}
}

func (e *encoder) fingerprint(lo, hi Bound, f Fingerprint) {
	e.skipTo(lo)
	e.bound(hi)
	e.buf = append(e.buf, modeFingerprint)
	e.buf = append(e.buf, f[:]...)
}

// list names the ids, one after the other in ids, of a range.
func (e *encoder) list(lo, hi Bound, ids []byte) {
	e.skipTo(lo)
	e.bound(hi)
	e.buf = append(e.buf, modeList)
	e.buf = appendVarint(e.buf, uint64(len(ids)/len(nostr.ID{})))
	e.buf = append(e.buf, ids...)
}

// block is one range of a message that is read.
type block struct {
	lo, hi      Bound
	mode        uint64
	fingerprint Fingerprint
	ids         []byte // one after the other, in the message
	offset      int
}

func (b *block) len() int { return len(b.ids) / len(nostr.ID{}) }

// id returns the i-th id of a list.
func (b *block) id(i int) nostr.ID { return nostr.ID(b.ids[i*len(nostr.ID{}):]) }

// decoder reads one message.
type decoder struct {
	msg    []byte
	i      int
	at     Bound
	ranges int
}

func (d *decoder) fail(c Cause) error { return &Error{Cause: c, Offset: d.i} }

// newDecoder reads the version byte. known is false where the peer speaks
// another version of the protocol.
func newDecoder(msg []byte, most int) (d *decoder, known bool, err error) {
	d = &decoder{msg: msg}
	switch {
	case len(msg) > most:
		return nil, false, d.fail(CauseSize)
	case len(msg) == 0:
		return nil, false, d.fail(CauseTruncated)
	case msg[0]&0xf0 != anyVersion:
		return nil, false, d.fail(CauseVersion)
	}
	known = msg[0] == version
	d.i = 1
	return d, known, nil
}

// next reads a range. ok is false at the end of the message.
func (d *decoder) next() (b block, ok bool, err error) {
	b.lo, b.offset = d.at, d.i
	if d.i == len(d.msg) {
		return b, false, nil
	}
	if d.ranges++; d.ranges > maxRanges {
		return b, false, d.fail(CauseRanges)
	}
	if b.hi, err = d.bound(); err != nil {
		return b, false, err
	}
	if b.mode, err = d.varint(); err != nil {
		return b, false, err
	}
	switch b.mode {
	case modeSkip:
	case modeFingerprint:
		f, err := d.take(uint64(len(b.fingerprint)))
		if err != nil {
			return b, false, err
		}
		b.fingerprint = Fingerprint(f)
	case modeList:
		n, err := d.varint()
		if err != nil {
			return b, false, err
		}
		if n > uint64(len(d.msg)) { // so that the product below is one
			return b, false, d.fail(CauseTruncated)
		}
		if b.ids, err = d.take(n * uint64(len(nostr.ID{}))); err != nil {
			return b, false, err
		}
	default:
		return b, false, d.fail(CauseMode)
	}
	d.at = b.hi
	return b, true, nil
}

func (d *decoder) bound() (Bound, error) {
	v, err := d.varint()
	if err != nil {
		return Bound{}, err
	}
	n, err := d.varint()
	if err != nil {
		return Bound{}, err
	}
	if n > uint64(len(nostr.ID{})) {
		return Bound{}, d.fail(CauseBound)
	}
	prefix, err := d.take(n)
	if err != nil {
		return Bound{}, err
	}
	if v == 0 || d.at == Infinity {
		return Infinity, nil
	}
	b := Bound{Time: d.at.Time + (v - 1)}
	copy(b.ID[:], prefix)
	if b.Time == math.MaxUint64 {
		b = Infinity
	}
	if b.Compare(d.at) < 0 { // also where the sum is beyond 64 bits
		return Bound{}, d.fail(CauseBound)
	}
	return b, nil
}

func (d *decoder) varint() (uint64, error) {
	var n uint64
	for i, c := range d.msg[d.i:] {
		if n > math.MaxUint64>>7 || i == maxVarint {
			return 0, d.fail(CauseVarint)
		}
		n = n<<7 | uint64(c&0x7f)
		if c < 0x80 {
			d.i += i + 1
			return n, nil
		}
	}
	return 0, d.fail(CauseTruncated)
}

func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.msg)-d.i) {
		return nil, d.fail(CauseTruncated)
	}
	b := d.msg[d.i : d.i+int(n)]
	d.i += int(n)
	return b, nil
}
