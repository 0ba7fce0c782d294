package queue_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"holdfast/queue"
	"holdfast/recovery"
)

var backlog = flag.Int("backlog", 200_000, "items that wait in TestBacklogCostsNoMemoryAndNoTime; 10000000 is what the guarantees speak of (6 GB of disk)")

// Guarantees B6, G8.
func TestBacklogCostsNoMemoryAndNoTime(t *testing.T) {
	dir := t.TempDir()
	names := named("a", "b", "c")
	empty := rssAnon(t)
	full := fillAt(t, dir, names, *backlog)
	began := time.Now()
	st, _, err := recovery.Open(dir, recovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(st, queue.Options{Sinks: names})
	if err != nil {
		t.Fatal(err)
	}
	opened := time.Since(began)
	for _, s := range q.Sinks() {
		if s.Waiting != int64(*backlog) {
			t.Errorf("%d wait for sink %s, want %d", s.Waiting, s.Name, *backlog)
		}
	}
	reopened := rssAnon(t)
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d items waiting for 3 sinks: RssAnon %d MiB before, %d while they came, %d after a start that took %v", *backlog, empty>>20, full>>20, reopened>>20, opened)
	if opened > time.Second {
		t.Errorf("a start took %v", opened)
	}
	if grown := max(full, reopened) - empty; grown > 64<<20+8<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// fillAt puts items of 512 bytes into a store of its own, and stops in order. It returns what memory they took at the end.
func fillAt(t *testing.T, dir string, names []queue.SinkOptions, n int) (rss int64) {
	t.Helper()
	st, _, err := recovery.Open(dir, recovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(st, queue.Options{Sinks: names})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	items := make([]queue.Item, 500)
	for i := range items {
		items[i].Body = make([]byte, 512)
	}
	var producers sync.WaitGroup
	for range 4 {
		producers.Go(func() {
			for range n / 4 / len(items) {
				if _, err := q.Put(t.Context(), queue.Request{Source: "http", Items: items}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	producers.Wait()
	rss = rssAnon(t)
	stop()
	if err := errors.Join(<-ended, st.Close()); err != nil {
		t.Error(err)
	}
	return rss
}

// rssAnon is the process's anonymous memory, after what is free was given back.
func rssAnon(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("only Linux tells")
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
