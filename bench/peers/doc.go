// Command peers measures holdfast beside other systems that take items durably and deliver each to K sinks, in the same
// rounds and by the rules of package harness. It has a go.mod of its own, so that no peer enters the product's:
//
//	go -C bench/peers run .                              # everything: 5 rounds of 3 workloads, ten minutes and more
//	go -C bench/peers run . -quick                       # only that everything runs and nothing is lost
//	go -C bench/peers run . -only redis-always,postgres -workloads p64
//	go -C bench/peers run . -json peers.json
//	go -C bench/peers test .                             # each peer delivers 1,000 items to 3 sinks, each once
//
// # Who takes part
//
// In this process, beside the floor and holdfast's library: go-diskqueue, dque, goque, SQLite, and the OpenTelemetry
// collector's file_storage. In a process of its own, beside the floor behind TCP and holdfast's server: NATS and nsqd,
// which are this program again; redis, PostgreSQL, RabbitMQ, rsyslog and mosquitto, which are printed as not installed
// unless Debian's packages are there:
//
//	apt-get install --no-install-recommends redis-server postgresql rabbitmq-server rsyslog rsyslog-relp mosquitto
//
// A server is started anew for each run, in a scratch directory, on a free port of 127.0.0.1, in a process group of its
// own; it dies with this process. None of the machine's own services is touched.
//
// # What is fair
//
// The work is the same: the same bodies, K sinks that each get every item and acknowledge it after they have counted it,
// in batches of up to 256 where the peer can. Every peer is set up as its manual would have it for speed within its
// durability class; what was chosen stands above its constructor. Where a peer lets an acknowledgement of a sink be lost
// in a crash, which is one more delivery, it may: holdfast does so, too. Where a peer has no group commit (SQLite), it is
// measured as it is, and once more behind one that its user would write.
//
// What is not the same: holdfast's server calls webhooks, and its sinks' side is a server, while the sinks of the peers
// are clients that pull. Retries, dead letters and idempotency keys are holdfast's own, and are on.
//
// # Classes
//
// A answers after the flush; B flushes for each item, but answers first; C and D do not flush for each item. A peer claims
// one, the run proves it (harness/class.go), and the tables are by what was proven: what promises less is never ranked
// with what promises more. A system that is so slow that a workload would take minutes puts fewer items (list.go); the
// column of its rate is per second all the same.
//
// # Where what is
//
//	main.go, report.go, list.go   the command line, the tables, and who takes part
//	library.go, workers.go, grouper.go   what peers in this process share
//	process.go, child.go          what peers in a process of their own share
//	one file for each peer; resp.go and relp.go are the protocols of redis and rsyslog
package main
