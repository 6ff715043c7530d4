package store

import (
	"context"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
)

// AlertKind says what somebody is alerted to.
type AlertKind string

// The kinds of alerts.
const (
	AlertDown        AlertKind = "down"        // a relay does not open any longer
	AlertUp          AlertKind = "up"          // a relay that was down opens again
	AlertCertificate AlertKind = "certificate" // the certificate of a relay ends soon
	AlertDoubt       AlertKind = "doubt"       // we suspect our own network
)

// Choices lists the kinds.
func (AlertKind) Choices() []string {
	return []string{string(AlertDown), string(AlertUp), string(AlertCertificate), string(AlertDoubt)}
}

// KeepAlerts is how long, in seconds, an alert is known, delivered or not.
const KeepAlerts = 90 * Day

// AlertKey tells alerts apart: of each, a receiver hears once.
type AlertKey struct {
	Receiver string // the name that it has in the configuration
	Kind     AlertKind
	Relay    RelayID // 0: of no relay
	// About is when what it tells of began or will be: the start of an outage,
	// the end of a certificate.
	About int64
}

// Alert is what a receiver is to hear.
type Alert struct {
	AlertKey
	At    int64
	Cause dial.Cause // why a relay is down, or was
}

// DueAlert is a leased alert.
type DueAlert struct {
	Alert
	URL      relay.URL // of the relay; zero when there is none
	Attempts int       // failures in a row
}

// AlertResult is what came of an alert.
type AlertResult struct {
	AlertKey
	Owner   string // who leased it
	Done    bool   // it was delivered, or nobody tries any longer
	NextDue int64  // when to try again; ignored when Done
}

// Alerts keeps what receivers are to hear until they have. SaveOutcomes raises
// alerts; what is delivered and not saved is delivered again.
type Alerts interface {
	// DueAlerts leases the alerts of a receiver that are due, the oldest first.
	// Service, Networks and Relay of due do not matter.
	DueAlerts(ctx context.Context, receiver string, due Due) ([]DueAlert, error)
	// SaveAlerts saves what came of those whose lease is still their Owner's,
	// and forgets what is older than KeepAlerts at a time. One transaction.
	SaveAlerts(ctx context.Context, results []AlertResult, at int64) error
}
