package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const harmItems = 500 // of a segment

// newHarmed is a store of four segments, each but the first begun by one more sink: a has everything, of c every tenth
// is a dead letter, and b and x0 to x2 made nine attempts and wait.
func newHarmed(t *testing.T) *healingStore {
	t.Helper()
	h := &healingStore{t: t, opts: Options{SegmentBytes: 1 << 20, BlockBytes: 4 << 10}, bodies: map[uint64]string{}}
	h.opts.Quarantine = func(path string, _ bool) error { h.kept = append(h.kept, path); return nil }
	h.opts.Healed = func(x Healing) { h.healed = append(h.healed, x) }
	d, err := LockDir(newQueuesDir(t))
	equal(t, "error", err, nil)
	h.Store, err = Open(d, h.opts)
	equal(t, "error", err, nil)
	sinks, mask := []Sink{liveSink("a", 1), liveSink("b", 2), liveSink("c", 3)}, &Mask{To: []uint32{1, 2, 3}}
	for phase := range 4 {
		if phase > 0 {
			number := h.NextQueue()
			sinks = append(sinks, liveSink(fmt.Sprintf("x%d", phase-1), number))
			mask = &Mask{To: append(slices.Clone(mask.To), number)}
		}
		mustStore(t, h.Store, Change{Sinks: sinks, QueueTime: int64(1 + phase)})
		c := Change{QueueTime: int64(1 + phase)}
		done, settling := QueueChange{Number: 1}, QueueChange{Number: 3}
		trying := QueueChange{Number: []uint32{2, 4, 5, 6}[phase], Cursor: h.Next()}
		for range 10 {
			var items []Item
			for i := range harmItems / 10 {
				seq := h.Next() + uint64(i)
				h.bodies[seq] = fmt.Sprintf("item %d: %0150d", seq, seq)
				items = append(items, Item{Seq: seq, Time: int64(seq), Mask: mask, Body: []byte(h.bodies[seq])})
				if seq%10 == 0 {
					settling.Rows = append(settling.Rows, Row{Seq: seq, State: RowDead, Bytes: int64(len(h.bodies[seq]))})
				}
			}
			_, err := h.Append(items, 1, nil)
			equal(t, "error", err, nil)
		}
		done.Cursor, settling.Cursor = h.Next(), h.Next()
		c.Queues = []QueueChange{done, settling}
		for i := range uint64(9) {
			trying.Rows = append(trying.Rows, Row{Seq: trying.Cursor + i, State: RowRetry, Attempts: 1, Owes: true, Bytes: int64(len(h.bodies[1]))})
		}
		trying.Cursor += 9
		c.Queues = append(c.Queues, trying)
		mustStore(t, h.Store, c)
		equal(t, "error", h.Seal(), nil)
	}
	equal(t, "segments", len(h.log.views()), 4)
	return h
}

// harm changes files of a store that is closed: queues.db, and the content of a segment. nil: it is gone.
func (h *healingStore) harm(queues func([]byte), serial int, segment func([]byte)) string {
	h.t.Helper()
	dir := h.Path()
	if h.Store.log.active != nil {
		equal(h.t, "error", h.Close(), nil)
	}
	paths, err := filepath.Glob(filepath.Join(dir, logDir, fmt.Sprintf("%08d-*.log", serial)))
	equal(h.t, "error", err, nil)
	for path, change := range map[string]func([]byte){filepath.Join(dir, queuesName): queues, paths[0]: segment} {
		if change == nil {
			equal(h.t, "error", os.Remove(path), nil)
			continue
		}
		edit(h.t, path, func(b []byte) []byte { change(b); return b })
	}
	return dir
}

// rebuilt makes queues.db anew and opens the store.
func (h *healingStore) rebuilt(dir string) Rebuilt {
	h.t.Helper()
	r, err := PlanRebuild(dir, testUUID, false)
	equal(h.t, "error", err, nil)
	sums := r.Rebuilt()
	equal(h.t, "error", r.Write(), nil)
	equal(h.t, "error", r.Close(), nil)
	d, err := LockDir(dir)
	equal(h.t, "error", err, nil)
	h.Store, err = Open(d, h.opts)
	equal(h.t, "error", err, nil)
	h.t.Cleanup(func() { _ = h.Close() })
	if h.Tail().Unclean {
		equal(h.t, "error", h.RewriteTail(), nil)
	}
	return sums
}

func firstPage(b []byte) { clear(b[:4096]) }

func bothMetas(b []byte) { clear(b[:2*os.Getpagesize()]) }

func garbage(b []byte) {
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
}

// Guarantee G6, in part: of a sink that only the header of the newest segment knew, which is destroyed, the items stay owed:
// to an orphan, whose number nobody else is given.
func TestAQueueThatOnlyMasksNameIsAnOrphan(t *testing.T) {
	for name, header := range map[string]func([]byte){"its header": func(b []byte) { clear(b[:512]) }, "its first page": firstPage} {
		t.Run(name, func(t *testing.T) {
			h := newHarmed(t)
			_, err := h.Append([]Item{{Seq: h.Next(), Time: 1 << 20, Mask: &Mask{To: []uint32{1}, Dropped: []uint32{8}}, Body: []byte("more")}}, 9, nil)
			equal(t, "error", err, nil)
			h.rebuilt(h.harm(nil, 4, header))
			var orphans []string
			for _, s := range h.Sinks() {
				if s.State == Orphan {
					orphans = append(orphans, fmt.Sprint(s.Name, s.Queues))
				}
			}
			equal(t, "orphans", orphans, []string{fmt.Sprint("recovered-6", []SinkQueue{{Number: 6, Live: true}})})
			equal(t, "the next number", h.NextQueue(), uint32(9)) // none that a mask names
			there, lost, err := h.read(6)
			equal(t, "error", err, nil)
			equal(t, "items of the orphan", len(there)+len(lost), harmItems)
			if whole := name == "its header"; whole != (len(lost) == 0) || len(there) < harmItems*9/10 {
				t.Errorf("%d there, %d lost", len(there), len(lost))
			}
			state, err := h.LoadQueue(6)
			equal(t, "error", err, nil)
			equal(t, "waiting", h.Accepted(6).Items-state.Counts.Settled.Items+state.Counts.Requeued.Items, int64(harmItems))
		})
	}
}

// A sink that was removed does not come back for the masks that name it: the newest header says that its number was given.
func TestARemovedSinkStaysRemoved(t *testing.T) {
	h := newHarmed(t)
	rows, err := h.Rows(4, 0, 100)
	equal(t, "error", err, nil)
	ends := QueueChange{Number: 4, Cursor: h.Next()}
	for _, row := range rows {
		ends.RowsGone = append(ends.RowsGone, row.Seq)
	}
	mustStore(t, h.Store, Change{Queues: []QueueChange{ends}, QueueTime: 8})
	mustStore(t, h.Store, Change{Sinks: []Sink{{Name: "x0", State: Removed}}, QueueTime: 9})
	_, err = h.Append([]Item{{Seq: h.Next(), Time: 1 << 20, Mask: &Mask{To: []uint32{1, 6}}, Body: []byte("after")}}, 9, nil)
	equal(t, "error", err, nil)
	h.rebuilt(h.harm(nil, 1, func([]byte) {}))
	var names []string
	for _, s := range h.Sinks() {
		names = append(names, s.Name)
	}
	equal(t, "sinks", names, []string{"a", "b", "c", "x1", "x2"})
}

// Guarantee G6, in part: dead letters of a segment whose header is destroyed stay, where their items check: a rebuild of
// queues.db gives up none.
func TestRowsOfAHeadlessSegmentStay(t *testing.T) {
	h := newHarmed(t)
	before, err := h.Rows(3, 0, 1000, RowDead)
	equal(t, "error", err, nil)
	sums := h.rebuilt(h.harm(bothMetas, 4, firstPage))
	equal(t, "given up", sums.Lost, 0)
	after, err := h.Rows(3, 0, 1000, RowDead)
	equal(t, "error", err, nil)
	equal(t, "dead letters", after, before)
	gone := 0
	for _, row := range after {
		if _, err := h.Item(3, row.Seq); err != nil {
			gone++
		}
	}
	if told := h.Healed().Lost; gone == 0 || gone > 3 || told > 30 {
		t.Errorf("%d letters have no item, %d are told to be lost", gone, told)
	}
}

// Guarantee G6, in part: what is not there, and may have been owed, is told by number, each item once, whatever the rest
// of what is missing leaves to be known of it.
func TestWhatMayHaveBeenOwedIsCountedOnce(t *testing.T) {
	for queues, harm := range map[string]func([]byte){"missing": nil, "garbage": garbage} {
		for serial := 1; serial <= 3; serial++ {
			t.Run(fmt.Sprintf("queues.db %s, segment %d missing", queues, serial), func(t *testing.T) {
				h := newHarmed(t)
				sums := h.rebuilt(h.harm(harm, serial, nil))
				equal(t, "uncertain", sums.Uncertain, harmItems)
				equal(t, "gone", sums.Gone, 0)
			})
		}
	}
}
