package subject

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Operate pauses or resumes a sink.
func (p *process) Operate(sink, verb string) error {
	r, err := http.Post("http://"+p.addr+"/v1/sinks/"+sink+"/"+verb, "", nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); r.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s", verb, sink, r.Status, text)
	}
	return nil
}

// metric is the sum of a metric over its labels, as the server tells it.
func (p *process) metric(name string) (sum float64, err error) {
	r, err := http.Get("http://" + p.addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	found := false
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		metric, value, _ := strings.Cut(s.Text(), " ")
		if base, _, _ := strings.Cut(metric, "{"); base != name {
			continue
		}
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+f, true
	}
	if !found {
		return 0, fmt.Errorf("the server has no metric %s", name)
	}
	return sum, nil
}

// Written is what the server has handed to the device, in bytes, and in how many commits, since it was started.
func (p *process) Written() (bytes, commits float64, err error) {
	bytes, err = p.metric("holdfast_device_written_bytes_total")
	if err != nil {
		return 0, 0, err
	}
	commits, err = p.metric("holdfast_commit_duration_seconds_count")
	return bytes, commits, err
}
