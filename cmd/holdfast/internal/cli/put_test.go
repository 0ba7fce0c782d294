package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"holdfast/cmd/holdfast/internal/client"
	"holdfast/cmd/holdfast/internal/client/clienttest"
)

func seq(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func bodies(s *clienttest.Server) (all []string) {
	for _, p := range s.Puts() {
		all = append(all, p.Body)
	}
	return all
}

func TestFiveLinesAreFiveItems(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	code, out, notices := shell{server: s.URL, stdin: strings.NewReader(seq(5))}.run(t.Context(), "put", "-")
	if code != 0 || out != "" || notices != "5 items accepted, 0 duplicates, 0 refused\n" {
		t.Errorf("exit %d: %s%s", code, out, notices)
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "4", "5"}, bodies(s)); diff != "" {
		t.Error(diff)
	}
}

// The server answers nothing before a whole window is under way: lock-step would hang.
func TestTenThousandLinesArePipelined(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Lag = client.Window
	code, out, notices := shell{server: s.URL}.run(t.Context(), "put", write(t, "in", seq(10_000)), "-o", "json")
	if code != 0 || notices != "10,000 items accepted, 0 duplicates, 0 refused\n" || strings.Count(out, "\n") != 10_000 {
		t.Errorf("exit %d, %d lines of output: %s", code, strings.Count(out, "\n"), notices)
	}
	if got := bodies(s); len(got) != 10_000 || got[9_999] != "10000" {
		t.Errorf("%d lines came", len(got))
	}
}

func TestBytesOfALineStayAsTheyAre(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	long := strings.Repeat("x", 200_000)
	lines := []string{"{\"a\": 1}\r", "\xff\x00", " blanks ", long, "last"}
	in := "\n" + strings.Join(lines, "\n\n")
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader(in)}.run(t.Context(), "put")
	if diff := cmp.Diff(lines, bodies(s)); code != 0 || diff != "" {
		t.Errorf("exit %d: %s\n%s", code, notices, diff)
	}
}

// A producer that writes a line now and then must not wait for more of its lines.
func TestALineGoesOutBeforeTheNextIsThere(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	in, w := io.Pipe()
	came := make(chan int, 3)
	s.Stream.Arrived = func(n int) { came <- n }
	go func() {
		for _, part := range []string{"one\n", "two\nthr", "ee\n"} {
			io.WriteString(w, part)
			<-came
		}
		w.Close()
	}()
	code, _, notices := shell{server: s.URL, stdin: in}.run(t.Context(), "put")
	if diff := cmp.Diff([]string{"one", "two", "three"}, bodies(s)); code != 0 || diff != "" {
		t.Errorf("exit %d: %s\n%s", code, notices, diff)
	}
}

func TestMetaGoesInHeadersWhileItFits(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader("x\n")}.run(t.Context(), "put", "--key", "gate 7", "--type", "door.open",
		"--source", "plc", "--attr", "floor=2", "--attr", "note=a=b, c")
	if code != 0 || len(s.Puts()) != 1 {
		t.Fatalf("exit %d: %s", code, notices)
	}
	h := s.Puts()[0].Header
	for name, want := range map[string]string{
		"Content-Type": "application/x-ndjson", "Holdfast-Key": "gate 7", "Holdfast-Type": "door.open", "Holdfast-Source": "plc",
		"Holdfast-Attr-Floor": "2", "Holdfast-Attr-Note": "a=b, c",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q", name, h.Get(name))
		}
	}
}

func TestMetaThatNoHeaderCanHoldGoesInEnvelopes(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader("x\n")}.run(t.Context(), "put", "--key", "Tür\n7", "--attr", "a= ")
	want := `{"key":"Tür\n7","attrs":{"a":" "},"content_type":"text/plain","body":"x"}`
	if diff := cmp.Diff([]string{want}, bodies(s)); code != 0 || diff != "" {
		t.Errorf("exit %d: %s\n%s", code, notices, diff)
	}
}

// Empty lines count, so that a line's key is its line number.
func TestEachLineHasAnIdempotencyKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Duplicate = func(n int) bool { return n != 2 }
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader("c\n")}.run(t.Context(), "put", "--idempotency-key", "imp",
		write(t, "in", "a\n\n\"b\"\n"), "-")
	want := []string{
		`{"idempotency_key":"imp-1","content_type":"text/plain","body":"a"}`,
		`{"idempotency_key":"imp-3","content_type":"application/json","body_base64":"ImIi"}`,
		`{"idempotency_key":"imp-4","content_type":"text/plain","body":"c"}`,
	}
	if diff := cmp.Diff(want, bodies(s)); code != 0 || diff != "" {
		t.Errorf("exit %d\n%s", code, diff)
	}
	if notices != "1 item accepted, 2 duplicates, 0 refused\n" {
		t.Error(notices)
	}
}

func TestRefusedLinesAreNamedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Refuse = func(n int, line string) doc {
		if line != "bad" {
			return nil
		}
		return clienttest.Problem(400, "malformed", "not an item\x1b", doc{"field": "ttl", "detail": "no"})
	}
	path := write(t, "in", "a\n\nbad\nb\nbad\n")
	code, out, notices := shell{server: s.URL}.run(t.Context(), "put", path, "-o", "json")
	want := path + ":3: refused: not an item� (malformed)\n  ttl: no\n" +
		path + ":5: refused: not an item� (malformed)\n  ttl: no\n" +
		"2 items accepted, 0 duplicates, 2 refused\nholdfast: 2 of 4 lines were refused\n"
	if diff := cmp.Diff(want, notices); code != 1 || diff != "" {
		t.Errorf("exit %d\n%s", code, diff)
	}
	type line struct {
		File    string
		Line    int
		Receipt *struct{ ID string }
		Problem *struct{ Code string }
	}
	var lines []line
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	if len(lines) != 4 || lines[1].Line != 3 || lines[1].Problem.Code != "malformed" || lines[2].Receipt.ID == "" || lines[0].File != path {
		t.Errorf("got %+v", lines)
	}
}

func TestManyRefusalsAreNotAllTold(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Refuse = func(int, string) doc { return clienttest.Problem(400, "malformed", "no") }
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader(seq(500))}.run(t.Context(), "put")
	if code != 1 || strings.Count(notices, "\n") != 23 || !strings.Contains(notices, "500 of 500 lines were refused") {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestAServerThatDiesLeavesAnExactAccount(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.DieAfter = 3210
	path := write(t, "in", seq(10_000))
	sh := shell{server: s.URL}
	code, out, notices := sh.run(t.Context(), "put", path, "-o", "json")
	n := strings.Count(out, "\n") // a reset may take receipts with it that were not read yet
	if n == 0 || n > 3210 {
		t.Fatalf("%d receipts: %s", n, notices)
	}
	grouped := fmt.Sprint(n)
	if n > 999 {
		grouped = fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	for _, want := range []string{"the server at " + s.URL + " went away after " + grouped + " lines were durable; 0 refused, ",
		fmt.Sprintf("send again what follows %s:%d", path, n), "may then arrive twice", "--idempotency-key"} {
		if code != 5 || !strings.Contains(notices, want) {
			t.Errorf("exit %d: %s\nwant %s", code, notices, want)
		}
	}
	code, _, notices = sh.run(t.Context(), "put", path, "--idempotency-key", "K")
	if code != 5 || !strings.Contains(notices, "again with --idempotency-key K is safe") {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestAStreamThatEndsOverALongLineIsARefusal(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Refuse = func(n int, _ string) doc {
		if n == 3 {
			return clienttest.Problem(413, "too_large", "longer than max_item_bytes")
		}
		return nil
	}
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader(seq(5000))}.run(t.Context(), "put")
	for _, want := range []string{"standard input:3: refused: longer than max_item_bytes (too_large)",
		"holdfast: standard input:3 is too long: neither it nor what follows is stored; 2 lines were durable, 1 refused\n" +
			"  shorten it or leave it out, and send again from standard input:3 on\n"} {
		if code != 1 || !strings.Contains(notices, want) || strings.Contains(notices, "twice") {
			t.Errorf("exit %d: %s\nwant %s", code, notices, want)
		}
	}
	code, _, notices = shell{server: s.URL, stdin: strings.NewReader(seq(5000))}.run(t.Context(), "put", "--idempotency-key", "K")
	want := "shorten it or leave it empty (the keys count lines), and send the whole input again with --idempotency-key K\n"
	if code != 1 || !strings.HasSuffix(notices, want) {
		t.Errorf("exit %d: %s", code, notices)
	}
}

// Its last lines are refused because it stops; the rest it did not take.
func TestAServerThatStopsIsOneThatWentAway(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"with more to send": 5000, "with all sent": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := clienttest.New(t)
			s.Stream.Refuse = func(n int, _ string) doc {
				if n > 3 {
					return clienttest.Problem(503, "stopping", "this line and what follows are not stored")
				}
				return nil
			}
			s.Stream.EndAfter = 5
			code, _, notices := shell{server: s.URL, stdin: strings.NewReader(seq(n))}.run(t.Context(), "put")
			want := "holdfast: the server at " + s.URL + " went away after 3 lines were durable; 0 refused, "
			if code != 5 || !strings.HasPrefix(notices, want) || !strings.Contains(notices, "\n  send again what follows standard input:3 (with") {
				t.Errorf("exit %d: %s", code, notices)
			}
		})
	}
}

// What was stored behind the line that the server cannot tell of arrives twice if all is sent again from there.
func TestAnUncertainLineIsNeitherStoredNorRefused(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Refuse = func(n int, _ string) doc {
		if n == 2 {
			return clienttest.Problem(503, "uncertain", "it may have been stored or not")
		}
		return nil
	}
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader(seq(5))}.run(t.Context(), "put")
	want := "4 items accepted, 0 duplicates, 0 refused\n" +
		"holdfast: the server cannot tell whether 1 of 5 lines are stored; send again what follows standard input:1; up to 4 lines may then arrive twice (with"
	if code != 75 || !strings.HasPrefix(notices, want) {
		t.Errorf("exit %d: %s", code, notices)
	}
}

// The input stays open, as a terminal does: only the interrupt can end it.
func TestAnInterruptStopsSendingAndAwaitsReceipts(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Lag = 100
	ctx, cancel := context.WithCancel(t.Context())
	s.Stream.Arrived = func(n int) {
		if n == 3 {
			cancel()
		}
	}
	in, w := io.Pipe()
	defer w.Close()
	go io.WriteString(w, seq(3))
	code, _, notices := shell{server: s.URL, stdin: in}.run(ctx, "put")
	want := "3 items accepted, 0 duplicates, 0 refused\nholdfast: interrupted: the rest was not sent; send again what follows standard input:3"
	if code != 1 || !strings.HasPrefix(notices, want) {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestAnInterruptDoesNotWaitForEverForReceipts(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	stuck := make(chan struct{})
	defer close(stuck)
	s.Stream.Arrived = func(n int) {
		if n == 2 {
			cancel()
			<-stuck
		}
	}
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader(seq(5))}.run(ctx, "put")
	if code != 1 || !strings.Contains(notices, "interrupted: 1 line acknowledged as durable, 0 refused, 4 more sent without an answer") {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestWaitingTellsHowTheJoinsStand(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Pending = func(n int) bool { return n == 2 }
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader(seq(3))}.run(t.Context(), "put", "--wait", "1500ms")
	want := "3 items accepted, 0 duplicates, 0 refused; 2 complete, 1 pending\n" +
		"holdfast: 1 of 3 lines are still on their way to a sink; they are stored and will be delivered\n"
	if code != 75 || notices != want {
		t.Errorf("exit %d: %s", code, notices)
	}
	if got := s.Puts()[0].Header.Get("Prefer"); got != "wait=2" {
		t.Errorf("Prefer: %s", got)
	}
}

func TestWaitingCountsDuplicates(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Duplicate = func(n int) bool { return n > 1 }
	code, _, notices := shell{server: s.URL, stdin: strings.NewReader(seq(5))}.run(t.Context(), "put", "--wait", "1s")
	if want := "1 item accepted, 4 duplicates, 0 refused; 5 complete, 0 pending\n"; code != 0 || notices != want {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestWaitingSucceedsOnlyIfEverySinkHasAll(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sink    string
		pending bool
		code    int
		want    string
	}{
		{"done", false, 0, "2 complete, 0 pending\n"},
		{"done", true, 75, "1 complete, 1 pending\nholdfast: 1 of 2 "},
		{"dead", false, 1, "2 complete, 0 pending, 1 not delivered to every sink\nholdfast: 1 of 2 "},
	} {
		s := clienttest.New(t)
		s.Stream.Pending = func(n int) bool { return n == 2 && c.pending }
		s.Stream.Sink = func(n int) string {
			if n == 1 {
				return c.sink
			}
			return "done"
		}
		code, _, notices := shell{server: s.URL, stdin: strings.NewReader("a\nb\n")}.run(t.Context(), "put", "--wait", "1s")
		if code != c.code || !strings.Contains(notices, c.want) {
			t.Errorf("%s, exit %d: %s", c.sink, code, notices)
		}
	}
}

// Nothing comes back, as when a bound is full: put says so, and an interrupt ends it.
func TestAPutThatWaitsForRoomSaysSoAndCanBeInterrupted(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{"few lines": "x\n", "more than the connection holds": strings.Repeat("x", 1<<20) + "\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := clienttest.New(t)
			room := make(chan struct{})
			defer close(room)
			s.Stream.Arrived = func(int) { <-room }
			ctx, cancel := context.WithCancel(t.Context())
			said := make(chan struct{})
			const notice = "waiting: the server takes no more for now"
			sh := shell{server: s.URL, stdin: strings.NewReader(strings.Repeat(line, 60)), told: func(text string) {
				if strings.Contains(text, notice) {
					close(said)
				}
			}}
			go func() { <-said; cancel() }()
			code, _, notices := sh.run(ctx, "put")
			if code != 75 || strings.Count(notices, notice) != 1 || !strings.Contains(notices, "holdfast: interrupted: 0 lines acknowledged as durable, 0 refused, ") || !strings.Contains(notices, " more sent without an answer\n  nothing was acknowledged: send it all again; up to ") {
				t.Errorf("exit %d: %s", code, notices)
			}
		})
	}
}

func TestWholeMakesEachFileAnItem(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	text, jpg := write(t, "a", "1\n2\n\n"), write(t, "b", "\xff\xd8\xff\xe0 jpeg")
	s.Stream.Refuse = func(n int, _ string) doc {
		if n == 3 {
			return clienttest.Problem(422, "key_reused", "the key has another body")
		}
		return nil
	}
	code, out, notices := shell{server: s.URL, stdin: strings.NewReader(`{"a":1}`)}.run(t.Context(), "put", "--whole", text, jpg, "-", text,
		"--idempotency-key", "K", "--key", "k", "-o", "json")
	if code != 1 || !strings.Contains(notices, "standard input: refused: the key has another body (key_reused)\n3 items accepted, 0 duplicates, 1 refused\n") {
		t.Errorf("exit %d: %s", code, notices)
	}
	if strings.Count(out, "\n") != 4 || !strings.Contains(out, `{"file":"-","problem":{`) {
		t.Error(out)
	}
	if diff := cmp.Diff([]string{"1\n2\n\n", "\xff\xd8\xff\xe0 jpeg", `{"a":1}`, "1\n2\n\n"}, bodies(s)); diff != "" {
		t.Error(diff)
	}
	for i, want := range []string{"text/plain", "image/jpeg", "application/json", "text/plain"} {
		h := s.Puts()[i].Header
		if h.Get("Content-Type") != want || h.Get("Idempotency-Key") != fmt.Sprintf("K-%d", i+1) || h.Get("Holdfast-Key") != "k" {
			t.Errorf("%d: %v", i, h)
		}
	}
}

func TestWholeStopsWhenTheServerIsFull(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Refuse = func(int, string) doc { return clienttest.Problem(503, "full", "the budget is used up") }
	path := write(t, "a", "1")
	code, _, notices := shell{server: s.URL}.run(t.Context(), "put", "--whole", path, path)
	if code != 75 || len(s.Puts()) != 1 || !strings.Contains(notices, "(full)") {
		t.Errorf("exit %d after %d: %s", code, len(s.Puts()), notices)
	}
}

func TestQuietAndProgressAreForTerminals(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	path := write(t, "in", seq(100))
	_, out, notices := shell{server: s.URL, tty: true}.run(t.Context(), "put", path)
	if !strings.Contains(notices, "durable") || !strings.HasSuffix(notices, "100 items accepted, 0 duplicates, 0 refused\n") || out != "" {
		t.Errorf("%q", notices)
	}
	if _, _, notices = (shell{server: s.URL, tty: true}).run(t.Context(), "put", path, "-q"); notices != "" {
		t.Errorf("%q", notices)
	}
}
