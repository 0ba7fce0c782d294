package queue_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"holdfast/queue"
	"holdfast/store"
)

func byKey(name string, window int) queue.SinkOptions {
	return queue.SinkOptions{Name: name, Order: queue.Key, Window: window}
}

// accept puts items as one request.
func (b *bench) accept(items ...queue.Item) []queue.Receipt {
	b.Helper()
	a, err := b.request(queue.Request{Items: items})
	b.ok(err)
	return a.Receipts
}

// putKeys accepts an item for each name, whose key is all but its last character: a1, a2 and b1 are two of a and one of b;
// 1 has none.
func (b *bench) putKeys(names ...string) []queue.Receipt {
	b.Helper()
	var items []queue.Item
	for _, n := range names {
		items = append(items, queue.Item{Key: n[:len(n)-1], Body: []byte(n)})
	}
	return b.accept(items...)
}

func (b *bench) retry(sink string, after time.Duration, ds ...queue.Delivery) {
	b.Helper()
	b.settle(sink, queue.Outcome{Kind: queue.Retry, After: after, Err: "no"}, ds...)
}

// Guarantee B2: with order key two of a key are never out at once, in batches neither, and nobody else waits.
func TestOnlyItemsOfTheSameKeyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, byKey("a", 100))
		ids := b.putKeys("a1", "b1", "a2", "1", "c1", "2", "b2", "a3", "c2")
		ds := b.poll("a", 100)
		equal(t, "at first", texts(ds), []string{"a1", "b1", "1", "c1", "2"})
		b.none("a")
		equal(t, "blocked", b.state(ids[2].ID, "a").State, "blocked")
		b.retry("a", time.Hour, ds[0])
		b.settle("a", done, ds[1])
		b.feed("a").Return(ds[2])
		equal(t, "b goes on, a waits, what was returned is again", texts(b.poll("a", 100)), []string{"1", "b2"})
		time.Sleep(time.Hour)
		ds2 := b.take("a", 1)
		equal(t, "the retry", texts(ds2), []string{"a1"})
		b.none("a")
		b.settle("a", buried("no"), ds2...)
		ds2 = b.poll("a", 100)
		equal(t, "behind a dead letter", texts(ds2), []string{"a2"})
		b.feed("a").Return(ds2[0])
		ds2 = b.poll("a", 100)
		equal(t, "what was returned holds its key", texts(ds2), []string{"a2"})
		b.settle("a", done, ds2[0], ds[3])
		equal(t, "then", texts(b.poll("a", 100)), []string{"a3", "c2"})
		b.stop()
	})
}

// Guarantees B1, B2: the order of a key survives a stop and a crash, whatever was out, waited for a retry, was blocked or
// requeued then.
func TestOrderOfAKeySurvivesRestartAndCrash(t *testing.T) {
	for what, again := range map[string]func(*bench){"restart": (*bench).restart, "crash": (*bench).crash} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBenchOf(t, lazily(byKey("a", 100)))
				ids := b.putKeys("d1", "a1", "b1", "c1", "a2", "1", "b2", "c2", "d2", "a3", "b3", "c3", "2")
				ds := b.poll("a", 100)
				equal(t, "out", texts(ds), []string{"d1", "a1", "b1", "c1", "1", "2"})
				b.retry("a", time.Hour, ds[2])
				b.settle("a", buried("no"), ds[3])
				b.settle("a", done, ds[4])
				b.settle("a", done, ds[0])
				equal(t, "c goes on", texts(b.poll("a", 100)), []string{"c2", "d2"})
				b.flush() // a1, 2, c2 and d2 are out, b1 waits, a2, a3, b2, b3 and c3 are blocked
				equal(t, "requeued", b.requeue(queue.DeadFilter{All: true}), 1)
				for range 2 {
					again(b)
					equal(t, "blocked", b.state(ids[4].ID, "a").State, "blocked")
					ds = b.poll("a", 100)
					equal(t, "again", texts(ds), []string{"a1", "c1", "d2", "2"})
				}
				b.settle("a", done, ds[:2]...)
				ds = b.poll("a", 100)
				equal(t, "then", texts(ds), []string{"a2", "c2"})
				b.settle("a", done, ds...)
				equal(t, "last", b.drain("a"), []string{"a3", "c3"})
				time.Sleep(time.Hour)
				equal(t, "after the retry", b.drain("a"), []string{"b1", "b2", "b3"})
				b.stop()
			})
		})
	}
}

// Guarantee B2: nothing is read ahead past max_waiting rows, and a start with as many as that goes on.
func TestNothingIsReadAheadPastMaxWaiting(t *testing.T) {
	o := lazily(byKey("a", 10))
	b := newBenchOf(t, o)
	b.store.SegmentBytes = 16 << 20
	b.restart()
	b.putKeys("a0")
	const more = 500
	for n := 0; n < 100_000+more; n += 10_000 {
		items := make([]queue.Item, min(10_000, 100_000+more-n))
		for i := range items {
			items[i].Key = "a"
		}
		b.accept(items...)
	}
	b.putKeys("b0")
	check := func(when string) queue.Delivery {
		t.Helper()
		ds := b.take("a", 1)
		equal(t, when, texts(ds), []string{"a0"})
		for range 120 {
			b.none("a") // b0 is beyond
		}
		b.flush()
		rows, err := b.st.Rows(1, 0, 200_000, store.RowBlocked)
		b.ok(err)
		if n := len(rows); n != 99_999 && n != 100_000 { // one may be for a0
			t.Errorf("%s: %d rows", when, n)
		}
		return ds[0]
	}
	check("at first")
	b.crash()
	d := check("after a crash")
	b.settle("a", done, d)
	for range more + 10 {
		b.settle("a", done, b.take("a", 1)...)
	}
	got := b.poll("a", 10)
	if !slices.Contains(texts(got), "b0") {
		t.Errorf("b0 does not come when there is place: %q", texts(got))
	}
}

// Guarantees B2, B8: what was read ahead before a crash, beyond an item that was out, does not keep that from coming again.
func TestFullRowsDoNotHoldTheStreamAfterACrash(t *testing.T) {
	o := lazily(none("a", 10))
	b := newBenchOf(t, o)
	b.store.SegmentBytes = 16 << 20
	b.restart()
	early := slices.Repeat([]queue.Item{{NotBefore: time.Now().Add(100 * time.Hour)}}, 10_000)
	for n := range 11 {
		if n == 5 {
			b.put("x")
		}
		b.accept(early...)
	}
	for range 2 {
		equal(t, "handed out", texts(b.take("a", 1)), []string{"x"})
		for range 60 {
			b.none("a")
		}
		b.flush()
		rows, err := b.st.Rows(1, 0, 200_000, store.RowNotDue)
		b.ok(err)
		equal(t, "rows", len(rows), 100_000)
		b.crash()
	}
}

// Guarantee B2: a long run of items that go aside holds nobody up, however it is cut into calls.
func TestManyThatGoAsideAreReadInOneWait(t *testing.T) {
	b := newBench(t, byKey("a", 10))
	b.putKeys("a0")
	out := b.take("a", 1)
	for range 20 {
		b.accept(slices.Repeat([]queue.Item{{Key: "a"}}, 250)...)
	}
	b.putKeys("b0")
	equal(t, "behind 5000 of a", texts(b.take("a", 1)), []string{"b0"})
	b.settle("a", done, out...)
}

// Guarantees B2, B6, in part: what was evacuated out of a nearly finished segment keeps its place.
func TestEvacuatedItemKeepsItsPlaceInItsKey(t *testing.T) {
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rare := queue.SinkOptions{Name: "rare", Order: order, Match: func(a store.Attrs) bool { return a.Get("for") != "b" }}
				b := newBench(t, rare, none("b", 1000))
				forB := store.MakeAttrs(map[string]string{"for": "b"})
				fill := func(attrs store.Attrs, n int) {
					for range n {
						b.accept(queue.Item{Attrs: attrs, Body: make([]byte, 3000)})
					}
				}
				b.putKeys("k1")
				fill("", 120) // more than a segment is owed to rare
				fill(forB, 120)
				b.putKeys("k2")
				fill(forB, 240)
				b.putKeys("k3")
				b.drain("b")
				settled()
				rows, err := b.st.Rows(1, 0, 10)
				b.ok(err)
				equal(t, "evacuated", len(rows), 1)
				var keys []string
				for what, again := range map[string]func(){"running": func() {}, "restart": b.restart, "crash": b.crash} {
					again()
					d := b.take("rare", 1)
					equal(t, what, texts(d), []string{"k1"})
					b.feed("rare").Return(d[0])
				}
				for range 123 {
					d := b.take("rare", 1)
					if d[0].Item.Key != "" {
						keys = append(keys, texts(d)...)
					}
					b.settle("rare", done, d...)
				}
				equal(t, "in order", keys, []string{"k1", "k2", "k3"})
				b.none("rare")
				b.stop()
			})
		})
	}
}

// A keyRef is what order key promises, per key.
type keyRef struct {
	key   string
	state string // waiting, out, parked, dead, done
	late  bool   // was requeued
}

// Guarantee B2: whatever is done in whatever order, of a key one is out at a time and they go by seq, and nobody waits for
// another key. A requeued one comes in its turn, which is not told.
func TestKeyOrderIsWhatTheReferenceSays(t *testing.T) {
	rapidChecks(t)
	newDir, _ := dirs(t.TempDir())
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func() {
			t := rt
			b := &bench{tb: t, Options: lazily(byKey("a", 6)), store: smallSegments, dir: newDir(), newDir: newDir}
			b.start()
			defer func() {
				if b.ended != nil {
					_ = b.halt()
					_ = b.st.Close()
				}
			}()
			var now, durable []keyRef
			var out []queue.Delivery
			at := func(d queue.Delivery) *keyRef { return &now[d.Item.Seq-1] }
			lost := func(refs []keyRef) {
				now, out = slices.Clone(refs), nil
				for i := range now {
					if now[i].state == "out" {
						now[i].state = "waiting"
					}
				}
			}
			with := func(f func(*rapid.T)) func(*rapid.T) { return func(t *rapid.T) { b.tb = t; f(t) } }
			settle := with(func(t *rapid.T) {
				if len(out) == 0 {
					t.Skip("nothing is out")
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				d := out[i]
				out = slices.Delete(out, i, i+1)
				switch rapid.IntRange(0, 5).Draw(t, "how") {
				case 0:
					b.retry("a", time.Hour, d)
					at(d).state = "parked"
				case 1:
					b.settle("a", buried("no"), d)
					at(d).state = "dead"
				case 2:
					b.feed("a").Return(d)
					at(d).state = "waiting"
				default:
					b.settle("a", done, d)
					at(d).state = "done"
				}
			})
			hand := with(func(t *rapid.T) {
				n := rapid.IntRange(1, 7).Draw(t, "max")
				ds := b.poll("a", n)
				least, most := mayGo(now)
				if limit := min(n, 6-len(out)); len(ds) < min(limit, least) || len(ds) > min(limit, most) {
					t.Fatalf("%d are handed out, of %+v", len(ds), now)
				}
				for _, d := range ds {
					if i := inTheWay(now, int(d.Item.Seq-1)); i >= 0 {
						t.Fatalf("%d is handed out, and %d is %+v", d.Item.Seq-1, i, now[i])
					}
					at(d).state = "out"
				}
				out = append(out, ds...)
			})
			put := with(func(t *rapid.T) {
				for _, k := range rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "a", "b", "c"}), 1, 5).Draw(t, "keys") {
					b.accept(queue.Item{Key: k})
					now, durable = append(now, keyRef{key: k, state: "waiting"}), append(durable, keyRef{key: k, state: "waiting"})
				}
			})
			t.Repeat(map[string]func(*rapid.T){
				"put": put, "put more": put, "hand": hand, "hand more": hand, "settle": settle, "settle more": settle, "settle again": settle,
				"sleep": with(func(*rapid.T) {
					time.Sleep(time.Hour)
					for i := range now {
						if now[i].state == "parked" {
							now[i].state = "waiting"
						}
						if durable[i].state == "parked" {
							durable[i].state = "waiting"
						}
					}
				}),
				"requeue": with(func(*rapid.T) {
					b.requeue(queue.DeadFilter{All: true})
					for i := range now {
						if now[i].state == "dead" {
							now[i].state, now[i].late = "waiting", true
						}
					}
					durable = slices.Clone(now)
				}),
				"mark":    with(func(*rapid.T) { b.flush(); durable = slices.Clone(now) }),
				"restart": with(func(*rapid.T) { lost(now); durable = slices.Clone(now); b.restart() }),
				"crash": with(func(*rapid.T) {
					lost(durable)
					durable = slices.Clone(now)
					b.crash()
				}),
				"": with(func(*rapid.T) {}),
			})
			b.tb = t
			b.stop()
		})
	})
}

// mayGo is how many of the reference may be handed out: all without a key, and one of each key that is not under way. A
// start puts those of a key in line by seq, so that a requeued one may come before an older one that waits for its retry
// since: that makes it a range.
func mayGo(refs []keyRef) (least, most int) {
	for i, r := range refs {
		if r.state != "waiting" || r.key != "" && !first(refs, i) {
			continue
		}
		least, most = least+1, most+1
		for j, other := range refs {
			if r.key == "" || other.key != r.key {
				continue
			}
			if other.state == "out" {
				least, most = least-1, most-1
				break
			}
			if other.state == "parked" {
				least--
				if !r.late || j < i {
					most--
				}
				break
			}
		}
	}
	return least, most
}

// first reports whether no other of its key waits before it.
func first(refs []keyRef, i int) bool {
	return !slices.ContainsFunc(refs[:i], func(r keyRef) bool { return r.key == refs[i].key && r.state == "waiting" })
}

// inTheWay is the one of the reference that must be over before another may go; -1: none.
func inTheWay(refs []keyRef, at int) int {
	me := refs[at]
	for i, r := range refs {
		if r.key == "" || r.key != me.key {
			continue
		}
		if r.state == "out" || r.state == "parked" && (!me.late || i < at) || r.state == "waiting" && i < at && !r.late && !me.late {
			return i
		}
	}
	return -1
}
