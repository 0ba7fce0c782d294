package exec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/sinks"
	"holdfast/sinks/exec"
	"holdfast/sinks/sinktest"
)

func TestSinkKeepsTheContract(t *testing.T) {
	for name, c := range map[string]struct {
		o      exec.Options
		decode func(testing.TB, []byte) [][]byte
		lacks  bool
	}{
		"raw":  {exec.Options{}, whole, false},
		"json": {exec.Options{Format: sinks.JSON}, envelopes, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := sinktest.Harness{
				Start: func(tb testing.TB) sinktest.Receiver {
					r := newReceiver(tb, c.o, c.decode)
					breaks := map[sinktest.Fault]func(){sinktest.LineFeeds: nil, sinktest.Secrets: nil}
					for _, f := range []sinktest.Fault{sinktest.Refuse, sinktest.Hang, sinktest.Dribble} {
						breaks[f] = func() { r.setMode(f) }
					}
					if !c.lacks {
						breaks[sinktest.Partial] = nil
					}
					return sinktest.Receiver{
						New:  func() (sinks.Sink, error) { return exec.New(r.o) },
						Book: r.read, Stop: r.stop, Heal: r.heal, Break: breaks,
						Secrets: []string{token, argument},
					}
				},
				Lacks: map[sinktest.Fault]string{
					sinktest.Reset:    "there is no connection; see TestEachEndHasItsVerdict for a program that dies",
					sinktest.WrongTLS: "there is no TLS",
				},
			}
			if c.lacks {
				h.Lacks[sinktest.Partial] = "a batch in one process has one exit code; see TestEachEndHasItsVerdict"
			}
			sinktest.Run(t, h)
		})
	}
}

func verdict(err error) string {
	e, ok := errors.AsType[*sinks.Error](err)
	switch {
	case err == nil:
		return "done"
	case !ok:
		return "plain"
	}
	return map[sinks.Verdict]string{sinks.PermanentVerdict: "permanent", sinks.UnavailableVerdict: "unavailable", sinks.GoneVerdict: "gone"}[e.Verdict]
}

func TestEachEndHasItsVerdict(t *testing.T) {
	for _, c := range []struct{ script, one, batch, text string }{
		{"cat", "done", "done", ""},
		{"head -c $HOLDFAST_SIZE", "done", "done", ""},
		{"cat; exit 1", "plain", "plain", "exec sh: exit status 1"},
		{"cat; exit 64", "plain", "plain", "exec sh: exit status 64"},
		{"cat; exit 78", "plain", "plain", "exec sh: exit status 78"},
		{"cat; exit 127", "plain", "plain", "exec sh: exit status 127"},
		{"cat; kill -9 $$", "plain", "plain", "exec sh: signal: killed"},
		{"cat; exit 65", "permanent", "plain", "exec sh: exit status 65"},
		{"exit 65", "permanent", "plain", "exec sh: exit status 65"},
		{"cat; exit 75", "unavailable", "unavailable", "exec sh: exit status 75"},
		{"exit 75", "unavailable", "unavailable", "exec sh: exit status 75"},
		{"exit 0", "plain", "plain", "exec sh: exit status 0 before it had read all of its input"},
		{"exec <&-", "plain", "plain", "exec sh: exit status 0 before it had read all of its input"},
		{"dd bs=1 count=1 2>/dev/null", "plain", "plain", "exec sh: exit status 0 before it had read all of its input"},
	} {
		for _, body := range []string{"small", strings.Repeat("large", 1<<18)} {
			s := newSink(t, func() exec.Options { o := shell(c.script); o.Format = sinks.JSON; return o }())
			one, batch := s.Deliver(t.Context(), sinktest.Items(body)), s.Deliver(t.Context(), sinktest.Items(body, body))
			if verdict(one) != c.one || verdict(batch) != c.batch {
				t.Errorf("%q with %d bytes: %v, and as a batch %v", c.script, len(body), one, batch)
			}
			if one != nil && one.Error() != c.text {
				t.Errorf("%q with %d bytes: %q, want %q", c.script, len(body), one, c.text)
			}
		}
	}
}

func TestProcessThatEndsBeforeItsInputIsWrittenHasNotReadIt(t *testing.T) {
	if exec.EndsUnfed(shell("exit 0")) {
		t.Error("it passes for one that has")
	}
}

func TestEmptyItemIsReadByWhoReadsNothing(t *testing.T) {
	if err := newSink(t, shell("exit 0")).Deliver(t.Context(), sinktest.Items("")); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotStartIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "plain"), []byte("#!/bin/sh\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "lost"), []byte("#!/does/not/exist\n"), 0o700))
	for _, c := range []struct {
		o    exec.Options
		text string
	}{
		{exec.Options{Command: []string{"/does/not/exist", "argument"}}, "exec exist: cannot start: no such file or directory"},
		{exec.Options{Command: []string{"no-such-program-7391"}}, "exec no-such-program-7391: cannot start: executable file not found in $PATH"},
		{exec.Options{Command: []string{filepath.Join(dir, "plain")}}, "exec plain: cannot start: permission denied"},
		{exec.Options{Command: []string{filepath.Join(dir, "lost")}}, "exec lost: cannot start: no such file or directory"},
		{exec.Options{Command: []string{dir}}, "exec " + filepath.Base(dir) + ": cannot start: permission denied"},
		{exec.Options{Command: []string{"/bin/sh"}, Dir: "/does/not/exist"}, "exec sh: cannot start: dir: no such file or directory"},
	} {
		err := newSink(t, c.o).Deliver(t.Context(), sinktest.Items(strings.Repeat("x", 1<<20)))
		if verdict(err) != "unavailable" || err.Error() != c.text {
			t.Errorf("deliver: %s, %v, want %s", verdict(err), err, c.text)
		}
	}
}

func TestRawItemsHaveAProcessEachAndLinesShareOne(t *testing.T) {
	send := []string{"a", "b", "", "two\nlines", "c"}
	for _, c := range []struct {
		o    exec.Options
		want []string
	}{
		{exec.Options{}, send},
		{exec.Options{BatchWithoutIDs: true}, []string{"a\nb\n", "", "two\nlines", "c\n"}},
	} {
		r := newReceiver(t, c.o, whole)
		must(t, newSink(t, r.o).Deliver(t.Context(), sinktest.Items(send...)))
		var got []string
		for _, b := range r.read() {
			got = append(got, string(b))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("processes (-want +got):\n%s", diff)
		}
	}
}

func TestCloudEventsAreLines(t *testing.T) {
	r := newReceiver(t, exec.Options{Format: sinks.CloudEvents, Source: "/gate"}, whole)
	items := sinktest.Items("a\nb", "c")
	items[1].Attrs = nil
	must(t, newSink(t, r.o).Deliver(t.Context(), items))
	want := slices.Concat(sinks.AppendCloudEvent(nil, &items[0], ""), []byte("\n"), sinks.AppendCloudEvent(nil, &items[1], "/gate"), []byte("\n"))
	if got := r.read(); len(got) != 1 || string(got[0]) != string(want) {
		t.Errorf("stdin is %q, want %q", got, want)
	}
}

func TestProgramSeesItsItemAndWhatItMay(t *testing.T) {
	t.Setenv("PASSED", "yes")
	t.Setenv("KEPT", "secret")
	book := filepath.Join(t.TempDir(), "book")
	o := self("environ", "BOOK", book, "PATH", "/bin")
	o.Pass = []string{"PASSED", "PATH", "UNSET_7391"}
	o.Format = sinks.JSON
	s := newSink(t, o)
	items := sinktest.Items("body", "second")
	items[0].Accepted, items[0].Attempt, items[0].Key = time.Date(2026, 2, 3, 4, 5, 6, 7_000_000, time.UTC), 3, "$(key) \n"
	items[0].Attrs = sinktest.Attrs{"type": "t", "source": "s", "content-type": "text/plain", "traceparent": "00-1", "path": "/evil", "nul": "a\x00b", "empty": ""}
	items[1].Attrs = nil
	want := [][]string{{
		"PASSED=yes", "PATH=/bin", "BOOK=" + book, "PROGRAM=environ", "GORACE=" + quick,
		"HOLDFAST_COUNT=1", "HOLDFAST_SIZE=" + fmt.Sprint(len(sinks.AppendEnvelope(nil, &items[0]))+1),
		"HOLDFAST_ID=" + items[0].ID.String(), "HOLDFAST_ATTEMPT=3", "HOLDFAST_ACCEPTED=2026-02-03T04:05:06.007Z", "HOLDFAST_KEY=$(key) \n",
		"HOLDFAST_TYPE=t", "HOLDFAST_SOURCE=s", "HOLDFAST_CONTENT_TYPE=text/plain", "HOLDFAST_ATTR_TRACEPARENT=00-1", "HOLDFAST_ATTR_PATH=/evil",
	}, {
		"PASSED=yes", "PATH=/bin", "BOOK=" + book, "PROGRAM=environ", "GORACE=" + quick,
		"HOLDFAST_COUNT=2", "HOLDFAST_SIZE=" + fmt.Sprint(len(sinks.AppendEnvelope(sinks.AppendEnvelope(nil, &items[0]), &items[1]))+2),
	}}
	for i, batch := range [][]sinks.Item{items[:1], items} {
		must(t, s.Deliver(t.Context(), batch))
		got := strings.Split(readFile(t, book), "\x00")
		slices.Sort(got)
		slices.Sort(want[i])
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("environment of %d items (-want +got):\n%s", len(batch), diff)
		}
		must(t, os.Remove(book))
	}
}

func TestProgramRunsInItsDirectory(t *testing.T) {
	o := shell("cat; pwd > here")
	o.Dir = t.TempDir()
	must(t, newSink(t, o).Deliver(t.Context(), sinktest.Items("a")))
	if got := readFile(t, filepath.Join(o.Dir, "here")); got != o.Dir+"\n" {
		t.Errorf("it ran in %q", got)
	}
}

func TestProgramThatDoesNotEndIsKilledAfterTheGraceAndNeverSeesAnEnd(t *testing.T) {
	l, book := listen(t), filepath.Join(t.TempDir(), "book")
	o := self("stubborn", "ADDR", l.addr(), "BOOK", book)
	o.Grace = 300 * time.Millisecond
	s := newSink(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	items, result := sinktest.Items(strings.Repeat("x", 4<<20)), make(chan error, 1)
	go func() { result <- s.Deliver(ctx, items) }()
	c := l.accept()
	began := time.Now()
	cancel()
	if err := <-result; verdict(err) != "unavailable" || !errors.Is(err, context.Canceled) || time.Since(began) > 100*time.Millisecond {
		t.Errorf("after %v, deliver: %v", time.Since(began), err)
	}
	copy(items[0].Body, "used again") // -race knows whether somebody still reads it
	b := make([]byte, 1)
	if n, err := c.Read(b); n != 1 || err != nil {
		t.Errorf("no SIGTERM came: %v", err)
	}
	wantGone(t, c)
	if took := time.Since(began); took < o.Grace {
		t.Errorf("it was killed after %v, before the grace was over", took)
	}
	if got := readFile(t, book); got != "" {
		t.Error("the end of its context looked like the end of the item")
	}
}

func TestNextDeliveryWaitsForTheEndOfWhatTheLastOneLeft(t *testing.T) {
	l := listen(t)
	o := shell(`if mkdir "$FIRST"; then exec "$SELF"; fi; cat`)
	o.Env = map[string]string{"SELF": os.Args[0], "FIRST": filepath.Join(t.TempDir(), "first"), "PROGRAM": "stubborn", "ADDR": l.addr(), "BOOK": os.DevNull}
	o.Grace = time.Second
	s := newSink(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.Deliver(ctx, sinktest.Items("a")) }()
	c := l.accept()
	cancel()
	if err := <-result; verdict(err) != "unavailable" {
		t.Errorf("deliver: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Deliver(short, sinktest.Items("b")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the next delivery, meanwhile: %v", err)
	}
	must(t, s.Deliver(t.Context(), sinktest.Items("b")))
	must(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
		t.Error("the next item is done, and the process of the last one still runs")
	}
}

func TestCloseKillsWhatIsLeft(t *testing.T) {
	l := listen(t)
	o := self("stubborn", "ADDR", l.addr(), "BOOK", os.DevNull)
	o.Grace = time.Hour
	s := newSink(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.Deliver(ctx, sinktest.Items("a")) }()
	c := l.accept()
	cancel()
	<-result
	must(t, s.Close())
	wantGone(t, c)
}

func TestGrandchildrenEndWithTheirItem(t *testing.T) {
	for name, end := range map[string]string{"done": "exit 0", "failed": "exit 1", "killed": "kill -9 $$", "context over": "wait"} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			o := shell(`"$SELF" <&0 & cat >/dev/null; read -r ok < "$READY"; ` + end)
			ready := filepath.Join(t.TempDir(), "ready")
			must(t, syscall.Mkfifo(ready, 0o600))
			o.Env = map[string]string{"SELF": os.Args[0], "PROGRAM": "hold", "ADDR": l.addr(), "READY": ready}
			s := newSink(t, o)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() { result <- s.Deliver(ctx, sinktest.Items("a")) }()
			c := l.accept()
			must(t, os.WriteFile(ready, []byte("ok\n"), 0o600))
			if end == "wait" {
				cancel()
			}
			if err := <-result; (err == nil) != (name == "done") {
				t.Errorf("deliver: %v", err)
			}
			wantGone(t, c)
		})
	}
}

func TestStderrIsInErrorsOnlyIfAskedFor(t *testing.T) {
	o := shell(`cat; i=0; while [ $i -lt 2000 ]; do printf 'noise é '; i=$((i+1)); done >&2; printf 'no such\n\ttable\033[31m \377' >&2; exit 3`)
	if err := newSink(t, o).Deliver(t.Context(), sinktest.Items("a")); err == nil || err.Error() != "exec sh: exit status 3" {
		t.Errorf("deliver: %v", err)
	}
	o.Stderr = true
	err := newSink(t, o).Deliver(t.Context(), sinktest.Items("a"))
	if err == nil || !strings.HasSuffix(err.Error(), "noise é no such table?[31m ?") || len(err.Error()) > 1100 || len(err.Error()) < 900 {
		t.Errorf("deliver: %v", err)
	}
}

func TestDeliveriesRunSideBySide(t *testing.T) {
	l := listen(t)
	s := newSink(t, self("hold", "ADDR", l.addr()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Deliver(ctx, sinktest.Items("a")); verdict(err) != "unavailable" {
				t.Errorf("deliver: %v", err)
			}
		})
	}
	for range 3 {
		l.accept()
	}
	cancel()
	wg.Wait()
}

// Guarantee W4, in part: no error of an option shows its value, and no verb shows a secret.
func TestOptionsAreRefusedByNameWithoutTheirValue(t *testing.T) {
	sh, secret := []string{"/bin/sh"}, "hunter2"
	for want, o := range map[string]exec.Options{
		"command: ":           {},
		"command: is":         {Command: []string{"", secret}},
		"command[1]: ":        {Command: []string{"/bin/sh", secret + "\x00"}},
		"dir: ":               {Command: sh, Dir: secret + "\x00"},
		"format: \"xml":       {Command: sh, Format: "xml"},
		"format: \"cl":        {Command: sh, Format: sinks.CloudEventsBinary},
		"batch.without_ids: ": {Command: sh, Format: sinks.JSON, BatchWithoutIDs: true},
		"grace: ":             {Command: sh, Grace: -1},
		`env: "a=b"`:          {Command: sh, Env: map[string]string{"a=b": secret}},
		"env.HOLDFAST_ID: ":   {Command: sh, Env: map[string]string{"HOLDFAST_ID": secret}},
		"env.A: ":             {Command: sh, Env: map[string]string{"A": secret + "\x00"}},
		`pass: "HOLDFAST_ID"`: {Command: sh, Pass: []string{"HOLDFAST_ID"}},
		`pass: ""`:            {Command: sh, Pass: []string{""}},
	} {
		if _, err := exec.New(o); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("new: %v, want %q", err, want)
		}
	}
	o := exec.Options{Command: []string{"/bin/sh", secret}, Env: map[string]string{"A": secret}}
	for _, v := range []any{o, &o, newSink(t, o)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, v); text != "exec sh" {
				t.Errorf("%s of %T is %s", verb, v, text)
			}
		}
	}
}
