package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/holdfast/internal/cli"
)

// The verb bench measures what a machine does: how many items a second are accepted, and after how long each is. bench.go
// has the command and the producers, bench_scratch.go a queue of its own in this process, bench_server.go the ways into a
// running server, and bench_result.go what is printed.

type benchFlags struct {
	items, size, producers, batch, sinks int // items 0: as many as the duration allows
	duration                             time.Duration
	stream                               bool
	data                                 string

	most int // items that there is room for; 0: benchMostItems
}

// The bounds of a bench.
const (
	benchMostItems     = 100_000_000
	benchMostSize      = 1 << 20
	benchMostProducers = 1024
	benchMostBatch     = 1024 // what a stream may have under way
	benchMostRequest   = 8 << 20
	benchMostSinks     = 64
	benchMostDuration  = 24 * time.Hour
)

func benchCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast items are accepted",
		Long: "Measure how fast items are accepted and after how long, durably.\n\n" +
			"It puts for --duration, or until there are --items of them.\n\n" +
			"Without --server it runs a queue of its own in this process, in a scratch directory that is removed at the end,\n" +
			"with sinks that only count. With --server it puts items into a running server, which really delivers them to its\n" +
			"sinks: it asks first, unless --yes is given. (HOLDFAST_SERVER alone does not choose a server here.)\n" +
			"The items of a bench have the type holdfast.bench.",
		Example: "  holdfast bench                                        # this machine's temporary directory, for ten seconds\n" +
			"  holdfast bench --data /var/lib --duration 1m          # the disk that matters\n" +
			"  holdfast bench --producers 1 --items 1000 -o json     # one item after the other\n" +
			"  holdfast bench --server http://127.0.0.1:8080 --stream --batch 256 --yes",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return bench(c, f) },
	}
	c.Flags().DurationVar(&f.duration, "duration", 10*time.Second, "how long to put; with --items, at most")
	c.Flags().IntVar(&f.items, "items", 0, "how many items, at most 100 million; 0: what the duration allows")
	c.Flags().IntVar(&f.size, "size", 512, "`bytes` of each")
	c.Flags().IntVar(&f.producers, "producers", 64, "how many put at once")
	c.Flags().IntVar(&f.batch, "batch", 1, "items of one request; with --stream, items that a producer has under way")
	c.Flags().IntVar(&f.sinks, "sinks", 3, "how many sinks the scratch queue has; 0: only accept")
	c.Flags().BoolVar(&f.stream, "stream", false, "with --server: put on one stream for each producer, not by requests")
	c.Flags().StringVar(&f.data, "data", "", "make the scratch directory in `DIR`, not in the one for temporary files")
	return c
}

func (f benchFlags) check(server bool, changed func(string) bool) error {
	for _, b := range []struct {
		name               string
		value, least, most int
	}{
		{"items", f.items, 0, benchMostItems},
		{"size", f.size, 1, benchMostSize},
		{"producers", f.producers, 1, benchMostProducers},
		{"batch", f.batch, 1, benchMostBatch},
		{"sinks", f.sinks, 0, benchMostSinks},
	} {
		if b.value < b.least || b.value > b.most {
			return cli.Usagef("--%s %d: want %d to %d", b.name, b.value, b.least, b.most)
		}
	}
	switch {
	case f.duration <= 0 || f.duration > benchMostDuration:
		return cli.Usagef("--duration %v: want more than 0, at most %v", f.duration, benchMostDuration)
	case f.batch*(f.size+1) > benchMostRequest && !f.stream:
		return cli.Usagef("--batch %d: so many items of %s are more than %s in one request", f.batch, cli.Size(int64(f.size)), cli.Size(benchMostRequest))
	case server && (changed("sinks") || changed("data")):
		return cli.Usagef("--sinks and --data are for the scratch queue: a running server has its own")
	case !server && f.stream:
		return cli.Usagef("--stream needs --server: the scratch queue has no connections")
	}
	return nil
}

// bench runs the command.
func bench(c *cobra.Command, f benchFlags) error {
	g := cli.GlobalOf(c)
	server := c.Flags().Changed("server")
	if err := f.check(server, c.Flags().Changed); err != nil {
		return err
	}
	measure := benchScratch
	if server {
		measure = benchServer
	}
	r, err := measure(c.Context(), g, f)
	if r == nil {
		return err
	}
	if err != nil {
		g.Notice("%s items were accepted before", cli.Count(r.times.count()))
		return err
	}
	r.sum()
	return g.Show(r, func(w io.Writer) { r.table(w) })
}

// A benchWay puts items as one of the producers: as many at a time as take grants, until it grants none. It calls done for
// those that were accepted: how many, and how long they took.
type benchWay func(ctx context.Context, take func(n int) int, done func(n int, took time.Duration)) error

// run lets all producers put until there is no more to take, and ends at the first error.
func (r *benchResult) run(ctx context.Context, g *cli.Global, f benchFlags, way benchWay) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	bar := newBenchBar(g.Progress(), f.items)
	began := time.Now()
	take := f.budget(began)
	var wg sync.WaitGroup
	for range r.Producers {
		wg.Go(func() {
			err := way(ctx, take, func(n int, took time.Duration) {
				r.times.add(n, took)
				bar.add(n)
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	bar.finish()
	r.ended = time.Now()
	r.took = r.ended.Sub(began)
	if err := context.Cause(ctx); err != nil {
		return interruption(err)
	}
	return nil
}

// budget grants items to all producers together: up to n at a time, none when they are used up or the time is.
func (f benchFlags) budget(began time.Time) (take func(n int) int) {
	most, until := int64(cmp.Or(f.items, f.most, benchMostItems)), began.Add(f.duration)
	var granted atomic.Int64
	return func(n int) int {
		if !time.Now().Before(until) {
			return 0
		}
		over := granted.Add(int64(n)) - most
		return max(0, n-int(max(0, over)))
	}
}

// interruption says in words that the user ended it.
func interruption(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// benchBody is a body that a line can hold too.
func benchBody(size int) []byte {
	const text = "the quick brown fox jumps over the lazy dog, and holdfast keeps it. "
	return []byte(strings.Repeat(text, size/len(text)+1)[:size])
}

// shape is what is put, in words.
func (f benchFlags) shape() string {
	if f.items == 0 {
		return fmt.Sprintf("Items of %s, for %v,", cli.Size(int64(f.size)), f.duration)
	}
	return fmt.Sprintf("%s items of %s", cli.Count(int64(f.items)), cli.Size(int64(f.size)))
}
