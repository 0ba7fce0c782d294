package main

import (
	"cmp"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"

	"holdfast/cmd/holdfast/internal/cli"
)

// A benchResult is what bench found; its JSON form is what -o json prints.
type benchResult struct {
	Target    string  `json:"target"` // the server, or the scratch directory
	Items     int     `json:"items"`  // that were accepted
	Size      int     `json:"size_bytes"`
	Producers int     `json:"producers"`
	Batch     int     `json:"batch"`
	By        string  `json:"by"` // what the items are put by: calls, requests, streams
	Sinks     int     `json:"sinks"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"items_per_s"`
	Bytes     float64 `json:"bytes_per_s"`
	Delivered float64 `json:"delivered_items_per_s,omitempty"` // to each sink of a scratch queue, until the last had the last one
	Latency   struct {
		Min  float64 `json:"min"`
		P50  float64 `json:"p50"`
		P90  float64 `json:"p90"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p999"`
		Max  float64 `json:"max"`
	} `json:"accept_latency_us"`

	times     benchTimes
	took      time.Duration // until all were accepted
	ended     time.Time     // when that was
	delivered time.Duration // until all were delivered; 0: not known
}

func newBenchResult(f benchFlags, target, by string, sinks int) *benchResult {
	return &benchResult{Target: target, By: by, Size: f.size, Producers: f.producers, Batch: f.batch, Sinks: sinks}
}

// sum fills in what is computed.
func (r *benchResult) sum() {
	r.Items, r.Seconds = int(r.times.count()), r.took.Seconds()
	r.PerSecond = float64(r.Items) / r.Seconds
	r.Bytes = r.PerSecond * float64(r.Size)
	if r.delivered > 0 {
		r.Delivered = float64(r.Items) / r.delivered.Seconds()
	}
	for _, q := range []struct {
		to *float64
		at float64
	}{{&r.Latency.Min, 0}, {&r.Latency.P50, 0.5}, {&r.Latency.P90, 0.9}, {&r.Latency.P99, 0.99}, {&r.Latency.P999, 0.999}, {&r.Latency.Max, 1}} {
		*q.to = float64(r.times.quantile(q.at).Nanoseconds()) / 1e3
	}
}

func (r *benchResult) table(w io.Writer) {
	fmt.Fprintf(w, "%s items of %s, producers %s, batch %s, by %s, sinks %d, %s\n", cli.Count(int64(r.Items)), cli.Size(int64(r.Size)),
		cli.Count(int64(r.Producers)), cli.Count(int64(r.Batch)), r.By, r.Sinks, r.Target)
	fmt.Fprintf(w, "accepted   %s items/s ~ %s/s, durable, in %.2f s\n", cli.Count(int64(r.PerSecond)), cli.Size(int64(r.Bytes)), r.Seconds)
	if r.Delivered > 0 {
		fmt.Fprintf(w, "delivered  %s items/s to each of the sinks\n", cli.Count(int64(r.Delivered)))
	}
	us := func(v float64) time.Duration { return time.Duration(v * 1e3).Round(time.Microsecond) }
	l := r.Latency
	fmt.Fprintf(w, "latency    min %v, p50 %v, p90 %v, p99 %v, p99.9 %v, max %v\n", us(l.Min), us(l.P50), us(l.P90), us(l.P99), us(l.P999), us(l.Max))
}

// benchTimes counts times in buckets that are three percent wide, so that any number of items takes the same memory. It is
// safe for concurrent use.
type benchTimes struct {
	buckets [64 * benchSteps]atomic.Int64
	total   atomic.Int64
}

// benchSteps is how many buckets there are between a power of two and the next.
const benchSteps = 32

func (t *benchTimes) add(n int, took time.Duration) {
	t.buckets[benchBucket(uint64(max(took, 0)))].Add(int64(n))
	t.total.Add(int64(n))
}

func (t *benchTimes) count() int64 { return t.total.Load() }

// benchBucket is where a number belongs: those below 64 have a bucket each, which keeps the rest in order.
func benchBucket(v uint64) int {
	if v < 2*benchSteps {
		return int(v)
	}
	shift := bits.Len64(v) - bits.Len64(2*benchSteps-1)
	return shift*benchSteps + int(v>>shift)
}

// benchLowest is the smallest number of a bucket.
func benchLowest(bucket int) uint64 {
	if bucket < 2*benchSteps {
		return uint64(bucket)
	}
	shift := bucket/benchSteps - 1
	return uint64(bucket-shift*benchSteps) << shift
}

// quantile is the lower end of the bucket that the time at q is in, q from 0 to 1.
func (t *benchTimes) quantile(q float64) time.Duration {
	rank, seen := max(1, int64(q*float64(t.count())+0.999999)), int64(0)
	for i := range t.buckets {
		if seen += t.buckets[i].Load(); seen >= rank {
			return time.Duration(benchLowest(i))
		}
	}
	return 0
}

// A benchBar shows how many items are accepted; nil shows nothing.
type benchBar struct{ bar *progressbar.ProgressBar }

// newBenchBar is a spinner where nobody knows how many items there will be.
func newBenchBar(w io.Writer, items int) *benchBar {
	if w == nil {
		return nil
	}
	return &benchBar{progressbar.NewOptions(cmp.Or(items, -1),
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription("accepted"),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("items"),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(),
	)}
}

func (b *benchBar) add(n int) {
	if b != nil {
		b.bar.Add(n)
	}
}

func (b *benchBar) finish() {
	if b != nil {
		b.bar.Finish()
	}
}
