package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/sinks"
)

// obeys is how long after the end of its context a Deliver may return.
const obeys = slowdown * 100 * time.Millisecond

// A sentence is one sentence of the contract as a test. It takes a testing.TB so that the control can run it on broken
// sinks and see it fail.
type sentence struct {
	name  string
	needs Fault // empty: nothing that a sink could lack
	run   func(testing.TB, Harness)
}

var sentences = []sentence{
	{"delivers bytes exactly", "", deliversExactly},
	{"delivers bodies that hold line feeds", LineFeeds, deliversLineFeeds},
	{"keeps the order of a batch", "", keepsOrder},
	{"may be called again with the same items", "", takesRepeats},
	{"neither changes items nor keeps them", "", leavesItemsAlone},
	{"is safe for concurrent use", "", isConcurrent},
	{"reports a partial failure per item", Partial, reportsPartialFailure},
	{"calls a refusal permanent", Refuse, callsRefusalPermanent},
	{"calls a stopped receiver unavailable", "", callsStoppedUnavailable},
	{"heals without a restart", "", heals},
	{"starts with the receiver down", "", startsDown},
	{"returns soon when the context is over already", "", obeysDeadContext},
	{"returns soon after the context ends on a receiver that hangs", Hang, obeysOn(Hang)},
	{"returns soon after the context ends on a receiver that dribbles", Dribble, obeysOn(Dribble)},
	{"calls a receiver that resets unavailable", Reset, callsUnavailable(Reset)},
	{"calls wrong tls unavailable", WrongTLS, callsUnavailable(WrongTLS)},
	{"shows no secret in an error", Secrets, showsNoSecret},
	{"may be closed a thousand times at once", "", closesOften},
	{"leaves no goroutine", "", leavesNoGoroutine},
	{"leaves no goroutine after a hang", Hang, leavesNoGoroutineAfterHang},
}

func deliversExactly(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	want := Items("", "a", " a ", "plain äöü text", `{"json": [1, 2.50]}`, `"a JSON string"`, "true", "-1.50e3", everyByte(), strings.Repeat("0123456789abcdef", 1<<16))
	for i := range want {
		deliver(tb, s, want[i:i+1])
	}
	deliver(tb, s, want)
	holds(tb, r, append(want[:len(want):len(want)], want...))
}

func deliversLineFeeds(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	want := Items("one\ntwo", "\n", "\r\n", "end\n", "\n\n{ }}\n")
	deliver(tb, s, want[:1])
	deliver(tb, s, want[1:])
	holds(tb, r, want)
}

func keepsOrder(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	first, second := Numbered("first", 50), Numbered("second", 50)
	deliver(tb, s, first)
	deliver(tb, s, second)
	holds(tb, r, append(first, second...))
}

func takesRepeats(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	items := Numbered("again", 3)
	deliver(tb, s, items)
	deliver(tb, s, items)
	eventually(tb, "the repeat is in the book, or known as one", func() bool { return len(r.Book()) >= 3 })
}

func leavesItemsAlone(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	items, want := Items(strings.Repeat("mine ", 40_000), "too"), Items(strings.Repeat("mine ", 40_000), "too")
	deliver(tb, s, items)
	for i := range items {
		if !bytes.Equal(items[i].Body, want[i].Body) {
			tb.Errorf("the body of item %d was changed", i)
		}
		for j := range items[i].Body {
			items[i].Body[j] = 'X'
		}
	}
	deliver(tb, s, Items("last"))
	holds(tb, r, append(want, Items("last")...))
}

func isConcurrent(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	var wg sync.WaitGroup
	want := map[string]int{}
	for g := range 8 {
		items := Numbered(fmt.Sprint("lane", g), 10)
		for i := range items {
			want[string(items[i].Body)]++
		}
		wg.Go(func() {
			for i := range items {
				if err := s.Deliver(tb.Context(), items[i:i+1]); err != nil {
					tb.Errorf("deliver: %v", err)
				}
			}
		})
	}
	wg.Wait()
	eventually(tb, "80 items are in the book", func() bool { return len(r.Book()) >= 80 })
	for _, b := range r.Book() {
		if want[string(b)]--; want[string(b)] < 0 {
			tb.Errorf("%.40q came more than once, or was never sent", b)
		}
	}
}

func reportsPartialFailure(tb testing.TB, h Harness) {
	r := h.Start(tb)
	breakIt(r, Refuse)
	s := open(tb, r)
	items := Items("good", "bad "+Poison, "good too")
	err := s.Deliver(tb.Context(), items)
	partial, ok := errors.AsType[*sinks.BatchError](err)
	if !ok || len(partial.Errs) != len(items) {
		tb.Fatalf("deliver: %v (%T), want a BatchError of %d", err, err, len(items))
	}
	if partial.Errs[0] != nil || partial.Errs[2] != nil {
		tb.Errorf("the good items have errors: %v, %v", partial.Errs[0], partial.Errs[2])
	}
	wantVerdict(tb, partial.Errs[1], sinks.PermanentVerdict)
	holds(tb, r, []sinks.Item{items[0], items[2]})
}

func callsRefusalPermanent(tb testing.TB, h Harness) {
	r := h.Start(tb)
	breakIt(r, Refuse)
	s := open(tb, r)
	wantVerdict(tb, s.Deliver(tb.Context(), Items("a "+Poison)), sinks.PermanentVerdict)
	good := Items("good")
	deliver(tb, s, good)
	holds(tb, r, good)
}

func callsStoppedUnavailable(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	first := Items("before")
	deliver(tb, s, first)
	holds(tb, r, first)
	r.Stop()
	wantVerdict(tb, s.Deliver(tb.Context(), Items("lost")), sinks.UnavailableVerdict)
}

func heals(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	before, during := Items("before"), Items("during")
	deliver(tb, s, before)
	holds(tb, r, before)
	for range 3 {
		r.Stop()
		wantVerdict(tb, s.Deliver(tb.Context(), during), sinks.UnavailableVerdict)
		r.Heal()
	}
	deliver(tb, s, during)
	holds(tb, r, append(before, during...))
}

// startsDown shows G9 as far as a sink goes.
func startsDown(tb testing.TB, h Harness) {
	r := h.Start(tb)
	r.Stop()
	s := open(tb, r)
	items := Items("patient")
	wantVerdict(tb, s.Deliver(tb.Context(), items), sinks.UnavailableVerdict)
	r.Heal()
	deliver(tb, s, items)
	holds(tb, r, items)
}

func obeysDeadContext(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	began := time.Now()
	if err := s.Deliver(ctx, Items("late")); err == nil {
		tb.Error("deliver says done although its context was over")
	}
	if took := time.Since(began); took > obeys {
		tb.Errorf("deliver took %v", took)
	}
}

// obeysOn ends a context while the receiver misbehaves. The body is larger than what pipes and sockets buffer.
func obeysOn(f Fault) func(testing.TB, Harness) {
	return func(tb testing.TB, h Harness) {
		r := h.Start(tb)
		breakIt(r, f)
		s := open(tb, r)
		big := Items(strings.Repeat("x", 4<<20))
		for _, canceled := range []bool{true, false} {
			ctx, cancel := context.WithTimeout(tb.Context(), 150*time.Millisecond)
			if canceled {
				ctx, cancel = context.WithCancel(tb.Context())
				time.AfterFunc(150*time.Millisecond, cancel)
			}
			over := make(chan time.Time, 1)
			stop := context.AfterFunc(ctx, func() { over <- time.Now() })
			err := s.Deliver(ctx, big)
			returned := time.Now()
			if ctx.Err() == nil {
				tb.Errorf("deliver returned before its context ended: %v", err)
			} else if stop() {
				// Deliver returned before the time could even be taken.
			} else if took := returned.Sub(<-over); took > obeys {
				tb.Errorf("deliver returned %v after its context ended", took)
			}
			wantVerdict(tb, err, sinks.UnavailableVerdict)
			cancel()
		}
		r.Heal()
		deliver(tb, s, Items("after"))
	}
}

func callsUnavailable(f Fault) func(testing.TB, Harness) {
	return func(tb testing.TB, h Harness) {
		r := h.Start(tb)
		breakIt(r, f)
		s := open(tb, r)
		wantVerdict(tb, s.Deliver(tb.Context(), Items("unlucky")), sinks.UnavailableVerdict)
		if got := r.Book(); len(got) != 0 {
			tb.Errorf("%d items are in the book", len(got))
		}
	}
}

// showsNoSecret makes every failure that the receiver can have, and reads the errors.
func showsNoSecret(tb testing.TB, h Harness) {
	if len(h.Start(tb).Secrets) == 0 {
		tb.Fatal("the harness offers secrets and has none")
	}
	for _, f := range append(faults, "") {
		r := h.Start(tb)
		breakIt(r, f)
		if f == "" {
			r.Stop()
		}
		s := open(tb, r)
		ctx, cancel := context.WithTimeout(tb.Context(), 100*time.Millisecond)
		err := s.Deliver(ctx, Items("a "+Poison, "b"))
		cancel()
		for _, secret := range r.Secrets {
			for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%v %+v %#v", s, s, s)} {
				if strings.Contains(text, secret) {
					tb.Errorf("with fault %q, a secret is shown: %s", f, text)
				}
			}
		}
	}
}

func closesOften(tb testing.TB, h Harness) {
	r := h.Start(tb)
	s := open(tb, r)
	deliver(tb, s, Items("one"))
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				tb.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	wantVerdict(tb, s.Deliver(tb.Context(), Items("two")), sinks.UnavailableVerdict)
}

func leavesNoGoroutine(tb testing.TB, h Harness) {
	before := goleak.IgnoreCurrent()
	r := h.Start(tb)
	s := open(tb, r)
	deliver(tb, s, Numbered("some", 5))
	noneLeft(tb, r, s, before)
}

func leavesNoGoroutineAfterHang(tb testing.TB, h Harness) {
	before := goleak.IgnoreCurrent()
	r := h.Start(tb)
	breakIt(r, Hang)
	s := open(tb, r)
	big := Items(strings.Repeat("x", 4<<20))
	ctx, cancel := context.WithTimeout(tb.Context(), 150*time.Millisecond)
	defer cancel()
	wantVerdict(tb, s.Deliver(ctx, big), sinks.UnavailableVerdict)
	noneLeft(tb, r, s, before)
}

func noneLeft(tb testing.TB, r Receiver, s sinks.Sink, before goleak.Option) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Errorf("close: %v", err)
	}
	r.Stop()
	left := goleak.Find(before)
	for end := time.Now().Add(2 * time.Second); left != nil && time.Now().Before(end); {
		left = goleak.Find(before) // it waits by itself, but for less than a server of net/http lingers
	}
	if left != nil {
		tb.Error(left)
	}
}

func open(tb testing.TB, r Receiver) sinks.Sink {
	tb.Helper()
	s, err := r.New()
	if err != nil {
		tb.Fatalf("new: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

func breakIt(r Receiver, f Fault) {
	if do := r.Break[f]; do != nil {
		do()
	}
}

func deliver(tb testing.TB, s sinks.Sink, items []sinks.Item) {
	tb.Helper()
	if err := s.Deliver(tb.Context(), items); err != nil {
		tb.Fatalf("deliver: %v", err)
	}
}

// holds wants the book to be these items, and soon.
func holds(tb testing.TB, r Receiver, want []sinks.Item) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%d items are in the book", len(want)), func() bool { return len(r.Book()) >= len(want) })
	got := r.Book()
	if len(got) != len(want) {
		tb.Fatalf("%d items are in the book, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i].Body) {
			tb.Errorf("item %d is %.60q (%d bytes), want %.60q (%d)", i, got[i], len(got[i]), want[i].Body, len(want[i].Body))
		}
	}
}

func wantVerdict(tb testing.TB, err error, want sinks.Verdict) {
	tb.Helper()
	if e, ok := errors.AsType[*sinks.Error](err); !ok || e.Verdict != want {
		tb.Errorf("deliver: %v (%T), want verdict %d", err, err, want)
	}
}

// eventually waits for what a receiver does on its own: at most 5 seconds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); !holds(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("5 seconds on, it still is not so that %s", what)
		}
	}
}
