package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/client"
)

const (
	// maxPut bounds a line or a whole file in memory, in bytes; the server's own limit is lower.
	maxPut = 64 << 20
	// maxWait is the longest that the server waits for an ack-join.
	maxWait = 300 * time.Second
)

// putJob is one run of put.
type putJob struct {
	*app
	client *client.Client
	inputs []string // paths, - is standard input
	meta   client.Meta
	attrs  []string // k=v as given
	key    string   // the idempotency key, or its beginning
	wait   time.Duration
	whole  bool
	tally  tally
	meter  *meter
}

func (a *app) putCommand() *cobra.Command {
	p := &putJob{app: a}
	cmd := &cobra.Command{
		Use:   "put [-|FILE…]",
		Short: "Send lines or files as items",
		Long: "Send each line of the files, or of standard input, as an item over one connection.\n" +
			"Empty lines are skipped. A line is answered when it is durable, so a summary without\n" +
			"refusals means that nothing can be lost any more; with --wait, it is answered when\n" +
			"every sink is done with it, or the time is over: the exit code is then 0 only if every\n" +
			"sink has every line, 75 if some are still on their way, 1 if a sink will not get one.\n" +
			"-o json prints the answers as NDJSON.\n\n" +
			"With --idempotency-key K, line N has the key K-N: sending the same input again after\n" +
			"a broken connection repeats nothing.",
		Example: "  seq 5 | holdfast put -\n" +
			"  holdfast put --type door.open --key gate-7 events.ndjson\n" +
			"  holdfast put --whole photo.jpg",
		RunE: a.onServer(func(ctx context.Context, c *client.Client, args []string) error {
			p.client, p.inputs = c, args
			return p.run(ctx)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&p.meta.Key, "key", "", "the items' `KEY`: what orders them for a sink with order: key")
	f.StringArrayVar(&p.attrs, "attr", nil, "an attribute, `name=value`; repeat for more")
	f.StringVar(&p.meta.Type, "type", "", "the items' `TYPE`, as in door.open")
	f.StringVar(&p.meta.TTL, "ttl", "", "drop what is not delivered after this `DURATION` (90s, 7d)")
	f.StringVar(&p.meta.NotBefore, "not-before", "", "deliver at this `TIME` (RFC 3339) or later")
	f.StringVar(&p.meta.Source, "source", "", "the items' `SOURCE`")
	f.StringVar(&p.key, "idempotency-key", "", "make sending again safe (`K`: line N has K-N)")
	f.DurationVar(&p.wait, "wait", 0, "wait this long for every sink to be done (at most 300s)")
	f.BoolVar(&p.whole, "whole", false, "each file is one item")
	return cmd
}

func (p *putJob) run(ctx context.Context) error {
	if err := p.check(); err != nil {
		return err
	}
	total, err := p.measure()
	if err != nil {
		return err
	}
	p.meter = p.newMeter(total)
	if p.whole {
		return p.sendWhole(ctx)
	}
	return p.sendLines(ctx)
}

// check refuses what cannot work before anything is sent.
func (p *putJob) check() error {
	if p.wait < 0 || p.wait > maxWait {
		return usagef("--wait %v: want 0s to %v", p.wait, maxWait)
	}
	if p.meta.TTL != "" && !validTTL(p.meta.TTL) {
		return usagef("--ttl %s: want a duration like 90s, 5m or 7d", p.meta.TTL)
	}
	if _, err := time.Parse(time.RFC3339, p.meta.NotBefore); p.meta.NotBefore != "" && err != nil {
		return usagef("--not-before %s: want a time like 2026-01-31T08:00:00Z", p.meta.NotBefore)
	}
	p.meta.Attrs = map[string]string{}
	for _, attr := range p.attrs {
		name, value, ok := strings.Cut(attr, "=")
		if !ok {
			return usagef("--attr %s: want name=value", attr)
		}
		if !attrName(name) {
			return usagef("--attr %s: a name is 1 to 64 of a-z and 0-9", attr)
		}
		if _, twice := p.meta.Attrs[name]; twice {
			return usagef("--attr %s: %s is given twice", attr, name)
		}
		p.meta.Attrs[name] = value
	}
	if p.whole && !p.meta.HeaderSafe() {
		return usagef("with --whole, attributes and keys must be printable ASCII, not empty, without a blank at either end")
	}
	if len(p.inputs) == 0 {
		p.inputs = []string{"-"}
	}
	return nil
}

// validTTL says whether the server would take a text for a time to live: days, a duration of Go's, or both.
func validTTL(s string) bool {
	days, rest, found := strings.Cut(s, "d")
	if n, err := strconv.ParseUint(days, 10, 17); found && err == nil {
		if s = rest; s == "" {
			return n > 0
		}
	}
	d, err := time.ParseDuration(s)
	return err == nil && d >= time.Millisecond
}

func attrName(s string) bool {
	for i := range len(s) {
		if (s[i] < 'a' || s[i] > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// measure looks at every input before the first is sent, and returns their
// bytes, -1 if nobody knows.
func (p *putJob) measure() (int64, error) {
	var total int64
	stdin, endless := 0, false
	for _, path := range p.inputs {
		if path == "-" {
			stdin++
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return 0, &ExitError{Code: ExitIO, Err: fmt.Errorf("%w; nothing was sent", err)}
		}
		if info.IsDir() {
			return 0, usagef("%s is a directory; nothing was sent", path)
		}
		endless = endless || !info.Mode().IsRegular()
		total += info.Size()
	}
	if stdin > 1 {
		return 0, usagef("- (standard input) can be given once")
	}
	if stdin > 0 || endless {
		return -1, nil
	}
	return total, nil
}
