//go:build !386 && !arm

package crashtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/powerfs"
)

// A sync of the log takes long: accepts are answered as uncertain when accept_timeout is over, and not before it with
// more than is known; the service is not ready; and when the disk answers again all goes on. 30 s as the disk has it,
// which CI shortens with accept_timeout.
func TestHungSyncAcksNothingAndPasses(t *testing.T) {
	needFuse(t)
	repeats(t)
	sum := line{fault: "an fsync that hangs"}
	timeout, hang := 500*time.Millisecond, 2*time.Second
	if *long > 1 {
		timeout, hang = 5*time.Second, 30*time.Second
	}
	for n := range min(rounds(), 20) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newPowered(t, 500+uint64(n), three()...)
			r.server = fmt.Sprintf(", accept_timeout: %v", timeout)
			r.start()
			r.one("before", book.Durable)
			r.hang(timeout, hang)
			r.accepts()
			r.hungMarks()
			r.drain()
			r.cutWhileHung(timeout)
			v := r.settle(nil)
			sum.cases, sum.deaths = sum.cases+3, sum.deaths+r.died
			sum.add(v)
		})
	}
	sum.control = lyingDisk(t, "a sync that answers at once and does nothing")
	table.line(t, sum)
}

// hang has the next sync of the log hang, and looks at what producers are told meanwhile.
func (r *powered) hang(timeout, hang time.Duration) {
	r.Helper()
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	r.power.Inject(powerfs.Fault{Op: powerfs.Sync, Name: "*.log", Hang: release})
	began := time.Now()
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() { r.uncertain(fmt.Sprintf("hung%d-%d", r.life, i), timeout, hang) })
	}
	r.until(hang, "it is not ready", r.refusing)
	if ready := time.Since(began); ready < timeout {
		r.Errorf("it was not ready after %v already", ready)
	}
	asking.Wait()
	r.pass(hang - time.Since(began))
	r.lives()
	let()
	r.until(5*time.Second, "it is ready again", func() error {
		if r.refusing() == nil {
			return errors.New("it is not ready")
		}
		return nil
	})
}

// uncertain puts an item, and expects that nobody knows what became of it, within the time.
func (r *powered) uncertain(tag string, timeout, hang time.Duration) {
	began := time.Now()
	told := book.Told{Tag: tag, Body: tag, Request: tag, Answer: book.Uncertain, Life: r.life}
	defer func() { r.book.Tell(told) }()
	response, err := r.client.Post(r.process.URL+"/v1/items", "text/plain", strings.NewReader(told.Body))
	if err != nil {
		r.Errorf("%s: %v", tag, err)
		return
	}
	defer response.Body.Close()
	var problem struct{ Code, ID string }
	err = json.NewDecoder(response.Body).Decode(&problem)
	if took := time.Since(began); err != nil || response.StatusCode != http.StatusServiceUnavailable || problem.Code != "uncertain" ||
		took < timeout || took >= hang {
		r.Errorf("%s: %d %q after %v: %v", tag, response.StatusCode, problem.Code, took, err)
	}
	if problem.ID != "" {
		told.ID, told.Answer = problem.ID, book.Durable
	}
}

// hungMarks has a sync of the queues hang: accepts and deliveries go on.
func (r *powered) hungMarks() {
	r.Helper()
	release, met := make(chan struct{}), make(chan struct{})
	r.power.Inject(powerfs.Fault{Op: powerfs.Sync, Name: "queues.db", Hang: release, Before: func(powerfs.Call) { close(met) }})
	defer close(release) // also of a test that has failed: what hangs cannot be killed
	r.one("marks0", book.Durable)
	select {
	case <-met:
	case <-time.After(5 * time.Second):
		r.Error("no marks are made")
	}
	for i := range 10 {
		r.one(fmt.Sprintf("marks1-%d", i), book.Durable)
	}
	r.until(5*time.Second, "it is delivered while marks hang", func() error {
		got := bodies(r.book.Record(), "fast", tags(r.book.Record(), book.Durable))
		for body := range tags(r.book.Record(), book.Durable) {
			if strings.Contains(body, "marks1-9") && got[body] {
				return nil
			}
		}
		return errUnexpected
	})
}

// cutWhileHung takes the power away under a sync that hangs.
func (r *powered) cutWhileHung(timeout time.Duration) {
	r.Helper()
	release, met := make(chan struct{}), make(chan struct{})
	r.power.Inject(powerfs.Fault{Op: powerfs.Sync, Name: "*.log", Hang: release, Before: func(powerfs.Call) { close(met) }})
	p := &producer{rig: r.rig, name: fmt.Sprint("cut", r.life), batch: 1}
	items := p.next()
	p.put(r.Context(), items)
	r.book.Tell(items...)
	<-met
	if items[0].Answer >= book.Durable {
		r.Errorf("acked under a sync that hangs, after at least %v", timeout)
	}
	r.power.Freeze()
	close(release)
	r.ended(r.goes(.5))
}
