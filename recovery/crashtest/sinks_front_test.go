package crashtest_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/sinks/sinktest"
)

// A front stands before a receiver. While it is ill it treats every connection by its illness, and the receiver gets
// nothing; once it is healed it hands all through.
type front struct {
	illness illness
	url     string
	to      string // the receiver's address
	good    *tls.Config

	healed  chan struct{}
	ended   chan struct{} // closed at the end of the test
	socket  int           // bound, and not listening until somebody shall be there
	serving sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // guarded by mu
	asked    []asked      // guarded by mu; while it was ill
}

// asked is a request that came to an ill front.
type asked struct {
	id string
	at time.Time
}

// An illness is what is wrong with a destination.
type illness struct {
	name    string
	refuses bool                                              // nobody listens
	raw     func(*front, net.Conn)                            // what is done with a connection, before anything is read from it
	answers func(*front, net.Conn)                            // what is done once a request was read whole
	tls     func(testing.TB, *sinktest.Authority) *tls.Config // what it shows; nil: it does not speak TLS
	secure  bool                                              // the URL is https
	status  int                                               // what it answers, if that is all
	url     string                                            // another one that the service has; empty: the front's
}

// newFront listens, unless its illness is that it does not.
func newFront(t testing.TB, sick illness, to string, ca *sinktest.Authority) *front {
	t.Helper()
	f := &front{illness: sick, to: to, healed: make(chan struct{}), ended: make(chan struct{})}
	if f.url = "http://"; sick.secure {
		f.url, f.good = "https://", shows(t, ca, "", time.Time{})
		if sick.tls != nil {
			shown := sick.tls(t, ca)
			f.illness.raw = func(_ *front, c net.Conn) { _ = tls.Server(c, shown).Handshake() }
		}
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(socket)
		err = unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	f.socket = socket
	name, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	f.url += (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}).String()
	if !sick.refuses {
		f.listen(t)
	}
	t.Cleanup(f.close)
	return f
}

func (f *front) listen(t testing.TB) {
	t.Helper()
	if err := unix.Listen(f.socket, 128); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(f.socket), "front")
	l, err := net.FileListener(file) // it has a descriptor of its own
	if file.Close(); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.listener = l
	f.mu.Unlock()
	f.serving.Go(func() { f.accept(l) })
}

func (f *front) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.serving.Go(func() {
			defer c.Close()
			select {
			case <-f.healed:
				f.through(c)
			default:
				f.mistreat(c)
			}
		})
	}
}

// heal is what a person does about it.
func (f *front) heal(t testing.TB) {
	t.Helper()
	close(f.healed)
	if f.illness.refuses {
		f.listen(t)
	}
}

func (f *front) close() {
	close(f.ended)
	f.mu.Lock()
	l := f.listener
	f.mu.Unlock() // who is served may need it
	if l == nil {
		_ = unix.Close(f.socket)
		return
	}
	l.Close()
	f.serving.Wait()
}

// through hands a connection on to the receiver, as it comes.
func (f *front) through(c net.Conn) {
	if f.good != nil {
		c = tls.Server(c, f.good)
	}
	to, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(c, to)
		c.Close()
	})
	back.Go(func() {
		<-f.ended
		c.Close()
		to.Close()
	})
	_, _ = io.Copy(to, c)
	to.Close()
	back.Wait()
}

// mistreat is what happens to a connection while the front is ill.
func (f *front) mistreat(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if f.illness.raw != nil {
		f.illness.raw(f, c)
		return
	}
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return
	}
	f.mu.Lock()
	f.asked = append(f.asked, asked{request.Header.Get("webhook-id"), time.Now()})
	f.mu.Unlock()
	f.illness.answers(f, c)
}

// requests are what came while it was ill.
func (f *front) requests() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// shows is a server's side of TLS with a certificate of an authority for an address: a name, or that of the front.
func shows(t testing.TB, by *sinktest.Authority, name string, until time.Time) *tls.Config {
	t.Helper()
	leaf := x509.Certificate{NotAfter: until, DNSNames: []string{name}}
	if name == "" {
		leaf.DNSNames, leaf.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	return &tls.Config{Certificates: []tls.Certificate{by.Sign(t, leaf)}}
}
