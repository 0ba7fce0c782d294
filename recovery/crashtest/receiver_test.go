package crashtest_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
)

// A receiver is the destination of one sink. It keeps its own book: what it took is noted before it says so.
type receiver struct {
	name    string
	workers int           // 1: in order
	more    string        // settings of its sink, as YAML that begins with a comma
	delay   time.Duration // before an answer
	fails   float64       // the share of requests that it answers with 500 or 503
	hangs   atomic.Bool   // requests are not answered while it is set
	down    atomic.Bool   // every request is answered with 503

	mu     sync.Mutex
	rnd    *rand.Rand // guarded by mu
	server *httptest.Server
	gone   chan struct{} // closed at the end of the test
}

func (k *receiver) start(t testing.TB, b *book.Book) {
	k.rnd = rand.New(rand.NewPCG(*seed, uint64(len(k.name))))
	k.gone = make(chan struct{})
	k.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { k.serve(w, r, b) }))
	t.Cleanup(func() {
		close(k.gone)
		k.server.CloseClientConnections()
		k.server.Close()
	})
}

func (k *receiver) serve(w http.ResponseWriter, r *http.Request, b *book.Book) {
	body, err := io.ReadAll(r.Body)
	life, lifeErr := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil || lifeErr != nil {
		http.Error(w, "half a request", http.StatusInternalServerError) // its sender was killed
		return
	}
	k.pause(r)
	status := k.status()
	if r.Context().Err() == nil || status < 300 {
		b.Get(book.Got{Sink: k.name, ID: r.Header.Get("webhook-id"), Body: string(body), Taken: status < 300, Life: life})
	}
	w.WriteHeader(status)
}

// pause takes as long as the receiver does.
func (k *receiver) pause(r *http.Request) {
	delay := k.delay
	if k.hangs.Load() {
		delay = time.Hour
	}
	if delay == 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-k.gone:
	}
}

func (k *receiver) status() int {
	if k.down.Load() || k.hangs.Load() {
		return http.StatusServiceUnavailable
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rnd.Float64() >= k.fails {
		return http.StatusOK
	}
	return []int{http.StatusInternalServerError, http.StatusServiceUnavailable}[k.rnd.IntN(2)]
}

// three are the receivers of the main test.
func three() []*receiver {
	return []*receiver{
		{name: "fast", workers: 1},
		{name: "slow", workers: 4, delay: 3 * time.Millisecond},
		{name: "flaky", workers: 4, fails: 0.2},
	}
}
