// Step 8 of an item's life: it is posted to a webhook.

// Package webhook delivers items by HTTP POST.
//
// Done means that the receiver answered 2xx; what that is worth is the receiver's word.
//
// A duplicate has the same webhook-id, which is the item's id: that is what to dedupe on. A batch of several items has a
// webhook-id of its own, and may be split in another way when it comes again: dedupe on the ids in its envelopes. A raw
// batch (Options.BatchWithoutIDs) has none.
//
// Permanent is a 4xx that speaks of the item: not 401, 403, 404, 405, 407, 408, 410, 425 and 429. 410 is Gone. For a
// batch of several items such a refusal is a plain error, as it does not say which item it is about; alone, each gets its
// verdict. See classify for all.
//
// Requests carry webhook-id and webhook-timestamp (Standard Webhooks), the time being that of the attempt, and signatures
// if configured. A single raw item has its own "content-type" (else application/octet-stream) and "traceparent"; one
// envelope is application/json; several are application/vnd.holdfast.items+ndjson; raw lines are application/x-ndjson.
// CloudEvents 1.0.2 are application/cloudevents+json, several application/cloudevents-batch+json, and in the binary mode the
// item's own bytes with ce- headers, always one to a request. A receiver of CloudEvents may dedupe on source and id, too.
//
// Errors name the host and a status code or a fixed phrase: no URL, no header, nothing that the receiver said. Redirects
// are not followed. At most 64 KiB of an answer are read, and none of it is kept.
package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/sinks"
)

const (
	maxAnswer = 64 << 10        // bytes of an answer that are read, so that its connection can be used again
	drainTime = 1 * time.Second // for how long

	// What does not fit into it goes over TLS by way of a buffer of 32 KiB that net/http makes anew for each request. A plain
	// connection needs neither: see conn.
	tlsBuffer = 64 << 10
)

// idempotencyKey is a header by which net/http may repeat a request on another connection, when one that had served others
// before was closed before the first byte of an answer: once for each connection that was idle, at most. The repetition has the
// same webhook-id.
const idempotencyKey = "Idempotency-Key"

// A Sink posts to one URL. It is safe for concurrent use.
type Sink struct {
	o         Options
	url       *url.URL // without user info
	header    http.Header
	host      string // a configured Host header; empty: that of the URL
	transport *http.Transport
	now       func() time.Time // tests set it
	untried   error            // of items whose request was not made
	closed    atomic.Bool

	// Of bodies that were put together. A new one for each request was more than half of what a service with three sinks
	// and batches of 256 allocated, and its collection a fifth of the CPU.
	buffers sync.Pool
}

// New makes a sink. It reads the certificates that the options name, and errs where an option is not valid, naming it and
// not its value. It does not connect.
func New(o Options) (*Sink, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	trust, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	s := &Sink{o: o, now: time.Now, header: http.Header{}}
	s.url, _ = url.Parse(o.URL) // checked with the options
	s.header.Set("User-Agent", "holdfast/"+o.Version)
	if user := s.url.User; user != nil {
		password, _ := user.Password()
		r := http.Request{Header: s.header}
		r.SetBasicAuth(user.Username(), password)
		s.url.User = nil
	}
	for name, value := range o.Headers {
		s.header.Set(name, value)
	}
	s.untried = sinks.Unavailable(s.named(sinks.ErrUntried))
	s.host = s.header.Get("Host")
	s.header.Del("Host")
	s.transport = newTransport(o, trust, s.url.Scheme)
	return s, nil
}

func newTransport(o Options, trust *tls.Config, scheme string) *http.Transport {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		TLSClientConfig:        trust,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           o.Concurrency,
		MaxIdleConnsPerHost:    o.Concurrency,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxAnswer,
		DisableCompression:     true, // an answer of 64 KiB stays one
	}
	if scheme == "https" {
		t.WriteBufferSize = tlsBuffer
	}
	return t
}

func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("tls.ca_file: has no certificate in PEM")
		}
	}
	if t.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &cert, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("tls.cert_file, tls.key_file: %w", err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

// String names the host only.
func (s *Sink) String() string { return s.o.String() }

// GoString is String.
func (s *Sink) GoString() string { return s.o.String() }

// Deliver posts the items, in order: in one request if they may be a batch, else in several, one after the other. Of
// several requests it makes the next only after the one before was taken or refused for good; the items that were not
// tried are Unavailable in the BatchError.
func (s *Sink) Deliver(ctx context.Context, items []sinks.Item) error {
	return sinks.InTurn(s.split(items), func(group []sinks.Item) error { return s.post(ctx, group) }, s.untried)
}

// Close ends idle connections. A Deliver after it is Unavailable.
func (s *Sink) Close() error {
	s.closed.Store(true)
	s.transport.CloseIdleConnections()
	return nil
}

// split cuts the items into requests.
func (s *Sink) split(items []sinks.Item) [][]sinks.Item {
	if (s.o.Format == sinks.JSON || s.o.Format == sinks.CloudEvents) && len(items) > 0 {
		return [][]sinks.Item{items}
	}
	return sinks.Groups(items, s.o.BatchWithoutIDs)
}

// post makes one request, and returns when the transport has let go of the items.
func (s *Sink) post(ctx context.Context, items []sinks.Item) error {
	if s.closed.Load() {
		return sinks.Unavailable(s.named(net.ErrClosed))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &payload{}
	contentType := s.encode(p, items)
	defer p.release()
	status, header, err := s.exchange(ctx, s.request(ctx, items, p, contentType), p, cancel)
	if err != nil {
		return s.mark(unreachable(ctx, err))
	}
	err = classify(status, header, s.now(), s.o.RetryAfterMax)
	if e, ok := errors.AsType[*sinks.Error](err); ok && e.Verdict == sinks.PermanentVerdict && len(items) > 1 {
		err = e.Err // of which item, nobody knows
	}
	return s.mark(err)
}

// encode sets what is sent: the item's own bytes where it can, so that they are not copied, else a buffer that is used again.
func (s *Sink) encode(p *payload, items []sinks.Item) (contentType string) {
	if len(items) == 1 && s.o.Format != sinks.CloudEvents && s.o.Format != sinks.JSON {
		p.data, contentType = own(&items[0], s.o.Format)
		return contentType
	}
	b := p.borrow(&s.buffers)
	switch {
	case s.o.Format == sinks.CloudEvents && len(items) == 1:
		p.data, contentType = sinks.AppendCloudEvent(b, &items[0], s.o.Source), "application/cloudevents+json"
	case s.o.Format == sinks.CloudEvents:
		p.data, contentType = sinks.AppendCloudEvents(b, items, s.o.Source), "application/cloudevents-batch+json"
	case len(items) == 1:
		p.data, contentType = sinks.AppendEnvelope(b, &items[0]), "application/json"
	case s.o.Format == sinks.JSON:
		p.data, contentType = s.o.Format.AppendLines(b, items, s.o.Source), "application/vnd.holdfast.items+ndjson"
	default:
		p.data, contentType = s.o.Format.AppendLines(b, items, s.o.Source), "application/x-ndjson"
	}
	return contentType
}

// own returns the item's body, never nil, and what is in it.
func own(it *sinks.Item, f sinks.Format) (body []byte, contentType string) {
	body = it.Body
	if body == nil {
		body = []byte{}
	}
	if f == sinks.CloudEventsBinary {
		return body, eventContentType(it)
	}
	if t := it.Attr("content-type"); t != "" && headerValue(t) {
		return body, t
	}
	return body, "application/octet-stream"
}

func (s *Sink) request(ctx context.Context, items []sinks.Item, p *payload, contentType string) *http.Request {
	h := s.header.Clone()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType)
	}
	if t := items[0].Attr("traceparent"); len(items) == 1 && t != "" && headerValue(t) {
		h.Set("traceparent", t)
	}
	if s.o.Format == sinks.CloudEventsBinary {
		setAttributes(h, &items[0], s.o.Source)
	}
	s.o.Signing.sign(h, messageID(items), s.now(), p.data)
	r := &http.Request{
		Method:        http.MethodPost,
		URL:           s.url,
		Host:          s.host,
		Header:        h,
		ContentLength: int64(len(p.data)),
		Body:          http.NoBody,
	}
	if _, given := h[idempotencyKey]; !given {
		h[idempotencyKey] = nil // net/http takes this for leave to repeat, and does not send it
	}
	if len(p.data) > 0 {
		// A connection that the receiver closed while it was idle is found out by writing to it: another one then takes the
		// body from its start.
		r.Body, r.GetBody = p.reader(), func() (io.ReadCloser, error) { return p.reader(), nil }
		ctx = withBody(ctx)
	}
	return r.WithContext(ctx)
}

// exchange sends the request and takes the answer, whose text goes nowhere. It uses the transport and not a client: no
// redirects, no cookies, no error with a URL in it.
func (s *Sink) exchange(ctx context.Context, r *http.Request, p *payload, cancel func()) (int, http.Header, error) {
	answer, err := s.transport.RoundTrip(r)
	for unsent(err) { // as often as idle connections have gone; of a new one it is none
		r = r.WithContext(r.Context())
		r.Body, _ = r.GetBody()
		answer, err = s.transport.RoundTrip(r)
	}
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 == 2 {
		p.settle(ctx) // a receiver that took the item before it had read it gets the rest, if its answer has a body; else net/http gives it 50 ms
	}
	if answer.StatusCode != http.StatusSwitchingProtocols { // what follows that has no end, and no context
		drip := time.AfterFunc(drainTime, cancel)
		defer drip.Stop()
		_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // the status has said all
	}
	return answer.StatusCode, answer.Header, nil
}

// named puts the host before an error.
func (s *Sink) named(err error) error { return fmt.Errorf("webhook %s: %w", s.url.Host, err) }

// mark is named, inside the verdict, so that the verdict is the outermost error.
func (s *Sink) mark(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*sinks.Error](err); ok {
		return &sinks.Error{Verdict: e.Verdict, After: e.After, Err: s.named(e.Err)}
	}
	return s.named(err)
}
