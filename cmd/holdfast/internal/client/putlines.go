package client

import (
	"bytes"
	"context"
	"net/http"
)

// PutLines sends several items in one request, each the bytes of a line, all or none of which are accepted. When it
// returns nil they are durable, and accepted is how many they are.
func (c *Client) PutLines(ctx context.Context, m Meta, lines []byte) (accepted int, err error) {
	req, err := c.request(ctx, http.MethodPost, bytes.NewReader(lines), "v1", "items")
	if err != nil {
		return 0, err
	}
	req.Header = m.Header()
	req.Header.Set("Content-Type", "application/x-ndjson")
	var answer acceptedAll
	if _, err = c.exchange(req, 0, &answer); err != nil {
		return 0, err
	}
	return *answer.Accepted, nil
}
