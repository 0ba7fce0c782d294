// Package config turns holdfast's YAML file into a Config with every default applied.
//
// The contract: a file is either wholly good or refused. Refused means an *Error with every problem that could be found,
// each with line and column, sorted by position; an unknown key, a value out of range and an unset variable are problems
// alike. A Config is plain data and knows no other package of holdfast: cmd/holdfast maps it.
//
// Reading goes in four steps, a file of this package each: load.go gets the bytes and the syntax tree, decode.go walks it
// by the key tables of sections.go and sinks.go, expand.go resolves ${…} in the scalars it meets, and problem.go renders
// what was wrong. Messages quote what the file says, never what ${…} gave, and a Secret never shows its value.
package config

import "time"

// A Config is one valid configuration. The zero value is not: Load, Parse and Default make them.
type Config struct {
	Data     Data
	Server   Server
	Defaults Delivery // as written under "defaults"; each sink has them already
	Sinks    []Sink   // in the file's order; empty where the file says "sinks: {}"
	Log      Log
	Warnings []string // "file:line:col: path: message", what an operator should see at each start
}

// Data says where items are kept and how much of the disk they may take.
type Data struct {
	Dir         string
	MaxBytes    *int64        // at least 16 MiB; nil: the smaller of 2 GiB and half of the free space
	MinFree     int64         // bytes that are left free on the disk
	CommitDelay time.Duration // how long a commit waits for more items; 0: not at all
	MarkDelay   time.Duration // how long settled bits may ride in memory
	MarkEvery   int           // how many of them, at most
	Dedupe      Dedupe
}

// Dedupe bounds the memory of idempotency keys, in time and number; whichever is reached first.
type Dedupe struct {
	Window  time.Duration
	MaxKeys int
}

// Server is the HTTP side.
type Server struct {
	Listen          string   // host:port on loopback
	Hosts           []string // names beside the loopback ones that a Host header may give, lower case
	MaxItemBytes    int64
	MaxRequestBytes int64 // not below MaxItemBytes
	ShutdownTimeout time.Duration
	BlockTimeout    time.Duration // how long a request waits for room in a sink's bounds
	AcceptTimeout   time.Duration // after which an accept is answered as uncertain
}

// Delivery is how a sink's attempts are made.
type Delivery struct {
	Timeout time.Duration // of one attempt
	Retry   Retry
	Breaker Breaker
}

// Forever is the value of Retry.MaxRetries that never gives up.
const Forever = -1

// Retry is the patience with an item that failed: waits grow from Backoff to MaxBackoff.
type Retry struct {
	MaxRetries int // beyond the first attempt; Forever never gives up
	Backoff    time.Duration
	MaxBackoff time.Duration // not below Backoff
	Jitter     float64       // the share of a wait that is random, 0 to 1
}

// Breaker is the patience with a destination.
type Breaker struct {
	Failures   int // different items in a row that failed plainly
	ProbeEvery time.Duration
}

// SinkType names a kind of destination.
type SinkType string

// The kinds of sinks.
const (
	Stdout      SinkType = "stdout"
	FileSink    SinkType = "file"
	WebhookSink SinkType = "webhook"
)

// Order is what a sink keeps of the order in which items were accepted.
type Order string

// The orders.
const (
	OrderStrict Order = "strict"
	OrderNone   Order = "none"
)

// OnFull is what happens to an item for a sink whose bounds are reached.
type OnFull string

// What a full sink does.
const (
	Block      OnFull = "block"
	DropNewest OnFull = "drop_newest"
)

// Format is what a sink sends for an item.
type Format string

// The formats.
const (
	Raw  Format = "raw"  // the item's own bytes
	JSON Format = "json" // envelopes
)

// A Sink is one destination with its defaults applied.
type Sink struct {
	Name        string // [a-z0-9][a-z0-9_-]{0,62}
	Type        SinkType
	Order       Order
	Concurrency int // 1 where Order is OrderStrict
	Delivery    Delivery
	Bounds      Bounds
	Format      Format
	File        *File    // set for FileSink alone
	Webhook     *Webhook // set for WebhookSink alone
}

// Bounds limit what may wait for a sink. Nil is unlimited, 0 is literal.
type Bounds struct {
	Items  *int64
	Bytes  *int64
	OnFull OnFull
}

// Fsync is when a file sink makes its lines durable.
type Fsync string

// When a file sink syncs.
const (
	FsyncAlways Fsync = "always" // before an item counts as delivered
	FsyncRotate Fsync = "rotate"
	FsyncNone   Fsync = "none"
)

// File is a file sink's own part.
type File struct {
	Path   string
	Fsync  Fsync
	Rotate *Rotate // nil: one file for ever
}

// Rotate bounds a file sink's files.
type Rotate struct {
	Size int64 // bytes, at least 1
	Keep int   // files beside the current one, at least 1
}

// Webhook is a webhook sink's own part.
type Webhook struct {
	URL     Secret            // http or https with a host; a Secret, because such addresses often are
	Headers map[string]Secret // by lower-case name; nil: none
	Sign    Sign
	TLS     TLS
}

// Sign says which signatures a request carries. The zero value is none.
type Sign struct {
	StandardWebhooks []Secret // each "whsec_" and base64, the prefix is optional; two while one replaces the other
	GitHub           Secret   // not set: no X-Hub-Signature-256
	Custom           *CustomSignature
}

// Encoding is how the bytes of a signature are written.
type Encoding string

// The encodings.
const (
	Hex    Encoding = "hex"
	Base64 Encoding = "base64"
)

// CustomSignature puts Prefix and the encoded HMAC-SHA256 of the body into a header.
type CustomSignature struct {
	Header   string
	Prefix   string
	Encoding Encoding
	Secret   Secret
}

// TLS is what a webhook's connection trusts and shows. Paths are of PEM files; empty: the system's, none.
type TLS struct {
	CA                 string
	Cert               string // set where Key is
	Key                string
	InsecureSkipVerify bool
}

// Level is how much is logged.
type Level string

// The levels.
const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// LogFormat is the shape of a log line.
type LogFormat string

// The log formats.
const (
	LogAuto LogFormat = "auto" // text on a terminal, else JSON
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Log is the log on standard error.
type Log struct {
	Level  Level
	Format LogFormat
}
