package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"holdfast/sinks"
	"holdfast/sinks/sinktest"
	"holdfast/sinks/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Guarantees W1, W4.
func TestSinkKeepsTheContract(t *testing.T) {
	noPartial := map[sinktest.Fault]string{sinktest.Partial: "a batch in one request has one status; see TestRefusedBatchIsNotPermanent"}
	for name, c := range map[string]struct {
		o     webhook.Options
		lacks map[sinktest.Fault]string
	}{
		"raw":               {webhook.Options{}, nil},
		"json":              {webhook.Options{Format: sinks.JSON}, noPartial},
		"batch without ids": {webhook.Options{BatchWithoutIDs: true}, noPartial},
		"cloudevents":       {webhook.Options{Format: sinks.CloudEvents}, noPartial},
		"binary":            {webhook.Options{Format: sinks.CloudEventsBinary}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Start: func(tb testing.TB) sinktest.Receiver { return newReceiver(tb, c.o).harness() },
				Lacks: c.lacks,
			})
		})
	}
}

// serve starts a receiver that does as h says, and a sink for it.
func serve(t *testing.T, o webhook.Options, h http.HandlerFunc) *webhook.Sink {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	o.URL = srv.URL + "/hook"
	return newSink(t, o)
}

func newSink(t *testing.T, o webhook.Options) *webhook.Sink {
	t.Helper()
	s, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func verdict(err error) string {
	e, ok := errors.AsType[*sinks.Error](err)
	switch {
	case err == nil:
		return "done"
	case !ok:
		return "plain"
	case e.After > 0:
		return "after " + e.After.String()
	}
	return map[sinks.Verdict]string{
		sinks.PermanentVerdict: "permanent", sinks.UnavailableVerdict: "unavailable", sinks.GoneVerdict: "gone",
	}[e.Verdict]
}

// Guarantee W1.
func TestEachStatusHasItsVerdict(t *testing.T) {
	want := map[string][]int{
		"done":        {200, 201, 202, 204, 206, 299},
		"gone":        {410},
		"unavailable": {300, 301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 407, 429, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530},
		"plain":       {408, 425, 500, 501, 505, 507, 519, 528, 529, 531, 599},
		"permanent":   {400, 402, 406, 409, 411, 413, 414, 415, 418, 422, 428, 431, 451, 499},
	}
	var answer atomic.Int64
	s := serve(t, webhook.Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(int(answer.Load()))
	})
	for verdictWanted, statuses := range want {
		for _, status := range statuses {
			answer.Store(int64(status))
			err := s.Deliver(t.Context(), sinktest.Items("a"))
			if got := verdict(err); got != verdictWanted {
				t.Errorf("status %d is %s (%v), want %s", status, got, err, verdictWanted)
			}
			if err != nil && !strings.HasSuffix(err.Error(), fmt.Sprintf(": status %d", status)) {
				t.Errorf("status %d: error %q does not say it", status, err)
			}
		}
	}
}

// Guarantee W1.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var followed bool
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	s := serve(t, webhook.Options{}, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	})
	if got := verdict(s.Deliver(t.Context(), sinktest.Items("a"))); got != "unavailable" {
		t.Errorf("a redirect is %s", got)
	}
	target.Close()
	if followed {
		t.Error("the redirect was followed")
	}
}

// Guarantees W1, C5, in part: what the receiver said comes out of the sink.
func TestRetryAfterIsToldAndCapped(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		status      int
		after, date string
		want        string
	}{
		{503, "120", "", "after 2m0s"},
		{429, " 5 ", "", "after 5s"},
		{502, "7", "", "after 7s"},
		{500, "7", "", "after 7s"},
		{408, "7", "", "after 7s"},
		{404, "7", "", "after 7s"},
		{301, "7", "", "after 7s"},
		{503, date(90 * time.Second), "", "after 1m30s"},
		{503, now.Add(time.Minute).Format(time.ANSIC), "", "after 1m0s"},
		{503, date(time.Hour), date(59 * time.Minute), "after 1m0s"}, // their clock
		{503, date(-time.Second), "", "unavailable"},
		{503, "0", "", "unavailable"},
		{503, "-5", "", "unavailable"},
		{503, "1.5", "", "unavailable"},
		{503, "soon", "", "unavailable"},
		{503, "", "", "unavailable"},
		{500, "soon", "", "plain"},
		{503, "3600", "", "after 1h0m0s"},
		{503, "3601", "", "after 1h0m0s"},
		{503, "99999999999999999999999", "", "after 1h0m0s"},
		{503, date(365 * 24 * time.Hour), "", "after 1h0m0s"},
		{422, "7", "", "permanent"},
		{413, "7", "", "permanent"},
		{410, "7", "", "gone"},
		{200, "7", "", "done"},
	} {
		h := http.Header{"Retry-After": {c.after}, "Date": {c.date}}
		if got := verdict(webhook.Classify(c.status, h, now, time.Hour)); got != c.want {
			t.Errorf("%d with Retry-After %q: %s, want %s", c.status, c.after, got, c.want)
		}
	}
	s := serve(t, webhook.Options{RetryAfterMax: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
	})
	if got := verdict(s.Deliver(t.Context(), sinktest.Items("a"))); got != "after 1m0s" {
		t.Errorf("over the limit: %s", got)
	}
}

func FuzzRetryAfterIsWithinItsLimit(f *testing.F) {
	for _, s := range []string{"", "0", "120", "-1", "9223372036854775807", "9223372037", "Wed, 04 Mar 2026 05:06:07 GMT", "Wednesday, 04-Mar-26 05:06:07 GMT", "Sun, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(s, "Mon, 01 Jan 0001 00:00:00 GMT", int64(time.Hour))
	}
	f.Fuzz(func(t *testing.T, after, date string, limit int64) {
		if limit < 0 {
			return
		}
		now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		got := webhook.RetryAfter(http.Header{"Retry-After": {after}, "Date": {date}}, now, time.Duration(limit))
		if got < 0 || got > time.Duration(limit) {
			t.Errorf("Retry-After %q with Date %q is %v", after, date, got)
		}
	})
}

// seen is what a receiver got.
type seen struct {
	header http.Header
	host   string
	body   string
}

// recording starts a receiver that writes down requests, and a sink for it.
func recording(t *testing.T, o webhook.Options) (*webhook.Sink, *[]seen) {
	var got []seen
	return serve(t, o, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, seen{r.Header, r.Host, string(body)})
	}), &got
}

func TestRawItemKeepsItsContentTypeAndTrace(t *testing.T) {
	s, got := recording(t, webhook.Options{Version: "1.2.3", Headers: map[string]string{"x-extra": "1", "host": "crm.example.com"}})
	for _, attrs := range []sinktest.Attrs{
		nil,
		{"content-type": "text/plain; charset=utf-8", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"content-type": "text/plain\r\nX-Evil: 1", "traceparent": "a\nb"},
	} {
		items := sinktest.Items("a")
		items[0].Attrs = attrs
		if err := s.Deliver(t.Context(), items); err != nil {
			t.Fatal(err)
		}
	}
	types := []string{"application/octet-stream", "text/plain; charset=utf-8", "application/octet-stream"}
	traces := []string{"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""}
	for i, r := range *got {
		if r.header.Get("Content-Type") != types[i] || r.header.Get("Traceparent") != traces[i] {
			t.Errorf("request %d: content type %q, traceparent %q", i, r.header.Get("Content-Type"), r.header.Get("Traceparent"))
		}
		if r.header.Get("User-Agent") != "holdfast/1.2.3" || r.header.Get("X-Extra") != "1" || r.host != "crm.example.com" || r.header.Get("X-Evil") != "" {
			t.Errorf("request %d: host %q, headers %v", i, r.host, r.header)
		}
	}
}

func TestConfiguredContentTypeWinsAndUserInfoIsBasicAuth(t *testing.T) {
	var user, password, contentType string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		contentType = r.Header.Get("Content-Type")
	}))
	defer srv.Close()
	s := newSink(t, webhook.Options{URL: strings.Replace(srv.URL, "//", "//me:p%40ss@", 1), Headers: map[string]string{"content-type": "application/x-mine"}})
	if err := s.Deliver(t.Context(), sinktest.Items("a")); err != nil {
		t.Fatal(err)
	}
	if user != "me" || password != "p@ss" || contentType != "application/x-mine" {
		t.Errorf("user %q, password %q, content type %q", user, password, contentType)
	}
}

func TestJSONSendsEnvelopes(t *testing.T) {
	s, got := recording(t, webhook.Options{Format: sinks.JSON})
	items := sinktest.Items("a\nb", `{"c":1}`)
	for _, batch := range [][]sinks.Item{items[:1], items} {
		if err := s.Deliver(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	a, b := string(sinks.AppendEnvelope(nil, &items[0])), string(sinks.AppendEnvelope(nil, &items[1]))
	for i, want := range []struct{ contentType, body, id string }{
		{"application/json", a, items[0].ID.String()},
		{"application/vnd.holdfast.items+ndjson", a + "\n" + b + "\n", webhook.MessageID(items)},
	} {
		r := (*got)[i]
		if r.header.Get("Content-Type") != want.contentType || r.body != want.body || r.header.Get("Webhook-Id") != want.id {
			t.Errorf("request %d: %v\n%s", i, r.header, r.body)
		}
	}
}

func TestRawItemsGoAloneUnlessTheyMayBeLines(t *testing.T) {
	send := []string{"a", "b", "", "two\nlines", "c\r", "c", "d"}
	for _, c := range []struct {
		o    webhook.Options
		want []string
	}{
		{webhook.Options{}, send},
		{webhook.Options{BatchWithoutIDs: true}, []string{"a\nb\n", "", "two\nlines", "c\r", "c\nd\n"}},
	} {
		s, got := recording(t, c.o)
		items := sinktest.Items(send...)
		if err := s.Deliver(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		var sent []string
		for _, r := range *got {
			sent = append(sent, r.body)
		}
		if diff := cmp.Diff(c.want, sent); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if first := (*got)[0].header; c.o.BatchWithoutIDs && (first.Get("Content-Type") != "application/x-ndjson" || first.Get("Webhook-Id") != webhook.MessageID(items[:2])) {
			t.Errorf("the batch has %v", first)
		}
	}
}

func TestBatchStopsAtTheFirstItemThatMayComeAgain(t *testing.T) {
	requests := 0
	s := serve(t, webhook.Options{}, func(w http.ResponseWriter, r *http.Request) {
		requests++
		body, _ := io.ReadAll(r.Body)
		switch string(body) {
		case "refused":
			w.WriteHeader(400)
		case "failing":
			w.WriteHeader(500)
		}
	})
	err := s.Deliver(t.Context(), sinktest.Items("good", "refused", "good", "failing", "behind", "behind"))
	partial, ok := errors.AsType[*sinks.BatchError](err)
	if !ok {
		t.Fatalf("deliver: %v", err)
	}
	var got []string
	for _, err := range partial.Errs {
		got = append(got, verdict(err))
	}
	if diff := cmp.Diff([]string{"done", "permanent", "done", "plain", "unavailable", "unavailable"}, got); diff != "" || requests != 4 {
		t.Errorf("%d requests, verdicts (-want +got):\n%s", requests, diff)
	}
}

// Which of the items a refusal is about is not known, so that it must not bury them all.
func TestRefusedBatchIsNotPermanent(t *testing.T) {
	for _, o := range []webhook.Options{{Format: sinks.JSON}, {BatchWithoutIDs: true}, {Format: sinks.CloudEvents}} {
		s := serve(t, o, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(413) })
		items := sinktest.Items("a", "b")
		if got := verdict(s.Deliver(t.Context(), items)); got != "plain" {
			t.Errorf("a refused batch is %s", got)
		}
		if got := verdict(s.Deliver(t.Context(), items[:1])); got != "permanent" {
			t.Errorf("a refused item is %s", got)
		}
	}
}

// Guarantee C8, in part.
func TestRefusedGroupOfLinesIsOneErrorOfAllItsItems(t *testing.T) {
	s := serve(t, webhook.Options{BatchWithoutIDs: true}, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); bytes.Contains(body, []byte("poison")) {
			w.WriteHeader(422)
		}
	})
	err := s.Deliver(t.Context(), sinktest.Items("a", "two\nlines", "b", "poison", "c", "three\nlines", "d"))
	partial, ok := errors.AsType[*sinks.BatchError](err)
	if !ok {
		t.Fatalf("deliver: %v", err)
	}
	shared := 0
	for i, err := range partial.Errs {
		_, is := errors.AsType[*sinks.SharedError](err)
		switch {
		case is && err == partial.Errs[2]:
			shared++
		case is || i < 2 != (err == nil) || i >= 5 != errors.Is(err, sinks.ErrUntried):
			t.Errorf("item %d: %v", i, err)
		}
	}
	if shared != 3 {
		t.Errorf("%d items share the refusal", shared)
	}
}

// talk starts a raw TCP receiver, which gets each connection, and returns its address.
func talk(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func readHeader(c net.Conn) []byte {
	b := make([]byte, 1)
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := c.Read(b); err != nil {
			return head
		}
		head = append(head, b...)
	}
	return head
}

// The item's buffer is used again after Deliver has returned, so nobody may read it any more; see DESIGN, section 4.
func TestReceiverThatAnswersEarlyNeverGetsTheNextUsersBytes(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		reads  bool // the receiver reads on at once, so that it gets all
	}{
		"taken":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true},
		"taken, no answer": {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false},
		"refused":          {"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		"busy":             {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			returned, got := make(chan struct{}), make(chan []byte, 1)
			s := newSink(t, webhook.Options{URL: "http://" + talk(t, func(conn net.Conn) {
				readHeader(conn)
				io.WriteString(conn, c.answer)
				if !c.reads {
					<-returned
				}
				var body bytes.Buffer
				io.CopyN(&body, conn, early)
				got <- body.Bytes()
			})})
			items := sinktest.Items(strings.Repeat("a", early))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := s.Deliver(ctx, items)
			for i := range items[0].Body {
				items[0].Body[i] = 'X'
			}
			close(returned)
			body := <-got
			if ctx.Err() != nil || bytes.IndexByte(body, 'X') >= 0 {
				t.Errorf("deliver: %v, %v; the receiver got bytes of another item", err, ctx.Err())
			}
			if c.reads && (err != nil || len(body) != early) {
				t.Errorf("deliver: %v; the receiver got %d bytes of %d", err, len(body), early)
			}
		})
	}
}

func TestBytesThatWereTakenBackAreNotRead(t *testing.T) {
	data := bytes.Repeat([]byte("a"), 1<<20)
	r, release := webhook.Lend(data)
	var got bytes.Buffer
	if _, err := io.CopyN(&got, r, 10); err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := got.ReadFrom(r)
		read <- err
	}()
	release()
	for i := range data {
		data[i] = 'X'
	}
	if err := <-read; err == nil && got.Len() < len(data) || bytes.IndexByte(got.Bytes(), 'X') >= 0 {
		t.Errorf("read %d bytes, some of them the next user's: %v", got.Len(), err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after that, read %d bytes, %v", n, err)
	}
}

// early is more than what sockets buffer.
const early = 16 << 20

// Guarantee W3, in part: answers are read up to 64 KiB and never quoted.
func TestLongOrSlowAnswerDoesNotHoldTheOutcome(t *testing.T) {
	s := serve(t, webhook.Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Deliver(ctx, sinktest.Items("a")); err != nil || ctx.Err() != nil {
		t.Errorf("deliver: %v, %v", err, ctx.Err())
	}
	var wrote int
	done := make(chan struct{})
	long := serve(t, webhook.Options{}, func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		for range 1 << 14 {
			n, err := w.Write(make([]byte, 64<<10))
			if wrote += n; err != nil {
				return
			}
		}
	})
	if err := long.Deliver(ctx, sinktest.Items("a")); err != nil {
		t.Errorf("deliver: %v", err)
	}
	if <-done; wrote > 64<<20 {
		t.Errorf("%d bytes of the answer were taken", wrote)
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	var remotes []string
	s := serve(t, webhook.Options{}, func(w http.ResponseWriter, r *http.Request) {
		remotes = append(remotes, r.RemoteAddr)
		w.WriteHeader(500)
		w.Write(make([]byte, 60<<10))
	})
	for range 5 {
		s.Deliver(t.Context(), sinktest.Items("a"))
	}
	for _, r := range remotes {
		if r != remotes[0] {
			t.Errorf("connections from %v", remotes)
			break
		}
	}
}

func TestCloseEndsIdleConnections(t *testing.T) {
	closed := make(chan struct{}, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	srv.Start()
	defer srv.Close()
	s := newSink(t, webhook.Options{URL: srv.URL})
	if err := s.Deliver(t.Context(), sinktest.Items("a")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("5 seconds after the close, the connection is still open")
	}
}
