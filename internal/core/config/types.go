package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time, never negative, written with a unit for each
// number: 250ms, 10s, 1h30m, 7d. A day has 24 hours.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// unit is a word behind a number and what it multiplies by.
type unit struct {
	name string
	size int64
}

// durationUnits and byteUnits go from large to small: printing takes the
// largest first and parsing tries them in order.
var (
	durationUnits = []unit{
		{"d", int64(24 * time.Hour)},
		{"h", int64(time.Hour)},
		{"m", int64(time.Minute)},
		{"s", int64(time.Second)},
		{"ms", int64(time.Millisecond)},
		{"us", int64(time.Microsecond)},
		{"ns", 1},
	}
	byteUnits = []unit{
		{"TiB", 1 << 40},
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"B", 1},
	}
)

// String returns the shortest form that UnmarshalText takes, largest unit
// first: 168h is 7d, 90m is 1h30m.
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	rest := int64(d)
	for _, u := range durationUnits {
		if n := rest / u.size; n != 0 {
			b.WriteString(strconv.FormatInt(n, 10) + u.name)
			rest %= u.size
		}
	}
	return b.String()
}

// MarshalText returns String as text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses a duration. Units must come from large to small, each
// once, so that a text has one meaning at a glance.
func (d *Duration) UnmarshalText(b []byte) error {
	n, err := parseUnits(string(b), durationUnits)
	if err != nil {
		return &refusal{fmt.Sprintf("is %q, not a duration: %v", cut(b), err), "write one such as 10s, 1h30m or 7d"}
	}
	*d = Duration(n)
	return nil
}

// Bytes is a size, never negative, written as 512B, 64KiB, 16MiB, 2GiB or 1TiB.
type Bytes int64

// String returns the size in the largest unit that divides it.
func (s Bytes) String() string {
	for _, u := range byteUnits {
		if s != 0 && int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.name
		}
	}
	return "0B"
}

// Short returns the size for people, with one digit behind the point: 1.4 GiB.
func (s Bytes) Short() string {
	for _, u := range byteUnits[:len(byteUnits)-1] {
		if int64(s) >= u.size {
			return strconv.FormatFloat(float64(s)/float64(u.size), 'f', 1, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + " B"
}

// MarshalText returns String as text.
func (s Bytes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText parses a size of one number and one unit.
func (s *Bytes) UnmarshalText(b []byte) error {
	n, err := parseUnits(string(b), byteUnits)
	if err != nil {
		return &refusal{fmt.Sprintf("is %q, not a size: %v", cut(b), err), "write one such as 64KiB, 16MiB or 2GiB"}
	}
	*s = Bytes(n)
	return nil
}

// cut bounds what a message repeats of a text.
func cut(b []byte) []byte { return b[:min(len(b), 100)] }

var (
	errUnit  = errors.New("a whole number needs a unit behind it")
	errOrder = errors.New("units must go from large to small")
	errLarge = errors.New("it is too large")
)

// parseUnits reads numbers with units, as in 1h30m, and returns their sum.
func parseUnits(s string, units []unit) (int64, error) {
	var sum int64
	if s == "" {
		return 0, errUnit
	}
	for s != "" {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		number, rest := s[:digits], s[digits:]
		letters := len(rest)
		if i := strings.IndexAny(rest, "0123456789"); i >= 0 {
			letters = i
		}
		name := rest[:letters]
		if digits == 0 || name == "" {
			return 0, errUnit
		}
		found := -1
		for i, u := range units {
			if u.name == name {
				found = i
			}
		}
		if found < 0 {
			for _, u := range durationUnits {
				if u.name == name {
					return 0, errOrder
				}
			}
			return 0, fmt.Errorf("%q is not a unit", name)
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > (math.MaxInt64-sum)/units[found].size {
			return 0, errLarge
		}
		sum += n * units[found].size
		s, units = rest[letters:], units[found+1:]
	}
	return sum, nil
}

// maxSecret bounds the file of a secret, in bytes.
const maxSecret = 64 << 10

// dots stand for a secret wherever it would be printed.
const dots = "••••••"

// Secret is a value that must not be seen: a password or a private key. The
// configuration never holds it, only a reference to it: env:NAME for an
// environment variable or file:PATH for a file, whose last newline is dropped.
// Load resolves the reference. However a Secret is printed, dots come out.
type Secret struct {
	// value is behind a pointer because fmt prints the unexported fields of an
	// enclosing struct without asking any method.
	value *string
}

// Reveal returns the secret itself, empty when there is none.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero tells whether there is no secret.
func (s Secret) IsZero() bool { return s.value == nil }

// String returns dots, or nothing when there is no secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return dots
}

// Format prints String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns String as text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns String for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// secret resolves the reference to a secret.
func (l *loader) secret(ref string) (Secret, *refusal) {
	if ref == "" {
		return Secret{}, nil
	}
	scheme, name, _ := strings.Cut(ref, ":")
	var value string
	switch {
	case scheme == "env" && name != "":
		l.refs[name] = true
		var ok bool
		if value, ok = l.env[name]; !ok {
			return Secret{}, &refusal{"refers to the variable " + name + ", which is not set", "set it"}
		}
	case scheme == "file" && name != "":
		text, err := readFile(name, maxSecret)
		if err != nil {
			return Secret{}, &refusal{"refers to the file " + name + ", which " + err.Error(), "check the path and the permissions"}
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	default:
		return Secret{}, &refusal{"must not stand here in plain text", "put it in a variable or a file and write env:NAME or file:PATH"}
	}
	if value == "" {
		return Secret{}, &refusal{"refers to an empty " + map[string]string{"env": "variable", "file": "file"}[scheme], "put the secret in it"}
	}
	return Secret{value: &value}, nil
}
