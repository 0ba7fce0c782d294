package queue

import (
	"errors"
	"fmt"

	"holdfast/store"
)

// Errors without more to say.
var (
	ErrStopping  = errors.New("the queue is stopping")
	ErrUncertain = errors.New("the outcome is uncertain: repeat with the same idempotency key")
	ErrNoSink    = errors.New("no such sink")
	ErrNotFound  = store.ErrNotFound
	ErrReleased  = store.ErrReleased
	ErrLost      = store.ErrLost
)

// An InvalidError refuses a request for what one of its items holds.
type InvalidError struct {
	Item          int // its index in the request
	Field, Reason string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("item %d: %s: %s", e.Item, e.Field, e.Reason)
}

// A TooLargeError refuses a request that never fits.
type TooLargeError struct {
	Item        int // its index in the request; -1: the request as a whole
	Size, Limit int64
	What        string // what is limited, with its unit
}

func (e *TooLargeError) Error() string {
	if e.Item < 0 {
		return fmt.Sprintf("the request has %d %s, at most %d are allowed", e.Size, e.What, e.Limit)
	}
	return fmt.Sprintf("item %d has %d %s, at most %d are allowed", e.Item, e.Size, e.What, e.Limit)
}

// A MismatchError refuses an idempotency key that was used with another body.
type MismatchError struct {
	Item int // its index in the request
	Key  string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("item %d: idempotency key %q was used with another body", e.Item, e.Key)
}

// A FullError says that nothing was stored for want of room, which comes back by itself.
type FullError struct {
	Sink string // whose bound is reached; empty: the budget or the disk
	Disk bool   // the disk is full, not the budget
}

func (e *FullError) Error() string {
	switch {
	case e.Sink != "":
		return "sink " + e.Sink + " is full"
	case e.Disk:
		return "the disk is full"
	default:
		return "the disk budget is used up"
	}
}
