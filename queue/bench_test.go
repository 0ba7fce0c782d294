package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/queue"
	"holdfast/store"
)

// A tb is what a bench needs of a test: testing.TB and *rapid.T have it.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// A bench is one queue on a directory of its own, which can stop, be killed, and start again. Its options may be changed
// before a start.
type bench struct {
	tb
	queue.Options
	store  store.Options
	dir    string
	newDir func() string

	st     *store.Store
	q      *queue.Queues
	reg    *prometheus.Registry
	waited map[string]int64 // by sink: at the start
	cancel context.CancelFunc
	ended  chan error
}

// smallSegments lets a few hundred KiB rotate the log.
var smallSegments = store.Options{SegmentBytes: 256 << 10}

// newBench runs a queue with some sinks.
func newBench(t testing.TB, sinks ...queue.SinkOptions) *bench {
	return newBenchOf(t, queue.Options{Sinks: sinks})
}

// newBenchOf runs a queue with options. Marks follow after a millisecond, unless they say otherwise.
func newBenchOf(t testing.TB, o queue.Options) *bench {
	t.Helper()
	b := &bench{tb: t, Options: o, store: smallSegments, dir: t.TempDir(), newDir: t.TempDir}
	if b.MarkDelay == 0 {
		b.MarkDelay = time.Millisecond
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

// lazily is a queue whose marks are only written when flush, stop or an operation makes them be.
func lazily(sinks ...queue.SinkOptions) queue.Options {
	return queue.Options{Sinks: sinks, MarkDelay: 1000 * time.Hour, MarkEvery: 1 << 30}
}

func named(names ...string) (sinks []queue.SinkOptions) {
	for _, n := range names {
		sinks = append(sinks, queue.SinkOptions{Name: n})
	}
	return sinks
}

// start opens the directory as recovery does, and runs the queue.
func (b *bench) start() {
	b.Helper()
	d, err := store.LockDir(b.dir)
	b.ok(err)
	found, err := store.Exists(b.dir)
	b.ok(err)
	if !found {
		b.ok(store.Create(d, uuid.New()))
	}
	b.st, err = store.Open(d, b.store)
	b.ok(err)
	if b.st.Tail().Unclean {
		b.ok(b.st.RewriteTail())
	}
	b.reg = prometheus.NewRegistry()
	b.Registry = b.reg
	b.q, err = queue.Open(b.st, b.Options)
	b.ok(err)
	b.waited = map[string]int64{}
	for _, s := range b.q.Sinks() {
		b.waited[s.Name] = s.Waiting
	}
	b.run()
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended, q := make(chan error, 1), b.q
	b.cancel, b.ended = cancel, ended
	go func() { ended <- q.Run(ctx) }()
}

// stop stops in order, and looks whether the books balance. It does nothing when it is stopped.
func (b *bench) stop() {
	b.Helper()
	if b.ended == nil {
		return
	}
	b.ok(b.halt())
	b.balance()
	b.ok(b.st.Close())
}

// balance fails unless what waited at the start, plus accepted and requeued, less settled is what waits, as metrics tell
// and as counted.
func (b *bench) balance() {
	b.Helper()
	b.ok(b.q.Check())
	all := b.metrics()
	for _, s := range b.q.Sinks() {
		sum := float64(b.waited[s.Name]) + all.sum(b, "sink_accepted_total", s.Name) + all.sum(b, "sink_requeued_total", s.Name) - all.sum(b, "sink_settled_total", s.Name)
		if sum != float64(s.Waiting) || s.Accepted+s.Requeued-s.Settled != s.Waiting {
			b.Errorf("the books of sink %s: %v is what should wait, of %+v", s.Name, sum, s)
		}
	}
}

// halt ends Run, and returns what it returned.
func (b *bench) halt() error {
	b.cancel()
	err := <-b.ended
	b.ended = nil
	return err
}

func (b *bench) restart() {
	b.Helper()
	b.stop()
	b.start()
}

// An image is what kill -9 at one instant leaves: file contents by path.
type image map[string][]byte

// image reads everything twice until nothing has changed between: then it is what was there at the moment between.
func (b *bench) image() image {
	b.Helper()
	return b.imageAt(func() {})
}

// imageAt is image, and calls at in that moment; also in those that were none.
func (b *bench) imageAt(at func()) image {
	b.Helper()
	for range 10_000 {
		first, ok := b.read()
		if !ok {
			continue
		}
		at()
		if second, ok := b.read(); ok && maps.EqualFunc(first, second, bytes.Equal) {
			return first
		}
	}
	b.Fatal("the directory never stood still")
	return nil
}

func (b *bench) read() (image, bool) {
	m := image{}
	paths, err := filepath.Glob(filepath.Join(b.dir, "log", "*"))
	b.ok(err)
	for _, p := range append(paths, filepath.Join(b.dir, "queues.db")) {
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, false
		}
		rel, err := filepath.Rel(b.dir, p)
		b.ok(err)
		if !strings.HasSuffix(rel, ".tmp") {
			m[rel] = data
		}
	}
	return m, true
}

// revive starts on an image, in place of what runs now.
func (b *bench) revive(m image) {
	b.Helper()
	b.stop()
	b.dir = b.newDir()
	b.ok(os.Mkdir(filepath.Join(b.dir, "log"), 0o700))
	for rel, data := range m {
		b.ok(os.WriteFile(filepath.Join(b.dir, rel), data, 0o600))
	}
	b.start()
}

// crash is kill -9 and a start.
func (b *bench) crash() {
	b.Helper()
	b.revive(b.image())
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// patience bounds what should happen at once.
func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

// ended is a context that is over: Next with it does not wait.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (b *bench) request(r queue.Request) (queue.Accepted, error) {
	ctx, cancel := patience()
	defer cancel()
	if r.Source == "" {
		r.Source = "http"
	}
	return b.q.Put(ctx, r)
}

// put accepts bodies as one request.
func (b *bench) put(bodies ...string) []queue.Receipt {
	b.Helper()
	var r queue.Request
	for _, body := range bodies {
		r.Items = append(r.Items, queue.Item{Body: []byte(body)})
	}
	a, err := b.request(r)
	b.ok(err)
	return a.Receipts
}

// fill accepts n items of a size, numbered, in requests of ten.
func (b *bench) fill(n, size int) (ids []uuid.UUID) {
	b.Helper()
	for i := 0; i < n; i += 10 {
		var bodies []string
		for j := i; j < min(i+10, n); j++ {
			bodies = append(bodies, fmt.Sprintf("%-*d", size, j))
		}
		for _, r := range b.put(bodies...) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// joined accepts one item and waits for nobody yet.
func (b *bench) joined(body string) (queue.Receipt, *queue.Join) {
	b.Helper()
	a, err := b.request(queue.Request{Join: true, Items: []queue.Item{{Body: []byte(body)}}})
	b.ok(err)
	return a.Receipts[0], a.Join
}

func (b *bench) feed(sink string) *queue.Feed {
	b.Helper()
	f, err := b.q.Feed(sink)
	b.ok(err)
	return f
}

// take waits for exactly n deliveries.
func (b *bench) take(sink string, n int) []queue.Delivery {
	b.Helper()
	ctx, cancel := patience()
	defer cancel()
	var ds []queue.Delivery
	for f := b.feed(sink); len(ds) < n; {
		var err error
		if ds, err = f.Next(ctx, ds, n-len(ds)); err != nil {
			b.Fatalf("after %d of %d: %v", len(ds), n, err)
		}
	}
	return ds
}

// poll takes what there is, at most max, without waiting.
func (b *bench) poll(sink string, max int) []queue.Delivery {
	b.Helper()
	ds, err := b.feed(sink).Next(over(), nil, max)
	if err != nil && !errors.Is(err, context.Canceled) {
		b.Fatal(err)
	}
	return ds
}

// none fails if something is handed out.
func (b *bench) none(sink string) {
	b.Helper()
	if ds := b.poll(sink, 1); len(ds) > 0 {
		b.Fatalf("sink %s got %q, want nothing", sink, texts(ds))
	}
}

func (b *bench) settle(sink string, o queue.Outcome, ds ...queue.Delivery) {
	b.Helper()
	f := b.feed(sink)
	for _, d := range ds {
		f.Settle(d, o)
	}
}

var done = queue.Outcome{Kind: queue.Done}

func buried(why string) queue.Outcome { return queue.Outcome{Kind: queue.Bury, Err: why} }

// drain settles all there is as done, and returns it.
func (b *bench) drain(sinks ...string) (all []string) {
	b.Helper()
	for _, s := range sinks {
		for {
			ds := b.poll(s, 100)
			if len(ds) == 0 {
				break
			}
			all = append(all, texts(ds)...)
			b.settle(s, done, ds...)
		}
	}
	return all
}

// bury makes a dead letter of everything there is.
func (b *bench) bury(sink, why string) (n int) {
	b.Helper()
	for ds := b.poll(sink, 100); len(ds) > 0; ds = b.poll(sink, 100) {
		b.settle(sink, buried(why), ds...)
		n += len(ds)
	}
	return n
}

// flush has everything marked that was settled.
func (b *bench) flush() {
	b.Helper()
	ctx, cancel := patience()
	defer cancel()
	_, err := b.q.Purge(ctx, queue.DeadFilter{All: true, DryRun: true})
	b.ok(err)
}

func (b *bench) requeue(f queue.DeadFilter) int {
	b.Helper()
	ctx, cancel := patience()
	defer cancel()
	n, _, err := b.q.Requeue(ctx, f)
	b.ok(err)
	return n
}

func (b *bench) purge(f queue.DeadFilter) int {
	b.Helper()
	ctx, cancel := patience()
	defer cancel()
	n, err := b.q.Purge(ctx, f)
	b.ok(err)
	return n
}

// wait fails unless the join is done soon.
func (b *bench) wait(j *queue.Join) {
	b.Helper()
	ctx, cancel := patience()
	defer cancel()
	b.ok(j.Wait(ctx))
	j.Close()
}

// state is how far an item is with a sink.
func (b *bench) state(id uuid.UUID, sink string) queue.Progress {
	b.Helper()
	s, err := b.q.State(id)
	b.ok(err)
	i := slices.IndexFunc(s.Sinks, func(p queue.Progress) bool { return p.Sink == sink })
	if i < 0 {
		b.Fatalf("%+v has no sink %s", s, sink)
	}
	return s.Sinks[i]
}

func (b *bench) complete(id uuid.UUID) bool {
	b.Helper()
	s, err := b.q.State(id)
	b.ok(err)
	return s.Complete
}

func (b *bench) status(sink string) queue.SinkStatus {
	b.Helper()
	for _, s := range b.q.Sinks() {
		if s.Name == sink {
			return s
		}
	}
	b.Fatalf("no sink %s", sink)
	return queue.SinkStatus{}
}

// A sample is one series as it is now.
type sample struct {
	name   string
	labels []string // their values
	value  float64
}

type samples []sample

func (b *bench) metrics() (all samples) {
	b.Helper()
	families, err := b.reg.Gather()
	b.ok(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			s := sample{name: f.GetName(), value: m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())}
			for _, l := range m.GetLabel() {
				s.labels = append(s.labels, l.GetValue())
			}
			all = append(all, s)
		}
	}
	return all
}

// metric sums the series of a name whose labels have all of these values.
func (b *bench) metric(name string, labels ...string) float64 {
	b.Helper()
	return b.metrics().sum(b, name, labels...)
}

func (all samples) sum(t tb, name string, labels ...string) float64 {
	t.Helper()
	sum, found := 0.0, false
	for _, s := range all {
		if s.name == "holdfast_"+name && !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(s.labels, l) }) {
			sum, found = sum+s.value, true
		}
	}
	if !found {
		t.Fatalf("no series %s %v", name, labels)
	}
	return sum
}

func texts(ds []queue.Delivery) (out []string) {
	for _, d := range ds {
		out = append(out, strings.TrimRight(string(d.Item.Body), " "))
	}
	return out
}

// numbers are the texts of from up to, not including, to.
func numbers(from, to int) (out []string) {
	for i := range to - from {
		out = append(out, fmt.Sprint(from+i))
	}
	return out
}

func equal(t tb, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%v", got), fmt.Sprintf("%v", want); g != w {
		t.Fatalf("%s: got %s, want %s", what, g, w)
	}
}

// wantError is the error as the type that it must be.
func wantError[E error](t tb, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("got %v (%T), want a %T", err, err, e)
	}
	return e
}

func wantIs(t tb, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}
