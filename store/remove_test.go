package store

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Guarantee G2, in part: before a segment that goes is cut short, a power cut cannot bring its old name back.
func TestReleasedSegmentIsCutOnlyOnceItsNameIsGoneForGood(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "00000001-0000000000000001.log.gone.tmp")
	for _, c := range []struct {
		size int64
		want []string
	}{
		{2*releaseStep + 1, []string{"flush", "cut", "cut", "remove"}},
		{releaseStep, []string{"remove"}},
	} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, c.size); err != nil {
			t.Fatal(err)
		}
		var steps []string
		l := &segmentLog{dir: dir, ops: diskOps()}
		l.ops.syncDir = func(*os.File) error { steps = append(steps, "flush"); return nil }
		l.ops.truncate = func(f *os.File, size int64) error { steps = append(steps, "cut"); return f.Truncate(size) }
		l.ops.remove = func(path string) error { steps = append(steps, "remove"); return os.Remove(path) }
		if err := l.removeInSteps(path); err != nil || !slices.Equal(steps, c.want) {
			t.Errorf("%d bytes: %q, %v; want %q", c.size, steps, err, c.want)
		}
	}
}
