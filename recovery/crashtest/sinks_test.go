package crashtest_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"holdfast/recovery/crashtest/book"
	"holdfast/sinks/sinktest"
)

// How long an attempt at a sick sink may take, and by how much more than twice as long as undisturbed a delivery to a
// healthy one may take on a machine that runs other tests beside this: a healthy one that waits for a sick one shows.
const (
	sinkTimeout = 2 * time.Second
	healthSlack = 500 * time.Millisecond
)

// Guarantees B3, C3, C4, C5, E3, W1, with the whole service and real sockets: while destinations are ill in every way, a
// healthy one is served as before, nobody who is away costs an item an attempt, and all is delivered within a minute after
// they are healed.
func TestIllDestinationsHarmNobodyElse(t *testing.T) {
	repeats(t)
	all := slices.Concat(connections(), statuses())
	rnd := rand.New(rand.NewPCG(*seed, 31))
	l, calm, ill := line{fault: "sinks: refuse, reset, hang, 1 B/s, half-close, statuses, Retry-After, TLS, DNS"}, time.Duration(0), time.Duration(0)
	for n := range rounds() {
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for some := range slices.Chunk(all, (len(all)+2)/3) {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				c, i := illnesses(t, some, &l)
				calm, ill = max(calm, c), max(ill, i)
			})
		}
	}
	table.line(t, l)
	t.Logf("deliveries to a healthy sink: p99 at most %v undisturbed, %v beside ill ones", calm, ill)
}

// illnesses runs a service with some ill destinations and a healthy one.
func illnesses(t *testing.T, some []illness, l *line) (calm, ill time.Duration) {
	healthy := &receiver{name: "healthy", workers: 4}
	receivers := []*receiver{healthy}
	for _, s := range some {
		k := &receiver{name: "sick-" + s.name, workers: 1, more: fmt.Sprintf(", timeout: %v", sinkTimeout)}
		if s.status != 0 && lasting(s.status) {
			k.workers = 2 // who may not be in order: what dies comes again when somebody says so
		} else if s.status == 0 || !spent(s.status) {
			k.more += ", retry: {max_retries: 0}" // an attempt that is spent is the last
		}
		receivers = append(receivers, k)
	}
	r := newRig(t, receivers...)
	r.start()
	w := newWatch(r, "good")
	w.pace = 20 * time.Millisecond
	w.beside(func() { r.wait(t.Context(), 1500*time.Millisecond) })
	r.drain()
	calm = r.delivery(healthy.name, 0)
	r.kill()

	fronts := r.fallIll(some)
	r.start()
	receipts := w.beside(func() { r.wait(t.Context(), 3500*time.Millisecond) })
	r.until(10*time.Second, "the healthy sink has all", func() error { return r.waits(healthy.name) })
	if ill = r.delivery(healthy.name, 1); ill > 2*calm+healthSlack {
		t.Errorf("a delivery to the healthy sink takes %v beside %d ill ones, and %v undisturbed", ill, len(some), calm)
	}
	if receipts > p99Bound {
		t.Errorf("a receipt takes %v", receipts)
	}
	for i, f := range fronts {
		if s := f.illness.status; lasting(s) && s != http.StatusGone { // an answer under way would be a death after the requeue
			r.until(10*time.Second, f.illness.name+" has turned all down", func() error { return r.waits(r.receivers[i+1].name) })
		}
		f.check(t)
	}
	r.heals(fronts)
	v := book.Check(r.book.Record(), bounds)
	if l.add(v); len(v.Details) > 0 {
		t.Errorf("%q", v.Details)
	}
	l.cases += len(some)
	l.control = r.uninvited() + r.lateIsSeen(healthy.name, 2*calm+healthSlack)
	return calm, ill
}

// fallIll puts a front before every sick receiver.
func (r *rig) fallIll(some []illness) (fronts []*front) {
	r.Helper()
	ca, path := sinktest.NewAuthority(r, "fronts"), filepath.Join(r.dir, "ca.pem")
	if err := os.WriteFile(path, ca.PEM(), 0o600); err != nil {
		r.Fatal(err)
	}
	for i, s := range some {
		k := r.receivers[i+1]
		f := newFront(r, s, k.server.Listener.Addr().String(), ca)
		k.server.URL = f.url
		if s.url != "" {
			k.server.URL = s.url
		}
		if s.secure {
			k.more += fmt.Sprintf(", tls: {ca: %q}", path)
		}
		fronts = append(fronts, f)
	}
	return fronts
}

// heals does what a person would, and waits until everything is delivered; a producer that waits for all gets its ack then.
func (r *rig) heals(fronts []*front) {
	r.Helper()
	began, again := time.Now(), false
	for i, f := range fronts {
		f.heal(r)
		if k := r.receivers[i+1]; f.illness.url != "" {
			k.server.URL, again = f.url, true
		}
	}
	for i, f := range fronts {
		name := r.receivers[i+1].name
		switch {
		case f.illness.status == http.StatusGone:
			r.post("/v1/sinks/"+name+"/resume", nil)
		case lasting(f.illness.status):
			r.post("/v1/dead/requeue", map[string]any{"sink": name, "all": true})
		}
	}
	if again { // the address was wrong
		r.kill()
		r.start()
	}
	r.drain()
	r.Logf("all is delivered %v after %d were healed", time.Since(began), len(fronts))
	joiner := &producer{rig: r, name: fmt.Sprint("joiner", r.life), batch: 1, join: true}
	told := joiner.next()
	joiner.put(r.Context(), told)
	if r.book.Tell(told...); told[0].Answer != book.Delivered {
		r.Errorf("who waits for all is told %d\n%s", told[0].Answer, r.process.Log())
	}
}

func (r *rig) post(path string, body any) {
	r.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.Fatal(err)
	}
	response, err := r.client.Post(r.process.URL+path, "application/json", bytes.NewReader(b))
	if err != nil {
		r.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode >= 300 {
		r.Fatalf("%s: %s %s", path, response.Status, text)
	}
}

func (r *rig) waits(sink string) error {
	if n := r.gauges()[sink].Waiting; n > 0 {
		return fmt.Errorf("%d wait", n)
	}
	return nil
}

// delivery is how long it took in one life from the accept to the receiver, but for one in a hundred.
func (r *rig) delivery(sink string, life int) time.Duration {
	return percentile(latencies(r.book.Record(), sink, life), 99)
}

// latencies are how long each delivery of one life took from the accept, whose time is in the id.
func latencies(rec *book.Record, sink string, life int) (all []time.Duration) {
	for _, g := range rec.Got {
		if id, err := uuid.Parse(g.ID); err == nil && g.Taken && g.Sink == sink && g.Life == life {
			sec, nsec := id.Time().UnixTime()
			all = append(all, max(0, g.At.Sub(time.Unix(sec, nsec))))
		}
	}
	return all
}

// lateIsSeen is the control of the healthy sink's time.
func (r *rig) lateIsSeen(sink string, limit time.Duration) string {
	r.Helper()
	rec := r.book.Record()
	for i := range rec.Got {
		if i%50 == 0 {
			rec.Got[i].At = rec.Got[i].At.Add(limit)
		}
	}
	if percentile(latencies(rec, sink, 1), 99) <= limit {
		r.Error("a healthy sink that is held up is not seen")
		return ""
	}
	return "; so is a healthy sink that is held up"
}

// lasting says of a status that an item which got it does not come again by itself; spent, that the attempt is spent.
func lasting(status int) bool {
	return slices.Contains([]int{400, 406, 410, 413, 415, 422, 451}, status)
}
func spent(status int) bool { return slices.Contains([]int{408, 425, 500, 501, 505}, status) }

// check looks at what came to an ill front.
func (f *front) check(t *testing.T) {
	t.Helper()
	all, ids := f.requests(), map[string]int{}
	for _, a := range all {
		ids[a.id]++
	}
	if f.illness.answers != nil && len(all) == 0 {
		t.Errorf("%s: nobody came", f.illness.name)
	}
	for id, n := range ids {
		if n > 1 && lasting(f.illness.status) {
			t.Errorf("%s: %s came %d times", f.illness.name, id, n)
		}
	}
	if !strings.Contains(f.illness.name, "later") {
		return
	}
	if len(all) < 2 {
		t.Errorf("%s: asked to wait two seconds, it came %d times", f.illness.name, len(all))
	}
	for i := 1; i < len(all); i++ {
		if gap := all[i].at.Sub(all[i-1].at); gap < 1900*time.Millisecond {
			t.Errorf("%s: asked to wait two seconds, it came after %v", f.illness.name, gap)
		}
	}
}

// connections are illnesses that have no status.
func connections() []illness {
	return []illness{
		{name: "refuses", refuses: true},
		{name: "has-no-name", url: "http://no..such.host"},
		{name: "closes-at-once", raw: func(*front, net.Conn) {}},
		{name: "resets-at-once", raw: func(_ *front, c net.Conn) { reset(c) }},
		{name: "resets", answers: func(_ *front, c net.Conn) { reset(c) }},
		{name: "hangs", answers: func(_ *front, c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		{name: "does-not-read", raw: func(f *front, _ net.Conn) {
			select {
			case <-f.healed:
			case <-f.ended:
			}
		}},
		{name: "drips", answers: func(_ *front, c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }},
		{name: "half-closes", answers: func(_ *front, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 2")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}},
		{name: "speaks-something-else", answers: func(_ *front, c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n") }},
		{name: "answers-plainly", secure: true, raw: func(_ *front, c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }},
		{name: "is-unknown", secure: true, tls: func(t testing.TB, _ *sinktest.Authority) *tls.Config {
			return shows(t, sinktest.NewAuthority(t, "another"), "", time.Time{})
		}},
		{name: "is-expired", secure: true, tls: func(t testing.TB, ca *sinktest.Authority) *tls.Config {
			return shows(t, ca, "", time.Now().Add(-time.Minute))
		}},
		{name: "is-another", secure: true, tls: func(t testing.TB, ca *sinktest.Authority) *tls.Config {
			return shows(t, ca, "example.com", time.Time{})
		}},
	}
}

// statuses are illnesses that say so.
func statuses() (all []illness) {
	for _, code := range []int{301, 302, 307, 400, 401, 403, 404, 405, 407, 408, 410, 413, 415, 422, 425, 429, 451, 500, 501, 502, 503, 504, 505, 521, 530} {
		more := ""
		if code/100 == 3 {
			more = "Location: http://127.0.0.1:9/elsewhere\r\n"
		}
		all = append(all, answering(fmt.Sprint("says-", code), code, func() string { return more }))
	}
	return append(all,
		answering("says-later-429", 429, func() string { return "Retry-After: 2\r\n" }),
		answering("says-later-503", 503, func() string {
			now := time.Now().UTC()
			return "Date: " + now.Format(http.TimeFormat) + "\r\nRetry-After: " + now.Add(2*time.Second).Format(http.TimeFormat) + "\r\n"
		}),
		answering("says-later-500", 500, func() string { return "Retry-After: 2\r\n" }),
		answering("says-nonsense-503", 503, func() string { return "Retry-After: soon\r\n" }),
		answering("says-never-503", 503, func() string { return "Retry-After: -1\r\n" }),
	)
}

func answering(name string, status int, headers func() string) illness {
	return illness{name: name, status: status, answers: func(_ *front, c net.Conn) {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %d Ill\r\n%sConnection: close\r\nContent-Length: 3\r\n\r\nno\n", status, headers())
	}}
}

func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

// drip sends a byte a second until the other side has had enough.
func drip(c net.Conn, text string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
		<-tick.C
	}
}
