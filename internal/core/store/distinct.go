package store

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/axiomhq/hyperloglog"
)

const (
	// distinctExact is how many values a Distinct holds before it estimates.
	distinctExact = 64
	// distinctPrecision gives 4,096 registers: a standard error of 1.6 %.
	distinctPrecision = 12
)

// Distinct counts how many different keys were added: exactly up to 64, from
// there by a HyperLogLog sketch. The zero Distinct holds none. It is stored as
// bytes beside the sums it belongs to.
type Distinct struct {
	exact  []uint64 // sorted
	sketch *hyperloglog.Sketch
}

var errDistinct = errors.New("not the bytes of a distinct count")

// ParseDistinct reads what AppendTo wrote; no bytes are the zero Distinct.
func ParseDistinct(b []byte) (*Distinct, error) {
	d := new(Distinct)
	switch {
	case len(b) == 0:
	case b[0] == 0 && len(b)%8 == 1 && len(b) <= 1+8*distinctExact:
		for b = b[1:]; len(b) > 0; b = b[8:] {
			d.exact = append(d.exact, binary.BigEndian.Uint64(b))
		}
		if !slices.IsSorted(d.exact) {
			return nil, errDistinct
		}
	case b[0] == 1:
		d.sketch = newSketch()
		if err := d.sketch.UnmarshalBinary(b[1:]); err != nil {
			return nil, errDistinct
		}
	default:
		return nil, errDistinct
	}
	return d, nil
}

// AppendTo appends the stored form.
func (d *Distinct) AppendTo(b []byte) []byte {
	if d.sketch != nil {
		b, err := d.sketch.AppendBinary(append(b, 1))
		if err != nil {
			panic(err) // a sketch in memory always has a form
		}
		return b
	}
	if len(d.exact) == 0 {
		return b
	}
	b = append(b, 0)
	for _, v := range d.exact {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// Add adds a key. Keys are public keys and ids: 32 bytes, whose owner may have
// chosen some of the bits.
func (d *Distinct) Add(key *[32]byte) { d.add(mix(key)) }

func (d *Distinct) add(v uint64) {
	if d.sketch != nil {
		d.sketch.InsertHash(v)
		return
	}
	i, found := slices.BinarySearch(d.exact, v)
	if found {
		return
	}
	if len(d.exact) < distinctExact {
		d.exact = slices.Insert(d.exact, i, v)
		return
	}
	d.sketch = newSketch()
	for _, v := range d.exact {
		d.sketch.InsertHash(v)
	}
	d.sketch.InsertHash(v)
	d.exact = nil
}

// Merge adds every key that was added to other.
func (d *Distinct) Merge(other *Distinct) {
	if other.sketch == nil {
		for _, v := range other.exact {
			d.add(v)
		}
		return
	}
	exact := d.exact
	if d.sketch == nil {
		d.sketch, d.exact = newSketch(), nil
	}
	for _, v := range exact {
		d.sketch.InsertHash(v)
	}
	if err := d.sketch.Merge(other.sketch); err != nil {
		panic(err) // both are of the same precision
	}
}

// Count returns how many different keys were added, an estimate above 64.
func (d *Distinct) Count() int64 {
	if d.sketch != nil {
		return int64(d.sketch.Estimate())
	}
	return int64(len(d.exact))
}

func newSketch() *hyperloglog.Sketch {
	s, err := hyperloglog.NewSketch(distinctPrecision, false)
	if err != nil {
		panic(err) // the precision is a constant
	}
	return s
}

// mix spreads a key over 64 bits: a sketch counts leading zeroes, and keys with
// chosen prefixes are common. Each word goes through the finalizer of
// MurmurHash3, which changes every bit of the result with every bit of the word.
func mix(key *[32]byte) uint64 {
	var h uint64
	for i := 0; i < len(key); i += 8 {
		h += 0x9e3779b97f4a7c15
		h ^= binary.LittleEndian.Uint64(key[i:])
		h ^= h >> 33
		h *= 0xff51afd7ed558ccd
		h ^= h >> 33
		h *= 0xc4ceb9fe1a85ec53
		h ^= h >> 33
	}
	return h
}
