package dispatcher

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A lane whose queue cannot be read is down, and says why and since when, unless an operator paused it.
func TestALaneWhoseQueueCannotBeReadIsDown(t *testing.T) {
	since, paused := time.Unix(7, 0), false
	var unread error
	reg := prometheus.NewPedanticRegistry()
	d, err := New([]Sink{{Name: "s", Feed: newFeed(true, 0), Sink: sinkFunc(nil), Unread: func() (time.Time, error) { return since, unread }, Paused: func() bool { return paused }}}, Options{Registry: reg})
	if err != nil {
		t.Fatal(err)
	}
	if s := d.Status()[0]; s.State != Active || s.LastError != "" {
		t.Errorf("%+v", s)
	}
	unread = errors.New("the quarantine is full")
	if s := d.Status()[0]; s.State != Down || !s.Since.Equal(since) || !strings.Contains(s.LastError, "the quarantine is full") || s.LastFailure.IsZero() {
		t.Errorf("%+v", s)
	}
	const down = `# HELP holdfast_sink_state 1 for the state that the sink is in.
# TYPE holdfast_sink_state gauge
holdfast_sink_state{sink="s",state="active"} 0
holdfast_sink_state{sink="s",state="backoff"} 0
holdfast_sink_state{sink="s",state="down"} 1
holdfast_sink_state{sink="s",state="paused"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(down), "holdfast_sink_state"); err != nil {
		t.Error(err)
	}
	if paused = true; d.Status()[0].State != Paused {
		t.Errorf("%+v", d.Status()[0])
	}
}
