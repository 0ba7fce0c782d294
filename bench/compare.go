package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

var systemNames = []string{floor.NameHere, floor.NameTCP, subject.NameLibrary, subject.NameStream, subject.NamePost}

// system makes one by name.
func (b *bench) system(name string, sinks int) (harness.System, error) {
	switch name {
	case floor.NameHere:
		return floor.Here(), nil
	case floor.NameTCP:
		return floor.TCP(), nil
	case subject.NameLibrary:
		return subject.Library(sinks), nil
	case subject.NameStream:
		return subject.Stream(b.binary, sinks), nil
	case subject.NamePost:
		return subject.Post(b.binary, sinks), nil
	}
	return harness.System{}, fmt.Errorf("system %q is not one of %s", name, strings.Join(systemNames, ", "))
}

// class proves the durability of every form, each with its floor before and after.
func (b *bench) class(ctx context.Context) error {
	for _, pair := range [][2]harness.System{
		{subject.Library(sinkCount), floor.Here()},
		{subject.Stream(b.binary, sinkCount), floor.TCP()},
		{subject.Post(b.binary, sinkCount), floor.TCP()},
	} {
		p, err := b.Prove(ctx, pair[0], pair[1])
		if err != nil {
			return err
		}
		b.report.Proofs = append(b.report.Proofs, p)
	}
	return nil
}

// compared are the systems of the comparison: POST with the usual number of sinks alone, for its cost is in front of the
// queue.
func (b *bench) compared() (list []harness.System) {
	for _, k := range []int{1, sinkCount, 8} {
		list = append(list, subject.Library(k), subject.Stream(b.binary, k))
	}
	return append(list, subject.Post(b.binary, sinkCount))
}

// compare measures the workloads and adds their rows to the report.
func (b *bench) compare(ctx context.Context) (err error) {
	for _, w := range harness.Workloads(b.o.Scale) {
		c, failed := b.Compare(ctx, w, []harness.System{floor.Here(), floor.TCP()}, b.compared())
		err = errors.Join(err, failed)
		b.report.Rows = append(b.report.Rows, c.Rows(b.report.classes())...)
	}
	return err
}

// restartItems is how many wait while a system is stopped and started again.
const restartItems = 100_000

// restart starts both forms with a backlog.
func (b *bench) restart(ctx context.Context) error {
	for _, s := range []harness.System{subject.Library(sinkCount), subject.Stream(b.binary, sinkCount)} {
		r, err := b.Restart(ctx, s, int(restartItems*b.o.Scale))
		if err != nil {
			return err
		}
		b.report.Restarts = append(b.report.Restarts, r)
	}
	return nil
}
