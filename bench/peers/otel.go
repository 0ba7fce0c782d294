package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// otelFsync is the OpenTelemetry collector's file_storage with fsync, and on it, for each sink, what an exporter's
// persistent queue keeps there: items by number, and the numbers of the next to write, the next to read, and of those on
// their way. A put, a read and a removal are one transaction each, as in the exporter; here they may have many items.
// Class A.
func otelFsync(sinks int) harness.System {
	return harness.System{Name: "otel-fsync", Floor: floor.NameHere, Sinks: sinks, Class: "A", Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		return startOtel(ctx, sinks, p)
	}}
}

// An otelQueue is the persistent queue of one exporter.
type otelQueue struct {
	client storage.Client
	bell   bell
	mu     sync.Mutex // a put holds it until it is on disk, as the exporter's does
	write  uint64     // guarded by mu
	read   uint64     // of the sink alone
}

func startOtel(ctx context.Context, sinks int, p harness.Place) (harness.Running, error) {
	clients, err := openOtel(ctx, sinks, p.Dir)
	var queues []*otelQueue
	for _, c := range clients {
		queues = append(queues, &otelQueue{client: c, bell: make(bell, 1)})
	}
	stop := func() error {
		var err error
		for _, q := range queues {
			err = errors.Join(err, q.client.Close(context.WithoutCancel(ctx)))
		}
		return err
	}
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	w := startWorkers(sinks, func(ctx context.Context, i int) error {
		for ctx.Err() == nil {
			if err := queues[i].take(ctx, func(body []byte) { p.Tally.Scan(i, body) }); err != nil {
				return err
			}
		}
		return nil
	})
	put := func(ctx context.Context, bodies bodies) error {
		return each(sinks, func(i int) error { return queues[i].put(ctx, bodies) })
	}
	return &library{put, func() error { return errors.Join(w.stop(), stop()) }}, nil
}

// openOtel makes the extension and its client for each exporter.
func openOtel(ctx context.Context, sinks int, dir string) (all []storage.Client, err error) {
	f := filestorage.NewFactory()
	c := f.CreateDefaultConfig().(*filestorage.Config)
	c.Directory, c.Compaction.Directory, c.FSync = dir, dir, true
	e, err := f.Create(ctx, extension.Settings{
		ID:                component.NewID(f.Type()),
		TelemetrySettings: component.TelemetrySettings{Logger: zap.NewNop()},
	}, c)
	if err != nil {
		return nil, err
	}
	if err := e.Start(ctx, nil); err != nil {
		return nil, err
	}
	for i := range sinks {
		c, err := e.(storage.Extension).GetClient(ctx, component.KindExporter, component.MustNewID("sink"+strconv.Itoa(i)), "")
		if err != nil {
			return all, fmt.Errorf("file_storage: %w", err)
		}
		all = append(all, c)
	}
	return all, nil
}

func (q *otelQueue) put(ctx context.Context, bodies bodies) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	ops := []*storage.Operation{storage.SetOperation("wi", otelNumber(q.write+uint64(len(bodies))))}
	for i, b := range bodies {
		ops = append(ops, storage.SetOperation(otelKey(q.write+uint64(i)), b))
	}
	if err := q.client.Batch(ctx, ops...); err != nil {
		return err
	}
	q.write += uint64(len(bodies))
	q.bell.ring()
	return nil
}

// take delivers what waits, at most a batch, and removes it then.
func (q *otelQueue) take(ctx context.Context, got func(body []byte)) error {
	q.mu.Lock()
	n := min(q.write-q.read, deliveryBatch)
	q.mu.Unlock()
	if n == 0 {
		return q.bell.wait(ctx)
	}
	reads := []*storage.Operation{storage.SetOperation("ri", otelNumber(q.read+n)), storage.SetOperation("di", otelRange(q.read, n))}
	removals := []*storage.Operation{storage.SetOperation("di", otelRange(0, 0))}
	for i := range n {
		key := otelKey(q.read + i)
		reads, removals = append(reads, storage.GetOperation(key)), append(removals, storage.DeleteOperation(key))
	}
	if err := q.client.Batch(ctx, reads...); err != nil {
		return err
	}
	for _, r := range reads[2:] {
		got(r.Value)
	}
	q.read += n
	return q.client.Batch(ctx, removals...)
}

func otelKey(n uint64) string { return strconv.FormatUint(n, 10) }

func otelNumber(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// otelRange lists the numbers of n items on their way.
func otelRange(first, n uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(n))
	for i := range n {
		b = binary.LittleEndian.AppendUint64(b, first+i)
	}
	return b
}
