package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// whatBlank is what a file of the log is of which nothing checks, where none has to be.
const whatBlank = "nothing of it checks, and no segment belongs there"

// aside is the error for files that are no segments.
func (l *segmentLog) aside(blank []string) error {
	d := &DamageError{Path: blank[0], Offset: -1, What: whatBlank}
	return &MisplacedError{Damage: d, UUID: l.uuid, Blank: blank}
}

// blanks lists the files of which neither the header nor any block nor the footer checks, and that are not where a segment
// has to be: then their names witness nothing. segs are in order; known is as far as that is known.
func (l *segmentLog) blanks(segs []*segment, known *logState) (blank []*segment, err error) {
	var before *segment
	for i, g := range segs {
		empty, err := l.empty(g)
		if err != nil {
			return nil, err
		}
		if empty {
			next, err := l.nextWhole(segs[i+1:])
			if err != nil {
				return nil, err
			}
			if fits, err := l.belongs(g, before, next, known); err != nil || !fits {
				if err != nil {
					return nil, err
				}
				blank = append(blank, g)
				continue
			}
		}
		before = g
	}
	return blank, nil
}

// empty reports whether nothing of a segment checks.
func (l *segmentLog) empty(g *segment) (bool, error) {
	if !g.headless || g.sealed {
		return false, nil
	}
	end, err := l.endOf(g)
	return end == g.first, err
}

// endOf is the seq behind the last item that a segment shows, or its first seq.
func (l *segmentLog) endOf(g *segment) (uint64, error) {
	if g.sealed {
		return g.end, nil
	}
	s, err := l.survey(g, g.file, g.allocated, 0)
	if err != nil {
		return 0, g.named(err)
	}
	return s.end, nil
}

func (l *segmentLog) nextWhole(segs []*segment) (*segment, error) {
	for _, g := range segs {
		if empty, err := l.empty(g); !empty || err != nil {
			return g, err
		}
	}
	return nil, nil
}

// belongs reports whether a segment has to be where the name of an empty one says: between two others; or behind the
// newest, where that one ends or where something is known to have been durable; or it was told as damaged before.
func (l *segmentLog) belongs(g, before, next *segment, known *logState) (bool, error) {
	serial, end := uint64(0), uint64(1)
	if before != nil {
		var err error
		if end, err = l.endOf(before); err != nil {
			return false, err
		}
		serial = before.serial
	}
	switch {
	case g.serial <= serial || g.first < end:
		return false, nil
	case next != nil:
		return g.serial < next.serial && g.first <= next.first, nil
	}
	return g.first < known.Synced || known.Damage.has(g.serial) || g.serial == serial+1 && g.first == end, nil
}

// Placed looks for files in the log of a directory that are no segments, and changes nothing: a *MisplacedError has their
// names. It is for a store of which nothing but the log tells what it had: Open looks for itself.
func Placed(dir string, giveUp bool) error {
	r, err := readLog(filepath.Join(dir, logDir), [16]byte{}, giveUp, diskOps())
	if err != nil {
		return err
	}
	var paths []string
	blank, err := r.log.blanks(r.segs, &logState{})
	if r.log.uuid == ([16]byte{}) {
		blank = nil // whose blocks would check is not known
	}
	for _, g := range blank {
		paths = append(paths, g.path)
	}
	if err = errors.Join(err, r.close()); err != nil || len(paths) == 0 {
		return err
	}
	return r.log.aside(paths)
}

// dropBlanks leaves out what is no segment, and tells it.
func (c *checker) dropBlanks(r *logReading) error {
	known := logState{}
	if c.queues != nil {
		known = c.queues.logState()
	}
	blank, err := r.log.blanks(r.segs, &known)
	if err != nil || r.log.uuid == ([16]byte{}) {
		return err
	}
	for _, g := range blank {
		r.findings = slices.DeleteFunc(r.findings, func(f Finding) bool { return f.Path == g.path })
		r.findings = append(r.findings, Finding{Path: g.path, Offset: -1, What: whatBlank + ": a start moves it to quarantine"})
		r.segs = slices.DeleteFunc(r.segs, func(o *segment) bool { return o == g })
		err = errors.Join(err, g.close())
	}
	return err
}

// addMisnamed adds the segments of the store that have another one's name, as what they are: nothing of them is missing.
func (c *checker) addMisnamed(r *logReading) error {
	for _, path := range r.strays {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h, length, err := readHeader(f, path)
		has := func(g *segment) bool { return g.path == path || err == nil && g.serial == h.Serial }
		if err != nil || h.UUID != r.log.uuid || slices.ContainsFunc(r.segs, has) {
			if err = f.Close(); err != nil {
				return err
			}
			continue
		}
		g := r.log.newSegment(h, length)
		g.path, g.file = path, f
		r.segs = append(r.segs, g)
	}
	r.sort()
	for i, g := range r.segs { // what is beside them has changed
		if g.sealed {
			continue
		}
		g.segmentState = segmentState{end: g.first, size: g.start, lastTime: g.header.IDTime, index: blockIndex{open: g.start}}
		if err := r.measure(g, r.limit(i)); err != nil {
			return err
		}
	}
	return nil
}
