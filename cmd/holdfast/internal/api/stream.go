package api

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
)

// What a stream may have under way. The reader waits while it has more; so does then the producer.
const (
	streamLines = 1024
	streamBytes = 4 << 20
)

// lastWords is how long a stream that ends may take to get rid of its answers.
const lastWords = 5 * time.Second

// A stream is one connection that brings a request with each line and takes an answer for each. The reader submits
// lines, the writer waits for them in their order:
//
//	body ─▶ reader ─▶ queue.Submit ─▶ answers ─▶ writer ─▶ Pending.Wait ─▶ response
//
// The writer is the handler's goroutine. Whichever ends first cancels ctx, and that wakes the other.
type stream struct {
	s      *Server
	head   head
	ctx    context.Context // of this connection; ends when the client is gone, an answer cannot be sent, or the service stops
	cancel context.CancelFunc
	rc     *http.ResponseController
	w      http.ResponseWriter
	conn   *session

	scope   string    // owns the idempotency keys
	expand  *expander // the reader's, as what follows; nil: the body comes as it is
	lines   *ndjson.Reader
	whole   bool          // the reader's: it has read the body to its end
	answers chan *answer  // the reader closes it
	bytes   atomic.Int64  // of the bodies under way
	final   atomic.Int64  // up to this line, the queue has no more use for what it was given
	freed   chan struct{} // holds one message when bytes has sunk
	vigil   vigil

	readable, writable lease // the reader's and the writer's: Options.StreamIdle from the last read or write

	ended     context.Context // has ended: to ask a Pending or a Join whether it is ready. The writer's, as what follows
	out       []byte          // not written yet
	uncertain bool            // a line's answer was given before the queue was done with the line
	err       error           // of a write: nobody reads the answers any more
}

// An answer is what a line will be answered with.
type answer struct {
	line    int
	pending Pending       // nil: refused already
	request queue.Request // to be submitted again if the disk was full
	item    [1]queue.Item // the request's
	err     error
	until   time.Time // of the wait for the sinks; zero: none
}

// freeAnswers are those that were given: a new one for each line was a seventh of what a service with 64 streams allocated.
var freeAnswers = sync.Pool{New: func() any { return new(answer) }}

// postStream accepts each line for itself, and answers each in order, as soon as it is durable. It is the last request of
// its connection: a stream may end before its body does, and what is left of that is not to be taken for a request.
func (s *Server) postStream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	d, err := parseHead(r.Header)
	if err == nil {
		err = d.perLine()
	}
	if err == nil {
		err = d.ack(r)
	}
	if err == nil {
		err = s.expected(r, identity, r.ContentLength, "")
	}
	if err != nil {
		p := s.problem(err)
		s.metrics.reject(sourceStream, p)
		s.refuse(w, p)
		return
	}
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	ended, end := context.WithCancel(ctx)
	end()
	st := &stream{
		s: s, head: d, ctx: ctx, cancel: cancel, w: w, rc: http.NewResponseController(w), conn: sessionOf(r),
		scope: keyScope(r.Context()), answers: make(chan *answer, streamLines), freed: make(chan struct{}, 1), ended: ended,
	}
	st.readable = lease{set: st.rc.SetReadDeadline, length: s.o.StreamIdle}
	st.writable = lease{set: st.rc.SetWriteDeadline, length: s.o.StreamIdle}
	body := io.Reader(bodyOf{st, r.Body})
	if d.encoding != identity {
		st.expand = newExpander(d.encoding, body)
		defer st.expand.Close()
		body = st.expand
	}
	st.lines = ndjson.NewReader(body, s.lineLimit(&d))
	st.lines.Settled = func() int { return int(st.final.Load()) }
	st.run(r)
}

// perLine makes the head one of a stream, whose lines are items whatever the body is called; but it must not be called
// something that is one item.
func (d *head) perLine() error {
	switch d.format {
	case lines, envelopes:
		return nil
	case event, structured, batch:
		return located(Unsupported, 0, "Content-Type", "a stream takes no CloudEvents: send them to /v1/items")
	}
	if media, _, _ := strings.Cut(d.contentType, ";"); d.contentType != "application/octet-stream" && !strings.EqualFold(strings.TrimSpace(media), "text/plain") {
		return located(Unsupported, 0, "Content-Type", quote(d.contentType)+" has no lines: send application/x-ndjson or application/vnd.holdfast.items+ndjson")
	}
	if d.idempotency != "" {
		return invalid(0, "Idempotency-Key", "it names one item, and a stream has several: use envelopes with an idempotency_key each")
	}
	d.format = lines
	return nil
}

// ack reads ?ack=: "delivered" asks for the join of each line, for as long as Prefer: wait says, else for as long as it
// may; "durable" asks for none.
func (d *head) ack(r *http.Request) error {
	query, err := onlyParams(r, "ack")
	switch ack := query.Get("ack"); {
	case err != nil || !query.Has("ack"):
		return err
	case ack == "delivered":
		d.wait = cmp.Or(d.wait, maxWait*time.Second)
	case ack == "durable":
		d.wait = 0
	default:
		return invalid(0, "ack", "it is durable or delivered")
	}
	return nil
}

// run serves the stream until both directions have ended. The head goes out before the first line is read.
func (st *stream) run(r *http.Request) {
	if err := st.rc.EnableFullDuplex(); err != nil {
		st.s.refuse(st.w, err)
		return
	}
	h := st.w.Header()
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		h.Del("Connection") // of this answer it would be wrong
		st.w.WriteHeader(http.StatusContinue)
	}
	h.Set("Connection", "close")
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if st.head.wait > 0 {
		h.Set("Preference-Applied", "wait="+st.head.waitSeconds())
	}
	st.w.WriteHeader(http.StatusOK)
	st.writable.extend()
	st.failed(st.rc.Flush())
	woken := make(chan struct{})
	unwatch := context.AfterFunc(st.ctx, func() {
		defer close(woken)
		_ = st.rc.SetReadDeadline(time.Unix(1, 0))
		within(lastWords, st.rc.SetWriteDeadline)
	})
	st.vigil.over, st.vigil.leave = func() bool { return st.ctx.Err() != nil }, st.cancel
	st.vigil.watch(st.conn.conn)
	defer st.vigil.stop()
	var reader sync.WaitGroup
	reader.Go(st.read)
	st.write()
	reader.Wait()
	if !unwatch() {
		<-woken
	}
	st.cancel()
	// net/http still sends the end of the answers, and reads what the client sends for a moment.
	within(lastWords, st.rc.SetWriteDeadline)
	within(time.Second, st.rc.SetReadDeadline)
	if !st.whole {
		st.linger()
	}
}

// linger makes net/http wait after the last answer and the end of its sending, before it closes the connection: what the
// client is still sending then would reset it, and the client lose the answers that it has not read. It does so for a
// body above its limit, and can be told of one in no other way.
func (st *stream) linger() {
	w := st.w
	if t, ok := w.(*tracked); ok {
		w = t.ResponseWriter
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}

// bodyOf is a stream's body: each read may last Options.StreamIdle, as a lease has it, and ends with the stream's context.
type bodyOf struct {
	*stream
	body io.Reader
}

func (b bodyOf) Read(p []byte) (int, error) {
	b.readable.extend()
	if err := context.Cause(b.ctx); err != nil { // after the deadline, which else would undo the one that ends a read
		return 0, err
	}
	n, err := b.body.Read(p)
	if err != nil && context.Cause(b.ctx) == errStop {
		err = errStop // not the deadline that it set
	}
	return n, err
}
