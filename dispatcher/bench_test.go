package dispatcher

import (
	"context"
	"testing"

	"holdfast/queue"
	"holdfast/sinks"
	"holdfast/store"
)

// endlessFeed hands out the same few items for ever, at no cost, and stops the lane after the n-th.
type endlessFeed struct {
	n    int
	item store.Item
	stop context.CancelFunc
}

func (f *endlessFeed) Next(ctx context.Context, dst []queue.Delivery, max int) ([]queue.Delivery, error) {
	if f.n <= 0 {
		f.stop()
		return dst, ctx.Err()
	}
	for max = min(max, f.n); max > 0; max-- {
		f.n--
		dst = append(dst, queue.Delivery{ID: itemID(f.n), Item: &f.item})
	}
	return dst, nil
}

func (f *endlessFeed) Settle(queue.Delivery, queue.Outcome)      {}
func (f *endlessFeed) SettleAll([]queue.Delivery, queue.Outcome) {}
func (f *endlessFeed) Return(queue.Delivery)                     { f.n++ }

// BenchmarkLane is what the dispatcher adds to one delivery.
func BenchmarkLane(b *testing.B) {
	for _, bb := range []struct {
		name               string
		concurrency, batch int
	}{{"strict", 1, 1}, {"batch of 256", 1, 256}, {"2 workers", 2, 1}} {
		b.Run(bb.name, func(b *testing.B) {
			ctx, stop := context.WithCancel(b.Context())
			feed := &endlessFeed{n: b.N, item: store.Item{Time: 1, Body: make([]byte, 512), Attrs: store.MakeAttrs(map[string]string{"type": "t"})}, stop: stop}
			d, err := New([]Sink{{Name: "s", Feed: feed, Concurrency: bb.concurrency, Batch: Batch{Items: bb.batch}, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return nil })}}, Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := d.Run(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}
