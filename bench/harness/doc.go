// Package harness measures systems that take items and deliver them, all in the same way and in the same rounds. It knows
// none of them: a [System] is a name and a function that starts it.
//
// A [Session] is a scratch directory on a real disk and the rules of its rounds. What it can do with a system:
//
//	Run, RunAt   one life of it: start, put as fast as it answers, or at a rate, deliver everything, stop
//	Compare      rounds: the floors, every system once in shuffled order, the floors again
//	Prove        its durability class, by the gap test, the device's flushes and strace
//	Restart      how it starts with a backlog
//
// A [Change] is rounds, too: one thing between two runs of another.
//
// Every run counts: a body carries a sequence number, each sink has a bitmap in a [Tally], and a run in which something is
// missing is an error and never a figure.
//
// Nothing here may be used concurrently but what says so. Linux alone tells what is asked of it; elsewhere the figures of
// processes and devices are 0.
//
//	system.go                what a system is: read this to plug one in
//	workload.go, produce.go  how items are produced: as fast as they are answered, or at a rate
//	tally.go, receiver.go    how deliveries are counted, and a destination for webhooks
//	session.go, run.go       one life of a system
//	meter.go, proc.go, trace.go   what is measured meanwhile, and who knows it
//	rounds.go, sandwich.go, confidence.go, rows.go, stats.go   rounds, what is thrown away, and the ratios
//	class.go, restart.go     the proof of the class, and the start with a backlog
//	table.go, rowtable.go    aligned columns, and the tables of what is above
//	command.go, machine.go   what programs that measure have in common: flags, the heading of a report, JSON
package harness
