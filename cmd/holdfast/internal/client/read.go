package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Item returns an item with its state per sink. An unknown id is a *Problem
// with status 404, one that was released long ago 410.
func (c *Client) Item(ctx context.Context, id string) (Doc[ItemState], error) {
	var d Doc[ItemState]
	err := c.get(ctx, &d, nil, "v1", "items", id)
	return d, err
}

// ItemBody copies the bytes of an item to w, exactly as they were accepted.
// The time limit holds until the first byte, not for a long body.
func (c *Client) ItemBody(ctx context.Context, id string, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := c.request(ctx, http.MethodGet, nil, "v1", "items", id, "body")
	if err != nil {
		return err
	}
	resp, err := c.sendHead(req, cancel)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sink := &writeErr{w: w}
	if _, err = io.Copy(sink, resp.Body); sink.err != nil {
		return sink.err
	}
	if err != nil {
		return c.unreachable(req, err)
	}
	return nil
}

// writeErr tells a failed write from a failed read after an io.Copy.
type writeErr struct {
	w   io.Writer
	err error
}

func (w *writeErr) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.err = err
	return n, err
}

// Sinks returns all sinks, following pages.
func (c *Client) Sinks(ctx context.Context) (Page[Sink], error) {
	return list[Sink](ctx, c, 0, nil, "v1", "sinks")
}

// Sink returns one sink; an unknown name is a *Problem with status 404.
func (c *Client) Sink(ctx context.Context, name string) (Doc[Sink], error) {
	var d Doc[Sink]
	err := c.get(ctx, &d, nil, "v1", "sinks", name)
	return d, err
}

// PauseSink stops deliveries to a sink until ResumeSink, also over a restart.
func (c *Client) PauseSink(ctx context.Context, name string) (Doc[Sink], error) {
	var d Doc[Sink]
	err := c.post(ctx, nil, &d, "v1", "sinks", name, "pause")
	return d, err
}

// ResumeSink ends a pause.
func (c *Client) ResumeSink(ctx context.Context, name string) (Doc[Sink], error) {
	var d Doc[Sink]
	err := c.post(ctx, nil, &d, "v1", "sinks", name, "resume")
	return d, err
}

// DeadLetters returns up to limit dead letters (0 is all of them) of one sink, or of all if
// sink is empty. Next is set if there are more.
func (c *Client) DeadLetters(ctx context.Context, sink string, limit int) (Page[DeadLetter], error) {
	query := url.Values{}
	if sink != "" {
		query.Set("sink", sink)
	}
	return list[DeadLetter](ctx, c, limit, query, "v1", "dead")
}

// DeadLetter returns one dead letter; if there is none it is a *Problem with status 404.
func (c *Client) DeadLetter(ctx context.Context, sink, id string) (Doc[DeadLetter], error) {
	var d Doc[DeadLetter]
	err := c.get(ctx, &d, nil, "v1", "dead", sink, id)
	return d, err
}

// RequeueDead sends the chosen dead letters to their sink again. With
// DryRun it only counts them.
func (c *Client) RequeueDead(ctx context.Context, f DeadFilter) (Doc[Count], error) {
	var d Doc[Count]
	err := c.post(ctx, f, &d, "v1", "dead", "requeue")
	return d, err
}

// PurgeDead throws the chosen dead letters away. With DryRun it only counts them.
func (c *Client) PurgeDead(ctx context.Context, f DeadFilter) (Doc[Count], error) {
	var d Doc[Count]
	err := c.post(ctx, f, &d, "v1", "dead", "purge")
	return d, err
}

// Status returns the server at a glance.
func (c *Client) Status(ctx context.Context) (Doc[Status], error) {
	var d Doc[Status]
	err := c.get(ctx, &d, nil, "v1", "status")
	return d, err
}

// Health asks /healthz, or /readyz if ready is set: nil is yes, a *Problem
// says why not.
func (c *Client) Health(ctx context.Context, ready bool) error {
	path := "healthz"
	if ready {
		path = "readyz"
	}
	return c.get(ctx, &health{}, nil, path)
}

// maxPage is the most that the server gives at once.
const maxPage = 1000

// list follows `next` until limit items are there (0 is all), or the list ends.
func list[T any](ctx context.Context, c *Client, limit int, query url.Values, segments ...string) (Page[T], error) {
	all := Page[T]{Items: []Doc[T]{}}
	if query == nil {
		query = url.Values{}
	}
	for {
		want := maxPage
		if limit > 0 {
			want = min(maxPage, limit-len(all.Items))
		}
		query.Set("limit", strconv.Itoa(want))
		var page Page[T]
		if err := c.get(ctx, &page, query, segments...); err != nil {
			return all, err
		}
		all.Items = append(all.Items, page.Items...)
		all.Next = page.Next
		if page.Next == "" || limit > 0 && len(all.Items) >= limit {
			return all, nil
		}
		if page.Next == query.Get("after") {
			return all, &ForeignError{Server: c.server, Status: http.StatusOK, Err: errors.New("the list does not end")}
		}
		query.Set("after", page.Next)
	}
}
