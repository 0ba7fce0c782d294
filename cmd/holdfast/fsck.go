package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/recovery"
	"holdfast/store"
)

// offlineFlags are what the verbs that work on a data directory, without a server, have in common.
type offlineFlags struct {
	config string
	json   bool
}

func (f *offlineFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "configuration `FILE` that names the directory (HOLDFAST_CONFIG; default "+systemConfig+" if it is there)")
	c.Flags().BoolVar(&f.json, "json", false, "print a JSON document; so does -o json")
}

// dir is the directory to work on: the argument, else the configured one.
func (f *offlineFlags) dir(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	cfg, err := serveFlags{config: f.config}.load()
	if err != nil {
		return "", err
	}
	return cfg.Data.Dir, nil
}

// asJSON reports whether a document is wanted.
func (f *offlineFlags) asJSON(c *cobra.Command) bool {
	o := c.Flag("output")
	return f.json || o != nil && o.Value.String() == "json"
}

func fsckCommand(streams cli.Streams) *cobra.Command {
	var f offlineFlags
	c := &cobra.Command{
		Use:   "fsck [DIR]",
		Short: "Check a data directory without changing it",
		Long: "Check every block of the log, every footer and file of keys, and the queues, and change nothing. DIR may be a\n" +
			"copy from another machine; without it the configured directory is meant. No process may have it open.\n\n" +
			"It prints a line per finding. `holdfast serve` and `holdfast salvage` heal what is found, keep the originals and tell\n" +
			"what is lost; where a start refuses the directory the finding says so, and that is for you to mend.\n\n" +
			"Exit code 0: all is well; 1: there are findings; 74: it holds no store, or cannot be read; 75: a running process\n" +
			"has it; 78: it is of another format, or no directory.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := f.dir(args)
			if err != nil {
				return err
			}
			bar := newBar(c, streams, "checked")
			found, sums, err := recovery.Check(dir, bar.at)
			bar.clear()
			if err != nil {
				return coded(err)
			}
			return showFindings(streams.Out, dir, found, sums, f.asJSON(c))
		},
	}
	f.add(c)
	return c
}

// showFindings prints what was found, and a summary.
func showFindings(w io.Writer, dir string, found []store.Finding, sums store.Checked, asJSON bool) error {
	var err error
	if asJSON {
		err = printJSON(w, struct {
			Dir      string          `json:"dir"`
			Findings []store.Finding `json:"findings"`
			Checked  store.Checked   `json:"checked"`
		}{dir, append([]store.Finding{}, found...), sums})
	} else {
		for _, f := range found {
			fmt.Fprintln(w, f)
		}
		_, err = fmt.Fprintf(w, "%s: %s, %s in %s, %s, %s outside the log, %d bytes: %s\n", dir, count(sums.Segments, "segment"),
			count(int(sums.Items), "item"), count(int(sums.Blocks), "block"), count(sums.Sinks, "sink"), count(int(sums.Bodies), "item"), sums.Bytes, verdictOf(found, sums))
	}
	switch {
	case err != nil:
		return &cli.ExitError{Code: cli.ExitIO, Err: err}
	case len(found) > 0:
		return &cli.ExitError{Code: cli.ExitFailed}
	}
	return nil
}

// nextStep says what an operator does about findings.
func nextStep(found []store.Finding) string {
	for _, f := range found {
		if f.Refused {
			return "; a start refuses the directory until that is mended"
		}
	}
	return "; a start or `holdfast salvage` heals, and tells what is lost"
}

func verdictOf(found []store.Finding, sums store.Checked) string {
	text := "all is well"
	if len(found) > 0 {
		text = count(len(found), "finding") + nextStep(found)
	}
	if sums.Unclean {
		text += "; it was not closed in order, a start looks at the end of the log"
	}
	if sums.Healed > 0 {
		text += fmt.Sprintf("; %s healed before", count(sums.Healed, "damaged segment"))
	}
	if sums.Lost > 0 {
		text += fmt.Sprintf("; %s lost before", count(int(sums.Lost), "item"))
	}
	return text
}

func salvageCommand(streams cli.Streams) *cobra.Command {
	var f offlineFlags
	c := &cobra.Command{
		Use:   "salvage [DIR]",
		Short: "Heal a data directory offline",
		Long: "Heal what is damaged in a data directory, as `holdfast serve` does when it starts, but all of it at once: a service\n" +
			"heals a part of the log when it first reads it. The originals are kept in DIR/quarantine. Nothing is delivered. Where\n" +
			"DIR/log is missing, which a start refuses, salvage takes it for gone, and all that it had for lost: put it back before,\n" +
			"if you still have it.\n\n" +
			"It prints the report, and leaves it as report.json beside the originals where something was damaged or missing.\n" +
			"Exit code 0: all that checks is kept, and the store can be opened, also if something is lost; 74: it holds no\n" +
			"store, cannot be read or written, or is refused, and nothing was changed that `holdfast fsck` calls refused;\n" +
			"75: a running process has it, or the disk is full; 78: it is of another format, or no directory.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := f.dir(args)
			if err != nil {
				return err
			}
			bar := newBar(c, streams, "salvaged")
			report, err := recovery.Salvage(dir, recovery.Options{Log: quietLog(c, streams)}, bar.at)
			bar.clear()
			if err != nil {
				return coded(err)
			}
			return showReport(streams.Out, dir, report, f.asJSON(c))
		},
	}
	f.add(c)
	return c
}

// quietLog has warnings and errors only, as a person reads them.
func quietLog(c *cobra.Command, streams cli.Streams) *slog.Logger {
	level := slog.LevelWarn
	if q := c.Flag("quiet"); q != nil && q.Value.String() == "true" {
		level = slog.LevelError + 1
	}
	return slog.New(slog.NewTextHandler(streams.Err, &slog.HandlerOptions{Level: level}))
}

// showReport prints what a salvage did.
func showReport(w io.Writer, dir string, r recovery.Report, asJSON bool) error {
	var err error
	if asJSON {
		err = printJSON(w, r)
	} else {
		fmt.Fprintf(w, "%s: %s lost; of damaged segments and of the last group commit %s kept, %d unconfirmed; what is whole is not counted\n",
			dir, lostOf(r), count(r.Kept, "item"), r.Unconfirmed)
		if r.Uncertain > 0 {
			fmt.Fprintf(w, "%s are not there, and nothing tells whether they were still owed\n", count(r.Uncertain, "item"))
		}
		for _, name := range r.Renamed {
			fmt.Fprintf(w, "segment under another name, renamed: %s\n", name)
		}
		for _, name := range r.Aside {
			fmt.Fprintf(w, "no segment of this store, moved to quarantine: %s\n", name)
		}
		for _, name := range r.Damaged {
			fmt.Fprintf(w, "damaged segment: %s\n", name)
		}
		if q := r.Queues; q != nil {
			fmt.Fprintf(w, "queues made anew: %s kept, %s, %s outside the log kept, %d missing (%s)\n",
				count(q.Rows, "row"), fmt.Sprintf("%d may be delivered again", q.Repeated), count(q.Bodies, "item"), q.Missing, q.Damage)
		}
		_, err = fmt.Fprintf(w, "originals and report: %s\n", cmp.Or(r.Quarantine, "nothing had to be kept"))
	}
	if err != nil {
		return &cli.ExitError{Code: cli.ExitIO, Err: err}
	}
	return nil
}

// lostOf says how many items are lost, as far as that is known.
func lostOf(r recovery.Report) string {
	if r.AtLeast {
		return "at least " + count(r.Lost, "item")
	}
	return count(r.Lost, "item")
}

func printJSON(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

// A bar shows how far long work is: on a terminal as a bar, elsewhere as a line every few seconds.
type bar struct {
	w    io.Writer
	what string
	bar  *progressbar.ProgressBar // nil: no terminal
	told time.Time                // when the last line was written
	off  bool
}

const barEvery = 5 * time.Second

func newBar(c *cobra.Command, streams cli.Streams, what string) *bar {
	b := &bar{w: streams.Err, what: what, told: time.Now()}
	if q := c.Flag("quiet"); q != nil && q.Value.String() == "true" {
		b.off = true
		return b
	}
	if file, ok := streams.Err.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		b.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	}
	return b
}

// at says how many bytes of how many are done.
func (b *bar) at(done, total int64) {
	switch {
	case b.off:
	case b.bar != nil:
		b.bar.ChangeMax64(max(total, 1))
		_ = b.bar.Set64(done)
	case time.Since(b.told) >= barEvery:
		b.told = time.Now()
		fmt.Fprintf(b.w, "%s %d of %d bytes\n", b.what, done, total)
	}
}

func (b *bar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
