package queue_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
)

// Guarantee E1: at the moment of the ack every mark is durable: after a crash no sink is handed the item again.
func TestAckedItemIsNotHandedOutAfterACrash(t *testing.T) {
	names := []string{"a", "b", "c"}
	b := newBenchOf(t, lazily(named(names...)...))
	for n := range 8 {
		b.put(fmt.Sprint("nobody waits for ", n))
		r, j := b.joined(fmt.Sprint(n))
		var wg sync.WaitGroup
		for i, s := range names {
			wg.Go(func() {
				for left := 2; left > 0; left-- {
					d := b.take(s, 1)
					if i == 1 {
						b.settle(s, buried("no"), d...)
					} else {
						b.settle(s, done, d...)
					}
				}
			})
		}
		b.wait(j)
		m := b.image()
		wg.Wait()
		b.revive(m)
		if !b.complete(r.ID) {
			t.Fatalf("item %d is owed after its ack and a crash", n)
		}
		for _, s := range names {
			if got := b.drain(s); slices.Contains(got, fmt.Sprint(n)) {
				t.Fatalf("sink %s is sent item %d after its ack", s, n)
			}
		}
	}
}

// Guarantee E1: also of an item that is settled while a commit is under way: the ack is of the next one.
func TestAckIsOfTheCommitThatHasTheMark(t *testing.T) {
	b := newBenchOf(t, lazily(none("a", 1000)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lane, flusher, producers sync.WaitGroup
	f := b.feed("a")
	lane.Go(func() {
		for {
			ds, err := f.Next(ctx, nil, 4)
			if err != nil {
				return
			}
			for _, d := range ds {
				f.Settle(d, done)
			}
		}
	})
	flusher.Go(func() {
		for ctx.Err() == nil {
			b.flush()
		}
	})
	for range 4 {
		producers.Go(func() {
			for range 60 {
				r, j := b.joined("x")
				b.wait(j)
				disk, err := b.st.LoadQueue(1) // what is durable now
				b.ok(err)
				seq := binary.BigEndian.Uint64(r.ID[8:]) >> 26 & (1<<36 - 1)
				if seq >= disk.Cursor && !slices.Contains(disk.Marks, seq) {
					t.Errorf("seq %d is acked, and not marked on disk: cursor %d", seq, disk.Cursor)
				}
			}
		})
	}
	producers.Wait()
	cancel()
	lane.Wait()
	flusher.Wait()
}

// Guarantees E1, G1, in part: a mark that was durable stays so, whatever is marked after it: also above an item that is
// out, and over several starts.
func TestDurableMarkIsNeverForgotten(t *testing.T) {
	b := newBenchOf(t, lazily(none("a", 100)))
	b.fill(8, 10)
	ds := b.take("a", 6)
	b.settle("a", done, ds[2], ds[5])
	b.flush()
	b.crash()
	ds = b.take("a", 3)
	equal(t, "handed out again", texts(ds), []string{"0", "1", "3"})
	rest := b.take("a", 2)
	equal(t, "then", texts(rest), []string{"4", "6"})
	b.settle("a", done, ds[1])
	b.flush()
	b.crash()
	ds = b.take("a", 2)
	equal(t, "handed out again", texts(ds), []string{"0", "3"})
	b.settle("a", buried("no"), ds[1])
	b.flush()
	equal(t, "requeued", b.requeue(queue.DeadFilter{All: true}), 1)
	b.crash()
	equal(t, "in the end", b.drain("a"), []string{"0", "3", "4", "6", "7"})
}

// Guarantee E2.
func TestOnlyOutcomesSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a", "b")...)
		r, j := b.joined("x")
		b.drain("b")
		for _, end := range []func(queue.Delivery){
			func(d queue.Delivery) { b.feed("a").Return(d) },
			func(d queue.Delivery) { b.settle("a", queue.Outcome{Kind: queue.Retry}, d) },
			func(d queue.Delivery) { b.settle("a", queue.Outcome{Kind: queue.Hold}, d) },
			func(queue.Delivery) { b.restart() },
			func(queue.Delivery) { b.crash() },
			func(d queue.Delivery) { b.ok(b.halt()); b.ok(b.st.Close()); b.start() },
		} {
			end(b.take("a", 1)[0])
			time.Sleep(time.Minute)
			if b.complete(r.ID) {
				t.Fatal("it is settled")
			}
			later, err := b.q.Join(r.ID)
			b.ok(err)
			wantIs(t, later.Wait(over()), context.Canceled)
			later.Close()
		}
		wantIs(t, j.Wait(t.Context()), queue.ErrStopping)
		j, err := b.q.Join(r.ID)
		b.ok(err)
		equal(t, "owed still", b.drain("a"), []string{"x"})
		b.wait(j)
		b.stop()
	})
}

// Guarantee E3.
func TestFailureOfOneSinkIsItsOwn(t *testing.T) {
	b := newBench(t, named("a", "b", "c")...)
	r, j := b.joined("x")
	equal(t, "b", b.drain("b"), []string{"x"})
	b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Hour}, b.take("a", 1)...)
	b.bury("c", "no")
	b.flush()
	b.crash()
	b.none("b")
	if b.complete(r.ID) {
		t.Error("it reached one sink, and not all")
	}
	j.Close()
	var got []string
	for _, s := range []string{"a", "b", "c"} {
		got = append(got, b.state(r.ID, s).State)
	}
	equal(t, "states", got, []string{"retrying", "done", "dead"})
}

// Guarantee E5.
func TestStateTellsWhereAnItemStands(t *testing.T) {
	b := newBenchOf(t, lazily(none("a", 100), bounded("full", 0, queue.DropNewest)))
	ids := b.fill(7, 10)
	ds := b.take("a", 6)
	b.settle("a", done, ds[0])
	b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Hour, Err: "later"}, ds[1])
	b.settle("a", buried("no"), ds[2], ds[3], ds[5])
	b.requeue(queue.DeadFilter{IDs: ids[5:6]})
	b.purge(queue.DeadFilter{IDs: ids[3:4]})
	b.flush()
	want := []string{"done", "retrying", "dead", "purged", "in_flight", "waiting", "waiting"}
	complete := []bool{true, false, true, true, false, true, false}
	check := func(when string) {
		t.Helper()
		for i, id := range ids {
			s, err := b.q.State(id)
			b.ok(err)
			if s.ID != id || s.Size != 10 || s.Complete != complete[i] || len(s.Sinks) != 2 || s.Sinks[0].State != want[i] || s.Sinks[1].State != "dropped" {
				t.Errorf("%s, item %d: %+v, want %s", when, i, s, want[i])
			}
			it, err := b.q.Item(id)
			b.ok(err)
			equal(t, "body", string(it.Body), fmt.Sprintf("%-10d", i))
		}
		if p := b.state(ids[1], "a"); p.Attempts != 1 || p.LastError != "later" || p.Next.Before(time.Now().Add(50*time.Minute)) {
			t.Errorf("%s: %+v", when, p)
		}
		if p := b.state(ids[2], "a"); p.Attempts != 1 || p.LastError != "no" || !p.Next.IsZero() {
			t.Errorf("%s: %+v", when, p)
		}
	}
	check("at once")
	want[4] = "waiting"
	b.crash()
	check("after a crash")
	b.restart()
	check("after a restart")
	other := uuid.Must(uuid.NewV7())
	forged := ids[0]
	forged[0]++
	for _, id := range []uuid.UUID{{}, other, uuid.New(), uuid.Max, forged} {
		_, err := b.q.State(id)
		wantIs(t, err, queue.ErrNotFound)
		_, err = b.q.Item(id)
		wantIs(t, err, queue.ErrNotFound)
	}
}

// Guarantee E5: an item that is no longer kept is told apart from one that never was.
func TestReleasedItemIsToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		ids := b.fill(300, 3000)
		b.drain("a")
		settled()
		check := func() {
			t.Helper()
			_, err := b.q.State(ids[0])
			wantIs(t, err, queue.ErrReleased)
			_, err = b.q.Item(ids[0])
			wantIs(t, err, queue.ErrReleased)
			j, err := b.q.Join(ids[0])
			b.ok(err)
			b.wait(j) // it is owed to nobody
		}
		check()
		b.restart()
		check()
		b.stop()
	})
}

// Guarantee E1: who closes a join, or leaves, is not waited for, and disturbs nobody.
func TestClosedJoinDisturbsNobody(t *testing.T) {
	b := newBench(t, named("a")...)
	r, j := b.joined("x")
	other, err := b.q.Join(r.ID, r.ID)
	b.ok(err)
	equal(t, "waiters", b.metric("ack_waiters"), 3)
	j.Close()
	equal(t, "waiters", b.metric("ack_waiters"), 2)
	b.drain("a")
	b.wait(other)
	equal(t, "waiters", b.metric("ack_waiters"), 0)
	equal(t, "acks", b.metric("ack_join_duration_seconds"), 2)
	if err := j.Wait(over()); !errors.Is(err, context.Canceled) {
		t.Errorf("a closed join: %v", err)
	}
}

// Guarantee E1, in part: a join of many items waits for all of them.
func TestJoinOfManyWaitsForAll(t *testing.T) {
	b := newBench(t, none("a", 100), none("b", 100))
	r := queue.Request{Join: true, Items: make([]queue.Item, 50)}
	a, err := b.request(r)
	b.ok(err)
	as, bs := b.take("a", 50), b.take("b", 50)
	b.settle("a", done, as[1:]...)
	b.settle("b", done, bs...)
	b.flush()
	wantIs(t, a.Join.Wait(over()), context.Canceled)
	b.settle("a", done, as[0])
	b.wait(a.Join)
}
