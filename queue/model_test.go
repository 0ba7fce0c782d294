package queue_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"holdfast/queue"
	"holdfast/store"
)

// A fate is one delivery as the model has it.
type fate struct {
	state    string // waiting, early (not before), out, retry (due), parked (not due), ready (requeued), dead, done, purged, dropped, expired, absent
	was      string // before it was handed out
	attempts int
	owed     bool
	soft     bool // a requeued one that was held for a moment: that is not worth a commit
	late     bool // it does not go by seq in its key: it was requeued, or was not due
}

func (f fate) waits() bool {
	return f.state == "out" || f.free() || f.state == "parked" || f.state == "early"
}

// free is what may be handed out.
func (f fate) free() bool { return f.state == "waiting" || f.state == "retry" || f.state == "ready" }

// An item is what the model knows of one, the same for all sinks.
type item struct {
	id   uuid.UUID
	size int
	key  string
	over bool // its time to live is
	ttl  bool

	to    string // which sinks want it
	named string // its idempotency key
	at    time.Time
	start fate
}

// A model is what a queue must do. Marks are written only when the model says so: then durable is what a crash goes
// back to.
type model struct {
	*rapid.T
	*bench
	items   []item
	now     map[string][]fate // by sink, then by position in items
	durable map[string][]fate
	paused  map[string]bool
	names   []string // of the sinks
	routed  bool     // they want some items only
	gone    bool     // the sink extra is not configured
	extra   queue.SinkOptions
	keys    int    // idempotency keys given
	disk    string // a small one of its own; empty: there is none
	leave   func() // lets it be free again; nil: it is
	out     map[string][]queue.Delivery
	stale   map[string][]queue.Delivery // settled already
	order   map[string]queue.Order

	mu     sync.Mutex
	acked  map[uuid.UUID]bool // guarded by mu
	killed bool               // guarded by mu; what the process tells now it would not have told
}

// modelBound is of the sinks drop and bury: as many as a request may have.
const modelBound = 5

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

func newModel(t *rapid.T, newDir func() string, disk string) *model {
	m := &model{T: t, disk: disk, routed: rapid.Bool().Draw(t, "routed"), now: map[string][]fate{}, durable: map[string][]fate{}, paused: map[string]bool{}, order: map[string]queue.Order{}, acked: map[uuid.UUID]bool{}}
	sinks := []queue.SinkOptions{none("none", 1000), {Name: "strict"}, none("small", 3), byKey("key", 4),
		evicting("drop", modelBound, queue.DropOldest), evicting("bury", modelBound, queue.BuryOldest), none("extra", 1000)}
	for n := range sinks {
		m.names, m.order[sinks[n].Name] = append(m.names, sinks[n].Name), sinks[n].Order
		if m.routed {
			sinks[n].Match = func(a store.Attrs) bool { return wanted(a.Get("to"), n) }
		}
	}
	b := &bench{tb: t, Options: lazily(sinks...), store: store.Options{SegmentBytes: 128 << 10}, dir: newDir(), newDir: newDir}
	b.Handover = 4 << 10
	b.Retain.Bytes = rapid.SampledFrom([]int64{0, 1, 200 << 10, 1 << 40}).Draw(t, "retain")
	b.OnAck = func(ids []uuid.UUID) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, id := range ids {
			m.acked[id] = m.acked[id] || !m.killed
		}
	}
	b.start()
	m.bench = b
	m.lost()
	return m
}

// dead says whether what the process tells from here on comes after its death.
func (m *model) dead(is bool) {
	m.mu.Lock()
	m.killed = is
	m.mu.Unlock()
}

// lost forgets what was out: the process that it was handed out by is gone.
func (m *model) lost() {
	m.out, m.stale = map[string][]queue.Delivery{}, map[string][]queue.Delivery{}
}

func (m *model) marked() { m.durable = inDoubt(m.now) }

func (m *model) sink() string {
	return rapid.SampledFrom(m.names[:len(m.names)-btoi(m.gone)]).Draw(m.T, "sink")
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// hour is the unit of all times in the model.
const hour = time.Hour

func (m *model) accept() {
	var r queue.Request
	var items []item
	n := rapid.IntRange(1, modelBound).Draw(m.T, "items")
	for range n {
		it, q := m.drawItem(n == 1)
		r.Items, items = append(r.Items, q), append(items, it)
	}
	victims := m.victims(items)
	a, err := m.request(r)
	if m.refused(err) {
		for _, v := range victims { // they may have ended before the disk was found to be full
			if p := m.state(m.items[v.item].id, v.sink); p.State == v.end {
				m.ends(v)
			}
		}
		return
	}
	m.ok(err)
	for _, v := range victims {
		m.ends(v)
	}
	for i, rec := range a.Receipts {
		items[i].id, items[i].at = rec.ID, time.Now()
		m.items = append(m.items, items[i])
		for n, s := range m.names {
			f := items[i].start
			if s == "extra" && m.gone || m.routed && !wanted(items[i].to, n) {
				f = fate{state: "absent"}
			}
			m.now[s], m.durable[s] = append(m.now[s], f), append(m.durable[s], f)
		}
	}
}

// refused: there is another tenant, who has all of the disk, and nothing was stored.
func (m *model) refused(err error) bool {
	full, ok := errors.AsType[*queue.FullError](err)
	return m.leave != nil && ok && full.Disk
}

func (m *model) drawItem(alone bool) (item, queue.Item) {
	it := item{
		size:  rapid.SampledFrom([]int{0, 10, 1000, 8000}).Draw(m.T, "size"),
		key:   rapid.SampledFrom([]string{"", "k", "k", "l"}).Draw(m.T, "key"),
		to:    rapid.SampledFrom([]string{"all", "all", "all", "odd", "nobody"}).Draw(m.T, "to"),
		start: fate{state: "waiting", owed: true},
	}
	q := queue.Item{Body: make([]byte, it.size), Key: it.key, Attrs: store.MakeAttrs(map[string]string{"to": it.to})}
	switch rapid.IntRange(0, 7).Draw(m.T, "times") {
	case 0:
		q.TTL, it.ttl = hour/2, true
	case 1:
		q.NotBefore = time.Now().Add(hour / 2)
		it.start.state, it.start.late = "early", true
	}
	if alone && rapid.Bool().Draw(m.T, "named") {
		m.keys++
		it.named = fmt.Sprint(m.keys)
		q.IdempotencyKey = it.named
	}
	return it, q
}

// wanted reports whether the n-th sink wants an item.
func wanted(to string, n int) bool { return to == "all" || to == "odd" && n%2 == 1 }

// repeat puts an item again under its idempotency key, within the window and after it.
func (m *model) repeat() {
	var known []item
	for _, it := range m.items {
		if it.named != "" && time.Since(it.at) < 20*hour {
			known = append(known, it)
		}
	}
	if len(known) == 0 {
		m.T.Skip("no key is known")
	}
	it := rapid.SampledFrom(known).Draw(m.T, "again")
	a, err := m.request(queue.Request{Items: []queue.Item{{Body: make([]byte, it.size), IdempotencyKey: it.named}}})
	if m.refused(err) {
		return
	}
	m.ok(err)
	if rec := a.Receipts[0]; !rec.Duplicate || rec.ID != it.id {
		m.T.Fatalf("%+v is known as %+v", it, rec)
	}
}

// tenant: somebody takes all that is left of the disk, or leaves it.
func (m *model) tenant() {
	switch {
	case m.disk == "":
		m.T.Skip("no disk of our own")
	case m.leave == nil:
		m.leave = fillDisk(m.T, m.disk)
	default:
		m.room()
	}
}

func (m *model) room() {
	if m.leave != nil {
		m.leave()
		m.leave = nil
		time.Sleep(2 * time.Second) // a disk that was full is tried again after a second
	}
}

// A victim is what ends to make room for a request.
type victim struct {
	sink string
	item int
	end  string
}

func (m *model) victims(items []item) (all []victim) {
	for n, s := range m.names {
		end := map[string]string{"drop": "dropped", "bury": "dead"}[s]
		if end == "" {
			continue
		}
		waiting := 0
		for _, it := range items {
			waiting += btoi(!m.routed || wanted(it.to, n))
		}
		if waiting == 0 {
			continue
		}
		for _, f := range m.now[s] {
			waiting += btoi(f.waits())
		}
		for i, f := range m.now[s] {
			if waiting > modelBound && f.waits() && f.state != "out" {
				all = append(all, victim{s, i, end})
				waiting--
			}
		}
	}
	return all
}

func (m *model) ends(v victim) {
	f := &m.now[v.sink][v.item]
	f.state, f.owed = v.end, false
}

// expect is what the sink is to be handed now, at most max. What is over on the way there ends.
func (m *model) expect(s string, max int) (want []int) {
	strict := m.order[s] == queue.Strict
	if m.paused[s] || strict && len(m.out[s]) > 0 {
		return nil
	}
	if s == "small" {
		max = min(max, 3-len(m.out[s]))
	}
	for i := range m.now[s] {
		f := &m.now[s][i]
		if strict && f.state == "parked" || len(want) >= max {
			break
		}
		switch {
		case f.free() && m.items[i].over:
			f.state, f.owed = "expired", false
		case f.free():
			want = append(want, i)
		}
	}
	return want
}

func (m *model) hand() {
	s := m.sink()
	max := rapid.IntRange(1, 6).Draw(m.T, "max")
	if m.order[s] == queue.Key {
		m.handByKey(s, max)
		return
	}
	want := m.expect(s, max)
	ds := m.poll(s, max)
	if len(ds) != len(want) {
		m.T.Fatalf("sink %s got %d deliveries, want %v of %+v", s, len(ds), want, m.now[s])
	}
	for n, i := range want {
		m.take(s, i, ds[n])
	}
	m.out[s] = append(m.out[s], ds...)
}

// take notes that a sink was handed an item.
func (m *model) take(s string, i int, d queue.Delivery) {
	f := &m.now[s][i]
	if d.ID != m.items[i].id || d.Attempts != f.attempts || len(d.Item.Body) != m.items[i].size || !f.free() {
		m.T.Fatalf("sink %s got seq %d, attempts %d; want item %d: %+v", s, d.Item.Seq, d.Attempts, i, *f)
	}
	f.was, f.state = f.state, "out"
}

// handByKey checks what is promised: of a key one at a time, by seq but for those that were late, and as many as may go.
func (m *model) handByKey(s string, max int) {
	ds := m.poll(s, max)
	var refs []keyRef
	for i := range m.now[s] {
		f := &m.now[s][i]
		if f.waits() && m.items[i].over && f.state != "out" { // when it ends is not told
			if p := m.state(m.items[i].id, s); p.State == "expired" {
				f.state, f.owed = "expired", false
			}
		}
		state := f.state
		if f.free() {
			state = "waiting"
		}
		refs = append(refs, keyRef{m.items[i].key, state, f.late})
	}
	least, most := mayGo(refs)
	limit := min(max, 4-len(m.out[s]))
	if m.paused[s] {
		limit = 0
	}
	if len(ds) < min(limit, least) || len(ds) > min(limit, most) {
		m.T.Fatalf("sink %s got %d deliveries, of %+v", s, len(ds), refs)
	}
	for _, d := range ds {
		at := m.position(d)
		if i := inTheWay(refs, at); i >= 0 {
			m.T.Fatalf("%d is handed out, and %d is %+v", at, i, refs[i])
		}
		refs[at].state = "out"
		m.take(s, at, d)
	}
	m.out[s] = append(m.out[s], ds...)
}

func (m *model) position(d queue.Delivery) int {
	return slices.IndexFunc(m.items, func(it item) bool { return it.id == d.ID })
}

// sleep lets every time come that was set.
func (m *model) sleep() {
	time.Sleep(hour)
	for i := range m.items {
		m.items[i].over = m.items[i].ttl
	}
	for _, all := range []map[string][]fate{m.now, m.durable} {
		for _, fs := range all {
			for i := range fs {
				switch fs[i].state {
				case "parked":
					fs[i].state = "retry"
				case "early":
					fs[i].state = "waiting"
				}
			}
		}
	}
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
	return s, d, &m.now[s][m.position(d)]
}

func (m *model) outcome() {
	s, d, f := m.draw()
	after := rapid.SampledFrom([]time.Duration{0, 0, hour}).Draw(m.T, "after")
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
			f.IDs = append(f.IDs, m.items[i].id)
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
		ft.state, ft.attempts, ft.late = "ready", 0, true
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
	for _, s := range m.names {
		var waiting, bytes, dead, deadBytes int64
		for i, f := range m.now[s] {
			if f.waits() {
				waiting, bytes = waiting+1, bytes+int64(m.items[i].size)
			}
			if f.state == "dead" {
				dead, deadBytes = dead+1, deadBytes+int64(m.items[i].size)
			}
		}
		st := m.status(s)
		equal(t, s, []int64{st.Waiting, st.WaitingBytes, st.Dead, st.DeadBytes, int64(st.InFlight)}, []int64{waiting, bytes, dead, deadBytes, int64(len(m.out[s]))})
		if st.Oldest.IsZero() != (waiting == 0) {
			t.Fatalf("%d wait, the oldest since %v", waiting, st.Oldest)
		}
	}
	if len(m.items) > 0 {
		m.look(rapid.IntRange(0, len(m.items)-1).Draw(t, "look"))
	}
	m.checkAcks()
}

// checkAcks: nobody is told of an item that may be sent again after a crash.
func (m *model) checkAcks() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, it := range m.items {
		for _, s := range m.names {
			if m.acked[it.id] && m.durable[s][i].owed {
				m.T.Fatalf("item %d is acked, and owed to sink %s: %+v", i, s, m.durable[s][i])
			}
		}
	}
}

// shown is the state that an item may be shown in.
var shown = map[string][]string{
	"waiting": {"waiting", "blocked", "not_due"}, "early": {"waiting", "not_due", "retrying"}, "out": {"in_flight"}, "retry": {"retrying"}, "parked": {"retrying"}, "ready": {"waiting"},
	"dead": {"dead"}, "done": {"done"}, "purged": {"purged"}, "dropped": {"dropped"}, "expired": {"expired"},
}

func (m *model) look(i int) {
	s, err := m.q.State(m.items[i].id)
	if errors.Is(err, queue.ErrReleased) {
		if m.Retain.Bytes == 1<<40 {
			m.T.Fatalf("item %d is released, and was to be kept", i)
		}
		for _, name := range m.names {
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
		if !f.waits() && f.state != "dead" || p.Attempts == 0 && f.state == "out" {
			attempts = p.Attempts
		}
		// One that was a row, held for a moment, and met a start shows what it was before: a hold is not worth a commit.
		forgot := f.state == "retry" && f.attempts == 0 && (p.State == "waiting" || p.State == "blocked")
		// One that a sink settled, and that another still has where its segment is gone.
		forgot = forgot || p.State == "released" && !f.waits() && f.state != "dead"
		if !slices.Contains(shown[f.state], p.State) && !forgot || p.Attempts != attempts {
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

// rapidChecks is how much a model does where the command line does not say.
func rapidChecks(t *testing.T) {
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
}

// inBubble runs one check of a model with a clock of its own; rapid's stays the real one.
func inBubble(t *testing.T, f func()) {
	var failed any
	synctest.Test(t, func(*testing.T) {
		defer func() { failed = recover() }()
		f()
	})
	switch { // two failures are the same to rapid when they come from one line
	case failed == nil:
	case fmt.Sprintf("%T", failed) == "rapid.invalidData":
		panic(failed)
	default:
		panic(failed)
	}
}

// dirs makes one directory after the other, and remove takes away all that there are.
func dirs(root string) (newDir func() string, remove func() error) {
	n := 0
	newDir = func() string {
		n++
		dir := fmt.Sprintf("%s/%d", root, n)
		if err := os.Mkdir(dir, 0o700); err != nil {
			panic(err)
		}
		return dir
	}
	return newDir, func() error {
		old, err := filepath.Glob(root + "/*")
		for _, dir := range old {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	}
}

// Guarantees A1, B1, B2, C6, D1, D4, E1, E2, E5, G1, G7, in part: whatever is done in whatever order, with crashes
// between, the queue is what a map says.
func TestQueueIsWhatTheModelSays(t *testing.T) {
	rapidChecks(t)
	disk := modelDisk(t)
	newDir, remove := dirs(cmp.Or(disk, t.TempDir()))
	rapid.Check(t, func(rt *rapid.T) {
		defer func() {
			if err := remove(); err != nil {
				t.Fatal(err)
			}
		}()
		inBubble(t, func() { modelCheck(rt, newDir, disk) })
	})
}

// modelDisk is a disk that can be filled; empty where none can be mounted.
func modelDisk(t *testing.T) (dir string) {
	dir = t.TempDir()
	if err := mountDisk(t, dir, 128<<20); err != nil {
		t.Logf("NOT PROVEN HERE: a full disk needs a mount: %v", err)
		return ""
	}
	return dir
}

func modelCheck(t *rapid.T, newDir func() string, disk string) {
	m := newModel(t, newDir, disk)
	defer func() {
		if m.leave != nil {
			m.leave()
		}
		if m.ended != nil {
			_ = m.halt()
			_ = m.st.Close()
		}
	}()
	with := func(f func()) func(*rapid.T) { return func(t *rapid.T) { m.T, m.tb = t, t; f() } }
	t.Repeat(map[string]func(*rapid.T){
		"put": with(m.accept), "put more": with(m.accept),
		"hand": with(m.hand), "hand more": with(m.hand), "hand again": with(m.hand), "hand once more": with(m.hand),
		"settle": with(m.outcome), "settle more": with(m.outcome), "settle again": with(m.outcome), "settle once more": with(m.outcome),
		"return": with(m.giveBack), "settle twice": with(m.again), "decide": with(m.decide), "pause": with(m.pause),
		"sleep":                with(m.sleep),
		"mark":                 with(func() { m.flush(); m.marked() }),
		"restart":              with(m.startAgain),
		"add or remove a sink": with(m.addOrRemove), "rename": with(m.rename), "tenant": with(m.tenant), "put again": with(m.repeat),
		"crash": with(func() {
			m.room() // where the image is copied to, there must be some
			m.now = clone(m.durable)
			m.lost()
			old, image := m.dir, m.image()
			m.dead(true) // the old process goes on to its end, and nobody hears of it
			m.stop()
			m.dead(false)
			m.revive(image)
			m.ok(os.RemoveAll(old))
		}),
		"": m.check,
	})
	m.end()
}

// addOrRemove takes the sink extra from the configuration, or gives it back.
func (m *model) addOrRemove() {
	if m.paused["extra"] || m.leave != nil {
		m.T.Skip("it would stay paused, or the disk is full")
	}
	if m.gone = !m.gone; m.gone {
		m.extra = m.Sinks[len(m.Sinks)-1]
		m.Sinks = m.Sinks[:len(m.Sinks)-1]
	} else {
		m.Sinks = append(m.Sinks, m.extra)
	}
	m.startAgain()
}

// rename gives the first sink another name.
func (m *model) rename() {
	if m.leave != nil {
		m.T.Skip("the disk is full")
	}
	was := m.names[0]
	name := was + "'"
	m.names[0] = name
	m.Sinks[0].Name, m.Sinks[0].Was = name, []string{was}
	move(m.now, was, name)
	move(m.durable, was, name)
	move(m.paused, was, name)
	move(m.order, was, name)
	m.startAgain()
}

func move[V any](all map[string]V, from, to string) {
	all[to] = all[from]
	delete(all, from)
}

func (m *model) startAgain() {
	m.now = inDoubt(m.now)
	m.durable = clone(m.now)
	m.lost()
	m.restart()
}

// end delivers all that may be delivered, and looks at every item once more.
func (m *model) end() {
	m.room()
	for _, s := range slices.Sorted(maps.Keys(m.paused)) {
		if m.paused[s] {
			m.paused[s] = false
			m.ok(m.q.Resume(over2(), s))
		}
	}
	m.startAgain()
	m.sleep()
	for _, s := range m.names[:len(m.names)-btoi(m.gone)] {
		m.drain(s)
		for i := range m.now[s] {
			f := &m.now[s][i]
			switch {
			case f.free() && m.items[i].over:
				f.state, f.owed = "expired", false
			case f.free():
				f.state, f.owed = "done", false
			}
		}
	}
	m.flush()
	m.marked()
	synctest.Wait()
	m.checkAcks()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, it := range m.items {
		m.look(i)
		owed := false
		for _, s := range m.names {
			owed = owed || m.now[s][i].owed
		}
		if !owed && !m.acked[it.id] {
			m.T.Fatalf("nobody is owed item %d, and it was not acked", i)
		}
	}
	m.bench.stop()
}
