package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// A healingBench heals its log, and notes what it is told.
type healingBench struct {
	*bench
	kept   []string // files that were kept in quarantine
	healed []store.Healing
}

func newHealingBench(t testing.TB, o queue.Options) *healingBench {
	h := &healingBench{}
	h.bench = &bench{tb: t, Options: o, store: smallSegments, dir: t.TempDir(), newDir: t.TempDir}
	h.MarkDelay = time.Millisecond
	h.store.Quarantine = func(path string, _ bool) error { h.kept = append(h.kept, filepath.Base(path)); return nil }
	h.store.Healed = func(x store.Healing) { h.healed = append(h.healed, x) }
	h.start()
	t.Cleanup(h.stop)
	return h
}

// harm changes the first file of the log that has a text, at that text.
func (h *healingBench) harm(text string, change func(b []byte)) {
	h.Helper()
	paths, err := filepath.Glob(filepath.Join(h.dir, "log", "*.log"))
	h.ok(err)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		h.ok(err)
		if i := bytes.Index(b, []byte(text)); i >= 0 {
			change(b[i:])
			h.ok(os.WriteFile(path, b, 0o600))
			return
		}
	}
	h.Fatalf("%q is nowhere", text)
}

func (h *healingBench) lost() (n int) {
	for _, x := range h.healed {
		n += x.Lost
	}
	return n
}

// numberOf is the item of fill that a delivery has.
func numberOf(text string) string { return strings.Fields(text)[0] }

// Guarantees G6, E2, in part: what is lost is settled as that for every sink that was owed it, once; all else is
// delivered, and who asks, or waits, is told.
func TestLostItemsAreSettledAsLost(t *testing.T) {
	b := newHealingBench(t, queue.Options{Sinks: named("a", "b"), Handover: 1})
	ids := b.fill(600, 1000)
	first := b.take("a", 1)
	b.settle("a", done, first...)
	b.stop()
	if n := len(globLogs(b.bench)); n < 3 {
		t.Fatalf("%d segments", n)
	}
	b.harm(fmt.Sprintf("%-*d", 1000, 0), func(c []byte) { c[500] ^= 1 })  // a had it, b did not
	b.harm(fmt.Sprintf("%-*d", 1000, 33), func(c []byte) { c[500] ^= 1 }) // one item
	b.harm(fmt.Sprintf("%-*d", 1000, 300), func(c []byte) { clear(c[:9000]) })
	b.start()
	ctx, cancel := patience()
	defer cancel()
	b.ok(b.q.Pause(ctx, "b"))
	got := map[string]bool{}
	for _, text := range b.drain("a") {
		got[numberOf(text)] = true
	}
	lost := 0
	for i, id := range ids {
		if i == 0 || got[fmt.Sprint(i)] {
			continue
		}
		lost++
		whole, err := b.q.State(id)
		b.ok(err)
		equal(t, fmt.Sprint("item ", i, " is lost"), whole.Lost && whole.Complete && !whole.Accepted.IsZero(), true)
		equal(t, fmt.Sprint("state of item ", i, " with a"), b.state(id, "a").State, "lost")
		equal(t, fmt.Sprint("state of item ", i, " with the paused b"), b.state(id, "b").State, "lost")
		j, err := b.q.Join(id)
		b.ok(err)
		b.ok(j.Wait(ctx))
	}
	if lost < 9 || lost > 12 || got["33"] {
		t.Errorf("%d lost", lost)
	}
	equal(t, "state of what a had", b.state(ids[0], "a").State, "done")
	equal(t, "state of it with b", b.state(ids[0], "b").State, "lost")
	equal(t, "lost, as it is told", b.lost(), lost+1)
	equal(t, "settled as lost", b.metric("sink_settled_total", "a") >= float64(lost), true)
	b.ok(b.q.Resume(ctx, "b"))
	equal(t, "delivered to b", len(b.drain("b")), len(ids)-lost-1)
	for _, s := range b.q.Sinks() {
		equal(t, "waiting for "+s.Name, s.Waiting, int64(0))
		equal(t, "bytes of it", s.WaitingBytes, int64(0))
	}
	told, kept := len(b.healed), len(b.kept)
	b.flush()
	b.crash()
	b.none("a")
	b.none("b")
	equal(t, "told again", len(b.healed), told)
	equal(t, "kept again", len(b.kept), kept)
}

func globLogs(b *bench) []string {
	b.Helper()
	paths, err := filepath.Glob(filepath.Join(b.dir, "log", "*.log"))
	b.ok(err)
	return paths
}

// Guarantee G6, in part: a delivery that waits for its retry, and a dead letter, whose items are lost.
func TestRowsOfLostItemsAreSettledOrShown(t *testing.T) {
	b := newHealingBench(t, queue.Options{Sinks: []queue.SinkOptions{{Name: "a", Order: queue.None}}, Handover: 1})
	b.fill(400, 1000)
	ds := b.take("a", 400)
	var retried, dead uuid.UUID
	const held = 40 // so many that their segment is not evacuated
	for i, d := range ds {
		switch {
		case i == 5:
			retried = d.ID
			b.settle("a", queue.Outcome{Kind: queue.Retry, Err: "no"}, d)
		case i == 7:
			dead = d.ID
			b.settle("a", buried("never"), d)
		case 50 <= i && i < 50+held:
			b.settle("a", queue.Outcome{Kind: queue.Hold, After: time.Hour, Err: "down"}, d)
		default:
			b.settle("a", done, d)
		}
	}
	b.stop()
	for _, path := range globLogs(b.bench)[:1] {
		data, err := os.ReadFile(path)
		b.ok(err)
		clear(data[1000:20000])
		b.ok(os.WriteFile(path, data, 0o600))
	}
	b.start()
	b.none("a")
	equal(t, "state of what was retried", b.state(retried, "a").State, "lost")
	equal(t, "lost, as it is told", b.lost(), 2)
	lostLetter(b.bench, dead, false)
	b.restart()
	lostLetter(b.bench, dead, false)
	ctx, cancel := patience()
	defer cancel()
	n, err := b.q.Purge(ctx, queue.DeadFilter{Sink: "a", IDs: []uuid.UUID{dead}})
	b.ok(err)
	equal(t, "purged", n, 1)
	equal(t, "its state then", b.state(dead, "a").State, "purged")
	equal(t, "dead letters left", len(b.deadOf("a")), 0)
	b.restart()
	b.none("a")
	equal(t, "waiting", b.q.Sinks()[0].Waiting, int64(held))
	equal(t, "dead", b.q.Sinks()[0].Dead, int64(0))
}

// lostLetter checks that sink a has one dead letter, whose item is lost, and that no requeue takes it away. timed: it is
// known when it was accepted.
func lostLetter(b *bench, id uuid.UUID, timed bool) {
	b.Helper()
	list := b.deadOf("a")
	equal(b, "dead letters", len(list), 1)
	equal(b, "the id in the list is the producer's", list[0].ID == id, timed)
	one, err := b.q.DeadLetter("a", id)
	b.ok(err)
	equal(b, "the id that it is found under", one.ID, id)
	if _, err := b.q.DeadLetter("a", list[0].ID); err != nil {
		b.Errorf("the id in the list finds nothing: %v", err)
	}
	for _, d := range []queue.DeadLetter{list[0], one} {
		equal(b, "it is lost", d.Lost, true)
		equal(b, "it says when it was accepted", !d.Accepted.IsZero(), timed)
		equal(b, "attempts", d.Attempts, 1)
		equal(b, "last error", d.LastError, "never")
	}
	equal(b, "its state", b.state(id, "a").State, "dead")
	whole, err := b.q.State(list[0].ID)
	b.ok(err)
	equal(b, "it is lost, by the id in the list", whole.Lost, true)
	equal(b, "its state says when it was accepted", !whole.Accepted.IsZero(), timed)
	_, err = b.q.Item(id)
	wantIs(b, err, queue.ErrLost)
	ctx, cancel := patience()
	defer cancel()
	for _, f := range []queue.DeadFilter{{Sink: "a", IDs: []uuid.UUID{id}}, {Sink: "a", IDs: []uuid.UUID{list[0].ID}}, {All: true, DryRun: true}, {All: true}} {
		n, lost, err := b.q.Requeue(ctx, f)
		b.ok(err)
		equal(b, "requeued", n, 0)
		equal(b, "told to be lost", lost, 1)
	}
	b.none("a")
	equal(b, "dead letters then", len(b.deadOf("a")), 1)
	equal(b, "dead", b.q.Sinks()[0].Dead, int64(1))
}

// Guarantees D3, G6, in part: of a lost dead letter whose neighbours tell when it was accepted the id is known too; others
// that were chosen with it are requeued.
func TestALostDeadLetterWithNeighboursKeepsItsID(t *testing.T) {
	b := newHealingBench(t, queue.Options{Sinks: []queue.SinkOptions{{Name: "a", Order: queue.None}}, Handover: 1})
	ids := b.fill(400, 1000)
	for i, d := range b.take("a", 400) {
		switch {
		case i == 7 || i == 9:
			b.settle("a", buried("never"), d)
		case 50 <= i && i < 90:
			b.settle("a", queue.Outcome{Kind: queue.Hold, After: time.Hour, Err: "down"}, d)
		default:
			b.settle("a", done, d)
		}
	}
	b.stop()
	b.harm(fmt.Sprintf("%-*d", 1000, 7), func(c []byte) { c[500] ^= 1 })
	b.start()
	equal(t, "dead letters", len(b.deadOf("a")), 2) // and the damage is found
	ctx, cancel := patience()
	defer cancel()
	n, lost, err := b.q.Requeue(ctx, queue.DeadFilter{All: true})
	b.ok(err)
	equal(t, "requeued", n, 1)
	equal(t, "told to be lost", lost, 1)
	equal(t, "sent again", b.take("a", 1)[0].ID, ids[9])
	b.stop()
	b.start()
	b.settle("a", done, b.take("a", 1)...)
	lostLetter(b.bench, ids[7], true)
	wrong := ids[7]
	wrong[5] ^= 1
	_, err = b.q.DeadLetter("a", wrong)
	equal(t, "an id of another time", err, error(queue.ErrNotFound))
	_, err = b.q.State(wrong)
	equal(t, "its state", err, error(queue.ErrNotFound))
}

// A segment that is gone was everybody's who was not past it.
func TestAMissingSegmentIsSettledAsLost(t *testing.T) {
	b := newHealingBench(t, queue.Options{Sinks: named("a", "b"), Handover: 1})
	ids := b.fill(600, 1000)
	b.settle("a", done, b.take("a", 1)...)
	b.stop()
	b.ok(os.Remove(globLogs(b.bench)[1]))
	b.start()
	n := b.lost()
	if n == 0 {
		t.Fatal("nothing is lost")
	}
	equal(t, "delivered to b", len(b.drain("b")), len(ids)-n)
	equal(t, "delivered to a", len(b.drain("a")), len(ids)-n-1)
	b.restart()
	for _, s := range b.q.Sinks() {
		equal(t, "waiting for "+s.Name, s.Waiting, int64(0))
		equal(t, "bytes of it", s.WaitingBytes, int64(0))
	}
	equal(t, "lost, as it is told", b.lost(), n)
}

// Guarantees E5, G6, in part: an item that is lost is lost for those who never got it, and done for the others, as long as
// anything is known of it, however long its segment is gone; and then it is no longer kept.
func TestALostItemStaysLostWhenItsSegmentIsGone(t *testing.T) {
	for _, pinned := range []bool{true, false} { // by a dead letter, whose item is lost too
		t.Run(fmt.Sprint("pinned ", pinned), func(t *testing.T) {
			b := newHealingBench(t, queue.Options{Sinks: []queue.SinkOptions{{Name: "a", Order: queue.None}, {Name: "b"}}, Handover: 1})
			ids := b.fill(400, 1000)
			for i, d := range b.take("a", 400) {
				if pinned && i == 7 {
					b.settle("a", buried("never"), d)
				} else {
					b.settle("a", done, d)
				}
			}
			b.stop()
			for _, i := range []int{7, 12} {
				b.harm(fmt.Sprintf("%-*d", 1000, i), func(c []byte) { c[500] ^= 1 })
			}
			b.start()
			equal(t, "delivered to b", len(b.drain("b")), 398)
			check := func(when string) {
				t.Helper()
				for _, i := range []int{7, 12} {
					s, err := b.q.State(ids[i])
					if errors.Is(err, queue.ErrReleased) && !pinned {
						continue
					}
					b.ok(err)
					byName := map[string]string{}
					for _, p := range s.Sinks {
						byName[p.Sink] = p.State
					}
					want := "done"
					if pinned && i == 7 {
						want = "dead"
					}
					equal(t, fmt.Sprint(when, ": state of item ", i, " with b"), byName["b"], "lost")
					if got := byName["a"]; got != want && got != "released" {
						t.Errorf("%s: state of item %d with a: %s", when, i, got)
					}
				}
			}
			check("at once")
			first := globLogs(b.bench)[0]
			for range 3 {
				b.put("more")
				b.drain("a")
				b.drain("b")
				b.flush()
				check("later")
			}
			if _, err := os.Stat(first); err == nil {
				t.Fatal("the segment is still there")
			}
			check("its segment is gone")
			b.restart()
			b.put("more")
			b.drain("a")
			b.drain("b")
			b.flush()
			check("after a restart")
			if pinned {
				b.rebuild()
				check("after queues.db was made anew")
				lostLetter(b.bench, ids[7], false)
			}
		})
	}
}

// rebuild has queues.db made anew, of which both meta pages are damaged.
func (h *healingBench) rebuild() store.Rebuilt {
	h.Helper()
	h.stop()
	path := filepath.Join(h.dir, "queues.db")
	data, err := os.ReadFile(path)
	h.ok(err)
	clear(data[:2*os.Getpagesize()])
	h.ok(os.WriteFile(path, data, 0o600))
	plan, err := store.PlanRebuild(h.dir, [16]byte{1}, false)
	h.ok(err)
	h.ok(plan.Write())
	h.ok(plan.Close())
	h.start()
	return plan.Rebuilt()
}

// Guarantees E4, G6, in part: an item that is lost is acked too, as nobody is owed it any more, where its neighbours tell the
// time that is in its id.
func TestALostItemIsAcked(t *testing.T) {
	var mu sync.Mutex
	acked := map[uuid.UUID]int{}
	hook := func(ids []uuid.UUID) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			acked[id]++
		}
	}
	b := newHealingBench(t, queue.Options{Sinks: named("a"), Handover: 1, OnAck: hook})
	ids := b.fill(400, 1000)
	b.stop()
	b.harm(fmt.Sprintf("%-*d", 1000, 33), func(c []byte) { c[500] ^= 1 })
	b.start()
	equal(t, "delivered", len(b.drain("a")), 399)
	equal(t, "state", b.state(ids[33], "a").State, "lost")
	b.flush()
	b.stop() // the hook is called for all that is due, or after the next start
	b.start()
	for deadline := time.Now().Add(20 * time.Second); ; b.flush() {
		mu.Lock()
		missing := slices.DeleteFunc(slices.Clone(ids), func(id uuid.UUID) bool { return acked[id] > 0 })
		n := len(acked)
		mu.Unlock()
		if len(missing) == 0 && n == len(ids) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d ids are acked, and not %v", n, missing)
		}
	}
}
