package config

import (
	"fmt"

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
		"defaults": func(v value) { d.defaults(v, &c.Defaults) },
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
		"compress":     choice(d, &c.Compress, "a compression", CompressNone, CompressZstd),
		"retain": func(v value) {
			d.mapping(v, fields{"age": d.duration(&c.Retain.Age, 0), "bytes": d.size(&c.Retain.Bytes, 0)})
		},
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

func (d *decoder) log(v value, c *Log) {
	d.mapping(v, fields{
		"level":  choice(d, &c.Level, "a level", LevelDebug, LevelInfo, LevelWarn, LevelError),
		"format": choice(d, &c.Format, "a log format", LogAuto, LogText, LogJSON),
	})
}
