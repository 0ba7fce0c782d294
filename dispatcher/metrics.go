package dispatcher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the families; each lane has its own series of them, there at 0 from the start.
type metrics struct {
	attempts  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	retries   *prometheus.CounterVec
	abandoned *prometheus.CounterVec
}

// meters are one lane's series.
type meters struct {
	attempts  [results]prometheus.Counter
	duration  prometheus.Observer
	retries   prometheus.Counter
	abandoned prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &metrics{
		attempts: counter("holdfast_sink_attempts_total", "Attempts to deliver an item, by what they came to.", "sink", "result"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "holdfast_sink_attempt_duration_seconds",
			Help:    "Duration of attempts; one of a batch counts once.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"sink"}),
		retries:   counter("holdfast_sink_retries_total", "Deliveries that were put off to be attempted again, their attempt being spent.", "sink"),
		abandoned: counter("holdfast_sink_abandoned_total", "Calls of a sink that were left behind because they ignored their deadline or a stop.", "sink"),
	}
}

// lane makes the series of one sink.
func (m *metrics) lane(sink string) *meters {
	l := &meters{
		duration:  m.duration.WithLabelValues(sink),
		retries:   m.retries.WithLabelValues(sink),
		abandoned: m.abandoned.WithLabelValues(sink),
	}
	for r, name := range resultNames {
		l.attempts[r] = m.attempts.WithLabelValues(sink, name)
	}
	return l
}

// register hands all families to reg, with one gauge per lane and state that is read when it is collected.
func (m *metrics) register(reg prometheus.Registerer, lanes []*lane) error {
	all := []prometheus.Collector{m.attempts, m.duration, m.retries, m.abandoned}
	for _, l := range lanes {
		for _, state := range states {
			all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name:        "holdfast_sink_state",
				Help:        "1 for the state that the sink is in.",
				ConstLabels: prometheus.Labels{"sink": l.Name, "state": string(state)},
			}, func() float64 {
				if l.status().State == state {
					return 1
				}
				return 0
			}))
		}
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// count notes one item's result.
func (m *meters) count(r result, n int) { m.attempts[r].Add(float64(n)) }

// took notes how long an attempt lasted.
func (m *meters) took(d time.Duration) { m.duration.Observe(d.Seconds()) }
