package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Meta is what an item carries beside its body. Empty fields are not sent.
type Meta struct {
	Type, Source, Key string
	Attrs             map[string]string // names are [a-z0-9]{1,64}
	TTL               string            // a duration, as in 90s or 7d
	NotBefore         string            // RFC 3339
}

// Header is the meta as request headers. The values must fit in one: see HeaderSafe.
func (m Meta) Header() http.Header {
	h := http.Header{}
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	set("Holdfast-Type", m.Type)
	set("Holdfast-Source", m.Source)
	set("Holdfast-Key", m.Key)
	set("Holdfast-Ttl", m.TTL)
	set("Holdfast-Not-Before", m.NotBefore)
	for name, value := range m.Attrs {
		h.Set("Holdfast-Attr-"+name, value)
	}
	return h
}

// HeaderSafe says whether every value survives being a header: printable
// ASCII, no blank at either end, and attributes not empty.
func (m Meta) HeaderSafe() bool {
	for _, v := range []string{m.Type, m.Source, m.Key, m.TTL, m.NotBefore} {
		if !headerSafe(v) {
			return false
		}
	}
	for _, v := range m.Attrs {
		if v == "" || !headerSafe(v) {
			return false
		}
	}
	return true
}

func headerSafe(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return false
		}
	}
	return v == "" || v[0] != ' ' && v[len(v)-1] != ' '
}

// Put is one item for PutItem.
type Put struct {
	Meta           Meta
	ContentType    string // not one of the several-items types
	Body           []byte // kept byte for byte; PutItem does not change it
	IdempotencyKey string
	Wait           time.Duration // 0: answered when durable; else, in whole seconds, the ack-join is waited for
}

// PutItem sends one item. When it returns nil the item is durable; Answer
// has a receipt, or the item's state if Wait was asked for.
func (c *Client) PutItem(ctx context.Context, p Put) (Answer, error) {
	req, err := c.request(ctx, http.MethodPost, bytes.NewReader(p.Body), "v1", "items")
	if err != nil {
		return Answer{}, err
	}
	req.Header = p.Meta.Header()
	req.Header.Set("Content-Type", p.ContentType)
	if p.IdempotencyKey != "" {
		req.Header.Set("Idempotency-Key", p.IdempotencyKey)
	}
	prefer(req, p.Wait)
	if p.Wait > 0 {
		var item Doc[ItemState]
		_, err := c.exchange(req, p.Wait, &item)
		return Answer{Item: &item}, err
	}
	var receipt Doc[Receipt]
	_, err = c.exchange(req, 0, &receipt)
	return Answer{Receipt: &receipt}, err
}

func prefer(req *http.Request, wait time.Duration) {
	if wait > 0 {
		req.Header.Set("Prefer", fmt.Sprintf("wait=%d", (wait+time.Second-1)/time.Second))
	}
}

// sendHead does req like send, with the time limit only until the head is there.
func (c *Client) sendHead(req *http.Request, cancel context.CancelCauseFunc) (*http.Response, error) {
	limit := time.AfterFunc(c.opts.Timeout, func() { cancel(errNoAnswer) })
	resp, err := c.send(req)
	if !limit.Stop() && err == nil {
		resp.Body.Close()
		return nil, c.unreachable(req, io.ErrUnexpectedEOF)
	}
	return resp, err
}
