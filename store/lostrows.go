package store

// withRows splits ranges so that a seq of which a row says how large its body was counts for that: the row is settled with
// it. What is left of a range's bytes the others share.
func (q *queues) withRows(lost []lostRange) (out []lostRange, err error) {
	debts := q.debts()
	for i := range lost {
		r, sizes := lost[i], map[uint64]int64{}
		for _, d := range debts {
			refs, err := q.rowRefs(d.number, r.first, r.end)
			if err != nil {
				return nil, err
			}
			for _, ref := range refs {
				if !ref.body {
					sizes[ref.seq] = ref.bytes
				}
			}
		}
		out = append(out, r.sized(sizes)...)
	}
	return out, nil
}

// sized splits a range into seqs of known sizes and the rest.
func (r *lostRange) sized(sizes map[uint64]int64) (parts []lostRange) {
	rest, n := r.bytes, r.count()-int64(len(sizes))
	if len(sizes) == 0 {
		return []lostRange{*r}
	}
	for _, size := range sizes {
		rest -= size
	}
	rest = max(0, rest)
	for seq := r.first; seq < r.end; seq++ {
		size, known := sizes[seq]
		if !known {
			size = rest / n
			rest, n = rest-size, n-1
		}
		if _, alone := sizes[seq-1]; known || alone || seq == r.first {
			parts = append(parts, lostRange{seq, seq + 1, size, r.to})
			continue
		}
		last := &parts[len(parts)-1]
		last.end, last.bytes = seq+1, last.bytes+size
	}
	return parts
}
