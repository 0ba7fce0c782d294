// Package sinktest is the suite that every sink passes: one subtest for each sentence of the contract of package sinks,
// against a real receiver that keeps a book.
//
// A sink's test fills in a Harness and calls Run. What a sink or its receiver cannot do is said in Harness.Lacks, with the
// reason: Run fails where a Fault is neither offered nor excused, or both, so that no sentence is left out silently.
//
// The subtests of one Run do not run in parallel: they count goroutines and measure time.
package sinktest

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"holdfast/sinks"
)

// Poison is what a receiver broken by Refuse looks for in a body.
const Poison = "sinktest-poison"

// A Fault is a way for a receiver to misbehave, or another thing that a sentence of the suite needs.
type Fault string

// The faults.
const (
	Refuse    Fault = "refuse"     // refuses for good what holds Poison, takes the rest
	Hang      Fault = "hang"       // is reached, and neither answers nor takes more than a few 100 KiB
	Reset     Fault = "reset"      // breaks the connection instead of answering
	Dribble   Fault = "dribble"    // takes or gives a byte at a time, for longer than anyone waits
	WrongTLS  Fault = "wrong tls"  // has a certificate that nothing vouches for
	Partial   Fault = "partial"    // the sink tells which items of a batch were refused; nothing to break
	LineFeeds Fault = "line feeds" // the book can hold a body with an LF; nothing to break
	Secrets   Fault = "secrets"    // the sink is configured with secrets; nothing to break
)

var faults = []Fault{Refuse, Hang, Reset, Dribble, WrongTLS, Partial, LineFeeds, Secrets}

// A Harness is a sink and its receiver, ready to be put through the suite.
type Harness struct {
	// Start gives a receiver that is up and takes everything. It cleans up after itself by tb.Cleanup.
	Start func(tb testing.TB) Receiver
	// Lacks has a reason for every Fault that Receiver.Break does not have.
	Lacks map[Fault]string
}

// A Receiver is a real destination. Its functions are not called concurrently, except while Deliver runs.
type Receiver struct {
	New     func() (sinks.Sink, error) // a sink for this receiver, whether it is up or not
	Book    func() [][]byte            // the bodies it took, in order
	Stop    func()                     // makes it unreachable and ends its goroutines
	Heal    func()                     // makes it reachable at the same place, without faults and with its book
	Break   map[Fault]func()           // from now on it misbehaves; called before New. Nil for what needs no breaking
	Secrets []string                   // what no error may show
}

// Run puts a sink through every sentence of the contract.
func Run(t *testing.T, h Harness) {
	if err := h.check(t); err != nil {
		t.Fatal(err)
	}
	for _, s := range sentences {
		t.Run(s.name, func(t *testing.T) {
			if why, lacks := h.Lacks[s.needs]; lacks {
				t.Skipf("the harness says that there is no %q here: %s", s.needs, why)
			}
			s.run(t, h)
		})
	}
}

func (h Harness) check(tb testing.TB) error {
	has := h.Start(tb).Break
	for _, f := range faults {
		_, offered := has[f]
		if why, lacks := h.Lacks[f]; offered == lacks || lacks && why == "" {
			return fmt.Errorf("the harness must either offer %q or say why not (offered %t, excused %q)", f, offered, why)
		}
	}
	return nil
}

// Attrs are attributes in a map, for tests.
type Attrs map[string]string

// Get returns the value, empty where the name is missing.
func (a Attrs) Get(name string) string { return a[name] }

// All yields names and values, by name.
func (a Attrs) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range slices.Sorted(maps.Keys(a)) {
			if !yield(name, a[name]) {
				return
			}
		}
	}
}

// Items makes items with these bodies, each with an id of its own, attributes and attempt 1.
func Items(bodies ...string) []sinks.Item {
	items := make([]sinks.Item, len(bodies))
	for i, body := range bodies {
		items[i] = sinks.Item{
			ID:       uuid.Must(uuid.NewV7()),
			Accepted: time.Now(),
			Attempt:  1,
			Key:      fmt.Sprint("key", i%3),
			Attrs:    Attrs{"type": "door.open", "source": "sinktest", "floor": fmt.Sprint(i)},
			Body:     []byte(body),
		}
	}
	return items
}

// Numbered makes n items whose bodies are different and short.
func Numbered(prefix string, n int) []sinks.Item {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("%s %04d", prefix, i)
	}
	return Items(bodies...)
}

// everyByte is a body with each byte but LF, which lines cannot hold, and without a CR at its end.
func everyByte() string {
	var b strings.Builder
	for i := range 256 {
		if i != '\n' {
			b.WriteByte(byte(i))
		}
	}
	return b.String()
}
