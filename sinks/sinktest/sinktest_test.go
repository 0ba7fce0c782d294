package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/sinks"
)

// A mailbox is a receiver in memory, and sink is a sink for it that obeys the contract, unless defect says otherwise.
type mailbox struct {
	mu    sync.Mutex
	fault Fault
	book  [][]byte
	heal  chan struct{}
}

type sink struct {
	m      *mailbox
	defect string
	mu     sync.Mutex
	closed bool
}

const secret = "hunter2-secret"

var errRefused = errors.New("refused")

func harness(defect string) Harness {
	return Harness{
		Start: func(testing.TB) Receiver {
			m := &mailbox{heal: make(chan struct{})}
			return Receiver{
				New:     func() (sinks.Sink, error) { return m.newSink(defect) },
				Book:    m.read,
				Stop:    func() { m.set("down") },
				Heal:    func() { m.set("") },
				Break:   m.breaks(),
				Secrets: []string{secret},
			}
		},
	}
}

func (m *mailbox) breaks() map[Fault]func() {
	all := map[Fault]func(){}
	for _, f := range faults {
		all[f] = func() { m.set(f) }
	}
	all[Partial], all[LineFeeds], all[Secrets] = nil, nil, nil
	return all
}

func (m *mailbox) newSink(defect string) (sinks.Sink, error) {
	if m.is("down") && defect == "needs receiver" {
		return nil, errors.New("connection refused")
	}
	return &sink{m: m, defect: defect}, nil
}

func (m *mailbox) set(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
	close(m.heal)
	m.heal = make(chan struct{})
}

func (m *mailbox) is(f Fault) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fault == f
}

func (m *mailbox) read() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.book)
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && s.defect == "closes once" {
		return errors.New("closed already")
	}
	s.closed = true
	return nil
}

func (s *sink) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *sink) Deliver(ctx context.Context, items []sinks.Item) error {
	switch {
	case s.defect == "forgets":
		return nil
	case ctx.Err() != nil && s.defect != "ignores context":
		return sinks.Unavailable(ctx.Err())
	case s.isClosed(), s.m.is("down"), s.m.is(Reset), s.m.is(WrongTLS):
		return s.down()
	case s.m.is(Hang), s.m.is(Dribble):
		return s.hang(ctx)
	}
	if s.defect == "reverses" {
		items = slices.Clone(items)
		slices.Reverse(items)
	}
	errs := make([]error, len(items))
	for i := range items {
		errs[i] = s.take(&items[i])
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i < 0 {
		return nil
	} else if len(items) == 1 || s.defect == "blames batch" {
		return errs[i]
	}
	return &sinks.BatchError{Errs: errs}
}

func (s *sink) down() error {
	switch s.defect {
	case "never heals":
		s.Close()
	case "plain when down":
		return io.EOF
	case "tells":
		return sinks.Unavailable(fmt.Errorf("no answer to %s", secret))
	}
	return sinks.Unavailable(io.EOF)
}

func (s *sink) hang(ctx context.Context) error {
	s.m.mu.Lock()
	heal := s.m.heal
	s.m.mu.Unlock()
	switch s.defect {
	case "ignores context":
		select {
		case <-heal:
		case <-time.After(5 * obeys):
		}
	case "leaks":
		go func() { <-heal; <-make(chan struct{}) }()
	}
	<-ctx.Done()
	return sinks.Unavailable(ctx.Err())
}

func (s *sink) take(it *sinks.Item) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.fault == Refuse && bytes.Contains(it.Body, []byte(Poison)) {
		if s.defect == "retries refusals" {
			return errRefused
		}
		return sinks.Permanent(errRefused)
	}
	body := bytes.Clone(it.Body)
	switch s.defect {
	case "trims":
		body = bytes.TrimSpace(body)
	case "keeps items":
		body = it.Body
	case "first only":
		if slices.ContainsFunc(s.m.book, func(b []byte) bool { return bytes.Equal(b, body) }) {
			return sinks.Permanent(errors.New("seen already"))
		}
	case "changes items":
		copy(it.Body, "X")
	}
	s.m.book = append(s.m.book, body)
	return nil
}

func TestGoodSinkPassesTheSuite(t *testing.T) { Run(t, harness("")) }

// A recorder is a testing.TB that keeps failures for itself.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }
func (r *recorder) Fatal(args ...any) { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failures runs one sentence on a sink with the defect, and returns what it complains of.
func failures(t *testing.T, defect, name string) []string {
	r := &recorder{TB: t}
	i := slices.IndexFunc(sentences, func(s sentence) bool { return s.name == name })
	var wg sync.WaitGroup
	wg.Go(func() { sentences[i].run(r, harness(defect)) })
	wg.Wait()
	return r.failures
}

// The control: a suite that a broken sink passes is a broken suite.
func TestBrokenSinksFailTheSuite(t *testing.T) {
	for defect, want := range map[string]string{
		"trims":            "delivers bytes exactly",
		"forgets":          "keeps the order of a batch",
		"reverses":         "keeps the order of a batch",
		"first only":       "may be called again with the same items",
		"keeps items":      "neither changes items nor keeps them",
		"changes items":    "neither changes items nor keeps them",
		"blames batch":     "reports a partial failure per item",
		"retries refusals": "calls a refusal permanent",
		"plain when down":  "calls a stopped receiver unavailable",
		"never heals":      "heals without a restart",
		"needs receiver":   "starts with the receiver down",
		"ignores context":  "returns soon after the context ends on a receiver that hangs",
		"tells":            "shows no secret in an error",
		"closes once":      "may be closed a thousand times at once",
		"leaks":            "leaves no goroutine after a hang",
	} {
		t.Run(defect, func(t *testing.T) {
			got := failures(t, defect, want)
			if len(got) == 0 {
				t.Fatalf("the sink passes %q", want)
			}
			t.Logf("control: a sink that %s fails %q: %s", defect, want, got[0])
		})
	}
}

func TestHarnessMustExcuseWhatItLacks(t *testing.T) {
	h := harness("")
	if err := h.check(t); err != nil {
		t.Errorf("a harness that has everything: %v", err)
	}
	h.Lacks = map[Fault]string{Hang: "it has it"}
	if h.check(t) == nil {
		t.Error("what is both offered and excused passes")
	}
	start := h.Start
	h.Start = func(tb testing.TB) Receiver {
		r := start(tb)
		delete(r.Break, Hang)
		return r
	}
	if err := h.check(t); err != nil {
		t.Errorf("a harness with an excuse: %v", err)
	}
	for _, lacks := range []map[Fault]string{nil, {Hang: ""}} {
		if h.Lacks = lacks; h.check(t) == nil {
			t.Errorf("a harness without an excuse passes: %v", lacks)
		}
	}
}
