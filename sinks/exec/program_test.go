package exec_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/sinks/exec"
	"holdfast/sinks/sinktest"
)

// The test binary is also the programs that the sink starts: PROGRAM says which one.
func TestMain(m *testing.M) {
	if program, ok := programs[os.Getenv("PROGRAM")]; ok {
		program()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var programs = map[string]func(){
	"book":     keepBook,
	"environ":  func() { takeAll(strings.Join(os.Environ(), "\x00")) },
	"hold":     func() { dial(); forever() },
	"stubborn": beStubborn,
	"holdfast": beHoldfast,
}

func forever() { <-time.After(time.Minute) }

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
}

// keepBook writes what it gets into the book, or misbehaves as the file MODE says.
func keepBook() {
	mode, err := os.ReadFile(os.Getenv("MODE"))
	fail(err)
	switch sinktest.Fault(mode) {
	case sinktest.Hang:
		forever()
	case sinktest.Dribble:
		for b := make([]byte, 1); ; <-time.After(20 * time.Millisecond) {
			if _, err := os.Stdin.Read(b); err != nil {
				break
			}
		}
	}
	body, err := io.ReadAll(os.Stdin)
	fail(err)
	if sinktest.Fault(mode) == sinktest.Refuse && bytes.Contains(body, []byte(sinktest.Poison)) {
		fmt.Fprintln(os.Stderr, "refused, by the way", os.Getenv("TOKEN"))
		os.Exit(65)
	}
	write(base64.StdEncoding.EncodeToString(body) + "\n")
}

func takeAll(text string) {
	_, err := io.Copy(io.Discard, os.Stdin)
	fail(err)
	write(text)
}

func write(text string) {
	f, err := os.OpenFile(os.Getenv("BOOK"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	fail(err)
	_, err = f.WriteString(text)
	fail(err)
}

// dial tells the test by a connection that this process lives.
func dial() net.Conn {
	c, err := net.Dial("tcp", os.Getenv("ADDR"))
	fail(err)
	return c
}

// beStubborn takes a SIGTERM for a reason to read on, and writes into the book if its input seems to be whole.
func beStubborn() {
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM)
	c := dial()
	<-terms
	fmt.Fprint(c, "T")
	_, err := io.Copy(io.Discard, os.Stdin)
	fail(err)
	write("whole")
	forever()
}

// beHoldfast delivers to a program that does not end.
func beHoldfast() {
	s, err := exec.New(exec.Options{Command: []string{os.Args[0]}, Env: map[string]string{"PROGRAM": "hold", "ADDR": os.Getenv("ADDR")}})
	fail(err)
	fail(s.Deliver(context.Background(), sinktest.Items("a")))
}

// quick keeps a program that was built with -race from sleeping for a second before it ends.
const quick = "atexit_sleep_ms=0"

// self is how to start one of the programs.
func self(program string, env ...string) exec.Options {
	o := exec.Options{Command: []string{os.Args[0]}, Env: map[string]string{"PROGRAM": program, "GORACE": quick}}
	for i := 0; i < len(env); i += 2 {
		o.Env[env[i]] = env[i+1]
	}
	return o
}

// shell is how to run a script.
func shell(script string) exec.Options {
	return exec.Options{Command: []string{"/bin/sh", "-c", script, "sh"}}
}

func newSink(tb testing.TB, o exec.Options) *exec.Sink {
	tb.Helper()
	s, err := exec.New(o)
	must(tb, err)
	tb.Cleanup(func() { must(tb, s.Close()) })
	return s
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// What no error may show.
const token, argument = "token-7391", "argument-7391"

// A receiver is a program behind a link, which is away while the receiver is stopped.
type receiver struct {
	tb               testing.TB
	o                exec.Options
	link, mode, book string
	decode           func(testing.TB, []byte) [][]byte
}

func newReceiver(tb testing.TB, o exec.Options, decode func(testing.TB, []byte) [][]byte) *receiver {
	dir := tb.TempDir()
	r := &receiver{tb: tb, o: o, decode: decode}
	r.link, r.mode, r.book = filepath.Join(dir, "program"), filepath.Join(dir, "mode"), filepath.Join(dir, "book")
	r.o.Command = []string{r.link, argument}
	r.o.Env = map[string]string{"PROGRAM": "book", "MODE": r.mode, "BOOK": r.book, "TOKEN": token, "GORACE": quick}
	r.heal()
	return r
}

func (r *receiver) heal() {
	r.setMode("")
	if err := os.Symlink(os.Args[0], r.link); !os.IsExist(err) {
		must(r.tb, err)
	}
}

func (r *receiver) setMode(f sinktest.Fault) { must(r.tb, os.WriteFile(r.mode, []byte(f), 0o600)) }

func (r *receiver) stop() {
	if err := os.Remove(r.link); !os.IsNotExist(err) {
		must(r.tb, err)
	}
}

func (r *receiver) read() (bodies [][]byte) {
	for line := range strings.Lines(readFile(r.tb, r.book)) {
		stdin, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		must(r.tb, err)
		bodies = append(bodies, r.decode(r.tb, stdin)...)
	}
	return bodies
}

func readFile(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if !os.IsNotExist(err) {
		must(tb, err)
	}
	return string(b)
}

func whole(_ testing.TB, stdin []byte) [][]byte { return [][]byte{stdin} }

func envelopes(tb testing.TB, stdin []byte) (bodies [][]byte) {
	for line := range bytes.Lines(stdin) {
		var e struct {
			Body   json.RawMessage `json:"body"`
			Base64 []byte          `json:"body_base64"`
		}
		must(tb, json.Unmarshal(line, &e))
		var s string
		switch {
		case e.Body == nil:
			bodies = append(bodies, append([]byte{}, e.Base64...))
		case json.Unmarshal(e.Body, &s) == nil:
			bodies = append(bodies, []byte(s))
		default:
			bodies = append(bodies, e.Body)
		}
	}
	return bodies
}

// A listener accepts the connections of programs that tell that they live.
type listener struct {
	net.Listener
	tb testing.TB
}

func listen(tb testing.TB) listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	tb.Cleanup(func() { l.Close() })
	return listener{l, tb}
}

func (l listener) addr() string { return l.Addr().String() }

func (l listener) accept() net.Conn {
	l.tb.Helper()
	must(l.tb, l.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(10*time.Second)))
	c, err := l.Accept()
	must(l.tb, err)
	l.tb.Cleanup(func() { c.Close() })
	return c
}

// wantGone waits for the end of the program at the other end.
func wantGone(tb testing.TB, c net.Conn) {
	tb.Helper()
	must(tb, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
		tb.Error("10 seconds on, the program still runs")
	}
}
