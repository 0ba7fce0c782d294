package main

import (
	"context"

	"holdfast/bench/harness"
)

// A library is a peer in this process.
type library struct {
	put  func(ctx context.Context, bodies bodies) error // safe for concurrent use
	stop func() error
}

func (l *library) Dial(n int) (harness.Client, error) {
	return &producer{bodies: newBodies(n), put: l.put}, nil
}

func (l *library) PIDs() []int { return nil }

func (l *library) Stop() error { return l.stop() }
