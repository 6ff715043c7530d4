package dvm

import "time"

// What tests read by itself.
var (
	AmountOf = amountOf
	Address  = address
)

// Hurry makes a service that has not begun look at what waits as often as it can.
func (s *Service) Hurry() { s.sweepEvery, s.payEvery = time.Millisecond, 0 }

// ParseBill tells the amount of an invoice and when it expires.
func ParseBill(text string) (msats, expires int64, err error) {
	b, err := parseBill(text)
	return b.msats, b.expires, err
}
