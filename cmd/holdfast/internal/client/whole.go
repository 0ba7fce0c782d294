package client

import (
	"encoding/json"
	"fmt"
)

// A checked answer knows what it must have, so that no 2xx of something else is taken for a holdfast server's.
type checked interface {
	lacks() string // a member that it must have and has not; empty: none
}

// wants is what a document of each kind must have.
type wants interface{ must() []string }

func (Receipt) must() []string    { return []string{"id"} }
func (ItemState) must() []string  { return []string{"id", "state"} }
func (Sink) must() []string       { return []string{"sink"} }
func (DeadLetter) must() []string { return []string{"sink", "id"} }
func (Count) must() []string      { return []string{"count"} }
func (Status) must() []string     { return []string{"state"} }

func (d Doc[T]) lacks() string {
	w, ok := any(d.Value).(wants)
	if !ok {
		return ""
	}
	var have map[string]json.RawMessage
	_ = json.Unmarshal(d.Raw, &have) // what is no object has nothing
	for _, name := range w.must() {
		if v := string(have[name]); v == "" || v == "null" || v == `""` {
			return name
		}
	}
	return ""
}

func (p Page[T]) lacks() string {
	if p.Items == nil {
		return "items"
	}
	return ""
}

// whole says what is wrong with an answer that lacks what it must have.
func whole(out any) error {
	if c, ok := out.(checked); ok {
		if name := c.lacks(); name != "" {
			return fmt.Errorf("there is no %q in the answer", name)
		}
	}
	return nil
}

// health is what /healthz and /readyz answer.
type health struct {
	Status string `json:"status"`
}

func (h *health) lacks() string {
	if h.Status != "ok" && h.Status != "ready" {
		return "status"
	}
	return ""
}

// acceptedAll is what is needed of the answer to several items.
type acceptedAll struct {
	Accepted *int `json:"accepted"`
}

func (a *acceptedAll) lacks() string {
	if a.Accepted == nil {
		return "accepted"
	}
	return ""
}
