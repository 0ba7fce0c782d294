package sinktest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// An Authority signs certificates for a test. Its own is in no trust store: who is to trust it is given PEM.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority(tb testing.TB, name string) *Authority {
	tb.Helper()
	a := &Authority{}
	a.Cert, a.key = a.make(tb, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// PEM is the authority's own certificate, as in a file.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})
}

// Sign returns a certificate of the authority for both sides of TLS, which is like leaf says. Without NotAfter it is good
// for an hour.
func (a *Authority) Sign(tb testing.TB, leaf x509.Certificate) tls.Certificate {
	tb.Helper()
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert, key := a.make(tb, leaf)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// make makes a certificate, signed by the authority or, while that has none, by itself.
func (a *Authority) make(tb testing.TB, c x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	c.SerialNumber, c.NotBefore = big.NewInt(now.UnixNano()), now.Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = now.Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, cmp.Or(a.Cert, &c), &key.PublicKey, cmp.Or(a.key, key))
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}
