package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/client"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the server at a glance",
		Args:  exactly(),
		RunE: a.onServer(func(ctx context.Context, c *client.Client, _ []string) error {
			d, err := c.Status(ctx)
			if err != nil {
				return err
			}
			return a.show(d, func(w io.Writer) { a.statusTable(w, c.Server(), d.Value) })
		}),
	}
}

func (a *app) statusTable(w io.Writer, server string, s client.Status) {
	state := dash(s.State)
	if !s.Accepting {
		state += ", not accepting"
	}
	uptime := time.Duration(s.UptimeSeconds * float64(time.Second)).Truncate(time.Second)
	disk := size(s.Disk.Bytes)
	if s.Disk.BudgetBytes > 0 {
		disk += fmt.Sprintf(" of %s (%d%%)", size(s.Disk.BudgetBytes), s.Disk.Bytes*100/s.Disk.BudgetBytes)
	}
	if s.Disk.FreeBytes > 0 {
		disk += ", " + size(s.Disk.FreeBytes) + " free on the device"
	}
	pairs(w,
		"server", server,
		"version", s.Version,
		"state", state,
		"up", span(uptime),
		"data", s.DataDir,
		"disk", disk,
		"segments", plain(s.Segments),
		"accepted", plain(s.Accepted),
		"recovery", found(s.Recovery),
	)
	if len(s.Sinks) > 0 {
		fmt.Fprintln(w)
		a.sinkTable(w, s.Sinks)
	}
}

// plain is JSON of any kind as text: numbers grouped, an object as "name value, …".
func plain(raw json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return ""
	}
	return plainValue(v)
}

func plainValue(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return count(n)
		}
		return v.String()
	case map[string]any:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if text := plainValue(v[name]); text != "" {
				parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+text)
			}
		}
		return strings.Join(parts, ", ")
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, plainValue(e))
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(v)
}

// found is what of a report is not as if nothing had happened: "created, kept
// 1,200, took 2.64ms". A name in _ns is a duration.
func found(raw json.RawMessage) string {
	var report map[string]json.RawMessage
	if json.Unmarshal(raw, &report) != nil {
		return plain(raw)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(report)) {
		text := plain(report[name])
		if ns, ok := strings.CutSuffix(name, "_ns"); ok {
			n, _ := strconv.ParseInt(string(report[name]), 10, 64)
			name, text = ns, brief(time.Duration(n))
		}
		switch text {
		case "", "0", "0s", "false":
			continue
		case "true":
			text = ""
		}
		parts = append(parts, strings.TrimSpace(strings.ReplaceAll(name, "_", " ")+" "+text))
	}
	return strings.Join(parts, ", ")
}

// brief is a duration in three digits or four.
func brief(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
