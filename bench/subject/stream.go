package subject

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"

	"holdfast/bench/harness"
)

// The clients of holdfast's server write HTTP/1.1 by hand. What net/http would cost here, on the cores that the server
// needs, it would cost the server in the table.

// lineHas is what the answer to a line of a stream holds, and to a POST, when an item is accepted.
var lineHas = []byte(`"receipt":`)

// A streamConn is a producer of POST /v1/stream.
type streamConn struct {
	conn net.Conn
	in   *bufio.Reader // of the answers, without their chunks
	body []byte
	out  []byte
}

func dialStream(addr string, n int) (harness.Client, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	head := "POST /v1/stream HTTP/1.1\r\nHost: " + addr + "\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := io.WriteString(c, head); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	answers := bufio.NewReaderSize(c, 64<<10)
	resp, err := http.ReadResponse(answers, nil)
	if err == nil && (resp.StatusCode != http.StatusOK || len(resp.TransferEncoding) == 0) {
		err = fmt.Errorf("POST /v1/stream: %s, with the transfer encodings %q", resp.Status, resp.TransferEncoding)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	in := bufio.NewReaderSize(httputil.NewChunkedReader(answers), 64<<10)
	return &streamConn{c, in, append(harness.NewBody(), '\n'), make([]byte, 0, n*(harness.BodyBytes+1)+32)}, nil
}

func (c *streamConn) Put(_ context.Context, seq, n int) error {
	c.out = strconv.AppendInt(c.out[:0], int64(n*len(c.body)), 16)
	c.out = append(c.out, "\r\n"...)
	for i := range n {
		harness.SetSeq(c.body, seq+i)
		c.out = append(c.out, c.body...)
	}
	c.out = append(c.out, "\r\n"...)
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	for range n {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		if !bytes.Contains(line, lineHas) {
			return fmt.Errorf("not accepted: %s", line)
		}
	}
	return nil
}

// Close ends the stream in good order.
func (c *streamConn) Close() error {
	_, err := io.WriteString(c.conn, "0\r\n\r\n")
	if err == nil {
		_, err = io.Copy(io.Discard, c.in)
	}
	return errors.Join(err, c.conn.Close())
}
