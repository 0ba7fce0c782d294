package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/client"
)

func (a *app) itemCommand() *cobra.Command {
	item := &cobra.Command{Use: "item", Short: "Look at items"}
	var body bool
	get := &cobra.Command{
		Use:   "get ID",
		Short: "Show an item and how it stands with each sink",
		Example: "  holdfast item get 0198c5a0-…\n" +
			"  holdfast item get 0198c5a0-… --body > picture.jpg",
		Args: exactly("ID"),
		RunE: a.onServer(func(ctx context.Context, c *client.Client, args []string) error {
			if body {
				return a.itemBody(ctx, c, args[0])
			}
			d, err := c.Item(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(d, func(w io.Writer) { a.itemTable(w, d.Value) })
		}),
	}
	get.Flags().BoolVar(&body, "body", false, "print the item's bytes, exactly, and nothing else")
	item.AddCommand(get)
	return item
}

func (a *app) itemBody(ctx context.Context, c *client.Client, id string) error {
	out := &outWriter{w: a.Out}
	err := c.ItemBody(ctx, id, out)
	if out.err != nil {
		return &ExitError{Code: ExitIO, Err: fmt.Errorf("standard output: %w", out.err)}
	}
	if u, ok := errors.AsType[*client.UnreachableError](err); ok && out.n > 0 {
		return fmt.Errorf("the body is cut off after %d bytes: %w", out.n, u)
	}
	return err
}

// outWriter remembers how far it got and why it stopped.
type outWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (o *outWriter) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	o.n, o.err = o.n+int64(n), err
	return n, err
}

func (a *app) itemTable(w io.Writer, it client.ItemState) {
	pairs(w,
		"id", it.ID,
		"accepted", moment(it.Accepted),
		"state", it.State,
		"size", sizeOr(it.Size),
		"type", it.Type,
		"key", it.Key,
		"attrs", attrsText(it.Attrs),
	)
	if len(it.Sinks) == 0 {
		return
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, s := range it.Sinks {
		rows = append(rows, []string{s.Sink, itemSink(s), attempts(s.Attempts), dash(a.until(s.NextAttempt)), dash(cause(s.LastError))})
	}
	table(w, []string{"SINK", "STATE", "ATTEMPTS", "NEXT", "LAST ERROR"}, rows)
}

// sizeOr is a size for people, and nothing where it is not known.
func sizeOr(n *int64) string {
	if n == nil {
		return ""
	}
	return size(*n)
}

// itemSink is how an item stands with a sink, and how that is where the item waits for it.
func itemSink(s client.SinkState) string {
	if s.SinkState == "" {
		return s.State
	}
	return s.State + ", sink " + s.SinkState
}

// attempts is how many were spent; the server keeps no number for what is done. An item that is only held, its sink
// being down, has spent none.
func attempts(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

func attrsText(attrs map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		parts = append(parts, name+"="+attrs[name])
	}
	return strings.Join(parts, " ")
}
