package main

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A result is what one run showed.
type result struct {
	rate   float64 // items/s accepted
	e2e    float64 // items/s until the last sink had the last item
	bytes  float64 // written per item: our own writes, in whole pages
	device float64 // written per item: the device's own count
}

// A write is a request to the floor.
type write struct {
	body []byte
	done chan struct{}
}

// runFloor is one writer behind a channel: all that waits is one write and one fdatasync.
func runFloor(w workload, dir string) (result, error) {
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return result{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(w.items)*bodyBytes+8<<20); err != nil {
		return result{}, err
	}
	if err := f.Sync(); err != nil {
		return result{}, err
	}
	requests, pages, failed := make(chan write, 4096), int64(0), make(chan error, 1)
	go func() {
		n, err := writeAll(f, requests)
		pages = n
		failed <- err
	}()
	began := time.Now()
	produce(w, func(bodies [][]byte) error {
		one := write{make([]byte, 0, len(bodies)*bodyBytes), make(chan struct{})}
		for _, b := range bodies {
			one.body = append(one.body, b...)
		}
		requests <- one
		<-one.done
		return nil
	})
	took := time.Since(began)
	close(requests)
	err = <-failed
	return result{rate: float64(w.items) / took.Seconds(), bytes: float64(pages) / float64(w.items)}, err
}

func writeAll(f *os.File, requests <-chan write) (pages int64, err error) {
	var buf []byte
	var waiting []write
	off := int64(0)
	for r := range requests {
		buf, waiting = append(buf[:0], r.body...), append(waiting[:0], r)
		for more := true; more && len(buf) < 4<<20; {
			select {
			case r, open := <-requests:
				if more = open; open {
					buf, waiting = append(buf, r.body...), append(waiting, r)
				}
			default:
				more = false
			}
		}
		if _, err := f.WriteAt(buf, off); err != nil {
			return pages, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return pages, err
		}
		end := off + int64(len(buf))
		pages += (end+4095)/4096*4096 - off/4096*4096
		off = end
		for _, r := range waiting {
			close(r.done)
		}
	}
	return pages, nil
}

// produce calls put from w.producers goroutines until all items are through, and returns the first error.
func produce(w workload, put func(bodies [][]byte) error) error {
	var left atomic.Int64
	left.Store(int64(w.items))
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	for range w.producers {
		wg.Go(func() {
			bodies := make([][]byte, w.batch)
			for i := range bodies {
				bodies[i] = make([]byte, bodyBytes)
			}
			for left.Add(int64(-w.batch)) >= 0 && first.Load() == nil {
				if err := put(bodies); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
