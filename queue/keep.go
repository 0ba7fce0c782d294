package queue

import (
	"context"
	"errors"
	"slices"

	"holdfast/store"
)

// keepLoop makes the next segment before it is needed and seals the last, off the path of accepts and marks. Neither may
// fail fatally: without a spare the append makes its own, and an unsealed segment is scanned at the next start.
func (q *Queues) keepLoop(ctx context.Context) {
	var last string
	for {
		err := errors.Join(q.st.Prepare(), q.st.Seal(), q.st.DropKeys(q.dedupe.since()))
		if err != nil && err.Error() != last {
			last = err.Error()
			q.o.Log.Warn("housekeeping of the log will be tried again", "err", err)
		}
		poke(q.dirty) // a sealed segment may be free: items that no sink wants are settled by nobody
		select {
		case <-q.keep:
		case <-ctx.Done():
			return
		}
	}
}

// freed is the serials of the segments that nothing was owed in after the newest mark commit. They go after the next one:
// should the disk lose the newest commit, the one before it still finds what it owes.
type freed []uint64

func (f freed) pending() bool { return len(f) > 0 }

// release lets segments go, and moves what keeps nearly finished ones out of them. It follows a mark commit.
func (q *Queues) release() error {
	if err := q.evacuate(); err != nil {
		return err
	}
	free := q.st.Free()
	ripe := slices.DeleteFunc(slices.Clone(free), func(s uint64) bool { return !slices.Contains(q.freed, s) })
	q.freed = slices.DeleteFunc(free, func(s uint64) bool { return slices.Contains(ripe, s) })
	if q.freed.pending() {
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

// evacuate copies what rows still need of a segment that every cursor has passed into bodies, if that is less than a
// sixteenth of it: neither a stuck item nor scattered dead letters pin the disk.
func (q *Queues) evacuate() error {
	low := q.st.Next()
	for _, s := range q.sinks {
		low = min(low, s.queue.books.cursor)
	}
	for _, seg := range q.st.Segments() {
		if !seg.Sealed || seg.Rows == 0 || seg.End > low {
			continue
		}
		seqs, size, err := q.rowsOf(seg)
		if err != nil {
			return err
		}
		if size*16 > seg.Bytes {
			continue
		}
		var change store.Change
		for _, seq := range seqs {
			it, err := q.st.Item(0, seq)
			if err != nil {
				return err
			}
			change.Bodies = append(change.Bodies, store.Body{Item: it})
		}
		if err := q.st.Commit(change); err != nil && !errors.Is(err, store.ErrFull) {
			return err
		}
	}
	return nil
}

// rowsOf lists the seqs of a segment that have a row in some queue, and the bytes of their bodies.
func (q *Queues) rowsOf(seg store.Segment) (seqs []uint64, size int64, err error) {
	for _, s := range q.sinks {
		for from := seg.First; from < seg.End; {
			rows, err := q.st.Rows(s.queue.number, from, page)
			if err != nil {
				return nil, 0, err
			}
			for _, r := range rows {
				if from = r.Seq + 1; r.Seq < seg.End && !slices.Contains(seqs, r.Seq) {
					seqs, size = append(seqs, r.Seq), size+r.Bytes
				}
			}
			if len(rows) < page || size*16 > seg.Bytes {
				break
			}
		}
	}
	return seqs, size, nil
}
