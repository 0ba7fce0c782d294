package recovery

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// Guarantee G6, in part: of a file that changes in place, and that quarantine has no room for, the damaged parts are kept.
// What only has one more name in quarantine takes none of its room.
func TestQuarantineBeyondItsBoundKeepsTheDamagedParts(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "queues.db"), filepath.Join(dir, "other")
	content := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	for _, p := range []string{path, other} {
		if err := os.WriteFile(p, append(content, p...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	q := &quarantine{dir: dir, bound: int64(len(content)) + 1000, log: slog.New(slog.DiscardHandler), read: (*os.File).ReadAt}
	if err := q.keep(other, false, nil, 0); err != nil || heldBytes(dir) != 0 {
		t.Errorf("%v, %d bytes", err, heldBytes(dir))
	}
	if err := os.Remove(other); err != nil || heldBytes(dir) == 0 {
		t.Errorf("%v, %d bytes", err, heldBytes(dir))
	}
	if err := q.keep(path, true, []int64{4096}, 4096); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, len(content)+len(path))
	copy(want[4096:8192], content)
	if kept, err := os.ReadFile(filepath.Join(q.place(), "queues.db")); err != nil || !bytes.Equal(kept, want) {
		t.Errorf("%v, %d bytes", err, len(kept))
	}
}
