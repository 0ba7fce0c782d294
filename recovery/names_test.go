package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/recovery"
	"holdfast/store"
)

// someLog is a store of several segments.
func someLog(t *testing.T, seed uint64) *logStore {
	return fillLog(t, rand.New(rand.NewPCG(seed, 2)), store.Options{SegmentBytes: 512 << 10, BlockBytes: 16 << 10}, 3<<20, true)
}

// Guarantee G6, in part: what is in the log and does not belong there, or is not where it belongs, does not stop a start:
// nothing readable is thrown away, and it is told. Before, fsck finds it; afterwards it finds nothing.
func TestSegmentsThatAreNotWhereTheyBelongAreBroughtThere(t *testing.T) {
	whole, other := someLog(t, 1), someLog(t, 9)
	for name, c := range map[string]struct {
		harm           func(s *logStore, files []string)
		lost           bool
		renamed, aside int
	}{
		"two swapped by name": {harm: func(s *logStore, f []string) {
			check(t, os.Rename(f[1], f[1]+"x"))
			check(t, os.Rename(f[2], f[1]))
			check(t, os.Rename(f[1]+"x", f[2]))
		}, renamed: 1},
		"three in a ring": {harm: func(s *logStore, f []string) {
			check(t, os.Rename(f[0], f[0]+"x"))
			check(t, os.Rename(f[2], f[0]))
			check(t, os.Rename(f[len(f)-1], f[2]))
			check(t, os.Rename(f[0]+"x", f[len(f)-1]))
		}, renamed: 2},
		"one by another name": {harm: func(s *logStore, f []string) {
			check(t, os.Rename(f[1], filepath.Join(filepath.Dir(f[1]), "00000700-0000000000070000.log")))
		}, renamed: 1},
		"a second one": {harm: func(s *logStore, f []string) {
			b, err := os.ReadFile(f[1])
			check(t, err)
			check(t, os.WriteFile(filepath.Join(filepath.Dir(f[1]), "00000700-0000000000070000.log"), b, 0o600))
		}, aside: 1},
		"one of another store": {harm: func(s *logStore, f []string) {
			b, err := os.ReadFile(other.files(t)[1])
			check(t, err)
			check(t, os.WriteFile(filepath.Join(filepath.Dir(f[1]), "00000700-0000000000070000.log"), b, 0o600))
		}, aside: 1},
		"one of another store in the place of ours": {harm: func(s *logStore, f []string) {
			b, err := os.ReadFile(other.files(t)[1])
			check(t, err)
			check(t, os.WriteFile(f[1], b, 0o600))
		}, aside: 1, lost: true},
		"a header of another one": {harm: func(s *logStore, f []string) {
			b, err := os.ReadFile(f[2])
			check(t, err)
			editFile(t, f[1], func(c []byte) []byte { copy(c[:512], b); return c })
		}},
		"a header of another store": {harm: func(s *logStore, f []string) {
			b, err := os.ReadFile(other.files(t)[1])
			check(t, err)
			editFile(t, f[1], func(c []byte) []byte { copy(c[:512], b); return c })
		}},
		"100 bytes of zeros": {harm: func(s *logStore, f []string) {
			check(t, os.WriteFile(filepath.Join(filepath.Dir(f[0]), "00000700-0000000000070000.log"), make([]byte, 100), 0o600))
		}, aside: 1},
		"zeros with the next number": {harm: func(s *logStore, f []string) {
			check(t, os.WriteFile(filepath.Join(filepath.Dir(f[0]), fmt.Sprintf("%08d-%016d.log", len(f)+1, s.next+5000)), make([]byte, 100), 0o600))
		}, aside: 1},
		"zeros with a number that is taken": {harm: func(s *logStore, f []string) {
			check(t, os.WriteFile(filepath.Join(filepath.Dir(f[0]), "00000001-0000000000000003.log"), make([]byte, 100), 0o600))
		}, aside: 1},
		"no name of a segment": {harm: func(s *logStore, f []string) {
			check(t, os.WriteFile(filepath.Join(filepath.Dir(f[0]), "notes.log"), []byte("mine"), 0o600))
		}, aside: 1},
		"no log": {harm: func(s *logStore, f []string) {
			for _, path := range f {
				check(t, os.Remove(path))
			}
		}, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := whole.copy(t)
			c.harm(s, s.files(t))
			found, _, err := recovery.Check(s.dir, nil)
			if err != nil || len(found) == 0 || slices.ContainsFunc(found, func(f store.Finding) bool { return f.Refused }) {
				t.Errorf("fsck: %v, %v", found, err)
			}
			swapped := c.renamed > 0 && slices.ContainsFunc(found, func(f store.Finding) bool { return strings.Contains(f.What, "missing") })
			if swapped {
				t.Errorf("fsck misses what is there: %v", found)
			}
			before := map[string][]byte{}
			for _, path := range s.files(t) {
				before[filepath.Base(path)], err = os.ReadFile(path)
				check(t, err)
			}
			v, err := s.salvage(t)
			check(t, err)
			r, gone := v.report, len(s.bodies)-v.delivered
			for _, name := range r.Aside {
				if !keptSomewhere(t, s.dir, name, before[name]) {
					t.Errorf("%s is not in quarantine", name)
				}
			}
			if v.wrong > 0 || r.Lost != gone || (gone > 0) != c.lost || len(r.Renamed) != c.renamed || len(r.Aside) != c.aside {
				t.Errorf("%d gone, %d wrong: %+v", gone, v.wrong, r)
			}
			if _, err := os.Stat(filepath.Join(r.Quarantine, "report.json")); err != nil {
				t.Error(err)
			}
			if found, _, err := recovery.Check(s.dir, nil); err != nil || len(found) > 0 {
				t.Errorf("fsck afterwards: %v, %v", found, err)
			}
			second, err := s.salvage(t)
			if err != nil || second.delivered != v.delivered || second.report.Quarantine != "" || second.report.Lost > 0 {
				t.Errorf("the next start: %v, %+v", err, second)
			}
		})
	}
}

// What nobody can know is left to an operator: nothing is changed, the error says what to do, and fsck finds it.
func TestWhatAStartRefusesFsckFinds(t *testing.T) {
	whole, other := someLog(t, 1), someLog(t, 9)
	for name, harm := range map[string]func(s *logStore){
		"LOCK a directory": func(s *logStore) { check(t, os.Remove(s.dir+"/LOCK")); check(t, os.Mkdir(s.dir+"/LOCK", 0o700)) },
		"queues.db a directory": func(s *logStore) {
			check(t, os.Remove(s.dir+"/queues.db"))
			check(t, os.Mkdir(s.dir+"/queues.db", 0o700))
		},
		"log a file": func(s *logStore) {
			check(t, os.RemoveAll(s.dir+"/log"))
			check(t, os.WriteFile(s.dir+"/log", nil, 0o600))
		},
		"a segment a directory": func(s *logStore) { check(t, os.Mkdir(s.dir+"/log/00000700-0000000000070000.log", 0o700)) },
		"no log":                func(s *logStore) { check(t, os.Rename(s.dir+"/log", s.dir+".log")) },
		"a link":                func(s *logStore) { check(t, os.Symlink("/dev/null", s.dir+"/log/00000700-0000000000070000.log")) },
		"queues.db of another": func(s *logStore) {
			b, err := os.ReadFile(other.dir + "/queues.db")
			check(t, err)
			check(t, os.WriteFile(s.dir+"/queues.db", b, 0o600))
		},
		"no queues.db, two logs": func(s *logStore) {
			check(t, os.Remove(s.dir+"/queues.db"))
			b, err := os.ReadFile(other.files(t)[1])
			check(t, err)
			check(t, os.WriteFile(s.dir+"/log/00000700-0000000000070000.log", b, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := whole.copy(t)
			harm(s)
			before := sums(t, s.dir)
			found, _, err := recovery.Check(s.dir, nil)
			if err != nil || !slices.ContainsFunc(found, func(f store.Finding) bool { return f.Refused && strings.Contains(f.String(), "refuses") }) {
				t.Errorf("fsck: %v, %v", found, err)
			}
			if _, _, err := recovery.Open(s.dir, s.o); err == nil || !strings.Contains(err.Error(), s.dir) {
				t.Errorf("it is opened: %v", err)
			} else {
				t.Log(err)
			}
			if diff := cmp.Diff(before, sums(t, s.dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Guarantee G6, in part: a log that is missing is refused, as it may be elsewhere: when it is back nothing is lost. An
// operator says that it is gone for good.
func TestALogThatIsMissingIsGoneOnlyForAnOperator(t *testing.T) {
	s := someLog(t, 1).copy(t)
	check(t, os.Rename(s.dir+"/log", s.dir+".log"))
	_, _, err := recovery.Open(s.dir, s.o)
	if d, ok := errors.AsType[*store.DamageError](err); !ok || d.Path != s.dir+"/log" || !strings.Contains(err.Error(), "holdfast salvage") {
		t.Errorf("it is opened: %v", err)
	}
	check(t, os.Rename(s.dir+".log", s.dir+"/log"))
	if v, err := s.salvage(t); err != nil || v.delivered != len(s.bodies) || v.report.Quarantine != "" {
		t.Errorf("it is back: %+v, %v", v, err)
	}
	check(t, os.RemoveAll(s.dir+"/log"))
	r, err := recovery.Salvage(s.dir, s.o, nil)
	if err != nil || r.Lost != len(s.bodies) {
		t.Errorf("it is gone: %+v, %v", r, err)
	}
	if v, err := s.salvage(t); err != nil || v.lost != len(s.bodies) || v.report.Lost > 0 {
		t.Errorf("the next start: %+v, %v", v, err)
	}
	found, sums, err := recovery.Check(s.dir, nil)
	if err != nil || len(found) > 0 || sums.Lost != int64(len(s.bodies)) {
		t.Errorf("fsck afterwards: %v, %+v, %v", found, sums, err)
	}
}

// A file of which nothing checks witnesses nothing beside queues.db that is of no use either, and goes aside.
func TestAStrayFileLosesNothingWithoutTheQueues(t *testing.T) {
	for name, harm := range queuesHarm {
		t.Run(name, func(t *testing.T) {
			s := someLog(t, 1).copy(t)
			if path := filepath.Join(s.dir, "queues.db"); harm == nil {
				check(t, os.Remove(path))
			} else {
				editFile(t, path, harm)
			}
			check(t, os.WriteFile(filepath.Join(s.dir, "log", "00000700-0000000000070000.log"), make([]byte, 100), 0o600))
			v, err := s.salvage(t)
			if r := v.report; err != nil || v.delivered != len(s.bodies) || r.Lost+r.Uncertain > 0 || len(r.Aside) != 1 || v.next >= 70000 {
				t.Errorf("%v, %+v", err, v)
			}
		})
	}
}

// What is told of damage by which nothing is lost does not say so; of segments that are missing it says once which seqs.
func TestMessagesSayWhatIsLost(t *testing.T) {
	whole := someLog(t, 1)
	for name, c := range map[string]struct {
		harm func(f []string)
		want []string
		not  string
	}{
		"swapped": {func(f []string) {
			check(t, os.Rename(f[1], f[1]+"x"))
			check(t, os.Rename(f[2], f[1]))
			check(t, os.Rename(f[1]+"x", f[2]))
		}, []string{`"level":"WARN","msg":"store recovered after damage"`}, "with losses"},
		"missing": {func(f []string) { check(t, os.Remove(f[0])); check(t, os.Remove(f[2])) },
			[]string{`"level":"ERROR","msg":"store recovered with losses"`, `"msg":"a segment is missing"`, `"seqs":"1-`}, `"path":""`},
	} {
		t.Run(name, func(t *testing.T) {
			s := whole.copy(t)
			c.harm(s.files(t))
			var out bytes.Buffer
			o := s.o
			o.Log = slog.New(slog.NewJSONHandler(&out, nil))
			st, _, err := recovery.Open(s.dir, o)
			check(t, err)
			check(t, st.Close())
			for _, text := range c.want {
				if strings.Count(out.String(), text) != 1 {
					t.Errorf("no %s", text)
				}
			}
			if strings.Contains(out.String(), c.not) {
				t.Errorf("%s", c.not)
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

// Guarantee G6, in part: items of segments that are missing are lost for a sink that came with one of them, as many as it
// had.
func TestANewSinkMissesWhatItsSegmentsHad(t *testing.T) {
	const each, late = 20, uint32(2)
	for name, missing := range map[string][]int{"between": {1, 2}, "the newest": {2, 3}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			st, _, err := recovery.Open(dir, recovery.Options{})
			check(t, err)
			to := []uint32{wanted}
			for segment := range 4 {
				if segment == 0 || segment == 2 {
					sink := store.Sink{Name: fmt.Sprint(segment), State: store.Active, Queues: []store.SinkQueue{{Number: st.NextQueue(), Live: true}}}
					number := sink.Queues[0].Number
					check(t, st.Commit(store.Change{QueueTime: 1, Sinks: []store.Sink{sink}, Queues: []store.QueueChange{{Number: number, Cursor: st.Next()}}}))
				}
				if segment > 0 {
					check(t, st.Rotate())
				}
				if segment == 2 {
					to = []uint32{wanted, late}
				}
				for range each {
					_, err := st.Append([]store.Item{{Seq: st.Next(), Time: 1000, Mask: &store.Mask{To: to}, Body: []byte("body")}}, 1, nil)
					check(t, err)
				}
				check(t, st.Seal())
			}
			check(t, st.Close())
			files, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
			if err != nil || len(files) != 4 {
				t.Fatalf("%v, %v", files, err)
			}
			for _, i := range missing {
				check(t, os.Remove(files[i]))
			}
			st, _, err = recovery.Open(dir, recovery.Options{})
			check(t, err)
			state, err := st.LoadQueue(late)
			check(t, err)
			got, want := 0, each
			if missing[1] == 3 {
				want = 2 * each
			}
			for r := st.Reader(late, state.Cursor); ; {
				b, err := r.Next()
				if err != nil {
					break
				}
				for i := range b.Items {
					if b.Items[i].Seq >= state.Cursor && b.Items[i].Lost != nil && b.Items[i].Mask.Has(late) {
						got++
					}
				}
			}
			if check(t, st.Close()); got != want {
				t.Errorf("%d lost, want %d", got, want)
			}
		})
	}
}

// What rows need below every cursor is missed by fsck too.
func TestFsckMissesWhatRowsNeed(t *testing.T) {
	s := someLog(t, 1).copy(t)
	st, _, err := recovery.Open(s.dir, s.o)
	check(t, err)
	var rows []store.Row
	for seq := range uint64(9) {
		rows = append(rows, store.Row{Seq: seq + 1, State: store.RowRetry, Owes: true, Bytes: int64(len(s.bodies[seq+1])), Next: 1 << 40})
	}
	check(t, st.Commit(store.Change{QueueTime: 3, Queues: []store.QueueChange{{Number: wanted, Cursor: 10, Rows: rows}}}))
	check(t, st.Close())
	check(t, os.Remove(s.files(t)[0]))
	found, _, err := recovery.Check(s.dir, nil)
	if err != nil || len(found) != 1 || !strings.Contains(found[0].What, "seqs 1 to ") {
		t.Errorf("%v, %v", found, err)
	}
}

// A segment of which nothing checks, where one has to be, is a damaged one: its name is all that is left of it.
func TestAnEmptySegmentInItsPlaceIsDamaged(t *testing.T) {
	whole := someLog(t, 1)
	for i, path := range whole.files(t) {
		s := whole.copy(t)
		check(t, os.Truncate(filepath.Join(s.dir, "log", filepath.Base(path)), 0))
		v, err := s.salvage(t)
		if r := v.report; err != nil || len(r.Damaged) != 1 || len(r.Aside) > 0 || r.Lost == 0 || r.Lost != len(s.bodies)-v.delivered {
			t.Errorf("segment %d: %v, %+v", i, err, v)
		}
	}
}
