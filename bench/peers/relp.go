package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// A relpConn is a producer of RELP, the protocol of syslog that answers: frames of a number, a command, a length and data.
type relpConn struct {
	conn   net.Conn
	in     *bufio.Reader
	number int // of the last frame
	out    []byte
}

const mostRELPNumber = 999_999_999

func dialRELP(addr string) (*relpConn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &relpConn{conn: c, in: bufio.NewReaderSize(c, 64<<10)}
	r.frame("open", []byte("relp_version=0\nrelp_software=bench\ncommands=syslog"))
	if err := r.ask(1); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return r, nil
}

// frame adds one to what is sent next.
func (r *relpConn) frame(command string, data []byte) {
	if r.number++; r.number > mostRELPNumber {
		r.number = 1
	}
	r.out = strconv.AppendInt(r.out, int64(r.number), 10)
	r.out = append(append(append(r.out, ' '), command...), ' ')
	r.out = append(strconv.AppendInt(r.out, int64(len(data)), 10), ' ')
	r.out = append(append(r.out, data...), '\n')
}

// ask sends what was gathered, and reads that many answers.
func (r *relpConn) ask(answers int) error {
	_, err := r.conn.Write(r.out)
	r.out = r.out[:0]
	for i := 0; i < answers && err == nil; i++ {
		err = r.answer()
	}
	return err
}

// answer reads "number rsp length 200 …".
func (r *relpConn) answer() error {
	for range 2 {
		if _, err := r.in.ReadSlice(' '); err != nil {
			return err
		}
	}
	size, err := r.in.ReadSlice(' ')
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(size[:len(size)-1]))
	if err != nil {
		return fmt.Errorf("relp: %w", err)
	}
	data := make([]byte, n+1) // and the line's end
	if _, err := io.ReadFull(r.in, data); err != nil {
		return err
	}
	if !bytes.HasPrefix(data, []byte("200")) {
		return fmt.Errorf("relp: %s", data)
	}
	return nil
}
