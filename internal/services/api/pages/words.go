package pages

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// shownRunes is how much of a relay's text a page repeats.
const shownRunes = 80

// foreign cuts the text of a relay and takes out what is not to be seen, such
// as marks that turn the direction of the text behind them.
func foreign(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if unicode.In(r, unicode.C) || r == unicode.ReplacementChar {
			continue
		}
		if n == shownRunes {
			return b.String() + "…"
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// number writes 1234567 as 1,234,567.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// ago tells how long ago a time was, as seen at now.
func ago(now, at int64) string {
	if at == 0 {
		return "never"
	}
	if at > now {
		return "now"
	}
	return spanText(now-at) + " ago"
}

// spanText writes seconds in the largest unit that keeps a whole number.
func spanText(seconds int64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%d min", seconds/60)
	case seconds < 2*86400:
		return fmt.Sprintf("%d h", seconds/3600)
	}
	const year = 31_556_952 // of the calendar, on average
	if seconds >= 2*year {
		return number(seconds/year) + " years"
	}
	return fmt.Sprintf("%d days", seconds/86400)
}

func date(at int64) string {
	if at == 0 {
		return "–"
	}
	return time.Unix(at, 0).UTC().Format(time.DateOnly)
}
