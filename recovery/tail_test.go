package recovery_test

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func checksum(parts ...[]byte) (sum uint32) {
	for _, p := range parts {
		sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), p)
	}
	return sum
}

// torn is a killed store whose last group commit, requests of 1, 2 and 1 items, lies at [from, to) of the newest segment.
// Before it there is a group commit of 2 items.
func torn(t *testing.T) (b *bench, from, to int) {
	t.Helper()
	live := newBench(t)
	live.append(1, 1)
	from = live.used()
	live.append(1, 2, 1)
	b = live.killed()
	return b, from, b.used()
}

// Guarantee G2, in part: of the last group commit what checks is kept, whole requests only; the rest is told by number.
func TestTornTailKeepsWholeRequests(t *testing.T) {
	for _, c := range []struct {
		name              string
		spoil             func(group []byte)
		kept, unconfirmed int
		read              []int // indexes of the items that are there
	}{
		{"nothing is torn", func([]byte) {}, 4, 0, []int{0, 1, 2, 3, 4, 5}},
		{"the whole group is zeros", func(g []byte) { clear(g) }, 2, 0, []int{0, 1}},
		{"the last item is zeros", func(g []byte) { clear(spot(g, "item 6:")[:100]) }, 3, 1, []int{0, 1, 2, 3, 4}},
		{"the last item has a wrong bit", func(g []byte) { spot(g, "item 6:")[50] ^= 4 }, 3, 1, []int{0, 1, 2, 3, 4}},
		{"the second of two is garbled", func(g []byte) { garble(spot(g, "item 5:")[:100]) }, 2, 2, []int{0, 1, 2, 5}},
		{"the first of two is garbled", func(g []byte) { garble(spot(g, "item 4:")[:100]) }, 2, 2, []int{0, 1, 2, 5}},
		{"the head of the block is zeros", func(g []byte) { clear(g[:40]) }, 4, 0, []int{0, 1, 2, 3, 4, 5}},
		{"all but the first sector is zeros", func(g []byte) { clear(g[512:]) }, 1, 3, []int{0, 1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, from, to := torn(t)
			b.edit(b.segment(), func(content []byte) []byte { c.spoil(content[from:to]); return content })
			b.expectTail(c.kept, c.unconfirmed, c.read)
		})
	}
}

func TestTruncatedTailKeepsWholeRequests(t *testing.T) {
	b, from, to := torn(t)
	for _, at := range []int{from, from + 10, from + 500, to - 100, to - 1} {
		image := b.killed()
		image.edit(image.segment(), func(content []byte) []byte { return content[:at] })
		out, r, err := logged(image.dir)
		if err != nil {
			t.Fatalf("cut at %d of [%d, %d): %v", at, from, to, err)
		}
		if !r.Unclean || r.Lost != 0 || r.Kept+r.Unconfirmed > 4 || !strings.Contains(out.String(), `"level":"INFO","msg":"store recovered"`) {
			t.Errorf("cut at %d: %+v, %s", at, r, out)
		}
		image.open()
		if got := image.read(); len(got) < 2 || len(got) == 4 || !subset(got, image.bodies(6)) {
			t.Errorf("cut at %d: %d items, or half a request", at, len(got))
		}
	}
}

// spot is where a body begins.
func spot(group []byte, body string) []byte { return group[bytes.Index(group, []byte(body)):] }

func garble(b []byte) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
}

func subset(part, all []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(all, s) })
}

// expectTail opens the store three times: as it was left, as a crash right after that start leaves it, and as a crash in
// the middle of the start does. All tell the same items. New ones go behind them.
func (b *bench) expectTail(kept, unconfirmed int, read []int) {
	b.Helper()
	var want []string
	for _, i := range read {
		want = append(want, string(b.items[i].Body))
	}
	left := b.killed()
	if r := b.open(); !r.Unclean || r.Kept != kept || r.Unconfirmed != unconfirmed || r.Lost != 0 {
		b.Errorf("%+v, want %d kept, %d unconfirmed", r, kept, unconfirmed)
	}
	if diff := cmp.Diff(want, b.read()); diff != "" {
		b.Error(diff)
	}
	again := b.killed()
	if r := again.open(); !r.Unclean || r.Unconfirmed != 0 || r.Kept != kept {
		b.Errorf("again: %+v", r)
	}
	if diff := cmp.Diff(want, again.read()); diff != "" {
		b.Error("again:", diff)
	}
	// The same start, ended before the new segment has its name: its file is still the spare.
	left.put("log/spare.tmp", string(b.file(b.segment())))
	if r := left.open(); r.Kept != kept || r.Unconfirmed != unconfirmed || r.Swept != 1 {
		b.Errorf("after a crash in recovery: %+v", r)
	}
	if diff := cmp.Diff(want, left.read()); diff != "" {
		b.Error("after a crash in recovery:", diff)
	}
	again.append(1)
	if diff := cmp.Diff(append(want, string(again.items[len(again.items)-1].Body)), again.read()); diff != "" {
		b.Error("appended:", diff)
	}
}

func TestSeqsOfATornTailAreNotGivenAgain(t *testing.T) {
	b, from, to := torn(t)
	b.edit(b.segment(), func(content []byte) []byte { clear(content[from+512 : to]); return content })
	b.open()
	if next := b.st.Next(); next != 7 {
		t.Errorf("next is %d", next)
	}
}
