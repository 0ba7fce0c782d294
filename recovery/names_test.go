package recovery_test

import (
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
		"no log": {harm: func(s *logStore, f []string) { check(t, os.RemoveAll(filepath.Dir(f[0]))) }, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := whole.copy(t)
			c.harm(s, s.files(t))
			found, _, err := recovery.Check(s.dir, nil)
			if err != nil || len(found) == 0 || slices.ContainsFunc(found, func(f store.Finding) bool { return f.Refused }) {
				t.Errorf("fsck: %v, %v", found, err)
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
