package queue_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	list, _, err := b.q.Dead("a", "", 10)
	b.ok(err)
	equal(t, "dead letters", len(list), 1)
	equal(t, "its state", b.state(dead, "a").State, "dead")
	ctx, cancel := patience()
	defer cancel()
	n, err := b.q.Requeue(ctx, queue.DeadFilter{Sink: "a", All: true})
	b.ok(err)
	equal(t, "requeued", n, 1)
	b.none("a")
	equal(t, "its state then", b.state(dead, "a").State, "lost")
	b.restart()
	b.none("a")
	equal(t, "waiting", b.q.Sinks()[0].Waiting, int64(held))
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
