package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/client"
)

// health is what -o json prints.
type health struct {
	OK   bool   `json:"ok"`
	Code string `json:"code,omitempty"` // why not, for programs
}

func (a *app) healthCommand() *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Exit 0 if the server is alive, else 1",
		Long: "Exit 0 if the server is alive, or with --ready if it accepts items; else 1, also when\n" +
			"no server answers. Made for supervisors and container health checks.",
		Args: exactly(),
		RunE: a.onServer(func(ctx context.Context, c *client.Client, _ []string) error {
			return a.health(c.Health(ctx, ready))
		}),
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it accepts items")
	return cmd
}

// health tells the answer err: 1 is the only code for no, whatever the reason.
func (a *app) health(err error) error {
	answer := health{OK: err == nil}
	switch err := err.(type) {
	case *client.Problem:
		answer.Code = err.Code
	case *client.UnreachableError:
		answer.Code = "unreachable"
	}
	shown := a.show(answer, func(w io.Writer) {
		if err == nil {
			fmt.Fprintln(w, "ok")
		}
	})
	if err != nil {
		return &ExitError{Code: ExitFailed, Err: err}
	}
	return shown
}
