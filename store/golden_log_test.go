package store

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenLog is what the segments and keys in testdata/v1 were made from. It must never change.
func goldenLog(b *logBench) {
	b.snap = snapshot{
		Sinks: []Sink{
			{Name: "archive", State: Paused, Queues: []SinkQueue{{Number: 2, Match: []byte("m"), From: 3, End: 4}, {Number: 1, Live: true}}},
			{Name: "crm", State: Orphan, Queues: []SinkQueue{{Number: 3, Live: true}}},
		},
		Queues:      map[uint32]queueSnap{1: {Cursor: 1, LowestOwed: 1}, 2: {Cursor: 3, LowestOwed: 2}, 3: {}},
		QueueNumber: 3,
	}
	b.append(fullItem())
	b.append(append(request(40, 300, maskAB), item(0, maskA))...)
	items := b.number([]Item{item(5, maskB), fullItem()})
	if _, err := b.log.append(items, 5000, map[string][]byte{"tail:/var/log/x": []byte("77"), "mqtt": {0}}, func() snapshot { return b.snap }); err != nil {
		b.t.Fatal(err)
	}
	b.items = append(b.items, items...)
	b.log.rotateNext()
	b.append(item(9000, maskAB))
	b.append(request(3, 3, maskA)...)
	if err := b.log.seal(); err != nil {
		b.t.Fatal(err)
	}
}

// Every released format is opened for ever. Those of v1.1 have footers with what each queue has of the segment.
func TestLogOfFormat1IsRead(t *testing.T) {
	made := newLog(t)
	goldenLog(made)
	made.close(true)
	names := []string{segmentName(1, 1) + ".log", segmentName(1, 1) + ".keys", segmentName(2, 45) + ".log"}
	old := newLog(t)
	old.log.close()
	for _, name := range names {
		golden := filepath.Join("testdata", "v1.1", name)
		b, err := os.ReadFile(filepath.Join(made.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.TrimRight(b, "\x00")
		if *update {
			if err := os.WriteFile(golden, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, kept) {
			t.Errorf("%s is not written as it was", name)
		}
		if err := os.WriteFile(filepath.Join(old.dir, name), kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old.items, old.known = made.items, logState{Clean: true, Synced: 49, Highest: 48, OldestNeeded: 1}
	old.open().expect()
	if got := len(slices.Collect(old.log.allKeys)); got != 2 {
		t.Errorf("%d keys", got)
	}
	if diff := cmp.Diff(map[string][]byte{"tail:/var/log/x": []byte("77"), "mqtt": {0}}, old.log.positions); diff != "" {
		t.Error(diff)
	}
	if got := old.log.accepted[1]; got != tallyOf(made.items, 1) {
		t.Error(got)
	}
}

// The first footers do not say what each queue has of a segment: only cursors free such a one.
func TestLogWithTheFirstFootersIsRead(t *testing.T) {
	made := newLog(t)
	goldenLog(made)
	made.close(true)
	old := newLog(t)
	old.log.close()
	if err := os.CopyFS(old.dir, os.DirFS(filepath.Join("testdata", "v1"))); err != nil {
		t.Fatal(err)
	}
	old.items, old.known = made.items, logState{Clean: true, Synced: 49, Highest: 48, OldestNeeded: 1}
	old.open().expect()
	v := old.log.views()[0]
	equal(t, "sealed", v.sealed, true)
	equal(t, "of a queue that it has nothing for", v.of(77), Tally{v.items, v.bytes})
}

// Group commits of v1.2 may have zeros behind them.
func TestPaddedLogOfFormat1IsRead(t *testing.T) {
	made := newLog(t)
	for range 15 {
		made.append(item(512, maskA))
	}
	made.close(true)
	sameAsGolden(made, "v1.2", segmentName(1, 1)+".log")
}

// Segments of v1.3 say that they begin with what was written again.
func TestRewrittenLogOfFormat1IsRead(t *testing.T) {
	made := newLog(t)
	made.segTail(2).reopen(false).rewriteTail().segTail(1)
	made.close(true)
	sameAsGolden(made, "v1.3", segmentName(1, 1)+".log", segmentName(2, 2)+".log")
	equal(t, "it says so", made.open().log.active.header.KeptEnd, uint64(3))
}

// sameAsGolden compares the files of a log that is closed with those of a released format, which are opened as well.
func sameAsGolden(made *logBench, version string, names ...string) {
	made.t.Helper()
	old := newLog(made.t)
	old.log.close()
	for _, name := range names {
		golden := filepath.Join("testdata", version, name)
		b, err := os.ReadFile(filepath.Join(made.dir, name))
		equal(made.t, "error", err, nil)
		b = bytes.TrimRight(b, "\x00")
		if *update {
			equal(made.t, "error", os.MkdirAll(filepath.Dir(golden), 0o755), nil)
			equal(made.t, "error", os.WriteFile(golden, b, 0o644), nil)
		}
		kept, err := os.ReadFile(golden)
		equal(made.t, "error", err, nil)
		if !bytes.Equal(b, kept) {
			made.t.Errorf("%s is not written as it was", name)
		}
	}
	equal(made.t, "error", os.CopyFS(old.dir, os.DirFS(filepath.Join("testdata", version))), nil)
	old.items, old.known = made.items, logState{Clean: true, Synced: made.known.Synced, Highest: made.known.Highest, OldestNeeded: 1}
	old.open().expect()
}
