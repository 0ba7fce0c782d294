package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"
	"holdfast/cmd/holdfast/internal/client"
)

// maxRefusals is how many refused lines are told one by one.
const maxRefusals = 20

// tally counts the answers of one put.
type tally struct {
	accepted, duplicates, refused int
	complete, pending, failed     int           // of the joins that were waited for
	turned                        int           // not stored, for the server stopped
	unsure                        int           // stored or not: the server cannot tell
	repeats                       int           // stored, or perhaps, behind last
	last                          client.Origin // up to here nothing need be sent again
	overLong                      bool          // the last answer was that the line is too large
}

// putAnswer is a line of put -o json.
type putAnswer struct {
	File    string                        `json:"file"`
	Line    int                           `json:"line,omitempty"`
	Receipt *client.Doc[client.Receipt]   `json:"receipt,omitempty"`
	Item    *client.Doc[client.ItemState] `json:"item,omitempty"`
	Problem *client.Doc[client.Problem]   `json:"problem,omitempty"`
}

// add counts an answer and shows it.
func (t *tally) add(p *putJob, a client.Answer) error {
	turned := t.turned
	t.overLong = a.Problem != nil && a.Problem.Value.Status == http.StatusRequestEntityTooLarge
	switch {
	case a.Problem != nil && a.Problem.Value.Code == "stopping":
		t.turned++
	case a.Problem != nil && a.Problem.Value.Code == "uncertain":
		t.unsure++
	case a.Problem != nil:
		t.refused++
		t.tellRefusal(p, a)
	case a.Item != nil:
		if a.Item.Value.Duplicate {
			t.duplicates++
		} else {
			t.accepted++
		}
		t.addJoin(a.Item.Value)
	case a.Receipt.Value.Duplicate:
		t.duplicates++
	default:
		t.accepted++
	}
	switch {
	case t.turned+t.unsure == 0:
		t.last = a.Origin
	case t.turned == turned:
		t.repeats++
	}
	p.meter.add(a.Origin.Size)
	if p.output != "json" {
		return nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(putAnswer{a.Origin.Name, a.Origin.Line, a.Receipt, a.Item, a.Problem}); err != nil {
		return err
	}
	return p.write(b.Bytes())
}

func (t *tally) addJoin(it client.ItemState) {
	lost := it.State == "lost" // to some sink, which never gets it
	if it.State != "complete" && !lost {
		t.pending++
		return
	}
	t.complete++
	if lost || slices.ContainsFunc(it.Sinks, func(s client.SinkState) bool { return s.State != "done" }) {
		t.failed++
	}
}

func (t *tally) tellRefusal(p *putJob, a client.Answer) {
	if t.refused > maxRefusals {
		return
	}
	p.meter.clear()
	fmt.Fprintln(p.Err, cleanLines(where(a.Origin)+": refused: "+a.Problem.Value.Error()))
	if t.refused == maxRefusals {
		fmt.Fprintln(p.Err, "more refusals are only counted; -o json has them all")
	}
}

// durable is how many lines the server holds for sure.
func (t *tally) durable() int { return t.accepted + t.duplicates }

func (t *tally) summary(p *putJob) {
	text := fmt.Sprintf("%s accepted, %s, %s refused",
		plural(t.accepted, "item"), plural(t.duplicates, "duplicate"), count(int64(t.refused)))
	if p.wait > 0 {
		text += fmt.Sprintf("; %s complete, %s pending", count(int64(t.complete)), count(int64(t.pending)))
	}
	if t.failed > 0 {
		text += fmt.Sprintf(", %s not delivered to every sink", count(int64(t.failed)))
	}
	p.notice("%s", text)
}

func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return count(int64(n)) + " " + word
}

// meter shows how much is durable, on a terminal; elsewhere it does nothing.
type meter struct{ bar *progressbar.ProgressBar }

// newMeter makes one for total bytes, -1 if nobody knows. None is shown to
// someone who is typing the lines.
func (p *putJob) newMeter(total int64) *meter {
	if p.quiet || !p.Terminal(p.Err) || total < 0 && p.Terminal(p.In) {
		return &meter{}
	}
	return &meter{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.Err),
		progressbar.OptionSetDescription("durable"),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(),
	)}
}

func (m *meter) add(n int) {
	if m.bar != nil {
		m.bar.Add(n)
	}
}

func (m *meter) clear() {
	if m.bar != nil {
		m.bar.Clear()
	}
}

func (m *meter) finish() {
	if m.bar != nil {
		m.bar.Finish()
	}
}
