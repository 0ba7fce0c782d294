package floor

import (
	"context"

	"holdfast/bench/harness"
)

// The names of the two.
const (
	NameHere = "floor"
	NameTCP  = "floor-tcp"
)

// Here is the floor in this process.
func Here() harness.System {
	return harness.System{Name: NameHere, Floor: NameHere, Class: "A", Start: func(_ context.Context, p harness.Place) (harness.Running, error) {
		w, err := open(p.Dir, int64(p.Items)*harness.BodyBytes)
		return local{w}, err
	}}
}

// A local is a writer and its producers in one process.
type local struct{ *writer }

func (l local) PIDs() []int { return nil }

func (l local) Stop() error { return l.close() }

func (l local) Written() (bytes, flushes float64, err error) {
	return float64(l.pages.Load()), float64(l.syncs.Load()), nil
}

// A localClient is a producer.
type localClient struct {
	writer *writer
	one    request
	body   []byte
}

func (l local) Dial(n int) (harness.Client, error) {
	c := &localClient{writer: l.writer, one: request{answer: make(chan error, 1)}, body: harness.NewBody()}
	c.one.body = make([]byte, 0, n*harness.BodyBytes)
	return c, nil
}

func (c *localClient) Put(_ context.Context, seq, n int) error {
	c.one.body = c.one.body[:0]
	for i := range n {
		harness.SetSeq(c.body, seq+i)
		c.one.body = append(c.one.body, c.body...)
	}
	c.writer.requests <- &c.one
	return <-c.one.answer
}

func (c *localClient) Close() error { return nil }
