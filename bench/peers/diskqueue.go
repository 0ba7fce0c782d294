package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nsqio/go-diskqueue"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// diskQueue is nsq's queue on disk as a library: one for each sink, so that a body is stored K times. It flushes after
// each write, and answers before: class B.
func diskQueue(sinks int) harness.System {
	return harness.System{Name: "diskqueue", Floor: floor.NameHere, Sinks: sinks, Class: "B", Start: func(_ context.Context, p harness.Place) (harness.Running, error) {
		return startDiskQueue(sinks, p)
	}}
}

func startDiskQueue(sinks int, p harness.Place) (harness.Running, error) {
	const fileBytes, syncEvery = 100 << 20, 1
	logf := func(level diskqueue.LogLevel, format string, args ...any) {}
	var queues []diskqueue.Interface
	for i := range sinks {
		name := fmt.Sprintf("sink%d", i)
		queues = append(queues, diskqueue.New(name, p.Dir, fileBytes, 1, 1<<20, syncEvery, 2*time.Second, logf))
	}
	sink := func(ctx context.Context, i int) error {
		for {
			select {
			case body := <-queues[i].ReadChan(): // there is no other acknowledgement than to read on
				p.Tally.Scan(i, body)
			case <-ctx.Done():
				return nil
			}
		}
	}
	put := func(_ context.Context, bodies bodies) error {
		return each(sinks, func(i int) error {
			for _, b := range bodies {
				if err := queues[i].Put(b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w := startWorkers(sinks, sink)
	return &library{put, func() error {
		return w.stop(func() error { return each(sinks, func(i int) error { return queues[i].Close() }) })
	}}, nil
}
