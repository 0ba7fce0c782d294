package crashtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
)

// damagesOfAStory is how often one store is damaged, one life apart.
const damagesOfAStory = 10

// Guarantee G6, in part, with the whole service: whatever one place of its files is damaged between two lives, it starts by
// itself, delivers no wrong body, and every acked item that somebody never gets is one that it reported as lost.
func TestDamagedFilesAreServed(t *testing.T) {
	repeats(t)
	sum := line{fault: "damage of the log and of queues.db, one place at a time, 3 sinks and one that is away"}
	kinds := map[string]int{}
	var mu sync.Mutex // of both
	t.Run("stories", func(t *testing.T) {
		for n := range share(20) * rounds() {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel() // they wait more than they work
				s := &story{rig: newRig(t, append(three(), &receiver{name: "away", workers: 4})...),
					rnd: rand.New(rand.NewPCG(*seed, 41+uint64(n))), unknown: map[int]bool{}, kinds: map[string]int{}}
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					s.count(kinds, &sum)
				}()
				s.tell()
			})
		}
	})
	t.Logf("what was done: %v", kinds)
	table.line(t, sum)
}

// count judges a story and adds it to the sums.
func (s *story) count(kinds map[string]int, sum *line) {
	for kind, n := range s.kinds {
		kinds[kind] += n
		sum.cases += n
	}
	if s.Failed() { // a life did not begin, or ended by itself, or did not come to its end
		sum.deaths++
		return
	}
	v := book.CheckDamaged(s.book.Record(), s.reported, s.unknown)
	if sum.add(v); !v.OK() {
		s.Errorf("%v\n%s", v, strings.Join(v.Details, "\n"))
	}
	sum.control = s.silence()
}

// silence is the control: what the last life took, and one receiver did not get, is not reported, and that is seen.
func (s *story) silence() string {
	s.Helper()
	rec := s.book.Record()
	known := book.CheckDamaged(rec, 0, s.unknown).Lost
	last := rec.Told[slices.IndexFunc(rec.Told, func(t book.Told) bool { return strings.HasPrefix(t.Tag, "last-") })]
	rec.Got = slices.DeleteFunc(rec.Got, func(g book.Got) bool { return g.Sink == "away" && g.Body == last.Body })
	v := book.CheckDamaged(rec, known, s.unknown)
	if v.Lost != 1 {
		s.Errorf("the judge is blind: %v, %d missing before, unknown %v", v, known, s.unknown)
		return ""
	}
	return "a loss that is not reported is seen"
}

// A story is some lives of one store, which is damaged after each.
type story struct {
	*rig
	rnd      *rand.Rand
	reported int            // items that were reported as lost, or as unconfirmed
	unknown  map[int]bool   // lives at whose end the end of the log was damaged
	kinds    map[string]int // how often what was done
	log      []string       // what was done, and what was said of it
}

// tell lives it. A life that ends by itself, or does not start, ends the test.
func (s *story) tell() {
	s.Helper()
	s.Cleanup(s.keep)
	away := s.receivers[3]
	away.down.Store(true)
	s.data += ", max_bytes: 16MiB"
	producers := four(s.rig)[1:] // who waits for somebody that is away learns nothing
	for range damagesOfAStory {
		s.start()
		s.learn()
		s.live(time.Duration(80+s.rnd.IntN(200))*time.Millisecond, producers)
		s.hear()
		s.copy("before")
		s.damage()
	}
	away.down.Store(false)
	s.start()
	s.learn()
	s.one("last", book.Durable)
	s.drain()
	s.process.Signal(syscall.SIGTERM)
	if code, _, err := s.process.Wait(s.Context()); err != nil || code != 0 {
		s.Errorf("the last life ends with %d, %v\n%s", code, err, s.process.Log())
	}
	s.hear()
	s.end(time.Now())
}

// learn asks a life that has begun whether it knows how much it lost. Without queues.db, or its books, nothing tells how
// many items were in it alone, and so what was accepted before is not judged.
func (s *story) learn() {
	s.Helper()
	var status struct {
		Recovery struct {
			MoreMayBeLost bool `json:"more_may_be_lost"`
		}
	}
	if code, err := s.get("/v1/status", &status); err != nil || code != http.StatusOK {
		s.Fatalf("status: %d, %v", code, err)
	}
	for life := 0; status.Recovery.MoreMayBeLost && life < s.life; life++ {
		s.unknown[life] = true
	}
}

// keep tells what was done in a story that failed; with -artifacts it keeps the store as it was before it was damaged for
// the last time, and as it is.
func (s *story) keep() {
	if !s.Failed() {
		return
	}
	s.Log(strings.Join(s.log, "\n"))
	s.copy("after")
	for _, name := range []string{"before", "after"} {
		if err := os.CopyFS(filepath.Join(s.ArtifactDir(), name), os.DirFS(filepath.Join(s.dir, name))); err != nil {
			s.Error(err)
		}
	}
}

// copy makes a copy of the store beside it, in place of an older one.
func (s *story) copy(name string) {
	s.Helper()
	to := filepath.Join(s.dir, name)
	if err := os.RemoveAll(to); err != nil {
		s.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(filepath.Join(s.dir, "data"))); err != nil {
		s.Fatal(err)
	}
}

// hear adds up what the log of a life that has ended says of losses: what its start found, and what was met later.
func (s *story) hear() {
	life := 0
	for text := range strings.Lines(s.process.Log()) {
		var said struct {
			Msg                          string
			Lost, Unconfirmed, Uncertain int
		}
		if json.Unmarshal([]byte(text), &said) != nil {
			continue
		}
		n := said.Lost + said.Unconfirmed + said.Uncertain
		if n > 0 {
			s.log = append(s.log, strings.TrimSpace(text))
		}
		switch {
		case strings.HasPrefix(said.Msg, "store "):
			life = n
		case strings.HasPrefix(said.Msg, "a segment is"):
			life += n
		}
	}
	s.reported += life
}

// endOfLog is how much before its last byte belongs to the last group commits.
const endOfLog = 64 << 10

// damage does something to one of the files.
func (s *story) damage() {
	s.Helper()
	data := filepath.Join(s.dir, "data")
	segments, err := filepath.Glob(filepath.Join(data, "log", "*.log"))
	if err != nil {
		s.Fatal(err)
	}
	path, newest := filepath.Join(data, "queues.db"), ""
	if len(segments) > 0 { // a short life may have accepted nothing
		newest = slices.Max(segments)
		path = []string{path, newest, segments[s.rnd.IntN(len(segments))]}[s.rnd.IntN(3)]
	}
	before, err := os.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	used := max(len(bytes.TrimRight(before, "\x00")), 1)
	name, after, at := s.spoil(bytes.Clone(before), used, path)
	s.kinds[name]++
	s.log = append(s.log, fmt.Sprintf("after life %d: %s of %s at %d of %d", s.life-1, name, filepath.Base(path), at, used))
	if path == newest && (after == nil || at >= used-endOfLog) {
		s.unknown[s.life-1] = true
	}
	if path == newest && after == nil { // it begins with what was last in the life before
		s.unknown[s.life-2] = true
	}
	if after == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, after, 0o600)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// spoil returns the content of a file that has used bytes after something has happened to it, nil if it is gone, and where.
func (s *story) spoil(b []byte, used int, path string) (name string, after []byte, at int) {
	const page = 4096
	at = page * s.rnd.IntN((used+page-1)/page)
	place := b[at:min(at+page, len(b))]
	if len(place) == 0 { // it was truncated to nothing, and nobody needed it
		return "gone", nil, 0
	}
	switch kind := s.rnd.IntN(20); {
	case kind < 4:
		place[s.rnd.IntN(len(place))] ^= 1 << s.rnd.IntN(8)
		return "a bit", b, at
	case kind < 7:
		place[s.rnd.IntN(min(64, len(place)))] ^= 1 << s.rnd.IntN(8)
		return "a bit at the start of a page", b, at
	case kind < 9:
		b[s.rnd.IntN(min(512, len(b)))] ^= 1 << s.rnd.IntN(8)
		return "a bit of the header", b, 0
	case kind < 12:
		clear(place)
		return "a page of zeros", b, at
	case kind < 14:
		for i := range place {
			place[i] = byte(s.rnd.Uint32())
		}
		return "a page of garbage", b, at
	case kind < 16:
		other := b[page*s.rnd.IntN((used+page-1)/page):]
		was := bytes.Clone(place)
		copy(place, other[:min(page, len(other))])
		copy(other, was)
		return "two pages swapped", b, max(at, len(b)-len(other))
	case kind < 17:
		at = s.rnd.IntN(used)
		return "truncated", b[:at], at
	case kind < 18:
		return "gone", nil, 0
	case filepath.Base(path) != "queues.db":
		clear(b[:min(512, len(b))])
		return "no header", b, 0
	case kind < 19:
		clear(b[:2*page])
		return "no meta page", b, 0
	default:
		clear(b[page*s.rnd.IntN(2):][:page])
		return "one meta page", b, 0
	}
}
