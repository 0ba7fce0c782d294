package crashtest_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/recovery"
)

const day, year = 24 * time.Hour, 365 * 24 * time.Hour

// Guarantees A4, A5, B7, B8, C5, C6, G10, in part: across a step of the wall clock between two lives of one store. Nobody
// can tell a step forward of up to a year from a machine that was off for as long; a longer one, and any back, is a clock
// that was wrong. A loop that spins stops the bubble's clock, and so the test.
func TestClockStepsBetweenTwoLives(t *testing.T) {
	for _, c := range []struct {
		what   string
		first  time.Duration // when the first life is, by the wall clock
		second time.Duration
		off    time.Duration // how long the machine seems to have been off
	}{
		{"the same moment", 30 * day, 30 * day, 0},
		{"back a day", 30 * day, 29 * day, 0},
		{"forward a day", 30 * day, 31 * day, day},
		{"forward a year", 30 * day, 30*day + year, year},
		{"forward ten years", 30 * day, 30*day + 10*year, 0},
		{"a boot in 1970", 56 * year, time.Minute, 0},
		{"from a boot in 1970 to the present", time.Minute, 56 * year, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			var before []uuid.UUID
			live(t, dir, c.first, func(l *life) { before = l.leaveWork() })
			live(t, dir, c.second, func(l *life) { l.checkWork(before, c.first-c.second, c.off) })
		})
	}
}

// Guarantee G10: a store that met a boot in 1970 between two lives in the present goes on in the third as if nothing had
// been.
func TestBootIn1970IsForgottenLater(t *testing.T) {
	dir := t.TempDir()
	var before []uuid.UUID
	live(t, dir, 56*year, func(l *life) { before = l.leaveWork() })
	live(t, dir, time.Minute, func(l *life) { before = append(before, l.put(queue.Item{Body: []byte("1970")}).ID) })
	live(t, dir, 56*year, func(l *life) { l.checkWork(before, 0, 0) })
}

// A life is one run of a queue, in a bubble with a clock of its own. Sink a is emptied, sink b is only looked at.
type life struct {
	testing.TB
	q     *queue.Queues
	began time.Time
}

// keyWindow is how long an idempotency key is known, ttl how long the mortal item is of use, backoff when the failed one is
// due again, and notBefore when the early one is, by the wall clock of the first life.
const keyWindow, ttl, backoff, notBefore = 36 * time.Hour, 48 * time.Hour, 10 * time.Minute, time.Hour

// live opens the store at a moment of a bubble's clock, and stops it in order.
func live(t *testing.T, dir string, at time.Duration, do func(*life)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(at)
		st, _, err := recovery.Open(dir, recovery.Options{})
		if err != nil {
			t.Fatal(err)
		}
		q, err := queue.Open(st, queue.Options{
			Sinks:     []queue.SinkOptions{{Name: "a", Order: queue.None}, {Name: "b", Order: queue.None}},
			MarkDelay: 50 * time.Millisecond, DedupeWindow: keyWindow,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var runs sync.WaitGroup
		runs.Go(func() { err = q.Run(ctx) })
		do(&life{t, q, time.Now()})
		stop()
		runs.Wait()
		if err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (l *life) put(it queue.Item) queue.Receipt {
	l.Helper()
	a, err := l.q.Put(l.Context(), queue.Request{Source: "http", Items: []queue.Item{it}})
	if err != nil {
		l.Fatal(err)
	}
	return a.Receipts[0]
}

func keyed() queue.Item { return queue.Item{Body: []byte("keyed"), IdempotencyKey: "k"} }

// leaveWork leaves one item of each kind that depends on time.
func (l *life) leaveWork() (ids []uuid.UUID) {
	l.Helper()
	for _, it := range []queue.Item{
		{Body: []byte("failed")}, {Body: []byte("early"), NotBefore: time.Now().Add(notBefore)}, {Body: []byte("mortal"), TTL: ttl}, keyed(),
	} {
		ids = append(ids, l.put(it).ID)
	}
	feed := l.feed("a")
	for _, d := range l.ready(feed, 4) {
		switch string(d.Item.Body) {
		case "failed":
			feed.Settle(d, queue.Outcome{Kind: queue.Retry, After: backoff, Err: "503"})
		case "early":
			l.Error("the early one is handed out")
		default:
			feed.Settle(d, queue.Outcome{Kind: queue.Done})
		}
	}
	time.Sleep(time.Second) // and the marks are made
	return ids
}

// checkWork looks at what leaveWork left. back is by how much the wall clock went back, off how long it seems to have
// been off.
func (l *life) checkWork(before []uuid.UUID, back, off time.Duration) {
	l.Helper()
	if got := l.put(keyed()); got.Duplicate != (off < keyWindow) || got.Duplicate != slices.Contains(before, got.ID) {
		l.Errorf("the key is known: %t", got.Duplicate)
	}
	if id := l.put(queue.Item{Body: []byte("new")}).ID; bytes.Compare(id[:], before[len(before)-1][:]) <= 0 {
		l.Errorf("the id %s after %s", id, before[len(before)-1])
	}
	const watched = 3 * day
	var arrived map[string]time.Duration
	var lane sync.WaitGroup
	lane.Go(func() { arrived = l.empty("a", watched) })
	l.checkMortal(off)
	lane.Wait()
	want := map[string]time.Duration{"failed": max(0, backoff-off), "early": max(0, notBefore+back), "new": 0}
	if off >= keyWindow {
		want["keyed"] = 0
	}
	if want["early"] > watched {
		delete(want, "early")
	}
	delete(arrived, "1970")
	near := cmp.Comparer(func(x, y time.Duration) bool { return (x - y).Abs() < 5*time.Second })
	if diff := cmp.Diff(want, arrived, near); diff != "" {
		l.Errorf("when sink a got what: %s", diff)
	}
}

// checkMortal waits until the mortal item is about to expire, and until it has.
func (l *life) checkMortal(off time.Duration) {
	l.Helper()
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{{0, off < ttl}, {ttl - off - time.Hour, off < ttl-time.Hour}, {ttl - off + time.Hour, false}} {
		time.Sleep(c.at - time.Since(l.began))
		feed, got := l.feed("b"), false
		for _, d := range l.ready(feed, 10) {
			got = got || string(d.Item.Body) == "mortal"
			feed.Return(d)
		}
		if got != c.want {
			l.Errorf("after %v the mortal one is handed out: %t", time.Since(l.began), got)
		}
	}
}

func (l *life) feed(sink string) *queue.Feed {
	l.Helper()
	f, err := l.q.Feed(sink)
	if err != nil {
		l.Fatal(err)
	}
	return f
}

// ready is what a feed hands out at once, and at most n.
func (l *life) ready(f *queue.Feed, n int) (all []queue.Delivery) {
	ctx, cancel := context.WithTimeout(l.Context(), time.Second)
	defer cancel()
	for len(all) < n {
		ds, err := f.Next(ctx, nil, n-len(all))
		if err != nil {
			break
		}
		all = append(all, ds...)
	}
	return all
}

// empty takes what a sink is handed out for some time, and says when each came.
func (l *life) empty(sink string, d time.Duration) map[string]time.Duration {
	ctx, cancel := context.WithTimeout(l.Context(), d)
	defer cancel()
	feed, arrived := l.feed(sink), map[string]time.Duration{}
	for {
		ds, err := feed.Next(ctx, nil, 1)
		if err != nil {
			return arrived
		}
		for _, d := range ds {
			body := string(d.Item.Body)
			if _, twice := arrived[body]; twice {
				body = fmt.Sprint(body, " again")
			}
			arrived[body] = time.Since(l.began)
			if body == "failed" && d.Attempts != 1 {
				l.Errorf("%d attempts are spent", d.Attempts)
			}
			feed.Settle(d, queue.Outcome{Kind: queue.Done})
		}
	}
}
