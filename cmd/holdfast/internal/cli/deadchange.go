package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/client"
)

// deadVerb is what differs between requeue and purge.
type deadVerb struct {
	name, past, short, warning string
	final                      bool // it is asked about even for a single one
	do                         func(*client.Client, context.Context, client.DeadFilter) (client.Doc[client.Count], error)
}

// deadChoice is the selection as the flags give it.
type deadChoice struct {
	sink, contains, before string
	all, dryRun            bool
}

func (a *app) deadChange(v deadVerb) *cobra.Command {
	var choice deadChoice
	cmd := &cobra.Command{
		Use:   v.name + " [SINK ID]",
		Short: v.short,
		Long: v.short + ".\n\nChoose one with SINK ID, or many with flags that must all hold. Without a terminal\n" +
			"to ask on, --yes is needed; --dry-run only counts.",
		Example: fmt.Sprintf("  holdfast dead %[1]s crm 0198c5a0-…\n  holdfast dead %[1]s --sink crm --error-contains 'status 413' --dry-run", v.name),
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly("SINK", "ID")(c, args)
		},
		RunE: a.onServer(func(ctx context.Context, c *client.Client, args []string) error {
			filter, err := a.deadFilter(choice, args)
			if err != nil {
				return err
			}
			return a.changeDead(ctx, c, v, filter, choice.dryRun)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&choice.sink, "sink", "", "all of this sink (`NAME`)")
	f.StringVar(&choice.contains, "error-contains", "", "whose last error contains `TEXT`")
	f.StringVar(&choice.before, "died-before", "", "that died before a `TIME` (RFC 3339), or longer ago than a duration (36h, 7d)")
	f.BoolVar(&choice.all, "all", false, "every dead letter of every sink")
	f.BoolVar(&choice.dryRun, "dry-run", false, "only count them")
	return cmd
}

func (a *app) deadFilter(ch deadChoice, args []string) (client.DeadFilter, error) {
	f := client.DeadFilter{Sink: ch.sink, ErrorContains: ch.contains, All: ch.all}
	if ch.before != "" {
		t, err := pastTime(ch.before, a.Now())
		if err != nil {
			return f, usagef("--died-before %q: %v", ch.before, err)
		}
		f.DiedBefore = &t
	}
	filters := f.Sink != "" || f.ErrorContains != "" || f.DiedBefore != nil
	switch {
	case len(args) > 0 && (filters || f.All):
		return f, usagef("SINK ID is one dead letter: leave --sink, --all, --error-contains and --died-before out")
	case len(args) > 0:
		f.Sink, f.IDs = args[0], args[1:]
	case f.All && filters:
		return f, usagef("--all is every dead letter: leave --sink, --error-contains and --died-before out, or --all")
	case !f.All && !filters:
		return f, usagef("which dead letters? Name SINK ID, or --sink, --error-contains, --died-before, or --all")
	}
	return f, nil
}

// pastTime reads an RFC 3339 time, or a duration before now.
func pastTime(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.UTC().AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.UTC().Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("want a time as in 2026-01-31T08:00:00Z, or a duration as in 36h or 7d")
}

// changeDead counts, asks, and does it. What dies between the count and the
// answer is chosen too.
func (a *app) changeDead(ctx context.Context, c *client.Client, v deadVerb, f client.DeadFilter, dryRun bool) error {
	one := len(f.IDs) > 0
	if dryRun || a.mustAsk(v, one) {
		f.DryRun = true
		n, err := v.do(c, ctx, f)
		if err != nil {
			return err
		}
		if dryRun {
			return a.show(n, func(w io.Writer) {
				fmt.Fprintf(w, "%s would be %s%s\n", letters(n.Value.Count), v.past, stays(n.Value.Lost))
			})
		}
		if n.Value.Count > 0 {
			if err := a.ask(ctx, fmt.Sprintf("%s %s? %s", upper(v.name), letters(n.Value.Count), v.warning), "--yes does it, --dry-run only counts"); err != nil {
				return err
			}
		}
		f.DryRun = false
	}
	n, err := v.do(c, ctx, f)
	if err != nil {
		return err
	}
	if one && n.Value.Lost > 0 {
		return fmt.Errorf("the item of dead letter %s is lost: there is nothing to send again, only to purge", f.IDs[0])
	}
	if one && n.Value.Count == 0 {
		return &ExitError{Code: ExitNotFound, Err: fmt.Errorf("%s has no dead letter %s", f.Sink, f.IDs[0])}
	}
	return a.show(n, func(w io.Writer) { fmt.Fprintf(w, "%s %s%s\n", letters(n.Value.Count), v.past, stays(n.Value.Lost)) })
}

func (a *app) mustAsk(v deadVerb, one bool) bool { return !a.yes && (v.final || !one) }

func letters(n int64) string {
	if n == 1 {
		return "1 dead letter"
	}
	return count(n) + " dead letters"
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// stays says how many dead letters are not sent again, as their items are lost.
func stays(lost int64) string {
	if lost == 0 {
		return ""
	}
	return ", " + letters(lost) + " left: of a lost item only the history remains"
}
