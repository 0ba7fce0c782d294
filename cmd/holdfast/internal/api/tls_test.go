package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = sign(t, name, nil)
	return a
}

// sign makes a certificate: by an authority, or one of its own.
func sign(t *testing.T, name string, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: by == nil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// write writes a pair that the authority has signed, as cert.pem and key.pem.
func (a *authority) write(t *testing.T, dir, name string) tls.Certificate {
	t.Helper()
	cert, key := sign(t, name, a)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", cert.Raw)
	writePEM(t, filepath.Join(dir, "key.pem"), "EC PRIVATE KEY", der)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
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
	dir, ca := t.TempDir(), newAuthority(t, "ca")
	ca.write(t, dir, "first")
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	c, err := TLSConfig(certFile, keyFile, "")
	if err != nil {
		t.Fatal(err)
	}
	addr, client := serveTLS(t, c), &tls.Config{RootCAs: ca.pool()}
	want := func(name string) {
		t.Helper()
		if got, err := shake(addr, client); err != nil || got != name+" HTTP/1.1" {
			t.Errorf("%s, %v, want %s", got, err, name)
		}
	}
	want("first")
	ca.write(t, dir, "second-of-another-length")
	want("second-of-another-length")
	if err := os.WriteFile(keyFile, []byte("half a ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("second-of-another-length")
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	want("second-of-another-length")
	ca.write(t, dir, "third")
	want("third")
	if _, err := shake(addr, &tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 gets in")
	}
	if got, err := shake(addr, &tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

func TestOnlyClientsOfTheAuthorityGetIn(t *testing.T) {
	dir, ca, own, other := t.TempDir(), newAuthority(t, "ca"), newAuthority(t, "own"), newAuthority(t, "other")
	ca.write(t, dir, "server")
	caFile := filepath.Join(dir, "ca.pem")
	writePEM(t, caFile, "CERTIFICATE", own.cert.Raw)
	c, err := TLSConfig(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), caFile)
	if err != nil {
		t.Fatal(err)
	}
	addr, scratch := serveTLS(t, c), t.TempDir()
	cache := tls.NewLRUClientSessionCache(8)
	try := func(certs ...tls.Certificate) error {
		_, err := shake(addr, &tls.Config{RootCAs: ca.pool(), Certificates: certs, ClientSessionCache: cache})
		return err
	}
	mine, theirs := own.write(t, scratch, "client"), other.write(t, scratch, "client")
	if err := try(mine); err != nil {
		t.Error(err)
	}
	if try() == nil {
		t.Error("a client without a certificate gets in")
	}
	if try(theirs) == nil {
		t.Error("a client of another authority gets in")
	}
	writePEM(t, caFile, "CERTIFICATE", other.cert.Raw)
	if try(mine) == nil {
		t.Error("a client of an authority that is gone gets in")
	}
	if err := try(theirs); err != nil {
		t.Error(err)
	}
}

func TestTLSFilesThatAreNoneAreNamed(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t, "ca")
	ca.write(t, dir, "server")
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
