package main

import "context"

// A grouper is group commit for a library that has none: one writer that hands over all puts that wait as one.
type grouper struct {
	requests chan groupedPut
	writer   *workers
}

type groupedPut struct {
	bodies bodies
	answer chan error // capacity 1
}

// mostGrouped bounds the items of one commit.
const mostGrouped = 4096

func startGrouper(commit func(ctx context.Context, bodies bodies) error) *grouper {
	g := &grouper{requests: make(chan groupedPut, 1024)}
	g.writer = startWorkers(1, func(ctx context.Context, _ int) error {
		for {
			waiting, all := g.gather(ctx)
			if waiting == nil {
				return nil
			}
			err := commit(ctx, all)
			for _, r := range waiting {
				r.answer <- err
			}
		}
	})
	return g
}

// gather returns what waits, nil when ctx ends.
func (g *grouper) gather(ctx context.Context) (waiting []groupedPut, all bodies) {
	select {
	case r := <-g.requests:
		waiting, all = []groupedPut{r}, append(all, r.bodies...)
	case <-ctx.Done():
		return nil, nil
	}
	for len(all) < mostGrouped {
		select {
		case r := <-g.requests:
			waiting, all = append(waiting, r), append(all, r.bodies...)
		default:
			return waiting, all
		}
	}
	return waiting, all
}

func (g *grouper) put(ctx context.Context, bodies bodies) error {
	r := groupedPut{bodies, make(chan error, 1)}
	g.requests <- r
	select {
	case err := <-r.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the writer; nobody puts any more.
func (g *grouper) stop() error { return g.writer.stop() }
