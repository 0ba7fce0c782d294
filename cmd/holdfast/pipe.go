package main

import (
	"context"
	"errors"
	"time"

	"holdfast/cmd/holdfast/internal/source/stdin"
)

// drainPoll is how often a drain looks whether it is over.
const drainPoll = 50 * time.Millisecond

// pipe is serve --stdin: it takes every line, and returns when all sinks have what they are owed. A sink that is paused,
// or gone from the configuration, is not waited for.
func (s *service) pipe(ctx context.Context) error {
	n, err := stdin.Run(ctx, s.streams.In, stdin.Over(s.queues), stdin.Options{MaxItemBytes: s.cfg.Server.MaxItemBytes})
	s.log.Info("standard input has ended", "n", n.Items, "bytes", n.Bytes, "err", err)
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	t := time.NewTicker(drainPoll)
	defer t.Stop()
	for !s.drained() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (s *service) drained() bool {
	for _, k := range s.queues.Sinks() {
		if k.State == "active" && k.Waiting > 0 {
			return false
		}
	}
	return true
}
