package harness

import (
	"os"
	"runtime"
	"sync"
	"time"
)

// A Sample is what one run of one system showed.
type Sample struct {
	Offered float64     `json:"offered_per_s,omitempty"` // items; 0: each producer put as fast as it was answered
	Accept  float64     `json:"accept_per_s"`            // items
	E2E     float64     `json:"e2e_per_s"`               // items, until the last sink had the last one; of a floor as Accept
	Latency Percentiles `json:"accept_latency"`
	CPU     float64     `json:"cpu_us_per_item"`       // of the server; of a library with the producers and the sinks
	RSS     int64       `json:"rss_bytes"`             // when everything is delivered
	Bytes   float64     `json:"bytes_per_item"`        // handed to the device by the system itself, in whole pages; 0: not known
	Syncs   float64     `json:"commits_per_item"`      // by its own count; 0: not known
	Device  float64     `json:"device_bytes_per_item"` // what the device says, of all processes
	Flushes float64     `json:"device_flushes_per_item"`
	Disk    int64       `json:"disk_peak_bytes"`
	Drained int64       `json:"disk_drained_bytes"` // when everything is delivered, and the system has been stopped
	Start   float64     `json:"start_ms"`           // in an empty directory, from the call to ready
	Verdict
}

// A meter watches a system and a disk from when it is started.
type meter struct {
	running        Running
	dir            string
	bytes, flushes float64
	cpu            time.Duration
	device         device

	peak int64 // owned by watch until done is closed
	end  chan struct{}
	done sync.WaitGroup
}

// startMeter is called right before the first put.
func startMeter(r Running, dir string) (m *meter, err error) {
	runtime.GC() // what earlier runs left is not to be swept now
	m = &meter{running: r, dir: dir, cpu: cpuOf(r.PIDs()), device: deviceOf(dir), end: make(chan struct{})}
	if m.bytes, m.flushes, err = written(r); err != nil {
		return nil, err
	}
	m.done.Go(m.watch)
	return m, nil
}

// watch finds the peak of the disk's use. A walk costs some system calls for each file, hence now and then.
func (m *meter) watch() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		m.peak = max(m.peak, DiskUse(m.dir))
		select {
		case <-tick.C:
		case <-m.end:
			m.peak = max(m.peak, DiskUse(m.dir))
			return
		}
	}
}

// stop ends watch; it may be called again.
func (m *meter) stop() {
	select {
	case <-m.end:
	default:
		close(m.end)
	}
	m.done.Wait()
}

// sample is taken when everything is delivered, at last.
func (m *meter) sample(w Workload, p Produced, last time.Time) (Sample, error) {
	n, d, pids := float64(w.Items), deviceOf(m.dir), m.running.PIDs()
	cpu := cpuOf(pids) - m.cpu
	m.stop()
	bytes, flushes, err := written(m.running)
	return Sample{
		Accept:  n / p.Took.Seconds(),
		E2E:     n / last.Sub(p.Began).Seconds(),
		Latency: p.Percentiles(),
		CPU:     float64(cpu.Microseconds()) / n,
		RSS:     rssOf(pids),
		Bytes:   (bytes - m.bytes) / n,
		Syncs:   (flushes - m.flushes) / n,
		Device:  float64(d.written-m.device.written) / n,
		Flushes: float64(d.flushes-m.device.flushes) / n,
		Disk:    m.peak,
	}, err
}

// written is 0 for a system that does not know.
func written(r Running) (bytes, flushes float64, err error) {
	if c, ok := r.(Counter); ok {
		return c.Written()
	}
	return 0, 0, nil
}

// cpuOf is the CPU time of some processes, of this one if there are none.
func cpuOf(pids []int) (d time.Duration) {
	if len(pids) == 0 {
		return ownCPU()
	}
	for _, pid := range pids {
		d += ProcessCPU(pid)
	}
	return d
}

// rssOf is their memory, with what several share counted for each.
func rssOf(pids []int) (n int64) {
	for _, pid := range pids {
		n += Memory(pid, "VmRSS")
	}
	if len(pids) == 0 {
		n = Memory(os.Getpid(), "VmRSS")
	}
	return n
}
