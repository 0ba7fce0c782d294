package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// headless makes a segment of a file whose header does not check. Its name says its serial and its first seq, and with
// those its blocks check. cause is what is wrong with the header. Another format is refused, as it was told: where no
// block of ours is in the file, its header may be whole.
func (l *segmentLog) headless(f *os.File, path string, cause error) (*segment, error) {
	_, format := errors.AsType[*FormatError](cause)
	if !format && !isDamage(cause) && !l.givesUp(cause) {
		return nil, cause
	}
	h := &segmentHeader{UUID: l.uuid}
	name := filepath.Base(path)
	if _, err := fmt.Sscanf(name, "%d-%d.log", &h.Serial, &h.First); err != nil || segmentName(h.Serial, h.First)+".log" != name || h.First == 0 {
		return nil, cause
	}
	g := l.newSegment(h, headerUnit)
	g.headless = true
	if !format {
		return g, nil
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s, err := l.survey(g, f, fi.Size(), 0)
	if err != nil || len(s.found) == 0 || headerChecks(f) {
		return nil, errors.Join(cause, err)
	}
	return g, nil
}

// cutShort reports whether the newest segment ends before what was durable, and is needed. What an earlier start found to
// be missing behind a segment before this one is in the books of this one's header.
func (l *segmentLog) cutShort(g *segment, known logState) bool {
	from := max(g.end, l.torn.end, known.OldestNeeded)
	return from < known.Synced && (l.hurt.has(g.serial) || len(missing(l.hurt.lost, from, known.Synced)) > 0)
}

// headerChecks reports whether the header of a file is whole, whatever its format: magic, format, length and the checksum
// at its end are the same in all.
func headerChecks(f *os.File) bool {
	b := make([]byte, headerFixed)
	if _, err := f.ReadAt(b, 0); err != nil {
		return false
	}
	b = make([]byte, min(binary.BigEndian.Uint32(b[12:]), maxHeader))
	n, _ := f.ReadAt(b, 0)
	return checkHeader(b[:n])
}

// lose notes that first ≤ seq < end are missing behind the newest segment, if there is one. They were for the queues that
// it was for, or else for all.
func (l *segmentLog) lose(first, end uint64, near []queueTally, known logState) {
	per := likely(near, end-first, known.Queues)
	addAccepted(l.accepted, per) // no header tells of them
	l.noteLost(spread([]hole{{first: first, end: end}}, per, noneNewer))
}

// lostBefore is what is missing before a segment, from a seq on: for whom it was the headers tell, or it was for all of the
// queues.
func (l *segmentLog) lostBefore(i int, from uint64, queues []uint32) []lostRange {
	g := l.segs[i]
	per := likely(nil, g.first-from, queues)
	if accepted, _, ok := l.acceptedUpTo(i); (ok && i > 0 || g.serial == 2) && !g.headless {
		per = nil
		for _, number := range queues {
			if t := g.header.Queues[number].Accepted.Sub(accepted[number]); t.Items > 0 {
				per = append(per, queueTally{number, t})
			}
		}
	}
	return spread([]hole{{first: from, end: g.first}}, per, l.given(i))
}
