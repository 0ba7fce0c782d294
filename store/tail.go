package store

import (
	"errors"
	"fmt"
)

// A Tail says what an unclean stop left of the log's last group commit. Only that one can be torn.
type Tail struct {
	Unclean     bool
	Segment     string // path of the segment it is in; empty: the log had none
	Offset      int64  // where it begins
	First       uint64 // its first seq
	Kept        int    // items that RewriteTail appends again
	Unconfirmed int    // items that do not check, or whose request is not whole: nobody was told that they are stored
	Lost        int    // always 0: what was known to be durable and does not check is told by Options.Healed, or refused
}

// Tail returns what Open found at the end of the log.
func (s *Store) Tail() Tail { return s.log.tail }

// A tornGroup is what checks of the last group commit.
type tornGroup struct {
	items     []Item // whole requests, by seq
	group     uint64
	queueTime int64
	end       uint64 // after the last seq that any of its headers names
	reach     int64  // offset after the last byte that any of its headers names
	positions map[string][]byte
	whole     *wholeGroup // nil: something of it does not check
}

// A wholeGroup is a last group commit that may stay where it is: every byte that counts is as it was written.
type wholeGroup struct {
	bytes []byte       // as they checked; what the disk has is not known
	state segmentState // of the segment, with the group
	sums  []blockSums
}

// A tailScan looks at the newest segment. It counts a group commit only when the next one shows that it was durable.
type tailScan struct {
	log     *segmentLog
	seg     *segment
	group   uint64
	off     int64        // where the group begins
	before  segmentState // of the segment, without the group
	pending []blockSums
	ended   bool // the last block was the last of its group
}

type blockSums struct {
	masks     []*Mask
	tallies   []Tally
	positions map[string][]byte
}

// visit takes the next block of the chain in.
func (s *tailScan) visit(h *blockHeader, off int64, r *blockReader) {
	if h.Group != s.group || s.before.end == 0 {
		s.settle()
		s.group, s.off, s.before = h.Group, off, s.seg.segmentState
	}
	s.pending = append(s.pending, blockSums{r.masks, append([]Tally(nil), r.tallies...), r.positions})
	s.ended = h.Flags&blockEnds != 0
}

// settle counts what is pending.
func (s *tailScan) settle() {
	for _, p := range s.pending {
		countAccepted(s.log.accepted, p.masks, p.tallies)
		s.log.positions = addPositions(s.log.positions, p.positions)
	}
	s.pending = nil
}

// judge decides what the end of an unclean log is. The chain of blocks ends at off. Whatever stands there belongs to the
// last group commit, or else something that was durable is damaged. The segment ends before that group afterwards.
func (s *tailScan) judge(off int64, known logState) error {
	g := s.seg
	if s.before.end == 0 {
		s.off, s.before = off, g.segmentState
	}
	found, raw, err := s.findBlocks(off)
	if err != nil {
		return err
	}
	if err := s.choose(&found, off); err != nil {
		return err
	}
	torn, unconfirmed, err := s.gather(found, known)
	if err != nil {
		return err
	}
	torn.reach = off
	for _, b := range found {
		torn.reach = max(torn.reach, b.off+int64(b.header.size()))
	}
	if unconfirmed == 0 && s.ended && len(s.pending) > 0 && s.inPlace(found, raw[:off-s.off]) {
		torn.whole = &wholeGroup{raw[:off-s.off], g.segmentState, s.pending}
	}
	g.segmentState = s.before
	s.log.torn, s.log.rewrite = torn, true
	s.log.seq = max(s.log.seq, torn.end)
	s.log.tail = Tail{
		Unclean: true, Segment: g.path, Offset: s.off, First: g.end,
		Kept: len(torn.items), Unconfirmed: unconfirmed,
	}
	return nil
}

// inPlace reports whether the blocks that were found are, one behind the other, all of raw, each with a header that checks.
func (s *tailScan) inPlace(found []tornBlock, raw []byte) bool {
	at := 0
	for _, b := range found {
		if b.off != s.off+int64(at) || at >= len(raw) {
			return false
		}
		h, err := parseBlock(raw[at:], blockMagic)
		if err != nil || checkBlock(raw[at:], &h, b.seed) != nil {
			return false
		}
		at += h.size()
	}
	return at == len(raw)
}

// choose leaves in found the blocks of the last group commit alone. If there are two, the earlier one has to be whole
// and the later one to follow it; anything else was durable once, and is damage.
func (s *tailScan) choose(found *[]tornBlock, off int64) error {
	blocks := *found
	if len(blocks) == 0 {
		return nil
	}
	due := s.before.end
	if len(s.pending) == 0 && blocks[0].header.Group == s.seg.due() {
		due = s.seg.due()
	}
	if len(s.pending) > 0 {
		n := len(s.pending)
		if last := blocks[len(blocks)-1].header; last.Group == s.group {
			return nil
		}
		if !s.ended {
			return s.seg.damage(off, errors.New("a block is missing of a group commit that another one followed"))
		}
		s.settle()
		blocks = blocks[n:]
		s.off, s.before, s.group = off, s.seg.segmentState, blocks[0].header.Group
		due = s.seg.end
	}
	first := blocks[0].header
	if first.Group != due && (first.Group != first.First || !follows(&first, due)) {
		return s.seg.damage(off, fmt.Errorf("no block at seq %d, but a later group commit", due))
	}
	for _, b := range blocks {
		if b.header.Group != first.Group {
			return s.seg.damage(off, errors.New("a block is missing of a group commit that another one followed"))
		}
	}
	*found = blocks
	return nil
}

// gather collects the items of the last group commit that check, and drops what is of a request that is not whole.
func (s *tailScan) gather(found []tornBlock, known logState) (tornGroup, int, error) {
	t, unconfirmed := s.collect(found, 0)
	return t, unconfirmed, s.checkLost(&t, found, known)
}

// collect is gather without a look at what was durable. Items below synced were, whatever became of their request.
func (s *tailScan) collect(found []tornBlock, synced uint64) (tornGroup, int) {
	t := tornGroup{end: s.before.end}
	var items []tornItem
	covered := 0
	ended := len(found) == 0
	for _, b := range found {
		h := &b.header
		t.group, t.queueTime = h.Group, h.QueueTime
		if h.Flags&blockGap == 0 && h.First > t.end {
			covered += int(h.First - t.end)
		}
		covered += int(h.Count)
		t.end = h.end()
		got, positions := b.salvage()
		items = append(items, got...)
		t.positions = addPositions(t.positions, positions)
		ended = h.Flags&blockEnds != 0
	}
	t.items = wholeRequests(items, synced)
	unconfirmed := covered - len(t.items)
	if unconfirmed > 0 || !ended {
		t.positions = nil
	}
	return t, unconfirmed
}

// checkLost refuses a tail that misses what was known to be durable.
func (s *tailScan) checkLost(t *tornGroup, found []tornBlock, known logState) error {
	kept := make(map[uint64]bool, len(t.items))
	for i := range t.items {
		kept[t.items[i].Seq] = true
	}
	due := s.before.end
	for _, b := range found {
		from := b.header.First
		if b.header.Flags&blockGap == 0 {
			from = due
		}
		for seq := from; seq < b.header.end(); seq++ {
			if seq < known.Synced && !kept[seq] {
				return s.seg.damage(b.off, fmt.Errorf("seq %d was durable and does not check", seq))
			}
		}
		due = b.header.end()
	}
	return nil
}
