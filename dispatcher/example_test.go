package dispatcher_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"

	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/sinks"
)

// printer is a sink.
type printer struct{}

func (printer) Deliver(_ context.Context, items []sinks.Item) error {
	_, err := fmt.Printf("%s\n", items[0].Body)
	return err
}

func (printer) Close() error { return nil }

// The whole queue in one process: an item is on disk when Put returns, and delivered when its join does.
func Example() {
	dir, _ := os.MkdirTemp("", "holdfast")
	defer os.RemoveAll(dir)
	st, _, err := recovery.Open(dir, recovery.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	q, err := queue.Open(st, queue.Options{Sinks: []queue.SinkOptions{{Name: "print"}}})
	if err != nil {
		log.Fatal(err)
	}
	feed, _ := q.Feed("print")
	d, err := dispatcher.New([]dispatcher.Sink{{Name: "print", Feed: feed, Sink: printer{}}}, dispatcher.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { q.Run(ctx) })
	running.Go(func() { d.Run(ctx) })

	a, err := q.Put(ctx, queue.Request{Items: []queue.Item{{Body: []byte("hello")}, {Body: []byte("world")}}, Join: true})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Join.Close()
	fmt.Println("on disk:", len(a.Receipts), a.Join.Wait(ctx) == nil)
	stop()
	running.Wait()
	// Output:
	// hello
	// world
	// on disk: 2 true
}
