package webhook_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/sinks"
	"holdfast/sinks/sinktest"
	"holdfast/sinks/webhook"
)

// What no error may show, where it is configured or sent.
const (
	urlPassword    = "url-password-7391"
	urlToken       = "url-token-7391"
	headerToken    = "header-token-7391"
	githubSecret   = "github-secret-7391"
	customSecret   = "custom-secret-7391"
	standardSecret = "whsec_c3RhbmRhcmQtc2VjcmV0LTczOTEtMjQ="
	answerText     = "answer-text-7391"
)

// A receiver is an HTTP server that can stop, come back at its address, and misbehave.
type receiver struct {
	tb       testing.TB
	o        webhook.Options
	addr     string
	wrongTLS *httptest.Server
	srv      *http.Server
	handlers sync.WaitGroup

	mu     sync.Mutex
	fault  sinktest.Fault
	healed chan struct{}
	book   [][]byte
}

func newReceiver(tb testing.TB, o webhook.Options) *receiver {
	r := &receiver{tb: tb, o: o, addr: "127.0.0.1:0", healed: make(chan struct{})}
	r.start()
	tb.Cleanup(r.stop)
	return r
}

func (r *receiver) harness() sinktest.Receiver {
	breaks := map[sinktest.Fault]func(){sinktest.LineFeeds: nil, sinktest.Secrets: nil, sinktest.WrongTLS: r.breakTLS}
	for _, f := range []sinktest.Fault{sinktest.Refuse, sinktest.Hang, sinktest.Reset, sinktest.Dribble} {
		breaks[f] = func() { r.setFault(f) }
	}
	if r.o.Format != sinks.JSON && r.o.Format != sinks.CloudEvents && !r.o.BatchWithoutIDs {
		breaks[sinktest.Partial] = nil
	}
	return sinktest.Receiver{
		New: r.newSink, Book: r.read, Stop: r.stop, Heal: r.heal, Break: breaks,
		Secrets: []string{urlPassword, urlToken, headerToken, githubSecret, customSecret, standardSecret[6:], answerText},
	}
}

func (r *receiver) newSink() (sinks.Sink, error) {
	o := r.o
	o.URL = "http://user:" + urlPassword + "@" + r.addr + "/hook?token=" + urlToken
	if r.wrongTLS != nil {
		o.URL = strings.Replace(r.wrongTLS.URL, "://", "://user:"+urlPassword+"@", 1) + "/hook?token=" + urlToken
	}
	o.Headers = map[string]string{"Authorization": "Bearer " + headerToken}
	o.Signing = webhook.Signing{
		StandardWebhooks: []string{standardSecret},
		GitHub:           githubSecret,
		Custom:           webhook.Custom{Header: "X-Signature", Secret: customSecret},
	}
	return webhook.New(o)
}

func (r *receiver) start() {
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.srv = &http.Server{Handler: r, ErrorLog: silent()}
	srv := r.srv
	r.handlers.Go(func() { srv.Serve(l) })
}

func (r *receiver) stop() {
	r.setFault("")
	if r.srv != nil {
		r.srv.Close()
		r.srv = nil
	}
	r.handlers.Wait()
}

func (r *receiver) heal() {
	r.setFault("")
	if r.srv == nil {
		r.start()
	}
}

// setFault also ends what hangs.
func (r *receiver) setFault(f sinktest.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
	close(r.healed)
	r.healed = make(chan struct{})
}

func (r *receiver) breakTLS() {
	r.wrongTLS = httptest.NewUnstartedServer(r)
	r.wrongTLS.Config.ErrorLog = silent()
	r.wrongTLS.StartTLS()
	r.tb.Cleanup(r.wrongTLS.Close)
}

func silent() *log.Logger { return log.New(io.Discard, "", 0) }

func (r *receiver) read() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.book)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	fault, healed := r.fault, r.healed
	r.handlers.Add(1)
	r.mu.Unlock()
	defer r.handlers.Done()
	switch fault {
	case sinktest.Hang:
		<-healed
	case sinktest.Reset:
		c := hijack(w)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	case sinktest.Dribble:
		dribble(hijack(w), healed)
	default:
		r.take(w, q, fault == sinktest.Refuse)
	}
}

func (r *receiver) take(w http.ResponseWriter, q *http.Request, refuses bool) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	took := bodies(r.tb, q.Header.Get("Content-Type"), body, r.o.Format)
	if refuses && bytes.Contains(bytes.Join(took, nil), []byte(sinktest.Poison)) {
		http.Error(w, answerText, http.StatusUnprocessableEntity)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book = append(r.book, took...)
}

func hijack(w http.ResponseWriter) net.Conn {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	return c
}

func dribble(c net.Conn, healed chan struct{}) {
	defer c.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, b := range []byte("HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 10_000)) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-healed:
			return
		}
	}
}

// bodies undoes what the sink did to the items, by the content type alone.
func bodies(tb testing.TB, contentType string, body []byte, f sinks.Format) [][]byte {
	lines := bytes.SplitAfter(body, []byte("\n"))
	lines = lines[:len(lines)-1]
	switch {
	case f == sinks.CloudEvents:
		return eventBodies(tb, contentType, body)
	case contentType == "application/x-ndjson" && f != sinks.JSON:
		for i := range lines {
			lines[i] = bytes.TrimSuffix(lines[i], []byte("\n"))
		}
		return lines
	case f != sinks.JSON:
		return [][]byte{body}
	case contentType == "application/json":
		return [][]byte{fromEnvelope(tb, body)}
	case contentType != "application/vnd.holdfast.items+ndjson":
		tb.Errorf("content type %q", contentType)
	}
	for i := range lines {
		lines[i] = fromEnvelope(tb, lines[i])
	}
	return lines
}

// eventBodies reads CloudEvents whose items have no content type, and so are JSON or base64.
func eventBodies(tb testing.TB, contentType string, body []byte) (bodies [][]byte) {
	switch contentType {
	case "application/cloudevents+json":
		body = slices.Concat([]byte("["), body, []byte("]"))
	case "application/cloudevents-batch+json":
	default:
		tb.Errorf("content type %q", contentType)
	}
	var events []struct {
		Data   json.RawMessage `json:"data"`
		Base64 []byte          `json:"data_base64"`
	}
	if err := json.Unmarshal(body, &events); err != nil {
		tb.Errorf("events %.100q: %v", body, err)
	}
	for _, e := range events {
		bodies = append(bodies, append([]byte(e.Data), e.Base64...))
	}
	return bodies
}

func fromEnvelope(tb testing.TB, line []byte) []byte {
	var e struct {
		Body   json.RawMessage `json:"body"`
		Base64 string          `json:"body_base64"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		tb.Errorf("envelope %.100q: %v", line, err)
	}
	if e.Body == nil {
		b, err := base64.StdEncoding.DecodeString(e.Base64)
		if err != nil {
			tb.Errorf("envelope %.100q: %v", line, err)
		}
		return b
	}
	var s string
	if json.Unmarshal(e.Body, &s) == nil {
		return []byte(s)
	}
	return e.Body
}
