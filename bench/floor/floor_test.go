package floor

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"holdfast/bench/harness"
)

// TestMain lets the test binary be the floor's process, as the programs are.
func TestMain(m *testing.M) {
	if !Child() {
		m.Run()
	}
}

// What a floor has answered is in its file, in any order, and it says how many flushes that took.
func TestFloorStoresWhatItAnswersAndCounts(t *testing.T) {
	for _, s := range []harness.System{Here(), TCP()} {
		t.Run(s.Name, func(t *testing.T) {
			const items = 64
			dir := t.TempDir()
			r, err := s.Start(t.Context(), harness.Place{Dir: dir, Items: items, Tally: harness.NewTally(0, items)})
			if err != nil {
				t.Fatal(err)
			}
			w := harness.Workload{Name: "test", Producers: 4, Batch: 2, Items: items}
			if _, err := harness.Produce(t.Context(), w, 0, r.Dial); err != nil {
				t.Fatal(err)
			}
			wrote, flushes, err := r.(harness.Counter).Written()
			if err != nil || wrote < items*harness.BodyBytes || flushes < 1 || flushes > items/2 {
				t.Errorf("%v bytes in %v flushes, %v", wrote, flushes, err)
			}
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(filepath.Join(dir, "floor"))
			if err != nil {
				t.Fatal(err)
			}
			for seq := range items {
				body := harness.NewBody()
				if harness.SetSeq(body, seq); !bytes.Contains(file[:items*harness.BodyBytes], body) {
					t.Errorf("item %d is not in the file", seq)
				}
			}
		})
	}
}
