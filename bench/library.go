package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/sinks"
	"holdfast/store"
)

// A counter is a sink that only counts.
type counter struct {
	n    *atomic.Int64
	want int64
	full chan struct{} // closed when all sinks together have counted want
}

func (c *counter) Deliver(_ context.Context, items []sinks.Item) error {
	if c.n.Add(int64(len(items))) == c.want {
		close(c.full)
	}
	return nil
}

func (c *counter) Close() error { return nil }

// A house is holdfast in this process.
type house struct {
	st     *store.Store
	queues *queue.Queues
	sinks  *counter
	dir    string
	end    func() error
}

// open builds it in an empty directory; lanes start at once if they are wanted.
func open(dir string, want int64, lanes bool) (*house, error) {
	path := filepath.Join(dir, "holdfast")
	st, _, err := recovery.Open(path, recovery.Options{})
	if err != nil {
		return nil, err
	}
	o := queue.Options{}
	for i := range sinkCount {
		o.Sinks = append(o.Sinks, queue.SinkOptions{Name: "sink" + strconv.Itoa(i), Window: 4096})
	}
	q, err := queue.Open(st, o)
	if err != nil {
		return nil, err
	}
	h := &house{st: st, queues: q, dir: path, sinks: &counter{n: new(atomic.Int64), want: want, full: make(chan struct{})}}
	stopQueues := start(q.Run)
	stopLanes := func() error { return nil }
	if lanes {
		stopLanes, err = h.deliver()
	}
	h.end = func() error { return errors.Join(stopLanes(), stopQueues(), st.Close(), os.RemoveAll(path)) }
	return h, err
}

// start runs something until stop is called, which returns its error.
func start(run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() error { cancel(); return <-done }
}

// deliver starts the lanes, with batches.
func (h *house) deliver() (stop func() error, err error) {
	var list []dispatcher.Sink
	for i := range sinkCount {
		name := "sink" + strconv.Itoa(i)
		feed, err := h.queues.Feed(name)
		if err != nil {
			return func() error { return nil }, err
		}
		list = append(list, dispatcher.Sink{Name: name, Feed: feed, Sink: h.sinks, Batch: dispatcher.Batch{Items: 256}})
	}
	d, err := dispatcher.New(list, dispatcher.Options{})
	if err != nil {
		return func() error { return nil }, err
	}
	return start(d.Run), nil
}

// runLibrary accepts the items while the lanes deliver them.
func runLibrary(w workload, dir string) (result, error) {
	total := int64(w.items/w.batch*w.batch) * sinkCount
	h, err := open(dir, total, true)
	if err != nil {
		return result{}, err
	}
	wrote, device := h.st.Written(), deviceBytes(h.dir)
	began := time.Now()
	err = h.put(w)
	accepted := time.Since(began)
	if err != nil {
		return result{}, errors.Join(err, h.end())
	}
	select {
	case <-h.sinks.full:
	case <-time.After(time.Minute):
		return result{}, errors.Join(fmt.Errorf("%d of %d deliveries after a minute", h.sinks.n.Load(), total), h.end())
	}
	delivered := time.Since(began)
	n := float64(w.items)
	r := result{rate: n / accepted.Seconds(), e2e: n / delivered.Seconds(), bytes: float64(h.st.Written()-wrote) / n, device: float64(deviceBytes(h.dir)-device) / n}
	return r, h.end()
}

func (h *house) put(w workload) error {
	return produce(w, func(bodies [][]byte) error {
		items := make([]queue.Item, len(bodies))
		for i := range items {
			items[i].Body = bodies[i]
		}
		_, err := h.queues.Put(context.Background(), queue.Request{Source: "http", Items: items})
		return err
	})
}

// drain fills a store while nobody reads, and empties it: once by the feeds alone, once by lanes.
func drain(dir string, items int) (feeds, lanes float64, err error) {
	for _, withLanes := range []bool{false, true} {
		h, err := open(dir, int64(items)*sinkCount, false)
		if err != nil {
			return 0, 0, err
		}
		if err := h.put(workload{producers: 4, batch: 250, items: items}); err != nil {
			return 0, 0, errors.Join(err, h.end())
		}
		began := time.Now()
		stop := func() error { return nil }
		if withLanes {
			stop, err = h.deliver()
			<-h.sinks.full
		} else {
			err = h.empty(items)
		}
		rate := float64(items) * sinkCount / time.Since(began).Seconds()
		if err := errors.Join(err, stop(), h.end()); err != nil {
			return 0, 0, err
		}
		if withLanes {
			lanes = rate
		} else {
			feeds = rate
		}
	}
	return feeds, lanes, nil
}

// empty takes everything from the feeds, a goroutine each.
func (h *house) empty(items int) error {
	errs := make([]error, sinkCount)
	var wg sync.WaitGroup
	for i := range sinkCount {
		wg.Go(func() { errs[i] = h.emptyOne("sink"+strconv.Itoa(i), items) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (h *house) emptyOne(sink string, items int) error {
	f, err := h.queues.Feed(sink)
	if err != nil {
		return err
	}
	var ds []queue.Delivery
	for n := 0; n < items; n += len(ds) {
		if ds, err = f.Next(context.Background(), ds[:0], items); err != nil {
			return err
		}
		for _, d := range ds {
			f.Settle(d, queue.Outcome{Kind: queue.Done})
		}
		if n == 0 && len(ds) == 0 {
			return errors.New("nothing to drain")
		}
	}
	return nil
}

// deviceBytes is what the device under a path has written since boot; 0 where the system does not say.
func deviceBytes(path string) int64 {
	var st unix.Stat_t
	f, err := os.Open("/proc/diskstats")
	if err != nil || unix.Stat(path, &st) != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		v := strings.Fields(s.Text())
		if len(v) > 9 && v[0] == strconv.Itoa(int(unix.Major(st.Dev))) && v[1] == strconv.Itoa(int(unix.Minor(st.Dev))) {
			sectors, _ := strconv.ParseInt(v[9], 10, 64)
			return sectors * 512
		}
	}
	return 0
}
