package queue_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"holdfast/queue"
	"holdfast/store"
)

// A fate is one delivery as the model has it.
type fate struct {
	state    string // waiting, out, retry (due), parked (not due), ready (requeued), dead, done, purged
	was      string // before it was handed out
	attempts int
	owed     bool
	soft     bool // a requeued one that was held for a moment: that is not worth a commit
}

func (f fate) waits() bool { return f.state == "out" || f.free() || f.state == "parked" }

// free is what may be handed out.
func (f fate) free() bool { return f.state == "waiting" || f.state == "retry" || f.state == "ready" }

// A model is what a queue must do. Marks are written only when the model says so: then durable is what a crash goes
// back to.
type model struct {
	*rapid.T
	*bench
	ids     []uuid.UUID
	sizes   []int
	now     map[string][]fate // by sink, then by position in ids
	durable map[string][]fate
	paused  map[string]bool
	out     map[string][]queue.Delivery
	stale   map[string][]queue.Delivery // settled already
	order   map[string]queue.Order
}

var modelSinks = []string{"none", "strict", "small"}

func clone(all map[string][]fate) map[string][]fate {
	out := map[string][]fate{}
	for s, fs := range all {
		out[s] = slices.Clone(fs)
	}
	return out
}

// inDoubt is what a start makes of what was out.
func inDoubt(all map[string][]fate) map[string][]fate {
	out := clone(all)
	for _, fs := range out {
		for i := range fs {
			if fs[i].state == "out" {
				fs[i].state = fs[i].was
			}
			if fs[i].soft && fs[i].state == "retry" {
				fs[i].state, fs[i].soft = "ready", false
			}
		}
	}
	return out
}

func newModel(t *rapid.T, newDir func() string) *model {
	sinks := []queue.SinkOptions{none("none", 1000), {Name: "strict"}, none("small", 3)}
	b := &bench{tb: t, Options: lazily(sinks...), store: store.Options{SegmentBytes: 128 << 10}, dir: newDir(), newDir: newDir}
	b.Handover = 4 << 10
	b.start()
	m := &model{T: t, bench: b, now: map[string][]fate{}, durable: map[string][]fate{}, paused: map[string]bool{}}
	m.order = map[string]queue.Order{"none": queue.None, "strict": queue.Strict, "small": queue.None}
	m.lost()
	return m
}

// lost forgets what was out: the process that it was handed out by is gone.
func (m *model) lost() {
	m.out, m.stale = map[string][]queue.Delivery{}, map[string][]queue.Delivery{}
}

func (m *model) marked() { m.durable = inDoubt(m.now) }

func (m *model) sink() string { return rapid.SampledFrom(modelSinks).Draw(m.T, "sink") }

func (m *model) accept() {
	var r queue.Request
	for range rapid.IntRange(1, 5).Draw(m.T, "items") {
		n := rapid.SampledFrom([]int{0, 10, 1000, 8000}).Draw(m.T, "size")
		m.sizes = append(m.sizes, n)
		r.Items = append(r.Items, queue.Item{Body: make([]byte, n)})
	}
	a, err := m.request(r)
	m.ok(err)
	for _, rec := range a.Receipts {
		m.ids = append(m.ids, rec.ID)
		for _, s := range modelSinks {
			f := fate{state: "waiting", owed: true}
			m.now[s], m.durable[s] = append(m.now[s], f), append(m.durable[s], f)
		}
	}
}

// expect is what the sink is to be handed now, at most max.
func (m *model) expect(s string, max int) (want []int) {
	strict := m.order[s] == queue.Strict
	if m.paused[s] || strict && len(m.out[s]) > 0 {
		return nil
	}
	if s == "small" {
		max = min(max, 3-len(m.out[s]))
	}
	for i, f := range m.now[s] {
		if strict && f.state == "parked" || len(want) >= max {
			break
		}
		if f.free() {
			want = append(want, i)
		}
	}
	return want
}

func (m *model) hand() {
	s := m.sink()
	max := rapid.IntRange(1, 6).Draw(m.T, "max")
	want := m.expect(s, max)
	ds := m.poll(s, max)
	if len(ds) != len(want) {
		m.T.Fatalf("sink %s got %d deliveries, want %v of %+v", s, len(ds), want, m.now[s])
	}
	for n, i := range want {
		f := &m.now[s][i]
		if ds[n].ID != m.ids[i] || ds[n].Attempts != f.attempts || len(ds[n].Item.Body) != m.sizes[i] {
			m.T.Fatalf("sink %s got seq %d, attempts %d; want item %d: %+v", s, ds[n].Item.Seq, ds[n].Attempts, i, *f)
		}
		f.was, f.state = f.state, "out"
	}
	m.out[s] = append(m.out[s], ds...)
}

// draw takes one of what is out.
func (m *model) draw() (s string, d queue.Delivery, f *fate) {
	s = m.sink()
	if len(m.out[s]) == 0 {
		m.T.Skip("nothing is out")
	}
	n := rapid.IntRange(0, len(m.out[s])-1).Draw(m.T, "which")
	d = m.out[s][n]
	m.out[s] = slices.Delete(m.out[s], n, n+1)
	return s, d, &m.now[s][slices.Index(m.ids, d.ID)]
}

func (m *model) outcome() {
	s, d, f := m.draw()
	after := rapid.SampledFrom([]time.Duration{0, 0, time.Hour}).Draw(m.T, "after")
	o := queue.Outcome{Kind: rapid.SampledFrom([]queue.OutcomeKind{queue.Done, queue.Done, queue.Retry, queue.Hold, queue.Bury}).Draw(m.T, "kind"), After: after, Err: "no"}
	m.settle(s, o, d)
	m.stale[s] = append(m.stale[s], d)
	f.soft = o.Kind == queue.Hold && after == 0 && (f.was == "ready" || f.soft)
	f.state = "retry"
	if after > 0 {
		f.state = "parked"
	}
	switch o.Kind {
	case queue.Done:
		f.state, f.owed = "done", false
	case queue.Bury:
		f.state, f.owed = "dead", false
		f.attempts++
	case queue.Retry:
		f.attempts++
	}
}

func (m *model) giveBack() {
	s, d, f := m.draw()
	m.feed(s).Return(d)
	f.state = f.was
}

func (m *model) again() {
	s := m.sink()
	if len(m.stale[s]) == 0 {
		m.T.Skip("nothing was settled")
	}
	d := rapid.SampledFrom(m.stale[s]).Draw(m.T, "stale")
	m.settle(s, rapid.SampledFrom([]queue.Outcome{done, buried("late"), {Kind: queue.Retry}}).Draw(m.T, "late"), d)
}

func (m *model) decide() {
	f := queue.DeadFilter{Sink: m.sink()}
	purge := rapid.Bool().Draw(m.T, "purge")
	var chosen []int
	for i, ft := range m.now[f.Sink] {
		if ft.state == "dead" && rapid.Bool().Draw(m.T, "choose") {
			f.IDs = append(f.IDs, m.ids[i])
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == 0 {
		m.T.Skip("nothing is dead")
	}
	n := 0
	if purge {
		n = m.purge(f)
	} else {
		n = m.requeue(f)
	}
	if n != len(chosen) {
		m.T.Fatalf("%d were chosen, want %d", n, len(chosen))
	}
	for _, i := range chosen {
		ft := &m.now[f.Sink][i]
		ft.state, ft.attempts = "ready", 0
		if purge {
			ft.state = "purged"
		}
	}
	m.marked()
}

func (m *model) pause() {
	s := m.sink()
	if m.paused[s] = !m.paused[s]; m.paused[s] {
		m.ok(m.q.Pause(over2(), s))
	} else {
		m.ok(m.q.Resume(over2(), s))
	}
	m.marked()
}

func (m *model) check(t *rapid.T) {
	m.T = t
	for _, s := range modelSinks {
		var waiting, bytes, dead, deadBytes int64
		for i, f := range m.now[s] {
			if f.waits() {
				waiting, bytes = waiting+1, bytes+int64(m.sizes[i])
			}
			if f.state == "dead" {
				dead, deadBytes = dead+1, deadBytes+int64(m.sizes[i])
			}
		}
		st := m.status(s)
		equal(t, s, []int64{st.Waiting, st.WaitingBytes, st.Dead, st.DeadBytes, int64(st.InFlight)}, []int64{waiting, bytes, dead, deadBytes, int64(len(m.out[s]))})
		if st.Oldest.IsZero() != (waiting == 0) {
			t.Fatalf("%d wait, the oldest since %v", waiting, st.Oldest)
		}
	}
	if len(m.ids) > 0 {
		m.look(rapid.IntRange(0, len(m.ids)-1).Draw(t, "look"))
	}
}

var shown = map[string]string{"waiting": "waiting", "out": "in_flight", "retry": "retrying", "parked": "retrying", "ready": "waiting", "dead": "dead", "done": "done", "purged": "purged"}

func (m *model) look(i int) {
	s, err := m.q.State(m.ids[i])
	if errors.Is(err, queue.ErrReleased) {
		for _, name := range modelSinks {
			if f := m.now[name][i]; f.waits() || f.state == "dead" {
				m.T.Fatalf("item %d is released, and sink %s has it as %+v", i, name, f)
			}
		}
		return
	}
	m.ok(err)
	complete := true
	for _, p := range s.Sinks {
		f := m.now[p.Sink][i]
		complete = complete && !f.owed
		attempts := f.attempts
		if f.state == "done" || f.state == "purged" || p.Attempts == 0 && f.state == "out" {
			attempts = p.Attempts
		}
		if p.State != shown[f.state] || p.Attempts != attempts {
			m.T.Fatalf("item %d: %+v, want %+v", i, p, f)
		}
	}
	if s.Complete != complete {
		m.T.Fatalf("item %d: %+v, want complete %t", i, s, complete)
	}
}

// over2 bounds an operation.
func over2() context.Context {
	ctx, cancel := patience()
	context.AfterFunc(ctx, cancel)
	return ctx
}

// Guarantees A1, B1, B2, C6, D1, D4, E1, E2, E5, G1, G7, in part: whatever is done in whatever order, with crashes
// between, the queue is what a map says.
func TestQueueIsWhatTheModelSays(t *testing.T) {
	checks := "200"
	if testing.Short() {
		checks = "20"
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.shrinktime": "10s", "rapid.nofailfile": "true"} {
		if f := flag.Lookup(name); f.Value.String() == f.DefValue {
			if err := f.Value.Set(value); err != nil {
				t.Fatal(err)
			}
		}
	}
	root, dirs := t.TempDir(), 0
	newDir := func() string {
		dirs++
		dir := fmt.Sprintf("%s/%d", root, dirs)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, newDir)
		defer func() { _ = m.halt(); _ = m.st.Close() }()
		with := func(f func()) func(*rapid.T) { return func(t *rapid.T) { m.T = t; f() } }
		t.Repeat(map[string]func(*rapid.T){
			"put": with(m.accept), "put more": with(m.accept),
			"hand": with(m.hand), "hand more": with(m.hand), "hand again": with(m.hand),
			"settle": with(m.outcome), "settle more": with(m.outcome), "settle again": with(m.outcome),
			"return": with(m.giveBack), "settle twice": with(m.again), "decide": with(m.decide), "pause": with(m.pause),
			"mark": with(func() { m.flush(); m.marked() }),
			"restart": with(func() {
				m.now = inDoubt(m.now)
				m.durable = clone(m.now)
				m.lost()
				m.restart()
			}),
			"crash": with(func() {
				m.now = clone(m.durable)
				m.lost()
				m.crash()
			}),
			"": m.check,
		})
		m.end()
	})
}

// end delivers all that may be delivered, and looks at every item once more.
func (m *model) end() {
	for _, s := range slices.Sorted(maps.Keys(m.paused)) {
		if m.paused[s] {
			m.ok(m.q.Resume(over2(), s))
		}
	}
	m.now = clone(inDoubt(m.now))
	m.lost()
	m.restart()
	for _, s := range modelSinks {
		m.drain(s)
		blocked := false
		for i := range m.now[s] {
			f := &m.now[s][i]
			blocked = blocked || m.order[s] == queue.Strict && f.state == "parked"
			if f.free() && !blocked {
				f.state, f.owed = "done", false
			}
		}
	}
	for i := range m.ids {
		m.look(i)
	}
}
