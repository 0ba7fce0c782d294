package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/joncrlsn/dque"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// A dqueItem is what a dque stores, with encoding/gob.
type dqueItem struct{ Body []byte }

// dqueTurbo is a dque for each sink. A put is one flush of each queue, however many items it has: that is its "turbo" with
// an own flush, and faster than its default, which flushes for each item and each removal. Class A.
func dqueTurbo(sinks int) harness.System {
	return harness.System{Name: "dque", Floor: floor.NameHere, Sinks: sinks, Class: "A", Start: func(_ context.Context, p harness.Place) (harness.Running, error) {
		return startDque(sinks, p)
	}}
}

// A flushedDque orders puts, because a full segment is closed without a flush: it must not be another's that was not yet
// flushed.
type flushedDque struct {
	mu    sync.Mutex
	queue *dque.DQue
}

func startDque(sinks int, p harness.Place) (harness.Running, error) {
	queues := make([]flushedDque, sinks)
	stop := func() error {
		var err error
		for i := range queues {
			if q := queues[i].queue; q != nil {
				err = errors.Join(err, q.Close())
			}
		}
		return err
	}
	for i := range queues {
		// One segment takes all, so that a put never goes over the end of one.
		q, err := dque.New(fmt.Sprintf("sink%d", i), p.Dir, p.Items+1, func() any { return new(dqueItem) })
		if err == nil {
			queues[i].queue, err = q, q.TurboOn()
		}
		if err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	w := startWorkers(sinks, func(_ context.Context, i int) error { return queues[i].deliver(p.Tally, i) })
	put := func(_ context.Context, bodies bodies) error {
		return each(sinks, func(i int) error { return queues[i].put(bodies) })
	}
	return &library{put, func() error { return w.stop(stop) }}, nil
}

func (q *flushedDque) put(bodies bodies) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range bodies {
		if err := q.queue.Enqueue(&dqueItem{append([]byte(nil), b...)}); err != nil { // it is kept in memory, too
			return err
		}
	}
	return q.queue.TurboSync()
}

// deliver removes an item after the sink has it. The removal is on disk with the next put.
func (q *flushedDque) deliver(t *harness.Tally, sink int) error {
	for {
		v, err := q.queue.PeekBlock()
		if err != nil {
			return err
		}
		t.Scan(sink, v.(*dqueItem).Body)
		if _, err := q.queue.Dequeue(); err != nil {
			return err
		}
	}
}
