// Package client speaks holdfast's HTTP API, for the command line.
//
// A Client does one request per call and decodes the answer leniently: a field
// that a newer server adds or changes is skipped, never an error, and Doc keeps
// the server's own bytes beside what was understood of them. A Stream is the
// fast lane: lines go out and receipts come back on one connection at once.
//
// Errors are of four kinds, told apart with errors.AsType:
//   - *UnreachableError: nobody answered; whether a request that changes
//     something was carried out is then unknown.
//   - *Problem: the server said no, and why.
//   - *ForeignError: something answered that is not holdfast.
//   - *BrokenError: a stream ended before all its lines were answered.
//
// The caller's own context error is returned as it is, wrapped.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds a JSON answer that is read into memory, in bytes.
const maxAnswer = 64 << 20

// Options tunes a Client; the zero value is what the command line uses.
type Options struct {
	// Timeout bounds one request from dialing to the last byte of a JSON
	// answer, and of a stream the time until its head. Default 30s.
	Timeout time.Duration
	// Token is sent as a bearer token with every request; empty: none is.
	Token string
	// RootCAs are the authorities that a server's certificate may come from;
	// nil: the system's.
	RootCAs *x509.CertPool
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	return o
}

// Client is a holdfast server, as seen from outside. It is safe for
// concurrent use and holds no connection until the first request.
type Client struct {
	server string // as the user wrote it, for messages
	base   *url.URL
	http   *http.Client
	opts   Options
}

// New makes a client for server, which is an http or https URL, or
// unix://PATH for a socket. It does no I/O; the error says what is wrong
// with the address.
func New(server string, opts Options) (*Client, error) {
	base, socket, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		TLSClientConfig:     &tls.Config{RootCAs: opts.RootCAs},
	}
	if socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	h := &http.Client{
		Transport: bearer{transport, opts.Token},
		// A redirect would repeat an accept elsewhere; the user shall name the right address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{server: server, base: base, http: h, opts: opts.withDefaults()}, nil
}

// bearer adds a token to requests.
type bearer struct {
	*http.Transport
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.Transport.RoundTrip(r)
}

func parseServer(server string) (base *url.URL, socket string, err error) {
	if path, ok := strings.CutPrefix(server, "unix://"); ok {
		if path == "" {
			return nil, "", errors.New("unix:// needs the path of a socket, as in unix:///run/holdfast.sock")
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, path, nil
	}
	if !strings.Contains(server, "://") {
		return nil, "", fmt.Errorf("%q has no scheme (did you mean %q?)", server, "http://"+server)
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, "", fmt.Errorf("%q is not a URL: %w", server, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, "", fmt.Errorf("%q: scheme %q is not one of http, https, unix", server, u.Scheme)
	}
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, "", fmt.Errorf("%q: want scheme://host:port and nothing after it", server)
	}
	return u, "", nil
}

// Server is the address as it was given to New.
func (c *Client) Server() string { return c.server }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request makes one; segments are escaped and joined to the base's path.
func (c *Client) request(ctx context.Context, method string, body io.Reader, segments ...string) (*http.Request, error) {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		if s == "" || s == "." || s == ".." {
			return nil, &NameError{Name: s}
		}
		escaped[i] = url.PathEscape(s)
	}
	target := strings.TrimSuffix(c.base.String(), "/") + "/" + strings.Join(escaped, "/")
	return http.NewRequestWithContext(ctx, method, target, body)
}

// send does req and returns the answer if its status is 2xx; otherwise the
// body is read, closed and told as an error. The caller closes the body.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(req, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// exchange does req within the timeout (plus extra) and decodes the answer into out.
func (c *Client) exchange(req *http.Request, extra time.Duration, out any) (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(req.Context(), c.opts.Timeout+extra, errNoAnswer)
	defer cancel()
	req = req.WithContext(ctx)
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return resp, c.decode(req, resp, out)
}

func (c *Client) decode(req *http.Request, resp *http.Response, out any) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.unreachable(req, err)
	}
	if err := cmp.Or(lenient(b, out), whole(out)); err != nil {
		return &ForeignError{Server: c.server, Status: resp.StatusCode, Err: err}
	}
	return nil
}

func (c *Client) get(ctx context.Context, out any, query url.Values, segments ...string) error {
	req, err := c.request(ctx, http.MethodGet, nil, segments...)
	if err != nil {
		return err
	}
	req.URL.RawQuery = query.Encode()
	_, err = c.exchange(req, 0, out)
	return err
}

func (c *Client) post(ctx context.Context, body, out any, segments ...string) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = strings.NewReader(string(b))
	}
	req, err := c.request(ctx, http.MethodPost, r, segments...)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	_, err = c.exchange(req, 0, out)
	return err
}
