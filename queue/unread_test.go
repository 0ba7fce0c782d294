package queue_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"holdfast/queue"
	"holdfast/store"
)

// A lockedBuffer is what several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// Guarantee G6, in part: damage whose original cannot be kept stops its sinks, and that is seen: in their status, and in the
// log, once and not with each try. It goes on by itself when there is room.
func TestDamageThatCannotBeKeptIsSeen(t *testing.T) {
	var log lockedBuffer
	b := newHealingBench(t, queue.Options{Sinks: named("a", "b"), Handover: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	b.fill(600, 1000)
	b.stop()
	b.harm(fmt.Sprintf("%-*d", 1000, 33), func(c []byte) { c[500] ^= 1 })
	var tries atomic.Int64
	var full atomic.Bool
	full.Store(true)
	keep := b.store.Quarantine
	b.store.Quarantine = func(path string, changes bool) error {
		if tries.Add(1); full.Load() {
			return syscall.ENOSPC
		}
		return keep(path, changes)
	}
	b.start()
	got := make(chan int)
	go func() { got <- len(b.drainUntil("a", 599)) }()
	for n := 0; tries.Load() < 8; n++ {
		b.put("wakes the feed")
	}
	s := b.status("a")
	equal(t, "it says since when", s.Unread.IsZero(), false)
	equal(t, "it says by what: "+s.LastError, strings.Contains(s.LastError, "quarantine") && strings.Contains(s.LastError, syscall.ENOSPC.Error()), true)
	since, err := b.feed("a").Unread()
	wantIs(t, err, syscall.ENOSPC)
	equal(t, "the feed says since when", since.Equal(s.Unread), true)
	equal(t, "lines", log.count("the log cannot be read"), 1)
	full.Store(false)
	b.put("wakes the feed")
	<-got
	equal(t, "it cannot be read then", b.status("a").Unread.IsZero(), true)
	equal(t, "its last error then", b.status("a").LastError, "")
	equal(t, "lines then", log.count("the log can be read again"), 1)
}

// drainUntil settles at least n deliveries of a sink as done, and waits for them.
func (b *bench) drainUntil(sink string, n int) (all []string) {
	for len(all) < n {
		ds := b.take(sink, 1)
		b.settle(sink, done, ds...)
		all = append(all, texts(ds)...)
	}
	return all
}

// Guarantee G6, in part: a row whose item the log has never heard of, which damage that nobody saw may leave, is told, counts as
// lost, and holds up nobody.
func TestARowWithoutAnItemHoldsUpNobody(t *testing.T) {
	var log lockedBuffer
	b := newHealingBench(t, queue.Options{Sinks: named("a"), Log: slog.New(slog.NewTextHandler(&log, nil))})
	b.put("one")
	b.stop()
	open := func() *store.Store {
		dir, err := store.LockDir(b.dir)
		b.ok(err)
		st, err := store.Open(dir, b.store)
		b.ok(err)
		return st
	}
	st := open()
	torn := st.Next()
	_, err := st.Append([]store.Item{{Seq: torn, Mask: &store.Mask{To: []uint32{1}}, Body: []byte("two")}}, 1, nil)
	b.ok(err)
	crashed := t.TempDir()
	b.ok(os.CopyFS(crashed, os.DirFS(b.dir)))
	b.ok(st.Close())
	b.dir = crashed
	b.harm("two", func(c []byte) { c[0] ^= 1 })
	st = open()
	b.ok(st.RewriteTail())
	b.ok(st.Close())
	b.start()
	b.put("three")
	b.stop()
	st = open()
	row := store.Row{Seq: torn, State: store.RowReady, Owes: true}
	counts := store.Counts{Requeued: store.Tally{Items: 1}} // so that the books balance
	b.ok(st.Commit(store.Change{Queues: []store.QueueChange{{Number: 1, Cursor: 1, Rows: []store.Row{row}, Counts: counts}}}))
	b.ok(st.Close())
	b.start()
	equal(t, "delivered", b.drain("a"), []string{"one", "three"})
	equal(t, "told", log.count("is not in the log"), 1)
}
