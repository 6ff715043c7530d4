package query

import (
	"strconv"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/store"
)

// Cost is what it took to read relays, by visits and live subscriptions, and what
// that brought.
type Cost struct {
	Since          int64   `json:"since" doc:"since when it is counted, Unix seconds; 0: nothing has been" example:"1767225600"`
	Requests       int64   `json:"requests" doc:"REQ, COUNT and NEG-OPEN sent" example:"203"`
	Bytes          int64   `json:"bytes_received" doc:"of the messages that answered them, uncompressed" example:"81234567"`
	Received       int64   `json:"events_received" doc:"events in those messages" example:"101500"`
	New            int64   `json:"new" doc:"of those, archived for the first time" example:"70000"`
	Known          int64   `json:"known" doc:"of those, archived before from any relay: skipped" example:"31500"`
	BytesPerNew    float64 `json:"bytes_per_new,omitempty" doc:"bytes received per new event; absent while there is none" example:"1160.5"`
	RequestsPerNew float64 `json:"requests_per_new,omitempty" doc:"requests per new event; absent while there is none" example:"0.0029"`
	Duplicates     float64 `json:"duplicates" doc:"known of the events received, 0 to 1" example:"0.31"`
}

// NewCost shapes what the store knows of a cost.
func NewCost(s store.CostSum) Cost {
	c := Cost{Since: s.Since, Requests: s.Requests, Bytes: s.Bytes, Received: s.Received, New: s.New, Known: s.Known}
	if s.New > 0 {
		c.BytesPerNew, c.RequestsPerNew = float64(s.Bytes)/float64(s.New), float64(s.Requests)/float64(s.New)
	}
	if s.Received > 0 {
		c.Duplicates = float64(s.Known) / float64(s.Received)
	}
	return c
}

// PerNew tells in words what a new event costs.
func (c Cost) PerNew() string {
	if c.New == 0 {
		return "no new events yet"
	}
	return config.Bytes(c.BytesPerNew+0.5).Short() + " and " + Few(c.RequestsPerNew) + " requests per new event"
}

// Skipped tells in words how many of the events received were had before.
func (c Cost) Skipped() string {
	switch {
	case c.Received == 0:
		return "no events received yet"
	case c.Known == 0:
		return "no duplicates"
	case c.Known == c.Received:
		return "100 % duplicates skipped"
	}
	// Only all is 100 %, and only none 0 %.
	return strconv.FormatFloat(100*min(max(c.Duplicates, 0.001), 0.999), 'f', 1, 64) + " % duplicates skipped"
}

// Few writes a number with about two digits that count.
func Few(v float64) string {
	switch {
	case v <= 0:
		return "0"
	case v < 0.001:
		return "<0.001"
	case v < 1:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case v < 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
