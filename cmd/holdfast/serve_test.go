package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/cmd/holdfast/internal/cli"
)

// A terminal collects what the service writes, and lets a test wait for it.
type terminal struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func newTerminal() *terminal { return &terminal{news: make(chan struct{}, 1)} }

func (o *terminal) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *terminal) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns the first match of a pattern in what was written.
func (o *terminal) await(t *testing.T, pattern string) []string {
	t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(20*time.Second)
	for {
		if m := re.FindStringSubmatch(o.String()); m != nil {
			return m
		}
		select {
		case <-o.news:
		case <-late:
			t.Fatalf("no %q in:\n%s", pattern, o)
		}
	}
}

// A run is the command line at work in this process.
type process struct {
	out, err *terminal
	url      string
	code     chan int
	stop     context.CancelFunc
}

// start runs serve with a directory of its own and any free port, and waits until it listens.
func start(t *testing.T, in string, args ...string) *process {
	t.Helper()
	p := launch(t, in, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.url = p.err.await(t, `listens on (http://\S+),`)[1]
	return p
}

func launch(t *testing.T, in string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &process{newTerminal(), newTerminal(), "", make(chan int, 1), cancel}
	streams := cli.Streams{In: strings.NewReader(in), Out: p.out, Err: p.err}
	go func() { p.code <- cli.Main(ctx, args, streams, serveCommand(streams), configCommand(streams)) }()
	return p
}

// end stops the process and checks its exit code.
func (p *process) end(t *testing.T, want int) {
	t.Helper()
	p.stop()
	if got := <-p.code; got != want {
		t.Errorf("exit code %d, want %d; it said:\n%s", got, want, p.err)
	}
}

func (p *process) post(t *testing.T, body string) string {
	t.Helper()
	r, err := http.Post(p.url+"/v1/items", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var receipt struct{ ID string }
	if err := json.NewDecoder(r.Body).Decode(&receipt); err != nil || r.StatusCode != http.StatusAccepted {
		t.Fatalf("%s: %v", r.Status, err)
	}
	return receipt.ID
}

func TestWithoutConfigurationItemsGoToStandardOutput(t *testing.T) {
	p := start(t, "", "--data", filepath.Join(t.TempDir(), "made", "by", "serve"))
	p.post(t, "hello")
	p.out.await(t, `(?m)^hello$`)
	for _, what := range []string{"listens on http://127.0.0.1:", "data is in ", "try: curl "} {
		p.err.await(t, regexp.QuoteMeta(what))
	}
	p.end(t, 0)
}

// Guarantee G3, in part: the end of the input is a stop in order.
func TestPipeDeliversEveryLineAndExits(t *testing.T) {
	var in strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&in, "line %d\n", i)
	}
	p := start(t, in.String(), "--stdin", "--data", t.TempDir())
	if code := <-p.code; code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.err)
	}
	if got := p.out.String(); got != in.String() {
		t.Errorf("%d bytes came out, want %d", len(got), in.Len())
	}
}

// Guarantee G9.
func TestServiceStartsWithEverySinkUnreachableAndDeliversLater(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := hole.Addr().String()
	hole.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "holdfast.yaml")
	missing := filepath.Join(dir, "not", "mounted", "out")
	text := fmt.Sprintf("version: 1\ndefaults: {breaker: {probe_every: 50ms}}\nsinks:\n  hook: {type: webhook, url: \"http://%s/\"}\n  disk: {type: file, path: %s}\n", addr, missing)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "", "--config", config, "--data", filepath.Join(dir, "data"))
	p.post(t, "patience")
	p.err.await(t, `(?s)sink down.*sink down`)
	if err := os.MkdirAll(filepath.Dir(missing), 0o700); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	server := &http.Server{Addr: addr, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		select {
		case got <- b.String():
		default:
		}
	})}
	go server.ListenAndServe()
	defer server.Close()
	select {
	case body := <-got:
		if body != "patience" {
			t.Errorf("the webhook got %q", body)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("the webhook got nothing:\n%s", p.err)
	}
	p.err.await(t, `(?s)sink up.*sink up`)
	p.end(t, 0)
	if b, err := os.ReadFile(missing); string(b) != "patience\n" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

func TestExitCodesTellWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	held := start(t, "", "--data", filepath.Join(dir, "held"))
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"unknown key", []string{"serve", "--config", write("bad.yaml", "version: 1\nsnks: {}\n")}, 78, `bad.yaml:2:1: snks: .*did you mean "sinks"`},
		{"no such file", []string{"serve", "--config", filepath.Join(dir, "none.yaml")}, 78, "none.yaml"},
		{"address of everybody", []string{"serve", "--listen", "0.0.0.0:0", "--data", dir}, 78, "loopback"},
		{"file for a directory", []string{"serve", "--data", write("file", "x"), "--listen", "127.0.0.1:0"}, 78, "file is not a directory"},
		{"held directory", []string{"serve", "--data", filepath.Join(dir, "held"), "--listen", "127.0.0.1:0"}, 75, fmt.Sprintf("in use by process %d", os.Getpid())},
		{"unknown flag", []string{"serve", "--liste", "x"}, 2, "liste"},
		{"unknown verb", []string{"config", "validat"}, 2, `validate`},
		{"good file", []string{"config", "validate", write("good.yaml", "version: 1\nsinks: {a: {type: stdout}}\n")}, 0, ""},
	} {
		p := launch(t, "", c.args...)
		select {
		case code := <-p.code:
			if code != c.code || !regexp.MustCompile(c.says).MatchString(p.err.String()) {
				t.Errorf("%s: exit code %d, want %d and %q; it said:\n%s", c.name, code, c.code, c.says, p.err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it runs", c.name)
		}
	}
	held.end(t, 0)
}

func TestDataDirectoryThatOthersMayWriteIsSaid(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o755: false, 0o777: true} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		p := start(t, "", "--data", dir)
		if p.end(t, 0); strings.Contains(p.err.String(), "others may write") != want {
			t.Errorf("mode %o:\n%s", mode, p.err)
		}
	}
}
