package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
	"holdfast/store"
)

func none(name string, window int) queue.SinkOptions {
	return queue.SinkOptions{Name: name, Order: queue.None, Window: window}
}

// Guarantee B1: fresh from memory and old from the log, before and after a restart and a crash.
func TestHandOutIsInAcceptOrder(t *testing.T) {
	for _, handover := range []int64{1, 20 << 10, 8 << 20} {
		for _, order := range []queue.Order{queue.Strict, queue.None} {
			t.Run(fmt.Sprint(handover, order), func(t *testing.T) {
				b := newBenchOf(t, queue.Options{Handover: handover, Sinks: []queue.SinkOptions{{Name: "a", Order: order}, {Name: "b"}}})
				b.fill(300, 3000)
				ds := b.take("a", 70)
				b.settle("a", done, ds...)
				got := texts(ds)
				b.restart()
				ds = b.take("a", 50)
				b.settle("a", done, ds...)
				got = append(got, texts(ds)...)
				b.flush()
				b.crash()
				got = append(got, b.drain("a")...)
				equal(t, "sink a", got, numbers(0, 300))
				equal(t, "sink b", b.drain("b"), numbers(0, 300))
			})
		}
	}
}

// Guarantee B1: each sink gets what is its own, in order, however the masks mix.
func TestHandOutIsInAcceptOrderForSinksThatMatch(t *testing.T) {
	is := func(v string) func(store.Attrs) bool {
		return func(a store.Attrs) bool { return a.Get("for") == v || a.Get("for") == "both" }
	}
	b := newBenchOf(t, queue.Options{Handover: 1, Sinks: []queue.SinkOptions{{Name: "a", Match: is("a")}, {Name: "b", Match: is("b")}}})
	want := map[string][]string{}
	for n := range 200 {
		to := []string{"a", "b", "both", "nobody"}[n*n%7%4]
		body := fmt.Sprintf("%d", n)
		a, err := b.request(queue.Request{Items: []queue.Item{{Attrs: store.MakeAttrs(map[string]string{"for": to}), Body: []byte(body)}}})
		b.ok(err)
		for _, s := range a.Receipts[0].RoutedTo {
			want[s] = append(want[s], body)
		}
	}
	b.crash()
	for _, s := range []string{"a", "b"} {
		equal(t, "sink "+s, b.drain(s), want[s])
	}
}

// Guarantee B2, in part: with strict order one run is out at a time, and a retry holds what is behind it.
func TestStrictOrderHoldsWhatIsBehindARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		b.put("0", "1", "2", "3")
		d := b.take("a", 1)
		b.none("a")
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Minute, Err: "no"}, d...)
		time.Sleep(59 * time.Second)
		b.none("a")
		time.Sleep(time.Second)
		d = b.take("a", 1)
		equal(t, "after its time", texts(d), []string{"0"})
		b.none("a")
		b.settle("a", queue.Outcome{Kind: queue.Hold, After: time.Minute}, d...)
		b.flush()
		b.crash()
		b.none("a")
		time.Sleep(time.Minute)
		ds := b.take("a", 3)
		equal(t, "a run", texts(ds), []string{"0", "1", "2"})
		b.settle("a", done, ds[0], ds[2])
		b.none("a")
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Minute}, ds[1])
		b.none("a")
		time.Sleep(time.Minute)
		equal(t, "the rest", b.drain("a"), []string{"1", "3"})
		b.stop()
	})
}

// Guarantee B2, in part: a dead letter holds nothing.
func TestStrictOrderGoesOnBehindADeadLetter(t *testing.T) {
	b := newBench(t, named("a")...)
	b.put("0", "1")
	b.settle("a", buried("no"), b.take("a", 1)...)
	equal(t, "next", b.drain("a"), []string{"1"})
}

// Guarantee B2, in part: with order none a retry is passed by others, and as many as the window are out.
func TestOrderNonePassesARetryAndKeepsToItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, none("a", 3))
		b.fill(8, 10)
		ds := b.take("a", 3)
		b.none("a")
		equal(t, "in flight", b.status("a").InFlight, 3)
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Minute}, ds[1])
		four := b.take("a", 1)
		b.none("a")
		b.settle("a", done, ds[0], ds[2])
		five := b.take("a", 2)
		equal(t, "went on with", append(texts(four), texts(five)...), []string{"3", "4", "5"})
		b.none("a")
		time.Sleep(time.Minute)
		b.none("a")
		b.settle("a", done, append(four, five...)...)
		equal(t, "by seq", b.drain("a"), []string{"1", "6", "7"})
		b.stop()
	})
}

// Guarantee B2, in part: what waits on disk, is due, or was given back comes in the order of seqs.
func TestRowsAndStreamAreMergedBySeq(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, none("a", 100))
		ids := b.fill(8, 10)
		ds := b.take("a", 6)
		b.settle("a", buried("no"), ds[0], ds[3])
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Second}, ds[1], ds[4])
		b.settle("a", done, ds[5])
		b.feed("a").Return(ds[2])
		time.Sleep(time.Second)
		equal(t, "requeued", b.requeue(queue.DeadFilter{All: true}), 2)
		want := []string{"0", "1", "2", "3", "4", "6", "7"}
		var m image
		for range 2 {
			ds = b.take("a", 7)
			equal(t, "handed out", texts(ds), want)
			for _, i := range []int{4, 0, 6, 2, 3, 1, 5} {
				b.feed("a").Return(ds[i])
			}
			m = b.image()
		}
		b.revive(m)
		if got := b.drain("a"); !slices.Equal(got, want) {
			t.Errorf("after a crash: %v, want %v", got, want)
		}
		if !b.complete(ids[0]) {
			t.Error("it is not complete")
		}
		b.stop()
	})
}

// Guarantee B3: a sink that nobody reads delays neither an accept nor another sink.
func TestSinkThatNobodyReadsDelaysNobody(t *testing.T) {
	b := newBench(t, named("stuck", "hanging", "well")...)
	b.put("first")
	hanging := b.take("hanging", 1)
	b.drain("well")
	for range 5 {
		b.fill(100, 3000)
		equal(t, "well", b.drain("well"), numbers(0, 100))
	}
	equal(t, "waiting", []int64{b.status("stuck").Waiting, b.status("hanging").Waiting, b.status("well").Waiting}, []int64{501, 501, 0})
	b.settle("hanging", done, hanging...)
	equal(t, "hanging, later", len(b.drain("hanging")), 500)
	equal(t, "stuck, later", len(b.drain("stuck")), 501)
}

// Guarantee B3: lanes, producers and acks at once, in the race detector's eyes.
func TestManyLanesAndProducersAtOnce(t *testing.T) {
	b := newBench(t, none("a", 64), none("b", 8), queue.SinkOptions{Name: "c"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lanes, producers sync.WaitGroup
	for _, s := range []string{"a", "b", "c"} {
		f := b.feed(s)
		lanes.Go(func() {
			for n := 0; ; n++ {
				ds, err := f.Next(ctx, nil, 7)
				if err != nil {
					return
				}
				for i, d := range ds {
					switch (n + i) % 5 {
					case 0:
						f.Return(d)
					case 1:
						f.Settle(d, queue.Outcome{Kind: queue.Retry, Err: "again"})
					case 2:
						f.Settle(d, queue.Outcome{Kind: queue.Hold})
					default:
						f.Settle(d, done)
						f.Settle(d, buried("settled already"))
					}
				}
			}
		})
	}
	for p := range 4 {
		producers.Go(func() {
			for n := range 20 {
				_, j := b.joined(fmt.Sprint(p, n))
				b.wait(j)
				b.q.Sinks()
			}
		})
	}
	producers.Wait()
	cancel()
	lanes.Wait()
	for _, s := range b.q.Sinks() {
		if s.Waiting != 0 || s.InFlight != 0 || s.Settled != 80 || s.Dead != 0 || s.Delivered != 80 {
			t.Errorf("%+v", s)
		}
	}
}

func TestPausedSinkGetsNothingUntilItIsResumed(t *testing.T) {
	b := newBench(t, named("a", "b")...)
	b.put("0", "1")
	d := b.take("a", 1)
	b.ok(b.q.Pause(t.Context(), "a"))
	b.settle("a", done, d...)
	b.none("a")
	b.crash()
	b.none("a")
	equal(t, "state", b.status("a").State, "paused")
	equal(t, "the other", b.drain("b"), []string{"0", "1"})
	got := make(chan []queue.Delivery)
	go func() { got <- b.take("a", 1) }()
	b.ok(b.q.Resume(t.Context(), "a"))
	ds := <-got
	b.settle("a", done, ds...)
	b.restart()
	equal(t, "state", b.status("a").State, "active")
	wantIs(t, b.q.Pause(t.Context(), "nobody"), queue.ErrNoSink)
	_, err := b.q.Feed("nobody")
	wantIs(t, err, queue.ErrNoSink)
}

// Guarantees F1, F3, in part: sinks are known by name; one that is no longer configured keeps what it holds.
// Guarantee F2, in part: a new one starts from now.
func TestSinksAreKnownByNameAndOrphansHoldTheirs(t *testing.T) {
	b := newBench(t, named("a", "b")...)
	b.put("0")
	b.Sinks = named("c", "b")
	b.restart()
	b.put("1")
	var got []string
	for _, s := range b.q.Sinks() {
		got = append(got, fmt.Sprintf("%s %s %d", s.Name, s.State, s.Waiting))
	}
	equal(t, "sinks", got, []string{"c active 1", "b active 2", "a orphan 1"})
	equal(t, "c, which is new", b.drain("c"), []string{"1"})
	wantIs(t, b.q.Pause(t.Context(), "a"), queue.ErrNoSink)
	b.Sinks = named("b", "a")
	b.crash()
	equal(t, "a is back", b.drain("a"), []string{"0"})
	equal(t, "b", b.drain("b"), []string{"0", "1"})
	equal(t, "c is an orphan now", b.status("c").State, "orphan")
}

func TestOpenRefusesNamesThatAreEmptyOrUsedTwice(t *testing.T) {
	b := newBench(t)
	b.ok(b.halt())
	for _, names := range [][]string{{""}, {"a", "a"}} {
		if _, err := queue.Open(b.st, queue.Options{Sinks: named(names...)}); err == nil {
			t.Errorf("%q was taken", names)
		}
	}
	b.ok(b.st.Close())
}

// Guarantee F4, in part: a former name whose queue is not taken over is told of, and keeps its items.
func TestFormerNameThatKeepsItsQueueIsToldOf(t *testing.T) {
	var log bytes.Buffer
	o := lazily(named("old", "older", "new")...)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	b := newBenchOf(t, o)
	b.put("x")
	b.stop()
	b.Sinks = []queue.SinkOptions{{Name: "new", Was: []string{"older"}}, {Name: "heir", Was: []string{"old"}}}
	b.start()
	b.stop()
	equal(t, "warnings", strings.Count(log.String(), "does not take over"), 1)
	for _, want := range []string{"sink=new", "was=older"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s does not say %s", log.String(), want)
		}
	}
	b.start()
	equal(t, "older", b.status("older").State, "orphan")
	equal(t, "old items", []any{b.drain("heir"), b.status("older").Waiting}, []any{[]string{"x"}, 1})
}

// Guarantees B2, C8, in part: with order strict a batch gathers what comes while it is held, and nobody else gets any.
func TestStrictBatchGathersWhatComes(t *testing.T) {
	b := newBench(t, named("a")...)
	b.put("0")
	ds := b.take("a", 1)
	b.put("1", "2")
	b.none("a")
	ds, err := b.feed("a").Next(over(), ds, 1)
	b.ok(err)
	equal(t, "the batch", texts(ds), []string{"0", "1"})
	b.none("a")
	b.settle("a", done, ds...)
	equal(t, "the rest", b.drain("a"), []string{"2"})
}

// Guarantee D4, in part: more requeued items than are read from disk at a time all come, in order.
func TestRequeuedItemsComePageByPage(t *testing.T) {
	b := newBench(t, none("a", 4096))
	b.fill(2500, 10)
	b.bury("a", "no")
	equal(t, "requeued", b.requeue(queue.DeadFilter{All: true}), 2500)
	if got, want := b.drain("a"), numbers(0, 2500); !slices.Equal(got, want) {
		t.Errorf("%d of %d came", len(got), len(want))
	}
}
