package negentropy

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
)

func TestVarint(t *testing.T) {
	for _, tt := range []struct {
		n    uint64
		want []byte
	}{
		{0, []byte{0}},
		{1, []byte{1}},
		{127, []byte{0x7f}},
		{128, []byte{0x81, 0}},
		{300, []byte{0x82, 0x2c}},
		{1 << 14, []byte{0x81, 0x80, 0}},
		{math.MaxUint64, []byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}},
	} {
		got := appendVarint(nil, tt.n)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%d: %s", tt.n, diff)
		}
		d := decoder{msg: append(got, 9)}
		if n, err := d.varint(); n != tt.n || err != nil || d.i != len(got) {
			t.Errorf("%d is read as %d up to %d: %v", tt.n, n, d.i, err)
		}
	}
}

func TestDecoderRefuses(t *testing.T) {
	const most = 1000
	ids := func(n int) []byte { return make([]byte, n*32) }
	for name, tt := range map[string]struct {
		msg    []byte
		cause  Cause
		offset int
	}{
		"nothing":                  {nil, CauseTruncated, 0},
		"no version":               {[]byte{0x51}, CauseVersion, 0},
		"too large":                {make([]byte, most+1), CauseSize, 0},
		"half a time":              {[]byte{version, 0x81}, CauseTruncated, 1},
		"no prefix length":         {[]byte{version, 1}, CauseTruncated, 2},
		"no prefix":                {[]byte{version, 1, 3, 0, 0}, CauseTruncated, 3},
		"a prefix of 33":           {append([]byte{version, 1, 33}, ids(2)...), CauseBound, 3},
		"no mode":                  {[]byte{version, 1, 0}, CauseTruncated, 3},
		"mode 3":                   {[]byte{version, 1, 0, 3}, CauseMode, 4},
		"mode 2^63":                {append([]byte{version, 1, 0}, appendVarint(nil, 1<<63)...), CauseMode, 13},
		"half a fingerprint":       {append([]byte{version, 1, 0, modeFingerprint}, ids(1)[:15]...), CauseTruncated, 4},
		"no count":                 {[]byte{version, 1, 0, modeList}, CauseTruncated, 4},
		"an id less":               {append([]byte{version, 1, 0, modeList, 2}, ids(1)...), CauseTruncated, 5},
		"2^59 ids":                 {append(append([]byte{version, 1, 0, modeList}, appendVarint(nil, 1<<59)...), ids(1)...), CauseTruncated, 13},
		"2^64-1 ids":               {append([]byte{version, 1, 0, modeList}, appendVarint(nil, math.MaxUint64)...), CauseTruncated, 14},
		"a number of 65 bits":      {[]byte{version, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0, 0}, CauseVarint, 1},
		"a number of eleven bytes": {[]byte{version, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 0, 0}, CauseVarint, 1},
		"a prefix that goes back":  {[]byte{version, 2, 1, 5, modeSkip, 1, 1, 4, modeSkip}, CauseBound, 8},
		"a time that goes around":  {append(append([]byte{version, 9, 0, modeSkip}, appendVarint(nil, math.MaxUint64)...), 0, modeSkip), CauseBound, 15},
	} {
		d, _, err := newDecoder(tt.msg, most)
		for ok := true; ok && err == nil; {
			_, ok, err = d.next()
		}
		want := &Error{Cause: tt.cause, Offset: tt.offset}
		if diff := cmp.Diff(error(want), err, cmp.Comparer(func(a, b error) bool { return a.Error() == b.Error() })); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	d, _, err := newDecoder(append([]byte{version}, bytes.Repeat([]byte{1, 0, modeSkip}, maxRanges+1)...), 1<<20)
	for ok := true; ok && err == nil; {
		_, ok, err = d.next()
	}
	if causeOf(err) != CauseRanges || d.ranges != maxRanges+1 {
		t.Errorf("after %d ranges: %v", d.ranges, err)
	}
}

// decodeAll reads a message to its end.
func decodeAll(msg []byte) ([]block, error) {
	d, known, err := newDecoder(msg, 1<<20)
	if err != nil || !known {
		return nil, err
	}
	var all []block
	for {
		b, ok, err := d.next()
		if err != nil || !ok {
			return all, err
		}
		all = append(all, b)
	}
}

func encodeAll(blocks []block) []byte {
	e := newEncoder()
	for _, b := range blocks {
		switch b.mode {
		case modeSkip:
			// Written where something else comes behind it.
		case modeFingerprint:
			e.fingerprint(b.lo, b.hi, b.fingerprint)
		case modeList:
			e.list(b.lo, b.hi, b.ids)
		}
	}
	return e.buf
}

// meaning is what two messages have in common that mean the same: neighbouring
// skips are one, and a skip of nothing or at the end is none.
func meaning(blocks []block) []block {
	var all []block
	for _, b := range blocks {
		b.offset = 0
		if b.mode == modeSkip && b.lo == b.hi {
			continue
		}
		if n := len(all); n > 0 && b.mode == modeSkip && all[n-1].mode == modeSkip {
			all[n-1].hi = b.hi
			continue
		}
		all = append(all, b)
	}
	if n := len(all); n > 0 && all[n-1].mode == modeSkip {
		all = all[:n-1]
	}
	return all
}

var sameBlocks = cmp.Options{cmp.AllowUnexported(block{}), cmpopts.EquateEmpty()}

// TestMessage: what is written is read again.
func TestMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := Bound{}
		bounds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Bound {
			return before(drawItem.Draw(t, "item"))
		}), 0, 20).Draw(t, "bounds")
		if rapid.Bool().Draw(t, "end") {
			bounds = append(bounds, Infinity)
		}
		slices.SortFunc(bounds, Bound.Compare)
		var blocks []block
		for _, hi := range bounds {
			b := block{lo: at, hi: hi, mode: rapid.Uint64Range(0, 2).Draw(t, "mode")}
			switch b.mode {
			case modeFingerprint:
				binary.BigEndian.PutUint64(b.fingerprint[:], rapid.Uint64().Draw(t, "fingerprint"))
			case modeList:
				b.ids = make([]byte, 32*rapid.IntRange(0, 200).Draw(t, "ids"))
			}
			blocks = append(blocks, b)
			at = hi
		}
		again, err := decodeAll(encodeAll(blocks))
		if diff := cmp.Diff(meaning(blocks), meaning(again), sameBlocks); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func FuzzDecoder(f *testing.F) {
	for _, v := range vectors(f) {
		for _, step := range v.Steps {
			f.Add(unhex(f, step.Msg))
		}
	}
	f.Add([]byte{version, 0x81})
	f.Add(append([]byte{version, 0, 0, modeList}, appendVarint(nil, math.MaxUint64)...))
	f.Fuzz(func(t *testing.T, msg []byte) {
		blocks, err := decodeAll(msg)
		at := Bound{}
		for _, b := range blocks {
			if b.lo != at || b.hi.Compare(b.lo) < 0 || len(b.ids)%len(nostr.ID{}) != 0 {
				t.Fatalf("range %+v after %v", b, at)
			}
			at = b.hi
		}
		if err != nil {
			if causeOf(err) == "" {
				t.Fatal(err)
			}
			return
		}
		// What is written of it means the same: it is written so again.
		written := encodeAll(blocks)
		again, err := decodeAll(written)
		if err != nil || !bytes.Equal(written, encodeAll(again)) {
			t.Fatalf("%x is written as %x, then as %x: %v", msg, written, encodeAll(again), err)
		}
	})
}
