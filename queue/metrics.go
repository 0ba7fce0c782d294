package queue

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/store"
)

// Sources are the values of the label source: where requests come from.
var sources = []string{"http", "stream", "stdin"}

// metrics is a prometheus.Collector: what is counted as it happens, and what is read when it is asked for. Every series
// is there from the start, and every counter counts since then, so that per sink what waited at the start, plus accepted
// and requeued, less settled, is what waits.
type metrics struct {
	q        *Queues
	bySource map[string]*sourceCounts
	bySink   map[uint32]*sinkCounts // by queue number
	released prometheus.Counter

	commitSeconds, commitItems, commitBytes, joinSeconds prometheus.Histogram
	deliverySeconds                                      *prometheus.HistogramVec
}

type sourceCounts struct{ items, bytes, duplicates, unrouted atomic.Int64 }

type sinkCounts struct {
	done, dropped, evicted, expired, lost, deadPermanent, deadExhausted, deadEvicted atomic.Int64
	purged                                                                           map[string]*atomic.Int64 // by reason; the map is fixed
	seconds                                                                          prometheus.Observer
	accepted, requeued                                                               int64 // before the start
}

// gauge and counter describe what is read when it is asked for.
type desc struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) desc {
	return desc{prometheus.NewDesc("holdfast_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) desc {
	return desc{prometheus.NewDesc("holdfast_"+name, help, labels, nil), prometheus.GaugeValue}
}

var (
	acceptedTotal   = counter("accepted_total", "Items accepted.", "source")
	acceptedBytes   = counter("accepted_bytes_total", "Bytes of the bodies of the items accepted.", "source")
	duplicatesTotal = counter("duplicates_total", "Items answered with an earlier receipt.", "source")
	unroutedTotal   = counter("unrouted_total", "Items accepted that no sink wanted.", "source")
	dedupeEvicted   = counter("dedupe_evicted_total", "Idempotency keys forgotten before their window was over.")
	sinkAccepted    = counter("sink_accepted_total", "Deliveries accepted for the sink since the start.", "sink")
	sinkSettled     = counter("sink_settled_total", "Deliveries settled since the start.", "sink", "outcome")
	sinkRequeued    = counter("sink_requeued_total", "Dead letters requeued since the start.", "sink")
	sinkDropped     = counter("sink_dropped_total", "Deliveries dropped since the start.", "sink", "reason")
	sinkDead        = counter("sink_dead_total", "Deliveries that became dead letters since the start.", "sink", "reason")
	sinkPurged      = counter("sink_purged_total", "Dead letters deleted since the start.", "sink", "reason")
	sinkWaiting     = gauge("sink_waiting", "Deliveries that wait, in flight included.", "sink")
	sinkWaitBytes   = gauge("sink_waiting_bytes", "Bytes of the bodies of the deliveries that wait.", "sink")
	sinkOldest      = gauge("sink_oldest_age_seconds", "Age of the oldest delivery that waits; 0 if none does.", "sink")
	sinkInFlight    = gauge("sink_in_flight", "Deliveries handed to the lane.", "sink")
	sinkDeadItems   = gauge("sink_dead_items", "Dead letters kept.", "sink")
	ackWaiters      = gauge("ack_waiters", "Items whose producers wait for their delivery.")
	segmentsNow     = gauge("segments", "Segments of the log.")
	diskBytes       = gauge("disk_bytes", "Bytes allocated on disk for the log and the queues.")
	diskBudget      = gauge("disk_budget_bytes", "The disk budget; 0 if there is none.")
	diskFree        = gauge("disk_free_bytes", "Free bytes of the disk.")
	deviceWritten   = counter("device_written_bytes_total", "Bytes of whole pages handed to the device since the start.")

	descs = []desc{acceptedTotal, acceptedBytes, duplicatesTotal, unroutedTotal, dedupeEvicted, sinkAccepted, sinkSettled,
		sinkRequeued, sinkDropped, sinkDead, sinkPurged, sinkWaiting, sinkWaitBytes, sinkOldest, sinkInFlight, sinkDeadItems, ackWaiters,
		segmentsNow, diskBytes, diskBudget, diskFree, deviceWritten}
)

func newMetrics(q *Queues) *metrics {
	seconds := prometheus.ExponentialBuckets(50e-6, 2, 18)
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "holdfast_" + name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		q:             q,
		bySource:      map[string]*sourceCounts{},
		bySink:        map[uint32]*sinkCounts{},
		released:      prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_released_total", Help: "Items whose segment went because nobody was owed them."}),
		commitSeconds: histogram("commit_duration_seconds", "Time of a group commit, its fdatasync included.", seconds),
		commitItems:   histogram("commit_items", "Items of a group commit.", prometheus.ExponentialBuckets(1, 4, 9)),
		commitBytes:   histogram("commit_bytes", "Bytes of a group commit.", prometheus.ExponentialBuckets(256, 4, 9)),
		joinSeconds:   histogram("ack_join_duration_seconds", "Time from an item's request to the ack after its last sink.", prometheus.ExponentialBuckets(1e-3, 4, 10)),
		deliverySeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_sink_delivery_duration_seconds", Help: "Time from the accept to the end of the delivery.", Buckets: prometheus.ExponentialBuckets(1e-3, 4, 12)}, []string{"sink"}),
	}
	for _, s := range sources {
		m.bySource[s] = &sourceCounts{}
	}
	for _, s := range q.sinks {
		m.bySink[s.queue.number] = &sinkCounts{
			seconds:  m.deliverySeconds.WithLabelValues(s.Name),
			purged:   map[string]*atomic.Int64{byOperator: {}, "expired": {}, "full": {}},
			accepted: q.st.Accepted(s.queue.number).Items,
			requeued: s.queue.counts.Requeued.Items,
		}
		s.queue.metered = m.bySink[s.queue.number]
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range descs {
		c <- d.Desc
	}
	for _, o := range m.others() {
		o.Describe(c)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(c chan<- prometheus.Metric) {
	send := func(d desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d.Desc, d.kind, v, labels...)
	}
	for name, s := range m.bySource {
		send(acceptedTotal, float64(s.items.Load()), name)
		send(acceptedBytes, float64(s.bytes.Load()), name)
		send(duplicatesTotal, float64(s.duplicates.Load()), name)
		send(unroutedTotal, float64(s.unrouted.Load()), name)
	}
	for i, s := range m.q.Sinks() {
		m.collectSink(send, s, m.q.sinks[i].queue.metered)
	}
	st := m.q.Status()
	send(dedupeEvicted, float64(m.q.dedupe.evicted.Load()))
	send(ackWaiters, float64(m.q.join.n.Load()))
	send(segmentsNow, float64(st.Usage.Segments))
	send(diskBytes, float64(st.Usage.LogBytes+st.Usage.SpareBytes+st.Usage.QueuesBytes))
	send(diskBudget, float64(st.MaxBytes))
	send(diskFree, float64(st.FreeBytes))
	send(deviceWritten, float64(m.q.st.Written()))
	for _, o := range m.others() {
		o.Collect(c)
	}
}

func (m *metrics) collectSink(send func(desc, float64, ...string), s SinkStatus, n *sinkCounts) {
	age := 0.0
	if !s.Oldest.IsZero() {
		age = max(0, time.Since(s.Oldest).Seconds())
	}
	send(sinkAccepted, float64(s.Accepted-n.accepted), s.Name)
	send(sinkRequeued, float64(s.Requeued-n.requeued), s.Name)
	send(sinkSettled, float64(n.done.Load()), s.Name, "done")
	send(sinkSettled, float64(n.deadPermanent.Load()+n.deadExhausted.Load()+n.deadEvicted.Load()), s.Name, "dead")
	send(sinkSettled, float64(n.expired.Load()), s.Name, "expired")
	send(sinkSettled, float64(n.evicted.Load()), s.Name, "dropped")
	send(sinkSettled, float64(n.lost.Load()), s.Name, "lost")
	send(sinkDropped, float64(n.dropped.Load()), s.Name, "newest")
	send(sinkDropped, float64(n.evicted.Load()), s.Name, "oldest")
	send(sinkDropped, float64(n.expired.Load()), s.Name, "expired")
	send(sinkDead, float64(n.deadPermanent.Load()), s.Name, "permanent")
	send(sinkDead, float64(n.deadExhausted.Load()), s.Name, "exhausted")
	send(sinkDead, float64(n.deadEvicted.Load()), s.Name, "full")
	for why, c := range n.purged {
		send(sinkPurged, float64(c.Load()), s.Name, why)
	}
	send(sinkWaiting, float64(s.Waiting), s.Name)
	send(sinkWaitBytes, float64(s.WaitingBytes), s.Name)
	send(sinkOldest, age, s.Name)
	send(sinkInFlight, float64(s.InFlight), s.Name)
	send(sinkDeadItems, float64(s.Dead), s.Name)
}

func (m *metrics) others() []prometheus.Collector {
	return []prometheus.Collector{m.released, m.commitSeconds, m.commitItems, m.commitBytes, m.joinSeconds, m.deliverySeconds}
}

// accepted counts a request that was answered.
func (m *metrics) accepted(p *Pending) {
	s := m.bySource[p.source]
	if s == nil {
		s = &sourceCounts{} // of no series
	}
	for _, dup := range p.dups {
		if dup {
			s.duplicates.Add(1)
		}
	}
	for i := range p.items {
		it := &p.items[i]
		s.items.Add(1)
		s.bytes.Add(int64(len(it.Body)))
		if len(it.Mask.To)+len(it.Mask.Dropped) == 0 {
			s.unrouted.Add(1)
		}
		for _, n := range it.Mask.Dropped {
			m.bySink[n].dropped.Add(1)
		}
	}
}

// committed counts a group commit.
func (m *metrics) committed(g *group, took time.Duration) {
	m.commitSeconds.Observe(took.Seconds())
	m.commitItems.Observe(float64(len(g.items)))
	m.commitBytes.Observe(float64(g.bytes))
}

// done counts a delivery that its sink has.
func (m *metrics) done(u *queue, it *store.Item, now time.Time) {
	u.metered.done.Add(1)
	u.metered.seconds.Observe(max(0, float64(now.UnixMilli()-it.Time)/1e3))
}

// died counts a delivery that became a dead letter.
func (m *metrics) died(u *queue, o Outcome) {
	n := u.metered
	switch {
	case o.Permanent:
		n.deadPermanent.Add(1)
	case o.Err == evicted:
		n.deadEvicted.Add(1)
	default:
		n.deadExhausted.Add(1)
	}
}

// ended counts a delivery that was settled without one.
func (m *metrics) ended(u *queue, why store.Reason) {
	n := u.metered
	switch why {
	case store.GoneExpired:
		n.expired.Add(1)
	case store.GoneLost:
		n.lost.Add(1)
	default:
		n.evicted.Add(1)
	}
}

// purged counts dead letters that were deleted.
func (m *metrics) purged(u *queue, why string, n int) { u.metered.purged[why].Add(int64(n)) }

// joined counts an ack.
func (m *metrics) joined(took time.Duration) { m.joinSeconds.Observe(took.Seconds()) }

// outcomes are a sink's deliveries done and dropped since the start.
func (m *metrics) outcomes(u *queue) (done, dropped int64) {
	n := u.metered
	return n.done.Load(), n.dropped.Load() + n.evicted.Load() + n.expired.Load() + n.lost.Load()
}
