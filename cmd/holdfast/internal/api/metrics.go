package api

import "github.com/prometheus/client_golang/prometheus"

// The sources of items that the API is.
const (
	sourceHTTP   = "http"
	sourceStream = "stream"
)

// reasons are the codes for which items are refused, or a request of any kind for want of the right token.
var reasons = []Code{Malformed, Unauthorized, Forbidden, Timeout, TooLarge, Unsupported, Mismatch, Busy, Full, DiskFull, Stopping, Uncertain, Internal}

type metrics struct{ rejected *prometheus.CounterVec }

// newMetrics makes every series, so that each is there at 0.
func newMetrics() *metrics {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_rejected_total",
		Help: "Requests that bring items, and lines of streams, that were refused: nothing of them was stored, but for the reason uncertain. With unauthorized and forbidden, requests of any kind.",
	}, []string{"source", "reason"})}
	for _, source := range []string{sourceHTTP, sourceStream} {
		for _, r := range reasons {
			m.rejected.WithLabelValues(source, string(r))
		}
	}
	return m
}

// reject counts a refused request or line.
func (m *metrics) reject(source string, p *Problem) {
	m.rejected.WithLabelValues(source, string(p.Code)).Inc()
}
