package nip19

import "strings"

// The 32 characters of BIP-173, by value.
const charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// charValue gives a character's value, or -1.
var charValue = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range len(charset) {
		t[charset[i]] = int8(i)
	}
	return t
}()

const checksumLength = 6

// polymod runs the BIP-173 checksum on by one 5-bit value.
func polymod(sum uint32, v byte) uint32 {
	top := sum >> 25
	sum = sum&0x1ffffff<<5 ^ uint32(v)
	for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
		if top>>i&1 == 1 {
			sum ^= g
		}
	}
	return sum
}

// polymodPrefix runs it over a human-readable part.
func polymodPrefix(prefix string) uint32 {
	sum := uint32(1)
	for i := range len(prefix) {
		sum = polymod(sum, prefix[i]>>5)
	}
	sum = polymod(sum, 0)
	for i := range len(prefix) {
		sum = polymod(sum, prefix[i]&31)
	}
	return sum
}

// Words returns what stands before the last 1 of a bech32 text, and the values of
// 5 bits behind it, for texts that are no entity of NIP-19: invoices.
func Words(text string) (prefix string, words []byte, err error) {
	prefix, data, err := split(text)
	if err == nil {
		words, err = decodeWords(prefix, data)
	}
	return prefix, words, err
}

// decodeWords returns the values behind the data part of a lower-case text, whose
// length BIP-173 would limit to 90 characters and NIP-19 does not.
func decodeWords(prefix, data string) ([]byte, error) {
	if len(data) < checksumLength {
		return nil, ErrChecksum
	}
	words := make([]byte, len(data))
	sum := polymodPrefix(prefix)
	for i := range len(data) {
		v := charValue[data[i]]
		if v < 0 {
			return nil, ErrCharacter
		}
		sum = polymod(sum, byte(v))
		words[i] = byte(v)
	}
	if sum != 1 {
		return nil, ErrChecksum
	}
	return words[:len(words)-checksumLength], nil
}

// decodeBech32 returns the bytes behind the data part of a lower-case text.
func decodeBech32(prefix, data string) ([]byte, error) {
	words, err := decodeWords(prefix, data)
	if err != nil {
		return nil, err
	}
	out, rest, bits := pack(words)
	if bits >= 5 || rest != 0 {
		return nil, ErrPadding
	}
	return out, nil
}

// Pack makes bytes of words. Bits that are left over do not count.
func Pack(words []byte) []byte {
	out, _, _ := pack(words)
	return out
}

// pack makes bytes of words and returns what is left, and how many bits that is.
func pack(words []byte) (out []byte, rest, bits uint32) {
	out = make([]byte, 0, len(words)*5/8)
	for _, w := range words {
		rest = rest<<5 | uint32(w)
		if bits += 5; bits >= 8 {
			bits -= 8
			out = append(out, byte(rest>>bits))
		}
		rest &= 1<<bits - 1
	}
	return out, rest, bits
}

func encodeBech32(prefix string, data []byte) string {
	var b strings.Builder
	b.Grow(len(prefix) + 1 + (len(data)*8+4)/5 + checksumLength)
	b.WriteString(prefix)
	b.WriteByte('1')
	sum := polymodPrefix(prefix)
	put := func(v byte) {
		sum = polymod(sum, v)
		b.WriteByte(charset[v])
	}
	var acc, bits uint32
	for _, c := range data {
		acc = acc<<8 | uint32(c)
		for bits += 8; bits >= 5; {
			bits -= 5
			put(byte(acc >> bits & 31))
		}
	}
	if bits > 0 {
		put(byte(acc << (5 - bits) & 31))
	}
	for range checksumLength {
		sum = polymod(sum, 0)
	}
	sum ^= 1
	for i := range checksumLength {
		b.WriteByte(charset[sum>>(5*(5-i))&31])
	}
	return b.String()
}
