package client

import (
	"encoding/json"
	"time"
)

// Doc is one JSON document: what this version understands of it, and the
// server's own bytes, so that printing it as JSON loses nothing.
type Doc[T any] struct {
	Value T
	Raw   json.RawMessage
}

// UnmarshalJSON keeps b and decodes what it can of it.
func (d *Doc[T]) UnmarshalJSON(b []byte) error {
	d.Raw = append(json.RawMessage(nil), b...)
	return lenient(b, &d.Value)
}

// MarshalJSON gives the server's bytes back.
func (d Doc[T]) MarshalJSON() ([]byte, error) { return d.Raw, nil }

// Page is one page of a list. Next is the `after` of the following page,
// empty on the last.
type Page[T any] struct {
	Items []Doc[T] `json:"items"`
	Next  string   `json:"next,omitempty"`
}

// Time is an RFC 3339 time, or zero when the server gave none or another form.
type Time struct{ time.Time }

// UnmarshalJSON never fails: an unknown form is a zero time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if err := t.Time.UnmarshalJSON(b); err != nil {
		t.Time = time.Time{}
	}
	return nil
}

// Receipt says that an item is durable.
type Receipt struct {
	ID        string   `json:"id"`
	Accepted  Time     `json:"accepted"`
	Duplicate bool     `json:"duplicate"`
	RoutedTo  []string `json:"routed_to"` // absent for duplicates
}

// ItemState is an item with its row of sinks: the ack-join as it stands.
type ItemState struct {
	ID        string            `json:"id"`
	Accepted  Time              `json:"accepted"`  // absent where it is not known, of a lost one
	State     string            `json:"state"`     // pending, complete, lost: so that some sink never gets it
	Duplicate bool              `json:"duplicate"` // to who put it: it had been accepted before
	Size      *int64            `json:"size"`      // bytes; nil where it is not known, of a lost one
	Type      string            `json:"type"`
	Key       string            `json:"key"`
	Attrs     map[string]string `json:"attrs"`
	Sinks     []SinkState       `json:"sinks"`
}

// SinkState is one delivery: how an item stands with one sink.
type SinkState struct {
	Sink        string `json:"sink"`
	State       string `json:"state"`      // waiting, in_flight, retrying, not_due, blocked, done, dead, dropped, expired, skipped, lost
	SinkState   string `json:"sink_state"` // why it waits, where that is the sink: backoff, down, paused, orphan
	Attempts    *int   `json:"attempts"`   // spent; nil where the server does not say
	NextAttempt Time   `json:"next_attempt"`
	LastError   string `json:"last_error"`
}

// Sink is one destination and what it is owed.
type Sink struct {
	Sink         string `json:"sink"`
	Type         string `json:"type"`
	State        string `json:"state"`         // active, backoff, down, paused, draining, orphan
	Since        Time   `json:"since"`         // when it went down, if it is
	Waiting      int64  `json:"waiting"`       // items
	WaitingBytes int64  `json:"waiting_bytes"` // bytes
	Oldest       Time   `json:"oldest"`        // when the oldest waiting item was accepted
	InFlight     int64  `json:"in_flight"`
	Dead         int64  `json:"dead"`
	Delivered    int64  `json:"delivered"`
	LastError    string `json:"last_error"`
	LastFailure  Time   `json:"last_failure"` // when that was, if it was since the start
	NextAttempt  Time   `json:"next_attempt"`
}

// Envelope is an item as JSON. At most one of Body and BodyBase64 is there.
type Envelope struct {
	ID          string            `json:"id"`
	Type        string            `json:"type"`
	Source      string            `json:"source"`
	Key         string            `json:"key"`
	Attrs       map[string]string `json:"attrs"`
	ContentType string            `json:"content_type"`
	Body        json.RawMessage   `json:"body"`
	BodyBase64  []byte            `json:"body_base64"`
}

// DeadLetter is a delivery that was given up, with its history.
type DeadLetter struct {
	Sink       string   `json:"sink"`
	ID         string   `json:"id"`
	Accepted   Time     `json:"accepted"` // absent where it is not known, of a lost one
	Died       Time     `json:"died"`
	Attempts   int      `json:"attempts"`
	FirstError string   `json:"first_error"`
	LastError  string   `json:"last_error"`
	Permanent  bool     `json:"permanent"`
	Lost       bool     `json:"lost,omitempty"` // the item is damaged or missing: there is nothing to send again
	Item       Envelope `json:"item"`           // absent where it is lost
}

// DeadFilter chooses dead letters; the fields that are set must all hold.
type DeadFilter struct {
	Sink          string     `json:"sink,omitempty"`
	IDs           []string   `json:"ids,omitempty"`
	ErrorContains string     `json:"error_contains,omitempty"`
	DiedBefore    *time.Time `json:"died_before,omitempty"`
	All           bool       `json:"all,omitempty"`
	DryRun        bool       `json:"dry_run,omitempty"` // only count
}

// Count is how many dead letters a filter chose, and of those to be requeued how many stay because they are lost.
type Count struct {
	Count int64 `json:"count"`
	Lost  int64 `json:"lost,omitempty"`
}

// Status is the server at a glance. Segments, Accepted and Recovery are kept
// as whatever the server sends.
type Status struct {
	Version       string          `json:"version"`
	UptimeSeconds float64         `json:"uptime_seconds"`
	State         string          `json:"state"` // ready, stopping, full, …
	Accepting     bool            `json:"accepting"`
	DataDir       string          `json:"data_dir"`
	Disk          Disk            `json:"disk"`
	Segments      json.RawMessage `json:"segments"`
	Accepted      json.RawMessage `json:"accepted"`
	Sinks         []Sink          `json:"sinks"`
	Recovery      json.RawMessage `json:"recovery"`
}

// Disk is what the data takes and may take, in bytes.
type Disk struct {
	Bytes       int64 `json:"bytes"`
	BudgetBytes int64 `json:"budget_bytes"`
	FreeBytes   int64 `json:"free_bytes"`
}
