package main

import "holdfast/bench/harness"

// A report is everything that was measured. Its JSON form is what -json writes.
type report struct {
	harness.Heading
	Failed []string `json:"failed,omitempty"` // parts

	Proofs   []harness.Proof   `json:"classes,omitempty"`
	Rows     []harness.Row     `json:"rows,omitempty"`
	Loads    []load            `json:"loads,omitempty"`
	Dead     *badSink          `json:"dead_sink,omitempty"`
	Slow     *badSink          `json:"slow_sink,omitempty"`
	Restarts []harness.Backlog `json:"restarts,omitempty"`
	Growth   *growth           `json:"growth,omitempty"`
	Idle     *idleness         `json:"idle,omitempty"`
	Flash    []wear            `json:"flash,omitempty"`
	Goals    []harness.Goal    `json:"goals"`
}

// classes are what was proven, by the name of the system; a floor's is what the others are compared with.
func (r *report) classes() map[string]string {
	m := map[string]string{}
	for _, p := range r.Proofs {
		m[p.System] = p.Class
	}
	return m
}
