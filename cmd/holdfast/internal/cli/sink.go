package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/client"
)

func (a *app) sinkCommand() *cobra.Command {
	sink := &cobra.Command{Use: "sink", Short: "Look at sinks, pause and resume them"}
	sink.AddCommand(
		&cobra.Command{
			Use:   "ls",
			Short: "List the sinks and what each is owed",
			Args:  exactly(),
			RunE: a.onServer(func(ctx context.Context, c *client.Client, _ []string) error {
				page, err := c.Sinks(ctx)
				if err != nil {
					return err
				}
				return a.show(page, func(w io.Writer) { a.sinkTable(w, values(page)) })
			}),
		},
		&cobra.Command{
			Use:   "get NAME",
			Short: "Show one sink",
			Args:  exactly("NAME"),
			RunE: a.onServer(func(ctx context.Context, c *client.Client, args []string) error {
				d, err := c.Sink(ctx, args[0])
				if err != nil {
					return err
				}
				return a.show(d, func(w io.Writer) { a.sinkDetail(w, d.Value) })
			}),
		},
		a.sinkVerb("pause", "Stop delivering to a sink; its items are kept, also over a restart", (*client.Client).PauseSink),
		a.sinkVerb("resume", "Deliver to a paused sink again", (*client.Client).ResumeSink),
	)
	return sink
}

func (a *app) sinkVerb(verb, short string, do func(*client.Client, context.Context, string) (client.Doc[client.Sink], error)) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME",
		Short: short,
		Args:  exactly("NAME"),
		RunE: a.onServer(func(ctx context.Context, c *client.Client, args []string) error {
			d, err := do(c, ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(d, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", clean(d.Value.Sink), clean(d.Value.State)) })
		}),
	}
}

// values is what was understood of a page.
func values[T any](page client.Page[T]) []T {
	all := make([]T, len(page.Items))
	for i, d := range page.Items {
		all[i] = d.Value
	}
	return all
}

func (a *app) sinkTable(w io.Writer, sinks []client.Sink) {
	var rows [][]string
	for _, s := range sinks {
		rows = append(rows, []string{
			s.Sink, s.Type, a.sinkState(s), count(s.Waiting), size(s.WaitingBytes), a.age(s.Oldest),
			count(s.InFlight), count(s.Dead), count(s.Delivered), dash(a.lastError(s, 80)),
		})
	}
	table(w, []string{"SINK", "TYPE", "STATE", "WAITING", "BYTES", "OLDEST", "IN FLIGHT", "DEAD", "DELIVERED", "LAST ERROR"}, rows)
}

func (a *app) sinkDetail(w io.Writer, s client.Sink) {
	waiting := count(s.Waiting) + " items, " + size(s.WaitingBytes)
	if !s.Oldest.IsZero() {
		waiting += ", the oldest " + a.age(s.Oldest) + " old"
	}
	next := moment(s.NextAttempt)
	if next != "" {
		next += " (" + a.until(s.NextAttempt) + ")"
	}
	pairs(w,
		"sink", s.Sink,
		"type", s.Type,
		"state", a.sinkState(s),
		"waiting", waiting,
		"in flight", count(s.InFlight),
		"delivered", count(s.Delivered),
		"dead", count(s.Dead),
		"next attempt", next,
		"last error", a.lastError(s, 1000),
	)
}

// sinkState is a sink's state, and how long it has been down if it is.
func (a *app) sinkState(s client.Sink) string {
	if s.Since.IsZero() {
		return s.State
	}
	return s.State + " " + a.age(s.Since)
}

// lastError is a sink's last error, cut to n runes, and how long ago it was.
func (a *app) lastError(s client.Sink, n int) string {
	text := short(cause(s.LastError), n)
	if text == "" || s.LastFailure.IsZero() {
		return text
	}
	return text + " (" + a.age(s.LastFailure) + " ago)"
}
