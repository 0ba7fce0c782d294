package powerfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
)

// put makes a file with some content, all of it durable.
func put(t *testing.T, d *Disk, name string, content []byte) *node {
	t.Helper()
	n, errno := d.create(d.root, name, false, 0o600)
	if errno == 0 {
		errno = d.write(n, 0, content)
	}
	if errno != 0 {
		t.Fatal(errno)
	}
	d.sync(n)
	d.syncDir(d.root)
	return n
}

// sectors is content in which every sector has one letter.
func sectors(letters string) []byte {
	var b []byte
	for _, c := range []byte(letters) {
		b = append(b, bytes.Repeat([]byte{c}, sector)...)
	}
	return b
}

// after cuts the power and returns a file's content; nil: there is none.
func after(d *Disk, seed uint64, p float64, name string) []byte {
	d.Cut(seed, p)
	d.On()
	n := d.root.names[name]
	if n == nil {
		return nil
	}
	return append([]byte{}, n.live...)
}

func TestWhatIsSyncedIsThereAndTheRestIsNot(t *testing.T) {
	d := New(1)
	n := put(t, d, "a", sectors("abc"))
	d.write(n, sector, sectors("XYZ"))
	if got := after(d, 1, 0, "a"); !bytes.Equal(got, sectors("abc")) {
		t.Errorf("nothing is kept: %q", got)
	}
	d.write(d.root.names["a"], sector, sectors("XYZ"))
	if got := after(d, 1, 1, "a"); !bytes.Equal(got, sectors("aXYZ")) {
		t.Errorf("everything is kept: %q", got)
	}
}

func TestNamesNeedASyncOfTheirDirectory(t *testing.T) {
	d := New(1)
	n, _ := d.create(d.root, "new", false, 0o600)
	d.write(n, 0, []byte("x"))
	d.sync(n)
	if got := after(d, 1, 0, "new"); got != nil {
		t.Errorf("a name that was not synced is there: %q", got)
	}
	put(t, d, "old", []byte("x"))
	d.rename(d.root, "old", d.root, "renamed", 0)
	d.syncDir(d.root)
	d.remove(d.root, "renamed", false)
	if got := after(d, 1, 0, "renamed"); string(got) != "x" {
		t.Errorf("a name whose end was not synced has %q", got)
	}
}

func TestSyncOfADirectoryIsOfNoOther(t *testing.T) {
	d := New(1)
	sub, _ := d.create(d.root, "sub", true, 0o700)
	d.syncDir(d.root)
	d.create(d.root, "here", false, 0o600)
	d.create(sub, "there", false, 0o600)
	d.syncDir(sub)
	d.Cut(1, 0)
	d.On()
	if d.find("sub/there") == nil || d.find("here") != nil {
		t.Errorf("the root has %v, sub has %v", d.Names(""), d.Names("sub"))
	}
}

// A sync of the one directory of a rename keeps the other one's side of it.
func TestRenameAcrossDirectoriesIsWhole(t *testing.T) {
	for seed := range uint64(200) {
		d := New(seed)
		sub, _ := d.create(d.root, "sub", true, 0o700)
		put(t, d, "a", []byte("x"))
		d.rename(d.root, "a", sub, "b", 0)
		if seed%4 == 0 {
			d.syncDir(sub)
		}
		d.Cut(seed, []float64{0, .1, .5, .9}[seed%4])
		d.On()
		if here, there := d.find("a") != nil, d.find("sub/b") != nil; here == there || seed%4 == 0 && here {
			t.Errorf("seed %d: before %v, after %v", seed, here, there)
		}
	}
}

func TestFailedSyncLeavesNothingToWrite(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		d := New(seed)
		n := put(t, d, "a", sectors("abcd"))
		d.write(n, 0, sectors("WXYZ"))
		d.failSync(n)
		if !bytes.Equal(n.live, sectors("WXYZ")) {
			t.Fatalf("read %q", n.live)
		}
		d.sync(n)
		if got := after(d, seed, 1, "a"); !bytes.Equal(got, sectors("WXYZ")) {
			lost++
		}
	}
	if lost < 40 {
		t.Errorf("of 50 syncs that failed, %d lost something", lost)
	}
}

// Every sector holds what it held at the last sync, or something that was written since; every size is one between those
// there were; a file that was synced and not touched is as it was.
func TestEveryCutIsLegal(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		d := New(seed)
		n := put(t, d, "a", sectors("00000000"))
		may := map[int64][]byte{} // per sector, the letters it may have
		low, high := int64(8), int64(8)
		for s := range low {
			may[s] = []byte{'0'}
		}
		for i := range 1 + rnd.IntN(20) {
			letter := byte('a' + i)
			switch rnd.IntN(8) {
			default:
				at, count := rnd.Int64N(10), 1+rnd.Int64N(3)
				d.write(n, at*sector, sectors(string(bytes.Repeat([]byte{letter}, int(count)))))
				for s := at; s < at+count; s++ {
					may[s] = append(may[s], letter)
				}
				high = max(high, at+count)
			case 1:
				size := rnd.Int64N(12)
				d.truncate(n, size*sector)
				low, high = min(low, size), max(high, size)
				for s := size; s < 16; s++ {
					may[s] = append(may[s], 0)
				}
			case 2:
				d.sync(n)
				low = int64(len(n.live)) / sector
				high = low
				for s := range int64(16) {
					may[s] = []byte{0}
					if s < low {
						may[s] = []byte{n.live[s*sector]}
					}
				}
			}
		}
		got := after(d, seed, []float64{0, .1, .5, .9, 1}[seed%5], "a")
		if size := int64(len(got)); size%sector != 0 || size < low*sector || size > high*sector {
			t.Fatalf("seed %d: the size is %d, between %d and %d sectors are legal", seed, size, low, high)
		}
		for s := int64(0); s < int64(len(got))/sector; s++ {
			b := got[s*sector : (s+1)*sector]
			if !bytes.Equal(b, bytes.Repeat(b[:1], sector)) || b[0] != 0 && !slices.Contains(may[s], b[0]) {
				t.Fatalf("seed %d: sector %d is %q, %q are legal", seed, s, b[:1], may[s])
			}
			if b[0] == 0 && s < low && !slices.Contains(may[s], 0) {
				t.Fatalf("seed %d: sector %d is zeros, %q are legal", seed, s, may[s])
			}
		}
	}
}

// The disk is not one that keeps too much: with p in between, cuts do tear, reorder and lose names.
func TestCutsAreHarsh(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		d := New(seed)
		n := put(t, d, "a", sectors("00"))
		d.write(n, 0, sectors("1"))
		d.write(n, sector, sectors("2"))
		d.write(n, 2*sector, sectors("3"))
		for _, name := range []string{"x", "y"} {
			d.create(d.root, name, false, 0o600)
		}
		content := after(d, seed, .5, "a")
		letters := ""
		for s := 0; s < len(content); s += sector {
			letters += string(max(content[s], '-'))
		}
		seen[letters] = true
		seen[fmt.Sprint(d.Names(""))] = true
	}
	for _, want := range []string{"00", "10", "02", "12", "003", "103", "023", "123", "12-", "[a]", "[a x]", "[a y]", "[a x y]"} {
		if !seen[want] {
			t.Errorf("in 300 cuts never: %s", want)
		}
	}
}

func TestSpaceEndsAndComesBack(t *testing.T) {
	d := New(1)
	n := put(t, d, "a", sectors("a"))
	d.Limit(2 * block)
	if errno := d.write(n, 0, make([]byte, 3*block)); errno != 0 {
		t.Error("3 blocks of 3:", errno)
	}
	if errno := d.write(n, 3*block, []byte{1}); errno != syscall.ENOSPC {
		t.Error("the fourth:", errno)
	}
	d.truncate(n, block)
	if errno := d.write(n, 2*block, []byte{1}); errno != 0 {
		t.Error("after it was cut:", errno)
	}
	d.remove(d.root, "a", false)
	if d.used != 0 {
		t.Errorf("%d bytes are used by nothing", d.used)
	}
}
