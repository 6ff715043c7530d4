package synchronizer

// arena holds raw events one behind the other until they are sorted, so that
// they do not cost an allocation each.
type arena struct {
	bytes []byte
	ends  []int // of each event in bytes
}

func (a *arena) add(raw []byte) {
	a.bytes = append(a.bytes, raw...)
	a.ends = append(a.ends, len(a.bytes))
}

// list returns the events. They are valid until the arena is cleared.
func (a *arena) list() [][]byte {
	raws := make([][]byte, len(a.ends))
	start := 0
	for i, end := range a.ends {
		raws[i] = a.bytes[start:end:end]
		start = end
	}
	return raws
}

// clear makes room without giving the memory back.
func (a *arena) clear() { a.bytes, a.ends = a.bytes[:0], a.ends[:0] }
