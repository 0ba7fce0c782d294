// Package config turns holdfast's YAML file into a Config with every default applied.
//
// The contract: a file is either wholly good or refused. Refused means an *Error with every problem that could be found,
// each with line and column, sorted by position; an unknown key, a value out of range and an unset variable are problems
// alike. A Config is plain data and knows no other package of holdfast: cmd/holdfast maps it.
//
// Reading goes in four steps, a file of this package each: load.go gets the bytes and the syntax tree, decode.go walks it
// by the key tables of sections.go, server.go, delivery.go and sinks.go, expand.go resolves ${…} in the scalars it meets, and problem.go renders
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
	Compress    Compress
	Retain      Retain
	Dedupe      Dedupe
}

// Compress is how items are compressed at rest.
type Compress string

// The compressions.
const (
	CompressNone Compress = "none"
	CompressZstd Compress = "zstd"
)

// Retain is how long delivered items stay for a replay, where the disk budget has room for them. The zero value keeps
// none; with both limits set, the one that is reached first counts.
type Retain struct {
	Age   time.Duration // 0: no limit of age
	Bytes int64         // 0: no limit of bytes
}

// Dedupe bounds the memory of idempotency keys, in time and number; whichever is reached first.
type Dedupe struct {
	Window  time.Duration
	MaxKeys int
}

// Server is the HTTP side.
type Server struct {
	Listen          string // host:port, or unix:// and an absolute path; ListenOn splits it
	ListenGiven     bool   // the file says so
	Auth            Auth
	TLS             *ServerTLS // nil: none; always nil on a unix socket
	Hosts           []string   // names beside the loopback ones that a Host header may give, lower case
	MaxItemBytes    int64
	MaxRequestBytes int64 // not below MaxItemBytes
	ShutdownTimeout time.Duration
	BlockTimeout    time.Duration // how long a request waits for room in a sink's bounds
	AcceptTimeout   time.Duration // after which an accept is answered as uncertain
}

// Auth says who may do what. Without a token, whoever reaches the listener may do everything.
type Auth struct {
	Tokens []Token // in the file's order; names and values each differ
}

// A Token is one key to the API.
type Token struct {
	Name   string  // formed like a sink's; it also is the scope of its holder's idempotency keys
	Token  Secret  // at least 16 characters that a header can carry
	Scopes []Scope // at least one
}

// Scope is a part of the API. Each includes those before it.
type Scope string

// The scopes.
const (
	ScopeIngest  Scope = "ingest"
	ScopeRead    Scope = "read"
	ScopeOperate Scope = "operate"
	ScopeAdmin   Scope = "admin"
)

// ServerTLS is what the listener shows and asks for: paths of PEM files.
type ServerTLS struct {
	Cert     string
	Key      string
	ClientCA string // empty: clients need no certificate
}

// Delivery is which items a sink gets and how attempts are made.
type Delivery struct {
	Match     Match         // nil: every item
	Timeout   time.Duration // of one attempt
	Retry     Retry
	Breaker   Breaker
	RateLimit RateLimit
	Batch     Batch
}

// Forever is the value of Retry.MaxRetries that never gives up.
const Forever = -1

// Retry is the patience with an item that failed: waits grow from Backoff to MaxBackoff.
type Retry struct {
	MaxRetries int // beyond the first attempt; Forever never gives up
	Backoff    time.Duration
	MaxBackoff time.Duration // not below Backoff
	Jitter     float64       // the share of a wait that is random, 0 to 1
	MaxAge     time.Duration // since the accept, after which a failure is the last; 0: none
}

// Breaker is the patience with a destination.
type Breaker struct {
	Failures   int // different items in a row that failed plainly
	ProbeEvery time.Duration
}

// RateLimit is how many items a sink is given in a second. The zero value is no limit.
type RateLimit struct {
	PerSecond float64 // above 0
	Burst     int     // at least 1
}

// Batch is how many items go in one attempt. The zero value is one, in the form of a single item.
type Batch struct {
	Items      int           // at least 1
	Bytes      int64         // of bodies, at least 1; a larger item goes alone
	Wait       time.Duration // for more items; 0: what is there goes at once
	WithoutIDs bool          // lets Format be Raw, whose receiver cannot tell a repetition
}

// SinkType names a kind of destination.
type SinkType string

// The kinds of sinks.
const (
	Stdout      SinkType = "stdout"
	FileSink    SinkType = "file"
	WebhookSink SinkType = "webhook"
	ExecSink    SinkType = "exec"
)

// Order is what a sink keeps of the order in which items were accepted.
type Order string

// The orders.
const (
	OrderStrict Order = "strict"
	OrderKey    Order = "key" // among the items of one key
	OrderNone   Order = "none"
)

// OnFull is what happens to an item for a sink whose bounds are reached.
type OnFull string

// What a full sink does.
const (
	Block      OnFull = "block"
	DropNewest OnFull = "drop_newest"
	DropOldest OnFull = "drop_oldest"
	DeadLetter OnFull = "dead_letter"
)

// Format is what a sink sends for an item.
type Format string

// The formats.
const (
	Raw  Format = "raw"  // the item's own bytes
	JSON Format = "json" // envelopes

	CloudEvents       Format = "cloudevents"        // structured, or a batch of them
	CloudEventsBinary Format = "cloudevents_binary" // the item's own bytes, the rest in headers: WebhookSink alone, no batch
)

// A Sink is one destination with its defaults applied.
type Sink struct {
	Name        string // [a-z0-9][a-z0-9_-]{0,62}
	Type        SinkType
	Order       Order
	Concurrency int      // 1 where Order is OrderStrict
	Was         []string // former names, whose queues this sink takes over
	Delivery    Delivery
	Bounds      Bounds
	Dead        Dead
	Format      Format   // where Delivery.Batch is set, JSON or CloudEvents, or Raw with Batch.WithoutIDs
	File        *File    // set for FileSink alone
	Webhook     *Webhook // set for WebhookSink alone
	Exec        *Exec    // set for ExecSink alone
}

// Bounds limit what may wait for a sink. Nil is unlimited, 0 is literal.
type Bounds struct {
	Items  *int64
	Bytes  *int64
	OnFull OnFull
}

// Dead bounds a sink's dead letters.
type Dead struct {
	MaxAge   time.Duration // 0: for ever
	MaxBytes int64         // at least 1
	OnFull   DeadOnFull
}

// DeadOnFull is what happens when there is no room for another dead letter.
type DeadOnFull string

// What full dead letters do.
const (
	DeadHold       DeadOnFull = "hold" // the item stays with the sink, which waits
	DeadDropOldest DeadOnFull = "drop_oldest"
)

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

// Exec is an exec sink's own part: a process for each attempt, without a shell.
type Exec struct {
	Command []string          // the program and its arguments; at least one
	Dir     string            // where it runs; empty: where holdfast does
	Env     map[string]Secret // beside what holdfast gives it; nil: none
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
