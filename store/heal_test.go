package store

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// A healingStore is a store of two queues that heals, with what was put into it by seq.
type healingStore struct {
	*Store
	t      testing.TB
	opts   Options
	bodies map[uint64]string
	kept   []string
	healed []Healing
}

func newHealingStore(t testing.TB) *healingStore {
	h := &healingStore{t: t, opts: Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10}, bodies: map[uint64]string{}}
	h.opts.Quarantine = func(path string, _ bool) error { h.kept = append(h.kept, path); return nil }
	h.opts.Healed = func(x Healing) { h.healed = append(h.healed, x) }
	h.Store = openStore(t, newQueuesDir(t))
	mustStore(t, h.Store, Change{Sinks: []Sink{liveSink("a", 1), liveSink("b", 2)}})
	for h.log.oldest() == 0 || len(h.log.views()) < 5 {
		h.put(1 + len(h.bodies)%7)
	}
	equal(t, "error", h.Seal(), nil)
	mustStore(t, h.Store, Change{QueueTime: 1})
	return h
}

// put appends a group commit.
func (h *healingStore) put(n int) {
	h.t.Helper()
	var items []Item
	for i := range n {
		seq := h.Next() + uint64(i)
		mask := []*Mask{maskA, maskAB, {To: []uint32{2}}}[seq%3]
		h.bodies[seq] = fmt.Sprintf("item %d: %0300d", seq, seq)
		items = append(items, Item{Seq: seq, Time: int64(seq), Mask: mask, Body: []byte(h.bodies[seq])})
	}
	if _, err := h.Append(items, 1, nil); err != nil {
		h.t.Fatal(err)
	}
}

// reopen closes the store and opens it to heal.
func (h *healingStore) reopen() *healingStore {
	h.t.Helper()
	path := h.Path()
	equal(h.t, "error", h.Close(), nil)
	return h.open(path)
}

// crash goes on with a copy of what the store had on disk, that was harmed.
func (h *healingStore) crash(harm func(dir string)) *healingStore {
	h.t.Helper()
	dir := h.t.TempDir()
	equal(h.t, "error", os.CopyFS(dir, os.DirFS(h.Path())), nil)
	equal(h.t, "error", h.Close(), nil)
	harm(dir)
	return h.open(dir)
}

func (h *healingStore) open(path string) *healingStore {
	h.t.Helper()
	d, err := LockDir(path)
	equal(h.t, "error", err, nil)
	if h.Store, err = Open(d, h.opts); err != nil {
		h.t.Fatal(err)
	}
	st := h.Store
	h.t.Cleanup(func() { _ = st.Close() })
	if h.Tail().Unclean {
		equal(h.t, "error", h.RewriteTail(), nil)
	}
	return h
}

// read reads a queue's stream: the seqs that are there, and those that are lost.
func (h *healingStore) read(queue uint32) (there, lost []uint64, err error) {
	for r := h.Reader(queue, 0); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return there, lost, nil
		}
		if err != nil {
			return there, lost, err
		}
		for i := range b.Items {
			switch it := &b.Items[i]; {
			case !it.Mask.Has(queue):
			case it.Lost != nil:
				lost = append(lost, it.Seq)
			case string(it.Body) != h.bodies[it.Seq]:
				return there, lost, fmt.Errorf("seq %d has another body", it.Seq)
			default:
				there = append(there, it.Seq)
			}
		}
	}
}

func (h *healingStore) sealed(i int) view { return h.log.views()[i] }

// Guarantee G6, in part: what several readers meet at once is dealt with once; each gets what is left, and as many
// tombstones as it was owed items, though their queues are known by number only.
func TestReadersThatMeetDamageTogetherHealItOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		h := newHealingStore(t)
		rnd := rand.New(rand.NewPCG(seed, 1))
		edit(t, h.sealed(1).seg.path, func(b []byte) []byte {
			at := 512 + rnd.IntN(len(b)-6000)
			clear(b[at : at+4096])
			return b
		})
		h.reopen()
		equal(t, "healed at the start", len(h.healed), 0)
		var readers sync.WaitGroup
		for range 2 {
			for queue := uint32(1); queue <= 2; queue++ {
				readers.Go(func() {
					there, lost, err := h.read(queue)
					want := h.Accepted(queue).Items
					if err != nil || int64(len(there)+len(lost)) != want || !slices.IsSorted(there) || !slices.IsSorted(lost) {
						t.Errorf("seed %d: queue %d: %d there, %d lost, of %d, %v", seed, queue, len(there), len(lost), want, err)
					}
				})
			}
			readers.Go(func() {
				for seq := uint64(1); seq < h.Next(); seq++ {
					it, err := h.Item(1, seq)
					if err != nil && !errors.Is(err, ErrLost) || err == nil && string(it.Body) != h.bodies[seq] {
						t.Errorf("seed %d: item %d: %v", seed, seq, err)
					}
				}
				for range h.Owed(h.sealed(1).seg.serial) {
				}
			})
		}
		readers.Wait()
		equal(t, "healed", len(h.healed), 1)
		equal(t, "kept", len(h.kept), 1)
		if h.healed[0].Lost == 0 || h.healed[0].Lost > 14 || h.Healed().Lost != h.healed[0].Lost {
			t.Errorf("seed %d: %+v", seed, h.healed)
		}
		h.reopen()
		_, _, err := h.read(1)
		equal(t, "error", err, nil)
		equal(t, "healed again", len(h.healed), 1)
	}
}

// Guarantee G6, in part: what cannot be read is read again; once it is given up, it costs what is in it. The store
// lives on. At the next start the same pages are no news.
func TestPagesThatCannotBeReadAreGivenUp(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	h.reopen()
	g := h.sealed(1).seg
	disk := h.log.ops.pread
	const bad = 8 << 10
	sick := func(f *os.File, b []byte, off int64) (int, error) {
		if filepath.Base(f.Name()) == filepath.Base(g.path) && off < bad+pageBytes && off+int64(len(b)) > bad {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}
		}
		return disk(f, b, off)
	}
	h.log.ops.pread = sick
	for range 3 {
		if _, _, err := h.read(1); !errors.Is(err, syscall.EIO) || isDamage(err) {
			t.Fatal(err)
		}
	}
	equal(t, "healed before it is given up", len(h.healed), 0)
	h.Condemn(g.first)
	there, lost, err := h.read(1)
	equal(t, "error", err, nil)
	if len(lost) == 0 || len(lost) > 14 || int64(len(there)+len(lost)) != h.Accepted(1).Items || len(h.healed) != 1 {
		t.Errorf("%d there, %d lost, %+v", len(there), len(lost), h.healed)
	}
	h.reopen()
	h.log.ops.pread, h.log.recent = sick, recent{} // what the start has read is long forgotten
	h.Condemn(h.sealed(0).seg.first)
	if _, _, err := h.read(1); !errors.Is(err, syscall.EIO) {
		t.Fatal("a segment is condemned that the disk did not refuse", err)
	}
	h.Condemn(h.sealed(0).seg.first) // a reader may be farther than it is known to be
	_, again, err := h.read(1)
	equal(t, "error", err, nil)
	equal(t, "lost", again, lost)
	equal(t, "told", len(h.healed), 1)
}

// Guarantee G6, in part: the file is kept before anything is written down, and that is durable before a reader goes on.
func TestDamageThatCannotBeKeptIsNotReadAround(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	edit(t, h.sealed(1).seg.path, func(b []byte) []byte { clear(b[8192:12288]); return b })
	keep, full := h.opts.Quarantine, true
	h.opts.Quarantine = func(path string, changes bool) error {
		if full {
			return fmt.Errorf("link: %w", ErrFull)
		}
		return keep(path, changes)
	}
	h.reopen()
	for range 2 {
		if _, _, err := h.read(1); !errors.Is(err, ErrFull) || isDamage(err) {
			t.Fatal(err)
		}
	}
	equal(t, "recorded", len(h.queues.hurt.serials), 0)
	full = false
	_, lost, err := h.read(1)
	equal(t, "error", err, nil)
	equal(t, "some are lost", len(lost) > 0, true)
	equal(t, "recorded", h.queues.hurt.serials, []uint64{2})
}

// What was told as lost and came back is there once, and not a second time as lost.
func TestWhatCameBackIsNoLongerLost(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	path := h.sealed(1).seg.path
	whole, err := os.ReadFile(path)
	equal(t, "error", err, nil)
	edit(t, path, func(b []byte) []byte { clear(b[8192:16384]); return b })
	h.reopen()
	_, before, err := h.read(1)
	equal(t, "error", err, nil)
	edit(t, path, func(b []byte) []byte { copy(b[12288:16384], whole[12288:]); return b })
	h.reopen()
	there, lost, err := h.read(1)
	equal(t, "error", err, nil)
	all := append(slices.Clone(there), lost...)
	slices.Sort(all)
	if len(lost) == 0 || len(lost) >= len(before) || len(slices.Compact(all)) != len(there)+len(lost) {
		t.Errorf("of %d lost, %d are: %v; %d there", len(before), len(lost), lost, len(there))
	}
}

// What was lost is forgotten with the cursors that are past it, and the segments that went.
func TestLostRangesAreForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	edit(t, h.sealed(1).seg.path, func(b []byte) []byte { clear(b[8192:12288]); return b })
	h.reopen()
	_, lost, err := h.read(1)
	equal(t, "error", err, nil)
	row := Row{Seq: lost[0], State: RowDead}
	past := []QueueChange{{Number: 1, Cursor: h.Next(), Rows: []Row{row}}, {Number: 2, Cursor: h.Next()}}
	mustStore(t, h.Store, Change{Queues: past})
	_, err = h.Release(h.Free())
	equal(t, "error", err, nil)
	mustStore(t, h.Store, Change{QueueTime: 3})
	equal(t, "ranges while a row needs one", len(h.queues.hurt.lost) > 0, true)
	past[0].Rows, past[0].RowsGone = nil, []uint64{row.Seq}
	mustStore(t, h.Store, Change{Queues: past})
	mustStore(t, h.Store, Change{QueueTime: 4})
	_, err = h.Release(h.Free())
	equal(t, "error", err, nil)
	mustStore(t, h.Store, Change{QueueTime: 5})
	mustStore(t, h.Store, Change{QueueTime: 6})
	equal(t, "ranges", len(h.queues.hurt.lost)+len(h.queues.hurt.serials), 0)
	h.reopen()
	equal(t, "healed", len(h.healed), 1)
}

// A disk that does not read what a start has to is told as such; given up, it costs what is there.
func TestAStartGivesUpWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	newest := h.sealed(4).seg
	for newest.size < 24<<10 {
		seq := h.Next()
		h.bodies[seq] = fmt.Sprintf("item %d: %0300d", seq, seq)
		if _, err := h.Append([]Item{{Seq: seq, Time: int64(seq), Mask: maskA, Body: []byte(h.bodies[seq])}}, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	disk := diskOps()
	sick := disk
	const bad = 8 << 10
	sick.pread = func(f *os.File, b []byte, off int64) (int, error) {
		if filepath.Base(f.Name()) == filepath.Base(newest.path) && off < bad+pageBytes && off+int64(len(b)) > bad {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}
		}
		return disk.pread(f, b, off)
	}
	path := h.Path()
	equal(t, "error", h.Close(), nil)
	h.opts.ops = &sick
	d, err := LockDir(path)
	equal(t, "error", err, nil)
	if _, err := Open(d, h.opts); !errors.Is(err, syscall.EIO) || isDamage(err) {
		t.Fatal(err)
	}
	h.opts.GiveUp = true
	d, err = LockDir(path)
	equal(t, "error", err, nil)
	h.Store, err = Open(d, h.opts)
	equal(t, "error", err, nil)
	there, lost, err := h.read(1)
	equal(t, "error", err, nil)
	if len(lost) == 0 || len(lost) > 14 || int64(len(there)+len(lost)) != h.Accepted(1).Items || len(h.healed) != 1 || h.healed[0].Lost != len(lost) {
		t.Errorf("%d there, %d lost, %+v", len(there), len(lost), h.healed)
	}
	equal(t, "error", h.Close(), nil)
}

// Of a missing segment nothing is left but the record: it stays as long as a cursor, or a row, needs it.
func TestTheRecordOfAMissingSegmentStaysWhileItIsNeeded(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	g := h.sealed(0)
	row := Row{Seq: g.seg.first, State: RowDead, Bytes: 300}
	past := []QueueChange{{Number: 1, Cursor: 1, Rows: []Row{row}}, {Number: 2, Cursor: h.Next()}}
	mustStore(t, h.Store, Change{Queues: past})
	equal(t, "error", os.Remove(g.seg.path), nil)
	h.reopen()
	there, lost, err := h.read(1)
	equal(t, "error", err, nil)
	equal(t, "in all", int64(len(there)+len(lost)), h.Accepted(1).Items)
	equal(t, "told", len(h.healed), 1)
	past[0].Rows, past[0].Cursor = nil, h.Next()
	mustStore(t, h.Store, Change{Queues: past})
	mustStore(t, h.Store, Change{QueueTime: 4})
	h.reopen()
	equal(t, "told again", len(h.healed), 1)
	_, err = h.Item(1, row.Seq)
	equal(t, "lost", errors.Is(err, ErrLost), true)
	past[0].RowsGone = []uint64{row.Seq}
	mustStore(t, h.Store, Change{Queues: past})
	mustStore(t, h.Store, Change{QueueTime: 5})
	equal(t, "ranges", len(h.queues.hurt.lost), 0)
}
