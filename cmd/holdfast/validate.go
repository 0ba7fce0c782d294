package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/cmd/holdfast/internal/config"
)

func configCommand(streams cli.Streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Work with configuration files",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(validateCommand(streams))
	return c
}

func validateCommand(streams cli.Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a configuration file without touching anything it names",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := validate(args[0])
			if outputJSON(c) {
				return showVerdict(c, args[0], cfg, err)
			}
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(streams.Err, "warning:", w)
			}
			fmt.Fprintf(streams.Out, "%s is good: %s\n", args[0], count(len(cfg.Sinks), "sink"))
			return nil
		},
	}
}

// validate reads a file, and makes its sinks to see whether they can be made.
func validate(path string) (*config.Config, error) {
	cfg, err := loadConfig(path, false)
	if err != nil {
		return nil, err
	}
	sinks, err := buildSinks(cfg, io.Discard, "")
	if err != nil {
		return nil, &cli.ExitError{Code: cli.ExitConfig, Err: fmt.Errorf("%s: %w", path, err)}
	}
	for _, s := range sinks {
		s.Close()
	}
	return cfg, nil
}

// A verdict is what config validate -o json prints.
type verdict struct {
	File     string    `json:"file"`
	OK       bool      `json:"ok"`
	Sinks    int       `json:"sinks"`
	Warnings []string  `json:"warnings"`
	Problems []problem `json:"problems"`
}

// A problem is one thing that is wrong; line and column count from 1, and are absent of the file as a whole.
type problem struct {
	Path    string `json:"path,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

// showVerdict prints what validate came to, and returns an error that has its exit code and nothing more to say.
func showVerdict(c *cobra.Command, path string, cfg *config.Config, err error) error {
	v := verdict{File: path, OK: err == nil, Warnings: []string{}, Problems: []problem{}}
	if cfg != nil {
		v.Sinks, v.Warnings = len(cfg.Sinks), append(v.Warnings, cfg.Warnings...)
	}
	if bad, ok := errors.AsType[*config.Error](err); ok {
		for _, p := range bad.Problems {
			v.Problems = append(v.Problems, problem{p.Path, p.Line, p.Col, p.Message})
		}
	} else if err != nil {
		v.Problems = append(v.Problems, problem{Message: err.Error()})
	}
	shown := cli.GlobalOf(c).Show(v, func(io.Writer) {})
	if e, ok := errors.AsType[*cli.ExitError](err); ok && shown == nil {
		return &cli.ExitError{Code: e.Code}
	}
	return shown
}

func outputJSON(c *cobra.Command) bool {
	o := c.Flag("output")
	return o != nil && o.Value.String() == "json"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// loadConfig reads a file, or (empty) the defaults. insecure lets it listen to anybody without a token. Its errors have
// an exit code.
func loadConfig(path string, insecure bool) (cfg *config.Config, err error) {
	env := config.Env{InsecureNoAuth: insecure}
	if path == "" {
		cfg, err = config.Default(env)
	} else {
		cfg, err = config.Load(path, env)
	}
	switch {
	case err == nil:
		return cfg, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, &cli.ExitError{Code: cli.ExitConfig, Err: err}
	}
	if _, bad := errors.AsType[*config.Error](err); bad {
		return nil, &cli.ExitError{Code: cli.ExitConfig, Err: err}
	}
	return nil, &cli.ExitError{Code: cli.ExitIO, Err: err}
}
