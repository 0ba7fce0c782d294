package recovery_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/recovery"
	"holdfast/store"
)

// queuesHarm are the ways in which queues.db is of no use.
var queuesHarm = map[string]func(b []byte) []byte{
	"gone": nil,
	"garbage": func(b []byte) []byte {
		rnd := rand.New(rand.NewPCG(7, 7))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	},
	"both metas": func(b []byte) []byte { clear(b[:2*pageBytes]); return b },
	"a meta":     func(b []byte) []byte { clear(b[:pageBytes]); return b },
}

// Guarantee G6, in part: what is lost where queues.db is of no use and a segment is missing too is told by number, or as
// what nobody can know; and it is told once.
func TestASegmentThatIsMissingBesidesTheQueuesIsTold(t *testing.T) {
	for _, clean := range []bool{true, false} {
		whole := fillLog(t, rand.New(rand.NewPCG(1, 2)), store.Options{SegmentBytes: 1 << 20, BlockBytes: 16 << 10}, 4<<20, clean)
		n := len(whole.files(t))
		for name, harm := range queuesHarm {
			for place, missing := range map[string][]int{"oldest": {0}, "middle": {n / 2}, "two": {1, n - 2}, "newest": {n - 1}, "the newest two": {n - 2, n - 1}} {
				t.Run(fmt.Sprintf("queues.db %s, %s missing, clean %v", name, place, clean), func(t *testing.T) {
					s := whole.copy(t)
					if harm == nil {
						check(t, os.Remove(filepath.Join(s.dir, "queues.db")))
					} else {
						editFile(t, filepath.Join(s.dir, "queues.db"), harm)
					}
					for _, i := range missing {
						check(t, os.Remove(whole.copyOf(t, s, i)))
					}
					s.tellsOnce(t, place == "middle" || place == "two", name == "both metas" || name == "a meta")
				})
			}
		}
	}
}

// copyOf is the path of a segment of another copy of a store.
func (s *logStore) copyOf(t testing.TB, other *logStore, i int) string {
	return filepath.Join(other.dir, "log", filepath.Base(s.files(t)[i]))
}

// tellsOnce expects that a start says what is lost, exactly or not, and as certain or not.
func (s *logStore) tellsOnce(t *testing.T, exact, certain bool) {
	t.Helper()
	v, err := s.salvage(t)
	check(t, err)
	r, gone := v.report, len(s.bodies)-v.delivered
	if v.wrong > 0 || gone == 0 || r.Lost != v.lost {
		t.Errorf("%d gone, %d tombstones: %+v", gone, v.lost, r)
	}
	if r.Lost+r.Uncertain < gone && !r.AtLeast || exact && r.Lost+r.Uncertain != gone || exact && certain && r.Lost != gone || r.Lost > gone {
		t.Errorf("%d gone, told: %+v, %+v", gone, r, r.Queues)
	}
	var written recovery.Report
	text, err := os.ReadFile(filepath.Join(r.Quarantine, "report.json"))
	if err != nil || json.Unmarshal(text, &written) != nil || written.Lost != r.Lost || written.AtLeast != r.AtLeast || written.Uncertain != r.Uncertain {
		t.Errorf("report.json: %v, %s", err, text)
	}
	second, err := s.salvage(t)
	if err != nil || second.delivered != v.delivered || second.lost != v.lost {
		t.Errorf("the next start: %v, %+v, first %+v", err, second, v)
	}
	if r := second.report; r.Lost+r.Uncertain > 0 || r.AtLeast || r.Queues != nil || r.Quarantine != "" {
		t.Errorf("the next start tells again: %+v", r)
	}
}

// Guarantee G6, in part: what a salvage tells is all that is lost, and all that is kept, whatever page of each segment is
// damaged; nothing of it is told again.
func TestASalvageTellsAllOfIt(t *testing.T) {
	for _, clean := range []bool{true, false} {
		whole := fillLog(t, rand.New(rand.NewPCG(1, 2)), store.Options{SegmentBytes: 512 << 10, BlockBytes: 4 << 10}, 2<<20, clean)
		for _, page := range []int{0, 1, 3} {
			for _, cuts := range []int{0, 2} { // places that a reader met before
				t.Run(fmt.Sprintf("page %d zeroed, clean %v, %d damaged before", page, clean, cuts), func(t *testing.T) {
					s := whole.copy(t)
					told, kept := 0, 0
					for _, path := range s.files(t)[:cuts] {
						editFile(t, path, func(b []byte) []byte { clear(b[50*pageBytes:][:pageBytes]); return b })
					}
					if cuts > 0 {
						v, err := s.salvage(t)
						check(t, err)
						if told, kept = v.report.Lost, v.report.Kept; told == 0 || kept >= len(s.bodies) {
							t.Errorf("before: %+v", v.report)
						}
					}
					for _, path := range s.files(t) {
						editFile(t, path, func(b []byte) []byte { clear(b[page*pageBytes:][:pageBytes]); return b })
					}
					if found, _, err := recovery.Check(s.dir, nil); err != nil || len(found) < len(s.files(t)) {
						t.Errorf("fsck: %v, %v", found, err)
					}
					r, err := recovery.Salvage(s.dir, s.o, nil)
					check(t, err)
					told, kept = told+r.Lost, kept+r.Kept
					v, err := s.salvage(t)
					check(t, err)
					if gone := len(s.bodies) - v.delivered; told != gone || v.report.Lost > 0 || v.report.Quarantine != "" || len(v.report.Damaged) > 0 || v.wrong > 0 {
						t.Errorf("%d gone, %d told, %+v, then %+v", gone, told, r, v.report)
					}
					if cuts == 0 && kept != v.delivered || kept > len(s.bodies) {
						t.Errorf("%d kept of %d, told: %d", v.delivered, len(s.bodies), kept)
					}
					if found, _, err := recovery.Check(s.dir, nil); err != nil || len(found) > 0 {
						t.Errorf("fsck afterwards: %v, %v", found, err)
					}
				})
			}
		}
	}
}

// A report is not written over another one's.
func TestReportsAreBesideEachOther(t *testing.T) {
	s := fillLog(t, rand.New(rand.NewPCG(1, 2)), store.Options{SegmentBytes: 512 << 10, BlockBytes: 4 << 10}, 1<<20, true)
	path := filepath.Join(s.dir, "queues.db")
	queues, err := os.ReadFile(path)
	check(t, err)
	clear(queues[:2*pageBytes])
	var places [2]string
	for i := range places { // the same damage twice: its original is kept already
		check(t, os.WriteFile(path, queues, 0o600))
		v, err := s.salvage(t)
		check(t, err)
		places[i] = v.report.Quarantine
	}
	reports, err := filepath.Glob(filepath.Join(places[0], "report*.json"))
	if err != nil || places[0] != places[1] || len(reports) != 2 {
		t.Errorf("%v, %v, %v", places, reports, err)
	}
}

// Guarantee G6, in part: that the newest segment is missing is found by fsck and told by a start, once; after a stop in order
// by its number, else as at least so much.
func TestTheNewestSegmentIsMissed(t *testing.T) {
	for _, clean := range []bool{true, false} {
		s := fillLog(t, rand.New(rand.NewPCG(1, 2)), store.Options{SegmentBytes: 512 << 10, BlockBytes: 4 << 10}, 2<<20, clean)
		files := s.files(t)
		check(t, os.Remove(files[len(files)-1]))
		found, _, err := recovery.Check(s.dir, nil)
		if err != nil || len(found) != 2 || !strings.Contains(found[0].What+found[1].What, "the next segment is missing") {
			t.Errorf("clean %v: fsck: %v, %v", clean, found, err)
		}
		s.tellsOnce(t, true, true)
		if found, _, err := recovery.Check(s.dir, nil); err != nil || len(found) > 0 {
			t.Errorf("clean %v: fsck afterwards: %v, %v", clean, found, err)
		}
		st, r, err := recovery.Open(s.dir, s.o)
		check(t, err)
		next := st.Next()
		_, err = st.Append([]store.Item{{Seq: next, Time: 1 << 40, Mask: &store.Mask{To: []uint32{wanted}}, Body: []byte("one more")}}, 5, nil)
		check(t, err)
		check(t, st.Close())
		s.bodies[next] = "one more"
		if next < s.next || r.AtLeast {
			t.Errorf("clean %v: seq %d is given again, %+v", clean, next, r)
		}
		if found, sums, err := recovery.Check(s.dir, nil); err != nil || len(found) > 0 || sums.Healed > 0 {
			t.Errorf("clean %v: fsck of what came after: %v, %+v, %v", clean, found, sums, err)
		}
		if v, err := s.salvage(t); err != nil || v.report.Lost > 0 || v.wrong > 0 {
			t.Errorf("clean %v: after that: %+v, %v", clean, v, err)
		}
	}
}

// A sealed segment of which the header alone is destroyed is told by the start, and kept; its items count once.
func TestADestroyedHeaderIsToldByTheStart(t *testing.T) {
	s := fillLog(t, rand.New(rand.NewPCG(1, 2)), store.Options{SegmentBytes: 512 << 10, BlockBytes: 4 << 10}, 2<<20, true)
	path := s.files(t)[1]
	editFile(t, path, func(b []byte) []byte { clear(b[:100]); return b })
	harmed, err := os.ReadFile(path)
	check(t, err)
	st, r, err := recovery.Open(s.dir, s.o)
	check(t, err)
	check(t, st.Close())
	if len(r.Damaged) != 1 || r.Kept == 0 || r.Kept >= len(s.bodies) || r.Lost > 0 || !keptSomewhere(t, s.dir, path, harmed) {
		t.Errorf("%+v", r)
	}
	if v, err := s.salvage(t); err != nil || v.delivered != len(s.bodies) || v.report.Kept > 0 {
		t.Errorf("%+v, %v", v, err)
	}
	if found, _, err := recovery.Check(s.dir, nil); err != nil || len(found) > 0 {
		t.Errorf("fsck keeps %v, %v", found, err)
	}
}
