package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

// A wound is a damaged segment, or the seqs of which the segments are missing, as they were found. What is to be done,
// in this order, each durable before the next: the file is kept in quarantine; what is lost is written to queues.db. Then
// what is left is read in place.
type wound struct {
	path    string // empty: a file is missing
	serial  uint64 // 0: of segments between others
	unknown bool   // nothing tells how much is lost
	cause   error  // what a reader met; nil: a start found it
	changes bool   // the file may change in place later on
	kept    int    // items that check
	lost    []lostRange
}

// heals reports whether damage of the log is dealt with, and not refused.
func (l *segmentLog) heals() bool { return l.opts.Quarantine != nil }

// Heals reports whether the store deals with damage, and does not refuse it: see Options.Quarantine.
func (s *Store) Heals() bool { return s.log.heals() }

// givesUp reports whether what the disk did not give is damage.
func (l *segmentLog) givesUp(err error) bool {
	return l.heals() && l.opts.GiveUp && errors.Is(err, syscall.EIO)
}

func isDamage(err error) bool {
	_, damage := errors.AsType[*DamageError](err)
	return damage
}

// treatWounds deals with damage: see wound. A crash before the record is durable finds the damage again, and the
// quarantine as it is.
func (s *Store) treatWounds(wounds []wound) error {
	for i := range wounds {
		w := &wounds[i]
		var serials []uint64
		if w.path != "" {
			if err := s.log.opts.Quarantine(w.path, w.changes); err != nil {
				return fmt.Errorf("quarantine %s: %w", w.path, err)
			}
		}
		if w.serial != 0 {
			serials = []uint64{w.serial}
		}
		lost, err := s.queues.withRows(w.lost)
		if err != nil {
			return fmt.Errorf("record what is lost: %w", err)
		}
		w.lost = lost
		n := s.queues.owedLost(w.lost)
		if err := s.queues.addDamage(serials, w.lost); err != nil {
			return fmt.Errorf("record what is lost: %w", err)
		}
		s.log.mu.Lock()
		s.log.hurt = s.log.hurt.with(serials, w.lost)
		s.log.lossy.Store(len(s.log.hurt.lost) > 0)
		s.log.mu.Unlock()
		s.healMu.Lock()
		s.healed.Kept, s.healed.Lost = s.healed.Kept+w.kept, s.healed.Lost+n
		s.healMu.Unlock()
		if s.log.opts.Healed != nil {
			s.log.opts.Healed(Healing{Path: w.path, Cause: w.cause, Missing: w.missing(), Kept: w.kept, Lost: n, Unknown: w.unknown})
		}
	}
	return nil
}

// record returns what is known of damage.
func (l *segmentLog) record() damageRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hurt
}

// note adds to the wounds that Open deals with, unless it was dealt with before.
func (l *segmentLog) note(g *segment, x *examination, changes bool) {
	if len(x.newly) > 0 || !l.hurt.has(g.serial) {
		l.wounds = append(l.wounds, wound{path: g.path, serial: g.serial, changes: changes, kept: x.kept, lost: x.newly})
	}
}

// noteLost does so for seqs of which there is no segment.
func (l *segmentLog) noteLost(lost []lostRange) {
	known := l.hurt
	for i := range l.wounds {
		known = known.with(nil, l.wounds[i].lost)
	}
	var newly []lostRange
	for i := range lost {
		newly = append(newly, lost[i].without(known.lost)...)
	}
	if len(newly) == 0 {
		return
	}
	i := slices.IndexFunc(l.wounds, func(w wound) bool { return w.path == "" })
	if i < 0 {
		i, l.wounds = len(l.wounds), append(l.wounds, wound{})
	}
	l.wounds[i].lost = append(l.wounds[i].lost, newly...)
	slices.SortFunc(l.wounds[i].lost, byFirst)
}

// missing lists the seqs of a wound of which there is no segment. Of many ranges it lists some.
func (w *wound) missing() string {
	if w.path != "" {
		return ""
	}
	const most = 16
	var holes []hole
	for _, r := range w.lost {
		holes = append(holes, hole{first: r.first, end: r.end})
	}
	var parts []string
	for i, h := range mergeHoles(holes) {
		if i == most {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, fmt.Sprintf("%d-%d", h.first, h.end-1))
	}
	return strings.Join(parts, " ")
}

// An examination is what there is of a damaged segment.
type examination struct {
	segmentState // as the blocks say that were found, and the gaps
	kept         int
	lost         []lostRange       // of blocks that were found
	gaps         []hole            // of blocks that were not
	newly        []lostRange       // what is not known to be lost yet
	positions    map[string][]byte // newest, of sources
	due          uint64
}

// survey finds the blocks of a segment up to a seq, 0 for all.
func (l *segmentLog) survey(g *segment, f *os.File, size int64, limit uint64) (*survey, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := newSurvey(g, newBlockReader(g, f, min(size, fi.Size()), readBytes), limit)
	return s, s.run()
}

// examine looks at the items of the blocks that were found.
func (l *segmentLog) examine(g *segment, s *survey, found []foundBlock) (*examination, error) {
	x := &examination{due: g.due()}
	x.segmentState = segmentState{end: g.first, size: g.start, lastTime: g.header.IDTime, index: blockIndex{open: g.start}, found: []foundBlock{}}
	for i := range found {
		b := &found[i]
		t, err := s.load(b)
		if err != nil {
			return nil, err
		}
		if s.tables(&b.blockHeader, t.tables) != nil {
			continue // its seqs become a gap
		}
		if b.First > x.due && !(b.chain && b.Flags&blockGap != 0) {
			x.gaps = append(x.gaps, hole{first: x.due, end: b.First})
		}
		x.take(b, &t, s)
	}
	return x, nil
}

// take counts a block.
func (x *examination) take(b *foundBlock, t *tornBlock, s *survey) {
	got, positions := t.salvage()
	x.kept += len(got)
	x.lost = append(x.lost, t.residue(got)...)
	x.add(&b.blockHeader, b.off, s.masks, s.tallies)
	for i := range got {
		if got[i].Dedupe != nil {
			x.keys++
		}
		x.lastTime = max(x.lastTime, got[i].Time)
	}
	x.lastTime = max(x.lastTime, b.Time)
	x.positions = addPositions(x.positions, positions)
	x.found = append(x.found, *b)
	x.due = max(x.due, b.end())
}

// finish ends the segment at a seq. total is what it had for each queue, nil where that is not known: then what is
// missing was for all queues that the rest was for, or else for the others. known is what was told before.
func (x *examination) finish(limit uint64, total []queueTally, others []uint32, known damageRecord) {
	if limit > x.due {
		x.gaps = append(x.gaps, hole{first: x.due, end: limit})
	}
	x.segmentState.end = max(limit, x.segmentState.end)
	x.index.close(x.size)
	x.foundEnd, x.mended = x.size, x.mended+1
	for _, r := range x.lost {
		x.newly = append(x.newly, r.without(known.lost)...)
	}
	var fresh []hole
	var told []lostRange
	n := uint64(0)
	for _, gap := range x.gaps {
		told = append(told, within(known.lost, gap)...)
		for _, part := range missing(known.lost, gap.first, gap.end) {
			fresh = append(fresh, part)
			n += part.end - part.first
		}
	}
	x.count(told)
	if n > 0 {
		gaps := spread(fresh, x.left(total, n, others), noneNewer)
		x.count(gaps)
		x.newly = append(x.newly, gaps...)
	}
	slices.SortFunc(x.newly, byFirst)
}

// count adds ranges to the books of the segment: they take part in what it had.
func (x *examination) count(lost []lostRange) {
	for i := range lost {
		r := &lost[i]
		t := r.tally(r.first, r.end)
		x.items, x.bytes = x.items+t.Items, x.bytes+t.Bytes
		x.queues = addTallies(x.queues, []*Mask{{To: r.to}}, []Tally{t})
	}
}

// left is what the n seqs in gaps are for, per queue.
func (x *examination) left(total []queueTally, n uint64, others []uint32) (per []queueTally) {
	if total == nil {
		return likely(x.queues, n, others)
	}
	for _, t := range total {
		if t.Tally = t.Sub(x.of(t.number)); t.Items > 0 {
			per = append(per, queueTally{t.number, Tally{min(t.Items, int64(n)), max(t.Bytes, 0)}})
		}
	}
	return per
}

// likely is what n seqs of which nothing tells are taken to be for: the queues that what is near them was for, or else the
// others.
func likely(near []queueTally, n uint64, others []uint32) (per []queueTally) {
	if len(near) == 0 {
		for _, number := range others {
			per = append(per, queueTally{number, Tally{int64(n), 0}})
		}
		return per
	}
	for _, t := range near {
		per = append(per, queueTally{t.number, Tally{int64(n), t.Bytes / max(t.Items, 1) * int64(n)}})
	}
	return per
}

// mend deals with damage, its cause, that a reader met in a segment, of which it had that view. Afterwards what is left of it can be
// read. It may be called from anywhere; a commit to queues.db is part of it.
func (l *segmentLog) mend(v *view, cause error) error {
	l.mendMu.Lock()
	defer l.mendMu.Unlock()
	now := l.view(v.seg)
	if now.mended != v.mended {
		return nil // another reader was here first
	}
	g := v.seg
	f, err := g.open()
	if err != nil {
		return err
	}
	s, err := l.survey(g, f, now.size, now.end)
	if err != nil {
		return g.named(err)
	}
	x, err := l.examine(g, s, s.found)
	if err != nil {
		return g.named(err)
	}
	x.finish(now.end, now.queues, nil, l.record())
	if known := l.record(); len(x.newly) > 0 || !known.has(g.serial) {
		if known.has(g.serial) {
			x.kept = 0 // that was told when it was damaged first
		}
		if err := l.treat([]wound{{path: g.path, serial: g.serial, cause: cause, changes: now.last, kept: x.kept, lost: x.newly}}); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g.found, g.foundEnd, g.mended = x.found, now.size, g.mended+1
	g.soft.Store(false) // what else fails has its time again
	g.dead.refused.Store(0)
	return nil
}

// Condemn counts what the disk does not give of a segment as damage, until that was dealt with: the caller has tried it
// for long enough. It is the first segment from the one of a seq on that the disk has refused, and not given since: a
// reader that finds nothing for its queue in one goes on to the next.
func (s *Store) Condemn(seq uint64) {
	if !s.log.heals() {
		return
	}
	for _, v := range s.log.views() {
		if v.end > seq && v.seg.dead.refused.Load() != 0 {
			v.seg.soft.Store(true)
			return
		}
	}
}

// tombstones returns the next of what is lost of a queue's stream, in first ≤ seq < end; nil if there is none.
func (l *segmentLog) tombstones(queue uint32, first, end uint64) *Block {
	lost := l.record().lost
	for r := lostAt(lost, first); r != nil && max(first, r.first) < end; r = lostAt(lost, r.end) {
		if _, ok := slices.BinarySearch(r.to, queue); ok {
			return r.tombstones(max(first, r.first), min(end, r.end))
		}
	}
	return nil
}

// lostItem is what is known of an item that is lost.
func (l *segmentLog) lostItem(seq uint64) (Item, bool) {
	r := lostAt(l.record().lost, seq)
	if r == nil || r.first > seq {
		return Item{}, false
	}
	return Item{Seq: seq, Mask: &Mask{To: r.to}, Lost: &Lost{r.bytesOf(seq)}}, true
}

// acceptedUpTo is what was accepted before a segment of which the header is destroyed, by what those before it say; and
// the positions of sources that were current at one time. ok: it is known.
func (l *segmentLog) acceptedUpTo(i int) (accepted map[uint32]Tally, positions map[string][]byte, ok bool) {
	j := i - 1
	for j >= 0 && l.segs[j].headless {
		j--
	}
	accepted = make(map[uint32]Tally)
	if j >= 0 {
		for n, q := range l.segs[j].header.Queues {
			accepted[n] = q.Accepted
		}
		positions = maps.Clone(l.segs[j].header.Positions)
	}
	ok = j >= 0 || l.segs[0].serial == 1
	for _, g := range l.segs[max(j, 0):i] {
		addAccepted(accepted, g.queues)
		ok = ok && (g.queues != nil || g.items == 0)
	}
	return accepted, positions, ok
}

func addAccepted(accepted map[uint32]Tally, queues []queueTally) {
	for _, t := range queues {
		accepted[t.number] = accepted[t.number].Add(t.Tally)
	}
}

// totals is what a segment had for each queue, by its footer, else by the headers; nil where that is not known.
func totals(g, next *segment) []queueTally {
	if g.sealed && g.queues != nil {
		return g.queues
	}
	if g.headless || next.headless {
		return nil
	}
	out := []queueTally{}
	for n, q := range next.header.Queues {
		if t := q.Accepted.Sub(g.header.Queues[n].Accepted); t.Items > 0 {
			out = append(out, queueTally{n, t})
		}
	}
	slices.SortFunc(out, func(a, b queueTally) int { return byNumber(a, b.number) })
	return out
}
