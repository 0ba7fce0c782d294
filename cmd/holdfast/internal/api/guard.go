package api

import (
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// hostAllowed keeps web pages out whose name was made to resolve to loopback. It looks at the Host of connections that
// came over loopback; unix sockets cannot be reached by a browser.
func (s *Server) hostAllowed(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, ok := local.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return true
	}
	host := bareHost(r.Host)
	if s.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && tcp.IP.Equal(net.IP(ip.AsSlice()))
}

// bareHost is a Host without port and brackets, in lower case.
func bareHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// within sets one of a connection's deadlines. What has no deadlines, as in a test, needs none.
func within(d time.Duration, set func(time.Time) error) { _ = set(time.Now().Add(d)) }

// A lease is one of a connection's deadlines, extended for each read or write. It is only set again when a sixteenth of it
// is over, and lasts as much longer: to set it each time took 3 % of the CPU of a service with 64 streams.
type lease struct {
	set    func(time.Time) error
	length time.Duration
	again  time.Time
}

func (l *lease) extend() {
	now := time.Now()
	if now.Before(l.again) {
		return
	}
	l.again = now.Add(l.length / 16)
	_ = l.set(now.Add(l.length + l.length/16))
}

func stack() string { return string(debug.Stack()) }

// quote makes a client's text fit for a message.
func quote(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strconv.QuoteToASCII(s)
}
