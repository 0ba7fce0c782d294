package store

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// EncodedSize is never less than the truth, and for plain items little more.
func TestEncodedSizeBoundsWhatIsWritten(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	check := func(items []Item, block int) (bound, real int) {
		e := encoder{blockBytes: block}
		queueTime := rnd.Int64N(1 << 41)
		real = e.plan(items, items[0].Seq, queueTime, nil)
		if b, _ := e.encode(items, items[0].Seq, queueTime, 1, 512, real); len(b) != real+padding(512, real) {
			t.Fatalf("%d bytes, planned %d and %d", len(b), real, padding(512, real))
		}
		for i := range items {
			bound += EncodedSize(&items[i])
		}
		if bound+blockOverhead*len(e.plans) < real {
			t.Fatalf("%d items in %d blocks: %d bytes, bound %d", len(items), len(e.plans), real, bound)
		}
		return bound, real
	}
	for range 2000 {
		items := make([]Item, 1+rnd.IntN(1+rnd.IntN(300)))
		for i := range items {
			items[i] = randomItem(rnd)
			items[i].Seq = uint64(i) + 5
			items[i].Continues = i > 0 && rnd.IntN(2) == 0
		}
		check(items, 1024<<rnd.IntN(9))
	}
	for _, n := range []int{1, 10, 3000} {
		items := make([]Item, n)
		for i := range items {
			items[i] = Item{Seq: uint64(i) + 1, Time: math.MaxInt32, Mask: maskA, Body: make([]byte, 512)}
		}
		if bound, real := check(items, 256<<10); float64(real) < 0.8*float64(bound) {
			t.Errorf("%d plain items: %d bytes, bound %d", n, real, bound)
		}
	}
	many := make([]Item, 70_000) // no bodies: what is left is the framing
	for i := range many {
		many[i] = Item{Seq: uint64(i) + 1, Time: int64(i % 3), Mask: &Mask{To: []uint32{uint32(i)}}}
	}
	check(many, 64<<20)
}

// randomItem has extremes of everything.
func randomItem(rnd *rand.Rand) Item {
	it := Item{Mask: &Mask{}, Body: make([]byte, rnd.IntN(1+rnd.IntN(2000)))}
	last := uint32(0)
	for range rnd.IntN(4) {
		last += 1 + uint32(rnd.Int64N(1<<rnd.IntN(30)))
		it.Mask.To = append(it.Mask.To, last)
	}
	for range rnd.IntN(2) {
		it.Mask.Dropped = append(it.Mask.Dropped, rnd.Uint32())
	}
	it.Time = rnd.Int64() >> rnd.IntN(64)
	if rnd.IntN(2) == 0 {
		it.Attrs = MakeAttrs(map[string]string{"a": strings.Repeat("v", rnd.IntN(300))})
	}
	if rnd.IntN(2) == 0 {
		it.Key = strings.Repeat("k", 1+rnd.IntN(300))
	}
	if rnd.IntN(2) == 0 {
		it.Expires, it.NotBefore = rnd.Int64()>>rnd.IntN(64), rnd.Int64()>>rnd.IntN(64)
	}
	if rnd.IntN(2) == 0 {
		it.Dedupe = &Dedupe{}
	}
	return it
}

func TestSegmentsAreSmallerThanTheirIndexCanTell(t *testing.T) {
	for size, ok := range map[int64]bool{4<<30 - 1: true, 4 << 30: false, 64<<10 - 1: false, 64 << 10: true} {
		if _, err := (Options{SegmentBytes: size}).withDefaults(); (err == nil) != ok {
			t.Errorf("%d: %v", size, err)
		}
	}
}

func TestQueuesThatAreGoneAreForgottenInHeaders(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.append(item(10, maskAB))
	b.snap.Sinks = []Sink{liveSink("a", 2)}
	b.log.rotateNext()
	b.append(item(20, maskAB)) // the one that is gone had something on its way
	for range 2 {
		if got := b.log.accepted[2]; got != (Tally{2, 30}) {
			t.Errorf("queue 2: %v", got)
		}
		b.reopen(true)
	}
	f, _ := b.log.active.open()
	h, _, err := readHeader(f, "")
	if _, there := h.Queues[1]; err != nil || there || len(h.Queues) != 1 {
		t.Errorf("%+v, %v", h.Queues, err)
	}
}

// What is freed within queues.db is told from what is used.
func TestFreePagesOfTheQueuesAreTold(t *testing.T) {
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	rows := bigRows(1, 3000)
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}, Queues: []QueueChange{{Number: 1, Rows: rows}}})
	used, free := q.taken.Load(), q.free.Load()
	var gone []uint64
	for _, r := range rows {
		gone = append(gone, r.Seq)
	}
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, RowsGone: gone}}})
	freed := q.free.Load() - free
	if freed < 1<<20 || q.taken.Load() < used {
		t.Errorf("%d freed; %d are taken, %d were", freed, q.taken.Load(), used)
	}
	mustCommit(t, q, Change{})
	before := q.free.Load()
	if before < freed {
		t.Errorf("%d free, then %d", freed, before)
	}
	q = reopenTestQueues(t, q)
	if after := q.free.Load(); after < before-64<<10 || after > before+64<<10 {
		t.Errorf("%d free, %d after a restart", before, after)
	}
	mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Rows: rows}}})
	if q.free.Load() > free+freed/2 {
		t.Errorf("%d free after they were used again", q.free.Load())
	}
}
