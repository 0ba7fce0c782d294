package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// server decodes the address last: whether it will do depends on whether there are tokens.
func (d *decoder) server(v value, c *Server) {
	var listen value
	d.mapping(v, fields{
		"listen":            func(v value) { listen = v },
		"auth":              func(v value) { d.auth(v, &c.Auth) },
		"tls":               func(v value) { d.serverTLS(v, c) },
		"hosts":             func(v value) { d.hosts(v, c) },
		"max_item_bytes":    d.size(&c.MaxItemBytes, 1),
		"max_request_bytes": d.size(&c.MaxRequestBytes, 1),
		"shutdown_timeout":  d.duration(&c.ShutdownTimeout, 0),
		"block_timeout":     d.duration(&c.BlockTimeout, 0),
		"accept_timeout":    d.duration(&c.AcceptTimeout, time.Millisecond),
	})
	if listen.node != nil {
		c.ListenGiven = true
		d.listen(listen, c)
	}
	if network, _ := ListenOn(c.Listen); network == "unix" && c.TLS != nil {
		d.failAt("server.tls", "server.listen is a unix socket: there is no TLS to set up")
	}
}

func (d *decoder) listen(v value, c *Server) {
	_, asks := d.at["server.auth"] // tokens that are wrong are a problem of their own
	d.text(&c.Listen, func(addr string) string {
		check := CheckListen
		if asks || d.env.InsecureNoAuth {
			check = checkAddress
		}
		if err := check(addr); err != nil {
			return err.Error()
		}
		return ""
	})(v)
	switch network, address := ListenOn(c.Listen); {
	case network == "unix" || isLoopback(address):
	case !asks:
		d.warnAt(v.path, "holdfast asks nobody for a token: whoever reaches this address may do everything")
	case c.TLS == nil:
		d.warnAt(v.path, "without server.tls, tokens and items are readable on the way to this address")
	}
}

const unixPrefix = "unix://"

// maxSocketPath is the longest path that every platform has room for in a socket's address.
const maxSocketPath = 103

// ListenOn splits an address that CheckListen or MayListen took into what net.Listen wants.
func ListenOn(addr string) (network, address string) {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		return "unix", path
	}
	return "tcp", addr
}

// MayListen tells whether a server with these tokens may listen at an address: with a token, or where insecure permits it
// (--insecure-no-auth), that may be any host:port, else see CheckListen. The error is half a sentence that the address
// begins. cmd/holdfast asks about --listen, which does not pass through a file; for what does, see Env.InsecureNoAuth.
func (s Server) MayListen(addr string, insecure bool) error {
	if insecure || len(s.Auth.Tokens) > 0 {
		return checkAddress(addr)
	}
	return CheckListen(addr)
}

// CheckListen tells whether a server that asks for no tokens may listen at an address: unix:// and an absolute path, or
// host:port where the host is localhost or a loopback address. The error is half a sentence that the address begins.
func CheckListen(addr string) error {
	if err := checkAddress(addr); err != nil {
		return err
	}
	if network, address := ListenOn(addr); network == "tcp" && !isLoopback(address) {
		return fmt.Errorf("is not a loopback address: without authentication (server.auth.tokens) holdfast listens on "+
			"loopback or a unix socket only, like %s", DefaultListen)
	}
	return nil
}

// checkAddress looks at the form alone.
func checkAddress(addr string) error {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		switch {
		case !filepath.IsAbs(path) || path != filepath.Clean(path) || path == "/":
			return errors.New("is not unix:// and an absolute path, like unix:///run/holdfast.sock")
		case len(path) > maxSocketPath:
			return fmt.Errorf("has a path of more than %d bytes: a socket's cannot be longer", maxSocketPath)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || strings.ContainsAny(host, notInHost) {
		return errors.New("is not host:port, like " + DefaultListen + ", or unix:// and an absolute path")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return errors.New("has no port from 0 to 65535")
	}
	return nil
}

// isLoopback looks at a host:port.
func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

const notInHost = "/ @\t\n"

func (d *decoder) hosts(v value, c *Server) {
	for _, e := range d.elements(v) {
		host := ""
		d.text(&host, func(h string) string {
			if strings.ContainsAny(h, notInHost) {
				return "is not a host name"
			}
			return ""
		})(e)
		c.Hosts = append(c.Hosts, strings.ToLower(host))
	}
}

func (d *decoder) serverTLS(v value, c *Server) {
	c.TLS = &ServerTLS{}
	if !d.mapping(v, fields{
		"cert":      d.text(&c.TLS.Cert, nil),
		"key":       d.text(&c.TLS.Key, nil),
		"client_ca": d.text(&c.TLS.ClientCA, nil),
	}) {
		return
	}
	d.needs(v.path, "cert", "the certificate that clients see")
	d.needs(v.path, "key", "the key of the certificate")
	if c.TLS.Key != "" {
		d.checkKeyFile(v.path+".key", c.TLS.Key)
	}
}
