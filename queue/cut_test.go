package queue_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"holdfast/queue"
	"holdfast/store"
)

// Guarantees G6, G7, in part: the end of the log is cut off. What waits is right, then and after the next start.
func TestDepthIsRightWhenTheEndOfTheLogIsLost(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, settled := range []int{0, 30, 60} {
			t.Run(fmt.Sprintf("clean %t, %d settled", clean, settled), func(t *testing.T) {
				b := newHealingBench(t, queue.Options{Sinks: []queue.SinkOptions{none("a", 1000), none("b", 1000)}})
				b.fill(60, 1000)
				b.settle("a", done, b.take("a", settled)...)
				b.flush()
				if clean {
					b.stop()
				} else {
					b.crash()
					b.halt()
					b.ok(b.st.Close())
				}
				paths := globLogs(b.bench)
				b.ok(os.Truncate(paths[0], 30000))
				b.start()
				for range 3 {
					b.drain("a", "b")
					b.flush()
					for _, s := range b.q.Sinks() {
						equal(t, s.Name+" waits", []int64{s.Waiting, s.WaitingBytes}, []int64{0, 0})
					}
					b.restart()
				}
			})
		}
	}
}

// Guarantees G6, G7, in part: a disk that lies more than once: the end of the log is lost again and again, newest segments
// and all, under different traffic. Whenever nothing can be handed out any more, nothing waits.
func TestDepthIsRightHoweverOftenTheEndOfTheLogIsLost(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			b := newHealingBench(t, queue.Options{Sinks: []queue.SinkOptions{none("a", 1000), none("b", 1000),
				{Name: "c", Order: queue.None, Window: 1000, Match: func(at store.Attrs) bool { return at.Get("type") == "c" }}}})
			for round := range 4 {
				for range r.IntN(4) {
					b.fillTyped(20+r.IntN(150), []string{"", "c"}[r.IntN(2)])
					for _, sink := range []string{"a", "b", "c"} {
						if r.IntN(2) == 0 {
							b.settle(sink, done, b.poll(sink, r.IntN(100))...)
						}
					}
				}
				if r.IntN(3) > 0 {
					b.flush()
				}
				if r.IntN(2) == 0 {
					b.stop()
				} else {
					b.kill()
				}
				b.cutEnd(r)
				b.start()
				if r.IntN(3) == 0 {
					continue // the next loss comes before this one is dealt with
				}
				for again := range 2 {
					for _, sink := range []string{"a", "b", "c"} {
						b.settle(sink, done, b.poll(sink, 1000)...)
						b.drain(sink)
					}
					b.flush()
					for _, s := range b.q.Sinks() {
						equal(t, fmt.Sprint("round ", round, ", look ", again, ": waits for ", s.Name), []int64{s.Waiting, s.WaitingBytes}, []int64{0, 0})
					}
					b.restart()
				}
			}
		})
	}
}

// fillTyped puts items of a type, several to a request.
func (h *healingBench) fillTyped(n int, kind string) {
	h.Helper()
	for n > 0 {
		var items []queue.Item
		for range min(n, 10) {
			items = append(items, queue.Item{Body: make([]byte, 1000), Attrs: store.MakeAttrs(map[string]string{"type": kind})})
		}
		n -= len(items)
		h.request(queue.Request{Source: "test", Items: items})
	}
}

// cutEnd takes the end of the log: some newest segments, or the end of the newest one.
func (h *healingBench) cutEnd(r *rand.Rand) {
	h.Helper()
	paths := globLogs(h.bench)
	for len(paths) > 1 && r.IntN(3) == 0 {
		h.ok(os.Remove(paths[len(paths)-1]))
		paths = paths[:len(paths)-1]
	}
	if len(paths) == 0 || r.IntN(4) == 0 {
		return
	}
	last := paths[len(paths)-1]
	fi, err := os.Stat(last)
	h.ok(err)
	h.ok(os.Truncate(last, min(fi.Size(), 2048+r.Int64N(120_000))))
}

// kill leaves what kill -9 at this moment would.
func (h *healingBench) kill() {
	h.Helper()
	m := h.image()
	h.stop()
	h.dir = h.newDir()
	h.ok(os.Mkdir(filepath.Join(h.dir, "log"), 0o700))
	for rel, data := range m {
		h.ok(os.WriteFile(filepath.Join(h.dir, rel), data, 0o600))
	}
}
