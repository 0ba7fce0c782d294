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
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := loadConfig(args[0], false)
			if err != nil {
				return err
			}
			sinks, err := buildSinks(cfg, io.Discard, "")
			if err != nil {
				return &cli.ExitError{Code: cli.ExitConfig, Err: fmt.Errorf("%s: %w", args[0], err)}
			}
			for _, s := range sinks {
				s.Close()
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(streams.Err, "warning:", w)
			}
			fmt.Fprintf(streams.Out, "%s is good: %s\n", args[0], count(len(cfg.Sinks), "sink"))
			return nil
		},
	}
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
