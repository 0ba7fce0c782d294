package queue_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/queue"
)

// Guarantee M1: every series is there at zero before traffic, and none appears with it.
func TestEverySeriesExistsFromTheStart(t *testing.T) {
	b := newBench(t, bounded("a", 2, queue.DropNewest), named("b")[0])
	want := map[string][][]string{}
	perSource := [][]string{{"http"}, {"stream"}, {"stdin"}}
	perSink := [][]string{{"a"}, {"b"}}
	with := func(values ...string) (out [][]string) {
		for _, s := range perSink {
			for _, v := range values {
				out = append(out, []string{s[0], v})
			}
		}
		return out
	}
	for _, n := range []string{"accepted_total", "accepted_bytes_total", "duplicates_total", "unrouted_total"} {
		want[n] = perSource
	}
	for _, n := range []string{"sink_accepted_total", "sink_requeued_total", "sink_waiting", "sink_waiting_bytes", "sink_oldest_age_seconds", "sink_in_flight", "sink_dead_items", "sink_delivery_duration_seconds"} {
		want[n] = perSink
	}
	want["sink_settled_total"] = with("done", "dead", "expired", "dropped")
	want["sink_dropped_total"] = with("newest", "oldest", "expired")
	want["sink_purged_total"] = with("operator", "expired", "full")
	want["sink_dead_total"] = with("permanent", "exhausted", "full")
	for _, n := range []string{"dedupe_evicted_total", "ack_waiters", "disk_budget_bytes", "released_total", "commit_duration_seconds", "commit_items", "commit_bytes", "ack_join_duration_seconds"} {
		want[n] = [][]string{nil}
	}
	for n, series := range want {
		for _, labels := range series {
			equal(t, fmt.Sprint(n, labels), b.metric(n, labels...), 0)
		}
	}
	for _, n := range []string{"segments", "disk_bytes", "disk_free_bytes", "device_written_bytes_total"} {
		b.metric(n)
	}
	count := func() int {
		n, err := testutil.GatherAndCount(b.reg)
		b.ok(err)
		return n
	}
	before := count()
	_, j := b.joined("x")
	b.put("1", "2", "3")
	b.settle("a", queue.Outcome{Kind: queue.Bury, Permanent: true, Err: "no"}, b.take("a", 1)...)
	b.bury("a", "no")
	b.drain("b")
	b.wait(j)
	b.flush()
	b.requeue(queue.DeadFilter{All: true})
	_, err := b.request(queue.Request{Source: "made up", Items: []queue.Item{{}}})
	b.ok(err)
	equal(t, "series", count(), before)
	equal(t, "dead", []float64{b.metric("sink_dead_total", "a", "permanent"), b.metric("sink_dead_total", "a", "exhausted")}, []float64{1, 1})
}

// Guarantee M1: as promtool sees it.
func TestMetricsAreClean(t *testing.T) {
	b := newBench(t, named("a")...)
	problems, err := testutil.GatherAndLint(b.reg)
	b.ok(err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Guarantee M2: at every quiet moment nothing is missing in the books, from what is shown since the start.
func TestBooksBalance(t *testing.T) {
	b := newBench(t, none("a", 100), none("b", 100), bounded("c", 5, queue.DropNewest))
	for round := range 4 {
		atStart := map[string]float64{}
		for _, s := range []string{"a", "b", "c"} {
			atStart[s] = b.metric("sink_waiting", s)
		}
		b.fill(10, 10)
		for i, d := range b.take("a", 10) {
			b.settle("a", []queue.Outcome{done, {Kind: queue.Retry}, buried("no"), {Kind: queue.Hold}}[i%4], d)
		}
		b.bury("c", "no")
		b.flush()
		b.requeue(queue.DeadFilter{})
		if round%2 == 0 {
			b.requeue(queue.DeadFilter{Sink: "a"})
			b.drain("b")
		}
		for s, w := range atStart {
			got := w + b.metric("sink_accepted_total", s) + b.metric("sink_requeued_total", s) - b.metric("sink_settled_total", s)
			if waiting := b.metric("sink_waiting", s); got != waiting {
				t.Errorf("round %d, sink %s: %v waited, accepted %v, requeued %v, settled %v, but %v wait", round, s, w,
					b.metric("sink_accepted_total", s), b.metric("sink_requeued_total", s), b.metric("sink_settled_total", s), waiting)
			}
		}
		for _, s := range b.q.Sinks() {
			if s.Accepted+s.Requeued-s.Settled != s.Waiting {
				t.Errorf("round %d: %+v", round, s)
			}
		}
		if round == 1 {
			b.crash()
		} else {
			b.restart()
		}
	}
}

func TestSourcesAreCountedApart(t *testing.T) {
	b := newBench(t, named("a")...)
	for _, s := range []string{"http", "stdin", "stdin"} {
		r := queue.Request{Source: s, Scope: s, Items: []queue.Item{{Body: []byte("four"), IdempotencyKey: "k"}}}
		_, err := b.request(r)
		b.ok(err)
	}
	for s, want := range map[string][]float64{"http": {1, 4, 0}, "stdin": {1, 4, 1}, "stream": {0, 0, 0}} {
		got := []float64{b.metric("accepted_total", s), b.metric("accepted_bytes_total", s), b.metric("duplicates_total", s)}
		equal(t, s, got, want)
	}
}
