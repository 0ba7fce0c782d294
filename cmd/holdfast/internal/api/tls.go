package api

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSConfig is a server's side of TLS 1.2 and later, with a certificate and its key out of PEM files. With a clientCA,
// a PEM file of certificates, only clients get in that show a certificate that one of those has signed; empty: all do.
//
// The files are read now, and again when a client comes after they have changed. While what they hold then is not whole
// or does not match, what was read before stays in use. Safe for concurrent use. Errors: of the files, each with its
// name.
func TLSConfig(cert, key, clientCA string) (*tls.Config, error) {
	f := &tlsFiles{paths: [3]string{cert, key, clientCA}}
	if err := f.reload(f.stat()); err != nil {
		return nil, err
	}
	outer := f.current.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.config(), nil }
	return outer, nil
}

// tlsFiles are where a configuration comes from.
type tlsFiles struct {
	paths [3]string // certificate, key, client CA or empty

	mu      sync.Mutex
	current *tls.Config // guarded by mu; immutable
	seen    [3]fileMark // guarded by mu; of the files that current was read from
}

// A fileMark tells one content of a path from the next.
type fileMark struct {
	info os.FileInfo // nil: there is no file
	size int64
	at   time.Time
}

func (m fileMark) equal(other fileMark) bool {
	if m.info == nil || other.info == nil {
		return m.info == nil && other.info == nil
	}
	return os.SameFile(m.info, other.info) && m.size == other.size && m.at.Equal(other.at)
}

func (f *tlsFiles) stat() (marks [3]fileMark) {
	for i, path := range f.paths {
		if info, err := os.Stat(path); path != "" && err == nil {
			marks[i] = fileMark{info, info.Size(), info.ModTime()}
		}
	}
	return marks
}

// config is the one for the next client.
func (f *tlsFiles) config() *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	marks := f.stat()
	for i := range marks {
		if !marks[i].equal(f.seen[i]) {
			_ = f.reload(marks) // what is in use goes on, and the next client has the files looked at again
			break
		}
	}
	return f.current
}

// reload reads the files, which were marked before. On an error nothing changes. f.mu is held, or nobody else knows f yet.
func (f *tlsFiles) reload(marks [3]fileMark) error {
	pair, err := tls.LoadX509KeyPair(f.paths[0], f.paths[1])
	if err != nil {
		return fmt.Errorf("load %s and %s: %w", f.paths[0], f.paths[1], err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	if ca := f.paths[2]; ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("load %s: there is no certificate in it", ca)
		}
		c.SessionTicketsDisabled = true // a resumed session is one that nobody looks at again after a CA has gone
	}
	f.current, f.seen = c, marks
	return nil
}
