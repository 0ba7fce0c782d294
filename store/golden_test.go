package store

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files of the formats as this program writes them")

// goldenChange is what testdata/v1/queues.db was made from. It must never change.
func goldenChange() Change {
	return Change{
		QueueTime: 1234567,
		Sinks: []Sink{
			{Name: "archive", State: Paused, Queues: []SinkQueue{{Number: 2, Match: []byte("m"), From: 3, End: 4}, {Number: 1, Live: true}}},
			{Name: "crm", State: Active, Queues: []SinkQueue{{Number: 3, Live: true}}},
			{Name: "gone", State: Removed, Queues: []SinkQueue{{Number: 4}}},
		},
		Queues: []QueueChange{
			{
				Number: 1, Cursor: 100, Marks: []uint64{101, 110, 5000}, Gone: []Gone{{1, 5, GoneDropped}, {7, 7, GoneExpired}},
				Counts: Counts{Tally{1, 2}, Tally{3, 4}, Tally{5, 6}},
				Rows: []Row{
					{Seq: 8, State: RowReady, Owes: true, Bytes: 3}, {Seq: 9, State: RowRetry, Attempts: 2, First: 10, Last: 11, Next: 12, FirstError: "a", LastError: "b"},
					{Seq: 10, State: RowNotDue, Next: 13, KeyHash: 14}, {Seq: 11, State: RowBlocked, KeyHash: 14},
					{Seq: 12, State: RowDead, Permanent: true, FirstError: "same", LastError: "same", Next: 15}, {Seq: 13, State: RowDead},
				},
			},
			{Number: 3, Cursor: 200},
		},
		Bodies: []Body{
			{0, Item{Seq: 8, Time: 16, Mask: &Mask{To: []uint32{1, 3}, Dropped: []uint32{2}}, Attrs: MakeAttrs(map[string]string{"n": "v"}), Key: "k",
				Expires: 17, NotBefore: 18, Continues: true, Dedupe: &Dedupe{Key: [16]byte{19}, Body: [16]byte{20}}, Body: []byte("body")}},
			{1, Item{Seq: 9, Mask: &Mask{}, Body: []byte("edited")}},
		},
		Acks: []Ack{{Seq: 21}, {Seq: 22}},
	}
}

// Every released format is opened for ever. Those of v1.1 may have holes.
func TestQueuesOfFormat1AreRead(t *testing.T) {
	t.Run("first", func(t *testing.T) { readGoldenQueues(t, "v1", nil) })
	t.Run("with holes", func(t *testing.T) { readGoldenQueues(t, "v1.1", []hole{{first: 7, end: 9}, {first: 400, end: 4000}}) })
}

func readGoldenQueues(t *testing.T, version string, holes []hole) {
	golden := filepath.Join("testdata", version, queuesName)
	view := logView{next: 5001, synced: 4999, idTime: 23}
	made := newQueuesDir(t)
	q := openTestQueues(t, made)
	c := goldenChange()
	if _, err := q.commit(&c, view); err != nil {
		t.Fatal(err)
	}
	equal(t, "error", q.addHoles(holes), nil)
	equal(t, "error", q.setClean(view), nil)
	want, err := dump(q)
	equal(t, "error", err, nil)
	equal(t, "error", q.close(), nil)
	if *update {
		b, err := os.ReadFile(q.path)
		equal(t, "error", err, nil)
		equal(t, "error", os.MkdirAll(filepath.Dir(golden), 0o755), nil)
		equal(t, "error", os.WriteFile(golden, b, 0o644), nil)
	}
	b, err := os.ReadFile(golden)
	equal(t, "error", err, nil)
	dir := t.TempDir()
	equal(t, "error", os.WriteFile(filepath.Join(dir, queuesName), b, 0o600), nil)
	got, err := dumpDir(t, dir)
	equal(t, "error", err, nil)
	equal(t, "what is read", got, want)
}
