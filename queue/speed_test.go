package queue_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"holdfast/queue"
	"holdfast/store"
)

// newSpeedBench runs a queue as in production.
func newSpeedBench(b *testing.B, o queue.Options) *bench {
	b.Helper()
	q := &bench{tb: b, Options: o, dir: b.TempDir(), newDir: b.TempDir}
	q.start()
	b.Cleanup(q.stop)
	return q
}

// BenchmarkPut is accepts of one item of 512 bytes, with three sinks.
func BenchmarkPut(b *testing.B) {
	for _, producers := range []int{1, 64} {
		b.Run(fmt.Sprint(producers), func(b *testing.B) {
			q := newSpeedBench(b, queue.Options{Sinks: named("a", "b", "c")})
			r := queue.Request{Source: "http", Items: []queue.Item{{
				Attrs: store.MakeAttrs(map[string]string{"content-type": "text/plain"}), Body: make([]byte, 512),
			}}}
			put := func() {
				if _, err := q.q.Put(context.Background(), r); err != nil {
					b.Error(err)
				}
			}
			before := q.st.Written()
			if producers == 1 {
				for b.Loop() {
					put()
				}
			} else {
				b.SetParallelism(producers / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						put()
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
			b.ReportMetric(float64(q.st.Written()-before)/float64(b.N), "written-B/item")
		})
	}
}

// BenchmarkDrain is deliveries of a backlog of 512 byte items to three sinks at once; an op is one item for all three.
func BenchmarkDrain(b *testing.B) {
	sinks := []string{"a", "b", "c"}
	q := newSpeedBench(b, queue.Options{Sinks: []queue.SinkOptions{none("a", 4096), none("b", 4096), none("c", 4096)}})
	r := queue.Request{Source: "http", Items: make([]queue.Item, 1000)}
	for i := range r.Items {
		r.Items[i].Body = make([]byte, 512)
	}
	for left := b.N; left > 0; left -= len(r.Items) {
		r.Items = r.Items[:min(left, len(r.Items))]
		if _, err := q.q.Put(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	before := q.st.Written()
	b.ResetTimer()
	var lanes sync.WaitGroup
	for _, s := range sinks {
		f := q.feed(s)
		lanes.Go(func() {
			var ds []queue.Delivery
			for n := 0; n < b.N; n += len(ds) {
				var err error
				if ds, err = f.Next(ctx, ds[:0], 1024); err != nil {
					b.Error(err)
					return
				}
				for _, d := range ds {
					f.Settle(d, done)
				}
			}
		})
	}
	lanes.Wait()
	b.StopTimer()
	b.ReportMetric(float64(len(sinks)*b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(q.st.Written()-before)/float64(b.N), "written-B/item")
}
