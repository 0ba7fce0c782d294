package recovery_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast/recovery"
	"holdfast/store"
)

// seedOf is what the stores of these tests are made of.
const seedOf = 20261125

// A spoiler damages the content of queues.db.
type spoiler func(r *rand.Rand, content []byte, page int) []byte

const pageBytes = 4096

func pageOf(content []byte, page int) []byte {
	return content[page*pageBytes : min((page+1)*pageBytes, len(content))]
}

var spoilers = map[string]spoiler{
	"zeroed": func(_ *rand.Rand, c []byte, page int) []byte { clear(pageOf(c, page)); return c },
	"one bit": func(r *rand.Rand, c []byte, page int) []byte {
		p := pageOf(c, page)
		p[r.IntN(len(p))] ^= 1 << r.IntN(8)
		return c
	},
	"a bit of its header": func(r *rand.Rand, c []byte, page int) []byte {
		pageOf(c, page)[r.IntN(64)] ^= 1 << r.IntN(8)
		return c
	},
	"garbage": func(r *rand.Rand, c []byte, page int) []byte {
		p := pageOf(c, page)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return c
	},
	"swapped": func(r *rand.Rand, c []byte, page int) []byte {
		a, b := pageOf(c, page), pageOf(c, r.IntN(len(c)/pageBytes))
		x := bytes.Clone(a)
		copy(a, b)
		copy(b, x)
		return c
	},
}

// damaged is a copy of the directory with another queues.db; nil: without one.
func (l *ledger) damaged(content []byte) string {
	l.Helper()
	image := l.killed()
	path := image.path("queues.db")
	if content == nil {
		if err := os.Remove(path); err != nil {
			l.Fatal(err)
		}
	} else if err := os.WriteFile(path, content, 0o600); err != nil {
		l.Fatal(err)
	}
	return image.dir
}

// mustHeal heals a directory and demands that nothing is lost but what may be.
func (l *ledger) mustHeal(what string, content []byte, mayLose int) verdict {
	l.Helper()
	dir, before := l.damaged(content), l.Failed()
	defer os.RemoveAll(filepath.Dir(dir))
	defer func() {
		if l.Failed() && !before { // bbolt does not place its pages by any seed
			if err := os.WriteFile(filepath.Join(l.ArtifactDir(), "queues.db"), content, 0o600); err == nil {
				l.Logf("%s: queues.db is kept with -artifacts", what)
			}
		}
	}()
	v, r, err := l.heal(dir)
	if err != nil {
		l.Errorf("%s: %v", what, err)
		return v
	}
	told := r.Queues != nil && (r.Queues.Lost > 0 || r.Queues.Missing > 0 || r.Queues.Unknown)
	if v.lost > mayLose || v.wrong > 0 || v.lost > 0 && !told || v.asleep > 0 && !r.RolledBack {
		l.Errorf("%s: %d of %d lost (%d told), %d asleep, %d wrong, %d repeated: %v; report %+v", what, v.lost, v.owed, r.Lost, v.asleep, v.wrong,
			v.repeated, v.notes[:min(len(v.notes), 5)], r.Queues)
	}
	if r.Queues != nil && content != nil {
		kept, err := os.ReadFile(filepath.Join(r.Quarantine, "queues.db"))
		if err != nil || !bytes.Equal(kept, content) {
			l.Errorf("%s: what is in quarantine is not the original: %v", what, err)
		}
	}
	if again, r, err := l.heal(dir); err != nil || r.Queues != nil || again.lost != v.lost || again.wrong > 0 {
		l.Errorf("%s: the next start: %+v, %v, %v", what, r, err, again.notes)
	}
	return v
}

// lived is a store in which everything has happened.
func lived(t *testing.T, rounds int) (*ledger, []byte) {
	l := newLedger(t, seedOf, 3, 200)
	l.live(rounds, 15)
	return l, l.file(l.path("queues.db"))
}

// The record of the test and the store agree where nothing is damaged.
func TestRecordAgreesWithAStoreThatIsWhole(t *testing.T) {
	l, content := lived(t, 40)
	if v := l.mustHeal("nothing", content, 0); v.repeated > 0 || v.owed < 100 {
		t.Errorf("%+v", v)
	}
}

// The control: of a store of which the record says something else the comparison tells.
func TestWrongRecordIsTold(t *testing.T) {
	l, _ := lived(t, 40)
	q, other := l.queues[0], l.queues[1]
	q.stream[l.st.Next()] = true // never put: it is lost
	for _, at := range []*account{q, other} {
		settled := slices.Min(slices.Collect(maps.Keys(at.stream)))
		delete(at.stream, settled)
		at.settled[settled] = true // and waits: it is repeated
	}
	_, seq := l.aBody()
	l.bodies[seq] += "!"
	if v := l.compare(l.st); v.lost != 1 || v.repeated != 2 || v.wrong == 0 {
		t.Errorf("%+v", v)
	}
}

// Guarantee G6, in part: whatever page of queues.db is damaged, the service starts, and delivers what is owed.
func TestDamagedPageOfTheQueuesIsHealed(t *testing.T) {
	l, content := lived(t, 40)
	for name, spoil := range spoilers {
		t.Run(name, func(t *testing.T) {
			r, repeated, lost := rand.New(rand.NewPCG(seedOf, uint64(len(name)))), 0, 0
			step := 1
			if name != "zeroed" && name != "swapped" {
				step = 2
			}
			for page := r.IntN(step); page < len(content)/pageBytes; page += step {
				v := l.mustHeal(fmt.Sprintf("page %d %s, seed %d", page, name, seedOf), spoil(r, bytes.Clone(content), page), l.outside())
				repeated, lost = repeated+v.repeated, lost+v.lost
			}
			t.Logf("%d pages: %d lost, %d repeated", len(content)/pageBytes, lost, repeated)
		})
	}
}

// Guarantee G6, in part: both meta pages damaged, the file gone, empty, or not ours.
func TestQueuesThatAreGoneAreMadeAnew(t *testing.T) {
	l, content := lived(t, 40)
	garbage := make([]byte, 50_000)
	for i := range garbage {
		garbage[i] = byte(i * i >> 3)
	}
	metas := bytes.Clone(content)
	clear(metas[:2*pageBytes])
	if v := l.mustHeal("both meta pages", metas, 0); v.repeated > 0 {
		t.Errorf("both meta pages: %d repeated", v.repeated)
	}
	bodies := l.outside()
	for name, c := range map[string][]byte{"missing": nil, "empty": {}, "garbage": garbage} {
		l.mustHeal(name, c, bodies) // the bodies outside the log are gone with it
	}
}

// outside counts the deliveries that are owed, or dead, of items that no segment has.
func (l *ledger) outside() (n int) {
	segments := l.st.Segments()
	for _, q := range l.queues {
		for seq := range q.rows {
			if !slices.ContainsFunc(segments, func(g store.Segment) bool { return g.First <= seq && seq < g.End }) {
				n++
			}
		}
	}
	return n
}

// Guarantee G6, in part.
func TestTruncatedQueuesAreHealed(t *testing.T) {
	l, content := lived(t, 12)
	step := 512
	if testing.Short() {
		step = 4096 + 512
	}
	for n := 0; n < len(content); n += step {
		l.mustHeal(fmt.Sprintf("cut at %d, seed %d", n, seedOf), content[:n:n], l.outside())
	}
}

// Guarantee G6, in part: several pages at once, the meta pages among them.
func TestSeveralDamagedPagesOfTheQueuesAreHealed(t *testing.T) {
	l, content := lived(t, 40)
	r := rand.New(rand.NewPCG(seedOf, 3))
	names := slices.Sorted(maps.Keys(spoilers))
	for i := range 40 {
		c := bytes.Clone(content)
		what := fmt.Sprintf("case %d, seed %d:", i, seedOf)
		for range 2 + r.IntN(3) {
			page, name := r.IntN(len(c)/pageBytes), names[r.IntN(len(names))]
			if r.IntN(4) == 0 {
				page = r.IntN(2)
			}
			c = spoilers[name](r, c, page)
			what += fmt.Sprintf(" page %d %s", page, name)
		}
		l.mustHeal(what, c, l.outside())
	}
}

// Guarantee G6, in part: of a store of 4 MiB and more at least 99 % of what is in its rows is saved, whatever page is
// damaged.
func TestNearlyAllBodiesOfABigStoreAreSaved(t *testing.T) {
	l := newLedger(t, seedOf, 2, 900)
	l.live(20, 15)
	for range 30 {
		l.stock(200)
	}
	content := l.file(l.path("queues.db"))
	if len(content) < 4<<20 {
		t.Fatalf("%d bytes", len(content))
	}
	bodies := l.outside()
	r := rand.New(rand.NewPCG(seedOf, 4))
	for range 12 {
		page := r.IntN(len(content) / pageBytes)
		v := l.mustHeal(fmt.Sprintf("page %d zeroed, seed %d", page, seedOf), spoilers["zeroed"](r, bytes.Clone(content), page), bodies)
		if v.lost*100 > v.owed {
			t.Errorf("page %d zeroed: %d of %d are lost", page, v.lost, v.owed)
		}
	}
	t.Logf("%d bytes, %d deliveries of items outside the log", len(content), bodies)
}

// Guarantee G6, in part: the original is kept whole beyond the bound of quarantine too: a name takes no room.
func TestFullQuarantineKeepsTheOriginal(t *testing.T) {
	l, content := lived(t, 20)
	clear(content[:2*pageBytes])
	content[3*pageBytes]++
	dir := l.damaged(content)
	o := small
	o.QuarantineBytes = 1
	st, r, err := recovery.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	kept, err := os.ReadFile(filepath.Join(r.Quarantine, "queues.db"))
	if err != nil || !bytes.Equal(kept, content) {
		t.Errorf("%v, %d bytes of %d", err, len(kept), len(content))
	}
}

// Guarantee G6, in part: a body that is found to be damaged while the queue runs is healed by the next start.
func TestBodyThatIsFoundDamagedLaterIsHealedByTheNextStart(t *testing.T) {
	l, _ := lived(t, 40)
	if err := l.st.Close(); err != nil {
		t.Fatal(err)
	}
	l.open()
	number, seq := l.aBody()
	if err := l.st.Close(); err != nil {
		t.Fatal(err)
	}
	content := l.file(l.path("queues.db"))
	for from := 0; ; { // every version of it
		at := bytes.Index(content[from:], []byte(l.bodies[seq]))
		if at < 0 {
			break
		}
		from += at + 5
		content[from] ^= 1
	}
	if err := os.WriteFile(l.path("queues.db"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := l.open(); r.Queues != nil {
		t.Fatalf("a start in order reads the bodies: %+v", r.Queues)
	}
	if _, err := l.st.Item(number, seq); err == nil {
		t.Fatal("the damaged body was handed out")
	}
	if err := l.st.Close(); err != nil {
		t.Fatal(err)
	}
	if r := l.open(); r.Queues == nil || r.Queues.Missing != 1 || r.Queues.Lost == 0 {
		t.Errorf("%+v", r.Queues)
	}
	if reason, gone, err := l.st.Gone(number, seq); err != nil || !gone || reason != store.GoneLost {
		t.Errorf("%v, %v, %v", reason, gone, err)
	}
	if v := l.compare(l.st); v.wrong > 0 || v.repeated > 0 || v.lost > 2 {
		t.Errorf("%+v", v)
	}
}

// aBody is a delivery whose item is in no segment.
func (l *ledger) aBody() (number uint32, seq uint64) {
	l.Helper()
	for _, q := range l.queues {
		for _, seq := range slices.Sorted(maps.Keys(q.rows)) {
			if seq < l.st.Oldest() {
				return q.number, seq
			}
		}
	}
	l.Fatal("there is none")
	return 0, 0
}

// Guarantee G6, in part: also where no older versions of what is damaged are on free pages.
func TestDamagedPageOfCompactedQueuesIsHealed(t *testing.T) {
	l, _ := lived(t, 40)
	if err := l.st.Compact(); err != nil {
		t.Fatal(err)
	}
	content := l.file(l.path("queues.db"))
	r := rand.New(rand.NewPCG(seedOf, 5))
	for page := range len(content) / pageBytes {
		for name, spoil := range map[string]spoiler{"zeroed": spoilers["zeroed"], "swapped": spoilers["swapped"]} {
			l.mustHeal(fmt.Sprintf("page %d %s, seed %d", page, name, seedOf), spoil(r, bytes.Clone(content), page), l.outside())
		}
	}
}
