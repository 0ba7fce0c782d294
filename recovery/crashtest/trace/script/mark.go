package script

import (
	"encoding/json"
	"fmt"
	"io"
)

// A Mark is what the process says about itself, one line of JSON each. One field is set.
type Mark struct {
	Ready   *Ready   `json:",omitempty"` // the sinks are durable
	Put     *Put     `json:",omitempty"` // a request is about to be handed over
	Acked   *Acked   `json:",omitempty"` // it was answered: durable
	Begin   *Version `json:",omitempty"` // the next commit of queues.db is about to begin
	Durable int      `json:",omitempty"` // that of the version has returned
	Opened  *Opened  `json:",omitempty"` // a start is over
	Opening string   `json:",omitempty"` // one begins, of the store in this directory
}

// Ready is empty.
type Ready struct{}

// A Put is a request: all of its items or none.
type Put struct {
	Request int
	Tags    []int
}

// Acked tells the ids that the items of a request got.
type Acked struct {
	Request int
	IDs     []string
}

// A Version is a commit of queues.db by what it changes. Durable counts from 1.
type Version struct {
	Number  int
	Changes []Change
}

// A Change is what a delivery becomes; empty: nothing is left of it.
type Change struct {
	Sink string
	Tag  int
	To   string
}

// Opened is what a start found.
type Opened struct{ State State }

// write writes the mark in one call.
func (m Mark) write(to io.Writer) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = to.Write(append(line, '\n'))
	return err
}

// ReadMark reads what one call wrote.
func ReadMark(line []byte) (m Mark, err error) {
	if err = json.Unmarshal(line, &m); err != nil {
		err = fmt.Errorf("mark %q: %w", line, err)
	}
	return m, err
}
