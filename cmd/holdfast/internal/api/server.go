package api

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Server answers the API's requests.
type Server struct {
	q       Queue
	o       Options
	mux     *http.ServeMux
	origin  *http.CrossOriginProtection
	hosts   map[string]bool
	metrics *metrics
	bodies  *pool
	started time.Time
}

// New returns a Server over q. Errors: a negative limit, a token that is not whole or there twice, or a metric that is
// registered already.
func New(q Queue, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		q: q, o: o, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(), hosts: map[string]bool{},
		metrics: newMetrics(), bodies: &pool{free: o.MaxBodies}, started: time.Now(),
	}
	for _, h := range append([]string{"localhost", "127.0.0.1", "::1"}, o.Hosts...) {
		s.hosts[bareHost(h)] = true
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(s.metrics.rejected); err != nil {
			return nil, err
		}
	}
	s.routes()
	return s, nil
}

// HTTP returns a server of net/http with the limits that the API counts on: it speaks HTTP/1.1, and only needs listeners.
// On a stop, close Options.Stopping before its Shutdown: streams and waiting requests end by that.
func (s *Server) HTTP() *http.Server {
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	return &http.Server{
		Handler:           s,
		ConnContext:       withSession,
		ConnState:         endSession,
		Protocols:         only1,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
}

// methods are what a path takes, by method.
type methods map[string]endpoint

// An endpoint answers requests of those who have its scope.
type endpoint struct {
	scope Scope
	serve http.HandlerFunc
}

// streamPath is where lines go.
const streamPath = "/v1/stream"

// routes says what there is, and who may have it.
func (s *Server) routes() {
	s.route("/", nil)
	s.route("/v1/items", methods{"POST": {Ingest, s.postItems}})
	s.route(streamPath, methods{"POST": {Ingest, s.postStream}})
	s.route("/v1/items/{id}", methods{"GET": {Read, s.getItem}})
	s.route("/v1/items/{id}/body", methods{"GET": {Operate, s.getBody}})
	s.route("/v1/sinks", methods{"GET": {Read, s.getSinks}})
	s.route("/v1/sinks/{sink}", methods{"GET": {Read, s.getSink}})
	s.route("/v1/sinks/{sink}/pause", methods{"POST": {Operate, s.operate(s.q.Pause)}})
	s.route("/v1/sinks/{sink}/resume", methods{"POST": {Operate, s.operate(s.q.Resume)}})
	s.route("/v1/dead", methods{"GET": {Operate, s.getDead}})
	s.route("/v1/dead/{sink}/{id}", methods{"GET": {Operate, s.getDeadLetter}, "DELETE": {Operate, s.deleteDeadLetter}})
	s.route("/v1/dead/requeue", methods{"POST": {Operate, s.filtered(s.requeueDead)}})
	s.route("/v1/dead/purge", methods{"POST": {Operate, s.filtered(s.purgeDead)}})
	s.route("/v1/status", methods{"GET": {Read, s.getStatus}})
	s.route("/healthz", methods{"GET": {open, s.getHealth}})
	s.route("/readyz", methods{"GET": {open, s.getReady}})
	if s.o.Gatherer != nil {
		s.route("/metrics", methods{"GET": {Read, promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP}})
	}
}

// route serves a path by method; HEAD is what GET answers without its body. A path without methods does not exist. Who
// has no token at all does not learn what does.
func (s *Server) route(at string, by methods) {
	allow := slices.Sorted(maps.Keys(by))
	if get, ok := by["GET"]; ok {
		by["HEAD"] = get
		allow = append(allow, "HEAD")
	}
	s.mux.HandleFunc(at, func(w http.ResponseWriter, r *http.Request) {
		e, known := by[r.Method]
		if !known {
			e.scope = Ingest
		}
		r, err := s.admit(r, e.scope)
		switch {
		case err != nil:
			s.keepOut(w, r, err)
		case known:
			e.serve(w, r)
		case by == nil:
			s.refuse(w, &Problem{Code: NotFound, Detail: "there is nothing at " + r.URL.Path})
		default:
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.refuse(w, &Problem{Code: MethodNotAllowed, Detail: r.URL.Path + " takes " + strings.Join(allow, ", ")})
		}
	})
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	t := &tracked{ResponseWriter: w, writable: lease{set: rc.SetWriteDeadline, length: answerTime}}
	defer s.recovered(t, r)
	t.writable.extend()
	if r.ContentLength < 0 {
		// Nobody knows when such a body ends. To answer on a connection that goes on, net/http would read it first; so the
		// connection is closed, unless the handler has read it all.
		w.Header().Set("Connection", "close")
		defer within(time.Second, rc.SetReadDeadline)
	}
	if !s.hostAllowed(r) {
		s.refuse(t, &Problem{Code: Misdirected, Detail: "the Host " + quote(r.Host) + " is not one of this server's; server.hosts adds some"})
		return
	}
	if err := s.origin.Check(r); err != nil {
		s.refuse(t, &Problem{Code: CrossOrigin, Detail: "a page of another origin may not do this: " + err.Error()})
		return
	}
	if p := r.URL.EscapedPath(); p != cleaned(p) { // http.ServeMux would answer with a redirect
		s.refuse(t, &Problem{Code: NotFound, Detail: "there is nothing at " + quote(p)})
		return
	}
	s.mux.ServeHTTP(t, r)
}

// cleaned is p as http.ServeMux wants it.
func cleaned(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// answerTime is how long a client may take for a whole answer.
const answerTime = time.Minute

// A tracked response knows whether it has begun, and how long it may take: net/http lifts the deadline when it has ended.
type tracked struct {
	http.ResponseWriter
	writable lease
	begun    bool
}

func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tracked) WriteHeader(status int) {
	t.begun = t.begun || status >= 200
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracked) Write(b []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(b)
}

// recovered answers a request whose handler panicked. An answer that has begun is cut off, so that nobody takes a part
// for the whole.
func (s *Server) recovered(t *tracked, r *http.Request) {
	switch p := recover(); {
	case p == nil:
		return
	case p == any(http.ErrAbortHandler):
		panic(p)
	default:
		s.o.Log.Error("panic while answering", "method", r.Method, "route", r.Pattern, "err", p, "stack", stack())
	}
	if t.begun {
		panic(http.ErrAbortHandler)
	}
	t.Header().Set("Connection", "close")
	s.refuse(t, &Problem{Code: Internal, Detail: "the service made a mistake; its log has the details"})
}

// untilStop is ctx, cancelled too when the service begins to stop. cancel ends the goroutine that watches.
func (s *Server) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if s.o.Stopping != nil {
		go func() {
			select {
			case <-s.o.Stopping:
				cancel(errStop)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// errStop is why a context ended that untilStop made.
var errStop = errors.New("the service stops")

// stopping reports whether the service has begun to stop.
func (s *Server) stopping() bool {
	select {
	case <-s.o.Stopping:
		return true
	default:
		return false
	}
}
