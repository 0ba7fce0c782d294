package cli

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/client"
)

func (a *app) deadCommand() *cobra.Command {
	dead := &cobra.Command{Use: "dead", Short: "Look at dead letters, send them again or throw them away"}
	dead.AddCommand(a.deadLs(), a.deadGet(),
		a.deadChange(deadVerb{
			name: "requeue", past: "requeued", warning: "Their sinks are sent them again.",
			short: "Send dead letters to their sink again", do: (*client.Client).RequeueDead,
		}),
		a.deadChange(deadVerb{
			name: "purge", past: "purged", warning: "They are gone for good.", final: true,
			short: "Throw dead letters away", do: (*client.Client).PurgeDead,
		}),
	)
	return dead
}

func (a *app) deadLs() *cobra.Command {
	var sink string
	var limit int
	ls := &cobra.Command{
		Use:   "ls",
		Short: "List dead letters",
		Args:  exactly(),
		RunE: a.onServer(func(ctx context.Context, c *client.Client, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d: want 0 (all) or more", limit)
			}
			page, err := c.DeadLetters(ctx, sink, limit)
			if err != nil {
				return err
			}
			if err := a.show(page, func(w io.Writer) { deadTable(w, values(page)) }); err != nil {
				return err
			}
			if page.Next != "" {
				a.notice("there are more than these %d: --limit N shows N, --limit 0 all", len(page.Items))
			}
			return nil
		}),
	}
	ls.Flags().StringVar(&sink, "sink", "", "only those of this sink (`NAME`)")
	ls.Flags().IntVar(&limit, "limit", 100, "at most this many, 0 for all")
	return ls
}

func deadTable(w io.Writer, letters []client.DeadLetter) {
	var rows [][]string
	for _, d := range letters {
		why := cause(d.LastError)
		if d.Lost {
			why = "the item is lost; " + why
		}
		rows = append(rows, []string{d.Sink, d.ID, dash(moment(d.Died)), strconv.Itoa(d.Attempts), short(why, 80)})
	}
	table(w, []string{"SINK", "ID", "DIED", "ATTEMPTS", "LAST ERROR"}, rows)
}

func (a *app) deadGet() *cobra.Command {
	return &cobra.Command{
		Use:   "get SINK ID",
		Short: "Show a dead letter with its history and its item",
		Args:  exactly("SINK", "ID"),
		RunE: a.onServer(func(ctx context.Context, c *client.Client, args []string) error {
			d, err := c.DeadLetter(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return a.show(d, func(w io.Writer) { deadDetail(w, d.Value) })
		}),
	}
}

func deadDetail(w io.Writer, d client.DeadLetter) {
	attempts := strconv.Itoa(d.Attempts)
	if d.Permanent {
		attempts += ", the last one permanent"
	}
	accepted, item := moment(d.Accepted), ""
	if d.Lost {
		item = "lost: it is damaged or missing, and only its history is left"
	}
	if d.Lost && accepted == "" {
		accepted = "not known: the time in the id may not be that of the item"
	}
	pairs(w,
		"sink", d.Sink,
		"id", d.ID,
		"accepted", accepted,
		"died", moment(d.Died),
		"attempts", attempts,
		"first error", d.FirstError,
		"last error", d.LastError,
		"item", item,
		"type", d.Item.Type,
		"source", d.Item.Source,
		"key", d.Item.Key,
		"attrs", attrsText(d.Item.Attrs),
		"content type", d.Item.ContentType,
		"body", bodyText(d.Item),
	)
}

// bodyText is the beginning of a body as one line, for a look.
func bodyText(e client.Envelope) string {
	body := []byte(e.Body)
	var text string
	if json.Unmarshal(e.Body, &text) == nil {
		body = []byte(text)
	}
	if len(e.BodyBase64) > 0 {
		body = e.BodyBase64
	}
	if !utf8.Valid(body) {
		return size(int64(len(body))) + " that are not text: -o json, or holdfast item get ID --body"
	}
	return short(string(body), 200)
}
