package api

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what New takes beside the queue. The zero value is production.
type Options struct {
	MaxItemBytes    int64         // of one body; default 1 MiB
	MaxRequestBytes int64         // of a request's whole body; default 16 MiB. It does not bound a stream
	MaxRequestItems int           // default 10,000
	MaxBodies       int64         // memory for the bodies of all requests that are being read or stored, streams apart; default 4 × MaxRequestBytes, raised to what one request may need
	BlockTimeout    time.Duration // how long a POST waits for room in a sink, and for each piece of MaxBodies; default 5s, negative: not at all
	AcceptTimeout   time.Duration // until a request that is not answered is uncertain; default 30s
	BodyTimeout     time.Duration // for a request's body, from its head to its last byte; default 60s
	StreamIdle      time.Duration // how long a stream may bring nothing, or take no answers, and up to a sixteenth more; default 10m

	Tokens     []Token               // who may do what; none: everybody may do everything, as is right on loopback and unix sockets only
	Hosts      []string              // allowed as Host beside localhost, 127.0.0.1, [::1] and the address listened on; without port
	Version    string                // as /v1/status shows it
	DataDir    string                // likewise
	Recovery   any                   // likewise, as JSON; nil: nothing to tell
	SinkTypes  map[string]string     // by the sink's name
	Lanes      func() []Lane         // how the sinks' workers fare; nil: nobody knows
	Gatherer   prometheus.Gatherer   // what /metrics shows; nil: no such route
	Registerer prometheus.Registerer // where the API's own metrics go; nil: nowhere
	Stopping   <-chan struct{}       // closed when the service begins to stop: streams and waits end; nil: never
	Log        *slog.Logger          // nil: discarded
}

// A Lane is what a sink's worker tells of itself.
type Lane struct {
	Sink        string
	State       string    // active, backoff, down, paused
	Since       time.Time // when it went down, if it is; zero: not known
	InFlight    int
	LastError   string    // empty: none
	LastFailure time.Time // when that was
	NextAttempt time.Time // zero: none planned
}

func (o Options) withDefaults() (Options, error) {
	o.MaxItemBytes = cmp.Or(o.MaxItemBytes, 1<<20)
	o.MaxRequestBytes = cmp.Or(o.MaxRequestBytes, 16<<20)
	o.MaxRequestItems = cmp.Or(o.MaxRequestItems, 10_000)
	o.BlockTimeout = cmp.Or(o.BlockTimeout, 5*time.Second)
	o.AcceptTimeout = cmp.Or(o.AcceptTimeout, 30*time.Second)
	o.BodyTimeout = cmp.Or(o.BodyTimeout, 60*time.Second)
	o.StreamIdle = cmp.Or(o.StreamIdle, 10*time.Minute)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Lanes == nil {
		o.Lanes = func() []Lane { return nil }
	}
	if o.MaxItemBytes < 0 || o.MaxRequestBytes < 0 || o.MaxRequestItems < 0 || o.MaxBodies < 0 {
		return o, errors.New("a limit is negative")
	}
	o.MaxItemBytes = min(o.MaxItemBytes, o.MaxRequestBytes)
	o.MaxBodies = max(cmp.Or(o.MaxBodies, 4*o.MaxRequestBytes), o.oneBody())
	return o, checkTokens(o.Tokens)
}

// oneBody is what the hungriest request needs: its body as it was sent, and what became of it with half of that still
// being copied, and what undoes the encoding.
func (o *Options) oneBody() int64 {
	longest := max(o.MaxRequestBytes, 2*o.MaxItemBytes+envelopeRoom, maxFilterBytes)
	return 3*zstandard.sent(longest) + zstandard.expanderBytes()
}
