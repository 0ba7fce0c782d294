package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// root decodes the whole file. The defaults come before the sinks that take them over, wherever the file has them.
func (d *decoder) root(v value, c *Config) {
	version := ""
	var sinks value
	later := func(dst *value) func(value) { return func(v value) { *dst = v } }
	d.mapping(v, fields{
		"version":  d.text(&version, checkVersion),
		"data":     func(v value) { d.data(v, &c.Data) },
		"server":   func(v value) { d.server(v, &c.Server) },
		"defaults": func(v value) { d.delivery(v, d.deliveryFields(&c.Defaults), &c.Defaults) },
		"sinks":    later(&sinks),
		"log":      func(v value) { d.log(v, &c.Log) },
	})
	_, isMapping := v.node.(ast.MapNode)
	if _, given := d.at["version"]; isMapping && !given {
		d.fail("", start(v.node), "the version of the configuration is missing: write \"version: 1\"")
	}
	switch _, given := d.at["sinks"]; {
	case !given:
		c.Sinks = []Sink{newSink("stdout", c.Defaults)}
	case sinks.node != nil:
		c.Sinks = d.sinks(sinks, c.Defaults)
	}
	if c.Data.Dir == "" {
		d.defaultDir(&c.Data)
	}
	d.accepts(c)
}

func checkVersion(text string) string {
	if text != "1" {
		return "is not a version that this holdfast reads: it reads 1"
	}
	return ""
}

// accepts looks at the keys that only together make sense.
func (d *decoder) accepts(c *Config) {
	if c.Server.MaxItemBytes > c.Server.MaxRequestBytes {
		d.failAt(d.either("server.max_item_bytes", "server.max_request_bytes"), fmt.Sprintf(
			"max_item_bytes %s is more than max_request_bytes %s",
			showSize(c.Server.MaxItemBytes), showSize(c.Server.MaxRequestBytes)))
	}
	if c.Data.CommitDelay >= c.Server.AcceptTimeout {
		d.failAt(d.either("data.commit_delay", "server.accept_timeout"), fmt.Sprintf(
			"data.commit_delay %v is not below server.accept_timeout %v: every accept would time out",
			c.Data.CommitDelay, c.Server.AcceptTimeout))
	}
}

func (d *decoder) data(v value, c *Data) {
	var limit int64
	d.mapping(v, fields{
		"dir":          d.text(&c.Dir, nil),
		"max_bytes":    d.size(&limit, 16*mib),
		"min_free":     d.size(&c.MinFree, 0),
		"commit_delay": d.duration(&c.CommitDelay, 0),
		"mark_delay":   d.duration(&c.MarkDelay, 0),
		"mark_every":   whole(d, &c.MarkEvery, 1, 1<<30),
		"dedupe": func(v value) {
			d.mapping(v, fields{
				"window":   d.duration(&c.Dedupe.Window, 0),
				"max_keys": whole(d, &c.Dedupe.MaxKeys, 0, 1<<30),
			})
		},
	})
	if limit > 0 {
		c.MaxBytes = &limit
	}
}

// defaultDir expands the default of data.dir, unless the file's own is what was wrong.
func (d *decoder) defaultDir(c *Data) {
	if _, given := d.at["data.dir"]; given {
		return
	}
	dir, _ := expand(defaultDir, d.env.variable)
	c.Dir = dir
}

func (d *decoder) server(v value, c *Server) {
	d.mapping(v, fields{
		"listen":            d.text(&c.Listen, complain(CheckListen)),
		"hosts":             func(v value) { d.hosts(v, c) },
		"max_item_bytes":    d.size(&c.MaxItemBytes, 1),
		"max_request_bytes": d.size(&c.MaxRequestBytes, 1),
		"shutdown_timeout":  d.duration(&c.ShutdownTimeout, 0),
		"block_timeout":     d.duration(&c.BlockTimeout, 0),
		"accept_timeout":    d.duration(&c.AcceptTimeout, time.Millisecond),
	})
}

func (d *decoder) hosts(v value, c *Server) {
	for _, e := range d.elements(v) {
		host := ""
		d.text(&host, func(h string) string {
			if strings.ContainsAny(h, "/ @\t\n") {
				return "is not a host name"
			}
			return ""
		})(e)
		c.Hosts = append(c.Hosts, strings.ToLower(host))
	}
}

// CheckListen tells whether holdfast may listen there: host:port, where the host is localhost or a loopback address.
// There is no authentication yet, so anything else would let the network in. The error is half a sentence that the
// address begins. cmd/holdfast asks it about --listen, which does not pass through a file.
func CheckListen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("is not host:port, like " + DefaultListen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return errors.New("has no port from 0 to 65535")
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.Unmap().IsLoopback()) {
		return fmt.Errorf("is not a loopback address: without authentication holdfast listens on loopback only, like %s",
			DefaultListen)
	}
	return nil
}

func complain(check func(string) error) func(string) string {
	return func(text string) string {
		if err := check(text); err != nil {
			return err.Error()
		}
		return ""
	}
}

// deliveryFields are the keys that "defaults" and each sink have in common.
func (d *decoder) deliveryFields(c *Delivery) fields {
	return fields{
		"timeout": d.duration(&c.Timeout, time.Millisecond),
		"retry": func(v value) {
			d.mapping(v, fields{
				"max_retries": whole(d, &c.Retry.MaxRetries, Forever, math.MaxInt32),
				"backoff":     d.duration(&c.Retry.Backoff, time.Millisecond),
				"max_backoff": d.duration(&c.Retry.MaxBackoff, time.Millisecond),
				"jitter":      d.share(&c.Retry.Jitter),
			})
		},
		"breaker": func(v value) {
			d.mapping(v, fields{
				"failures":    whole(d, &c.Breaker.Failures, 1, math.MaxInt32),
				"probe_every": d.duration(&c.Breaker.ProbeEvery, time.Millisecond),
			})
		},
	}
}

func (d *decoder) delivery(v value, fs fields, c *Delivery) {
	d.mapping(v, fs)
	d.backoff(v.path, c)
}

// backoff looks at the two ends of the waits, one of which a sink may have from the defaults.
func (d *decoder) backoff(path string, c *Delivery) {
	_, own := d.at[path+".retry"]
	if own && c.Retry.Backoff > c.Retry.MaxBackoff {
		d.failAt(d.either(path+".retry.backoff", path+".retry.max_backoff"),
			fmt.Sprintf("backoff %v is more than max_backoff %v", c.Retry.Backoff, c.Retry.MaxBackoff))
	}
}

func (d *decoder) log(v value, c *Log) {
	d.mapping(v, fields{
		"level":  choice(d, &c.Level, "a level", LevelDebug, LevelInfo, LevelWarn, LevelError),
		"format": choice(d, &c.Format, "a log format", LogAuto, LogText, LogJSON),
	})
}
