package queue_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

// Guarantee A4: whoever waits for a key looks again when the request that has claimed it gives up.
func TestWaiterForAKeyGoesOnWhenItsOwnerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bounded("a", 1, queue.Block))
		b.put("fills the sink")
		brief, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := b.q.Put(brief, keyed("k", "body")); first <- err }()
		synctest.Wait()
		long, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { _, err := b.q.Put(long, keyed("k", "body")); second <- err }()
		wantError[*queue.FullError](t, <-first)
		b.settle("a", done, b.take("a", 1)...)
		began := time.Now()
		if err := <-second; err != nil || time.Since(began) > time.Second {
			t.Errorf("it ended with %v after %v, and there was room all the time", err, time.Since(began))
		}
		b.stop()
	})
}

// Guarantee C6, in part: a queue that cannot be read for a moment costs another neither its rows nor its cursor.
func TestReadErrorOfOneQueueLosesNoRowOfAnother(t *testing.T) {
	o := lazily(named("a", "z")...)
	o.Handover = 1
	o.Sinks[0].Order = queue.None
	b := newBenchOf(t, o)
	b.fill(600, 1000) // several segments
	b.settle("a", done, b.take("a", 600)...)
	b.restart()
	b.put("precious")
	ds := b.take("a", 1)
	segments, err := filepath.Glob(filepath.Join(b.dir, "log", "*.log"))
	b.ok(err)
	b.ok(os.Rename(segments[0], segments[0]+".away")) // z has not read it yet
	b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Hour, Err: "503"}, ds...)
	b.ok(b.q.Pause(t.Context(), "a"))
	b.ok(os.Rename(segments[0]+".away", segments[0]))
	b.put("another")
	b.ok(b.q.Resume(t.Context(), "a"))
	b.crash()
	rows, err := b.st.Rows(1, 0, 10)
	b.ok(err)
	if len(rows) != 1 {
		t.Errorf("rows after the crash: %+v, and a gets %v", rows, texts(b.poll("a", 10)))
	}
}
