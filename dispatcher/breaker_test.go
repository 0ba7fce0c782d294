package dispatcher

import (
	"testing"
	"time"
)

// Guarantee C4.
func TestBreakerFollowsItsDiagram(t *testing.T) {
	t0 := time.Unix(1000, 0)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	fail := func(s, id int, probe, spent bool) func(*testing.T, *breaker) {
		return func(t *testing.T, b *breaker) {
			t.Helper()
			if got := b.failed(at(s), itemID(id), probe); got != spent {
				t.Errorf("at %d s the failure of item %d: spent is %v, want %v", s, id, got, spent)
			}
		}
	}
	away := func(s int, after time.Duration, probe bool) func(*testing.T, *breaker) {
		return func(_ *testing.T, b *breaker) { b.unavailable(at(s), after, probe) }
	}
	ask := func(s int, probe bool, wait time.Duration) func(*testing.T, *breaker) {
		return func(t *testing.T, b *breaker) {
			t.Helper()
			if p, w := b.ask(at(s)); p != probe || w != wait {
				t.Errorf("at %d s: probe %v, wait %v; want %v, %v", s, p, w, probe, wait)
			}
		}
	}
	answer := func(_ *testing.T, b *breaker) { b.answered() }
	withdraw := func(_ *testing.T, b *breaker) { b.withdrawn() }

	type steps []func(*testing.T, *breaker)
	for name, tt := range map[string]struct {
		steps steps
		want  breakerState
	}{
		"closed lets pass":                  {steps{ask(0, false, 0)}, closed},
		"first unavailable opens":           {steps{away(0, 0, false), ask(1, false, 4*time.Second)}, open},
		"probe when due":                    {steps{away(0, 0, false), ask(5, true, 0), ask(5, false, -1)}, probing},
		"probe succeeds":                    {steps{away(0, 0, false), ask(5, true, 0), answer, ask(5, false, 0)}, closed},
		"probe unavailable":                 {steps{away(0, 0, false), ask(5, true, 0), away(6, 0, true), ask(6, false, 5*time.Second)}, open},
		"probe withdrawn":                   {steps{away(0, 0, false), ask(5, true, 0), withdraw, ask(6, true, 0)}, probing},
		"retry after":                       {steps{away(0, time.Minute, false), ask(59, false, time.Second), ask(60, true, 0)}, probing},
		"retry after shorter than a probe":  {steps{away(0, time.Second, false), ask(1, true, 0)}, probing},
		"retry after is capped":             {steps{away(0, 48*time.Hour, false), ask(0, false, time.Hour)}, open},
		"a straggler may put off the probe": {steps{away(0, 0, false), away(1, time.Minute, false), away(2, 0, false), ask(2, false, 59*time.Second)}, open},
		"a straggler does not decide":       {steps{away(0, 0, false), ask(5, true, 0), away(5, 0, false), fail(5, 9, false, false), ask(5, false, -1)}, probing},
		"a straggler that arrived does":     {steps{away(0, 0, false), answer}, closed},

		"three items in a row":             {steps{fail(0, 1, false, true), fail(0, 2, false, true), fail(0, 3, false, false), ask(0, false, 5*time.Second)}, open},
		"one item many times":              {steps{fail(0, 1, false, true), fail(1, 1, false, true), fail(2, 1, false, true), fail(3, 1, false, true)}, closed},
		"an answer ends the row":           {steps{fail(0, 1, false, true), fail(0, 2, false, true), answer, fail(0, 3, false, true), fail(0, 4, false, true)}, closed},
		"unspent while it is open":         {steps{fail(0, 1, false, true), fail(0, 2, false, true), fail(0, 3, false, false), fail(1, 4, false, false)}, open},
		"the row's probe fails: unspent":   {steps{fail(0, 1, false, true), fail(0, 2, false, true), fail(0, 3, false, false), ask(5, true, 0), fail(6, 3, true, false), ask(6, false, 5*time.Second)}, open},
		"the outage's probe fails: spent":  {steps{away(0, 0, false), ask(5, true, 0), fail(6, 3, true, true), ask(6, false, 0)}, closed},
		"the row became an outage":         {steps{fail(0, 1, false, true), fail(0, 2, false, true), fail(0, 3, false, false), ask(5, true, 0), away(6, 0, true), ask(11, true, 0), fail(11, 3, true, true)}, closed},
		"an outage ends the row":           {steps{fail(0, 1, false, true), fail(0, 2, false, true), away(0, 0, false), ask(5, true, 0), fail(6, 3, true, true), fail(6, 4, false, true)}, closed},
		"withdrawn without probe is no-op": {steps{withdraw, fail(0, 1, false, true)}, closed},
	} {
		t.Run(name, func(t *testing.T) {
			b := breaker{Breaker: Breaker{Failures: 3}.withDefaults()}
			for _, step := range tt.steps {
				step(t, &b)
			}
			if b.state != tt.want {
				t.Errorf("state %d, want %d", b.state, tt.want)
			}
		})
	}
}

func TestBreakerThatCountsNoFailuresStaysClosed(t *testing.T) {
	b := breaker{Breaker: Breaker{Failures: -1}.withDefaults()}
	for i := range 100 {
		if !b.failed(time.Unix(int64(i), 0), itemID(i), false) || b.state != closed {
			t.Fatal("it opened")
		}
	}
	b.unavailable(time.Unix(200, 0), 0, false)
	if b.state != open {
		t.Error("an outage did not open it")
	}
}
