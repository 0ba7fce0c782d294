//go:build linux

package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"holdfast/recovery/crashtest/trace"
	"holdfast/recovery/crashtest/trace/script"
)

// starts is the most crash images of a kind that are started under strace, to cut the power again meanwhile.
const starts = 60

// Guarantees G1, G2, in part: the power goes again while a store starts after a power cut, takes an item and is stopped in
// order. What the first one left is still there; once a start has said what it found, that is what every later one finds:
// what it kept does not go, and what it did not keep does not come back.
func TestCrashWhileAnImageStartsLosesNothing(t *testing.T) {
	all := line{fault: "crash images of starts from crash images"}
	for n := range uint64(rounds()) {
		first := newLab(t, played(t, *seed+n), *seed+n)
		r, moments := first.started()
		second := newLab(t, r, *seed+n)
		second.within(20 * time.Second)
		second.startsAgain(moments)
		second.done.Wait()
		second.count(&all, fmt.Sprintf("of %d starts; wanted %d", len(moments), images()/10))
		if n == 0 {
			all.control = startsUnflushed(t, r, moments)
		}
	}
	table.line(t, all)
}

// started records starts of images that were drawn.
func (first *lab) started() (*recording, []*moment) {
	t := first.T
	root := memory(t)
	var dirs []string
	var moments []*moment
	kinds := map[string]int{}
	first.walk(nil, func(f frame) {
		kind := underWay(f.moment)
		p, rng := first.pending(f), rand.New(rand.NewPCG(first.seed, uint64(f.step)))
		if units, _ := p.Units(); units == 0 || kinds[kind] == starts || rng.IntN(oneIn[kind]) > 0 {
			return
		}
		kinds[kind]++
		dir := filepath.Join(root, strconv.Itoa(len(dirs)))
		if err := p.Image(p.Sample(rng)).WriteTo(dir); err != nil {
			t.Fatal(err)
		}
		dirs, moments = append(dirs, filepath.Join(dir, "data")), append(moments, f.moment)
	})
	t.Logf("started are images with %v", kinds)
	return record(t, root, append([]string{"open"}, dirs...)...), moments
}

// oneIn says of how many steps one is taken, by what is under way: so that they are from all over the recording.
var oneIn = map[string]int{"no sinks yet": 4, "a request under way": 8, "a version under way": 20, "neither": 40}

// underWay is what a moment is in the middle of.
func underWay(m *moment) string {
	switch {
	case !m.ready:
		return "no sinks yet"
	case len(m.open) > 0:
		return "a request under way"
	case m.begun != nil:
		return "a version under way"
	}
	return "neither"
}

// startsAgain makes images of each start, from its first step to the next one's.
func (l *lab) startsAgain(moments []*moment) {
	share := max(1, 8*images()/10/len(l.Steps))
	l.eachStart(moments, nil, func(f frame, p *trace.Pending, start int) {
		if l.over() || l.distinct() >= images()/10 {
			return
		}
		for k := range share {
			rng := rand.New(rand.NewPCG(l.seed, uint64(f.step)<<20|uint64(k)))
			l.send(job{id: fmt.Sprintf("start-%d-%d-%d", start, f.step, k), pending: p, moment: f.moment,
				choice: func() trace.Choice { return p.Sample(rng) }})
		}
	})
}

// eachStart visits the steps of all starts, each with what is pending in its own directory and what was said up to then.
func (l *lab) eachStart(moments []*moment, honest func(int, trace.Event) bool, visit func(f frame, p *trace.Pending, start int)) {
	current, now := -1, newMoment()
	l.walk(honest, func(f frame) {
		if current >= 0 {
			f.moment = now
			visit(f, l.pending(f), current)
		}
		switch m, ok := l.marks[f.step]; {
		case ok && m.Opening != "":
			current++
			first := *moments[current]
			first.number = current << 8
			now, l.at = &first, strconv.Itoa(current)
		case ok:
			now = now.after(m)
		}
	})
}

// startsUnflushed is the control: when no flush of a start does anything, at least half of the images from the answer to
// its new item on must be flagged.
func startsUnflushed(t *testing.T, r *recording, moments []*moment) string {
	t.Helper()
	l := &liar{lab: newLab(t, r, *seed), lie: lie{name: "nothing is flushed"}}
	newest := -1
	l.eachStart(moments, func(int, trace.Event) bool { return false }, func(f frame, p *trace.Pending, start int) {
		if f.moment.ids[script.FirstNew] == "" || l.made > 1000 {
			return
		}
		if start != newest {
			newest = start
			l.epochs++
		}
		l.try(p, f.moment, uint64(f.step))
	})
	return l.red()
}

// A segment that was begun while another one was released is sealed as soon as any: with this seed the log has as many
// segments before as after.
func TestSegmentIsSealedThoughAnotherOneGoes(t *testing.T) { played(t, 8) }
