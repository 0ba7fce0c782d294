package floor

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"holdfast/bench/harness"
)

// A frame is a length of four bytes and a body; the answer to each is one byte, once it is on disk. What a connection has
// sent in one go is one request, as it is one POST or one burst for holdfast.
const frameBytes = 4 + harness.BodyBytes

// childEnv holds the size of a floor's file, and with a blank between its directory.
const childEnv = "HOLDFAST_BENCH_FLOOR"

// Child serves the floor if this process was started for that, until its parent ends it, and says whether it was.
func Child() bool {
	spec := os.Getenv(childEnv)
	if spec == "" {
		return false
	}
	if err := serve(spec, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
	return true
}

// serve prints its address, and then its counts for each line that comes in; it ends when no more can come.
func serve(spec string, in io.Reader, out io.Writer) error {
	size, dir, _ := strings.Cut(spec, " ")
	bytes, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return err
	}
	w, err := open(dir, bytes)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, w.close())
	}
	go w.accept(ln)
	fmt.Fprintln(out, ln.Addr())
	for lines := bufio.NewScanner(in); lines.Scan(); {
		fmt.Fprintln(out, w.pages.Load(), w.syncs.Load())
	}
	return ln.Close() // the process ends, and with it the connections and the writer
}

func (w *writer) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			w.serve(c) // an error is the end of the connection, which the client sees
		}()
	}
}

// serve answers one connection.
func (w *writer) serve(c net.Conn) error {
	const most = 512 // frames
	r := bufio.NewReaderSize(c, most*frameBytes)
	one := request{answer: make(chan error, 1)}
	answers := make([]byte, most)
	for {
		if _, err := r.Peek(frameBytes); err != nil {
			return err
		}
		frames, _ := r.Peek(r.Buffered() / frameBytes * frameBytes)
		one.body = one.body[:0]
		n := 0
		for ; len(frames) > 0; frames = frames[frameBytes:] {
			if binary.BigEndian.Uint32(frames) != harness.BodyBytes {
				return errors.New("a frame of another size")
			}
			one.body = append(one.body, frames[4:frameBytes]...)
			n++
		}
		r.Discard(n * frameBytes)
		w.requests <- &one
		if err := <-one.answer; err != nil {
			return err
		}
		if _, err := c.Write(answers[:n]); err != nil {
			return err
		}
	}
}
