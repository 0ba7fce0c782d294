package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// deadOf lists the dead letters of one sink, or of all.
func (b *bench) deadOf(sink string) (all []queue.DeadLetter) {
	b.Helper()
	for after := ""; ; {
		list, next, err := b.q.Dead(sink, after, 7)
		b.ok(err)
		all = append(all, list...)
		if next == "" {
			return all
		}
		after = next
	}
}

// Guarantee D1: at every moment an item is owed or a dead letter, and nothing else.
func TestDeadLetterAndItsMarkAreOneTransaction(t *testing.T) {
	b := newBenchOf(t, lazily(named("a")...))
	ids := b.fill(3, 10)
	b.settle("a", buried("no"), b.take("a", 3)...)
	for _, id := range ids {
		equal(t, "state", b.state(id, "a").State, "dead")
	}
	before := b.image()
	b.flush()
	after := b.image()
	b.revive(before)
	equal(t, "dead before the mark", len(b.deadOf("")), 0)
	equal(t, "owed before the mark", b.drain("a"), numbers(0, 3))
	b.revive(after)
	equal(t, "dead after the mark", len(b.deadOf("")), 3)
	b.none("a")
	equal(t, "waiting", b.status("a").Waiting, 0)
}

// Guarantees D1, D4, G1, in part: whenever the process is killed while lanes bury and an operator requeues, every item is
// owed or dead.
func TestKilledProcessForgetsNoDeadLetter(t *testing.T) {
	b := newBench(t, none("a", 100), queue.SinkOptions{Name: "b"})
	const n = 200
	b.fill(n, 10)
	ctx, cancel := context.WithCancel(t.Context())
	f := b.feed("a")
	q := b.q
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			ds, err := f.Next(ctx, nil, 5)
			if err != nil {
				return
			}
			for j, d := range ds {
				o := buried("no")
				if (i+j)%3 == 0 {
					o = queue.Outcome{Kind: queue.Retry, Err: "again"}
				}
				f.Settle(d, o)
			}
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, _, err := q.Requeue(ctx, queue.DeadFilter{Sink: "a"}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	var images []image
	for range 12 {
		images = append(images, b.image())
	}
	cancel()
	wg.Wait()
	for i, m := range images {
		b.revive(m)
		got := map[string]bool{}
		for _, d := range b.deadOf("a") {
			got[string(d.Item.Body)] = true
		}
		s := b.status("a")
		if int64(len(got)) != s.Dead || s.Waiting+s.Dead != n {
			t.Errorf("image %d: %d dead letters, %+v", i, len(got), s)
		}
		for _, text := range b.drain("a") {
			got[fmt.Sprintf("%-10s", text)] = true
		}
		if len(got) != n {
			t.Errorf("image %d: %d of %d items are dead or owed", i, len(got), n)
		}
	}
}

// Guarantee D2.
func TestDeadLetterKeepsItsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		attrs := store.MakeAttrs(map[string]string{"type": "t"})
		a, err := b.request(queue.Request{Items: []queue.Item{{Attrs: attrs, Key: "k", Body: []byte("body")}}})
		b.ok(err)
		id := a.Receipts[0].ID
		for i := range 2 {
			b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Second, Err: fmt.Sprintf("delivery failed: %d", i)}, b.take("a", 1)...)
		}
		b.settle("a", queue.Outcome{Kind: queue.Bury, Permanent: true, Err: "delivery failed: permanent: no"}, b.take("a", 1)...)
		died := time.Now()
		b.flush()
		for _, again := range []func(){func() {}, b.restart, b.crash} {
			again()
			d, err := b.q.DeadLetter("a", id)
			b.ok(err)
			if d.Sink != "a" || d.ID != id || d.Attempts != 3 || !d.Permanent ||
				d.FirstError != "delivery failed: 0" || d.LastError != "delivery failed: permanent: no" ||
				!d.Died.Equal(died) || !d.Accepted.Equal(a.Receipts[0].Accepted) ||
				string(d.Item.Body) != "body" || d.Item.Attrs != attrs || d.Item.Key != "k" {
				t.Errorf("%+v", d)
			}
			p := b.state(id, "a")
			if p.State != "dead" || p.Attempts != 3 || p.LastError != d.LastError || !p.Next.IsZero() {
				t.Errorf("%+v", p)
			}
			list := b.deadOf("a")
			if len(list) != 1 || list[0].ID != id {
				t.Errorf("%+v", list)
			}
		}
		_, err = b.q.DeadLetter("a", uuid.New())
		wantIs(t, err, queue.ErrNotFound)
		_, err = b.q.DeadLetter("a", b.put("y")[0].ID)
		wantIs(t, err, queue.ErrNotFound)
		_, err = b.q.DeadLetter("nobody", id)
		wantIs(t, err, queue.ErrNoSink)
		b.stop()
	})
}

// Guarantee D4.
func TestRequeueGoesToThatSinkAloneAndAcksNobodyAgain(t *testing.T) {
	b := newBenchOf(t, lazily(named("a", "b")...))
	r, j := b.joined("x")
	b.settle("a", queue.Outcome{Kind: queue.Retry, Err: "1"}, b.take("a", 1)...)
	b.settle("a", buried("no"), b.take("a", 1)...)
	b.drain("b")
	b.wait(j)
	acks := b.metric("ack_join_duration_seconds")
	equal(t, "requeued of b", b.requeue(queue.DeadFilter{Sink: "b"}), 0)
	equal(t, "requeued", b.requeue(queue.DeadFilter{Sink: "a"}), 1)
	if !b.complete(r.ID) {
		t.Error("a requeue makes it owed again")
	}
	again, err := b.q.Join(r.ID)
	b.ok(err)
	b.wait(again)
	b.none("b")
	check := func(when string) queue.Delivery {
		t.Helper()
		equal(t, when+": dead", []any{b.status("a").Dead, len(b.deadOf(""))}, []any{0, 0})
		equal(t, when+": waiting", b.status("a").Waiting, 1)
		equal(t, when+": state", b.state(r.ID, "a").State, "waiting")
		d := b.take("a", 1)[0]
		if d.ID != r.ID || d.Attempts != 0 || string(d.Item.Body) != "x" {
			t.Errorf("%s: %+v", when, d)
		}
		return d
	}
	check("at once")
	b.crash()
	check("after a crash")
	b.restart()
	d := check("after a restart")
	b.none("b")
	b.settle("a", done, d)
	b.flush()
	equal(t, "acks", acks, 1)
	equal(t, "acks after", b.metric("ack_join_duration_seconds"), 0)
	s := b.status("a")
	equal(t, "books", []int64{s.Accepted, s.Requeued, s.Settled, s.Waiting, s.Dead, s.DeadBytes}, []int64{1, 1, 2, 0, 0, 0})
	b.crash()
	b.none("a")
	equal(t, "state", b.state(r.ID, "a").State, "done")
}

// Guarantee D4: a requeued item that dies again is a dead letter again, and that a producer still waits for another sink
// changes nothing.
func TestRequeuedItemMayDieAgain(t *testing.T) {
	b := newBenchOf(t, lazily(named("a", "b")...))
	r, j := b.joined("x")
	for i := range 4 {
		equal(t, "buried", b.bury("a", fmt.Sprint("no ", i)), 1)
		equal(t, "state", b.state(r.ID, "a").State, "dead")
		if i%2 == 1 {
			b.flush()
			b.crash()
		}
		equal(t, "requeued", b.requeue(queue.DeadFilter{IDs: []uuid.UUID{r.ID}}), 1)
	}
	j.Close()
	equal(t, "waiters", b.metric("ack_waiters"), 0)
	later, err := b.q.Join(r.ID)
	b.ok(err)
	wantIs(t, later.Wait(over()), context.Canceled)
	b.drain("b")
	b.wait(later)
	equal(t, "requeued in all", b.status("a").Requeued, 4)
	equal(t, "waiting", b.status("a").Waiting, 1)
}

// Guarantee D4: a crash in the middle neither loses nor forgets it.
func TestKilledProcessForgetsNoRequeue(t *testing.T) {
	b := newBenchOf(t, lazily(none("a", 1000)))
	const n = 100
	b.fill(n, 10)
	b.bury("a", "no")
	b.flush()
	var images []image
	var wg sync.WaitGroup
	q := b.q
	wg.Go(func() {
		for _, d := range b.deadOf("a") {
			if _, _, err := q.Requeue(context.Background(), queue.DeadFilter{IDs: []uuid.UUID{d.ID}}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 8 {
		images = append(images, b.image())
	}
	wg.Wait()
	images = append(images, b.image())
	for i, m := range images {
		b.revive(m)
		dead, owed := len(b.deadOf("a")), len(b.drain("a"))
		if dead+owed != n {
			t.Errorf("image %d: %d dead and %d owed, of %d", i, dead, owed, n)
		}
	}
}

// Guarantee D3, in part.
func TestPurgedDeadLetterIsGoneAndThatStaysKnown(t *testing.T) {
	b := newBenchOf(t, lazily(named("a", "b")...))
	ids := b.fill(4, 10)
	b.bury("a", "no")
	b.bury("b", "no")
	equal(t, "dry", b.purge(queue.DeadFilter{Sink: "a", DryRun: true}), 4)
	equal(t, "purged", b.purge(queue.DeadFilter{Sink: "a", IDs: ids[1:3]}), 2)
	check := func(when string) {
		t.Helper()
		var got []string
		for _, id := range ids {
			got = append(got, b.state(id, "a").State)
		}
		equal(t, when, got, []string{"dead", "purged", "purged", "dead"})
		s := b.status("a")
		equal(t, when, []int64{s.Dead, s.DeadBytes, s.Waiting, b.status("b").Dead}, []int64{2, 20, 0, 4})
		b.none("a")
	}
	check("at once")
	b.crash()
	check("after a crash")
	b.restart()
	check("after a restart")
}

// Guarantee D3, in part: a filter chooses what fits all of it, an empty one nothing.
func TestDeadFilterChoosesWhatFitsAllOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, none("a", 100), none("b", 100))
		ids := b.fill(6, 10)
		for i, d := range b.take("a", 6) {
			b.settle("a", buried([]string{"red", "green", "blue"}[i%3]), d)
			time.Sleep(time.Second)
		}
		b.bury("b", "red")
		b.flush()
		start := time.Now().Add(-6 * time.Second)
		for _, c := range []struct {
			f    queue.DeadFilter
			want int
		}{
			{queue.DeadFilter{}, 0},
			{queue.DeadFilter{All: true}, 12},
			{queue.DeadFilter{Sink: "a"}, 6},
			{queue.DeadFilter{ErrorContains: "e"}, 12},
			{queue.DeadFilter{ErrorContains: "red"}, 8},
			{queue.DeadFilter{Sink: "a", ErrorContains: "red"}, 2},
			{queue.DeadFilter{IDs: ids[:2]}, 4},
			{queue.DeadFilter{Sink: "a", IDs: ids[:2], ErrorContains: "green"}, 1},
			{queue.DeadFilter{Sink: "a", DiedBefore: start.Add(2 * time.Second)}, 2},
			{queue.DeadFilter{DiedBefore: start}, 0},
		} {
			c.f.DryRun = true
			for what, do := range map[string]func(queue.DeadFilter) int{"requeue": b.requeue, "purge": b.purge} {
				if got := do(c.f); got != c.want {
					t.Errorf("%s of %+v chose %d, want %d", what, c.f, got, c.want)
				}
			}
		}
		equal(t, "dead", len(b.deadOf("")), 12)
		_, err := b.q.Purge(t.Context(), queue.DeadFilter{Sink: "nobody"})
		wantIs(t, err, queue.ErrNoSink)
		_, _, err = b.q.Requeue(t.Context(), queue.DeadFilter{IDs: []uuid.UUID{uuid.New()}})
		wantIs(t, err, queue.ErrNotFound)
		b.stop()
	})
}

func TestDeadListGoesOnWhereItEnded(t *testing.T) {
	b := newBenchOf(t, lazily(none("b", 100), none("a", 100), none("c", 100)))
	b.fill(10, 10)
	for _, s := range []string{"a", "b", "c"} {
		b.bury(s, s)
	}
	b.flush()
	b.purge(queue.DeadFilter{Sink: "b"})
	var want []string
	for _, s := range []string{"a", "c"} {
		for _, n := range numbers(0, 10) {
			want = append(want, s+n)
		}
	}
	for limit := 1; limit < 24; limit++ {
		var got []string
		for after, n := "", 0; n < 25; n++ {
			list, next, err := b.q.Dead("", after, limit)
			b.ok(err)
			if len(list) > limit || len(list) == 0 {
				t.Fatalf("limit %d: %d", limit, len(list))
			}
			for _, d := range list {
				got = append(got, d.Sink+texts([]queue.Delivery{{Item: &d.Item}})[0])
			}
			if after = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	for _, after := range []string{"a", "a/x", "/", "a/-1"} {
		_, _, err := b.q.Dead("", after, 5)
		wantError[*queue.InvalidError](t, err)
	}
	_, _, err := b.q.Dead("nobody", "", 5)
	wantIs(t, err, queue.ErrNoSink)
}
