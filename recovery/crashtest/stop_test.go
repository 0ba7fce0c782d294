package crashtest_test

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
)

// Guarantee G3. A stop in order costs no repeat at all: what was delivered is marked.
func TestGracefulStopMarksEverything(t *testing.T) {
	r := newRig(t, three()...)
	r.data = "mark_delay: 1h, mark_every: 1000000, min_free: 0" // only the stop marks
	r.server = ", shutdown_timeout: 5s"
	producers := four(r)[1:]
	for range 3 {
		r.start()
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for _, produce := range producers {
			all.Go(func() { produce(ctx) })
		}
		r.wait(ctx, 300*time.Millisecond)
		began := time.Now()
		r.process.Signal(syscall.SIGTERM)
		code, at, err := r.process.Wait(t.Context())
		stop()
		all.Wait()
		if err != nil || code != 0 || at.Sub(began) > 6*time.Second {
			t.Fatalf("exit %d after %v, %v\n%s", code, at.Sub(began), err, r.process.Log())
		}
		r.end(at)
	}
	r.start()
	r.finish(producers[1])
	r.drain()
	v := r.judge(bounds)
	if v.Repeats > 0 {
		t.Errorf("%d items were delivered again after a stop in order", v.Repeats)
	}
	t.Logf("| SIGTERM, 3 sinks | stops 3 | %v |", v)
}

// Guarantee G3, in part: a second signal ends a stop that a receiver holds up.
func TestSecondSignalExitsAtOnce(t *testing.T) {
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(second.String(), func(t *testing.T) {
			r := newRig(t, &receiver{name: "hanging", workers: 1})
			r.receivers[0].hangs.Store(true)
			r.server = ", shutdown_timeout: 20s"
			r.start()
			r.one("held", book.Durable)
			r.until(5*time.Second, "the attempt is in flight", func() error { return r.inFlight("hanging", 1) })
			r.process.Signal(syscall.SIGTERM)
			r.until(5*time.Second, "the stop has begun", func() error { return r.refusing() })
			began := time.Now()
			r.process.Signal(second)
			code, at, err := r.process.Wait(t.Context())
			if err != nil || code != 128+int(second) || at.Sub(began) > time.Second {
				t.Errorf("exit %d after %v, %v\n%s", code, at.Sub(began), err, r.process.Log())
			}
			r.end(at)
			r.receivers[0].hangs.Store(false)
			r.start()
			r.drain()
			r.judge(bounds)
		})
	}
}

// Guarantee G3, in part: a receiver that hangs does not hold up a stop for longer than shutdown_timeout.
func TestStopIsBoundedByItsTimeout(t *testing.T) {
	r := newRig(t, &receiver{name: "hanging", workers: 1})
	r.receivers[0].hangs.Store(true)
	r.server = ", shutdown_timeout: 500ms"
	r.start()
	r.one("held", book.Durable)
	r.until(5*time.Second, "the attempt is in flight", func() error { return r.inFlight("hanging", 1) })
	began := time.Now()
	r.process.Signal(syscall.SIGTERM)
	code, at, err := r.process.Wait(t.Context())
	if took := at.Sub(began); err != nil || code != 0 || took < 400*time.Millisecond || took > 2*time.Second {
		t.Errorf("exit %d after %v, %v\n%s", code, took, err, r.process.Log())
	}
	r.end(at)
	r.receivers[0].hangs.Store(false)
	r.start()
	r.drain()
	r.judge(bounds)
}
