package api

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/sinks/sinktest"
)

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writePair writes a pair that an authority has signed, as cert.pem and key.pem.
func writePair(t *testing.T, by *sinktest.Authority, dir, name string) tls.Certificate {
	t.Helper()
	pair := by.Sign(t, x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}})
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", pair.Leaf.Raw)
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", der)
	return pair
}

// trusting is a pool of one authority.
func trusting(a *sinktest.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Cert)
	return p
}

// serveTLS runs a Server behind TLS, and returns its address.
func serveTLS(t *testing.T, c *tls.Config) string {
	t.Helper()
	s, err := New(&fakeQueue{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := s.HTTP()
	go func() { _ = hs.Serve(tls.NewListener(l, c)) }()
	t.Cleanup(func() { _ = hs.Close() })
	return strings.Replace(l.Addr().String(), "127.0.0.1", "localhost", 1)
}

// shake makes a connection of its own, asks /healthz, and returns who answered.
func shake(addr string, c *tls.Config) (name string, err error) {
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + addr + "/healthz")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.TLS.PeerCertificates[0].Subject.CommonName + " " + resp.Proto, nil
}

func TestTLSFilesAreReadAgainWhenTheyChange(t *testing.T) {
	dir, ca := t.TempDir(), sinktest.NewAuthority(t, "ca")
	writePair(t, ca, dir, "first")
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	c, err := TLSConfig(certFile, keyFile, "")
	if err != nil {
		t.Fatal(err)
	}
	addr, client := serveTLS(t, c), &tls.Config{RootCAs: trusting(ca)}
	want := func(name string) {
		t.Helper()
		if got, err := shake(addr, client); err != nil || got != name+" HTTP/1.1" {
			t.Errorf("%s, %v, want %s", got, err, name)
		}
	}
	want("first")
	writePair(t, ca, dir, "second-of-another-length")
	want("second-of-another-length")
	if err := os.WriteFile(keyFile, []byte("half a ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("second-of-another-length")
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	want("second-of-another-length")
	writePair(t, ca, dir, "third")
	want("third")
	if _, err := shake(addr, &tls.Config{RootCAs: trusting(ca), MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 gets in")
	}
	if got, err := shake(addr, &tls.Config{RootCAs: trusting(ca), MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

func TestOnlyClientsOfTheAuthorityGetIn(t *testing.T) {
	dir, ca, own, other := t.TempDir(), sinktest.NewAuthority(t, "ca"), sinktest.NewAuthority(t, "own"), sinktest.NewAuthority(t, "other")
	writePair(t, ca, dir, "server")
	caFile := filepath.Join(dir, "ca.pem")
	writePEM(t, caFile, "CERTIFICATE", own.Cert.Raw)
	c, err := TLSConfig(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), caFile)
	if err != nil {
		t.Fatal(err)
	}
	addr, scratch := serveTLS(t, c), t.TempDir()
	cache := tls.NewLRUClientSessionCache(8)
	try := func(certs ...tls.Certificate) error {
		_, err := shake(addr, &tls.Config{RootCAs: trusting(ca), Certificates: certs, ClientSessionCache: cache})
		return err
	}
	mine, theirs := writePair(t, own, scratch, "client"), writePair(t, other, scratch, "client")
	if err := try(mine); err != nil {
		t.Error(err)
	}
	if try() == nil {
		t.Error("a client without a certificate gets in")
	}
	if try(theirs) == nil {
		t.Error("a client of another authority gets in")
	}
	writePEM(t, caFile, "CERTIFICATE", other.Cert.Raw)
	if try(mine) == nil {
		t.Error("a client of an authority that is gone gets in")
	}
	if err := try(theirs); err != nil {
		t.Error(err)
	}
}

func TestTLSFilesThatAreNoneAreNamed(t *testing.T) {
	dir, ca := t.TempDir(), sinktest.NewAuthority(t, "ca")
	writePair(t, ca, dir, "server")
	cert, key, empty := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, ca, named string }{
		{empty, key, "", empty}, {cert, empty, "", empty}, {cert, key, empty, empty}, {dir + "/none", key, "", "none"}, {cert, key, dir + "/none", "none"}, {key, cert, "", key},
	} {
		if _, err := TLSConfig(c.cert, c.key, c.ca); err == nil || !strings.Contains(err.Error(), c.named) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
