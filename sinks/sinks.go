// Package sinks is the contract between holdfast and the places that items go to. Each destination is a package of its
// own below this one; sinktest holds the suite that every one of them passes.
//
// A sink knows items and its destination, and nothing of queues, retries or disks: what it returns is a verdict (see
// Permanent, Unavailable, RetryAfter, Gone and BatchError), and the dispatcher decides what follows.
package sinks

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"
)

// A Sink is one destination.
//
// Deliver returns nil only once the destination holds every item, durably if it can say so. It may be called again with
// the same items after a failure or a crash; an item's ID never changes, so that the destination can tell. It returns
// soon after ctx is done. Items and their bodies are the caller's: a sink neither changes them nor keeps them after it
// returned. One item that fails for good is not the fault of its batch: BatchError says which.
//
// A Sink is safe for concurrent use. Close ends what Deliver started, may be called more than once, and is not called
// while a Deliver runs that still obeys its context.
type Sink interface {
	Deliver(ctx context.Context, items []Item) error
	Close() error
}

// An Item is what a sink sees of one item: the same in every attempt and for every sink, but for Attempt.
type Item struct {
	ID       uuid.UUID
	Accepted time.Time
	Attempt  int        // 1 for the first
	Key      string     // empty: none
	Attrs    Attributes // nil: none
	Body     []byte
}

// Attributes are an item's names and values, immutable. "type", "source", "content-type" and "traceparent" have a
// meaning of their own; the others are the producer's.
type Attributes interface {
	Get(name string) string // empty where the name is missing
	All() iter.Seq2[string, string]
}

// Attr returns one attribute of the item, empty where it is missing.
func (it *Item) Attr(name string) string {
	if it.Attrs == nil {
		return ""
	}
	return it.Attrs.Get(name)
}
