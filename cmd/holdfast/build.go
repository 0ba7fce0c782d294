package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"

	"holdfast/cmd/holdfast/internal/api"
	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/cmd/holdfast/internal/config"
	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/sinks"
	"holdfast/sinks/exec"
	"holdfast/sinks/file"
	"holdfast/sinks/stdout"
	"holdfast/sinks/webhook"
	"holdfast/store"
)

// literal maps a configured zero, which is meant, to a value that Options do not take for their default.
func literal[T int | time.Duration](v, zero T) T { return cmp.Or(v, zero) }

// buildSinks makes the sinks of a configuration, in its order. None of them need be reachable.
//
// source is what a CloudEvent says of an item that has no source.
func buildSinks(cfg *config.Config, out io.Writer, source string) ([]sinks.Sink, error) {
	shared := stdout.Share(out)
	var made []sinks.Sink
	for _, c := range cfg.Sinks {
		s, err := buildSink(c, shared, source)
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
func buildSink(c config.Sink, out *stdout.Writer, source string) (sinks.Sink, error) {
	format := sinks.Format(c.Format)
	switch c.Type {
	case config.Stdout:
		return stdout.New(out, stdout.Options{Format: format, Source: source})
	case config.FileSink:
		o := file.Options{Path: c.File.Path, Format: format, Source: source, Fsync: file.Fsync(c.File.Fsync)}
		if r := c.File.Rotate; r != nil {
			o.RotateSize, o.Keep = r.Size, r.Keep
		}
		return file.New(o)
	case config.WebhookSink:
		return webhook.New(webhookOptions(c, format, source))
	case config.ExecSink:
		return exec.New(exec.Options{
			Command: c.Exec.Command, Dir: c.Exec.Dir, Env: reveal(c.Exec.Env),
			Format: format, Source: source, BatchWithoutIDs: c.Delivery.Batch.WithoutIDs,
		})
	}
	return nil, fmt.Errorf("type %q is not known", c.Type)
}

func webhookOptions(c config.Sink, format sinks.Format, source string) webhook.Options {
	w := c.Webhook
	o := webhook.Options{
		URL:         w.URL.Reveal(),
		Headers:     reveal(w.Headers),
		Format:      format,
		Source:      source,
		Concurrency: c.Concurrency,
		Version:     cli.Version(),
		TLS:         webhook.TLS{CAFile: w.TLS.CA, CertFile: w.TLS.Cert, KeyFile: w.TLS.Key, InsecureSkipVerify: w.TLS.InsecureSkipVerify},
	}
	o.BatchWithoutIDs = c.Delivery.Batch.WithoutIDs
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

// reveal is secrets by name, for the sink that needs them.
func reveal(secrets map[string]config.Secret) map[string]string {
	out := map[string]string{}
	for name, value := range secrets {
		out[name] = value.Reveal()
	}
	return out
}

// The limits of the disk budget, where the configuration leaves it to us, and of a segment.
const (
	mib                          = 1 << 20
	mostBudget, leastBudget      = 2 << 30, 16 * mib
	mostSegment, leastSegment    = 64 * mib, mib
	segmentsOfBudget, halfOfFree = 16, 2
	quarantineOfBudget           = 8
)

// budget is how much of the disk the service takes at most: what is configured, else half of what is free, up to 2 GiB.
func budget(cfg *config.Config, free int64) int64 {
	if cfg.Data.MaxBytes != nil {
		return *cfg.Data.MaxBytes
	}
	return max(leastBudget, min(mostBudget, free/halfOfFree))
}

func storeOptions(cfg *config.Config, budget int64) store.Options {
	o := store.Options{SegmentBytes: max(leastSegment, min(budget/segmentsOfBudget, mostSegment))}
	if cfg.Data.Compress == config.CompressZstd {
		o.Compress = store.Zstd
	}
	return o
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
		Retain:          queue.Retain{Age: cfg.Data.Retain.Age, Bytes: cfg.Data.Retain.Bytes},
		DedupeWindow:    literal(cfg.Data.Dedupe.Window, 1),
		DedupeKeys:      literal(cfg.Data.Dedupe.MaxKeys, -1),
	}
	for _, c := range cfg.Sinks {
		o.Sinks = append(o.Sinks, queue.SinkOptions{
			Name:   c.Name,
			Was:    c.Was,
			Match:  matcher(c.Delivery.Match),
			Order:  orders[c.Order],
			Bounds: queue.Bounds{Items: c.Bounds.Items, Bytes: c.Bounds.Bytes, OnFull: onFull[c.Bounds.OnFull]},
			Dead:   queue.Dead{MaxBytes: c.Dead.MaxBytes, MaxAge: c.Dead.MaxAge, OnFull: deadOnFull[c.Dead.OnFull]},
		})
	}
	return o
}

// The words of the configuration, as the queue has them.
var (
	orders     = map[config.Order]queue.Order{config.OrderStrict: queue.Strict, config.OrderKey: queue.Key, config.OrderNone: queue.None}
	onFull     = map[config.OnFull]queue.OnFull{config.Block: queue.Block, config.DropNewest: queue.DropNewest, config.DropOldest: queue.DropOldest, config.DeadLetter: queue.BuryOldest}
	deadOnFull = map[config.DeadOnFull]queue.DeadOnFull{config.DeadHold: queue.HoldSink, config.DeadDropOldest: queue.PurgeOldest}
)

// matcher is a match over an item's attributes; nil takes every item.
func matcher(m config.Match) func(store.Attrs) bool {
	if len(m) == 0 {
		return nil
	}
	return func(a store.Attrs) bool { return m.Matches(a.Lookup) }
}

// lane is one sink's worker, as configured.
func lane(c config.Sink, s sinks.Sink, feed *queue.Feed) dispatcher.Sink {
	d := c.Delivery
	return dispatcher.Sink{
		Name:        c.Name,
		Feed:        feed,
		Sink:        s,
		Concurrency: c.Concurrency,
		Batch:       dispatcher.Batch{Items: d.Batch.Items, Bytes: d.Batch.Bytes, Wait: d.Batch.Wait},
		Rate:        rate(d.RateLimit),
		Timeout:     d.Timeout,
		Retry:       &dispatcher.Retry{MaxRetries: d.Retry.MaxRetries, Base: d.Retry.Backoff, Max: d.Retry.MaxBackoff, Jitter: d.Retry.Jitter, MaxAge: d.Retry.MaxAge},
		Breaker:     dispatcher.Breaker{Failures: d.Breaker.Failures, ProbeEvery: d.Breaker.ProbeEvery},
	}
}

func rate(r config.RateLimit) *dispatcher.Rate {
	if r.PerSecond == 0 {
		return nil
	}
	return &dispatcher.Rate{PerSecond: r.PerSecond, Burst: r.Burst}
}

// tokens are the keys to the API, of which it only gets the hashes.
func tokens(a config.Auth) (out []api.Token) {
	scopes := map[config.Scope]api.Scope{config.ScopeIngest: api.Ingest, config.ScopeRead: api.Read, config.ScopeOperate: api.Operate, config.ScopeAdmin: api.Admin}
	for _, t := range a.Tokens {
		one := api.Token{Name: t.Name, Hash: sha256.Sum256([]byte(t.Token.Reveal()))}
		for _, s := range t.Scopes {
			one.Scopes = append(one.Scopes, scopes[s])
		}
		out = append(out, one)
	}
	return out
}

// newLog makes the logger: text on a terminal, else JSON, unless the configuration says which.
func newLog(c config.Log, w io.Writer) *slog.Logger {
	levels := map[config.Level]slog.Level{config.LevelDebug: slog.LevelDebug, config.LevelWarn: slog.LevelWarn, config.LevelError: slog.LevelError}
	o := &slog.HandlerOptions{Level: levels[c.Level], ReplaceAttr: legible}
	f, isFile := w.(*os.File)
	if c.Format == config.LogText || c.Format == config.LogAuto && isFile && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// legible writes a duration as people read it, also in JSON, where it would be a number of nanoseconds, and leaves out an
// error that is none.
func legible(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "err" && a.Value.Any() == nil {
		return slog.Attr{}
	}
	if a.Value.Kind() != slog.KindDuration {
		return a
	}
	d, unit := a.Value.Duration(), time.Duration(1)
	for unit < time.Millisecond && d/unit >= 1000 {
		unit *= 10
	}
	return slog.String(a.Key, d.Round(unit).String())
}
