package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/recovery"
)

// newRegistry holds what is known of the process and of its start; the rooms add theirs.
func newRegistry(r recovery.Report) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdfast_build_info", Help: "1, labelled with what runs."}, []string{"version", "go"})
	build.WithLabelValues(cli.Version(), runtime.Version()).Set(1)
	lost := prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_recovery_lost_items_total", Help: "Items that were durable and are lost, found at the start."})
	lost.Add(float64(r.Lost))
	kept := prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_recovery_salvaged_items_total", Help: "Items made durable again at the start."})
	kept.Add(float64(r.Kept))
	unconfirmed := prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_recovery_unconfirmed_items_total", Help: "Items found torn at the start, whose producers had no answer."})
	unconfirmed.Add(float64(r.Unconfirmed))
	reg.MustRegister(build, lost, kept, unconfirmed, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}
