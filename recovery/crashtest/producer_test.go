package crashtest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/recovery/crashtest/book"
)

// A producer sends items of its own, one request after the other, for as long as it is let. It tells the book what it
// was told.
type producer struct {
	*rig
	name     string
	requests int         // sent so far
	again    []book.Told // uncertain ones of a producer with keys, to be sent again
	keys     bool        // each item has an idempotency key, and is sent until its answer is certain
	join     bool        // waits for the delivery
	batch    int         // items of a request
	pad      int         // bytes of each body, beside some more
	pace     time.Duration
}

// four are the producers of the main test: the last one pipelines a stream.
func four(r *rig) []func(ctx context.Context) {
	joiner := &producer{rig: r, name: "joiner", join: true, batch: 1, pace: time.Millisecond}
	batches := &producer{rig: r, name: "batches", batch: 5, pace: 10 * time.Millisecond}
	keyed := &producer{rig: r, name: "keyed", keys: true, batch: 1, pace: 5 * time.Millisecond}
	streams := &producer{rig: r, name: "streams", batch: 1, pace: 4 * time.Millisecond}
	return []func(ctx context.Context){joiner.post, batches.post, keyed.post, streams.stream}
}

// next makes the items of the next request.
func (p *producer) next() []book.Told {
	p.requests++
	items := make([]book.Told, p.batch)
	for i := range items {
		tag := fmt.Sprintf("%s-%06d-%d", p.name, p.requests, i)
		body := fmt.Sprintf(`{"tag":%q,"pad":%q}`, tag, strings.Repeat("x", p.pad+p.requests%300))
		items[i] = book.Told{Tag: tag, Body: body, Request: p.name + strconv.Itoa(p.requests), Life: p.life}
	}
	return items
}

// post sends requests until ctx ends or the service is gone.
func (p *producer) post(ctx context.Context) {
	tick := time.NewTicker(p.pace)
	defer tick.Stop()
	for {
		items := p.next()
		if len(p.again) > 0 {
			items, p.again = p.again[:1:1], p.again[1:]
			items[0].Life = p.life
		}
		alive := p.put(ctx, items)
		p.book.Tell(items...)
		if p.keys && items[0].Answer != book.Durable {
			p.again = append(p.again, items[0])
		}
		if !alive {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// put sends one request and fills in what it was told. It reports whether the service answered.
func (p *producer) put(ctx context.Context, items []book.Told) bool {
	request := p.request(ctx, items)
	for i := range items {
		items[i].Answer, items[i].ID = book.Uncertain, ""
	}
	response, err := p.client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return false
	}
	if err := understand(response.StatusCode, text, items); err != nil {
		p.Errorf("%s: %v: %d %s", p.name, err, response.StatusCode, text)
	}
	return true
}

func (p *producer) request(ctx context.Context, items []book.Told) *http.Request {
	var body bytes.Buffer
	for i, it := range items {
		if i > 0 {
			body.WriteByte('\n')
		}
		body.WriteString(it.Body)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.process.URL+"/v1/items", &body)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if p.batch > 1 {
		request.Header.Set("Content-Type", "application/x-ndjson")
	}
	if p.join {
		request.Header.Set("Prefer", "wait=10")
	}
	if p.keys {
		request.Header.Set("Idempotency-Key", items[0].Tag)
	}
	return request
}

// understand reads an answer to a POST into the items that it is about.
func understand(status int, text []byte, items []book.Told) error {
	var answer struct {
		ID    string
		State string
		Code  string
		Items []struct{ ID string }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	switch {
	case status == http.StatusServiceUnavailable && answer.Code == "uncertain":
		return nil
	case status == http.StatusServiceUnavailable:
		for i := range items {
			items[i].Answer = book.Refused
		}
		return nil
	case status != http.StatusOK && status != http.StatusAccepted:
		return errUnexpected
	case len(items) == 1:
		answer.Items = []struct{ ID string }{{answer.ID}}
	}
	if len(answer.Items) != len(items) {
		return errUnexpected
	}
	for i := range items {
		items[i].ID, items[i].Answer = answer.Items[i].ID, book.Durable
		if answer.State == "complete" {
			items[i].Answer = book.Delivered
		}
	}
	return nil
}

// pipelined is how many lines a stream has under way at most.
const pipelined = 32

// stream sends lines over one connection without waiting for each answer.
func (p *producer) stream(ctx context.Context) {
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.process.URL+"/v1/stream", reader)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	sent := make(chan book.Told, pipelined)
	var lines sync.WaitGroup
	lines.Go(func() {
		defer close(sent)
		defer writer.Close()
		p.lines(ctx, writer, sent)
	})
	response, err := p.client.Do(request)
	if err == nil {
		p.answers(response.Body, sent)
		response.Body.Close()
	}
	reader.CloseWithError(io.ErrClosedPipe) // or the writer would wait for ever
	for it := range sent {
		it.Answer = book.Uncertain
		p.book.Tell(it)
	}
	lines.Wait()
}

func (p *producer) lines(ctx context.Context, w io.Writer, sent chan<- book.Told) {
	tick := time.NewTicker(p.pace)
	defer tick.Stop()
	for {
		it := p.next()[0]
		select {
		case sent <- it:
		case <-ctx.Done(): // whoever reads the answers may wait for the end of the lines
			return
		}
		if _, err := io.WriteString(w, it.Body+"\n"); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// answers reads what the service says of each line, in order.
func (p *producer) answers(body io.Reader, sent <-chan book.Told) {
	for scan := bufio.NewScanner(body); scan.Scan(); {
		var answer struct {
			Receipt struct{ ID string }
			Problem struct{ Code string }
		}
		if err := json.Unmarshal(scan.Bytes(), &answer); err != nil {
			return // cut off
		}
		it, ok := <-sent
		if !ok {
			p.Errorf("an answer without a line: %s", scan.Text())
			return
		}
		it.ID, it.Answer = answer.Receipt.ID, book.Durable
		if answer.Problem.Code != "" {
			it.Answer = book.Refused
		}
		if answer.Problem.Code == "uncertain" {
			it.Answer = book.Uncertain
		}
		p.book.Tell(it)
	}
}

// several puts items, and counts the answers.
func (p *producer) several(n int) map[book.Answer]int {
	answers := map[book.Answer]int{}
	for range n {
		items := p.next()
		p.put(p.Context(), items)
		p.book.Tell(items...)
		answers[items[0].Answer]++
	}
	return answers
}
