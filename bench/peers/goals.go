package main

import (
	"fmt"

	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// nameRedis is the peer that the goals name.
const nameRedis = "redis-always"

// goals are what holdfast must reach beside its peers: those of go run ./bench that "need bench/peers".
func (r *report) goals() (list []harness.Goal) {
	for _, want := range []struct {
		name, workload, form string
		least                float64
	}{
		{"stream, 64 connections, K=3, end to end", "p64", subject.NameStream, 1},
		{"POST, 64 connections, K=3, end to end", "p64", subject.NamePost, 0.7},
		{"stream, 1 connection", "p1", subject.NameStream, 1.2},
		{"POST, 1 connection", "p1", subject.NamePost, 1.05},
		{"4 streams, 256 in flight, K=3, end to end", "b256", subject.NameStream, 4.5},
	} {
		g := harness.Unmeasured(want.name, fmt.Sprintf("≥ %g × %s", want.least, nameRedis))
		for _, o := range r.Ratios {
			if o.Workload == want.workload && o.Form == want.form && o.Peer == nameRedis {
				g.AtLeast(want.least, o.E2E, o.Confidence)
			}
		}
		list = append(list, g)
	}
	for _, w := range []string{"p1", "p64", "b256"} {
		list = append(list, r.first(w))
	}
	return list
}

// first is the goal that holdfast's stream is faster than every server of class A, and its library than every library.
func (r *report) first(workload string) harness.Goal {
	g := harness.Unmeasured("first of class A, "+workload, "> 1 × every peer of its kind")
	worst := ratio{}
	for _, o := range r.Ratios {
		if o.Workload != workload || o.Class != "A" || o.Form == subject.NamePost || o.E2E.N == 0 {
			continue
		}
		if worst.Peer == "" || o.E2E.Median < worst.E2E.Median {
			worst = o
		}
	}
	if worst.Peer != "" {
		g.Judge(fmt.Sprintf("%s by %s: %s", worst.Form, worst.Peer, worst.E2E), worst.E2E.Median > 1, worst.Confidence)
	}
	return g
}
