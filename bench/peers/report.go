package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// A report is all that was measured; its JSON is what -json writes.
type report struct {
	harness.Heading
	Sinks        int             `json:"sinks"`
	NotInstalled []string        `json:"not_installed,omitempty"`
	Proofs       []harness.Proof `json:"classes"`
	Rows         []harness.Row   `json:"rows"`
	Ratios       []ratio         `json:"ratios"`
	Goals        []harness.Goal  `json:"goals"`
}

// A ratio is holdfast by a peer of the same kind and class, in the same rounds.
type ratio struct {
	Workload string         `json:"workload"`
	Form     string         `json:"form"` // of holdfast
	Peer     string         `json:"peer"`
	Class    string         `json:"class"` // of the peer, as proven
	Accept   harness.Spread `json:"accept"`
	E2E      harness.Spread `json:"e2e"`
	Device   harness.Spread `json:"device_bytes"`
	harness.Confidence
}

// prove finds the class of every system, by itself and beside the floor of its kind.
func (r *report) prove(ctx context.Context, s *harness.Session, systems []harness.System) (err error) {
	for _, sys := range systems {
		beside := floor.TCP()
		if sys.Floor == floor.NameHere {
			beside = floor.Here()
		}
		p, proofErr := s.Prove(ctx, sys, beside)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if proofErr != nil {
			err = errors.Join(err, proofErr)
			s.Tell("%v", proofErr)
			continue
		}
		r.Proofs = append(r.Proofs, p)
	}
	return err
}

// classes are what was proven, by name.
func (r *report) classes() map[string]string {
	found := map[string]string{floor.NameHere: "A", floor.NameTCP: "A"}
	for _, p := range r.Proofs {
		found[p.System] = p.Class
	}
	return found
}

// compare measures the workloads, all systems in the same rounds.
func (r *report) compare(ctx context.Context, s *harness.Session, o options, systems []harness.System) (err error) {
	for _, name := range o.workloads {
		w, nameErr := harness.WorkloadNamed(name, o.Scale)
		if nameErr != nil {
			return errors.Join(err, nameErr)
		}
		c, roundErr := s.Compare(ctx, w, []harness.System{floor.Here(), floor.TCP()}, bounded(systems, name))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err = errors.Join(err, roundErr)
		r.Rows = append(r.Rows, c.Rows(r.classes())...)
		r.addRatios(c)
	}
	return err
}

// bounded are the systems with their most items for a workload.
func bounded(systems []harness.System, workload string) []harness.System {
	most := map[string]int{}
	for _, p := range peers() {
		most[p.system(1).Name] = p.most[workload]
	}
	systems = slices.Clone(systems)
	for i := range systems {
		systems[i].Most = most[systems[i].Name]
	}
	return systems
}

// addRatios compares each form of holdfast with the peers of its kind: a library with libraries.
func (r *report) addRatios(c harness.Comparison) {
	classes := r.classes()
	for _, form := range c.Systems {
		if !isHoldfast(form.Name) {
			continue
		}
		for _, p := range c.Systems {
			if isHoldfast(p.Name) || p.Floor != form.Floor {
				continue
			}
			r.Ratios = append(r.Ratios, ratio{c.Workload.Name, form.Name, p.Name, classes[p.Name],
				c.Ratio(form, p, harness.Accept), c.Ratio(form, p, harness.E2E), c.Ratio(form, p, harness.Device), c.Confidence})
		}
	}
}

func isHoldfast(name string) bool {
	return name == subject.NameLibrary || name == subject.NameStream || name == subject.NamePost
}

// print has a table for each class, so that nothing is ranked with what promises less, the fastest first.
func (r *report) print(w io.Writer) {
	r.Heading.Print(w)
	fmt.Fprintf(w, "%d sinks; ", r.Sinks)
	fmt.Fprintln(w, "floor, library, and the peers beside \"floor\" are libraries in this process; the others are servers in processes of their own")
	if len(r.NotInstalled) > 0 {
		fmt.Fprintln(w, "not installed:", strings.Join(r.NotInstalled, ", "))
	}
	harness.PrintProofs(w, r.Proofs)
	for _, class := range []string{"A", "B", "C", ""} {
		if rows := r.ranked(class); len(rows) > 0 {
			fmt.Fprintf(w, "\nclass %s\n", cmp.Or(class, "not proven"))
			harness.PrintRows(w, rows)
		}
	}
	r.printRatios(w)
	harness.PrintGoals(w, r.Goals)
	fmt.Fprintf(w, "\n%.0f s\n", r.Seconds)
}

// ranked are the rows of one class, by workload and then by rate.
func (r *report) ranked(class string) (rows []harness.Row) {
	order := map[string]int{}
	for _, row := range r.Rows {
		if _, known := order[row.Workload]; !known {
			order[row.Workload] = len(order)
		}
		if row.Class == class {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b harness.Row) int {
		return cmp.Or(cmp.Compare(order[a.Workload], order[b.Workload]), cmp.Compare(b.E2ERatio.Median, a.E2ERatio.Median))
	})
	return rows
}

// printRatios has peers of class A alone: the others do less.
func (r *report) printRatios(w io.Writer) {
	t := harness.NewTable(w, "load\tholdfast\tby class-A peer\taccept\te2e\tdevice bytes")
	for _, o := range r.Ratios {
		if o.Class == "A" {
			t.Row(o.Workload, o.Form, o.Peer, o.Accept.String(), o.E2E.String(), o.Device.String())
		}
	}
	t.End()
}
