package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := tryOpenStore(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func tryOpenStore(t testing.TB, dir string) (*Store, error) {
	t.Helper()
	d, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return Open(d, Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10})
}

func mustStore(t testing.TB, s *Store, c Change) {
	t.Helper()
	if err := s.Commit(c); err != nil {
		t.Fatalf("%+v", err)
	}
}

func mustAppend(t testing.TB, s *Store, n int) {
	t.Helper()
	if err := appendItems(s, n); err != nil {
		t.Fatal(err)
	}
}

func appendItems(s *Store, n int) error {
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{Seq: s.Next() + uint64(i), Time: 1000, Mask: &Mask{To: []uint32{1}}, Body: bytes.Repeat([]byte("x"), 500)}
	}
	_, err := s.Append(items, 1, nil)
	return err
}

// crash copies a store as it is on disk, as if its process had been killed.
func crash(t testing.TB, s *Store) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.dir.Path())); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStoreKnowsHowItWasClosed(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", s.NextQueue())}, QueueTime: 5})
	equal(t, "unclean after Create", s.Tail().Unclean, false)
	mustAppend(t, s, 3)
	killed := openStore(t, crash(t, s))
	equal(t, "unclean after a kill", killed.Tail().Unclean, true)
	equal(t, "error", killed.RewriteTail(), nil)
	equal(t, "next", killed.Next(), uint64(4))
	mustAppend(t, killed, 1)

	equal(t, "error", s.Close(), nil)
	equal(t, "error of a second Close", s.Close(), nil)
	s = openStore(t, s.dir.Path())
	equal(t, "unclean after Close", s.Tail().Unclean, false)
	equal(t, "next", s.Next(), uint64(4))
	equal(t, "uuid", s.UUID(), testUUID)
	equal(t, "next queue", s.NextQueue(), uint32(2))
	queueTime, wall := s.Times()
	equal(t, "queue time", queueTime, int64(5))
	equal(t, "wall time, at which nobody looked", wall, int64(0))
	killed = openStore(t, crash(t, s))
	equal(t, "unclean after a kill before any append", killed.Tail().Unclean, false)
}

func TestAChangeOfSinksStartsASegment(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	a := liveSink("a", s.NextQueue())
	for _, step := range []struct {
		sinks    []Sink
		segments int
	}{{[]Sink{a}, 1}, {nil, 1}, {[]Sink{a}, 1}, {[]Sink{liveSink("b", s.NextQueue())}, 2}} {
		mustStore(t, s, Change{Sinks: step.sinks})
		mustAppend(t, s, 1)
		equal(t, "segments", len(s.Segments()), step.segments)
	}
}

// Bodies come before the log, and an item edited for one queue is not the others'.
func TestItemPrefersWhatWasEdited(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	rows := []Row{{Seq: 1, State: RowDead}}
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1), liveSink("b", 2)}})
	mustAppend(t, s, 1)
	mustStore(t, s, Change{
		Queues: []QueueChange{{Number: 1, Cursor: 2, Rows: rows}, {Number: 2, Cursor: 2, Rows: rows}},
		Bodies: []Body{{1, Item{Seq: 1, Body: []byte("edited")}}},
	})
	for queue, want := range map[uint32]string{1: "edited", 2: string(bytes.Repeat([]byte("x"), 500))} {
		it, err := s.Item(queue, 1)
		equal(t, "error", err, nil)
		equal(t, "body", string(it.Body), want)
	}
}

func TestASegmentIsFreeWhenNoQueueAndNoRowNeedsIt(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	for range 20 {
		mustAppend(t, s, 20)
	}
	equal(t, "error", s.Seal(), nil)
	first := s.Segments()[0]
	next := s.Next()
	equal(t, "free at first", len(s.Free()), 0)
	row := Row{Seq: first.First + 3, State: RowDead}
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: next, Rows: []Row{row}}}})
	free := s.Free()
	if len(free) == 0 || free[0] == first.Serial {
		t.Fatalf("free with a row in the first: %v", free)
	}
	it, err := s.Item(1, row.Seq)
	equal(t, "error", err, nil)
	mustStore(t, s, Change{Bodies: []Body{{0, it}}})
	equal(t, "the first one after its row got a body", s.Free()[0], first.Serial)
}

func TestTheOtherStoresQueuesAreRefused(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	mustAppend(t, s, 1)
	equal(t, "error", s.Close(), nil)
	dir := s.dir.Path()
	equal(t, "error", os.Remove(filepath.Join(dir, queuesName)), nil)
	equal(t, "error", createQueues(filepath.Join(dir, queuesName), [16]byte{99}), nil)
	_, err := tryOpenStore(t, dir)
	if _, ok := errors.AsType[*DamageError](err); !ok {
		t.Fatalf("open: %v", err)
	}
	d, err := LockDir(dir)
	equal(t, "error of LockDir after an Open that failed", err, nil)
	equal(t, "error", d.Close(), nil)
}

func TestAFatalStoreIsClosedWithoutTouchingTheDisk(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	mustAppend(t, s, 1)
	_ = s.queues.fail("commit", io.ErrUnexpectedEOF)
	before, err := os.ReadFile(s.queues.path)
	equal(t, "error", err, nil)
	if _, ok := errors.AsType[*FatalError](s.Commit(Change{})); !ok {
		t.Fatal("a commit after a fatal error")
	}
	equal(t, "error", s.Close(), nil)
	after, _ := os.ReadFile(s.queues.path)
	equal(t, "bytes as before", bytes.Equal(before, after), true)
	s = openStore(t, s.dir.Path())
	equal(t, "unclean", s.Tail().Unclean, true)
}

// One appends, one commits, one seals, any number read: all at once.
func TestAllOfItAtOnce(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	done := make(chan struct{})
	var work, readers sync.WaitGroup
	work.Go(func() {
		for range 40 {
			if err := appendItems(s, 20); err != nil {
				t.Error(err)
				return
			}
		}
	})
	work.Go(func() {
		for i := range uint64(40) {
			if err := s.Commit(Change{Queues: []QueueChange{{Number: 1, Cursor: 10 * i, Rows: bigRows(10*i, 10)}}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	work.Go(func() {
		for range 10 {
			if err := errors.Join(s.Prepare(), s.Seal()); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		readers.Go(func() {
			for from := uint64(0); ; from = (from + 7) % 400 {
				select {
				case <-done:
					return
				default:
				}
				_, err1 := s.LoadQueue(1)
				_, err2 := s.Rows(1, from, 5, RowDead)
				_, _, err3 := s.Gone(1, from)
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Error(err)
					return
				}
				_ = fmt.Sprint(s.Free(), s.Sinks(), s.Usage(), s.Written(), s.Oldest())
				s.Times()
			}
		})
	}
	work.Wait()
	close(done)
	readers.Wait()
	rows, err := s.Rows(1, 0, 1000)
	equal(t, "error", err, nil)
	equal(t, "rows", len(rows), 400)
}

// A segment that no cursor needs is missed all the same when a row does.
func TestAMissingSegmentThatARowNeedsIsDamage(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	for range 20 {
		mustAppend(t, s, 20)
	}
	first := s.Segments()[0]
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: s.Next(), Rows: []Row{{Seq: first.First, State: RowDead}}}}})
	equal(t, "error", s.Close(), nil)
	equal(t, "error", openStore(t, s.dir.Path()).Close(), nil)
	names, err := filepath.Glob(filepath.Join(s.dir.Path(), logDir, "00000001-*.log"))
	equal(t, "error", errors.Join(err, os.Remove(names[0])), nil)
	_, err = tryOpenStore(t, s.dir.Path())
	if _, ok := errors.AsType[*DamageError](err); !ok {
		t.Fatalf("open: %v", err)
	}
}
