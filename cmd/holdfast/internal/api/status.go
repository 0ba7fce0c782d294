package api

import (
	"net/http"
	"time"

	"holdfast/queue"
)

// A statusShape is the service as a whole.
type statusShape struct {
	Version   string      `json:"version"`
	Uptime    int64       `json:"uptime_seconds"`
	State     string      `json:"state"` // ready, full, disk_full, stopping, uncertain: the disk does not answer
	Accepting bool        `json:"accepting"`
	DataDir   string      `json:"data_dir"`
	Disk      diskShape   `json:"disk"`
	Segments  int         `json:"segments"`
	Accepted  int64       `json:"accepted"` // items, since the store was made
	Released  int64       `json:"released"` // those of them whose segment went
	Sinks     []sinkShape `json:"sinks"`
	Recovery  any         `json:"recovery,omitempty"`
}

type diskShape struct {
	Bytes  int64 `json:"bytes"`
	Budget int64 `json:"budget_bytes"` // 0: none
	Free   int64 `json:"free_bytes"`
}

func (s *Server) getStatus(w http.ResponseWriter, _ *http.Request) {
	st := s.q.Status()
	state := s.state(st)
	s.answerJSON(w, http.StatusOK, statusShape{
		Version: s.o.Version, Uptime: int64(time.Since(s.started) / time.Second),
		State: state, Accepting: state == "ready", DataDir: s.o.DataDir,
		Disk:     diskShape{st.Usage.LogBytes + st.Usage.QueuesBytes + st.Usage.SpareBytes, st.MaxBytes, st.FreeBytes},
		Segments: st.Usage.Segments, Accepted: st.Accepted, Released: st.Released, Sinks: s.sinks(), Recovery: s.o.Recovery,
	})
}

func (s *Server) state(st queue.Status) string {
	switch {
	case s.stopping():
		return "stopping"
	case st.Reason != "":
		return st.Reason
	case st.Appending > s.o.AcceptTimeout: // what came since is uncertain, and what comes will be
		return string(Uncertain)
	default:
		return "ready"
	}
}

// notReady is why nothing can be accepted now, nil if it can.
func (s *Server) notReady() *Problem {
	switch state := s.state(s.q.Status()); state {
	case "ready":
		return nil
	default:
		return &Problem{Code: Code(state), Detail: "nothing is accepted at the moment"}
	}
}

// getHealth says that the process answers.
func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) {
	s.answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// getReady says whether items are accepted. How the sinks fare is not its business.
func (s *Server) getReady(w http.ResponseWriter, _ *http.Request) {
	if p := s.notReady(); p != nil {
		s.refuse(w, p)
		return
	}
	s.answerJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}
