package recovery_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"holdfast/recovery"
	"holdfast/store"
)

// holdVariable makes the test binary a process that holds the directory it names.
const holdVariable = "RECOVERY_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

// hold opens the store, says so, and keeps it until its standard input ends.
func hold(dir string) {
	st, _, err := recovery.Open(dir, recovery.Options{})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = st.Close()
	os.Exit(0)
}

// A bench is one data directory with one sink, and what was appended to it.
type bench struct {
	testing.TB
	dir   string
	st    *store.Store
	queue uint32
	items []store.Item
	ahead int64 // disk that its queues.db has beyond its size, once it is copied to a small one
}

var small = recovery.Options{Store: store.Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10}}

// newBench creates a store with a sink.
func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data")}
	b.open()
	b.queue = b.st.NextQueue()
	sink := store.Sink{Name: "a", State: store.Active, Queues: []store.SinkQueue{{Number: b.queue, Live: true}}}
	b.commit(store.Change{QueueTime: 1, Sinks: []store.Sink{sink}, Queues: []store.QueueChange{{Number: b.queue, Cursor: 1}}})
	return b
}

func (b *bench) open() recovery.Report {
	b.Helper()
	st, r, err := recovery.Open(b.dir, small)
	if err != nil {
		b.Fatal(err)
	}
	b.st = st
	b.Cleanup(func() { _ = st.Close() })
	return r
}

func (b *bench) close() {
	b.Helper()
	if err := b.st.Close(); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) commit(c store.Change) {
	b.Helper()
	if err := b.st.Commit(c); err != nil {
		b.Fatal(err)
	}
}

// append stores one group commit of requests, each of so many items.
func (b *bench) append(requests ...int) {
	b.Helper()
	mask := &store.Mask{To: []uint32{b.queue}}
	var items []store.Item
	for _, n := range requests {
		for i := range n {
			seq := b.st.Next() + uint64(len(items))
			body := fmt.Appendf(nil, "item %d: %s", seq, bytes.Repeat([]byte("x"), 300))
			items = append(items, store.Item{Seq: seq, Time: 1_000_000 + int64(seq), Mask: mask, Continues: i > 0, Body: body})
		}
	}
	if _, err := b.st.Append(items, 5, nil); err != nil {
		b.Fatal(err)
	}
	b.items = append(b.items, items...)
}

// killed is the directory as a kill would leave it now.
func (b *bench) killed() *bench {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "killed")
	if err := os.CopyFS(dir, os.DirFS(b.dir)); err != nil {
		b.Fatal(err)
	}
	return &bench{TB: b.TB, dir: dir, queue: b.queue, items: b.items}
}

// read returns the bodies that the sink is owed, from the first on.
func (b *bench) read() (bodies []string) {
	b.Helper()
	for r := b.st.Reader(b.queue, 0); ; {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			return bodies
		}
		if err != nil {
			b.Fatal(err)
		}
		for _, it := range block.Items {
			bodies = append(bodies, string(it.Body))
		}
	}
}

func (b *bench) bodies(n int) (bodies []string) {
	for _, it := range b.items[:n] {
		bodies = append(bodies, string(it.Body))
	}
	return bodies
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// segment is the path of the newest segment.
func (b *bench) segment() string {
	b.Helper()
	paths, err := filepath.Glob(b.path("log/*.log"))
	if err != nil || len(paths) == 0 {
		b.Fatal(paths, err)
	}
	return paths[len(paths)-1]
}

// used is how many bytes of the newest segment are not the zeros at its end.
func (b *bench) used() int {
	b.Helper()
	return len(bytes.TrimRight(b.file(b.segment()), "\x00"))
}

func (b *bench) file(path string) []byte {
	b.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return content
}

func (b *bench) edit(path string, change func([]byte) []byte) {
	b.Helper()
	if err := os.WriteFile(path, change(b.file(path)), 0o600); err != nil {
		b.Fatal(err)
	}
}

// sums are the checksums of everything in a directory but LOCK, which holds no more than a hint.
func sums(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == "LOCK" {
			return err
		}
		what := e.Type().String()
		if e.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%d bytes, %x", len(content), sha256.Sum256(content))
		}
		all[path] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// logged opens the directory and returns what that logged.
func logged(dir string) (*bytes.Buffer, recovery.Report, error) {
	var out bytes.Buffer
	o := small
	o.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	st, r, err := recovery.Open(dir, o)
	if st != nil {
		err = errors.Join(err, st.Close())
	}
	return &out, r, err
}
