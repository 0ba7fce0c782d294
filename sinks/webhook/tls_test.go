package webhook_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/sinks/sinktest"
	"holdfast/sinks/webhook"
)

// An identity is a self-signed certificate in files, and in memory.
type identity struct {
	certFile, keyFile string
	pair              tls.Certificate
}

func newIdentity(t *testing.T, until time.Time) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(until.Unix()),
		NotBefore:    until.Add(-48 * time.Hour),
		NotAfter:     until,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	dir := t.TempDir()
	id := identity{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem")}
	must(t, os.WriteFile(id.certFile, certPEM, 0o600))
	must(t, os.WriteFile(id.keyFile, keyPEM, 0o600))
	id.pair, err = tls.X509KeyPair(certPEM, keyPEM)
	must(t, err)
	return id
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serveTLS starts a receiver with the identity, that wants a client certificate if client is not nil.
func serveTLS(t *testing.T, id identity, client *identity) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{id.pair}}
	if client != nil {
		srv.TLS.ClientCAs = x509.NewCertPool()
		srv.TLS.ClientCAs.AddCert(client.pair.Leaf)
		srv.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// Guarantee W3.
func TestTLSIsVerified(t *testing.T) {
	good, other, old := newIdentity(t, time.Now().Add(time.Hour)), newIdentity(t, time.Now().Add(2*time.Hour)), newIdentity(t, time.Now().Add(-time.Hour))
	open, closed, expired := serveTLS(t, good, nil), serveTLS(t, good, &other), serveTLS(t, old, nil)
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	plain.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain.Start()
	t.Cleanup(plain.Close)
	for _, c := range []struct {
		name, url string
		tls       webhook.TLS
		want      string
	}{
		{"system's authorities", open.URL, webhook.TLS{}, "tls: the certificate is signed by an unknown authority"},
		{"right authority", open.URL, webhook.TLS{CAFile: good.certFile}, ""},
		{"wrong authority", open.URL, webhook.TLS{CAFile: other.certFile}, "tls: the certificate is signed by an unknown authority"},
		{"wrong host", strings.Replace(open.URL, "127.0.0.1", "localhost", 1), webhook.TLS{CAFile: good.certFile}, "tls: the certificate is for another host"},
		{"expired", expired.URL, webhook.TLS{CAFile: old.certFile}, "tls: the certificate has expired or is not yet valid"},
		{"spelled out", open.URL, webhook.TLS{InsecureSkipVerify: true}, ""},
		{"client certificate", closed.URL, webhook.TLS{CAFile: good.certFile, CertFile: other.certFile, KeyFile: other.keyFile}, ""},
		{"wrong client certificate", closed.URL, webhook.TLS{CAFile: good.certFile, CertFile: good.certFile, KeyFile: good.keyFile}, "webhook 127.0.0.1:"},
		{"no client certificate", closed.URL, webhook.TLS{CAFile: good.certFile}, "webhook 127.0.0.1:"},
		{"not tls", strings.Replace(plain.URL, "http", "https", 1), webhook.TLS{}, "tls: the other side does not speak it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSink(t, webhook.Options{URL: c.url, TLS: c.tls})
			err := s.Deliver(t.Context(), sinktest.Items(strings.Repeat("a", 1<<20)))
			if c.want == "" && err != nil {
				t.Fatalf("deliver: %v", err)
			}
			if c.want != "" && (verdict(err) != "unavailable" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("deliver: %v, want %q", err, c.want)
			}
		})
	}
}

// Guarantee W1, in part: an attempt without a status line.
func TestNoStatusLineIsUnavailable(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"closed":     {"", "the connection was closed before the answer"},
		"half":       {"HTTP/1.1 200 OK\r\nX: hunter2", "the connection was closed before the answer"},
		"malformed":  {"hunter2 hunter2 hunter2\r\n\r\n", "no valid answer"},
		"bad status": {"HTTP/1.1 hunter2 OK\r\n\r\n", "no valid answer"},
		"bad header": {"HTTP/1.1 200 OK\r\nhunter2\r\n\r\n", "no valid answer"},
		"too long":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "no valid answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, webhook.Options{URL: "http://" + talk(t, func(conn net.Conn) {
				readHeader(conn)
				io.ReadFull(conn, make([]byte, 1))
				io.WriteString(conn, c.answer)
			})})
			err := s.Deliver(t.Context(), sinktest.Items("a"))
			if verdict(err) != "unavailable" || !strings.HasSuffix(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("deliver: %v, want %q", err, c.want)
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	l.Close()
	err = newSink(t, webhook.Options{URL: "http://" + addr}).Deliver(t.Context(), sinktest.Items("a"))
	if verdict(err) != "unavailable" || !strings.HasSuffix(err.Error(), syscall.ECONNREFUSED.Error()) {
		t.Errorf("refused: %v", err)
	}
}
