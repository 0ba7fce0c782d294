package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

func main() {
	if floor.Child() {
		return
	}
	harness.Main("bench", parseOptions, run)
}

// A bench is one run of this program.
type bench struct {
	*harness.Session
	o      options
	binary string // of holdfast
	report report
}

// run measures what the options ask for, prints it, and writes the files. It fails if a part does, be it that an accepted
// item did not reach a sink; the others are still measured and printed, but with -quick.
func run(ctx context.Context, o options, out, notices io.Writer) (err error) {
	s, err := o.NewSession(notices)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	b := &bench{Session: s, o: o, binary: o.Binary}
	if b.binary == "" {
		if b.binary, err = subject.Build(ctx, s.Scratch); err != nil {
			return err
		}
	}
	if o.one != "" {
		return b.once(ctx, out)
	}
	b.report.Heading = o.NewHeading("go run ./bench", s)
	err = b.measure(ctx)
	b.report.Seconds = s.Took().Seconds()
	b.report.Goals = goals(&b.report)
	b.report.print(out)
	return errors.Join(err, harness.WriteJSON(&b.report, o.JSONFile, out), b.report.plot(o.plots))
}

// parts are what -only chooses from, in the order in which they run.
var parts = []string{"class", "compare", "latency", "dead", "slow", "restart", "backlog", "rest"}

// measure runs the parts that are wanted.
func (b *bench) measure(ctx context.Context) (err error) {
	for i, run := range []func(context.Context) error{b.class, b.compare, b.latency, b.dead, b.slow, b.restart, b.backlog, b.rest} {
		if !b.o.wants(parts[i]) {
			continue
		}
		partErr := run(ctx)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if partErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", parts[i], partErr))
			b.report.Failed = append(b.report.Failed, parts[i])
			b.Tell("%s: %v", parts[i], partErr)
		}
		if err != nil && b.o.Quick {
			return err
		}
	}
	return err
}

// once is one run of one system.
func (b *bench) once(ctx context.Context, out io.Writer) error {
	s, err := b.system(b.o.one, b.o.sinks)
	if err != nil {
		return err
	}
	w, err := harness.WorkloadNamed(b.o.workload, b.o.Scale)
	if err != nil {
		return err
	}
	one, err := b.Run(ctx, s, w)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(struct {
		System string `json:"system"`
		Sinks  int    `json:"sinks"`
		harness.Workload
		harness.Sample
	}{s.Name, s.Sinks, w, one})
}
