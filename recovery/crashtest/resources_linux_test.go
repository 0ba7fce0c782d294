package crashtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/killer"
)

// fewFiles is how many file descriptors a service may have that has three sinks and some clients.
const fewFiles = 150

// Guarantees A1, G1, in part: clients take all the connections that there may be, while the log rotates. Nobody new gets in
// meanwhile, who was in is answered, the service keeps the file descriptors that it needs, and lets others in as soon as
// those clients leave.
func TestServiceKeepsFileDescriptorsForItself(t *testing.T) {
	repeats(t)
	r := newRig(t, three()...)
	r.data += ", max_bytes: 16MiB" // segments of 1 MiB
	start := func() {
		r.process = killer.Start(r, "sh", "-c", fmt.Sprintf("ulimit -n %d; exec \"$@\"", fewFiles), "sh", program, "serve", "--config", r.config())
	}
	start()
	p := &producer{rig: r, name: "inside", batch: 1, pad: 30 << 10}
	answers := p.several(10)
	l := line{fault: "no file descriptors left for clients"}
	for range 3 * rounds() {
		var hogs []*wire
		for range 2 * fewFiles {
			c := r.wire()
			c.say("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
			hogs = append(hogs, c)
		}
		r.until(5*time.Second, "somebody new is held", r.held)
		l.control = "nobody new gets in"
		for answer, n := range p.several(150) {
			answers[answer] += n
		}
		t.Logf("%d file descriptors of %d are open", r.files(), fewFiles)
		for _, c := range hogs {
			c.Close()
		}
		r.until(5*time.Second, "somebody new gets in", r.ready)
		r.drain()
		l.cases++
	}
	r.kill()
	start()
	r.drain()
	l.add(r.judge(bounds))
	t.Logf("answers to who was in: %d durable, %d refused, %d uncertain", answers[book.Durable], answers[book.Refused], answers[book.Uncertain])
	if answers[book.Uncertain]+answers[book.Refused] > 0 {
		t.Error("who was in is not served")
	}
	table.line(t, l)
}

// held is nil where a client that is not in yet is not let in.
func (r *rig) held() error {
	ctx, cancel := context.WithTimeout(r.Context(), 200*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.process.URL+"/healthz", nil)
	if err != nil {
		return err
	}
	fresh := &http.Transport{}
	defer fresh.CloseIdleConnections()
	response, err := fresh.RoundTrip(request)
	if err != nil {
		return nil
	}
	response.Body.Close()
	return errUnexpected
}

// ready is nil where somebody new is answered.
func (r *rig) ready() error {
	fresh := &http.Transport{}
	defer fresh.CloseIdleConnections()
	c := http.Client{Transport: fresh, Timeout: time.Second}
	response, err := c.Get(r.process.URL + "/readyz")
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errUnexpected
	}
	return nil
}

// files is how many file descriptors the service has.
func (r *rig) files() int {
	r.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.process.PID()))
	if err != nil {
		r.Fatal(err)
	}
	return len(all)
}

// smallMemory is what a service on a small device is given, and what it may have of it beside the heap: stacks, and what
// the runtime has freed and the kernel not taken yet.
const smallMemory, beside = 48 << 20, 24 << 20

// Guarantee B6, in part: with GOMEMLIMIT and bounds as a small device has them, a backlog many times the memory, clients
// that come all at once, and bombs, the service stays within its memory and accepts. That is no limit that the kernel
// holds: the memory of the process is looked at every 20 ms. The control is a service that never collects garbage.
func TestServiceStaysWithinLittleMemory(t *testing.T) {
	needMemory(t)
	repeats(t)
	l := line{fault: "48 MiB of memory"}
	most := crowded(t, fmt.Sprint("GOMEMLIMIT=", smallMemory), 2*rounds(), &l)
	if most > smallMemory+beside {
		t.Errorf("the service has %d MiB", most>>20)
	}
	wasteful := crowded(t, "GOGC=off", 1, &line{})
	if wasteful <= smallMemory+beside {
		t.Errorf("a service that never collects has %d MiB", wasteful>>20)
		l.control = ""
	}
	l.control += fmt.Sprintf("; without a collector it has %d MiB", wasteful>>20)
	table.line(t, l)
	t.Logf("GOMEMLIMIT %d MiB: at most %d MiB", smallMemory>>20, most>>20)
}

// crowded runs a service of a small device with a variable in its environment, and returns the most memory it had.
func crowded(t *testing.T, env string, rounds int, l *line) int64 {
	t.Helper()
	r := newRig(t, &receiver{name: "down", workers: 4}, &receiver{name: "fast", workers: 4})
	r.data += ", max_bytes: 1GiB"
	r.server = ", max_item_bytes: 256KiB, max_request_bytes: 2MiB"
	r.receivers[0].down.Store(true)
	start := func() {
		r.process = killer.Start(r, "env", env, program, "serve", "--config", r.config())
	}
	start()
	w := newWatch(r, "good")
	rnd := rand.New(rand.NewPCG(*seed, 32))
	p99 := w.beside(func() {
		for range rounds {
			l.cases += r.crowd(rnd, l.cases)
			l.cases += r.suffer(bombs())
		}
	})
	r.kill()
	start() // with all of it waiting
	r.receivers[0].down.Store(false)
	w.beside(r.drain)
	r.drain()
	l.add(book.Check(r.book.Record(), bounds))
	l.control = r.uninvited()
	t.Logf("%s: p99 of a receipt beside the crowd %v", env, p99)
	return w.weight()
}

// crowd is 64 clients that bring a body of up to 250 KiB each, four times; who finds no memory free is told so.
func (r *rig) crowd(rnd *rand.Rand, round int) int {
	const clients, times = 64, 4
	var all sync.WaitGroup
	for i := range clients {
		size := 1<<10 + rnd.IntN(250<<10)
		all.Go(func() {
			p := &producer{rig: r, name: fmt.Sprintf("crowd-%d-%d-%s", round, i, strings.Repeat("x", i%7)), batch: 1, pad: size}
			p.several(times)
		})
	}
	all.Wait()
	return clients * times
}
