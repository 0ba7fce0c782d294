package store

import (
	"errors"
	"os"
	"testing"
)

// openBig opens a store with segments as in production.
func openBig(t *testing.T) *Store {
	t.Helper()
	d, err := LockDir(newQueuesDir(t))
	equal(t, "error", err, nil)
	s, err := Open(d, Options{})
	equal(t, "error", err, nil)
	t.Cleanup(func() { _ = s.Close() })
	s.log.ops.fdatasync = func(*os.File) error { return nil } // what is flushed when is not what these tests are about
	return s
}

// drained releases what is free, as the queue does: one commit after the one that freed it.
func drained(t *testing.T, s *Store) {
	t.Helper()
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: s.Next()}}})
	equal(t, "error", s.Seal(), nil)
	mustStore(t, s, Change{})
	_, err := s.Release(s.Free())
	equal(t, "error", err, nil)
}

// An appliance that has nothing to do holds a few MiB, whatever it held before.
func TestAnIdleDrainedStoreShrinks(t *testing.T) {
	s := openBig(t)
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	for range 300 { // 45 MB: a spare is there, and most of the next segment's disk
		mustAppend(t, s, 300)
		equal(t, "error", s.Prepare(), nil)
	}
	u := s.Usage()
	if u.LogBytes+u.SpareBytes < 100<<20 {
		t.Fatalf("it held %+v", u)
	}
	equal(t, "error", s.Rotate(), nil)
	drained(t, s)
	equal(t, "error", s.Prepare(), nil)
	u = s.Usage()
	if u.Segments != 1 || u.LogBytes > 5<<20 || u.SpareBytes != 0 || u.QueuesBytes > 6<<20 {
		t.Fatalf("it holds %+v", u)
	}
	mustAppend(t, s, 10)
	if u := s.Usage(); u.LogBytes > 9<<20 {
		t.Fatalf("it takes %+v for ten items", u)
	}
	next := s.Next()
	equal(t, "error", s.Close(), nil)
	s = openStore(t, s.Path())
	equal(t, "next", s.Next(), next)
	it, err := s.Item(1, next-1)
	equal(t, "error", err, nil)
	equal(t, "body", len(it.Body), 500)
}

func TestAnEmptySegmentIsNotRotated(t *testing.T) {
	s := openBig(t)
	equal(t, "error before the first segment", s.Rotate(), nil)
	equal(t, "segments", s.Usage().Segments, 0)
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	for range 250 {
		mustAppend(t, s, 300)
		equal(t, "error", s.Prepare(), nil)
	}
	mustStore(t, s, Change{Sinks: []Sink{liveSink("b", 2)}})
	equal(t, "error", s.Rotate(), nil)
	serial := s.Segments()[1].Serial
	for range 3 {
		equal(t, "error", s.Rotate(), nil)
		equal(t, "segments", len(s.Segments()), 2)
		equal(t, "serial", s.Segments()[1].Serial, serial)
	}
	killed := openStore(t, crash(t, s))
	equal(t, "error", killed.RewriteTail(), nil)
	equal(t, "next", killed.Next(), s.Next())
	mustAppend(t, killed, 1)
	mustAppend(t, s, 1)
	_, err := s.Item(1, s.Next()-1)
	equal(t, "error", err, nil)
}

// What nothing is owed from may be kept, and is read as before.
func TestRetainedSegmentsStayReadable(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	for range 20 {
		mustAppend(t, s, 20)
	}
	equal(t, "error", s.Seal(), nil)
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: s.Next()}}})
	equal(t, "error", s.Close(), nil)
	s = openStore(t, s.Path())
	segments := s.Segments()
	equal(t, "free", len(s.Free()), len(segments)-1)
	for i, g := range segments {
		equal(t, "free", g.Free(), i < len(segments)-1)
		equal(t, "owes", g.Owes, Tally{})
		equal(t, "newest", g.Newest, int64(1000))
		_, err := s.Item(1, g.First)
		equal(t, "error", err, nil)
		b, err := s.Reader(1, g.First).Next()
		equal(t, "error", err, nil)
		equal(t, "first", b.First, g.First)
	}
	_, err := s.Release([]uint64{segments[0].Serial})
	equal(t, "error", err, nil)
	_, err = s.Item(1, 1)
	equal(t, "an item that went", errors.Is(err, ErrReleased), true)
	equal(t, "oldest", s.Oldest(), segments[1].First)
}

func TestAFullDiskOnRotateChangesNothing(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	mustAppend(t, s, 1)
	disk := s.log.ops
	s.log.ops.allocate = func(*os.File, int64, int64, bool) error { return ErrFull }
	equal(t, "full", errors.Is(s.Rotate(), ErrFull), true)
	equal(t, "segments", len(s.Segments()), 1)
	s.log.ops = disk
	equal(t, "error", s.Rotate(), nil)
	equal(t, "segments", len(s.Segments()), 2)
	mustAppend(t, s, 1)
	equal(t, "segments", len(s.Segments()), 2)
}

// A segment that is not sealed ends where the next begins: nothing goes behind it, until it is sealed.
func TestNothingIsReleasedBehindASegmentThatIsNotSealed(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	for range 20 {
		mustAppend(t, s, 20)
	}
	disk := s.log.ops
	first := true
	s.log.ops.truncate = func(f *os.File, size int64) error {
		if first { // that of the oldest segment
			first = false
			return os.ErrInvalid
		}
		return disk.truncate(f, size)
	}
	equal(t, "sealed", s.Seal() == nil, false)
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: s.Next()}}})
	n := len(s.Segments())
	free := s.Free()
	equal(t, "free", len(free), n-2)
	_, err := s.Release(free)
	equal(t, "error", err, nil)
	equal(t, "segments", len(s.Segments()), n)
	s.log.ops = disk
	equal(t, "error", s.Seal(), nil)
	_, err = s.Release(s.Free())
	equal(t, "error", err, nil)
	equal(t, "segments", len(s.Segments()), 1)
}
