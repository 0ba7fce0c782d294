package crashtest_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/killer"
)

// refused starts the service where it cannot run, and expects an exit code and one sentence on the way.
func (r *rig) refused(code int, says ...string) {
	r.Helper()
	p := killer.Start(r, program, "serve", "--config", r.config())
	if p.URL != "" {
		r.Fatal("it serves")
	}
	got, _, err := p.Wait(r.Context())
	if err != nil || got != code {
		r.Errorf("exit %d, want %d: %v", got, code, err)
	}
	for _, text := range says {
		if !strings.Contains(p.Log(), text) {
			r.Errorf("it does not say %q:\n%s", text, p.Log())
		}
	}
}

// Guarantee G5, in part: the lock.
func TestSecondProcessIsRefused(t *testing.T) {
	r := newRig(t, three()...)
	r.start()
	r.refused(75, fmt.Sprintf("is in use by process %d", r.process.PID()))
	r.one("after", book.Durable) // the first is not impressed
	r.drain()
	r.kill()
	r.start() // the lock of a dead process holds nobody up
	r.judge(bounds)
}

// Guarantee G5, in part: a file in place of the directory.
func TestFileInPlaceOfTheDirectoryIsRefused(t *testing.T) {
	r := newRig(t, three()...)
	if err := os.WriteFile(filepath.Join(r.dir, "data"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.refused(78, filepath.Join(r.dir, "data")+" is not a directory")
	if content, err := os.ReadFile(filepath.Join(r.dir, "data")); string(content) != "mine" {
		t.Errorf("%q, %v", content, err)
	}
}

// Guarantee G5, in part: a segment of another format. The other files are looked at by the tests of package recovery.
func TestUnknownFormatIsRefused(t *testing.T) {
	r := newRig(t, three()...)
	r.start()
	r.one("before", book.Durable)
	r.kill()
	paths, err := filepath.Glob(filepath.Join(r.dir, "data/log/*.log"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	content, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	header := content[:binary.BigEndian.Uint32(content[12:])]
	binary.BigEndian.PutUint32(header[8:], 2)
	sum := len(header) - 4
	binary.BigEndian.PutUint32(header[sum:], crc32.Checksum(header[:sum], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(paths[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	r.refused(78, "has format 2, this program knows format 1", paths[0])
}
