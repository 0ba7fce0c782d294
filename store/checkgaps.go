package store

import (
	"errors"
	"io/fs"
	"math"
	"os"
)

// WhatNoLog is what is wrong with a directory of a log that is not there. A start refuses that: it is no damage of a disk.
const WhatNoLog = "the directory of the log is missing: put it back; if it is gone for good, `holdfast salvage` says so and goes on"

// checkNames tells which segments have a header that does not check, or is not theirs. Whose header was found to be destroyed
// before is not told again.
func (c *checker) checkNames(r *logReading, known damageRecord) {
	healed := map[string]bool{}
	for _, g := range r.segs {
		healed[g.path] = g.headless && known.has(g.serial)
	}
	refused := len(r.segs) == 0 && r.foreign != nil || r.guessed && r.mixed
	for _, f := range r.findings {
		if healed[f.Path] {
			continue
		}
		switch {
		case f.What == whatStranger && refused:
			f.What, f.Refused = f.What+", or queues.db does: bring together what belongs together", true
		case f.What == whatStranger:
			f.What += ": a start moves it to quarantine"
		}
		c.findings = append(c.findings, f)
	}
	if _, err := os.Stat(r.log.dir); errors.Is(err, fs.ErrNotExist) {
		c.findings = append(c.findings, Finding{Path: r.log.dir, Offset: -1, What: WhatNoLog, Refused: true})
	}
}

// checkGaps tells what is missing between segments, before the first and behind the last, that some queue has not settled.
// Without queues.db nobody knows that.
func (c *checker) checkGaps(r *logReading, known damageRecord) error {
	state, whose := logState{OldestNeeded: 1}, ", and nothing tells whether they were released"
	if c.queues != nil {
		state, whose = c.queues.logState(), ""
	}
	end := uint64(1)
	for _, g := range r.segs {
		gaps, err := c.rowsIn(end, g.first)
		if err != nil {
			return err
		}
		if from := max(end, state.OldestNeeded); from < g.first && !covers(state.Holes, from, g.first) {
			gaps = append(gaps, hole{first: from, end: g.first})
		}
		for _, gap := range mergeHoles(gaps) {
			for _, m := range missing(known.lost, gap.first, gap.end) {
				c.find(g.path, -1, "seqs %d to %d are missing before it%s", m.first, m.end-1, whose)
			}
		}
		end = max(end, g.end)
	}
	if n := len(r.segs); n > 0 {
		state.Synced = max(state.Synced, r.segs[n-1].header.KeptEnd)
	}
	if state.OldestNeeded >= state.Synced {
		state.Synced = 0 // nobody wants what is behind
	}
	if len(r.segs) > 0 {
		return c.checkEnd(r.segs[len(r.segs)-1], known, state)
	}
	gaps, err := c.rowsIn(1, math.MaxUint64)
	if state.OldestNeeded < state.Synced {
		gaps = append(gaps, hole{first: state.OldestNeeded, end: state.Synced})
	}
	for _, gap := range mergeHoles(gaps) {
		for _, m := range missing(known.lost, gap.first, gap.end) {
			c.find(r.log.dir, -1, "seqs %d to %d are missing", m.first, m.end-1)
		}
	}
	return err
}

// rowsIn lists the seqs in first ≤ seq < end that rows need, whose item is not outside the log.
func (c *checker) rowsIn(first, end uint64) (seqs []hole, err error) {
	if c.queues == nil || first >= end {
		return nil, nil
	}
	for _, d := range c.queues.debts() {
		refs, err := c.queues.rowRefs(d.number, first, end)
		if err != nil {
			return nil, err
		}
		for _, r := range refs {
			if !r.body {
				seqs = append(seqs, hole{first: r.seq, end: r.seq + 1})
			}
		}
	}
	return mergeHoles(seqs), nil
}

// checkEnd tells what is missing behind the newest segment.
func (c *checker) checkEnd(g *segment, known damageRecord, state logState) error {
	if g.sealed && !known.has(g.serial+1) {
		c.find(g.path, -1, "the next segment is missing: this one was finished when that one was there")
	}
	end := max(g.end, g.due(), state.OldestNeeded)
	if !g.sealed && end < state.Synced { // where its chain is broken it goes on
		s := newSurvey(g, newBlockReader(g, g.file, g.allocated, readBytes), 0)
		if err := s.run(); err != nil {
			return err
		}
		end = max(end, s.end)
	}
	for _, m := range missing(known.lost, end, state.Synced) {
		c.find(g.path, -1, "seqs %d to %d are missing behind it", m.first, m.end-1)
	}
	return nil
}
