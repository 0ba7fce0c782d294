package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"unicode/utf8"

	"holdfast/cmd/holdfast/internal/client"
)

// sendWhole sends each input as one item, one after the other. A file that
// the server refuses is counted; want of room or of a server ends it.
func (p *putJob) sendWhole(ctx context.Context) error {
	for i, path := range p.inputs {
		answer, err := p.putFile(ctx, path, i)
		if err == nil {
			err = p.tally.add(p, answer)
		}
		if err != nil {
			p.meter.finish()
			p.tally.summary(p)
			if ctx.Err() != nil {
				err = fmt.Errorf("interrupted at %s", where(client.Origin{Name: path}))
			}
			return err
		}
	}
	p.meter.finish()
	p.tally.summary(p)
	return p.verdict("files")
}

func (p *putJob) putFile(ctx context.Context, path string, i int) (client.Answer, error) {
	body, err := p.readWhole(path)
	if err != nil {
		return client.Answer{}, err
	}
	key := p.key
	if key != "" && len(p.inputs) > 1 {
		key += "-" + strconv.Itoa(i+1)
	}
	answer, err := p.client.PutItem(ctx, client.Put{
		Meta: p.meta, ContentType: contentType(body), Body: body, IdempotencyKey: key, Wait: p.wait,
	})
	if problem, ok := errors.AsType[*client.Problem](err); ok && problemCode(problem) != ExitTemporary {
		var raw []byte
		raw, err = json.Marshal(problem)
		answer = client.Answer{Problem: &client.Doc[client.Problem]{Value: *problem, Raw: raw}}
	}
	answer.Origin = client.Origin{Name: path, Size: len(body)}
	return answer, err
}

func (p *putJob) readWhole(path string) ([]byte, error) {
	in := p.In
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, &ExitError{Code: ExitIO, Err: err}
		}
		defer file.Close()
		in = file
	}
	body, err := io.ReadAll(io.LimitReader(in, maxPut+1))
	if err != nil {
		return nil, &ExitError{Code: ExitIO, Err: err}
	}
	if len(body) > maxPut {
		return nil, fmt.Errorf("%s: longer than %s", where(client.Origin{Name: path}), size(maxPut))
	}
	return body, nil
}

// contentType is what a file is: as for a line JSON if it parses, text if it
// is, else what its first bytes look like.
func contentType(body []byte) string {
	switch {
	case json.Valid(body):
		return "application/json"
	case utf8.Valid(body):
		return "text/plain"
	}
	return http.DetectContentType(body)
}
