package store

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// openLogStore creates a store with small segments and one queue.
func openLogStore(t *testing.T, dir string) *Store {
	t.Helper()
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if there, err := Exists(dir); err != nil {
		t.Fatal(err)
	} else if !there {
		if err := Create(d, logUUID); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(d, Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RewriteTail(); err != nil {
		t.Fatal(err)
	}
	return s
}

func appendTo(t *testing.T, s *Store, n int) {
	t.Helper()
	for range n {
		it := item(2000, maskA)
		it.Seq, it.Time = s.Next(), int64(s.Next())
		if _, err := s.Append([]Item{it}, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func commitTo(t *testing.T, s *Store, c Change) {
	t.Helper()
	if err := s.Commit(c); err != nil {
		t.Fatal(err)
	}
}

func TestReleasedSegmentBetweenARowAndTheCursorIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	s := openLogStore(t, dir)
	commitTo(t, s, Change{Sinks: []Sink{{Name: "a", State: Active, Queues: []SinkQueue{{Number: 1, Live: true}}}}, Queues: []QueueChange{{Number: 1, Cursor: 1}}})
	appendTo(t, s, 100)
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	if free := s.Free(); len(free) != 0 {
		t.Fatalf("%v is free while all is owed", free)
	}
	commitTo(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: 90, Rows: []Row{{Seq: 5, State: RowDead}}}}})
	segments := s.Segments()
	free := s.Free()
	if slices.Contains(free, segments[0].Serial) || !slices.Contains(free, segments[1].Serial) || segments[0].Rows != 1 {
		t.Fatalf("free: %v of %+v", free, segments)
	}
	if _, err := s.Release(free); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openLogStore(t, dir)
	defer s.Close()
	if it, err := s.Item(1, 5); err != nil || len(it.Body) != 2000 {
		t.Error(err)
	}
	if _, err := s.Item(1, segments[1].First); !errors.Is(err, ErrReleased) {
		t.Error(err)
	}
	if s.Oldest() != 1 || s.Next() != 101 || s.Accepted(1) != (Tally{100, 200_000}) {
		t.Error(s.Oldest(), s.Next(), s.Accepted(1))
	}
}

// Appending, reading, sealing and releasing go on at once; a reader sees every item of its queue that is still kept, in
// order, and never one that is not durable.
func TestEverythingGoesOnAtOnce(t *testing.T) {
	b := newLog(t)
	const total = 2000
	var wg sync.WaitGroup
	var slowest atomic.Uint64
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for b.log.next() <= total {
			if _, err := b.tryAppend(request(3, 100, maskAB)...); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Go(func() { keepHouse(t, b, done, &slowest) })
	for range 2 {
		wg.Go(func() { follow(t, b, done, &slowest) })
	}
	wg.Wait()
}

// keepHouse seals, prepares, and releases what is before the slowest reader.
func keepHouse(t *testing.T, b *logBench, done chan struct{}, slowest *atomic.Uint64) {
	for {
		select {
		case <-done:
			return
		default:
		}
		if err := errors.Join(b.log.prepare(), b.log.seal()); err != nil {
			t.Error(err)
		}
		for _, v := range b.log.views() {
			if v.sealed && v.end < slowest.Load() {
				if _, err := b.log.release([]uint64{v.seg.serial}); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// follow reads to the end. It may lose its segment, as the other one is ahead of it: then it goes on behind.
func follow(t *testing.T, b *logBench, done chan struct{}, slowest *atomic.Uint64) {
	r := b.log.reader(1, 1)
	for last := uint64(0); ; {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			select {
			case <-done:
				if last == b.log.next()-1 {
					return
				}
			default:
			}
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		oldest := b.log.oldest()
		if block.First <= last || (block.First > last+1 && oldest < last) || block.First >= b.log.next() {
			t.Errorf("seq %d after %d", block.First, last)
		}
		last = block.Items[len(block.Items)-1].Seq
		slowest.Store(last)
	}
}
