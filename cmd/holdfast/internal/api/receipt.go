package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"holdfast/queue"
)

// receiptBytes is room for a receipt with a few sinks.
const receiptBytes = 256

// answerReceipts answers that the items are durable.
func (s *Server) answerReceipts(w http.ResponseWriter, d head, receipts []queue.Receipt) {
	if !d.format.several() {
		s.answer(w, http.StatusAccepted, "application/json", appendReceipt(make([]byte, 0, receiptBytes), &receipts[0]))
		return
	}
	b, duplicates := []byte(`{"items":[`), 0
	for i := range receipts {
		if i > 0 {
			b = append(b, ',')
		}
		if b = appendReceipt(b, &receipts[i]); receipts[i].Duplicate {
			duplicates++
		}
	}
	b = append(b, `],"accepted":`...)
	b = strconv.AppendInt(b, int64(len(receipts)-duplicates), 10)
	b = append(b, `,"duplicates":`...)
	b = strconv.AppendInt(b, int64(duplicates), 10)
	s.answer(w, http.StatusAccepted, "application/json", append(b, '}'))
}

// appendReceipt appends {"id","accepted","duplicate","routed_to":[…]}; a duplicate has no routed_to. It is written by hand: a
// stream has hundreds of thousands a second.
func appendReceipt(b []byte, r *queue.Receipt) []byte {
	b = append(b, `{"id":"`...)
	b = appendID(b, r)
	b = append(b, `","accepted":"`...)
	b = append(b, textOf(r.Accepted)...)
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

// A timeText is a time in ms since 1970, and its text.
type timeText struct {
	ms   int64
	text string
}

// lastText is what textOf said last: all receipts of a group commit have one time, whoever they are for.
var lastText atomic.Pointer[timeText]

func textOf(t time.Time) string {
	ms, last := t.UnixMilli(), lastText.Load()
	if last == nil || last.ms != ms {
		last = &timeText{ms, when(t)}
		lastText.Store(last)
	}
	return last.text
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
