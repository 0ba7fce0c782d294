package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/holdfast/internal/config"

	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, src string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("c.yaml", []byte(src), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// refused returns the error's text, which holds every part.
func refused(t *testing.T, src string, parts ...string) string {
	t.Helper()
	_, err := config.Parse("c.yaml", []byte(src), testEnv())
	if err == nil {
		t.Fatalf("%s\nis accepted", src)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q is not in:\n%v", p, err)
		}
	}
	return err.Error()
}

func defaultDelivery() config.Delivery {
	return config.Delivery{
		Timeout: 10 * time.Second,
		Retry:   config.Retry{MaxRetries: 12, Backoff: time.Second, MaxBackoff: 5 * time.Minute, Jitter: 0.2},
		Breaker: config.Breaker{Failures: 5, ProbeEvery: 5 * time.Second},
	}
}

func TestWithoutAFileTheDefaultsHold(t *testing.T) {
	t.Parallel()
	want := &config.Config{
		Data: config.Data{
			Dir: "./holdfast-data", MinFree: 256 << 20, MarkDelay: time.Second, MarkEvery: 65_536,
			Compress: config.CompressNone,
			Dedupe:   config.Dedupe{Window: 24 * time.Hour, MaxKeys: 100_000},
		},
		Server: config.Server{
			Listen: "127.0.0.1:8080", MaxItemBytes: 1 << 20, MaxRequestBytes: 16 << 20,
			ShutdownTimeout: 10 * time.Second, BlockTimeout: 5 * time.Second, AcceptTimeout: 30 * time.Second,
		},
		Defaults: defaultDelivery(),
		Sinks: []config.Sink{{
			Name: "stdout", Type: config.Stdout, Order: config.OrderStrict, Concurrency: 1, Delivery: defaultDelivery(),
			Bounds: config.Bounds{OnFull: config.Block}, Dead: config.Dead{MaxBytes: 64 << 20, OnFull: config.DeadHold},
			Format: config.Raw,
		}},
		Log: config.Log{Level: config.LevelInfo, Format: config.LogAuto},
	}
	got, err := config.Default(testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Default (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, parse(t, "version: 1\n")); diff != "" {
		t.Errorf("a file without keys (-want +got):\n%s", diff)
	}
}

func TestTheDataGoWhereSystemdSays(t *testing.T) {
	t.Parallel()
	env := testEnv()
	env.LookupEnv = func(name string) (string, bool) { return "/var/lib/" + name, name == "STATE_DIRECTORY" }
	cfg, err := config.Default(env)
	if err != nil || cfg.Data.Dir != "/var/lib/STATE_DIRECTORY" {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

func TestEveryKeyReachesItsField(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	base := config.Delivery{
		Match:   config.Match{{Attribute: "tenant", Any: []config.Glob{"*"}}},
		Timeout: 7 * time.Second,
		Retry:   config.Retry{MaxRetries: 12, Backoff: 2 * time.Second, MaxBackoff: 5 * time.Minute, MaxAge: time.Hour},
		Breaker: config.Breaker{Failures: 5, ProbeEvery: 5 * time.Second},
	}
	sink := func(name string, kind config.SinkType) config.Sink {
		return config.Sink{Name: name, Type: kind, Order: config.OrderStrict, Concurrency: 1, Delivery: base,
			Bounds: config.Bounds{OnFull: config.Block}, Dead: config.Dead{MaxBytes: 64 << 20, OnFull: config.DeadHold},
			Format: config.Raw}
	}
	archive, plain := sink("archive", config.FileSink), sink("plain", config.FileSink)
	archive.File = &config.File{Path: "/var/lib/holdfast/out.ndjson", Fsync: config.FsyncRotate,
		Rotate: &config.Rotate{Size: 100 << 20, Keep: 3}}
	plain.File = &config.File{Path: "/data/$five.ndjson", Fsync: config.FsyncAlways}
	crm := sink("crm", config.WebhookSink)
	crm.Order, crm.Concurrency, crm.Format = config.OrderNone, 4, config.JSON
	crm.Delivery = config.Delivery{
		Match: config.Match{
			{Attribute: "content-type", Any: []config.Glob{"*/json"}},
			{Attribute: "source", Any: []config.Glob{"9090$"}},
			{Attribute: "type", Any: []config.Glob{"alarm.*", "door.*"}},
		},
		Timeout: 3 * time.Second,
		Retry: config.Retry{MaxRetries: config.Forever, Backoff: 2 * time.Second, MaxBackoff: 10 * time.Second,
			MaxAge: 72 * time.Hour},
		Breaker:   config.Breaker{Failures: 2, ProbeEvery: 9 * time.Second},
		RateLimit: config.RateLimit{PerSecond: 2.5, Burst: 3},
		Batch:     config.Batch{Items: 10, Bytes: 1 << 20, Wait: time.Second},
	}
	crm.Was = []string{"sales", "crm-2"}
	crm.Dead = config.Dead{MaxAge: 30 * 24 * time.Hour, MaxBytes: 1 << 20, OnFull: config.DeadDropOldest}
	crm.Bounds = config.Bounds{Items: new(int64(0)), Bytes: new(int64(1 << 30)), OnFull: config.DropNewest}
	secret := config.NewSecret
	crm.Webhook = &config.Webhook{
		URL:     secret("https://crm.example.com/hook?key=" + gateToken),
		Headers: map[string]config.Secret{"authorization": secret("Bearer " + gateToken), "x-gate": secret("7")},
		Sign: config.Sign{
			StandardWebhooks: []config.Secret{secret(signingKey), secret(signingKey)},
			GitHub:           secret(gateToken),
			Custom: &config.CustomSignature{Header: "X-Signature", Prefix: "v1=", Encoding: config.Base64,
				Secret: secret(signingKey)},
		},
		TLS: config.TLS{CA: "/etc/ca.pem", Cert: "/etc/cert.pem", Key: "/etc/key.pem", InsecureSkipVerify: true},
	}
	siren := sink("siren", config.ExecSink)
	siren.Order, siren.Concurrency = config.OrderKey, 2
	siren.Delivery.Batch = config.Batch{Items: 64, Bytes: 2 << 20, WithoutIDs: true}
	siren.Delivery.RateLimit = config.RateLimit{PerSecond: 0.1, Burst: 7}
	siren.Bounds = config.Bounds{Items: new(int64(5)), OnFull: config.DeadLetter}
	siren.Exec = &config.Exec{Command: []string{"/usr/bin/siren", "--for", "${HOME}", "", "3"}, Dir: "/tmp",
		Env: map[string]config.Secret{"SIREN_TOKEN": secret(gateToken), "LEVEL": secret("7")}}
	last := sink("last", config.Stdout)
	last.Format, last.Delivery.Match = config.CloudEvents, nil
	last.Bounds = config.Bounds{Bytes: new(int64(1)), OnFull: config.DropOldest}
	want := &config.Config{
		Data: config.Data{
			Dir: "./holdfast-data", MaxBytes: new(int64(2 << 30)), MinFree: 1_500_000_000,
			CommitDelay: 5 * time.Millisecond, MarkDelay: 50 * time.Millisecond, MarkEvery: 256,
			Compress: config.CompressZstd, Retain: config.Retain{Age: 7 * 24 * time.Hour, Bytes: 512 << 20},
			Dedupe: config.Dedupe{Window: 7 * 24 * time.Hour, MaxKeys: 1000},
		},
		Server: config.Server{
			Listen:      "[::1]:9090",
			ListenGiven: true, Hosts: []string{"holdfast.local", "10.0.0.1"}, MaxItemBytes: 64 << 10,
			Auth: config.Auth{Tokens: []config.Token{
				{Name: "gate", Token: secret(signingKey), Scopes: []config.Scope{config.ScopeIngest}},
				{Name: "ops", Token: secret(gateToken), Scopes: []config.Scope{config.ScopeOperate, config.ScopeAdmin, config.ScopeRead}},
			}},
			TLS:             &config.ServerTLS{Cert: "/etc/cert.pem", Key: "/etc/closed.pem", ClientCA: "/etc/ca.pem"},
			MaxRequestBytes: 1 << 20, ShutdownTimeout: time.Minute, AcceptTimeout: 20 * time.Second,
		},
		Defaults: base,
		Sinks:    []config.Sink{archive, plain, crm, siren, last},
		Log:      config.Log{Level: config.LevelDebug, Format: config.LogJSON},
	}
	got := parse(t, string(src))
	got.Warnings = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNoSinksIsMeantAndSaid(t *testing.T) {
	t.Parallel()
	cfg := parse(t, "version: 1\nsinks: {}\n")
	if len(cfg.Sinks) != 0 || len(cfg.Warnings) != 1 || !strings.HasPrefix(cfg.Warnings[0], "c.yaml:2:1: sinks: ") {
		t.Errorf("got %+v", cfg)
	}
}

func TestReferencesAreExpandedOnceAndInScalarsAlone(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`a$$b`: "a$b", `$${PORT}`: "${PORT}", `${PORT}${PORT}`: "90909090", `${NONE:-x:y}`: "x:y", `${EMPTY:-x}`: "x",
		`a${EMPTY}`: "a", `${NONE:-}x`: "x", `${NONE:-$$}`: "$$", `${file:/run/secret}`: signingKey, `"\u0024{PORT}"`: "9090",
	} {
		if cfg := parse(t, "version: 1\ndata:\n  dir: "+in+"\n"); cfg.Data.Dir != want {
			t.Errorf("%s gives %q, want %q", in, cfg.Data.Dir, want)
		}
	}
	if cfg := parse(t, "version: 1\ndata:\n  dir: |-\n    a\n    ${PORT}\n"); cfg.Data.Dir != "a\n9090" {
		t.Errorf("a block gives %q", cfg.Data.Dir)
	}
	for _, in := range []string{"$PORT", "a$", "${", "${}", "${PORT", "${NONE}", "${A-x}", "${file:x}", "${file:}", "${file:/folder}",
		"${file:/big}", "${cred:}", "${cred:.}", "${cred:..}", "${cred:a/b}", "${cred:none}", "${NONE:-${PORT}}"} {
		refused(t, "version: 1\ndata:\n  dir: \""+in+"\"\n", "c.yaml:3:", ": data.dir: ")
	}
	refused(t, "version: 1\n\"${PORT}\": 1\n", "unknown key")
}

func TestSizesAndDurationsAreReadExactly(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"0": 0, "17": 17, "1kB": 1000, "1KiB": 1024, "1.5GiB": 3 << 29, "1 MB": 1e6,
		"0.1B": 0, "8TiB": 8 << 40, "9223372036854775807": 1<<63 - 1} {
		if got := parse(t, "version: 1\ndata: {min_free: "+in+"}\n").Data.MinFree; got != want {
			t.Errorf("size %s is %d, want %d", in, got, want)
		}
	}
	for _, in := range []string{"1M", "1kb", "-1", "1e9", "9223372036854775808", "9999999TiB", "MiB", "1XB", "1MiBs", ".5MiB"} {
		refused(t, "version: 1\ndata: {min_free: "+in+"}\n", "data.min_free")
	}
	for in, want := range map[string]time.Duration{"0": 0, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute,
		"250ms": 250 * time.Millisecond, "100000d": 100_000 * 24 * time.Hour} {
		if got := parse(t, "version: 1\ndata: {dedupe: {window: "+in+"}}\n").Data.Dedupe.Window; got != want {
			t.Errorf("duration %s is %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{"10", "1d-1h", "999999d", "100001d", "100000d2000000h", "1w", "d", "-7d", "5 s", "1d2"} {
		refused(t, "version: 1\ndata: {dedupe: {window: "+in+"}}\n", "data.dedupe.window")
	}
}

func TestALoadedFileIsNamedAndAMissingOneIsNotAnEmptyOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "h.yaml")
	if _, err := config.Load(path, config.Env{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte("\ufeffversion: 1\nlog: {levle: info}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, config.Env{}); err == nil || !strings.HasPrefix(err.Error(), path+":2:7: log.levle: unknown key (did") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, config.Env{}); err == nil || !strings.HasPrefix(err.Error(), path+":1:1: the file is larger") {
		t.Errorf("got %v", err)
	}
	if _, err := config.Load(t.TempDir(), config.Env{}); err == nil {
		t.Error("a directory is a configuration")
	}
	for mode, want := range map[fs.FileMode]string{0o644: "", 0o660: "", 0o666: path + ":1:1: the file is writable by everyone: chmod o-w it"} {
		if err := errors.Join(os.WriteFile(path, []byte("version: 1\n"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path, config.Env{}); want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestAFileThatWouldKeepTheParserBusyIsRefused(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"[", "{a: ", "- ", "? ", "- ? ", "!x ", "- &a ", "a: b\n", "[[],", "<<: a\n", "--- a\n", "*a "} {
		began := time.Now()
		refused(t, strings.Repeat(unit, 1<<18/len(unit)), "c.yaml:")
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%q took %v", unit, took)
		}
	}
}
