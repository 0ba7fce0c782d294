package dispatcher

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/sinks"
)

// Guarantee M1, in part: the lanes' series exist at 0 before traffic.
func TestSeriesExistBeforeTraffic(t *testing.T) {
	reg := prometheus.NewRegistry()
	list := []Sink{{Name: "a", Feed: newFeed(true, 0), Sink: sinkFunc(nil)}, {Name: "b", Feed: newFeed(true, 0), Sink: sinkFunc(nil)}}
	if _, err := New(list, Options{Registry: reg}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"holdfast_sink_attempts_total":           2 * int(results),
		"holdfast_sink_attempt_duration_seconds": 2,
		"holdfast_sink_retries_total":            2,
		"holdfast_sink_abandoned_total":          2,
		"holdfast_sink_state":                    2 * len(states),
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != want {
			t.Errorf("%s: %d series, want %d (%v)", name, n, want, err)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) != 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if _, err := New(list, Options{Registry: reg}); err == nil {
		t.Error("a second dispatcher in one registry: no error")
	}
}

func TestAttemptsAreCountedByResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		feed := newFeed(true, 9)
		release := make(chan struct{})
		r := start(t, Options{Registry: reg}, Sink{Name: "s", Feed: feed, Retry: &Retry{MaxRetries: 1, Base: time.Second, Max: time.Second}, Breaker: Breaker{Failures: -1}, Sink: sinkFunc(func(ctx context.Context, items []sinks.Item) error {
			switch it := items[0]; {
			case number(it) == 0:
				return errTest
			case number(it) == 1 && it.Attempt == 1:
				panic("oh")
			case number(it) == 2 && it.Attempt == 1:
				<-ctx.Done()
				return ctx.Err()
			case number(it) == 3 && it.Attempt == 1:
				<-release
			case number(it) == 4:
				return sinks.Permanent(errTest)
			case number(it) == 8:
				return sinks.Unavailable(errTest)
			}
			return nil
		})})
		after(32 * time.Second)
		close(release)
		want := `
# HELP holdfast_sink_abandoned_total Calls of a sink that were left behind because they ignored their deadline or a stop.
# TYPE holdfast_sink_abandoned_total counter
holdfast_sink_abandoned_total{sink="s"} 1
# HELP holdfast_sink_attempts_total Attempts to deliver an item, by what they came to.
# TYPE holdfast_sink_attempts_total counter
holdfast_sink_attempts_total{result="abandoned",sink="s"} 1
holdfast_sink_attempts_total{result="cut",sink="s"} 0
holdfast_sink_attempts_total{result="delivered",sink="s"} 6
holdfast_sink_attempts_total{result="failed",sink="s"} 2
holdfast_sink_attempts_total{result="gone",sink="s"} 0
holdfast_sink_attempts_total{result="panic",sink="s"} 1
holdfast_sink_attempts_total{result="permanent",sink="s"} 1
holdfast_sink_attempts_total{result="timeout",sink="s"} 1
holdfast_sink_attempts_total{result="unavailable",sink="s"} 2
# HELP holdfast_sink_retries_total Deliveries that were put off to be attempted again, their attempt being spent.
# TYPE holdfast_sink_retries_total counter
holdfast_sink_retries_total{sink="s"} 4
# HELP holdfast_sink_state 1 for the state that the sink is in.
# TYPE holdfast_sink_state gauge
holdfast_sink_state{sink="s",state="active"} 0
holdfast_sink_state{sink="s",state="backoff"} 0
holdfast_sink_state{sink="s",state="down"} 1
holdfast_sink_state{sink="s",state="paused"} 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "holdfast_sink_abandoned_total", "holdfast_sink_attempts_total", "holdfast_sink_retries_total", "holdfast_sink_state"); err != nil {
			t.Error(err)
		}
		r.end()
	})
}
