package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/cmd/holdfast/internal/client"
)

// benchMeta is what tells the items of a bench from others.
var benchMeta = client.Meta{Type: "holdfast.bench"}

// benchServer measures a running server, once the user knows what that does.
func benchServer(ctx context.Context, g *cli.Global, f benchFlags) (*benchResult, error) {
	c, err := g.Connect()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	page, err := c.Sinks(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range page.Items {
		names = append(names, s.Value.Sink)
	}
	question := fmt.Sprintf("%s go into %s, which delivers them for real to %s. Go on?", f.shape(), c.Server(), strings.Join(names, ", "))
	if len(names) == 0 {
		question = fmt.Sprintf("%s go into %s, which has no sinks that would take them. Go on?", f.shape(), c.Server())
	}
	if err := g.Confirm(ctx, question); err != nil {
		return nil, err
	}
	way, by := benchPost, "requests"
	if f.stream {
		way, by = benchStream, "streams"
	}
	r := newBenchResult(f, c.Server(), by, len(names))
	return r, r.run(ctx, g, f, func(ctx context.Context, take func(int) int, done func(int, time.Duration)) error {
		own, err := g.Connect() // each producer has its own connection
		if err != nil {
			return err
		}
		defer own.Close()
		return way(ctx, own, f, take, done)
	})
}

// benchPost puts by requests: of one item, or of several lines.
func benchPost(ctx context.Context, c *client.Client, f benchFlags, take func(int) int, done func(int, time.Duration)) error {
	body := benchBody(f.size)
	lines := bytes.Repeat(append(benchBody(f.size), '\n'), f.batch)
	for n := take(f.batch); n > 0; n = take(f.batch) {
		began := time.Now()
		var err error
		if f.batch == 1 {
			_, err = c.PutItem(ctx, client.Put{Meta: benchMeta, ContentType: "text/plain", Body: body})
		} else {
			n, err = c.PutLines(ctx, benchMeta, lines[:n*(f.size+1)])
		}
		if err != nil {
			return err
		}
		if n < 1 {
			return errors.New("the server accepted none of several items")
		}
		done(n, time.Since(began))
	}
	return nil
}

// benchStream has up to a batch of lines under way on one stream.
func benchStream(ctx context.Context, c *client.Client, f benchFlags, take func(int) int, done func(int, time.Duration)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := c.OpenStream(ctx, client.StreamOptions{Meta: benchMeta})
	if err != nil {
		return err
	}
	defer s.Close(client.ErrStreamClosed)
	underway := make(chan time.Time, f.batch)
	received := make(chan error, 1)
	go func() {
		err := benchReceive(s, underway, done)
		if err != nil {
			cancel(err)
		}
		received <- err
	}()
	benchSend(ctx, s, benchBody(f.size), take, underway)
	s.CloseSend()
	return <-received
}

// benchSend sends lines until the stream takes no more; why is what the receiver knows.
func benchSend(ctx context.Context, s *client.Stream, line []byte, take func(int) int, underway chan<- time.Time) {
	for take(1) > 0 {
		select {
		case underway <- time.Now():
		default:
			if s.Flush() != nil {
				return
			}
			select {
			case underway <- time.Now():
			case <-ctx.Done():
				return
			}
		}
		if s.Send(client.Origin{}, line) != nil {
			return
		}
	}
}

// benchReceive takes the answers, until the stream ends or one is a refusal.
func benchReceive(s *client.Stream, underway <-chan time.Time, done func(int, time.Duration)) error {
	for {
		a, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		sent := <-underway
		if a.Problem != nil {
			return &a.Problem.Value
		}
		done(1, time.Since(sent))
	}
}
