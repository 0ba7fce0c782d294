package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

func main() {
	if floor.Child() || child() {
		return
	}
	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// Options are what the command line says.
type options struct {
	rounds    int
	scale     float64
	sinks     int
	dir       string
	binary    string // path of a holdfast; empty: it is built
	only      []string
	workloads []string
	quick     bool
	jsonFile  string
}

func parseOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 5, "rounds to keep")
	f.Float64Var(&o.scale, "scale", 1, "multiplies the numbers of items")
	f.IntVar(&o.sinks, "sinks", 3, "how many sinks")
	f.StringVar(&o.dir, "dir", "..", "where to make scratch data: a real disk, with room for 5 GB")
	f.StringVar(&o.binary, "server", "", "path of a holdfast `binary`; without it, it is built")
	only := f.String("only", "", "only these `peers`, with commas between; holdfast and the floors always run")
	workloads := f.String("workloads", "p1,p64,b256", "which `workloads`, with commas between")
	f.BoolVar(&o.quick, "quick", false, "check that everything runs and nothing is missing; the figures are worth nothing")
	f.StringVar(&o.jsonFile, "json", "", "write all figures to a `file`, - is standard output")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	o.workloads = strings.Split(*workloads, ",")
	if o.quick {
		o.rounds, o.scale = 1, min(o.scale, 0.02)
	}
	return o, o.check(f.Args())
}

func (o options) check(rest []string) error {
	for _, name := range o.only {
		if !slices.ContainsFunc(peers(), func(p peer) bool { return p.system(o.sinks).Name == name }) {
			return fmt.Errorf("-only %s: there is no such peer", name)
		}
	}
	for _, name := range o.workloads {
		if _, err := harness.WorkloadNamed(name, o.scale); err != nil {
			return fmt.Errorf("-workloads: %w", err)
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is one argument too many", rest[0])
	case o.rounds < 1:
		return fmt.Errorf("-rounds %d: want at least 1", o.rounds)
	case o.scale <= 0 || o.scale > 1000:
		return fmt.Errorf("-scale %g: want more than 0, at most 1000", o.scale)
	case o.sinks < 1 || o.sinks > 64:
		return fmt.Errorf("-sinks %d: want 1 to 64", o.sinks)
	}
	return nil
}

// run proves the classes, measures, and prints. It fails if a system does; the others are measured and printed all the
// same.
func run(ctx context.Context, o options, out, notices io.Writer) (err error) {
	s, err := harness.NewSession(harness.Options{Dir: o.dir, Rounds: o.rounds, Smoke: o.quick, Progress: notices})
	if err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.binary == "" {
		if o.binary, err = subject.Build(ctx, s.Scratch); err != nil {
			return err
		}
	}
	r := report{Sinks: o.sinks, Quick: o.quick}
	r.describe(s)
	systems := o.systems(&r)
	err = errors.Join(r.prove(ctx, s, systems), r.compare(ctx, s, o, systems))
	r.Seconds = s.Took().Seconds()
	r.print(out)
	if o.jsonFile != "" {
		err = errors.Join(err, r.writeJSON(o.jsonFile, out))
	}
	return err
}

// systems are holdfast in its forms and the peers that are wanted and installed. The others are noted.
func (o options) systems(r *report) []harness.System {
	list := []harness.System{subject.Library(o.sinks), subject.Stream(o.binary, o.sinks), subject.Post(o.binary, o.sinks)}
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
