// Package cli is holdfast's command line, except for what runs the service
// itself: those commands are given to Root by cmd/holdfast.
//
// The contract with people and scripts: data on standard output, notices and
// errors on standard error; a plain aligned table, or with -o json the server's
// own documents; nothing is asked unless both ends are a terminal; and the
// exit codes of ExitError. Text that came from elsewhere (errors of a sink, a
// body) is stripped of control characters before a terminal sees it.
//
// No command handles signals: cancel the context, and put stops sending and
// waits briefly for the receipts that are due.
package cli

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"holdfast/cmd/holdfast/internal/client"
)

// DefaultServer is where the verbs look for a server if nobody says otherwise.
const DefaultServer = "http://127.0.0.1:8080"

// Streams is the world as a command sees it. In, Out and Err are needed; a nil
// function is the real thing.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(name string) string    // os.Getenv
	Now      func() time.Time            // time.Now
	Terminal func(stream any) (yes bool) // is In, Out or Err a terminal
}

func (s Streams) withDefaults() Streams {
	if s.Env == nil {
		s.Env = os.Getenv
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Terminal == nil {
		s.Terminal = func(stream any) bool {
			f, ok := stream.(*os.File)
			return ok && term.IsTerminal(int(f.Fd()))
		}
	}
	return s
}

// app is what the commands share: the streams and the global flags.
type app struct {
	Streams
	server    string
	tokenFile string
	ca        string
	output    string
	quiet     bool
	yes       bool
	noColor   bool
	timeout   time.Duration
}

// Root builds the command tree with the extra commands beside its own. It
// reads no environment and does no I/O until it is executed.
func Root(streams Streams, extra ...*cobra.Command) *cobra.Command {
	root, _ := build(streams, extra)
	return root
}

// Main runs the command line args (without the program's name) and returns
// the exit code, having told an error on streams.Err.
func Main(ctx context.Context, args []string, streams Streams, extra ...*cobra.Command) int {
	root, a := build(streams, extra)
	root.SetArgs(append([]string{}, args...))
	err := root.ExecuteContext(ctx)
	a.report(err)
	return exitCode(err)
}

func build(streams Streams, extra []*cobra.Command) (*cobra.Command, *app) {
	a := &app{Streams: streams.withDefaults()}
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "A durable delivery queue in one binary",
		Long: "holdfast keeps items on disk and delivers each to every sink that wants it.\n" +
			"The verbs below talk to a running server; `holdfast serve` starts one.",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			c.SetContext(withGlobal(c.Context(), a))
			return a.checkFlags()
		},
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	a.globalFlags(root)
	version := root.Flags().Bool("version", false, "print the version of this binary")
	root.RunE = func(c *cobra.Command, _ []string) error {
		if *version {
			return a.showVersion()
		}
		return c.Help()
	}
	root.AddCommand(a.putCommand(), a.itemCommand(), a.sinkCommand(), a.deadCommand(),
		a.statusCommand(), a.healthCommand(), a.versionCommand())
	root.AddCommand(extra...)
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	strict(root)
	return root, a
}

func (a *app) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", "", "server to talk to, a `URL` or unix://PATH (HOLDFAST_SERVER; default "+DefaultServer+")")
	f.StringVar(&a.tokenFile, "token-file", "", "`FILE` with the token that the server asks for (HOLDFAST_TOKEN)")
	f.StringVar(&a.ca, "ca", "", "`FILE` with the authorities that may sign the server's certificate, in place of the system's (HOLDFAST_CA)")
	f.StringVarP(&a.output, "output", "o", "table", "table or json")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no notices and no progress on standard error")
	f.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for an answer")
	f.BoolVar(&a.yes, "yes", false, "do not ask")
	f.BoolVar(&a.noColor, "no-color", false, "no colours (NO_COLOR)")
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) checkFlags() error {
	if a.output != "table" && a.output != "json" {
		return usagef("-o %s: want table or json", a.output)
	}
	if a.timeout <= 0 {
		return usagef("--timeout %v: want more than 0", a.timeout)
	}
	return nil
}

// connect makes the client for --server, HOLDFAST_SERVER or the default.
func (a *app) connect() (*client.Client, error) {
	server, from := a.server, "--server"
	if server == "" {
		server, from = a.Env("HOLDFAST_SERVER"), "HOLDFAST_SERVER"
	}
	if server == "" {
		server = DefaultServer
	}
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	roots, err := a.roots()
	if err != nil {
		return nil, err
	}
	c, err := client.New(server, client.Options{Timeout: a.timeout, Token: token, RootCAs: roots})
	if err != nil {
		return nil, usagef("%s: %v", from, err)
	}
	return c, nil
}

// token is what the server knows the caller by: the content of --token-file, else HOLDFAST_TOKEN; empty: nothing.
func (a *app) token() (string, error) {
	if a.tokenFile == "" {
		return a.Env("HOLDFAST_TOKEN"), nil
	}
	f, err := os.Open(a.tokenFile)
	if err != nil {
		return "", &ExitError{Code: ExitIO, Err: err}
	}
	defer f.Close()
	if err := a.private(f); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", &ExitError{Code: ExitIO, Err: err}
	}
	return strings.TrimSpace(string(b)), nil
}

// maxToken is more than any server takes, in bytes.
const maxToken = 64 << 10

// private refuses a file with a token that everyone may write, and warns of one that everyone may read.
func (a *app) private(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return &ExitError{Code: ExitIO, Err: err}
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular(): // a pipe of the shell's
	case mode.Perm()&0o002 != 0:
		return &ExitError{Code: ExitConfig, Err: fmt.Errorf("--token-file %s is writable by everyone: chmod o-w it", a.tokenFile)}
	case mode.Perm()&0o004 != 0 && !a.quiet:
		fmt.Fprintf(a.Err, "warning: --token-file %s is readable by everyone: chmod o-r it\n", clean(a.tokenFile))
	}
	return nil
}

// roots are the authorities in the PEM file of --ca, else of HOLDFAST_CA; nil where neither is given.
func (a *app) roots() (*x509.CertPool, error) {
	path, from := a.ca, "--ca"
	if path == "" {
		path, from = a.Env("HOLDFAST_CA"), "HOLDFAST_CA"
	}
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, &ExitError{Code: ExitIO, Err: fmt.Errorf("%s: %w", from, err)}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usagef("%s %s: there is no certificate in it", from, path)
	}
	return pool, nil
}

// onServer makes a command's RunE of a function that needs a server.
func (a *app) onServer(run func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		defer c.Close()
		return run(cmd.Context(), c, args)
	}
}
