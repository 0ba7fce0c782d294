package queue

import "slices"

// isLost reports whether an item is known to be lost for a queue that was owed it, now or when it was found. It may wait for
// the lock of such a queue.
func (q *Queues) isLost(seq uint64) bool {
	if lost, err := q.st.Lost(0, seq); err != nil || !lost {
		return false
	}
	return slices.ContainsFunc(q.st.LostTo(seq), func(n uint32) bool {
		s := q.owners[n]
		if s == nil {
			return false
		}
		p, err := s.queue.progress(seq)
		return err == nil && (p.owes || p.State == "lost")
	})
}

// forgetLost forgets, for good, the keys of the items that are lost. It precedes what makes the store forget that they are:
// their segment is released, or nobody waits for it any more and it is missing.
func (q *Queues) forgetLost() {
	if !q.st.HasLost() {
		return
	}
	q.dedupe.forgetAllLost()
	if err := q.st.ForgetKeys(q.isLost); err != nil {
		q.o.Log.Warn("the keys of lost items are known again after a start", "err", err)
	}
}
