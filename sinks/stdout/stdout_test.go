package stdout_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/sinks"
	"holdfast/sinks/sinktest"
	"holdfast/sinks/stdout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSinkKeepsTheContract(t *testing.T) {
	sinktest.Run(t, sinktest.Harness{
		Start: func(tb testing.TB) sinktest.Receiver { return newFIFO(tb).receiver() },
		Lacks: map[sinktest.Fault]string{
			sinktest.Refuse:    "a pipe looks at no item",
			sinktest.Partial:   "a pipe takes or does not",
			sinktest.Reset:     "a pipe that breaks is a stopped one",
			sinktest.WrongTLS:  "there is no TLS",
			sinktest.LineFeeds: "the book is kept in lines; see TestRawBodyIsWrittenAsItIs",
			sinktest.Secrets:   "nothing is configured that is secret",
		},
	})
}

// A fifo is a named pipe and its reader, which can go away and come back while the writing end stays open.
type fifo struct {
	tb     testing.TB
	path   string
	w      *os.File
	mu     sync.Mutex
	bytes  []byte
	reader *os.File
	gone   chan struct{} // closed when the reader's goroutine ended
}

func newFIFO(tb testing.TB) *fifo {
	p := &fifo{tb: tb, path: filepath.Join(tb.TempDir(), "pipe")}
	if err := syscall.Mkfifo(p.path, 0o600); err != nil {
		tb.Fatal(err)
	}
	p.read(io.Copy)
	w, err := os.OpenFile(p.path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		tb.Fatal(err)
	}
	p.w = w
	tb.Cleanup(func() { p.stop(); p.w.Close() })
	return p
}

func (p *fifo) receiver() sinktest.Receiver {
	out := stdout.Share(p.w)
	return sinktest.Receiver{
		New:  func() (sinks.Sink, error) { return stdout.New(out, stdout.Options{}) },
		Book: p.book,
		Stop: p.stop,
		Heal: func() { p.stop(); p.read(io.Copy) },
		Break: map[sinktest.Fault]func(){
			sinktest.Hang:    func() { p.stop(); p.read(hang) },
			sinktest.Dribble: func() { p.stop(); p.read(dribble) },
		},
	}
}

// read opens the reading end and lets how read from it.
func (p *fifo) read(how func(io.Writer, io.Reader) (int64, error)) {
	r, err := os.OpenFile(p.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		p.tb.Fatal(err)
	}
	gone := make(chan struct{})
	p.reader, p.gone = r, gone
	go func() {
		defer close(gone)
		for {
			if _, err := how(p, r); err != nil {
				return
			}
			moment() // at an end of file there is no writer yet
		}
	}()
}

// moment is how often a reader looks again.
func moment() { <-time.After(time.Millisecond) }

func hang(_ io.Writer, r io.Reader) (int64, error) {
	for f := r.(*os.File); f.SetDeadline(time.Time{}) == nil; {
		moment()
	}
	return 0, os.ErrClosed
}

func dribble(w io.Writer, r io.Reader) (int64, error) {
	n, err := io.CopyN(w, r, 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	moment()
	return n, err
}

func (p *fifo) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes = append(p.bytes, b...)
	return len(b), nil
}

func (p *fifo) stop() {
	p.reader.Close()
	<-p.gone
}

func (p *fifo) book() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := bytes.Split(bytes.Clone(p.bytes), []byte("\n"))
	return lines[:len(lines)-1]
}

func TestRawBodyIsWrittenAsItIs(t *testing.T) {
	var b bytes.Buffer
	deliver(t, newSink(t, stdout.Share(&b), stdout.Options{}), "a\nb", "", "c\r")
	if got, want := b.String(), "a\nb\n\nc\r\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestJSONIsAnEnvelopePerLine(t *testing.T) {
	var b bytes.Buffer
	items := sinktest.Items("a\nb", "c")
	if err := newSink(t, stdout.Share(&b), stdout.Options{Format: sinks.JSON}).Deliver(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	want := string(sinks.AppendEnvelope(nil, &items[0])) + "\n" + string(sinks.AppendEnvelope(nil, &items[1])) + "\n"
	if got := b.String(); got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestDoneMeansFlushed(t *testing.T) {
	var b bytes.Buffer
	deliver(t, newSink(t, stdout.Share(bufio.NewWriter(&b)), stdout.Options{}), "a")
	if got := b.String(); got != "a\n" {
		t.Errorf("after the flush there is %q", got)
	}
}

func TestSharedWriterKeepsLinesWhole(t *testing.T) {
	var b oneByOne
	out := stdout.Share(&b)
	var wg sync.WaitGroup
	for _, c := range "abcdefgh" {
		s := newSink(t, out, stdout.Options{})
		wg.Go(func() {
			for range 20 {
				deliver(t, s, strings.Repeat(string(c), 100))
			}
		})
	}
	wg.Wait()
	lines := strings.SplitAfter(string(b), "\n")
	if len(lines) != 161 {
		t.Errorf("%d lines, want 160", len(lines)-1)
	}
	for _, line := range lines[:len(lines)-1] {
		if len(line) != 101 || strings.Trim(line, line[:1]) != "\n" {
			t.Errorf("a line of two sinks: %q", line)
		}
	}
}

// oneByOne would mix what is written to it at the same time, and be a data race.
type oneByOne []byte

func (o *oneByOne) Write(b []byte) (int, error) {
	for _, c := range b {
		*o = append(*o, c)
	}
	return len(b), nil
}

func TestTornLineIsEndedBeforeTheNext(t *testing.T) {
	w := &stingy{left: 3}
	s := newSink(t, stdout.Share(w), stdout.Options{})
	if err := s.Deliver(t.Context(), sinktest.Items("abcdef")); err == nil {
		t.Fatal("a short write is done")
	}
	w.left = 100
	deliver(t, s, "abcdef", "g")
	if got, want := w.String(), "abc\nabcdef\ng\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

// stingy is a writer with room for so much.
type stingy struct {
	bytes.Buffer
	left int
}

func (w *stingy) Write(b []byte) (int, error) {
	n := min(w.left, len(b))
	w.left -= n
	w.Buffer.Write(b[:n])
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestClosedPipeIsUnavailable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	err = newSink(t, stdout.Share(w), stdout.Options{}).Deliver(t.Context(), sinktest.Items("a"))
	if e, ok := errors.AsType[*sinks.Error](err); !ok || e.Verdict != sinks.UnavailableVerdict || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("deliver: %v, want EPIPE as unavailable", err)
	}
}

func TestWriterWithoutDeadlinesIsLeftToItself(t *testing.T) {
	w := &gate{open: make(chan struct{})}
	s := newSink(t, stdout.Share(w), stdout.Options{})
	items := sinktest.Items("first")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range 3 { // the first is in Write, the others wait for it
		if err := s.Deliver(ctx, items); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deliver: %v, want the end of its context", err)
		}
	}
	copy(items[0].Body, "XXXXX")
	close(w.open)
	deliver(t, s, "second")
	if got, want := w.String(), "first\nsecond\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

// gate is a writer that blocks until it is opened.
type gate struct {
	bytes.Buffer
	open chan struct{}
}

func (w *gate) Write(b []byte) (int, error) {
	<-w.open
	return w.Buffer.Write(b)
}

func TestUnknownFormatIsRefusedByName(t *testing.T) {
	for _, f := range []sinks.Format{"xml", sinks.CloudEventsBinary} {
		if _, err := stdout.New(stdout.Share(io.Discard), stdout.Options{Format: f}); err == nil || !strings.Contains(err.Error(), "format: ") {
			t.Errorf("new with %q: %v", f, err)
		}
	}
}

func TestCloudEventsAreOnePerLine(t *testing.T) {
	var out bytes.Buffer
	s := newSink(t, stdout.Share(&out), stdout.Options{Format: sinks.CloudEvents, Source: "/gate"})
	items := sinktest.Items("a\nb", "{\n}")
	items[1].Attrs = nil
	if err := s.Deliver(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	a, b := sinks.AppendCloudEvent(nil, &items[0], ""), sinks.AppendCloudEvent(nil, &items[1], "/gate")
	if want := string(a) + "\n" + string(b) + "\n"; out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
}

func newSink(t *testing.T, out *stdout.Writer, o stdout.Options) *stdout.Sink {
	t.Helper()
	s, err := stdout.New(out, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func deliver(t *testing.T, s sinks.Sink, bodies ...string) {
	t.Helper()
	if err := s.Deliver(t.Context(), sinktest.Items(bodies...)); err != nil {
		t.Errorf("deliver: %v", err)
	}
}
