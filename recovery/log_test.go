package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"holdfast/recovery"
	"holdfast/store"
)

// A logStore is a directory of some MiB of log, and what was put into it.
type logStore struct {
	dir    string
	o      recovery.Options
	bodies map[uint64]string
	next   uint64
}

const wanted = uint32(1) // the number of the queue that takes everything

// fillLog makes a store of several segments, of which all but the newest are sealed, and closes it, or leaves it as a
// kill does.
func fillLog(t testing.TB, rnd *rand.Rand, o store.Options, size int, clean bool) *logStore {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live")
	s := &logStore{dir: live, o: recovery.Options{Store: o}, bodies: map[uint64]string{}}
	st, _, err := recovery.Open(live, s.o)
	check(t, err)
	sink := store.Sink{Name: "a", State: store.Active, Queues: []store.SinkQueue{{Number: wanted, Live: true}}}
	check(t, st.Commit(store.Change{QueueTime: 1, Sinks: []store.Sink{sink}, Queues: []store.QueueChange{{Number: wanted, Cursor: 1}}}))
	mask := &store.Mask{To: []uint32{wanted}}
	for n := 0; n < size; {
		var items []store.Item
		for i := range 1 + rnd.IntN(60) {
			seq := st.Next() + uint64(i)
			noise := make([]byte, 100+rnd.IntN(200))
			for j := range noise {
				noise[j] = byte(rnd.Uint32())
			}
			body := fmt.Sprintf("item %d: %x", seq, noise)
			s.bodies[seq] = body
			n += len(body)
			items = append(items, store.Item{Seq: seq, Time: 1_000_000 + int64(seq), Mask: mask, Body: []byte(body)})
		}
		_, err := st.Append(items, 5, nil)
		check(t, err)
		check(t, st.Seal())
	}
	check(t, st.Commit(store.Change{QueueTime: 2}))
	s.next = st.Next()
	if !clean {
		s.dir = filepath.Join(filepath.Dir(live), "killed")
		check(t, os.CopyFS(s.dir, os.DirFS(live)))
	}
	check(t, st.Close())
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copy is the same store elsewhere.
func (s *logStore) copy(t testing.TB) *logStore {
	t.Helper()
	c := *s
	c.dir = filepath.Join(t.TempDir(), "data")
	check(t, os.CopyFS(c.dir, os.DirFS(s.dir)))
	return &c
}

func (s *logStore) files(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, "log", "*.log"))
	check(t, err)
	return paths
}

// A saving is what a start and a reading of everything gave.
type saving struct {
	report                 recovery.Report // with what was met while reading
	delivered, lost, wrong int
	next                   uint64
}

// salvage opens the store, reads all of it, and compares that with what was put.
func (s *logStore) salvage(t testing.TB) (v saving, err error) {
	t.Helper()
	st, r, err := recovery.Open(s.dir, s.o)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	seen := map[uint64]bool{}
	for reader := st.Reader(wanted, 0); ; {
		b, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return v, err
		}
		for i := range b.Items {
			it := &b.Items[i]
			switch {
			case seen[it.Seq]:
				return v, fmt.Errorf("seq %d comes twice", it.Seq)
			case it.Lost != nil:
				v.lost++
			case s.bodies[it.Seq] == string(it.Body):
				v.delivered++
			default:
				v.wrong++
			}
			seen[it.Seq] = true
		}
	}
	v.report, v.next = r.With(st.Healed()), st.Next()
	state, err := st.LoadQueue(wanted)
	if err != nil {
		return v, err
	}
	if waiting := st.Accepted(wanted).Sub(state.Counts.Settled).Add(state.Counts.Requeued); waiting.Items != int64(v.delivered+v.lost+v.wrong) {
		return v, fmt.Errorf("%d wait, %d delivered, %d lost", waiting.Items, v.delivered, v.lost)
	}
	return v, nil
}

// A harm is what happens to the bytes of a store's log; it returns the files that it changed.
type harm func(t testing.TB, rnd *rand.Rand, s *logStore) []string

// atPage changes one page of one file, where it has something.
func atPage(change func(rnd *rand.Rand, file []byte, page int)) harm {
	return func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
		paths := s.files(t)
		path := paths[rnd.IntN(len(paths))]
		file, err := os.ReadFile(path)
		check(t, err)
		used := len(bytes.TrimRight(file, "\x00"))
		change(rnd, file, 4096*rnd.IntN((used+4095)/4096))
		check(t, os.WriteFile(path, file, 0o600))
		return []string{path}
	}
}

// onePage are the ways in which one page is damaged.
var onePage = map[string]harm{
	"zeroed": atPage(func(_ *rand.Rand, file []byte, page int) { clear(file[page:min(page+4096, len(file))]) }),
	"garbage": atPage(func(rnd *rand.Rand, file []byte, page int) {
		for i := page; i < min(page+4096, len(file)); i++ {
			file[i] = byte(rnd.Uint32())
		}
	}),
	"a bit": atPage(func(rnd *rand.Rand, file []byte, page int) {
		file[min(page+rnd.IntN(4096), len(file)-1)] ^= 1 << rnd.IntN(8)
	}),
	"written elsewhere": atPage(func(rnd *rand.Rand, file []byte, page int) {
		other := 4096 * rnd.IntN(len(file)/4096)
		copy(file[page:min(page+4096, len(file))], bytes.Clone(file[other:other+4096]))
	}),
}

// Guarantee G6, in part: for any page of the log that is damaged, in sealed segments and in the newest, the service starts,
// delivers nothing wrong and at least 99 of 100 items, tells what is lost by number, keeps the originals, and is in order
// at the next start.
func TestADamagedPageOfTheLogCostsFewItems(t *testing.T) {
	for _, o := range []store.Options{
		{SegmentBytes: 1 << 20, BlockBytes: 4 << 10},
		{SegmentBytes: 1 << 20, BlockBytes: 64 << 10},
		{SegmentBytes: 16 << 20},
		{SegmentBytes: 1 << 20, BlockBytes: 64 << 10, Compress: store.Zstd},
	} {
		for _, clean := range []bool{true, false} {
			whole := fillLog(t, rand.New(rand.NewPCG(1, 2)), o, 4<<20, clean)
			for name, harm := range onePage {
				t.Run(fmt.Sprintf("%d-%d-%d %s, clean %v", o.SegmentBytes>>10, o.BlockBytes>>10, o.Compress, name, clean), func(t *testing.T) {
					for seed := range uint64(cases(4)) {
						healsFrom(t, whole, harm, seed, 99)
					}
				})
			}
		}
	}
}

// cases is how many seeds a test tries: HOLDFAST_LONG multiplies them by 25, HOLDFAST_SEED is the first.
func cases(n int) int {
	if os.Getenv("HOLDFAST_LONG") != "" {
		return 25 * n
	}
	return n
}

// healsFrom harms a copy of a store, and expects of it what G6 promises; at least percent of the items are delivered.
func healsFrom(t *testing.T, whole *logStore, harm harm, seed uint64, percent int) saving {
	t.Helper()
	if first := os.Getenv("HOLDFAST_SEED"); first != "" {
		n, err := strconv.ParseUint(first, 10, 64)
		check(t, err)
		seed += n
	}
	again := fmt.Sprintf("seed %d; again: HOLDFAST_SEED=%d go test ./recovery -run '%s'", seed, seed, t.Name())
	s := whole.copy(t)
	before := map[string][]byte{}
	for _, path := range s.files(t) {
		before[path], _ = os.ReadFile(path)
	}
	changed := harm(t, rand.New(rand.NewPCG(seed, 5)), s)
	harmed := map[string][]byte{}
	for _, path := range changed {
		harmed[path], _ = os.ReadFile(path)
	}
	v, err := s.salvage(t)
	if err != nil {
		t.Fatalf("%v; %s", err, again)
	}
	if v.wrong > 0 {
		t.Errorf("%d wrong payloads; %s", v.wrong, again)
	}
	if put := len(s.bodies); 100*v.delivered < percent*put || put-v.delivered != v.report.Lost || v.lost != v.report.Lost {
		t.Errorf("%d of %d delivered, %d lost, told: %+v; %s", v.delivered, put, v.lost, v.report, again)
	}
	if v.next < s.next {
		t.Errorf("seq %d is given again; %s", v.next, again)
	}
	if v.report.Lost > 0 {
		for path, bytesOf := range harmed {
			if !keptSomewhere(t, s.dir, path, bytesOf) && !bytes.Equal(before[path], bytesOf) {
				t.Errorf("the original of %s is not in quarantine; %s", path, again)
			}
		}
	}
	second, err := s.salvage(t)
	if err != nil || second.wrong > 0 || second.delivered != v.delivered || second.lost != v.lost || second.report.Lost > 0 || second.report.Quarantine != "" || len(second.report.Damaged) > 0 {
		t.Errorf("the next start: %v, %+v, first %+v; %s", err, second, v, again)
	}
	return v
}

// keptSomewhere reports whether a file with these bytes, and that name, is in quarantine.
func keptSomewhere(t testing.TB, dir, path string, want []byte) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "quarantine", "*", filepath.Base(path)))
	check(t, err)
	for _, p := range paths {
		got, err := os.ReadFile(p)
		check(t, err)
		if bytes.Equal(got, want) {
			return true
		}
	}
	return false
}

// Guarantee G6, in part: what takes more than a page costs what was in it, and no more.
func TestLargerDamageOfTheLogIsOvercome(t *testing.T) {
	for _, clean := range []bool{true, false} {
		whole := fillLog(t, rand.New(rand.NewPCG(1, 2)), store.Options{SegmentBytes: 1 << 20, BlockBytes: 16 << 10}, 4<<20, clean)
		n := len(whole.files(t))
		for name, c := range map[string]struct {
			harm    harm
			percent int
		}{
			"every header destroyed": {func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
				for _, path := range s.files(t) {
					editFile(t, path, func(b []byte) []byte { clear(b[:512]); return b })
				}
				return s.files(t)
			}, 100},
			"one header destroyed": {func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
				path := s.files(t)[rnd.IntN(n)]
				editFile(t, path, func(b []byte) []byte { b[rnd.IntN(512)] ^= 0x55; return b })
				return []string{path}
			}, 100},
			"a segment truncated": {func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
				path := s.files(t)[rnd.IntN(n)]
				editFile(t, path, func(b []byte) []byte { return b[:rnd.IntN(len(b))] })
				return []string{path}
			}, 70},
			"a segment missing": {func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
				check(t, os.Remove(s.files(t)[rnd.IntN(n)]))
				return nil
			}, 70},
			"every segment missing": {func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
				for _, path := range s.files(t) {
					check(t, os.Remove(path))
				}
				return nil
			}, 0},
			"the footers destroyed": {func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
				for _, path := range s.files(t)[:n-1] {
					editFile(t, path, func(b []byte) []byte { b[len(b)-20-rnd.IntN(20)] ^= 1; return b })
				}
				return s.files(t)
			}, 100},
			"swapped": {func(t testing.TB, rnd *rand.Rand, s *logStore) []string {
				path := s.files(t)[rnd.IntN(n-1)]
				editFile(t, path, func(b []byte) []byte {
					x, y := 512*(1+rnd.IntN(500)), 512*(600+rnd.IntN(500))
					was := bytes.Clone(b[x : x+16<<10])
					copy(b[x:x+16<<10], b[y:y+16<<10])
					copy(b[y:], was)
					return b
				})
				return []string{path}
			}, 95},
			"ten pages of garbage": {func(t testing.TB, rnd *rand.Rand, s *logStore) (paths []string) {
				for range 10 {
					paths = append(paths, onePage["garbage"](t, rnd, s)...)
				}
				return paths
			}, 90},
		} {
			t.Run(fmt.Sprintf("%s, clean %v", name, clean), func(t *testing.T) {
				for seed := range uint64(cases(3)) {
					healsFrom(t, whole, c.harm, seed, c.percent)
				}
			})
		}
	}
}

func editFile(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, change(b), 0o600))
}

// Guarantees G1, G6, in part: a start that dies while it heals, at any of its steps, is followed by one that heals the
// same; what was told is not told again.
func TestAHealingThatIsKilledIsRepeated(t *testing.T) {
	for _, clean := range []bool{true, false} {
		whole := fillLog(t, rand.New(rand.NewPCG(3, 2)), store.Options{SegmentBytes: 1 << 20, BlockBytes: 4 << 10}, 2<<20, clean)
		for seed := range uint64(cases(4)) {
			rnd := rand.New(rand.NewPCG(seed, 9))
			s := whole.copy(t)
			paths := s.files(t)
			editFile(t, paths[len(paths)-1], func(b []byte) []byte { // two places of the newest segment, and a header
				used := len(bytes.TrimRight(b, "\x00"))
				clear(b[512+rnd.IntN(used/2):][:4096])
				clear(b[512+rnd.IntN(used/2):][:4096])
				return b
			})
			editFile(t, paths[0], func(b []byte) []byte { clear(b[:100]); return b })
			reference := s.copy(t)
			want, err := reference.salvage(t)
			check(t, err)
			if want.report.Lost == 0 {
				t.Fatal("nothing is lost")
			}
			for i, image := range s.healing(t) {
				got, err := image.salvage(t)
				if err != nil || got.delivered != want.delivered || got.lost != want.lost || got.wrong > 0 || got.report.Lost != 0 && got.report.Lost != want.report.Lost {
					t.Errorf("seed %d, clean %v, killed at step %d: %v, %+v, want %+v", seed, clean, i, err, got, want)
				}
				second, err := image.salvage(t)
				if err != nil || second.lost != want.lost || second.report.Lost != 0 || len(second.report.Damaged) > 0 {
					t.Errorf("seed %d, clean %v, killed at step %d, then: %v, %+v", seed, clean, i, err, second)
				}
			}
		}
	}
}

// healing opens the store, and returns what a kill would have left at each step of that.
func (s *logStore) healing(t testing.TB) (images []*logStore) {
	t.Helper()
	o := s.o.Store
	o.Quarantine = func(path string, _ bool) error {
		images = append(images, s.copy(t))
		to := filepath.Join(s.dir, "quarantine", "20260101T000000.000000000Z")
		b, err := os.ReadFile(path)
		err = errors.Join(err, os.MkdirAll(to, 0o700), os.WriteFile(filepath.Join(to, filepath.Base(path)), b, 0o600))
		images = append(images, s.copy(t))
		return err
	}
	o.Healed = func(store.Healing) { images = append(images, s.copy(t)) }
	d, err := store.LockDir(s.dir)
	check(t, err)
	st, err := store.Open(d, o)
	check(t, err)
	images = append(images, s.copy(t))
	if st.Tail().Unclean {
		check(t, st.RewriteTail())
	}
	images = append(images, s.copy(t))
	check(t, st.Close())
	return images
}

// The control: of a store whose book is wrong the checker says so, and of one that keeps the originals of another file.
func TestTheSavingIsJudgedByTheBook(t *testing.T) {
	s := fillLog(t, rand.New(rand.NewPCG(4, 2)), store.Options{SegmentBytes: 1 << 20}, 1<<19, true)
	s.bodies[7] += "!"
	v, err := s.salvage(t)
	if err != nil || v.wrong != 1 || v.delivered != len(s.bodies)-1 {
		t.Errorf("%v, %+v", err, v)
	}
	delete(s.bodies, 7)
	if v, err := s.salvage(t); err != nil || v.wrong != 1 {
		t.Errorf("an item that nobody put: %v, %+v", err, v)
	}
	if keptSomewhere(t, s.dir, s.files(t)[0], []byte("other")) {
		t.Error("an original that is not there is found")
	}
	t.Log("control: a wrong book is told")
}

// Guarantee G6, in part: the original outlives its segment, which is neither sealed nor cut.
func TestTheOriginalOutlivesItsSegment(t *testing.T) {
	s := fillLog(t, rand.New(rand.NewPCG(5, 2)), store.Options{SegmentBytes: 1 << 20, BlockBytes: 4 << 10}, 3<<20, true)
	path := s.files(t)[0]
	editFile(t, path, func(b []byte) []byte { clear(b[70_000:74_000]); b[len(b)-1] ^= 1; return b }) // its footer, too
	harmed, err := os.ReadFile(path)
	check(t, err)
	_, err = s.salvage(t)
	check(t, err)
	st, _, err := recovery.Open(s.dir, s.o)
	check(t, err)
	defer func() { check(t, st.Close()) }()
	check(t, st.Seal())
	check(t, st.Commit(store.Change{Queues: []store.QueueChange{{Number: wanted, Cursor: st.Next()}}}))
	_, err = st.Release(st.Free())
	check(t, err)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the segment is still there: %v", err)
	}
	if !keptSomewhere(t, s.dir, path, harmed) {
		t.Error("the original is not in quarantine as it was")
	}
}

// Guarantee G7, in part: what waits is counted right after queues.db was made anew and no longer knew what had been lost.
func TestWhatWaitsIsRightAfterALossWasForgotten(t *testing.T) {
	for seed := range uint64(cases(3)) {
		s := fillLog(t, rand.New(rand.NewPCG(seed, 2)), store.Options{SegmentBytes: 1 << 20, BlockBytes: 4 << 10}, 1<<20, false).copy(t)
		editFile(t, s.files(t)[0], func(b []byte) []byte { clear(b[40_000:44_096]); return b })
		first, err := s.salvage(t)
		if err != nil || first.lost == 0 {
			t.Fatalf("seed %d: %v, %+v", seed, err, first)
		}
		check(t, os.Remove(filepath.Join(s.dir, "queues.db")))
		second, err := s.salvage(t)
		if err != nil || second.lost != first.lost || second.delivered != first.delivered || second.wrong > 0 {
			t.Errorf("seed %d: %v, %+v, before %+v", seed, err, second, first)
		}
	}
}
