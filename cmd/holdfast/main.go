// Command holdfast is a durable delivery queue in one binary: it accepts items, keeps them on disk, and delivers each to
// every sink that wants it.
//
// This package wires the rooms together: serve.go runs the service, build.go makes its parts from a configuration,
// validate.go checks one, and bench.go measures. The verbs that talk to a running server are in internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"holdfast/cmd/holdfast/internal/cli"
)

func main() {
	syscall.Umask(0o077)
	// A closed pipe is a sink that is down, and a file size limit a disk that is full: neither ends the process.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	code := cli.Main(ctx, os.Args[1:], streams, serveCommand(streams), configCommand(streams), fsckCommand(streams), salvageCommand(streams),
		benchCommand())
	stop()
	os.Exit(code)
}
