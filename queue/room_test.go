package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/queue"
	"holdfast/store"
)

func bounded(name string, items int64, full queue.OnFull) queue.SinkOptions {
	return queue.SinkOptions{Name: name, Bounds: queue.Bounds{Items: new(items), OnFull: full}}
}

// wantFull is a refusal by a sink's bound.
func wantFull(t *testing.T, err error, sink string) {
	t.Helper()
	if e := wantError[*queue.FullError](t, err); e.Sink != sink || e.Disk {
		t.Fatalf("%+v, want sink %s", e, sink)
	}
}

func briefly(b *bench, bodies ...string) (queue.Accepted, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r := queue.Request{Source: "http"}
	for _, body := range bodies {
		r.Items = append(r.Items, queue.Item{Body: []byte(body)})
	}
	return b.q.Put(ctx, r)
}

// Guarantee B4, in part: block waits, resumes when there is room, and loses nothing.
func TestBlockedPutWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bounded("a", 3, queue.Block), queue.SinkOptions{Name: "b"})
		b.put("0", "1")
		next := b.st.Next()
		_, err := briefly(b, "x", "y")
		wantFull(t, err, "a")
		equal(t, "next", b.st.Next(), next)
		equal(t, "one fits", len(b.put("2")), 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			began := time.Now()
			b.put("3")
			if waited := time.Since(began); waited != 2*time.Second {
				t.Errorf("waited %v, want 2s", waited)
			}
		})
		time.Sleep(2 * time.Second)
		b.settle("a", queue.Outcome{Kind: queue.Retry}, b.take("a", 1)...) // makes no room
		synctest.Wait()
		equal(t, "next", b.st.Next(), next+1)
		b.settle("a", done, b.take("a", 1)...)
		wg.Wait()
		b.restart()
		_, err = briefly(b, "after a restart it is full still")
		wantFull(t, err, "a")
		equal(t, "a", b.drain("a"), []string{"1", "2", "3"})
		equal(t, "b", b.drain("b"), []string{"0", "1", "2", "3"})
		b.put("4", "5", "6")
		b.stop()
	})
}

// Guarantee B4, in part: a request that never fits is refused at once.
func TestRequestThatNeverFitsIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, queue.SinkOptions{Name: "a", Bounds: queue.Bounds{Bytes: new(int64(100))}}, bounded("b", 2, queue.Block))
		for _, c := range []struct {
			bodies []string
			want   string
		}{
			{[]string{"1", strings.Repeat("x", 101)}, "item 1 has 101 bytes for sink a, at most 100 are allowed"},
			{[]string{strings.Repeat("x", 60), strings.Repeat("x", 41)}, "the request has 101 bytes for sink a, at most 100 are allowed"},
			{[]string{"1", "2", "3", "4"}, "the request has 4 items for sink b, at most 2 are allowed"},
		} {
			began := time.Now()
			_, err := briefly(b, c.bodies...)
			equal(t, "refused", wantError[*queue.TooLargeError](t, err), c.want)
			if time.Since(began) != 0 {
				t.Error("it waited")
			}
		}
		known := queue.Item{IdempotencyKey: "k"}
		_, err := b.request(queue.Request{Items: []queue.Item{known}})
		b.ok(err)
		_, err = b.request(queue.Request{Items: []queue.Item{known, {}, {Body: make([]byte, 200)}}})
		equal(t, "its place counts duplicates", wantError[*queue.TooLargeError](t, err).Item, 2)
		b.drain("a", "b")
		b.put(strings.Repeat("x", 100))
		b.drain("a", "b")
		b.put("1", "2")
		b.stop()
	})
}

// Guarantee B4, in part: zero is literal.
func TestBoundOfZeroTakesNothing(t *testing.T) {
	b := newBench(t, bounded("a", 0, queue.DropNewest), queue.SinkOptions{Name: "b"})
	r := b.put("x")[0]
	equal(t, "routed", r.RoutedTo, []string{"b"})
	equal(t, "state", b.state(r.ID, "a").State, "dropped")
}

// Guarantee B4, in part: drop_newest returns at once; the drop is recorded, counted, and survives.
func TestDropNewestDropsForThatSinkOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bounded("a", 2, queue.DropNewest), queue.SinkOptions{Name: "b"})
		began := time.Now()
		a, err := b.request(queue.Request{Join: true, Items: []queue.Item{{Body: []byte("0")}, {Body: []byte("1")}, {Body: []byte("2")}}})
		b.ok(err)
		_, err = b.q.Put(t.Context(), queue.Request{Source: "of a library user", Items: []queue.Item{{Body: []byte("3")}}})
		b.ok(err)
		if time.Since(began) != 0 {
			t.Error("it waited")
		}
		equal(t, "routed", []any{a.Receipts[1].RoutedTo, a.Receipts[2].RoutedTo}, []any{[]string{"a", "b"}, []string{"b"}})
		check := func(when string) {
			t.Helper()
			equal(t, when, b.state(a.Receipts[2].ID, "a").State, "dropped")
		}
		equal(t, "dropped", b.metric("sink_dropped_total", "a", "newest"), 2)
		check("at once")
		b.crash()
		check("after a crash")
		equal(t, "a", b.drain("a"), []string{"0", "1"})
		equal(t, "b", b.drain("b"), []string{"0", "1", "2", "3"})
		if !b.complete(a.Receipts[2].ID) {
			t.Error("a dropped bit is owed")
		}
		b.restart()
		check("after a restart")
		b.stop()
	})
}

// Guarantee E1, in part: an item that all its sinks dropped is acked.
func TestItemThatAllDroppedIsAcked(t *testing.T) {
	b := newBench(t, bounded("a", 0, queue.DropNewest), bounded("b", 0, queue.DropNewest))
	r, j := b.joined("x")
	b.wait(j)
	s, err := b.q.State(r.ID)
	b.ok(err)
	if !s.Complete || s.Size != 0 || len(s.Sinks) != 2 {
		t.Errorf("%+v", s)
	}
}

// Guarantee B4, in part: two bounds and many producers do not wait for each other for ever.
func TestBoundedSinksDoNotDeadlock(t *testing.T) {
	even := func(a store.Attrs) bool { return a.Get("n") != "odd" }
	odd := func(a store.Attrs) bool { return a.Get("n") != "even" }
	x, y := bounded("x", 3, queue.Block), bounded("y", 3, queue.Block)
	x.Match, y.Match = even, odd
	b := newBench(t, x, y)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lanes, producers sync.WaitGroup
	for _, s := range []string{"x", "y"} {
		f := b.feed(s)
		lanes.Go(func() {
			for {
				ds, err := f.Next(ctx, nil, 2)
				if err != nil {
					return
				}
				for _, d := range ds {
					f.Settle(d, done)
				}
			}
		})
	}
	kinds := [][]string{{"even", "odd"}, {"odd", "even"}, {"both", "odd"}, {"even", "both"}, {"both", "both", "both"}}
	for p := range 16 {
		producers.Go(func() {
			for n := range 15 {
				var r queue.Request
				for _, k := range kinds[(p+n)%len(kinds)] {
					r.Items = append(r.Items, queue.Item{Attrs: store.MakeAttrs(map[string]string{"n": k})})
				}
				if _, err := b.request(r); err != nil {
					t.Error(err)
				}
				if s := b.status("x"); s.Waiting > 3 {
					t.Errorf("%d wait where 3 may", s.Waiting)
				}
			}
		})
	}
	producers.Wait()
	cancel()
	lanes.Wait()
}

// Guarantees B4, B5, in part: what was not stored gives back its places.
func TestRequestThatIsNotStoredGivesItsPlacesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: []queue.SinkOptions{bounded("a", 2, queue.Block)}, DedupeWindow: time.Hour})
		b.put("0")
		for range 5 {
			_, err := briefly(b, "1", "2")
			wantFull(t, err, "a")
		}
		r := keyed("k", "x")
		r.Items = append(r.Items, queue.Item{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.q.Put(ctx, r)
		wantFull(t, err, "a")
		a, err := b.request(keyed("k", "other"))
		b.ok(err)
		if a.Receipts[0].Duplicate {
			t.Error("a request that was not stored kept its key")
		}
		b.stop()
	})
}

// Guarantee B4, in part: who waits for room is told when the queue stops.
func TestPutThatWaitsForRoomIsToldOfTheStop(t *testing.T) {
	b := newBench(t, bounded("a", 1, queue.Block))
	b.put("0")
	told := make(chan error)
	go func() {
		_, err := b.q.Put(context.Background(), queue.Request{Items: []queue.Item{{}}})
		told <- err
	}()
	b.ok(b.halt())
	wantIs(t, <-told, queue.ErrStopping)
	b.ok(b.st.Close())
}

// Guarantee B5, in part: at the disk budget accepts are refused at once, all else goes on, and they resume by
// themselves.
func TestBudgetRefusesAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a", "b"), MaxBytes: 8 << 20})
		put := func() error {
			_, err := b.request(queue.Request{Items: []queue.Item{{Body: make([]byte, 50_000)}}})
			return err
		}
		n := 0
		fill := func() {
			t.Helper()
			for err := put(); err == nil; err = put() {
				if n++; n > 1000 {
					t.Fatal("the budget has no end")
				}
			}
		}
		fill()
		began := time.Now()
		wantFull(t, put(), "")
		if time.Since(began) != 0 {
			t.Error("it waited")
		}
		if s := b.q.Status(); s.Accepting || s.Reason != "full" {
			t.Errorf("%+v", s)
		}
		u := b.q.Status().Usage
		if sum := u.LogBytes + u.QueuesBytes + u.SpareBytes; sum > b.MaxBytes {
			t.Errorf("%d bytes are used, of %d", sum, b.MaxBytes)
		}
		b.restart()
		fill() // the spare is made anew
		wantFull(t, put(), "")
		equal(t, "a", len(b.drain("a")), n)
		equal(t, "dead", b.bury("b", "no"), n)
		b.flush()
		time.Sleep(time.Second)
		wantFull(t, put(), "") // the dead letters hold it
		equal(t, "purged", b.purge(queue.DeadFilter{All: true}), n)
		time.Sleep(time.Second)
		b.ok(put())
		b.stop()
	})
}

func TestMinFreeIsLeftFree(t *testing.T) {
	b := newBenchOf(t, queue.Options{Sinks: named("a"), MinFree: 1 << 60})
	_, err := b.request(keyed("k", "x"))
	if e := wantError[*queue.FullError](t, err); !e.Disk {
		t.Errorf("%+v", e)
	}
	equal(t, "reason", b.q.Status().Reason, "disk_full")
}

// smallDisk mounts a file system of so many bytes, and says so loudly where that is not allowed.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := mountDisk(t, dir, size); err != nil {
		t.Skipf("NOT PROVEN HERE: a full disk needs a mount: %v", err)
	}
	return dir
}

// mountDisk mounts a file system of so many bytes for as long as the test runs. An error: it is not allowed, nor required.
func mountDisk(t *testing.T, dir string, size int) error {
	t.Helper()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if err != nil && strings.Contains(os.Getenv("HOLDFAST_REQUIRE"), "mount") {
		t.Fatalf("mount: %v, and HOLDFAST_REQUIRE wants it", err)
	}
	if err == nil {
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	return err
}

// fillDisk leaves a disk that mountDisk made no page beyond what is taken, as another tenant would.
func fillDisk(t tb, dir string) (free func()) {
	t.Helper()
	var fs unix.Statfs_t
	size := func(blocks uint64) error {
		return unix.Mount("", dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", blocks*uint64(fs.Bsize)))
	}
	var err error
	for range 1000 { // more may be taken while we look
		if err = unix.Statfs(dir, &fs); err != nil {
			break
		}
		if err = size(fs.Blocks - fs.Bfree); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := size(fs.Blocks); err != nil {
			t.Fatal(err)
		}
	}
}

// newBenchOn is newBenchOf in a directory that is there.
func newBenchOn(t *testing.T, dir string, o queue.Options) *bench {
	b := &bench{tb: t, Options: o, store: smallSegments, dir: dir, newDir: t.TempDir}
	b.start()
	t.Cleanup(b.stop)
	return b
}

// Guarantee B5, in part: on a full disk nothing is stored and the producer is told so; what was accepted is delivered
// and marked; accepting resumes by itself.
func TestFullDiskRefusesAndResumes(t *testing.T) {
	dir := smallDisk(t, 16<<20)
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOn(t, dir, queue.Options{Sinks: []queue.SinkOptions{bounded("a", 1000, queue.Block)}, MarkDelay: time.Millisecond})
		ids := b.fill(40, 1000)
		free := fillDisk(t, dir)
		refused := false
		n := 0
		for i := 0; i < 1000 && !refused; i++ {
			r := keyed(fmt.Sprint(i), strings.Repeat("x", 4000))
			r.Join = true
			a, err := b.request(r)
			if full, ok := errors.AsType[*queue.FullError](err); ok {
				refused = true
				if !full.Disk {
					t.Errorf("%+v", full)
				}
				continue
			}
			b.ok(err)
			a.Join.Close()
			n++
		}
		if !refused {
			t.Fatal("the disk never filled")
		}
		equal(t, "reason", b.q.Status().Reason, "disk_full")
		equal(t, "waiters", b.metric("ack_waiters"), 0)
		equal(t, "waiting", b.status("a").Waiting, 40+n)
		equal(t, "delivered", len(b.drain("a")), 40+n)
		j, err := b.q.Join(ids...)
		b.ok(err)
		b.wait(j)
		free()
		time.Sleep(2 * time.Second)
		equal(t, "accepting", b.q.Status().Accepting, true)
		a, err := b.request(keyed(fmt.Sprint(n), "the key of what was not stored, with another body"))
		b.ok(err)
		equal(t, "duplicate", a.Receipts[0].Duplicate, false)
		for range 3 {
			b.put(make([]string, 333)...) // every place was given back
		}
		_, err = briefly(b, "one too many")
		wantFull(t, err, "a")
		b.stop()
	})
}

// Guarantee B5, in part: when not even marks can be written, lanes hold, and go on by themselves.
func TestLanesHoldWhileMarksCannotBeWritten(t *testing.T) {
	dir := smallDisk(t, 16<<20)
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOn(t, dir, queue.Options{Sinks: []queue.SinkOptions{none("a", 10_000)}, MarkDelay: time.Second})
		const n = 2000
		b.fill(n, 1)
		free := fillDisk(t, dir)
		ds := b.take("a", n-1)
		b.settle("a", buried(strings.Repeat("a long error ", 200)), ds...)
		time.Sleep(2 * time.Second)
		b.none("a")
		equal(t, "dead on disk", len(b.deadOf("a")), 0)
		time.Sleep(10 * time.Second)
		b.none("a")
		free()
		got := b.take("a", 1) // it waits, and is woken
		b.settle("a", done, got...)
		equal(t, "dead on disk", len(b.deadOf("a")), n-1)
		b.stop()
	})
}
