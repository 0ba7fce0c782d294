package harness

import (
	"context"
	"time"
)

// A System is one line of a comparison: something that takes items from producers and hands each to every sink. It has no
// state; each run starts it anew.
type System struct {
	Name  string // short; with Sinks it is unique in a comparison: "stream", "redis-always"
	Sinks int    // how many get each item; 0: it only accepts, as a floor does
	Floor string // the Name of the floor that it is compared with; a floor's own Name for a floor
	Class string // the durability class that it claims, A to D: see class.go for the proof

	// HidesSyncs says that it flushes by opening its files with O_SYNC or O_DSYNC, which strace cannot count. The proof is
	// then by the device's flushes and the gap test alone.
	HidesSyncs bool

	// Most is how many items a run puts at most, for a system so slow that a whole workload would take minutes: a rate needs
	// no more. 0: all of the workload's.
	Most int

	// Start starts it, ready to take items and with all sinks connected, and returns what runs. ctx ends with the whole
	// session; what is a process of its own must die with this one.
	Start func(ctx context.Context, p Place) (Running, error)
}

// A Place is what a run gives to a system.
type Place struct {
	Dir   string // empty and on a real disk; all data goes there. It is removed after Stop, by the harness.
	Items int    // how many items the run will put at most, over all producers
	Tally *Tally // each sink, 0 to Sinks-1, calls Tally.Scan with what it got, before it acknowledges that
}

// Running is a system that has been started.
type Running interface {
	// Dial connects one producer, which puts n items at a time. It is called before the clock runs.
	Dial(n int) (Client, error)
	// PIDs are the processes that do the system's work, at this moment; none: it is a library, in this process.
	PIDs() []int
	// Stop ends it in good order, and waits until it has ended. It leaves the data where they are.
	Stop() error
}

// A Client is one producer's connection. It is used by one goroutine.
type Client interface {
	// Put hands over items seq to seq+n-1, n as dialled, and returns when all of them are accepted: for class A, on disk.
	// The bodies are those of NewBody with SetSeq.
	Put(ctx context.Context, seq, n int) error
	Close() error
}

// Dial is the method of a Running: it opens a connection that takes n items at a time.
type Dial func(n int) (Client, error)

// A Counter is a Running that knows what it has written since it was started. Where it does not, the table has what the
// device says alone.
type Counter interface {
	// Written is in bytes, in whole pages, and in flushes; flushes is 0 where only the bytes are known.
	Written() (bytes, flushes float64, err error)
}

// A Holder is a Running whose sinks can be made to wait, and that can be started again with what then waits for them.
type Holder interface {
	Hold() error    // from its return on, sinks get nothing
	Release() error // sinks get everything again
	// Restart stops it in good order, starts it again on the same data, and returns when it takes items, still held: how
	// long the start alone took. Connections of producers are gone.
	Restart(ctx context.Context) (start time.Duration, err error)
}
