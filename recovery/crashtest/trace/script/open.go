package script

import (
	"context"
	"fmt"
	"io"

	"holdfast/queue"
	"holdfast/recovery"
)

// FirstNew is the number of the first item that is put after a start.
const FirstNew = 1_000_001

// OpenAll starts every store in dirs, one after the other, and says what it found. Every other one then takes an item, and
// each is stopped in order.
func OpenAll(dirs []string, marks io.Writer) error {
	for i, dir := range dirs {
		if err := (Mark{Opening: dir}).write(marks); err != nil {
			return err
		}
		if err := openOne(dir, i%2 == 0, marks); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

func openOne(dir string, takes bool, marks io.Writer) error {
	st, _, err := recovery.Open(dir, Options())
	if err != nil {
		return err
	}
	q, err := queue.Open(st, QueueOptions())
	if err != nil {
		return err
	}
	look, err := See(st, q)
	if err != nil {
		return err
	}
	if err := (Mark{Opened: &Opened{look.State}}).write(marks); err != nil {
		return err
	}
	if takes {
		if err := take(q, marks); err != nil {
			return err
		}
	}
	return st.Close()
}

// take runs a queue for as long as it takes one item.
func take(q *queue.Queues, marks io.Writer) error {
	cancel, ended := run(q)
	put := Put{Request: FirstNew, Tags: []int{FirstNew}}
	if err := (Mark{Put: &put}).write(marks); err != nil {
		return err
	}
	a, err := q.Put(context.Background(), queue.Request{Items: []queue.Item{Item(FirstNew)}})
	if err != nil {
		return err
	}
	if err := (Mark{Acked: &Acked{put.Request, []string{a.Receipts[0].ID.String()}}}).write(marks); err != nil {
		return err
	}
	cancel()
	return <-ended
}
