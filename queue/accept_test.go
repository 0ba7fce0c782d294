package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

func keyed(key, body string) queue.Request {
	return queue.Request{Items: []queue.Item{{IdempotencyKey: key, Body: []byte(body)}}}
}

// Guarantee A1: what was answered is on disk at that moment, the item with its mask and its key, whole requests only.
func TestAnsweredRequestIsOnDisk(t *testing.T) {
	b := newBench(t, named("a", "b")...)
	for n := range 5 {
		r := queue.Request{Items: make([]queue.Item, 3)}
		for i := range r.Items {
			r.Items[i] = queue.Item{Body: fmt.Appendf(nil, "%d/%d", n, i), IdempotencyKey: fmt.Sprintf("key %d/%d", n, i)}
		}
		a, err := b.request(r)
		b.ok(err)
		b.crash()
		for i, rec := range a.Receipts {
			s, err := b.q.State(rec.ID)
			b.ok(err)
			if len(s.Sinks) != 2 || s.Complete {
				t.Fatalf("item %d after the crash: %+v", i, s)
			}
		}
		again, err := b.request(r)
		b.ok(err)
		for i, rec := range again.Receipts {
			if !rec.Duplicate || rec.ID != a.Receipts[i].ID {
				t.Fatalf("the key of item %d is not known: %+v", i, rec)
			}
		}
	}
}

// Guarantee A1: a request is there whole or not at all, whenever the process is killed.
func TestKilledProcessKeepsRequestsWholeOrNotAtAll(t *testing.T) {
	b := newBench(t, named("a")...)
	const size = 4
	for round := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		q := b.q
		var wg sync.WaitGroup
		var mu sync.Mutex
		acked := map[string]bool{}
		for p := range 3 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil && n < 300; n++ {
					name := fmt.Sprintf("%d-%d-%d", round, p, n)
					items := make([]queue.Item, size)
					for i := range items {
						items[i].Body = fmt.Appendf(nil, "%s.%d", name, i)
					}
					if _, err := q.Put(context.Background(), queue.Request{Items: items}); err == nil {
						mu.Lock()
						acked[name] = true
						mu.Unlock()
					}
				}
			})
		}
		for { // until some are in
			mu.Lock()
			n := len(acked)
			mu.Unlock()
			if n > 10 {
				break
			}
		}
		mu.Lock()
		before := make([]string, 0, len(acked))
		for name := range acked {
			before = append(before, name)
		}
		mu.Unlock()
		m := b.image()
		cancel()
		wg.Wait()
		b.revive(m)
		got := map[string]int{}
		for _, text := range b.drain("a") {
			name, _, _ := strings.Cut(text, ".")
			got[name]++
		}
		for name, n := range got {
			if n != size {
				t.Errorf("round %d: %d of the %d items of request %s are there", round, n, size, name)
			}
		}
		for _, name := range before {
			if got[name] == 0 {
				t.Errorf("round %d: the answered request %s is not there", round, name)
			}
		}
	}
}

// Guarantee A1: of a request that was torn in the last write nothing is kept, and all of those that are whole.
func TestTornRequestIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for torn := range 3 {
			b := newBenchOf(t, queue.Options{Sinks: named("a"), CommitDelay: time.Second})
			b.put("before")
			var wg sync.WaitGroup
			for _, name := range []string{"one", "two", "six"} {
				wg.Go(func() { b.put(name+" 0", name+" 1", name+" 2") })
				synctest.Wait()
			}
			wg.Wait()
			m := b.image()
			for _, data := range m {
				if i := bytes.Index(data, fmt.Appendf(nil, "two %d", torn)); i >= 0 {
					data[i] ^= 1
				}
			}
			b.revive(m)
			equal(t, "kept", b.drain("a"), []string{"before", "one 0", "one 1", "one 2", "six 0", "six 1", "six 2"})
			b.stop()
		}
	})
}

// Guarantee A1, in part: what a lane sees is on disk.
func TestLaneSeesOnlyWhatIsOnDisk(t *testing.T) {
	b := newBench(t, named("a")...)
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() { b.put(fmt.Sprint(n)) })
		d := b.take("a", 1)[0]
		m := b.image()
		b.settle("a", done, d)
		wg.Wait()
		other := &bench{tb: t, Options: b.Options, store: b.store, dir: t.TempDir(), newDir: t.TempDir}
		other.start()
		other.revive(m)
		if _, err := other.q.State(d.ID); err != nil {
			t.Errorf("item %d was handed out and is not on disk: %v", n, err)
		}
		other.stop()
	}
}

// Guarantee A2.
func TestWithoutSinksItemsAreAckedAtOnceAndNotKept(t *testing.T) {
	b := newBench(t)
	a, err := b.request(queue.Request{Join: true, Items: []queue.Item{{Body: bytes.Repeat([]byte("x"), 1000)}}})
	b.ok(err)
	b.wait(a.Join)
	s, err := b.q.State(a.Receipts[0].ID)
	b.ok(err)
	if !s.Complete || len(s.Sinks) != 0 || s.Size != 0 || len(a.Receipts[0].RoutedTo) != 0 {
		t.Errorf("%+v, %+v", s, a.Receipts[0])
	}
	equal(t, "unrouted", b.metric("unrouted_total", "http"), 1)
}

// Guarantee A2: nor does the log grow.
func TestSegmentsThatNobodyWantsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sinks := range [][]queue.SinkOptions{nil, {{Name: "a", Match: matchNothing}}} {
			b := newBench(t, sinks...)
			attrs := store.MakeAttrs(map[string]string{"a": strings.Repeat("v", 4000)})
			for range 400 {
				_, err := b.request(queue.Request{Items: []queue.Item{{Attrs: attrs, Key: strings.Repeat("k", 1000)}}})
				b.ok(err)
				time.Sleep(10 * time.Millisecond)
			}
			if n := b.st.Usage().Segments; n > 3 {
				t.Errorf("with %d sinks %d segments are kept of what nobody wants", len(sinks), n)
			}
			b.stop()
		}
	})
}

// Guarantee A3: an ack never precedes the complete fan-out, even if a sink is instant.
func TestAckNeverPrecedesTheFanOut(t *testing.T) {
	names := []string{"a", "b", "c"}
	b := newBench(t, named(names...)...)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	got := map[uuid.UUID]int{}
	var lanes, producers sync.WaitGroup
	for _, s := range names {
		f := b.feed(s)
		lanes.Go(func() {
			var ds []queue.Delivery
			for {
				var err error
				if ds, err = f.Next(ctx, ds[:0], 16); err != nil {
					return
				}
				for _, d := range ds {
					mu.Lock()
					got[d.ID]++
					mu.Unlock()
					f.Settle(d, done)
				}
			}
		})
	}
	for p := range 8 {
		producers.Go(func() {
			for n := range 25 {
				rec, j := b.joined(fmt.Sprint(p, n))
				b.wait(j)
				mu.Lock()
				if got[rec.ID] != len(names) {
					t.Errorf("acked when %d of %d sinks had it", got[rec.ID], len(names))
				}
				mu.Unlock()
			}
		})
	}
	producers.Wait()
	cancel()
	lanes.Wait()
	equal(t, "waiters", b.metric("ack_waiters"), 0)
}

// Guarantee A4.
func TestSameKeyGivesTheFirstReceiptAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		first, err := b.request(keyed("k", "body"))
		b.ok(err)
		rec := first.Receipts[0]
		if rec.Duplicate || len(rec.RoutedTo) != 1 {
			t.Fatalf("%+v", rec)
		}
		check := func(when string) {
			t.Helper()
			next := b.st.Next()
			again, err := b.request(keyed("k", "body"))
			b.ok(err)
			got := again.Receipts[0]
			if !got.Duplicate || got.ID != rec.ID || !got.Accepted.Equal(rec.Accepted) || got.RoutedTo != nil {
				t.Errorf("%s: %+v, want the receipt %+v again", when, got, rec)
			}
			_, err = b.request(queue.Request{Items: []queue.Item{{}, {IdempotencyKey: "k", Body: []byte("other")}}})
			if e := wantError[*queue.MismatchError](t, err); e.Item != 1 || e.Key != "k" {
				t.Errorf("%s: %+v", when, e)
			}
			if b.st.Next() != next {
				t.Errorf("%s: something was stored", when)
			}
		}
		check("at once")
		b.restart()
		check("after a restart")
		b.crash()
		check("after a crash")
		b.fill(200, 8000)
		b.drain("a")
		settled()
		if _, err := b.q.State(rec.ID); err == nil {
			t.Fatal("the segment of the item was to be gone")
		}
		check("with its segment gone")
		b.restart()
		check("with its segment gone, after a restart")
		b.crash()
		check("with its segment gone, after a crash")
		if _, err := b.request(keyed("k2", "other")); err != nil {
			t.Error("another key may have any body")
		}
		b.stop()
	})
}

// Guarantee A4: a refused request claims none of its keys.
func TestRefusedRequestClaimsNoKey(t *testing.T) {
	b := newBench(t, named("a")...)
	_, err := b.request(keyed("taken", "x"))
	b.ok(err)
	_, err = b.request(queue.Request{Items: []queue.Item{{IdempotencyKey: "free", Body: []byte("y")}, {IdempotencyKey: "taken", Body: []byte("z")}}})
	wantError[*queue.MismatchError](t, err)
	a, err := b.request(keyed("free", "other"))
	b.ok(err)
	if a.Receipts[0].Duplicate {
		t.Error("the refused request kept its key")
	}
}

// Guarantee A4: the keys of one scope are not those of another, nor are keys glued to scopes.
func TestScopesOfKeysAreApart(t *testing.T) {
	b := newBench(t, named("a")...)
	seen := map[uuid.UUID]bool{}
	for _, c := range [][2]string{{"", "k"}, {"t1", "k"}, {"t2", "k"}, {"t", "1k"}, {"t1k", ""}, {"", "t1k"}, {"1:t", "k"}} {
		r := keyed(c[1], "body")
		r.Scope = c[0]
		a, err := b.request(r)
		b.ok(err)
		if a.Receipts[0].Duplicate || seen[a.Receipts[0].ID] {
			t.Errorf("scope %q, key %q is taken for another", c[0], c[1])
		}
		seen[a.Receipts[0].ID] = true
	}
}

// Guarantee A4: within one request, too.
func TestKeyTwiceInARequestIsStoredOnce(t *testing.T) {
	b := newBench(t, named("a")...)
	item := func(key, body string) queue.Item { return queue.Item{IdempotencyKey: key, Body: []byte(body)} }
	a, err := b.request(queue.Request{Items: []queue.Item{item("", "0"), item("k", "1"), item("k", "1"), item("", "3"), item("l", "4"), item("k", "1")}})
	b.ok(err)
	var dups []bool
	for _, r := range a.Receipts {
		dups = append(dups, r.Duplicate)
	}
	equal(t, "duplicates", dups, []bool{false, false, true, false, false, true})
	equal(t, "ids", []uuid.UUID{a.Receipts[2].ID, a.Receipts[5].ID}, []uuid.UUID{a.Receipts[1].ID, a.Receipts[1].ID})
	equal(t, "delivered", b.drain("a"), []string{"0", "1", "3", "4"})
	again, err := b.request(keyed("l", "4"))
	b.ok(err)
	equal(t, "id of l", again.Receipts[0].ID, a.Receipts[4].ID)
	_, err = b.request(queue.Request{Items: []queue.Item{item("m", "1"), item("m", "2")}})
	if e := wantError[*queue.MismatchError](t, err); e.Item != 1 {
		t.Errorf("%+v", e)
	}
}

// Guarantee A4: of many at once, one is stored and all get its receipt.
func TestSameKeyAtOnceIsStoredOnce(t *testing.T) {
	b := newBench(t, named("a")...)
	for n := range 20 {
		var wg sync.WaitGroup
		got := make([]queue.Receipt, 16)
		for i := range got {
			wg.Go(func() {
				a, err := b.request(keyed(fmt.Sprint("k", n), "body"))
				b.ok(err)
				got[i] = a.Receipts[0]
			})
		}
		wg.Wait()
		first := 0
		for _, r := range got {
			if !r.Duplicate {
				first++
			}
			if r.ID != got[0].ID {
				t.Fatalf("two ids: %s and %s", r.ID, got[0].ID)
			}
		}
		equal(t, "first receipts", first, 1)
	}
	equal(t, "delivered", len(b.drain("a")), 20)
}

// Guarantee A4: a key that is being committed is waited for.
func TestKeyThatIsBeingCommittedIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a"), CommitDelay: time.Second})
		began := time.Now()
		first, err := b.q.Submit(t.Context(), keyed("k", "body"))
		b.ok(err)
		_, err = b.request(keyed("k", "other"))
		wantError[*queue.MismatchError](t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = b.q.Put(ctx, keyed("k", "body"))
		wantIs(t, err, queue.ErrUncertain)
		dup, err := b.request(keyed("k", "body"))
		b.ok(err)
		if waited := time.Since(began); waited < time.Second {
			t.Errorf("answered after %v, before the first was stored", waited)
		}
		a, err := first.Wait(t.Context())
		b.ok(err)
		if !dup.Receipts[0].Duplicate || dup.Receipts[0].ID != a.Receipts[0].ID {
			t.Errorf("%+v and %+v", a.Receipts[0], dup.Receipts[0])
		}
		b.stop()
	})
}

// Guarantee A4: also while its first request still waits for room.
func TestKeyWhoseRequestWaitsForRoomIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bounded("a", 1, queue.Block))
		b.put("0")
		got := make(chan queue.Receipt, 2)
		for range 2 {
			go func() {
				a, err := b.request(keyed("k", "1"))
				b.ok(err)
				got <- a.Receipts[0]
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.q.Put(ctx, keyed("k", "1"))
		wantIs(t, err, queue.ErrUncertain)
		equal(t, "a", b.drain("a"), []string{"0"})
		first, second := <-got, <-got
		if first.ID != second.ID || first.Duplicate == second.Duplicate {
			t.Errorf("%+v and %+v", first, second)
		}
		equal(t, "a", b.drain("a"), []string{"1"})
		b.stop()
	})
}

// Guarantee A4: for the window.
func TestKeyIsForgottenAfterItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a"), DedupeWindow: time.Hour})
		dup := func() bool { return b.repeats("k") }
		equal(t, "first", dup(), false)
		time.Sleep(59 * time.Minute)
		equal(t, "after 59 minutes", dup(), true)
		b.restart()
		equal(t, "after a restart", dup(), true)
		time.Sleep(2 * time.Minute)
		equal(t, "after 61 minutes", dup(), false)
		equal(t, "again", dup(), true)
		time.Sleep(61 * time.Minute)
		b.restart()
		equal(t, "after a window and a restart", dup(), false)
		equal(t, "evicted", b.metric("dedupe_evicted_total"), 0)
		b.stop()
	})
}

// Guarantee A4, in part: the window is as long as it says, to the millisecond.
func TestKeyIsKnownToTheEndOfItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a"), DedupeWindow: time.Hour})
		equal(t, "first", b.repeats("k"), false)
		time.Sleep(time.Hour)
		equal(t, "after an hour", b.repeats("k"), true)
		time.Sleep(time.Millisecond)
		equal(t, "a millisecond later", b.repeats("k"), false)
		b.stop()
	})
}

// repeats puts an item with a key, and reports whether it is taken for one that is known.
func (b *bench) repeats(key string) bool {
	b.Helper()
	a, err := b.request(keyed(key, "body"))
	b.ok(err)
	return a.Receipts[0].Duplicate
}

// Guarantee A4: or the newest max_keys.
func TestOnlyTheNewestKeysAreKnown(t *testing.T) {
	b := newBenchOf(t, queue.Options{Sinks: named("a"), DedupeKeys: 3})
	dup := b.repeats
	for _, k := range []string{"1", "2", "3", "4"} {
		equal(t, "first "+k, dup(k), false)
	}
	equal(t, "evicted", b.metric("dedupe_evicted_total"), 1)
	for range 2 {
		for _, k := range []string{"2", "3", "4"} {
			equal(t, "again "+k, dup(k), true)
		}
		b.restart()
		equal(t, "evicted since the start", b.metric("dedupe_evicted_total"), 0)
	}
	equal(t, "the oldest", dup("1"), false)
	equal(t, "the second, when the first came again", dup("2"), false)
	equal(t, "the newest", dup("4"), true)
}

// Guarantee A5: ids ascend in accept order, across restarts too, and every sink and attempt sees the same.
func TestIDsAscendAndAreTheSameForAll(t *testing.T) {
	b := newBench(t, named("a", "b")...)
	attrs := store.MakeAttrs(map[string]string{"type": "t", "content-type": "text/plain"})
	var ids []uuid.UUID
	for n := range 6 {
		a, err := b.request(queue.Request{Items: []queue.Item{{Attrs: attrs, Key: "k", Body: []byte("x")}, {Body: []byte("y")}}})
		b.ok(err)
		for _, r := range a.Receipts {
			ids = append(ids, r.ID)
		}
		if n%2 == 0 {
			b.restart()
		} else {
			b.crash()
		}
	}
	for i, id := range ids {
		if id.Version() != 7 || id.Variant() != uuid.RFC4122 || i > 0 && bytes.Compare(ids[i-1][:], id[:]) >= 0 {
			t.Errorf("%s after %s", id, ids[max(i-1, 0)])
		}
	}
	for _, s := range []string{"a", "b"} {
		first := b.take(s, 1)[0]
		b.settle(s, queue.Outcome{Kind: queue.Retry}, first)
		again := b.take(s, 1)[0]
		if first.ID != ids[0] || again.ID != ids[0] || again.Item.Attrs != attrs || again.Item.Key != "k" || again.Item.Time != first.Item.Time {
			t.Errorf("sink %s got %+v, then %+v", s, first.Item, again.Item)
		}
	}
}

// Guarantees A5, G10, in part: a clock that went back a day does not take the ids with it.
func TestIDsDoNotGoBackWithTheClock(t *testing.T) {
	b := newBench(t, named("a")...)
	first := b.put("x")[0]
	b.stop()
	d, err := store.LockDir(b.dir)
	b.ok(err)
	st, err := store.Open(d, b.store)
	b.ok(err)
	ahead := time.Now().Add(24 * time.Hour).UnixMilli()
	_, err = st.Append([]store.Item{{Seq: st.Next(), Time: ahead, Mask: &store.Mask{}}}, ahead, nil)
	b.ok(err)
	b.ok(st.Close())
	b.start()
	second := b.put("y")[0]
	if second.Accepted.UnixMilli() < ahead || bytes.Compare(first.ID[:], second.ID[:]) >= 0 {
		t.Errorf("%s at %v after an item of %v", second.ID, second.Accepted, time.UnixMilli(ahead))
	}
	b.restart()
	if third := b.put("z")[0]; bytes.Compare(second.ID[:], third.ID[:]) >= 0 {
		t.Errorf("%s after %s", third.ID, second.ID)
	}
}

// Guarantee A6: what is wrong is refused whole, by its position, and nothing is stored.
func TestBadRequestIsRefusedWhole(t *testing.T) {
	b := newBenchOf(t, queue.Options{Sinks: named("a"), MaxItemBytes: 1000, MaxRequestBytes: 2500, MaxRequestItems: 4})
	good := queue.Item{Body: []byte("good"), IdempotencyKey: "good"}
	attrs := func(name string) queue.Item {
		return queue.Item{Attrs: store.MakeAttrs(map[string]string{name: "v"})}
	}
	body := func(n int) queue.Item { return queue.Item{Body: make([]byte, n)} }
	tooLarge := func(item int) func(error) bool {
		return func(err error) bool { return wantError[*queue.TooLargeError](t, err).Item == item }
	}
	invalid := func(item int, field string) func(error) bool {
		return func(err error) bool {
			e := wantError[*queue.InvalidError](t, err)
			return e.Item == item && e.Field == field && e.Reason != ""
		}
	}
	for _, c := range []struct {
		what  string
		items []queue.Item
		right func(error) bool
	}{
		{"a large item", []queue.Item{good, body(1001)}, tooLarge(1)},
		{"a large request", []queue.Item{body(900), body(900), body(900)}, tooLarge(-1)},
		{"many items", []queue.Item{good, {}, {}, {}, {}}, tooLarge(-1)},
		{"a name in capitals", []queue.Item{good, {}, attrs("Type")}, invalid(2, "attrs")},
		{"a name with a dash", []queue.Item{attrs("a-b")}, invalid(0, "attrs")},
		{"an empty name", []queue.Item{attrs("")}, invalid(0, "attrs")},
		{"a long name", []queue.Item{good, attrs(strings.Repeat("a", 65))}, invalid(1, "attrs")},
		{"large attributes", []queue.Item{{Attrs: store.MakeAttrs(map[string]string{"a": strings.Repeat("v", 17<<10)})}}, invalid(0, "attrs")},
		{"a long key", []queue.Item{good, {Key: strings.Repeat("k", 1025)}}, invalid(1, "key")},
		{"a long idempotency key", []queue.Item{{IdempotencyKey: strings.Repeat("k", 1025)}}, invalid(0, "idempotency_key")},
		{"a negative TTL", []queue.Item{good, {TTL: -1}}, invalid(1, "ttl")},
	} {
		next := b.st.Next()
		_, err := b.request(queue.Request{Items: c.items})
		if err == nil || err.Error() == "" || !c.right(err) {
			t.Errorf("%s: %v", c.what, err)
		}
		if b.st.Next() != next {
			t.Errorf("%s: something was stored", c.what)
		}
	}
	b.none("a")
	a, err := b.request(queue.Request{Items: []queue.Item{good, body(1000), attrs("content-type"), attrs(strings.Repeat("a", 64))}})
	b.ok(err)
	if a.Receipts[0].Duplicate {
		t.Error("a refused request kept its key")
	}
}

// Guarantee A6, in part: a request that no segment takes is refused, not stuck.
func TestRequestLargerThanHalfASegmentIsRefused(t *testing.T) {
	b := newBench(t, named("a")...)
	half := int(b.st.MaxGroup())
	_, err := b.request(queue.Request{Items: []queue.Item{{Body: make([]byte, half+1)}}})
	wantError[*queue.TooLargeError](t, err)
	attrs := store.MakeAttrs(map[string]string{"a": strings.Repeat("v", 15<<10)})
	items := make([]queue.Item, 20)
	for i := range items {
		items[i].Attrs = attrs
	}
	_, err = b.request(queue.Request{Items: items})
	wantError[*queue.TooLargeError](t, err)
	equal(t, "next", b.st.Next(), 1)
	_, err = b.request(queue.Request{Items: []queue.Item{{Body: make([]byte, half-1000)}}})
	b.ok(err)
}

// Guarantee A7.
func TestWhoLeavesBeforeTheAnswerIsUncertainAndMayRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a"), CommitDelay: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		r := keyed("k", "body")
		r.Join = true
		_, err := b.q.Put(ctx, r)
		wantIs(t, err, queue.ErrUncertain)
		a, err := b.request(keyed("k", "body"))
		b.ok(err)
		if !a.Receipts[0].Duplicate {
			t.Error("the request went on, and is not known")
		}
		synctest.Wait()
		equal(t, "waiters of who has left", b.metric("ack_waiters"), 0)
		equal(t, "delivered", b.drain("a"), []string{"body"})
		b.stop()
	})
}

// Guarantee A8.
func TestProducerMayWaitForTheDeliveryAndAskAgainByID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a", "b")...)
		a, err := b.request(queue.Request{Items: []queue.Item{{Body: []byte("x")}}})
		b.ok(err)
		if a.Join != nil {
			t.Error("nobody asked for a join")
		}
		r, j := b.joined("y")
		b.drain("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantIs(t, j.Wait(ctx), context.DeadlineExceeded)
		j.Close()
		j.Close()
		equal(t, "waiters", b.metric("ack_waiters"), 0)
		equal(t, "state", []string{b.state(r.ID, "a").State, b.state(r.ID, "b").State}, []string{"done", "waiting"})
		later, err := b.q.Join(r.ID, a.Receipts[0].ID)
		b.ok(err)
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantIs(t, later.Wait(ctx), context.DeadlineExceeded)
		b.drain("b")
		b.wait(later)
		again, err := b.q.Join(r.ID)
		b.ok(err)
		b.wait(again)
		for _, id := range []uuid.UUID{{}, uuid.New(), uuid.Must(uuid.NewV7())} {
			_, err = b.q.Join(r.ID, id)
			wantIs(t, err, queue.ErrNotFound)
		}
		equal(t, "waiters", b.metric("ack_waiters"), 0)
		b.stop()
	})
}

// Guarantees A4, A8: who brings a key again waits for the first item's delivery.
func TestDuplicateIsWaitedForLikeTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		r := queue.Request{Join: true, Items: []queue.Item{{IdempotencyKey: "k"}, {IdempotencyKey: "k"}}}
		first, err := b.request(r)
		b.ok(err)
		second, err := b.request(r)
		b.ok(err)
		for _, j := range []*queue.Join{first.Join, second.Join} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			wantIs(t, j.Wait(ctx), context.DeadlineExceeded)
			cancel()
		}
		b.drain("a")
		b.wait(first.Join)
		b.wait(second.Join)
		third, err := b.request(r)
		b.ok(err)
		b.wait(third.Join)
		b.stop()
	})
}

// Guarantee G3, in part: whoever hands over a request while the committer ends is answered, by it or by himself.
func TestWhoComesWhileTheQueueStopsIsAnswered(t *testing.T) {
	for range 50 {
		b := newBench(t, named("a")...)
		ctx, cancel := patience()
		var putters sync.WaitGroup
		for range 8 {
			putters.Go(func() {
				for {
					if _, err := b.q.Put(ctx, queue.Request{Items: []queue.Item{{Body: []byte("x")}}}); err != nil {
						wantIs(t, err, queue.ErrStopping)
						return
					}
				}
			})
		}
		b.ok(b.halt())
		putters.Wait()
		cancel()
		b.ok(b.st.Close())
	}
}

// Guarantee G3, in part: a stopping queue refuses new requests and answers the old.
func TestStoppingQueueAnswersWhatItTookAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a"), CommitDelay: time.Hour})
		var taken []*queue.Pending
		for n := range 50 {
			p, err := b.q.Submit(t.Context(), keyed(fmt.Sprint(n), "x"))
			b.ok(err)
			taken = append(taken, p)
		}
		j, err := b.q.Join()
		b.ok(err)
		b.wait(j)
		b.ok(b.halt())
		for _, p := range taken {
			_, err := p.Wait(t.Context())
			b.ok(err)
		}
		_, err = b.q.Put(t.Context(), keyed("new", "x"))
		wantIs(t, err, queue.ErrStopping)
		wantIs(t, b.q.Pause(t.Context(), "a"), queue.ErrStopping)
		if s := b.q.Status(); s.Accepting || s.Reason != "stopping" {
			t.Errorf("%+v", s)
		}
		b.ok(b.st.Close())
		b.start()
		equal(t, "waiting", b.status("a").Waiting, 50)
		b.stop()
	})
}

func matchNothing(store.Attrs) bool { return false }
