package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/beeker1121/goque"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// goqueLevelDB is a goque for each sink, on leveldb. It has no way to ask for a flush: class C.
func goqueLevelDB(sinks int) harness.System {
	return harness.System{Name: "goque", Floor: floor.NameHere, Sinks: sinks, Class: "C", Start: func(_ context.Context, p harness.Place) (harness.Running, error) {
		return startGoque(sinks, p)
	}}
}

func startGoque(sinks int, p harness.Place) (harness.Running, error) {
	var queues []*goque.Queue
	stop := func() error {
		var err error
		for _, q := range queues {
			err = errors.Join(err, q.Close())
		}
		return err
	}
	for i := range sinks {
		q, err := goque.OpenQueue(filepath.Join(p.Dir, fmt.Sprintf("sink%d", i)))
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		queues = append(queues, q)
	}
	bells := newBells(sinks)
	put := func(_ context.Context, bodies bodies) error {
		return each(sinks, func(i int) error {
			defer bells[i].ring()
			for _, b := range bodies {
				if _, err := queues[i].Enqueue(b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w := startWorkers(sinks, func(ctx context.Context, i int) error {
		for ctx.Err() == nil {
			if err := takeGoque(ctx, queues[i], bells[i], func(body []byte) { p.Tally.Scan(i, body) }); err != nil {
				return err
			}
		}
		return nil
	})
	return &library{put, func() error { return errors.Join(w.stop(), stop()) }}, nil
}

// takeGoque delivers the next item, and removes it then; where there is none it waits for the bell.
func takeGoque(ctx context.Context, q *goque.Queue, b bell, got func(body []byte)) error {
	it, err := q.Peek()
	if errors.Is(err, goque.ErrEmpty) {
		return b.wait(ctx)
	}
	if err != nil {
		return err
	}
	got(it.Value)
	_, err = q.Dequeue()
	return err
}
