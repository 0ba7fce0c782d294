package crashtest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/killer"
)

var (
	kills = flag.Int("kills", 25, "kills in TestKilledProcessLosesNothing")
	seed  = flag.Uint64("seed", 1, "of the times and the failures of a run")
)

// program is the service, built once for all tests.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crashtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if program, err = killer.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer table.print(os.Stdout)
	return m.Run()
}

// sources looks at the files that the service is made of. go test notes what a test looks at, and so does not take the
// result of an older service, which it knows nothing of, for the one of this.
var sources = sync.OnceValue(func() error {
	return filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		switch ext := filepath.Ext(path); {
		case err != nil:
			return err
		case e.IsDir() && e.Name() != ".." && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir
		case ext == ".go" && !strings.HasSuffix(path, "_test.go"), ext == ".mod", ext == ".sum":
			_, err = os.Stat(path)
		}
		return err
	})
})

// The bounds of a kill: what may be in flight and the marks that may ride in memory; and, as the time that mark_delay is
// worth, that and what a commit may take on a machine that runs other tests beside this one.
const (
	markDelay = 50 * time.Millisecond
	markEvery = 256
	inFlight  = 1024
	slack     = 700 * time.Millisecond
)

var bounds = book.Bounds{Repeats: inFlight + markEvery, Age: markDelay + slack}

// A rig is one data directory, the receivers that it delivers to, and the book of both ends.
type rig struct {
	testing.TB
	dir       string
	disk      string // what the data directory is in; empty: dir
	data      string // settings of data, as YAML
	server    string // settings of server, as YAML
	book      *book.Book
	receivers []*receiver
	life      int // of the process that runs, or is started next
	process   *killer.Process
	client    *http.Client
}

func newRig(t testing.TB, receivers ...*receiver) *rig {
	t.Helper()
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	var sinks []book.Sink
	for _, r := range receivers {
		sinks = append(sinks, book.Sink{Name: r.name, Strict: r.workers == 1})
	}
	r := &rig{TB: t, dir: t.TempDir(), book: book.New(sinks...), receivers: receivers,
		data: fmt.Sprintf("mark_delay: %v, mark_every: %d, min_free: 0", markDelay, markEvery)}
	for _, k := range receivers {
		k.start(t, r.book)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	return r
}

// config writes the configuration of the next life. Each receiver learns from its URL which life a request is of.
func (r *rig) config() string {
	r.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: %s, %s}\nserver: {listen: \"127.0.0.1:0\"%s}\n", filepath.Join(cmp.Or(r.disk, r.dir), "data"), r.data, r.server)
	b.WriteString("defaults:\n  retry: {max_retries: -1, backoff: 5ms, max_backoff: 50ms}\n  breaker: {probe_every: 10ms}\nsinks:\n")
	for _, k := range r.receivers {
		order := "strict"
		if k.workers > 1 {
			order = "none"
		}
		fmt.Fprintf(&b, "  %s: {type: webhook, url: \"%s/%d\", order: %s, concurrency: %d%s}\n", k.name, k.server.URL, r.life, order, k.workers, k.more)
	}
	path := filepath.Join(r.dir, "holdfast.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// start begins a life and returns when it is ready.
func (r *rig) start() {
	r.Helper()
	r.process = killer.Start(r, program, "serve", "--config", r.config())
	if r.process.URL == "" {
		r.Fatalf("life %d ended before it was ready:\n%s", r.life, r.process.Log())
	}
}

// kill ends the life.
func (r *rig) kill() {
	at := time.Now()
	r.process.Kill()
	r.end(at)
}

// end notes the end of a life. A process that ended by itself may be why.
func (r *rig) end(at time.Time) {
	r.book.End(at)
	r.life++
	r.client.CloseIdleConnections()
	if strings.Contains(r.process.Log(), "panic") || strings.Contains(r.process.Log(), "DATA RACE") {
		r.Errorf("life %d panicked:\n%s", r.life-1, r.process.Log())
	}
}

// A gauge is what the service says of a sink.
type gauge struct {
	Sink    string
	Waiting int
	Dead    int
}

func (r *rig) gauges() (all map[string]gauge) {
	r.Helper()
	var list struct{ Items []gauge }
	if status, err := r.get("/v1/sinks", &list); err != nil || status != http.StatusOK {
		r.Fatalf("sinks: %d, %v\n%s", status, err, r.process.Log())
	}
	all = map[string]gauge{}
	for _, g := range list.Items {
		all[g.Sink] = g
	}
	return all
}

func (r *rig) get(path string, into any) (status int, err error) {
	response, err := r.client.Get(r.process.URL + path)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return response.StatusCode, json.NewDecoder(response.Body).Decode(into)
}

// drain waits until nothing waits for any sink.
func (r *rig) drain() {
	r.Helper()
	r.until(60*time.Second, "everything is delivered", func() error {
		for _, g := range r.gauges() {
			if g.Waiting > 0 || g.Dead > 0 {
				return fmt.Errorf("sink %s: %d wait, %d dead letters", g.Sink, g.Waiting, g.Dead)
			}
		}
		return nil
	})
}

// until asks again and again, at most for so long.
func (r *rig) until(limit time.Duration, what string, ask func() error) {
	r.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("not within %v: %s: %v\n%s", limit, what, err, r.process.Log())
		}
	}
}

// judge checks the record, and prints what it found.
func (r *rig) judge(b book.Bounds) *book.Verdict {
	r.Helper()
	v := book.Check(r.book.Record(), b)
	if !v.OK() {
		r.Errorf("%v\n%s", v, strings.Join(v.Details, "\n"))
	}
	return v
}

// wait lets some time pass, or ends early when the process does.
func (r *rig) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-r.process.Ended():
		r.Errorf("life %d ended by itself:\n%s", r.life, r.process.Log())
	}
}

func TestWhatIsRequiredIsKnownByName(t *testing.T) {
	for list, want := range map[string]bool{"": false, "tmpfs": true, "strace, tmpfs": true, "tmpfs2": false} {
		if got := crashtest.Required(list, "tmpfs"); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}

var errUnexpected = errors.New("unexpected answer")

// metric returns the value of one series.
func (r *rig) metric(series string) float64 {
	r.Helper()
	response, err := r.client.Get(r.process.URL + "/metrics")
	if err != nil {
		r.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				r.Fatal(err)
			}
			return n
		}
	}
	r.Fatalf("there is no %s", series)
	return 0
}

// one puts one item and expects an answer about it.
func (r *rig) one(tag string, want book.Answer) {
	r.Helper()
	p := &producer{rig: r, name: tag, batch: 1}
	items := p.next()
	p.put(r.Context(), items)
	r.book.Tell(items...)
	if items[0].Answer != want {
		r.Fatalf("%s: answer %d, want %d\n%s", tag, items[0].Answer, want, r.process.Log())
	}
}

// inFlight is nil once a sink has so many attempts in flight.
func (r *rig) inFlight(sink string, n int) error {
	if got := int(r.metric(fmt.Sprintf("holdfast_sink_in_flight{sink=%q}", sink))); got != n {
		return fmt.Errorf("%d in flight", got)
	}
	return nil
}

// refusing is nil once nobody accepts any more.
func (r *rig) refusing() error {
	response, err := http.Get(r.process.URL + "/readyz")
	if err != nil {
		return nil
	}
	response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return errors.New("it is ready")
	}
	return nil
}
