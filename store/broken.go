package store

import "slices"

// examineNewest is scanTail of a segment that is damaged, beyond what a torn last group commit would be. What was durable
// before the last group commit and is not there is lost; so is of that group what is known to have been durable.
func (l *segmentLog) examineNewest(g *segment, known logState) error {
	s, err := l.survey(g, g.file, g.allocated, 0)
	if err != nil {
		return err
	}
	found, last, limit := s.found, []foundBlock(nil), max(g.first, s.end)
	if known.Clean {
		if known.OldestNeeded < known.Synced {
			limit = max(limit, known.Synced)
		}
	} else if len(found) > 0 {
		group := found[len(found)-1].Group
		i := slices.IndexFunc(found, func(b foundBlock) bool { return b.Group == group })
		found, last = found[:i], found[i:]
		limit = max(g.first, group)
		if i > 0 {
			limit = max(limit, found[i-1].end())
		}
	}
	x, err := l.examine(g, s, found)
	if err != nil {
		return err
	}
	x.finish(limit, nil, known.Queues, l.hurt)
	addAccepted(l.accepted, x.queues)
	l.positions = addPositions(l.positions, x.positions)
	l.active, l.torn, l.rewrite = nil, tornGroup{}, !known.Clean
	if !known.Clean {
		if err := l.examineLast(g, s, x, last, known); err != nil {
			return err
		}
	}
	l.note(g, x, !known.Clean)
	g.become(x)
	return l.checkEnd(g, g.size, known)
}

// examineLast looks at the last group commit of a damaged segment, which ends before it afterwards.
func (l *segmentLog) examineLast(g *segment, s *survey, x *examination, last []foundBlock, known logState) error {
	ts := tailScan{log: l, seg: g, off: x.size, before: x.segmentState}
	var blocks []tornBlock
	for i := range last {
		t, err := s.load(&last[i])
		if err != nil {
			return err
		}
		blocks = append(blocks, t)
	}
	if len(last) > 0 {
		ts.off = last[0].off
		x.size = ts.off // where it is cut, if nothing of the group is kept
		x.foundEnd = x.size
	}
	t, unconfirmed := ts.collect(blocks, known.Synced)
	t.reach = g.allocated
	lost := lostOf(blocks, x.segmentState.end, known.Synced, x.queues, known.Queues)
	for i := range lost {
		unconfirmed -= int(lost[i].count())
		x.newly = append(x.newly, lost[i].without(l.hurt.lost)...)
		addAccepted(l.accepted, perQueue(&lost[i]))
	}
	l.torn = t
	l.seq = max(l.seq, t.end)
	l.tail = Tail{Unclean: true, Segment: g.path, Offset: ts.off, First: x.segmentState.end, Kept: len(t.items), Unconfirmed: max(unconfirmed, 0)}
	return nil
}

// lostOf lists what is missing of a group that begins at a seq, below synced.
func lostOf(blocks []tornBlock, from, synced uint64, near []queueTally, all []uint32) (lost []lostRange) {
	due := from
	for i := range blocks {
		b := &blocks[i]
		if end := min(b.header.First, synced); due < end && b.header.Flags&blockGap == 0 {
			lost = append(lost, spread([]hole{{first: due, end: end}}, likely(near, end-due, all), noneNewer)...)
		}
		got, _ := b.salvage()
		for _, r := range b.residue(got) {
			if r.end = min(r.end, synced); r.first < r.end {
				lost = append(lost, r)
			}
		}
		due = b.header.end()
	}
	return lost
}

func perQueue(r *lostRange) (per []queueTally) {
	for _, number := range r.to {
		per = append(per, queueTally{number, r.tally(r.first, r.end)})
	}
	return per
}
