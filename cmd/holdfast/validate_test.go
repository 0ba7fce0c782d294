package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/cmd/holdfast/internal/cli"
)

// With -o json there is one document, for good and for bad files, and nothing else.
func TestAValidationIsAJSONDocument(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, text string
		code       int
		want       []problem
	}{
		{"good.yaml", "version: 1\nsinks: {a: {type: stdout}}\n", 0, []problem{}},
		{"bad.yaml", "version: 1\nsnks: {}\nserver: {max_item_bytes: x}\n", 78, []problem{{"snks", 2, 1, ""}, {"server.max_item_bytes", 3, 26, ""}}},
		{"none.yaml", "", 78, []problem{{"", 0, 0, ""}}},
	} {
		path := filepath.Join(dir, c.name)
		if c.text != "" {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out, said bytes.Buffer
		streams := cli.Streams{In: strings.NewReader(""), Out: &out, Err: &said}
		code := cli.Main(t.Context(), []string{"config", "validate", path, "-o", "json"}, streams, configCommand(streams))
		var v verdict
		if err := json.Unmarshal(out.Bytes(), &v); err != nil || code != c.code || said.String() != "" {
			t.Errorf("%s: exit code %d, %v: %s%s", c.name, code, err, &out, &said)
			continue
		}
		for i := range v.Problems {
			if v.Problems[i].Message == "" {
				t.Errorf("%s: a problem without a message", c.name)
			}
			v.Problems[i].Message = ""
		}
		if v.File != path || v.OK != (code == 0) || v.OK != (v.Sinks == 1) || v.Warnings == nil || !slices.Equal(v.Problems, c.want) {
			t.Errorf("%s: %s", c.name, &out)
		}
	}
}

// A pipe does not take a service's address, unless it is told to.
func TestAPipeListensBesideAService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	for _, c := range []struct {
		text  string
		flags serveFlags
		want  string
	}{
		{"version: 1\n", serveFlags{}, "127.0.0.1:8080"},
		{"version: 1\n", serveFlags{stdin: true}, "127.0.0.1:0"},
		{"version: 1\n", serveFlags{stdin: true, listen: "127.0.0.1:9"}, "127.0.0.1:9"},
		{"version: 1\nserver: {listen: 127.0.0.1:8080}\n", serveFlags{stdin: true}, "127.0.0.1:8080"},
		{"version: 1\nserver: {block_timeout: 1s}\n", serveFlags{stdin: true}, "127.0.0.1:0"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.flags.config = path
		cfg, err := c.flags.load()
		if err != nil || cfg.Server.Listen != c.want {
			t.Errorf("%q %+v: %v, want %s", c.text, c.flags, err, c.want)
		}
	}
}
