package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/book"
)

// A watch is a good client that goes on while others do harm: it puts an item every few milliseconds, each answer has to
// be a receipt, and it notes how long each took.
type watch struct {
	*producer
	mu    sync.Mutex
	took  []time.Duration // guarded by mu
	most  int64           // guarded by mu; anonymous memory of the service, at its most
	alive bool            // guarded by mu; every answer was a receipt
}

func newWatch(r *rig, name string) *watch {
	return &watch{producer: &producer{rig: r, name: name, batch: 1, pace: 5 * time.Millisecond}, alive: true}
}

// beside puts items while do runs, and returns how long the answers took at most, but for one in a hundred.
func (w *watch) beside(do func()) (p99 time.Duration) {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	var loops sync.WaitGroup
	loops.Go(func() { w.puts(ctx) })
	loops.Go(func() { w.weighs(ctx) })
	do()
	stop()
	loops.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	p99 = percentile(w.took, 99)
	w.took = nil
	return p99
}

func (w *watch) puts(ctx context.Context) {
	tick := time.NewTicker(w.pace)
	defer tick.Stop()
	for ctx.Err() == nil {
		items := w.next()
		began := time.Now()
		w.put(w.Context(), items)
		took := time.Since(began)
		w.book.Tell(items...)
		w.mu.Lock()
		w.took = append(w.took, took)
		if items[0].Answer != book.Durable && w.alive {
			w.alive = false
			w.Errorf("%s: answer %d after %v\n%s", items[0].Tag, items[0].Answer, took, w.process.Log())
		}
		w.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// weighs notes the most memory that the service has.
func (w *watch) weighs(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		rss, err := anonymous(w.process.PID())
		w.mu.Lock()
		if w.most = max(w.most, rss); err != nil && w.alive {
			w.Error(err)
		}
		w.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// weight is the most memory that was seen.
func (w *watch) weight() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

// percentile is what so many of a hundred do not exceed.
func percentile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[min(len(all)-1, len(all)*percent/100)]
}

var rssAnon = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)

// anonymous is how many bytes of memory a process has for itself.
func anonymous(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := rssAnon.FindSubmatch(status)
	if m == nil {
		return 0, errors.New("the kernel does not tell RssAnon")
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10, err
}

// needMemory skips where nobody tells how much memory a process has.
func needMemory(t testing.TB) {
	t.Helper()
	_, err := anonymous(os.Getpid())
	crashtest.Require(t, "memory", err)
}

// uninvited has a client put an item that no book knows of: the judge has to see that it came. It is the control of the
// suites in which nothing but what the book knows may come.
func (r *rig) uninvited() string {
	r.Helper()
	response, err := r.client.Post(r.process.URL+"/v1/items", "text/plain", strings.NewReader("uninvited"))
	if err != nil {
		r.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		r.Fatal(response.Status)
	}
	r.drain()
	if v := book.Check(r.book.Record(), bounds); v.Wrong < len(r.receivers) {
		r.Errorf("the judge is blind: %v", v)
		return ""
	}
	return "an item that nobody was told of is seen"
}
