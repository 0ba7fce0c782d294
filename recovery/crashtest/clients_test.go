package crashtest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/book"
)

// The bounds of what bad clients may cost: memory beyond that of a service that has just started, which is that of bodies
// (64 MiB by default, and as much again until it is collected) and of some thousand connections; and how long a good
// client may wait for its receipt.
const (
	memoryBound = 160 << 20
	p99Bound    = 2 * time.Second
)

// Guarantees A1, A6, in part: whatever clients do, nothing is accepted that was not whole, memory is bounded, and a good
// client is served meanwhile. Real sockets, the real service with its default limits.
func TestBadClientsHarmNobody(t *testing.T) {
	needMemory(t)
	repeats(t)
	r := newRig(t, &receiver{name: "fast", workers: 4})
	r.start()
	w := newWatch(r, "good")
	calm := w.beside(func() { r.wait(t.Context(), time.Second) })
	empty, cases := w.weight(), 0
	rnd := rand.New(rand.NewPCG(*seed, 30))
	var worst time.Duration
	for range rounds() {
		order := attacks()
		rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		p99 := w.beside(func() { cases += r.suffer(order) })
		worst = max(worst, p99)
	}
	r.drain()
	v := book.Check(r.book.Record(), bounds)
	l := line{fault: "clients: slow, huge, truncated, broken, bombs", cases: cases}
	l.add(v)
	if len(v.Details) > 0 {
		t.Errorf("%q", v.Details)
	}
	l.control = r.uninvited()
	table.line(t, l)
	t.Logf("a good client's receipts: p99 %v undisturbed, %v beside; memory %d MiB, at most %d", calm, worst, empty>>20, w.weight()>>20)
	w.inBounds(empty, calm, worst)
}

// inBounds looks at what the harm was.
func (w *watch) inBounds(empty int64, calm, p99 time.Duration) {
	w.Helper()
	if grown := w.weight() - empty; grown > memoryBound {
		w.Errorf("memory grew by %d MiB, more than %d", grown>>20, memoryBound>>20)
	}
	if p99 > p99Bound+2*calm {
		w.Errorf("a good client waits for %v, and undisturbed for %v", p99, calm)
	}
}

// Guarantee B6, in part: two thousand connections, half of them idle and half with a body that does not come on, cost
// bounded memory and keep no good client out.
func TestTwoThousandConnections(t *testing.T) {
	needMemory(t)
	repeats(t)
	const n = 2000
	crashtest.Require(t, "nofile", enoughFiles(n+500))
	r := newRig(t, &receiver{name: "fast", workers: 4})
	r.start()
	w := newWatch(r, "good")
	calm := w.beside(func() { r.wait(t.Context(), time.Second) })
	empty := w.weight()
	var all []*wire
	p99 := w.beside(func() {
		for i := range n {
			c := r.wire()
			if all = append(all, c); i%2 == 0 {
				c.say("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
				if status := c.answer(); status != http.StatusOK {
					t.Fatalf("connection %d: %d", i, status)
				}
			} else {
				c.say("POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhostile")
			}
		}
		r.wait(t.Context(), time.Duration(rounds())*3*time.Second)
	})
	for _, c := range all {
		c.Close()
	}
	r.drain()
	l := line{fault: "clients: 2,000 connections", cases: n}
	l.add(book.Check(r.book.Record(), bounds))
	l.control = r.uninvited()
	table.line(t, l)
	t.Logf("%d connections: p99 %v undisturbed, %v beside; memory %d MiB, at most %d", n, calm, p99, empty>>20, w.weight()>>20)
	w.inBounds(empty, calm, p99)
}

// enoughFiles is nil where a process may have so many files open. Go raises the limit to the hard one by itself.
func enoughFiles(n uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if uint64(limit.Max) < n { // FreeBSD has it signed
		return fmt.Errorf("a process may have %d files open, %d are needed", limit.Max, n)
	}
	return nil
}

// An attack is what a bad client does on a connection of its own, and the statuses that it may be answered with. 0 is the
// end of the connection without an answer.
type attack struct {
	name string
	do   func(*wire) int
	want []int
}

// suffer lets all attacks run at once, and returns how many there were.
func (r *rig) suffer(all []attack) int {
	r.Helper()
	var clients sync.WaitGroup
	for _, a := range all {
		c := r.wire()
		clients.Go(func() {
			defer c.Close()
			if status := a.do(c); !slices.Contains(a.want, status) {
				r.Errorf("%s: answer %d, want one of %v", a.name, status, a.want)
			}
		})
	}
	clients.Wait()
	return len(all)
}

const toItems, toStream = "POST /v1/items HTTP/1.1\r\nHost: localhost\r\n", "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\n"

// attacks are all that are tried. A body that holds the word hostile must never arrive.
func attacks() []attack {
	all := []attack{
		{"says nothing", func(c *wire) int { return c.answer() }, []int{0}},
		{"sends its head byte by byte", func(c *wire) int { return c.drips(toItems + strings.Repeat("X-Hostile: hostile\r\n", 100)) }, []int{0, 400, 408}},
		{"sends its body byte by byte and leaves", func(c *wire) int {
			c.say(toItems + "Content-Length: 100000\r\n\r\n")
			return c.dripsAndLeaves(strings.Repeat("hostile", 1000))
		}, []int{0}},
		{"sends chunks byte by byte and leaves", func(c *wire) int {
			c.say(toItems + "Transfer-Encoding: chunked\r\n\r\n")
			return c.dripsAndLeaves(strings.Repeat("7\r\nhostile\r\n", 1000))
		}, []int{0}},
		{"sends a stream byte by byte and leaves", func(c *wire) int {
			c.say(toStream + "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
			return c.dripsAndLeaves("ffff\r\n" + strings.Repeat("hostile", 1000))
		}, []int{http.StatusOK}},
		{"announces ten gigabytes", func(c *wire) int { return c.posts("Content-Length: 10000000000\r\n", "hostile") }, []int{413}},
		{"asks to send ten gigabytes", func(c *wire) int { return c.posts("Expect: 100-continue\r\nContent-Length: 10000000000\r\n", "") }, []int{413}},
		{"sends without end", func(c *wire) int {
			c.say(toItems + "Transfer-Encoding: chunked\r\n\r\n")
			return c.floods("10000\r\n" + strings.Repeat("hostile!", 8192) + "\r\n")
		}, []int{413, 0}},
		{"sends a line without end", func(c *wire) int {
			c.say(toStream + "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
			return c.floods("10000\r\n" + strings.Repeat("hostile!", 8192) + "\r\n")
		}, []int{200, 0}},
		{"sends a head without end", func(c *wire) int {
			c.say(toItems)
			return c.floods("X-Hostile: " + strings.Repeat("hostile", 100) + "\r\n")
		}, []int{431, 0}},
		{"half closes in the body", func(c *wire) int {
			c.say(toItems + "Content-Length: 5000\r\n\r\n" + strings.Repeat("hostile", 100))
			_ = c.CloseWrite()
			return c.answer()
		}, []int{400, 0}},
		{"resets in the body", func(c *wire) int {
			c.say(toItems + "Content-Length: 5000\r\n\r\n" + strings.Repeat("hostile", 100))
			_ = c.SetLinger(0)
			return 0
		}, []int{0}},
		{"closes in a chunk", func(c *wire) int {
			c.say(toItems + "Transfer-Encoding: chunked\r\n\r\nff\r\nhostile")
			return 0
		}, []int{0}},
		{"sends a chunk that is none", func(c *wire) int { return c.posts("Transfer-Encoding: chunked\r\n", "zz\r\nhostile\r\n0\r\n\r\n") }, []int{400, 0}},
		{"has two lengths", func(c *wire) int { return c.posts("Content-Length: 7\r\nContent-Length: 8\r\n", "hostile") }, []int{400}},
		{"has a length and chunks", func(c *wire) int {
			return c.posts("Content-Length: 99\r\nTransfer-Encoding: identity\r\n", "hostile")
		}, []int{400, 501}},
		{"speaks no HTTP", func(c *wire) int { c.say("\x16\x03\x01hostile\r\n\r\n"); return c.answer() }, []int{400}},
		{"has another host", func(c *wire) int {
			c.say("POST /v1/items HTTP/1.1\r\nHost: hostile.example\r\nContent-Length: 7\r\n\r\nhostile")
			return c.answer()
		}, []int{421}},
		{"leaves in the second line of a stream", leavesInALine, []int{http.StatusOK}},
	}
	return append(append(all, broken()...), bombs()...)
}

// broken are whole bodies that are not what they say they are.
func broken() (all []attack) {
	const ndjson, envelopes, event, batch = "application/x-ndjson", "application/vnd.holdfast.items+ndjson", "application/cloudevents+json", "application/cloudevents-batch+json"
	one := `{"specversion":"1.0","id":"1","source":"hostile","type":"t","data":1}`
	for _, b := range []struct{ name, contentType, encoding, body string }{
		{"an envelope in the wrong", envelopes, "", `{"body":"hostile"}` + "\n" + `{"body":"hostile"`},
		{"an unknown field", envelopes, "", `{"body":"hostile","colour":1}`},
		{"no body in an envelope", envelopes, "", `{"body":"hostile"}` + "\n" + `{}`},
		{"half a surrogate", envelopes, "", `{"body":"hostile\ud800"}`},
		{"bytes that are no base64", envelopes, "", `{"body_base64":"hostile!"}`},
		{"lines of blanks", ndjson, "", "\n\r\n\n"},
		{"half an event", event, "", one[:40]},
		{"an event without a type", event, "", `{"specversion":"1.0","id":"1","source":"hostile"}`},
		{"a batch whose second event is none", batch, "", "[" + one + `,{"id":"hostile"}]`},
		{"a batch without its end", batch, "", "[" + one + ","},
		{"a list ten thousand deep", batch, "", strings.Repeat("[", 100_000)},
		{"gzip that is none", "text/plain", "gzip", "hostile"},
		{"half a gzip", "text/plain", "gzip", packed("gzip", strings.Repeat("hostile", 1000), 1)[:40]},
		{"zstd that is none", "text/plain", "zstd", "hostile"},
		{"half a zstd", "text/plain", "zstd", packed("zstd", strings.Repeat("hostile", 1000), 1)[:20]},
		{"zstd with a wrong sum", "text/plain", "zstd", spoiled(packed("zstd", strings.Repeat("hostile", 1000), 1))},
	} {
		all = append(all, attack{b.name, func(c *wire) int {
			h := fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", b.contentType, len(b.body))
			if b.encoding != "" {
				h += "Content-Encoding: " + b.encoding + "\r\n"
			}
			return c.posts(h, b.body)
		}, []int{400}})
	}
	return all
}

// bombs are small bodies that become larger than any request may be: 24 MiB.
func bombs() (all []attack) {
	zeros := string(make([]byte, 1<<20))
	for _, b := range []struct{ name, contentType, encoding string }{
		{"a bomb of gzip", "text/plain", "gzip"}, {"a bomb of zstd", "text/plain", "zstd"},
		{"lines in a bomb of gzip", "application/x-ndjson", "gzip"}, {"events in a bomb of zstd", "application/cloudevents-batch+json", "zstd"},
	} {
		bomb := packed(b.encoding, zeros, 24)
		all = append(all, attack{b.name, func(c *wire) int {
			h := fmt.Sprintf("Content-Type: %s\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n", b.contentType, b.encoding, len(bomb))
			return c.posts(h, bomb)
		}, []int{413, 503}}) // 503: the memory for bodies is taken
	}
	return all
}

// packed is a text, n times, as a coding makes it.
func packed(encoding, text string, n int) string {
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if encoding == "zstd" {
		w, _ = zstd.NewWriter(&b) // without options there is no error
	}
	for range n {
		_, _ = io.WriteString(w, text)
	}
	_ = w.Close()
	return b.String()
}

// spoiled is a text of which the last byte is another.
func spoiled(text string) string { return text[:len(text)-1] + string(text[len(text)-1]^1) }

// leavesInALine sends one whole line, whose receipt it waits for, and a half one. Only the first may come.
func leavesInALine(c *wire) int {
	told := book.Told{Tag: fmt.Sprint("line ", c.LocalAddr()), Body: fmt.Sprint("whole line of ", c.LocalAddr()), Answer: book.Durable, Life: c.life}
	told.Request = told.Tag
	c.say(toStream + "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	c.say(fmt.Sprintf("%x\r\n%s\n\r\n", len(told.Body)+1, told.Body))
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0
	}
	text, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || !strings.Contains(text, `"receipt"`) {
		c.Errorf("the whole line: %q, %v", text, err)
	}
	c.book.Tell(told)
	c.say("fff\r\nhostile, and the rest of it is")
	return response.StatusCode
}

// A wire is a connection to the service of which every byte is in the test's hand.
type wire struct {
	*rig
	*net.TCPConn
	in     *bufio.Reader
	failed error // the first error of a write
}

// wirePatience bounds the life of a connection: longer than the service lets a head take.
const wirePatience = 20 * time.Second

func (r *rig) wire() *wire {
	r.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.process.URL, "http://"))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wirePatience * time.Duration(1+rounds()))); err != nil {
		r.Fatal(err)
	}
	return &wire{rig: r, TCPConn: conn.(*net.TCPConn), in: bufio.NewReader(conn)}
}

// say sends a text. The service may hang up whenever it likes: that is no failure of the test.
func (c *wire) say(text string) {
	if _, err := io.WriteString(c.TCPConn, text); err != nil && c.failed == nil {
		c.failed = err
	}
}

// posts sends a request with some headers, and returns its answer.
func (c *wire) posts(headers, body string) int {
	c.say(toItems)
	c.say(headers)
	c.say("\r\n")
	c.say(body)
	return c.answer()
}

// answer waits for an answer and returns its status: 0 where the connection ended without one, and -1 where it did not
// even end.
func (c *wire) answer() int {
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			return -1
		}
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, max(0, response.ContentLength)))
	return response.StatusCode
}

// drips sends a text byte by byte until the service has had enough.
func (c *wire) drips(text string) int {
	var sender sync.WaitGroup
	defer sender.Wait()
	defer c.Close()
	sender.Go(func() { c.drip(text, 100*time.Millisecond, 1000) })
	return c.answer()
}

// dripsAndLeaves sends what it can of a text in a second.
func (c *wire) dripsAndLeaves(text string) int {
	c.drip(text, 10*time.Millisecond, 100)
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	return max(0, c.answer())
}

func (c *wire) drip(text string, pace time.Duration, most int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := range min(len(text), most) {
		if c.say(text[i : i+1]); c.failed != nil {
			return
		}
		<-tick.C
	}
}

// floods sends a text again and again, until the service hangs up or answers: far more than it may take.
func (c *wire) floods(text string) int {
	for sent := 0; sent < 256<<20 && c.failed == nil; sent += len(text) {
		c.say(text)
	}
	return c.answer()
}
