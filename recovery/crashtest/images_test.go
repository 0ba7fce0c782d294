//go:build linux

package crashtest_test

import (
	"flag"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/recovery/crashtest/trace"
)

// exhaustive bounds the epochs of which every image is made: 2^exhaustive of them.
const exhaustive = 6

// imagesTime bounds the images of one recording.
const imagesTime = 60 * time.Second

// Guarantees G1, G2, D1, A1, D4: whatever a power cut leaves of what was not flushed, the store opens by itself, has every
// answered item that was not durably settled, with its own bytes and id, and is one version of its queues, whole: the last
// that was durable or the one under way. Items of one request are all there or none. Nothing needs to be saved.
func TestLegalCrashImagesLoseNothing(t *testing.T) {
	all := line{fault: "crash images of the store's own traces"}
	if *imageOnly != "" {
		newLab(t, played(t, *seed), *seed).only(*imageOnly)
		return
	}
	evacuated := 0
	for n := range uint64(rounds()) {
		r := played(t, *seed+n)
		r.covered(t)
		l := newLab(t, r, *seed+n)
		end := l.every()
		evacuated += r.evacuated(end.moment.durable, end.disk.Names("data/log"))
		small := l.distinct()
		for first := 0; l.distinct() < images() && first < 8*images() && !l.over(); first += 2000 {
			l.sampled(first, first+2000)
		}
		l.done.Wait()
		l.count(&all, fmt.Sprintf("%d of epochs of which every image was made, the others drawn; wanted %d", small, images()))
		if n == 0 {
			all.control = controls(t, r)
		}
	}
	if t.Logf("%d deliveries were evacuated", evacuated); evacuated == 0 {
		t.Error("nothing was evacuated: this proves little of it")
	}
	table.line(t, all)
}

// images is how many of a recording are looked at.
func images() int { return share(*imageCount) }

// A lab makes images of one recording and looks at them.
type lab struct {
	*testing.T
	*recording
	seed  uint64
	at    string // the directory that images are made of; "." is all of the recording's
	until time.Time
	began time.Time
	rich  []int  // steps before which too much is pending to make every image
	dir   string // of the workers
	kept  string // where failures are kept
	jobs  chan job
	done  sync.WaitGroup

	tried, opened atomic.Int64 // images made, and those of them that were started

	mu     sync.Mutex
	known  map[[2]uint64]bool // guarded by mu: images that were looked at, with their moment
	sums   verdict            // guarded by mu: images by what is not as it must be
	failed int                // guarded by mu
}

// A job is one image to be made and looked at.
type job struct {
	id      string
	pending *trace.Pending
	choice  func() trace.Choice
	moment  *moment
	deep    depth
	then    func(verdict) // told the verdict; nil: a failure is one of the test
}

func newLab(t *testing.T, r *recording, seed uint64) *lab {
	l := &lab{
		T: t, recording: r, seed: seed, at: ".", began: time.Now(), dir: lean(t),
		jobs: make(chan job, 64), known: map[[2]uint64]bool{},
	}
	l.within(imagesTime)
	old := debug.SetGCPercent(400) // an image is little, and soon done with
	t.Cleanup(func() { debug.SetGCPercent(old) })
	sums := maphash.MakeSeed()
	var workers sync.WaitGroup
	for n := range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range l.jobs {
				l.look(j, filepath.Join(l.dir, strconv.Itoa(n)), sums)
				l.done.Done()
			}
		})
	}
	t.Cleanup(func() {
		close(l.jobs)
		workers.Wait()
	})
	return l
}

// within gives a lab so much time from now on, but no more than the test has.
func (l *lab) within(d time.Duration) {
	l.until = time.Now().Add(d)
	if end, ok := l.Deadline(); ok && end.Add(-20*time.Second).Before(l.until) {
		l.until = end.Add(-20 * time.Second)
	}
}

// over reports whether the time is.
func (l *lab) over() bool { return time.Now().After(l.until) }

func (l *lab) distinct() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.known)
}

func (l *lab) send(j job) {
	l.done.Add(1)
	l.jobs <- j
}

// look makes the image of a job and looks at it, unless it was looked at before.
func (l *lab) look(j job, dir string, seed maphash.Seed) {
	im := j.pending.Image(j.choice())
	l.tried.Add(1)
	if j.then == nil && !l.isNew([2]uint64{im.Sum(seed), uint64(j.moment.number)}) {
		return
	}
	n := l.opened.Add(1)
	if err := im.WriteTo(dir); err != nil { // nor may a control be red by it
		if !l.Failed() {
			l.Errorf("the test's own disk: %v", err)
		}
		return
	}
	switch {
	case j.deep != opens:
	case n%50 == 0 && j.moment.ready:
		j.deep = goesOn
	case n%20 == 0:
		j.deep = again
	}
	v := check(dir, j.moment, j.deep)
	if j.then != nil {
		j.then(v)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums.lost += min(v.lost, 1)
	l.sums.early += min(v.early, 1)
	l.sums.wrong += min(v.wrong, 1)
	l.sums.dead += min(v.dead, 1)
	if !v.ok() {
		l.failure(j.id, im, &v)
	}
}

func (l *lab) isNew(key [2]uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[key] {
		return false
	}
	l.known[key] = true
	return true
}

// failure tells of an image and keeps it; mu is held.
func (l *lab) failure(id string, im trace.Image, v *verdict) {
	if l.failed++; l.failed > 5 {
		return
	}
	if l.kept == "" {
		l.kept = l.place()
	}
	if err := im.WriteTo(filepath.Join(l.kept, id)); err != nil {
		l.Error(err)
	}
	again := fmt.Sprintf("go test ./recovery/crashtest -run '^%s$' -seed %d", l.Name(), l.seed)
	if l.at == "." {
		again += fmt.Sprintf(" -recording %s -image %s", l.keep(l, l.kept), id)
	}
	l.Errorf("seed %d, image %s, kept in %s:\n%v\nagain: %s", l.seed, id, l.kept, v, again)
}

// place is a directory that stays.
func (l *lab) place() string {
	if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
		return l.ArtifactDir()
	}
	dir, err := os.MkdirTemp("", "holdfast-images-")
	if err != nil {
		l.Fatal(err)
	}
	return dir
}

// A frame is the disk and what was said, before a step.
type frame struct {
	step   int
	disk   *trace.Disk
	moment *moment
}

// walk plays the recording, and calls visit before each step and at the end. honest: see trace.Disk.
func (l *lab) walk(honest func(step int, e trace.Event) bool, visit func(f frame)) frame {
	l.Helper()
	disk, err := trace.NewDisk(l.Trace, l.start)
	if err != nil {
		l.Fatal(err)
	}
	f := frame{disk: disk, moment: newMoment()}
	for i := range l.Steps {
		f.step = i
		visit(f)
		is := func(e trace.Event) bool { return honest == nil || honest(i, e) }
		if err := disk.Play(i, is); err != nil {
			l.Fatal(err)
		}
		if mark, ok := l.marks[i]; ok {
			f.moment = f.moment.after(mark)
		}
	}
	f.step = len(l.Steps)
	visit(f)
	return f
}

func (l *lab) pending(f frame) *trace.Pending {
	p, err := f.disk.Pending(l.at)
	if err != nil {
		l.Fatal(err)
	}
	return p
}

// every makes all images of the epochs that are small enough, at their ends.
func (l *lab) every() frame {
	return l.walk(nil, func(f frame) {
		if f.step < len(l.Steps) {
			if _, ends := l.end(f.step, trace.Sync); !ends {
				return
			}
		}
		p := l.pending(f)
		for n := range p.All(exhaustive) {
			l.send(job{id: fmt.Sprintf("e%d.%d", f.step, n), pending: p, moment: f.moment,
				choice: func() trace.Choice { return p.Nth(exhaustive, n) }})
		}
	})
}

// draw is the step of a drawn image, and what draws the rest of it.
func (l *lab) draw(n int) (step int, rng *rand.Rand) {
	if l.rich == nil {
		l.walk(nil, func(f frame) {
			if l.pending(f).All(exhaustive) == 0 {
				l.rich = append(l.rich, f.step)
			}
		})
	}
	rng = rand.New(rand.NewPCG(l.seed, uint64(n)))
	return l.rich[rng.IntN(len(l.rich))], rng
}

// sampled makes the drawn images first to last.
func (l *lab) sampled(first, last int) {
	at := map[int][]int{}
	for n := first; n < last; n++ {
		step, _ := l.draw(n)
		at[step] = append(at[step], n)
	}
	l.walk(nil, func(f frame) {
		if at[f.step] == nil || l.over() {
			return
		}
		p := l.pending(f)
		for _, n := range at[f.step] {
			_, rng := l.draw(n)
			l.send(job{id: fmt.Sprint("s", n), pending: p, moment: f.moment, choice: func() trace.Choice { return p.Sample(rng) }})
		}
	})
}

// only looks at one image, by the name that a failure gave it.
func (l *lab) only(id string) {
	var step, n int
	choice := func(p *trace.Pending) trace.Choice { return p.Nth(exhaustive, n) }
	if rest, drawn := strings.CutPrefix(id, "s"); drawn {
		n, err := strconv.Atoi(rest)
		if err != nil {
			l.Fatal(err)
		}
		at, rng := l.draw(n)
		step, choice = at, func(p *trace.Pending) trace.Choice { return p.Sample(rng) }
	} else if _, err := fmt.Sscanf(id, "e%d.%d", &step, &n); err != nil {
		l.Fatal(err)
	}
	l.walk(nil, func(f frame) {
		if f.step == step {
			p := l.pending(f)
			l.send(job{id: id, pending: p, moment: f.moment, deep: again, choice: func() trace.Choice { return choice(p) }})
		}
	})
	l.done.Wait()
	if l.opened.Load() == 0 {
		l.Fatalf("the trace has no image %s", id)
	}
}

// count adds what was found to a line of the table, and tells how it was found.
func (l *lab) count(to *line, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := time.Since(l.began)
	l.Logf("seed %d: %d images made, %d of them looked at: %s; %.1f s, %.0f a second", l.seed, l.tried.Load(), l.opened.Load(), how, took.Seconds(), float64(l.opened.Load())/took.Seconds())
	if l.failed > 5 {
		l.Errorf("%d more images failed", l.failed-5)
	}
	to.cases += int(l.opened.Load())
	to.lost, to.early, to.wrong, to.deaths = to.lost+l.sums.lost, to.early+l.sums.early, to.wrong+l.sums.wrong, to.deaths+l.sums.dead
}
