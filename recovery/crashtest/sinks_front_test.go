package crashtest_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	refuses bool                         // nobody listens
	raw     func(*front, net.Conn)       // what is done with a connection, before anything is read from it
	answers func(*front, net.Conn)       // what is done once a request was read whole
	tls     func(*authority) *tls.Config // what it shows; nil: it does not speak TLS
	secure  bool                         // the URL is https
	status  int                          // what it answers, if that is all
	url     string                       // another one that the service has; empty: the front's
}

// newFront listens, unless its illness is that it does not.
func newFront(t testing.TB, sick illness, to string, ca *authority) *front {
	t.Helper()
	f := &front{illness: sick, to: to, healed: make(chan struct{}), ended: make(chan struct{})}
	if f.url = "http://"; sick.secure {
		f.url, f.good = "https://", ca.config(leaf{host: "127.0.0.1"})
		if sick.tls != nil {
			shown := sick.tls(ca)
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

// An authority signs certificates for fronts.
type authority struct {
	testing.TB
	path string // its own certificate, as PEM
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A leaf is what a certificate is for. Zero times are an hour around now.
type leaf struct {
	host  string
	until time.Time
}

func newAuthority(t testing.TB, dir string) *authority {
	t.Helper()
	a := &authority{TB: t, path: filepath.Join(dir, "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "crashtest"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(template)
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if err := os.WriteFile(a.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a certificate, signed by the authority or, while that has none, by itself.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.Fatal(err)
	}
	return cert, key
}

// config is a server's side of TLS with a certificate of the authority.
func (a *authority) config(l leaf) *tls.Config {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: l.host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if !l.until.IsZero() {
		template.NotAfter = l.until
	}
	if ip := net.ParseIP(l.host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{l.host}
	}
	cert, key := a.sign(template)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}
