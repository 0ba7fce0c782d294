package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
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
		"recovery", plain(s.Recovery),
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
