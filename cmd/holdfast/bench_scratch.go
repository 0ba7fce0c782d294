package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/sinks"
	"holdfast/store"
)

// memoryFilesystem is the magic number of tmpfs, on which a flush costs nothing (statfs(2)).
const memoryFilesystem = 0x01021994

// benchScratch measures a queue in a directory that is gone afterwards.
func benchScratch(ctx context.Context, g *cli.Global, f benchFlags) (r *benchResult, err error) {
	parent := f.data
	if parent == "" {
		parent = os.TempDir()
	}
	if f.most, err = f.room(parent); err != nil {
		return nil, err
	}
	if fs, ok := statfs(parent); ok && uint32(fs.Type) == memoryFilesystem {
		g.Notice("%s is in memory, where a flush costs nothing: --data names a directory on a disk", parent)
	}
	dir, err := os.MkdirTemp(parent, "holdfast-bench-")
	if err != nil {
		return nil, &cli.ExitError{Code: cli.ExitIO, Err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := openScratch(dir, f)
	if err != nil {
		return nil, coded(err)
	}
	r = newBenchResult(f, dir, "calls", f.sinks)
	err = r.run(ctx, g, f, s.way(f))
	if f.items == 0 && r.times.count() == int64(f.most) {
		g.Notice("it ended before --duration, for %s has no room for more", parent)
	}
	if s.owe(r.times.count() * int64(f.sinks)); err == nil && f.sinks > 0 {
		select {
		case <-s.full:
			r.delivered = r.took + time.Since(r.ended)
		case <-ctx.Done():
			err = interruption(ctx.Err())
		}
	}
	return r, errors.Join(err, coded(s.close()))
}

// room is how many items the disk has room for. It refuses what would fill it.
func (f benchFlags) room(dir string) (items int, err error) {
	const perItem, reserve = 128, 256 * mib
	free := freeBytes(dir)
	items = int(min(benchMostItems, (free-reserve)/int64(f.size+perItem)))
	if wanted := max(1, f.items); items < wanted {
		return 0, &cli.ExitError{Code: cli.ExitTemporary, Err: fmt.Errorf("%s has %s free, too little for %s items of %s and %s to spare: want fewer items, or another directory",
			dir, cli.Size(free), cli.Count(int64(wanted)), cli.Size(int64(f.size)), cli.Size(reserve))}
	}
	return items, nil
}

// A scratch is a whole holdfast but for its listener.
type scratch struct {
	st     *store.Store
	queues *queue.Queues
	stops  []func() error // in the order of a stop
	left   atomic.Int64   // deliveries that are owed, less those that came; below zero until owe
	full   chan struct{}  // closed when all that are owed have come
}

func openScratch(dir string, f benchFlags) (*scratch, error) {
	st, _, err := recovery.Open(dir, recovery.Options{})
	if err != nil {
		return nil, err
	}
	s := &scratch{st: st, full: make(chan struct{})}
	if err := s.start(f); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// owe adds deliveries that must come, or with a minus, that came.
func (s *scratch) owe(deliveries int64) {
	if s.left.Add(deliveries) == 0 {
		close(s.full)
	}
}

func (s *scratch) start(f benchFlags) (err error) {
	var o queue.Options
	for i := range f.sinks {
		o.Sinks = append(o.Sinks, queue.SinkOptions{Name: fmt.Sprintf("sink%d", i)})
	}
	if s.queues, err = queue.Open(s.st, o); err != nil {
		return err
	}
	var lanes []dispatcher.Sink
	for _, k := range o.Sinks {
		feed, err := s.queues.Feed(k.Name)
		if err != nil {
			return err
		}
		lanes = append(lanes, dispatcher.Sink{Name: k.Name, Feed: feed, Sink: countingSink{s}, Batch: dispatcher.Batch{Items: 256}})
	}
	d, err := dispatcher.New(lanes, dispatcher.Options{})
	if err != nil {
		return err
	}
	s.stops = []func() error{background(d.Run), background(s.queues.Run)}
	return nil
}

// background runs something until stop is called, which returns its error.
func background(run func(context.Context) error) (stop func() error) {
	execute, interrupt := actor(run)
	done := make(chan error, 1)
	go func() { done <- execute() }()
	return func() error { interrupt(nil); return <-done }
}

func (s *scratch) close() (err error) {
	for _, stop := range s.stops {
		err = errors.Join(err, stop())
	}
	return errors.Join(err, s.st.Close())
}

// way puts requests of a batch each.
func (s *scratch) way(f benchFlags) benchWay {
	body := benchBody(f.size)
	return func(ctx context.Context, take func(int) int, done func(int, time.Duration)) error {
		items := make([]queue.Item, f.batch)
		for i := range items {
			items[i].Body = body
		}
		for n := take(f.batch); n > 0; n = take(f.batch) {
			began := time.Now()
			if _, err := s.queues.Put(ctx, queue.Request{Source: "http", Items: items[:n]}); err != nil {
				return err
			}
			done(n, time.Since(began))
		}
		return nil
	}
}

// A countingSink takes everything.
type countingSink struct{ s *scratch }

func (c countingSink) Deliver(_ context.Context, items []sinks.Item) error {
	c.s.owe(-int64(len(items)))
	return nil
}

func (c countingSink) Close() error { return nil }
