package subject

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/sinks"
	"holdfast/store"
)

// deliveryBatch is how many items a sink takes at once, in every part of the bench.
const deliveryBatch = 256

// NameLibrary is holdfast in this process.
const NameLibrary = "library"

// Library is holdfast in this process, with so many sinks that only count.
func Library(sinks int) harness.System {
	return harness.System{Name: NameLibrary, Sinks: sinks, Floor: floor.NameHere, Class: "A",
		Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
			h := &house{path: filepath.Join(p.Dir, "library"), tally: p.Tally}
			if _, err := h.Restart(ctx); err != nil {
				return nil, errors.Join(err, h.Stop())
			}
			return h, nil
		}}
}

// A house is holdfast in this process. It is a harness.Holder.
type house struct {
	path   string
	tally  *harness.Tally
	st     *store.Store
	queues *queue.Queues
	lanes  []dispatcher.Sink
	end    []func() error // what Stop does, in this order
	held   bool           // nothing is delivered
}

// Restart opens the store, for the first time or again, and runs what it is held to run.
func (h *house) Restart(context.Context) (start time.Duration, err error) {
	if err := h.Stop(); err != nil {
		return 0, err
	}
	began := time.Now()
	if h.st, _, err = recovery.Open(h.path, recovery.Options{}); err != nil {
		return 0, err
	}
	h.end = []func() error{h.st.Close}
	if err := h.open(); err != nil {
		return 0, err
	}
	h.end = slices.Insert(h.end, 0, background(h.queues.Run))
	if !h.held {
		err = h.Release()
	}
	return time.Since(began), err
}

// open opens the queues and makes a lane for each sink.
func (h *house) open() (err error) {
	o := queue.Options{}
	for i := range h.tally.Sinks() {
		o.Sinks = append(o.Sinks, queue.SinkOptions{Name: SinkName(i), Window: 4096})
	}
	if h.queues, err = queue.Open(h.st, o); err != nil {
		return err
	}
	h.lanes = nil
	for i := range h.tally.Sinks() {
		feed, err := h.queues.Feed(SinkName(i))
		if err != nil {
			return err
		}
		h.lanes = append(h.lanes, dispatcher.Sink{Name: SinkName(i), Feed: feed, Sink: &counter{tally: h.tally, number: i}, Batch: dispatcher.Batch{Items: deliveryBatch}})
	}
	return nil
}

// Hold ends the lanes, by a restart without them.
func (h *house) Hold() error {
	h.held = true
	_, err := h.Restart(context.Background())
	return err
}

// Release runs the lanes.
func (h *house) Release() error {
	d, err := dispatcher.New(h.lanes, dispatcher.Options{})
	if err != nil {
		return err
	}
	h.held = false
	h.end = slices.Insert(h.end, 0, background(d.Run))
	return nil
}

// Stop ends what runs.
func (h *house) Stop() (err error) {
	for _, end := range h.end {
		err = errors.Join(err, end())
	}
	h.end = nil
	return err
}

func (h *house) PIDs() []int { return nil }

// Written is of the store that is open, since it was opened.
func (h *house) Written() (bytes, flushes float64, err error) { return float64(h.st.Written()), 0, nil }

// SinkName is that of a sink by its number.
func SinkName(i int) string { return fmt.Sprintf("sink%d", i) }

// background runs something until stop is called, which returns its error.
func background(run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() error { cancel(); return <-done }
}

// A libraryClient is a producer in the queue's process.
type libraryClient struct {
	queues *queue.Queues
	items  []queue.Item
}

func (h *house) Dial(n int) (harness.Client, error) {
	c := &libraryClient{h.queues, make([]queue.Item, n)}
	for i := range c.items {
		c.items[i].Body = harness.NewBody()
	}
	return c, nil
}

func (c *libraryClient) Put(ctx context.Context, seq, n int) error {
	for i := range n {
		harness.SetSeq(c.items[i].Body, seq+i)
	}
	_, err := c.queues.Put(ctx, queue.Request{Source: "http", Items: c.items[:n]})
	return err
}

func (c *libraryClient) Close() error { return nil }

// A counter is a sink that only counts.
type counter struct {
	tally  *harness.Tally
	number int
	bodies [][]byte // of the Deliver that runs: there is one at a time
}

func (c *counter) Deliver(_ context.Context, items []sinks.Item) error {
	c.bodies = c.bodies[:0]
	for i := range items {
		c.bodies = append(c.bodies, items[i].Body)
	}
	c.tally.Scan(c.number, c.bodies...)
	clear(c.bodies) // they are the log's
	return nil
}

func (c *counter) Close() error { return nil }
