package floor

import (
	"context"
	"encoding/binary"
	"io"
	"net"

	"holdfast/bench/harness"
)

// A conn is a producer of the floor behind TCP.
type conn struct {
	net.Conn
	body []byte
	out  []byte
	in   []byte
}

func dial(addr string, n int) (harness.Client, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{c, harness.NewBody(), make([]byte, 0, n*frameBytes), make([]byte, n)}, nil
}

func (c *conn) Put(_ context.Context, seq, n int) error {
	c.out = c.out[:0]
	for i := range n {
		harness.SetSeq(c.body, seq+i)
		c.out = append(binary.BigEndian.AppendUint32(c.out, harness.BodyBytes), c.body...)
	}
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	_, err := io.ReadFull(c.Conn, c.in[:n])
	return err
}
