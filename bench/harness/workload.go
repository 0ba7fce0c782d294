package harness

import (
	"bytes"
	"fmt"
)

// BodyBytes is the size of every item.
const BodyBytes = 512

// A Workload is how items are produced.
type Workload struct {
	Name      string `json:"name"`
	Producers int    `json:"producers"`
	Batch     int    `json:"batch"` // items per request or burst
	Items     int    `json:"items"` // a multiple of Batch
}

// Workloads are the three of a comparison: one producer, 64 of them, and four with 256 items in flight. At scale 1 the last
// two take half a second to a second on a small machine. In less, a good part of what is seen is what a service does once: its
// heap grows, and is collected for each doubling.
func Workloads(scale float64) []Workload {
	return []Workload{
		{"p1", 1, 1, Scaled(1_000, scale, 1)},
		{"p64", 64, 1, Scaled(40_000, scale, 64)},
		{"b256", 4, 256, Scaled(200_000, scale, 1024)},
	}
}

// WorkloadNamed is one of Workloads.
func WorkloadNamed(name string, scale float64) (Workload, error) {
	for _, w := range Workloads(scale) {
		if w.Name == name {
			return w, nil
		}
	}
	return Workload{}, fmt.Errorf("workload %q is not one of p1, p64, b256", name)
}

// Scaled is a number of items times scale, at least one round of all producers, and a multiple of it.
func Scaled(items int, scale float64, round int) int {
	return max(1, int(float64(items)*scale)/round) * round
}

// atMost is the workload with fewer items, still whole rounds of all its producers; 0: no limit.
func (w Workload) atMost(items int) Workload {
	if items > 0 && items < w.Items {
		w.Items = Scaled(items, 1, w.Producers*w.Batch)
	}
	return w
}

// mark is what a sequence number follows in a body.
var mark = []byte("#seq:")

const seqDigits = 16

// NewBody is a body with room for a sequence number; its rest is the same in all, of letters that a line can hold.
func NewBody() []byte {
	b := bytes.Repeat([]byte("holdfast"), BodyBytes/8)
	copy(b, mark)
	return b
}

// SetSeq writes a sequence number into a body.
func SetSeq(body []byte, seq int) {
	const hex = "0123456789abcdef"
	for i := seqDigits - 1; i >= 0; i-- {
		body[len(mark)+i] = hex[seq&15]
		seq >>= 4
	}
}
