package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"holdfast/cmd/holdfast/internal/client"
)

// Global is what the global flags say, for the commands that cmd/holdfast adds. It behaves as this package's own verbs do.
type Global struct{ app *app }

type globalKey struct{}

func withGlobal(ctx context.Context, a *app) context.Context {
	return context.WithValue(ctx, globalKey{}, &Global{a})
}

// GlobalOf is that of a command which runs below Root; it panics in another one.
func GlobalOf(c *cobra.Command) *Global { return c.Context().Value(globalKey{}).(*Global) }

// Usagef is the error of a command line that makes no sense: exit code ExitUsage.
func Usagef(format string, args ...any) error { return usagef(format, args...) }

// Connect makes a client for the server that the flags or the environment name.
func (g *Global) Connect() (*client.Client, error) { return g.app.connect() }

// Confirm asks a question that only yes lets pass; with --yes it asks nothing. Without a terminal it is an error.
func (g *Global) Confirm(ctx context.Context, question string) error {
	if g.app.yes {
		return nil
	}
	return g.app.ask(ctx, question, "--yes does it")
}

// Show prints doc as JSON if -o says so, else what table writes.
func (g *Global) Show(doc any, table func(io.Writer)) error { return g.app.show(doc, table) }

// Notice tells people something on standard error.
func (g *Global) Notice(format string, args ...any) { g.app.notice(format, args...) }

// Progress is where a bar may be drawn: standard error, if somebody looks at it and wants to see progress; else nil.
func (g *Global) Progress() io.Writer {
	if g.app.quiet || !g.app.Terminal(g.app.Err) {
		return nil
	}
	return g.app.Err
}

// Count groups the digits of n, as the tables do: 1,234,567.
func Count(n int64) string { return count(n) }

// Size is n bytes for people, as the tables have them: 512 B, 12.3 MiB.
func Size(n int64) string { return size(n) }
