package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/bench/harness"
)

const sinkCount = 3 // where a part does not vary it

// Options are what the command line says.
type options struct {
	harness.Command
	most     int
	only     []string
	plots    string
	one      string
	workload string
	sinks    int
	second   time.Duration // what "a second" of a timed part is
}

const usage = `usage: go run ./bench [flags]

It measures holdfast beside the raw disk, and prints each goal for speed as met or missed. It takes about five minutes on
a quiet machine, and up to twice as long where rounds must be thrown away. A backlog of 10 million items, as the goal of
growth has it, takes some minutes a round and 6 GB: go run ./bench -only backlog -most 10000000

`

func parseOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.Usage = func() { fmt.Fprint(f.Output(), usage); f.PrintDefaults() }
	o.Register(f, ".")
	f.IntVar(&o.most, "most", 1_000_000, "how many `items` wait in the largest backlog, whatever -scale says: 600 B each")
	only := f.String("only", "", "only these `parts`, with commas between: "+strings.Join(parts, ", "))
	f.StringVar(&o.plots, "plots", "", "write SVG plots to a `directory`")
	f.StringVar(&o.one, "one", "", "one run of one `system` as one JSON object: "+strings.Join(systemNames, ", "))
	f.StringVar(&o.workload, "workload", "p64", "with -one: p1, p64, b256")
	f.IntVar(&o.sinks, "sinks", sinkCount, "with -one: how many sinks")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if err := o.Check(f.Args()); err != nil {
		return o, err
	}
	o.second = time.Second
	if o.Quick {
		o.most, o.second = min(o.most, 20_000), 100*time.Millisecond
	}
	return o, o.check()
}

func (o options) check() error {
	for _, p := range o.only {
		if !slices.Contains(parts, p) {
			return fmt.Errorf("-only %s: the parts are %s", p, strings.Join(parts, ", "))
		}
	}
	switch {
	case o.most < 1 || o.most > 1_000_000_000:
		return fmt.Errorf("-most %d: want 1 to a billion", o.most)
	case o.sinks < 1 || o.sinks > 64:
		return fmt.Errorf("-sinks %d: want 1 to 64", o.sinks)
	}
	return nil
}

func (o options) wants(part string) bool { return len(o.only) == 0 || slices.Contains(o.only, part) }

// p64 is the workload of the parts that have one: 64 producers, one item at a time.
func (o options) p64() harness.Workload {
	return harness.Workloads(o.Scale)[1]
}
