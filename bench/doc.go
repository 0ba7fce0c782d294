// Command bench measures holdfast beside a raw-disk floor in the same rounds, and prints each goal for speed as met or
// missed. It needs nothing but Go and a real disk:
//
//	go run ./bench                                  # everything, in about five minutes on a quiet machine
//	go run ./bench -quick                           # only that everything runs and nothing is lost, in less than 40 s
//	go run ./bench -only backlog -most 10000000     # one part of it: up to 10 million items wait, 5 GB
//	go run ./bench -json bench.json -plots plots    # the same as data, and as pictures
//	go run ./bench -one stream -workload p64 -sinks 3   # one run of one system as one JSON object
//
// # What is compared
//
// The floor is what the disk allows: one writer that takes all that waits, writes it, flushes it once, and answers. It
// has no queue and no sinks. Holdfast is measured as a library, beside a floor behind a channel in the same process, and
// as a server, beside a floor behind TCP; both servers are processes of their own. The clients of both, and the receivers
// of the webhooks, are this process, and as lean as we could make them.
//
// Workloads: p1 is one producer with one item at a time, p64 is 64 of those, b256 is four producers with 256 items in
// flight, which wait for all 256 answers before they go on. A webhook sink takes batches of up to 256 lines, whose first
// item waits 2 ms for others (batch.wait): one producer got 1.8 × as far so, and bulk 0.94 ×. A body is 512 bytes and
// carries a sequence number; every sink keeps a bitmap, and a run in which an accepted item did not reach every sink gives
// no figures and the exit code 1.
//
// # What the figures are worth
//
// A shared disk drifts by several times within an hour, so only ratios inside one round count: floors, then every system
// once in shuffled order, then the floors again. The table has the median of the rounds' ratios, with the smallest and the
// largest. A round is thrown away, and counted, if its two floors differ by more than half, or if other processes took
// more than a quarter of a core. Where no round could be kept the noisy ones are shown, and the goals are "not proven".
//
// "B/item" are the whole pages that a system itself handed to the device, and beside them what /proc/diskstats says of all
// processes. Durability is proven in the run: see harness/class.go.
//
// # How another system plugs in
//
// This command has the floor and holdfast alone. Package harness knows neither: a [harness.System] is a name, a number of
// sinks and a function that starts it, and a [harness.Session] runs any of them in the same rounds. Other systems, each
// from its own client library, are a command of their own with a go.mod of its own (bench/peers), so that none enters the
// product's. It is as short as this:
//
//	func main() {
//		if floor.Child() { // this program again, as the floor's process
//			return
//		}
//		harness.Main("peers", parseOptions, run) // the options embed harness.Command: -rounds, -scale, -dir, -quick, …
//	}
//
//	session, err := options.NewSession(notices)
//	defer session.Close()
//	binary, err := subject.Build(ctx, session.Scratch)
//	systems := []harness.System{subject.Library(3), subject.Stream(binary, 3), subject.Post(binary, 3), redisAlways(3)}
//	c, err := session.Compare(ctx, w, []harness.System{floor.Here(), floor.TCP()}, systems)
//	harness.PrintRows(os.Stdout, c.Rows(classes))
//	c.Ratio(systems[1], systems[3], harness.E2E) // the rounds' ratios of two systems, as a harness.Spread
//
// harness/system.go says what such a System has to do.
//
// # Where what is
//
//	harness/    how any system is measured: runs, rounds, the proof of the class, tables
//	floor/      what the disk allows, behind a channel and behind TCP
//	subject/    holdfast, as a library and as a server, and its lean clients
//	main.go, options.go   the command line, and the order of the parts
//	compare.go            classes, the workloads in rounds, starts with a backlog: what any system is asked
//	latency.go, badsink.go, backlog.go, rest.go   what holdfast alone is asked: half load, a dead and a slow sink, a million
//	                      items that wait, and servers that are idle or get ten items a second
//	report.go, print.go, plot.go   JSON, tables, SVG
//	goals.go, goalsservice.go      what holdfast must reach, and whether it does
package main
