package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

// Servers that are written in Go need no installation: they are this program again, told so by the environment.
const (
	childEnv     = "HOLDFAST_PEER"      // which
	childPortEnv = "HOLDFAST_PEER_PORT" // where it listens, on 127.0.0.1
	childDirEnv  = "HOLDFAST_PEER_DIR"  // of its data
)

// child serves a peer if this process was started for that, until it is told to end, and says whether it was.
func child() bool {
	kind := os.Getenv(childEnv)
	if kind == "" {
		return false
	}
	port, err := strconv.Atoi(os.Getenv(childPortEnv))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err == nil {
		err = serveChild(ctx, kind, port, os.Getenv(childDirEnv))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, kind+":", err)
		os.Exit(1)
	}
	return true
}

func serveChild(ctx context.Context, kind string, port int, dir string) error {
	switch kind {
	case natsAlwaysName, natsName:
		return serveNATS(ctx, port, dir, kind == natsAlwaysName)
	case nsqName:
		return serveNSQ(ctx, port, dir)
	}
	return fmt.Errorf("no such peer")
}

// childCommand is this program as a server.
func childCommand(kind string, port int, dir string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+kind, childPortEnv+"="+strconv.Itoa(port), childDirEnv+"="+dir)
	return cmd, nil
}
