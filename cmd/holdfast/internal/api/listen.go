package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// unixPrefix begins the address of a unix socket: unix:///run/holdfast.sock.
const unixPrefix = "unix://"

// socketMode lets the group talk to the service.
const socketMode = 0o660

// dialStale is how long somebody at a socket may take to answer, before it counts as somebody.
const dialStale = time.Second

// Listen listens on host:port, or at unix:///path. A socket that a process left behind when it died is removed; one at
// which somebody answers, and what is no socket, stays. The socket is of mode 0660 once Listen returns; until then only
// the umask keeps others out. It goes with the listener. Two processes that start at the same moment may take the path
// from each other: the lock of the data directory is what keeps them apart. Errors: the network's; syscall.EADDRINUSE.
func Listen(addr string) (net.Listener, error) {
	path, unix := strings.CutPrefix(addr, unixPrefix)
	if !unix {
		return net.Listen("tcp", addr)
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("listen on %s: the path of a unix socket begins with a slash, as in unix:///run/holdfast.sock", addr)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && removeStale(path) {
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes a socket that nobody listens at, and reports whether it did.
func removeStale(path string) bool {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	c, err := net.DialTimeout("unix", path, dialStale)
	if err == nil {
		c.Close() // it was only a question
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(path) == nil
}
