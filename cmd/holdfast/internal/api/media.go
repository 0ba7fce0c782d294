package api

import (
	"net/http"
	"strings"

	"holdfast/cmd/holdfast/internal/source/cloudevents"
)

// A format is how items stand in a body.
type format int

const (
	single     format = iota // the body is one item
	event                    // the body is one item, and the headers make it a CloudEvent
	structured               // the body is one CloudEvent
	lines                    // each line is an item
	envelopes                // each line is an envelope of an item
	batch                    // the body is a list of CloudEvents
)

// several reports whether a body may hold more than one item, and is answered so even if it holds one.
func (f format) several() bool { return f >= lines }

// media reads what the body is. Headers of a CloudEvent make the body its data, one item whatever its type; but a body
// that is a CloudEvent itself has the say over headers, which may repeat what is in it.
func (d *head) media(h http.Header) error {
	ct, err := one(h, "Content-Type")
	if err != nil {
		return err
	}
	media, _, _ := strings.Cut(ct, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if d.contentType = ct; media == "" {
		d.contentType = "application/octet-stream"
	}
	switch {
	case media == "application/cloudevents+json":
		d.format = structured
	case media == "application/cloudevents-batch+json":
		d.format = batch
	case strings.HasPrefix(media, "application/cloudevents"):
		return located(Unsupported, 0, "Content-Type", quote(ct)+" is not supported: CloudEvents come as application/cloudevents+json, application/cloudevents-batch+json or in headers")
	case cloudevents.InHeaders(h):
		d.format = event
	case media == "application/x-ndjson", media == "application/jsonl":
		d.format = lines
	case media == "application/vnd.holdfast.items+ndjson":
		d.format = envelopes
	}
	return nil
}

// An encoding is how a body is compressed on its way.
type encoding string

const (
	identity  encoding = ""
	gzipped   encoding = "gzip"
	zstandard encoding = "zstd"
)

// encodings is what a refusal offers.
const encodings = "gzip, zstd"

// coding reads the Content-Encoding. One over another is refused: it is never of use, and a bomb's fuse.
func (d *head) coding(h http.Header) error {
	const name = "Content-Encoding"
	given := 0
	for _, v := range h.Values(name) {
		for enc := range strings.SplitSeq(v, ",") {
			switch enc = strings.ToLower(strings.TrimSpace(enc)); enc {
			case "", "identity":
				continue
			case "gzip", "x-gzip": // RFC 9110, section 8.4.1.3
				d.encoding = gzipped
			case "zstd":
				d.encoding = zstandard
			default:
				return located(Unsupported, 0, name, quote(enc)+" is not supported: send gzip, zstd, or the body as it is")
			}
			given++
		}
	}
	if given > 1 {
		return located(Unsupported, 0, name, "one encoding over another is not supported")
	}
	return nil
}
