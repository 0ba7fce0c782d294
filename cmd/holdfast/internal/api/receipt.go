package api

import (
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"holdfast/queue"
)

// answerReceipts answers that the items are durable.
func (s *Server) answerReceipts(w http.ResponseWriter, d head, receipts []queue.Receipt) {
	var enc encoder
	if !d.format.several() {
		s.answer(w, http.StatusAccepted, "application/json", enc.receipt(nil, &receipts[0]))
		return
	}
	b, duplicates := []byte(`{"items":[`), 0
	for i := range receipts {
		if i > 0 {
			b = append(b, ',')
		}
		if b = enc.receipt(b, &receipts[i]); receipts[i].Duplicate {
			duplicates++
		}
	}
	b = append(b, `],"accepted":`...)
	b = strconv.AppendInt(b, int64(len(receipts)-duplicates), 10)
	b = append(b, `,"duplicates":`...)
	b = strconv.AppendInt(b, int64(duplicates), 10)
	s.answer(w, http.StatusAccepted, "application/json", append(b, '}'))
}

// An encoder writes receipts by hand: a stream has hundreds of thousands a second. It remembers the text of the last
// time, for a group commit has one. One goroutine uses it.
type encoder struct {
	ms   int64
	text []byte
}

// receipt appends {"id","accepted","duplicate","routed_to":[…]}; a duplicate has no routed_to.
func (e *encoder) receipt(b []byte, r *queue.Receipt) []byte {
	b = append(b, `{"id":"`...)
	b = appendID(b, r)
	b = append(b, `","accepted":"`...)
	b = append(b, e.time(r.Accepted)...)
	if r.Duplicate {
		return append(b, `","duplicate":true}`...)
	}
	b = append(b, `","duplicate":false,"routed_to":[`...)
	for i, name := range r.RoutedTo {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendName(b, name)
	}
	return append(b, `]}`...)
}

func (e *encoder) time(t time.Time) []byte {
	if ms := t.UnixMilli(); e.text == nil || ms != e.ms {
		e.ms, e.text = ms, t.UTC().AppendFormat(e.text[:0], stamp)
	}
	return e.text
}

func appendID(b []byte, r *queue.Receipt) []byte {
	const hex = "0123456789abcdef"
	for i, c := range r.ID {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hex[c>>4], hex[c&15])
	}
	return b
}

// appendName appends a JSON string, without a detour if it holds nothing to escape.
func appendName(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return append(b, encode(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
