package harness

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// connect opens one client for each producer.
func connect(w Workload, open Dial) (all []Client, err error) {
	for range w.Producers {
		c, err := open(w.Batch)
		if err != nil {
			return nil, errors.Join(err, closeAll(all))
		}
		all = append(all, c)
	}
	return all, nil
}

func closeAll(all []Client) (err error) {
	for _, c := range all {
		err = errors.Join(err, c.Close())
	}
	return err
}

// Produced is what the producers saw.
type Produced struct {
	Began     time.Time // of the first put
	Took      time.Duration
	Latencies []time.Duration // of each put
}

// Percentiles are those of the puts. The latencies are sorted afterwards.
func (p Produced) Percentiles() Percentiles { return percentilesOf(p.Latencies) }

// Produce puts items from first on, each producer as fast as it is answered.
func Produce(ctx context.Context, w Workload, first int, open Dial) (Produced, error) {
	clients, err := connect(w, open)
	if err != nil {
		return Produced{}, err
	}
	var next atomic.Int64
	p, err := together(ctx, clients, func(ctx context.Context, c Client, latencies *[]time.Duration) error {
		for {
			seq := int(next.Add(int64(w.Batch))) - w.Batch
			if seq+w.Batch > w.Items {
				return nil
			}
			began := time.Now()
			if err := c.Put(ctx, first+seq, w.Batch); err != nil {
				return err
			}
			*latencies = append(*latencies, time.Since(began))
		}
	})
	return p, errors.Join(err, closeAll(clients))
}

// Offer puts items at a rate, whatever the answers take, for as long as w has items. A put that was due while its
// producer still waited counts from when it was due, so that a slow system does not hide how long it makes others wait.
func Offer(ctx context.Context, w Workload, first int, perSecond float64, open Dial) (Produced, error) {
	clients, err := connect(w, open)
	if err != nil {
		return Produced{}, err
	}
	every := time.Duration(float64(w.Producers*w.Batch) / perSecond * float64(time.Second))
	start := time.Now()
	var number atomic.Int64
	p, err := together(ctx, clients, func(ctx context.Context, c Client, latencies *[]time.Duration) error {
		mine := int(number.Add(1)) - 1
		due := start.Add(every * time.Duration(mine) / time.Duration(w.Producers))
		for seq := mine * w.Batch; seq+w.Batch <= w.Items; seq += w.Producers * w.Batch {
			began := due
			if early := time.Until(due); early > 0 {
				if err := Sleep(ctx, early); err != nil {
					return err
				}
				began = time.Now() // a timer that rings late is not the system's fault
			}
			if err := c.Put(ctx, first+seq, w.Batch); err != nil {
				return err
			}
			*latencies = append(*latencies, time.Since(began))
			due = due.Add(every)
		}
		return nil
	})
	return p, errors.Join(err, closeAll(clients))
}

// together runs do for every client, and gathers their latencies. The first error ends all.
func together(ctx context.Context, clients []Client, do func(context.Context, Client, *[]time.Duration) error) (Produced, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	each := make([][]time.Duration, len(clients))
	began := time.Now()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			if err := do(ctx, c, &each[i]); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	p := Produced{Began: began, Took: time.Since(began)}
	for _, l := range each {
		p.Latencies = append(p.Latencies, l...)
	}
	return p, context.Cause(ctx)
}

// Sleep waits, or returns why not.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
