package harness

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Main is the main of a program that measures: it parses, runs until it is interrupted, and exits with 2 for a command
// line that makes no sense and with 1 for a run that failed.
func Main[O any](name string, parse func(args []string) (O, error), run func(ctx context.Context, o O, out, notices io.Writer) error) {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// A Command is what such programs have in common on their command lines.
type Command struct {
	Rounds   int
	Scale    float64 // multiplies the numbers of items
	Dir      string
	Binary   string // path of a holdfast; empty: it is built
	Quick    bool
	JSONFile string // - is standard output
}

// Register adds the flags, with a default for the one that says where the disk is.
func (c *Command) Register(f *flag.FlagSet, dir string) {
	f.IntVar(&c.Rounds, "rounds", 5, "rounds to keep")
	f.Float64Var(&c.Scale, "scale", 1, "multiplies the numbers of items")
	f.StringVar(&c.Dir, "dir", dir, "where to make scratch data: a real disk, with room for 5 GB")
	f.StringVar(&c.Binary, "server", "", "path of a holdfast `binary`; without it, it is built")
	f.BoolVar(&c.Quick, "quick", false, "check that everything runs and nothing is missing or comes twice; the figures are worth nothing")
	f.StringVar(&c.JSONFile, "json", "", "write all figures to a `file`, - is standard output")
}

// Check is called when all flags are parsed, with the arguments behind them. It makes a quick run short.
func (c *Command) Check(rest []string) error {
	if c.Quick {
		c.Rounds, c.Scale = 1, min(c.Scale, 0.005)
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is one argument too many", rest[0])
	case c.Rounds < 1:
		return fmt.Errorf("-rounds %d: want at least 1", c.Rounds)
	case c.Scale <= 0 || c.Scale > 1000:
		return fmt.Errorf("-scale %g: want more than 0, at most 1000", c.Scale)
	}
	return nil
}

// NewSession is a session as the command line wants it.
func (c *Command) NewSession(progress io.Writer) (*Session, error) {
	s, err := NewSession(Options{Dir: c.Dir, Rounds: c.Rounds, Smoke: c.Quick, Progress: progress})
	if err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	return s, nil
}

// A Heading is what every report begins with.
type Heading struct {
	Date    time.Time `json:"date"`
	Command string    `json:"command"`
	Machine Machine   `json:"machine"`
	Rounds  int       `json:"rounds"`
	Scale   float64   `json:"scale"`
	Quick   bool      `json:"quick"`
	Seconds float64   `json:"seconds"` // until the report was made
}

// NewHeading describes a session; program is how it was started, as "go run ./bench".
func (c *Command) NewHeading(program string, s *Session) Heading {
	return Heading{
		Date: time.Now().UTC().Truncate(time.Second), Command: strings.Join(append([]string{program}, os.Args[1:]...), " "),
		Machine: s.ThisMachine(), Rounds: c.Rounds, Scale: c.Scale, Quick: c.Quick,
	}
}

// Print writes it for people.
func (h Heading) Print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s, %s\n", h.Command, h.Date.Format("2006-01-02 15:04 MST"), h.Machine)
	fmt.Fprintf(w, "%d B items; medians of the rounds that were kept [smallest, largest]; ratios are to the floor of the same round\n", BodyBytes)
	if h.Quick {
		fmt.Fprintln(w, "-quick: this shows that everything runs, and the figures are worth nothing")
	}
}

// WriteJSON writes a report to a file, - is out, and nothing where path is empty.
func WriteJSON(report any, path string, out io.Writer) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if path == "-" {
		_, err = out.Write(b)
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
