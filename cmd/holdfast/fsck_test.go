package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/recovery"
	"holdfast/store"
)

// offline runs a command line, and returns its exit code and both outputs.
func offline(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	streams := cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e, Env: func(string) string { return "" }}
	code = cli.Main(t.Context(), args, streams, fsckCommand(streams), salvageCommand(streams))
	return code, o.String(), e.String()
}

// stored makes a data directory with one sink and some items in two segments, the first of them sealed.
func stored(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	st, _, err := recovery.Open(dir, recovery.Options{})
	must(t, err)
	sink := store.Sink{Name: "a", State: store.Active, Queues: []store.SinkQueue{{Number: st.NextQueue(), Live: true}}}
	must(t, st.Commit(store.Change{QueueTime: 1, Sinks: []store.Sink{sink}, Queues: []store.QueueChange{{Number: 1, Cursor: 1}}}))
	for range 2 {
		for range 20 {
			item := store.Item{Seq: st.Next(), Time: 1000, Mask: &store.Mask{To: []uint32{1}}, Body: bytes.Repeat([]byte(uuid.NewString()), 20)}
			_, err := st.Append([]store.Item{item}, 1, nil)
			must(t, err)
		}
		must(t, st.Rotate())
	}
	must(t, st.Seal())
	must(t, st.Close())
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// damage turns a bit of a file.
func damage(t *testing.T, path string, off int) {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	content[off] ^= 1
	must(t, os.WriteFile(path, content, 0o600))
}

// contents is everything in a directory.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		b.WriteString(path + "\n" + string(content))
		return err
	}))
	return b.String()
}

func TestFsckFindsDamageAndChangesNothing(t *testing.T) {
	dir := stored(t)
	if code, out, errs := offline(t, "fsck", dir); code != 0 || !strings.Contains(out, "all is well") {
		t.Fatalf("%d: %s%s", code, out, errs)
	}
	log, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	must(t, err)
	damage(t, log[0], 3000)
	damage(t, filepath.Join(dir, "queues.db"), 40)
	before := contents(t, dir)
	code, out, errs := offline(t, "fsck", dir)
	if code != 1 || errs != "" || !strings.Contains(out, log[0]+": byte ") || !strings.Contains(out, "queues.db: byte 0: ") || !strings.Contains(out, "findings") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	var doc struct {
		Findings []store.Finding
		Checked  store.Checked
	}
	if code, out, _ := offline(t, "fsck", dir, "--json"); code != 1 || json.Unmarshal([]byte(out), &doc) != nil || len(doc.Findings) < 2 || doc.Checked.Segments < 2 {
		t.Errorf("%d: %s", code, out)
	}
	if contents(t, dir) != before {
		t.Error("something has changed")
	}
}

func TestSalvageHealsWhatFsckFinds(t *testing.T) {
	dir := stored(t)
	log, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	must(t, err)
	damage(t, log[0], 3000)
	damage(t, filepath.Join(dir, "queues.db"), 40)
	code, out, errs := offline(t, "salvage", dir, "-q")
	if code != 0 || errs != "" || !strings.Contains(out, "queues made anew") || !strings.Contains(out, "damaged segment: "+filepath.Base(log[0])) || !strings.Contains(out, "originals and report: ") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if code, out, errs := offline(t, "fsck", dir); code != 0 || !strings.Contains(out, "1 damaged segment healed before") {
		t.Errorf("afterwards: %d: %s%s", code, out, errs)
	}
}

func TestFsckRefusesALogThatIsMissingAndSalvageGoesOn(t *testing.T) {
	dir := stored(t)
	must(t, os.RemoveAll(filepath.Join(dir, "log")))
	if code, out, errs := offline(t, "fsck", dir); code != 1 || !strings.Contains(out, "put it back") || !strings.Contains(out, "a start refuses") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if code, out, errs := offline(t, "salvage", dir, "-q"); code != 0 || !strings.Contains(out, "40 items lost") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if code, out, errs := offline(t, "fsck", dir); code != 0 || !strings.Contains(out, "all is well; 40 items lost before") {
		t.Errorf("afterwards: %d: %s%s", code, out, errs)
	}
}

func TestFsckAndSalvageLeaveARunningServiceAndOtherDirectoriesAlone(t *testing.T) {
	dir := stored(t)
	st, _, err := recovery.Open(dir, recovery.Options{})
	must(t, err)
	for _, verb := range []string{"fsck", "salvage"} {
		if code, _, errs := offline(t, verb, dir); code != cli.ExitTemporary || !strings.Contains(errs, "in use by process") {
			t.Errorf("%s: %d: %s", verb, code, errs)
		}
	}
	must(t, st.Close())
	empty := t.TempDir()
	for _, verb := range []string{"fsck", "salvage"} {
		if code, _, errs := offline(t, verb, empty); code != cli.ExitIO || !strings.Contains(errs, "holds no store") {
			t.Errorf("%s: %d: %s", verb, code, errs)
		}
	}
	if contents(t, empty) != "" {
		t.Error("something was made")
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, verb := range []string{"fsck", "salvage"} {
		if code, _, errs := offline(t, verb, file); code != cli.ExitConfig || !strings.Contains(errs, "is not a directory") {
			t.Errorf("%s: %d: %s", verb, code, errs)
		}
	}
}
