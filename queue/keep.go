package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast/store"
)

// How long the keeper sleeps at most: after a failure, and else, so that old idempotency keys go from an idle store too.
const keepRetry, keepEvery = 5 * time.Second, time.Hour

// keepLoop makes the next segment before it is needed and seals the last, off the path of accepts and marks. Neither may
// fail fatally: without a spare the append makes its own, and an unsealed segment is scanned at the next start.
func (q *Queues) keepLoop(ctx context.Context) {
	var last string
	for {
		sleep := keepEvery
		if err := errors.Join(q.st.Prepare(), q.st.Seal(), q.st.DropKeys(q.dedupe.since(), q.o.DedupeKeys)); err != nil {
			sleep = keepRetry
			if err.Error() != last {
				last = err.Error()
				q.o.Log.Warn("housekeeping of the log will be tried again", "err", err)
			}
		}
		poke(q.dirty) // a sealed segment may be free: items that no sink wants are settled by nobody
		t := time.NewTimer(sleep)
		select {
		case <-q.keep:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// A keeper is what the marker remembers of the segments from one mark commit to the next.
type keeper struct {
	freed []uint64       // nothing is owed in these since the newest commit
	heavy map[uint64]int // rows of a segment when it was last looked at: it is again when there are fewer
}

// release lets segments go that nothing was owed in after the commit before the newest one: should the disk lose the newest
// commit, that one still finds what it owes. Before that it moves what keeps nearly finished segments out of them. It
// follows a mark commit.
func (q *Queues) release() error {
	if err := q.evacuate(); err != nil {
		if _, fatal := errors.AsType[*store.FatalError](err); fatal {
			return err
		}
		q.o.Log.Warn("a nearly finished segment stays for now", "err", err)
	}
	free := q.st.Free()
	ripe := slices.DeleteFunc(slices.Clone(free), func(s uint64) bool { return !slices.Contains(q.kept.freed, s) })
	q.kept.freed = slices.DeleteFunc(free, func(s uint64) bool { return slices.Contains(ripe, s) })
	if len(q.kept.freed) > 0 {
		poke(q.dirty)
	}
	if len(ripe) == 0 {
		return nil
	}
	items := int64(0)
	for _, s := range q.st.Segments() {
		if slices.Contains(ripe, s.Serial) {
			items += int64(s.End - s.First)
		}
	}
	if _, err := q.st.Release(ripe); err != nil {
		q.o.Log.Warn("finished segments stay for now", "err", err)
		return nil
	}
	q.metrics.released.Add(float64(items))
	return nil
}

// What a row costs when it is evacuated beside its body, and how many are in one go: acks wait for the marker.
const evacuatedRow, evacuatedAtOnce = 256, 256

// evacuate copies what rows still need of a segment that every cursor has passed into bodies, if that is less than a
// sixteenth of it: neither a stuck item nor scattered dead letters pin the disk. It goes on with the next mark commit where
// it stops.
func (q *Queues) evacuate() error {
	low := q.st.Next()
	for _, s := range q.sinks {
		low = min(low, s.queue.books.cursor) // only this goroutine writes it
	}
	for _, seg := range q.st.Segments() {
		if !seg.Sealed || seg.Rows == 0 || seg.End > low {
			continue
		}
		if rows, heavy := q.kept.heavy[seg.Serial]; heavy && seg.Rows >= rows {
			continue
		}
		seqs, light, err := q.rowsOf(seg)
		if err != nil {
			return err
		}
		q.kept.heavy[seg.Serial] = seg.Rows
		if light {
			return q.evacuateSome(seqs)
		}
	}
	return nil
}

func (q *Queues) evacuateSome(seqs []uint64) error {
	var change store.Change
	for _, seq := range seqs[:min(len(seqs), evacuatedAtOnce)] {
		it, err := q.st.Item(0, seq)
		if err != nil {
			return err
		}
		change.Bodies = append(change.Bodies, store.Body{Item: it})
	}
	poke(q.dirty)
	err := q.st.Commit(change)
	if errors.Is(err, store.ErrFull) {
		return nil
	}
	return err
}

// rowsOf lists the seqs of a segment that have a row in some queue, and tells whether they are light enough to go.
func (q *Queues) rowsOf(seg store.Segment) (seqs []uint64, light bool, err error) {
	seen, size := map[uint64]bool{}, int64(0)
	for _, s := range q.sinks {
		for from := seg.First; from < seg.End; {
			rows, err := q.st.Rows(s.queue.number, from, page)
			if err != nil {
				return nil, false, err
			}
			for _, r := range rows {
				if from = r.Seq + 1; r.Seq < seg.End && !seen[r.Seq] {
					seen[r.Seq] = true
					seqs, size = append(seqs, r.Seq), size+r.Bytes+evacuatedRow
				}
			}
			if size*16 > seg.Bytes {
				return nil, false, nil
			}
			if len(rows) < page {
				break
			}
		}
	}
	slices.Sort(seqs)
	return seqs, true, nil
}
