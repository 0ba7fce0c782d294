package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/cmd/holdfast/internal/config"
	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/sinks"
	"holdfast/sinks/file"
	"holdfast/sinks/stdout"
	"holdfast/sinks/webhook"
	"holdfast/store"
)

// literal maps a configured zero, which is meant, to a value that Options do not take for their default.
func literal[T int | time.Duration](v, zero T) T { return cmp.Or(v, zero) }

// buildSinks makes the sinks of a configuration, in its order. None of them need be reachable.
func buildSinks(cfg *config.Config, out io.Writer) ([]sinks.Sink, error) {
	shared := stdout.Share(out)
	var made []sinks.Sink
	for _, c := range cfg.Sinks {
		s, err := buildSink(c, shared)
		if err != nil {
			for _, s := range made {
				err = errors.Join(err, s.Close())
			}
			return nil, fmt.Errorf("sinks.%s: %w", c.Name, err)
		}
		made = append(made, s)
	}
	return made, nil
}

// buildSink is where a type's name becomes a sink.
func buildSink(c config.Sink, out *stdout.Writer) (sinks.Sink, error) {
	format := sinks.Format(c.Format)
	switch c.Type {
	case config.Stdout:
		return stdout.New(out, stdout.Options{Format: format})
	case config.FileSink:
		o := file.Options{Path: c.File.Path, Format: format, Fsync: file.Fsync(c.File.Fsync)}
		if r := c.File.Rotate; r != nil {
			o.RotateSize, o.Keep = r.Size, r.Keep
		}
		return file.New(o)
	case config.WebhookSink:
		return webhook.New(webhookOptions(c, format))
	}
	return nil, fmt.Errorf("type %q is not known", c.Type)
}

func webhookOptions(c config.Sink, format sinks.Format) webhook.Options {
	w := c.Webhook
	o := webhook.Options{
		URL:         w.URL.Reveal(),
		Headers:     map[string]string{},
		Format:      format,
		Concurrency: c.Concurrency,
		Version:     cli.Version(),
		TLS:         webhook.TLS{CAFile: w.TLS.CA, CertFile: w.TLS.Cert, KeyFile: w.TLS.Key, InsecureSkipVerify: w.TLS.InsecureSkipVerify},
	}
	for name, value := range w.Headers {
		o.Headers[name] = value.Reveal()
	}
	for _, secret := range w.Sign.StandardWebhooks {
		o.Signing.StandardWebhooks = append(o.Signing.StandardWebhooks, secret.Reveal())
	}
	if w.Sign.GitHub.IsSet() {
		o.Signing.GitHub = w.Sign.GitHub.Reveal()
	}
	if s := w.Sign.Custom; s != nil {
		o.Signing.Custom = webhook.Custom{Header: s.Header, Prefix: s.Prefix, Encoding: string(s.Encoding), Secret: s.Secret.Reveal()}
	}
	return o
}

// The limits of the disk budget, where the configuration leaves it to us, and of a segment.
const (
	mib                          = 1 << 20
	mostBudget, leastBudget      = 2 << 30, 16 * mib
	mostSegment, leastSegment    = 64 * mib, mib
	segmentsOfBudget, halfOfFree = 16, 2
)

// budget is how much of the disk the service takes at most: what is configured, else half of what is free, up to 2 GiB.
func budget(cfg *config.Config, free int64) int64 {
	if cfg.Data.MaxBytes != nil {
		return *cfg.Data.MaxBytes
	}
	return max(leastBudget, min(mostBudget, free/halfOfFree))
}

func storeOptions(budget int64) store.Options {
	return store.Options{SegmentBytes: max(leastSegment, min(budget/segmentsOfBudget, mostSegment))}
}

func queueOptions(cfg *config.Config, budget int64) queue.Options {
	o := queue.Options{
		MaxBytes:        budget,
		MinFree:         cfg.Data.MinFree,
		CommitDelay:     cfg.Data.CommitDelay,
		MarkDelay:       literal(cfg.Data.MarkDelay, 1),
		MarkEvery:       cfg.Data.MarkEvery,
		MaxItemBytes:    cfg.Server.MaxItemBytes,
		MaxRequestBytes: cfg.Server.MaxRequestBytes,
		DedupeWindow:    literal(cfg.Data.Dedupe.Window, 1),
		DedupeKeys:      literal(cfg.Data.Dedupe.MaxKeys, -1),
	}
	for _, c := range cfg.Sinks {
		s := queue.SinkOptions{Name: c.Name, Bounds: queue.Bounds{Items: c.Bounds.Items, Bytes: c.Bounds.Bytes}}
		if c.Order == config.OrderNone {
			s.Order = queue.None
		}
		if c.Bounds.OnFull == config.DropNewest {
			s.Bounds.OnFull = queue.DropNewest
		}
		o.Sinks = append(o.Sinks, s)
	}
	return o
}

// lane is one sink's worker, as configured.
func lane(c config.Sink, s sinks.Sink, feed *queue.Feed) dispatcher.Sink {
	d := c.Delivery
	return dispatcher.Sink{
		Name:        c.Name,
		Feed:        feed,
		Sink:        s,
		Concurrency: c.Concurrency,
		Timeout:     d.Timeout,
		Retry:       &dispatcher.Retry{MaxRetries: d.Retry.MaxRetries, Base: d.Retry.Backoff, Max: d.Retry.MaxBackoff, Jitter: d.Retry.Jitter},
		Breaker:     dispatcher.Breaker{Failures: d.Breaker.Failures, ProbeEvery: d.Breaker.ProbeEvery},
	}
}

// newLog makes the logger: text on a terminal, else JSON, unless the configuration says which.
func newLog(c config.Log, w io.Writer) *slog.Logger {
	levels := map[config.Level]slog.Level{config.LevelDebug: slog.LevelDebug, config.LevelWarn: slog.LevelWarn, config.LevelError: slog.LevelError}
	o := &slog.HandlerOptions{Level: levels[c.Level]}
	f, isFile := w.(*os.File)
	if c.Format == config.LogText || c.Format == config.LogAuto && isFile && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
