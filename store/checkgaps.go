package store

import (
	"errors"
	"io/fs"
	"os"
)

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
		c.find(r.log.dir, -1, "the directory is missing")
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
		from := max(end, state.OldestNeeded)
		if from < g.first && !covers(state.Holes, from, g.first) {
			for _, m := range missing(known.lost, from, g.first) {
				c.find(g.path, -1, "seqs %d to %d are missing before it%s", m.first, m.end-1, whose)
			}
		}
		end = max(end, g.end)
	}
	if state.OldestNeeded >= state.Synced {
		state.Synced = 0 // nobody wants what is behind
	}
	if len(r.segs) > 0 {
		return c.checkEnd(r.segs[len(r.segs)-1], known, state)
	}
	for _, m := range missing(known.lost, state.OldestNeeded, state.Synced) {
		c.find(r.log.dir, -1, "seqs %d to %d are missing", m.first, m.end-1)
	}
	return nil
}

// checkEnd tells what is missing behind the newest segment.
func (c *checker) checkEnd(g *segment, known damageRecord, state logState) error {
	if g.sealed && !known.has(g.serial+1) {
		c.find(g.path, -1, "the next segment is missing: this one was finished when that one was there")
	}
	end := max(g.end, state.OldestNeeded)
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
