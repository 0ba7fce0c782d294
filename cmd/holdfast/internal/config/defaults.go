package config

import "time"

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
)

// DefaultListen is where holdfast listens when nothing says otherwise.
const DefaultListen = "127.0.0.1:8080"

// defaultDir is what data.dir is where the file does not give it; it is expanded like any value.
const defaultDir = "${STATE_DIRECTORY:-./holdfast-data}"

// defaults is a configuration without data.dir and sinks, which depend on the surroundings and on the file.
func defaults() *Config {
	return &Config{
		Data: Data{
			MinFree:   256 * mib,
			MarkDelay: time.Second,
			MarkEvery: 65_536,
			Compress:  CompressNone,
			Dedupe:    Dedupe{Window: 24 * time.Hour, MaxKeys: 100_000},
		},
		Server: Server{
			Listen:          DefaultListen,
			MaxItemBytes:    mib,
			MaxRequestBytes: 16 * mib,
			ShutdownTimeout: 10 * time.Second,
			BlockTimeout:    5 * time.Second,
			AcceptTimeout:   30 * time.Second,
		},
		Defaults: Delivery{
			Timeout: 10 * time.Second,
			Retry:   Retry{MaxRetries: 12, Backoff: time.Second, MaxBackoff: 5 * time.Minute, Jitter: 0.2},
			Breaker: Breaker{Failures: 5, ProbeEvery: 5 * time.Second},
		},
		Log: Log{Level: LevelInfo, Format: LogAuto},
	}
}

// newBatch is a batch before its keys are read: naming one of them asks for batches.
func newBatch() Batch { return Batch{Items: 64, Bytes: mib} }

// newSink is a sink before its own keys are read.
func newSink(name string, d Delivery) Sink {
	return Sink{
		Name:        name,
		Type:        Stdout,
		Order:       OrderStrict,
		Concurrency: 1,
		Delivery:    d,
		Bounds:      Bounds{OnFull: Block},
		Dead:        Dead{MaxBytes: 64 * mib, OnFull: DeadHold},
		Format:      Raw,
	}
}
