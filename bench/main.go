// Command bench measures holdfast's library beside a raw-disk floor in the same run, and prints one table.
//
// The floor is what the disk allows: one writer that gathers what waits, writes it, flushes it once, and answers. It
// has no queue and no sinks. Speeds on shared machines are only worth something as ratios inside a round, so every round
// runs the floor, then holdfast, then the floor again, and the table shows medians of the rounds' ratios; a round whose
// two floors differ by more than half is thrown away, and counted.
//
// Bytes written are our own writes in whole pages, and beside them what /proc/diskstats says of the device.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
)

// A workload is how items are produced.
type workload struct {
	name      string
	producers int
	batch     int // items per request
	items     int
}

const (
	bodyBytes = 512
	sinkCount = 3
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds to keep, per workload")
	scale := flag.Float64("scale", 1, "multiplies the number of items")
	dir := flag.String("dir", ".", "where to make scratch data; a real disk")
	backlog := flag.Int("drain", 1_000_000, "items of the backlog that is drained")
	flag.Parse()
	if err := measure(*rounds, *scale, *dir, *backlog); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(rounds int, scale float64, dir string, backlog int) error {
	scratch, err := os.MkdirTemp(dir, "holdfast-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	fmt.Printf("%d B items, %d sinks, medians of %d rounds\n\n", bodyBytes, sinkCount, rounds)
	fmt.Println("workload        floor/s   accept/s  ratio [min, max]   e2e/s     ratio  bytes/item (floor, device)  thrown away")
	for _, w := range []workload{{"1 producer", 1, 1, 20_000}, {"64 producers", 64, 1, 400_000}, {"4 × 256", 4, 256, 2_000_000}} {
		w.items = int(float64(w.items) * scale)
		if err := compare(w, rounds, scratch); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	rate, lanes, err := drain(scratch, backlog)
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	fmt.Printf("\ndrain of %d items by %d sinks: %.0f deliveries/s from the feeds, %.0f/s through lanes with batches of 256\n", backlog, sinkCount, rate, lanes)
	return nil
}

// compare runs the rounds of one workload and prints its row.
func compare(w workload, rounds int, dir string) error {
	var floors, accepts, e2es, ours, floorBytes, device, acceptRatio, e2eRatio []float64
	thrown := 0
	for len(acceptRatio) < rounds && thrown < 2*rounds {
		before, err := runFloor(w, dir)
		if err != nil {
			return err
		}
		h, err := runLibrary(w, dir)
		if err != nil {
			return err
		}
		after, err := runFloor(w, dir)
		if err != nil {
			return err
		}
		if max(before.rate, after.rate) > 1.5*min(before.rate, after.rate) {
			thrown++
			continue
		}
		floor := (before.rate + after.rate) / 2
		floors, floorBytes = append(floors, floor), append(floorBytes, before.bytes)
		accepts, e2es = append(accepts, h.rate), append(e2es, h.e2e)
		ours, device = append(ours, h.bytes), append(device, h.device)
		acceptRatio, e2eRatio = append(acceptRatio, h.rate/floor), append(e2eRatio, h.e2e/floor)
	}
	if len(acceptRatio) == 0 {
		fmt.Printf("%-14s every round was thrown away: the disk is not quiet\n", w.name)
		return nil
	}
	fmt.Printf("%-14s %8.0f %10.0f   %.2f [%.2f, %.2f] %9.0f   %.2f   %.0f (%.0f, %.0f) %18d\n", w.name, median(floors), median(accepts),
		median(acceptRatio), slices.Min(acceptRatio), slices.Max(acceptRatio), median(e2es), median(e2eRatio), median(ours), median(floorBytes), median(device), thrown)
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
