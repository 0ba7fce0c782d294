// Package book is the independent judge of a run: it holds what producers were told and what receivers got, and knows
// nothing of how the service works. A Record is plain data, Check a pure function of it; a Book writes a Record while
// things happen.
package book

import (
	"slices"
	"time"
)

// A Record is everything that happened. N orders what producers and receivers saw: a larger N was later.
type Record struct {
	Sinks []Sink
	Told  []Told
	Got   []Got
	Kills []time.Time // Kills[g] is the end of the process of life g; the last life may have none
}

// A Sink is a receiver by its name.
type Sink struct {
	Name   string
	Strict bool // items come in the order in which they were accepted
}

// An Answer is what a producer knows of an item.
type Answer int

// The answers.
const (
	Uncertain Answer = iota + 1 // none came, or one that said so
	Refused                     // not stored
	Durable                     // stored
	Delivered                   // stored, and every sink has it
)

// Told is one answer to a producer. An item that is sent again has more than one.
type Told struct {
	N       int
	Tag     string // of the item: unique, its producer's own
	Body    string
	Request string // items of one request have it in common
	Answer  Answer
	ID      string // empty: not known
	Life    int
	At      time.Time
}

// Got is one request that a receiver saw.
type Got struct {
	N     int
	Sink  string
	ID    string
	Body  string
	Taken bool // answered with success
	Life  int  // of the process that sent it
	At    time.Time
}

// Clone returns a Record that can be spoiled.
func (r *Record) Clone() *Record {
	return &Record{slices.Clone(r.Sinks), slices.Clone(r.Told), slices.Clone(r.Got), slices.Clone(r.Kills)}
}
