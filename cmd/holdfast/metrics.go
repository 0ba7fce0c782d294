package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/recovery"
)

// newRegistry holds what is known of the process, and of what it recovered; the rooms add theirs.
func newRegistry(recovered func() recovery.Report) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdfast_build_info", Help: "1, labelled with what runs."}, []string{"version", "go"})
	build.WithLabelValues(cli.Version(), runtime.Version()).Set(1)
	count := func(name, help string, of func(r recovery.Report) int) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "holdfast_recovery_" + name + "_items_total", Help: help},
			func() float64 { return float64(of(recovered())) })
	}
	reg.MustRegister(build,
		count("lost", "Items that were durable, were owed to somebody, and are lost.", func(r recovery.Report) int { return r.Lost }),
		count("salvaged", "Items made durable again at the start, and kept of damaged segments.", func(r recovery.Report) int { return r.Kept }),
		count("unconfirmed", "Items found torn at the start, whose producers had no answer.", func(r recovery.Report) int { return r.Unconfirmed }),
		count("uncertain", "Items that are not there, and of which nothing tells whether they were still owed.", func(r recovery.Report) int { return r.Uncertain }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}
