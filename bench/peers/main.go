package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

func main() {
	if floor.Child() || child() {
		return
	}
	harness.Main("peers", parseOptions, run)
}

// Options are what the command line says.
type options struct {
	harness.Command
	sinks     int
	only      []string
	workloads []string
}

func parseOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	o.Register(f, "..")
	f.IntVar(&o.sinks, "sinks", 3, "how many sinks")
	only := f.String("only", "", "only these `peers`, with commas between; holdfast and the floors always run")
	workloads := f.String("workloads", "p1,p64,b256", "which `workloads`, with commas between")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	o.workloads = strings.Split(*workloads, ",")
	return o, errors.Join(o.Check(f.Args()), o.check())
}

func (o options) check() error {
	for _, name := range o.only {
		if !slices.ContainsFunc(peers(), func(p peer) bool { return p.system(o.sinks).Name == name }) {
			return fmt.Errorf("-only %s: there is no such peer", name)
		}
	}
	for _, name := range o.workloads {
		if _, err := harness.WorkloadNamed(name, o.Scale); err != nil {
			return fmt.Errorf("-workloads: %w", err)
		}
	}
	if o.sinks < 1 || o.sinks > 64 {
		return fmt.Errorf("-sinks %d: want 1 to 64", o.sinks)
	}
	return nil
}

// run proves the classes, measures, and prints. It fails if a system does; the others are measured and printed all the
// same.
func run(ctx context.Context, o options, out, notices io.Writer) (err error) {
	s, err := o.NewSession(notices)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.Binary == "" {
		if o.Binary, err = subject.Build(ctx, s.Scratch); err != nil {
			return err
		}
	}
	r := report{Heading: o.NewHeading("go -C bench/peers run .", s), Sinks: o.sinks}
	systems := o.systems(&r)
	err = errors.Join(r.prove(ctx, s, systems), r.compare(ctx, s, o, systems))
	r.Seconds = s.Took().Seconds()
	r.Goals = r.goals()
	r.print(out)
	return errors.Join(err, harness.WriteJSON(&r, o.JSONFile, out))
}

// systems are holdfast in its forms and the peers that are wanted and installed. The others are noted.
func (o options) systems(r *report) []harness.System {
	list := []harness.System{subject.Library(o.sinks), subject.Stream(o.Binary, o.sinks), subject.Post(o.Binary, o.sinks)}
	for _, p := range peers() {
		sys := p.system(o.sinks)
		if len(o.only) > 0 && !slices.Contains(o.only, sys.Name) {
			continue
		}
		if debian := p.missing(); debian != "" {
			r.NotInstalled = append(r.NotInstalled, sys.Name+" ("+debian+")")
			continue
		}
		list = append(list, sys)
	}
	return list
}
