package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"holdfast/cmd/holdfast/internal/api"
	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/cmd/holdfast/internal/config"
	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/sinks"
	"holdfast/store"
)

// systemConfig is read where no other configuration is named, if it is there.
const systemConfig = "/etc/holdfast/holdfast.yaml"

type serveFlags struct {
	config, listen, data string
	stdin, insecure      bool
}

func serveCommand(streams cli.Streams) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: "Run the service. Without a configuration it listens on 127.0.0.1:8080, delivers to standard output,\n" +
			"and keeps its data in $STATE_DIRECTORY or ./holdfast-data.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			tune()
			return serve(c.Context(), f, streams)
		},
	}
	c.Flags().StringVar(&f.config, "config", "", "configuration `FILE` (HOLDFAST_CONFIG; default "+systemConfig+" if it is there)")
	c.Flags().StringVar(&f.listen, "listen", "", "listen on `HOST:PORT` in place of the configured address")
	c.Flags().StringVar(&f.data, "data", "", "keep data in `DIR` in place of the configured directory")
	c.Flags().BoolVar(&f.insecure, "insecure-no-auth", false, "listen on an address that is not loopback without any token")
	c.Flags().BoolVar(&f.stdin, "stdin", false, "take each line of standard input as an item; at its end deliver everything and exit. Without a configured address it listens on any free port of 127.0.0.1")
	return c
}

// load is the configuration with the flags on top of it.
func (f serveFlags) load() (*config.Config, error) {
	path := cmp.Or(f.config, os.Getenv("HOLDFAST_CONFIG"))
	if path == "" {
		if _, err := os.Stat(systemConfig); err == nil {
			path = systemConfig
		}
	}
	cfg, err := loadConfig(path, f.insecure)
	if err != nil {
		return nil, err
	}
	cfg.Data.Dir = cmp.Or(f.data, cfg.Data.Dir)
	if cfg.Server.Listen = cmp.Or(f.listen, cfg.Server.Listen); f.listen != "" {
		if err := cfg.Server.MayListen(f.listen, f.insecure); err != nil {
			return nil, &cli.ExitError{Code: cli.ExitConfig, Err: fmt.Errorf("--listen: %w", err)}
		}
	}
	if f.stdin && f.listen == "" && !cfg.Server.ListenGiven { // a pipe beside a service
		cfg.Server.Listen = pipeListen
	}
	return cfg, nil
}

// pipeListen is where serve --stdin listens if nothing says otherwise: the default address is a service's.
const pipeListen = "127.0.0.1:0"

// serve opens the parts in the order in which an item meets them backwards, runs them, and closes what it opened.
func serve(ctx context.Context, f serveFlags, streams cli.Streams) error {
	cfg, err := f.load()
	if err != nil {
		return err
	}
	log := newLog(cfg.Log, streams.Err)
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	s := &service{cfg: cfg, log: log, streams: streams, stopping: make(chan struct{})}
	if err := s.open(); err != nil {
		return errors.Join(coded(err), s.close())
	}
	err = s.run(ctx, f.stdin)
	return coded(errors.Join(err, s.close()))
}

// A service is the parts of a running holdfast.
type service struct {
	cfg      *config.Config
	log      *slog.Logger
	streams  cli.Streams
	registry *prometheus.Registry
	stopping chan struct{} // closed when the service begins to stop

	store    *store.Store
	report   recovery.Report
	queues   *queue.Queues
	sinks    []sinks.Sink
	lanes    *dispatcher.Dispatcher
	listener net.Listener
	url      string
	http     *http.Server
}

func (s *service) open() (err error) {
	if err := checkFilesystem(s.cfg.Data.Dir); err != nil {
		return err
	}
	limit := budget(s.cfg, freeBytes(s.cfg.Data.Dir))
	s.store, s.report, err = recovery.Open(s.cfg.Data.Dir, recovery.Options{Store: storeOptions(s.cfg, limit), Log: s.log, QuarantineBytes: limit / quarantineOfBudget})
	if err != nil {
		return err
	}
	if writableByOthers(s.store.Path()) {
		s.log.Warn("others may write in the data directory: chmod go-w it", "dir", s.store.Path())
	}
	if s.sinks, err = buildSinks(s.cfg, s.streams.Out, "/holdfast/"+uuid.UUID(s.store.UUID()).String()); err != nil {
		return &cli.ExitError{Code: cli.ExitConfig, Err: err}
	}
	s.registry = newRegistry(s.recovered)
	o := queueOptions(s.cfg, limit)
	o.Registry, o.Log = s.registry, s.log
	if s.queues, err = queue.Open(s.store, o); err != nil {
		return err
	}
	for _, k := range s.queues.Sinks() {
		switch {
		case k.State == "paused":
			s.log.Warn("a sink is paused: it is sent nothing until it is resumed", "sink", k.Name, "waiting", k.Waiting)
		case k.State == "orphan" && k.Waiting+k.Dead > 0:
			s.log.Warn("a sink that is not configured any more holds items: configure it again, or name it in another one's was", "sink", k.Name, "waiting", k.Waiting, "dead", k.Dead)
		}
	}
	if err := s.openLanes(); err != nil {
		return err
	}
	return s.openHTTP()
}

// recovered is what the start found, and damage of the log that was met since.
func (s *service) recovered() recovery.Report { return s.report.With(s.store.Healed()) }

// A found is what a service recovered, as it is at the moment when it is written.
type found struct{ s *service }

// MarshalJSON implements json.Marshaler.
func (f found) MarshalJSON() ([]byte, error) { return json.Marshal(f.s.recovered()) }

func (s *service) openLanes() (err error) {
	var lanes []dispatcher.Sink
	for i, c := range s.cfg.Sinks {
		feed, err := s.queues.Feed(c.Name)
		if err != nil {
			return err
		}
		l := lane(c, s.sinks[i], feed)
		l.Pause = func(ctx context.Context) error { return s.queues.Pause(ctx, c.Name) }
		l.Paused = feed.Paused
		l.Unread = feed.Unread
		l.Waiting = feed.Waiting
		lanes = append(lanes, l)
	}
	drain := literal(s.cfg.Server.ShutdownTimeout, -1)
	s.lanes, err = dispatcher.New(lanes, dispatcher.Options{Drain: drain, Registry: s.registry, Log: s.log})
	return err
}

func (s *service) openHTTP() (err error) {
	if s.listener, err = api.Listen(s.cfg.Server.Listen); err != nil {
		return err
	}
	s.listener = api.Limit(s.listener, connections(s.cfg))
	s.url = "http://" + s.listener.Addr().String()
	if t := s.cfg.Server.TLS; t != nil {
		c, err := api.TLSConfig(t.Cert, t.Key, t.ClientCA)
		if err != nil {
			return &cli.ExitError{Code: cli.ExitConfig, Err: fmt.Errorf("server.tls: %w", err)}
		}
		s.listener, s.url = tls.NewListener(s.listener, c), "https://"+s.listener.Addr().String()
	}
	if s.listener.Addr().Network() == "unix" {
		s.url = s.cfg.Server.Listen
	}
	types := map[string]string{}
	for _, c := range s.cfg.Sinks {
		types[c.Name] = string(c.Type)
	}
	a, err := api.New(api.Over(s.queues), api.Options{
		MaxItemBytes:    s.cfg.Server.MaxItemBytes,
		MaxRequestBytes: s.cfg.Server.MaxRequestBytes,
		BlockTimeout:    literal(s.cfg.Server.BlockTimeout, -1),
		AcceptTimeout:   s.cfg.Server.AcceptTimeout,
		Tokens:          tokens(s.cfg.Server.Auth),
		Hosts:           s.cfg.Server.Hosts,
		Version:         cli.Version(),
		DataDir:         s.store.Path(),
		Recovery:        found{s},
		SinkTypes:       types,
		Lanes:           s.laneStates,
		Gatherer:        s.registry,
		Registerer:      s.registry,
		Stopping:        s.stopping,
		Log:             s.log,
	})
	if err == nil {
		s.http = a.HTTP()
	}
	return err
}

func (s *service) laneStates() (out []api.Lane) {
	for _, l := range s.lanes.Status() {
		out = append(out, api.Lane{Sink: l.Sink, State: string(l.State), Since: l.Since, InFlight: l.InFlight, LastError: l.LastError, LastFailure: l.LastFailure, NextAttempt: l.NextAttempt})
	}
	return out
}

// run adds the actors in the order in which they stop: the way in, then the way out, then the queue between them. Each
// interrupt returns when its actor has ended, so the next one still finds what it needs. A fatal error of any stops all.
func (s *service) run(ctx context.Context, stdin bool) error {
	var g run.Group
	signalled, quit := context.WithCancel(ctx)
	g.Add(func() error { <-signalled.Done(); return nil }, func(error) {
		close(s.stopping)
		quit()
		go exitOnSecondSignal()
	})
	if stdin {
		g.Add(actor(func(ctx context.Context) error { return s.pipe(ctx) }))
	}
	g.Add(s.serveHTTP, func(error) { s.shutdownHTTP() })
	g.Add(actor(s.lanes.Run))
	g.Add(actor(s.runQueues))
	s.greet()
	err := g.Run()
	s.log.Info("stopped", "waiting", s.waiting(), "err", err)
	return err
}

// waiting is how many deliveries stay for the next start.
func (s *service) waiting() (n int64) {
	for _, k := range s.queues.Sinks() {
		n += k.Waiting
	}
	return n
}

// fatalGrace is how long the others may take to stop after the store has failed: less than the second within which the
// process is to be gone, whatever a receiver does.
const fatalGrace = 500 * time.Millisecond

// runQueues runs the queues. When the store fails nothing is worth waiting for: a restart heals it.
func (s *service) runQueues(ctx context.Context) error {
	err := s.queues.Run(ctx)
	if _, fatal := errors.AsType[*store.FatalError](err); fatal {
		s.log.Error("the store has failed: the process ends, and the next start heals it", "err", err)
		time.AfterFunc(fatalGrace, func() { os.Exit(cli.ExitIO) })
	}
	return err
}

// actor makes an actor of a function that runs until its context ends; its interrupt waits for that.
func actor(do func(context.Context) error) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	return func() error { defer close(done); return do(ctx) }, func(error) { cancel(); <-done }
}

func (s *service) serveHTTP() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shutdownHTTP lets requests come to their end for as long as a stop may take.
func (s *service) shutdownHTTP() {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Server.ShutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Warn("connections were cut", "err", err, "after", s.cfg.Server.ShutdownTimeout)
		s.http.Close()
	}
}

// exitOnSecondSignal ends the process at once when it is told to stop while it stops.
func exitOnSecondSignal() {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	if sig, ok := (<-again).(syscall.Signal); ok {
		os.Exit(128 + int(sig))
	}
}

// greet tells a person at a terminal the three things they need.
func (s *service) greet() {
	fmt.Fprintf(s.streams.Err, "holdfast listens on %s, status at /v1/status\n", s.url)
	fmt.Fprintf(s.streams.Err, "data is in %s\n", s.store.Path())
	fmt.Fprintf(s.streams.Err, "try: %s\n", s.curl())
}

// curl is a command that hands over a first item.
func (s *service) curl() string {
	if path, unix := strings.CutPrefix(s.url, "unix://"); unix {
		return "curl --unix-socket " + path + " -d hello http://localhost/v1/items"
	}
	return "curl -d 'hello' " + s.url + "/v1/items"
}

// close gives back what open took, the store last.
func (s *service) close() (err error) {
	if s.listener != nil {
		s.listener.Close() // closed already, unless serving never began
	}
	for _, k := range s.sinks {
		err = errors.Join(err, k.Close())
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return err
}

// coded gives an error the exit code that its kind has.
func coded(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*cli.ExitError](err); ok {
		return err
	}
	code := cli.ExitIO
	_, locked := errors.AsType[*store.LockedError](err)
	_, foreign := errors.AsType[*store.FormatError](err)
	_, notDir := errors.AsType[*recovery.NotDirError](err)
	_, failed := errors.AsType[*store.FatalError](err) // also for want of space, where a flush told of it
	switch {
	case failed:
	case locked, errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.ENOSPC):
		code = cli.ExitTemporary
	case foreign, notDir, errors.Is(err, fs.ErrInvalid):
		code = cli.ExitConfig
	}
	return &cli.ExitError{Code: code, Err: err}
}
