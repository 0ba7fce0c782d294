package harness

import "cmp"

// A Row is one system with one workload: medians over the rounds. Ratios are to its floor in the same round.
type Row struct {
	Workload    string `json:"workload"`
	System      string `json:"system"`
	Sinks       int    `json:"sinks"`
	Class       string `json:"class,omitempty"`  // as proven in this session; of a floor "floor"
	Failed      string `json:"failed,omitempty"` // why there are no figures: a run that failed leaves none for the whole row
	Sample             // the median of each figure; the verdicts are added up
	AcceptRatio Spread `json:"accept_ratio"`
	E2ERatio    Spread `json:"e2e_ratio"`
	BytesRatio  Spread `json:"bytes_ratio"`          // by their own counts
	DeviceRatio Spread `json:"device_ratio"`         // by the device's
	ByOneSink   Spread `json:"bytes_by_k1,omitzero"` // own bytes by those of the same system with one sink
	Confidence
}

// Rows are the floors and the systems, none if there was no round. classes has what was proven of each system, by name.
func (c Comparison) Rows(classes map[string]string) (rows []Row) {
	if len(c.Rounds) == 0 {
		return nil
	}
	for _, s := range append(append([]System(nil), c.Floors...), c.Systems...) {
		r := c.row(s)
		r.Class = cmp.Or(r.Class, classes[s.Name])
		rows = append(rows, r)
	}
	return rows
}

func (c Comparison) row(s System) Row {
	r := Row{Workload: c.Workload.Name, System: s.Name, Sinks: s.Sinks, Confidence: c.Confidence}
	var samples []Sample
	for _, o := range c.Rounds {
		if one, ok := c.sample(o, s); ok {
			samples = append(samples, one)
		}
	}
	if len(samples) < len(c.Rounds) {
		r.Failed = c.failure(s)
		return r
	}
	if s.Floor == s.Name {
		r.Class = "floor"
	}
	floor := System{Name: s.Floor}
	r.Sample = medians(samples)
	r.AcceptRatio, r.E2ERatio = c.Ratio(s, floor, Accept), c.Ratio(s, floor, E2E)
	r.BytesRatio, r.DeviceRatio = c.Ratio(s, floor, Bytes), c.Ratio(s, floor, Device)
	if s.Sinks > 1 {
		r.ByOneSink = c.Ratio(s, System{Name: s.Name, Sinks: 1}, Bytes)
	}
	return r
}

// failure is the first error of a system.
func (c Comparison) failure(s System) string {
	for i, o := range c.Systems {
		for _, r := range c.Rounds {
			if o.Name == s.Name && o.Sinks == s.Sinks && r.failed[i] != nil {
				return r.failed[i].Error()
			}
		}
	}
	return ""
}

// FindRow is one of rows, nil if it was not measured or has no figures.
func FindRow(rows []Row, workload, system string, sinks int) *Row {
	for i, w := range rows {
		if w.Workload == workload && w.System == system && w.Sinks == sinks && w.Failed == "" {
			return &rows[i]
		}
	}
	return nil
}

// medians are those of each figure for itself; the verdicts are added up.
func medians(all []Sample) (s Sample) {
	of := func(get func(*Sample) float64) float64 {
		var v []float64
		for i := range all {
			v = append(v, get(&all[i]))
		}
		return Median(v)
	}
	s = Sample{
		Accept:  of(func(s *Sample) float64 { return s.Accept }),
		E2E:     of(func(s *Sample) float64 { return s.E2E }),
		CPU:     of(func(s *Sample) float64 { return s.CPU }),
		RSS:     int64(of(func(s *Sample) float64 { return float64(s.RSS) })),
		Bytes:   of(func(s *Sample) float64 { return s.Bytes }),
		Syncs:   of(func(s *Sample) float64 { return s.Syncs }),
		Device:  of(func(s *Sample) float64 { return s.Device }),
		Flushes: of(func(s *Sample) float64 { return s.Flushes }),
		Disk:    int64(of(func(s *Sample) float64 { return float64(s.Disk) })),
		Drained: int64(of(func(s *Sample) float64 { return float64(s.Drained) })),
		Start:   of(func(s *Sample) float64 { return s.Start }),
		Latency: Percentiles{
			of(func(s *Sample) float64 { return s.Latency.P50 }),
			of(func(s *Sample) float64 { return s.Latency.P99 }),
			of(func(s *Sample) float64 { return s.Latency.P999 }),
		},
	}
	for _, o := range all {
		s.Unique, s.Duplicates, s.Missing = s.Unique+o.Unique, s.Duplicates+o.Duplicates, s.Missing+o.Missing
	}
	return s
}
