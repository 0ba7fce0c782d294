package api

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// A lostQueue has one item, of which the log has nothing any more.
type lostQueue struct {
	*fakeQueue
	st queue.ItemState
}

func (q lostQueue) State(uuid.UUID) (queue.ItemState, error) { return q.st, nil }

func (q lostQueue) Item(uuid.UUID) (store.Item, error) { return store.Item{}, queue.ErrLost }

// Guarantees E2, E5, G6, in part: an item that is lost before every sink had it is called that, to who asks and to who waits,
// and nothing is said of it that is not known.
func TestALostItemIsNotCalledComplete(t *testing.T) {
	id := idOf(0)
	for name, c := range map[string]struct {
		st   queue.ItemState
		want string
	}{
		"lost to one sink": {
			queue.ItemState{ID: id, Accepted: fakeTime, Complete: true, Lost: true, Sinks: []queue.Progress{{Sink: "crm", State: "done"}, {Sink: "file", State: "lost"}}},
			`{"id":"019b0000-0000-7000-8000-000000000000","accepted":"2026-01-02T03:04:05.678Z","state":"lost","attrs":{},"sinks":[{"sink":"crm","state":"done"},{"sink":"file","state":"lost"}]}`,
		},
		"of a dead letter": {
			queue.ItemState{ID: id, Complete: true, Lost: true, Sinks: []queue.Progress{{Sink: "crm", State: "dead", Attempts: 3}}},
			`{"id":"019b0000-0000-7000-8000-000000000000","state":"lost","attrs":{},"sinks":[{"sink":"crm","state":"dead","attempts":3}]}`,
		},
		"when all had it": {
			queue.ItemState{ID: id, Accepted: fakeTime, Complete: true, Lost: true, Sinks: []queue.Progress{{Sink: "crm", State: "done"}}},
			`{"id":"019b0000-0000-7000-8000-000000000000","accepted":"2026-01-02T03:04:05.678Z","state":"complete","attrs":{},"sinks":[{"sink":"crm","state":"done"}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := New(lostQueue{&fakeQueue{}, c.st}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			ts := serveHandler(t, s)
			path := "/v1/items/" + id.String()
			if a := call(t, ts, "POST", "/v1/items", "x", "Prefer", "wait=1"); a.StatusCode != 200 || a.body != c.want {
				t.Errorf("put: %d %s", a.StatusCode, a.body)
			}
			for _, wait := range []string{"", "?wait=1"} {
				if a := call(t, ts, "GET", path+wait, ""); a.StatusCode != 200 || a.body != c.want {
					t.Errorf("%s: %d %s", wait, a.StatusCode, a.body)
				}
			}
			if a := call(t, ts, "GET", path+"/body", ""); a.StatusCode != 410 || a.problem(t).Code != "lost" || strings.Contains(a.body, "every sink was done") {
				t.Errorf("body: %d %s", a.StatusCode, a.body)
			}
		})
	}
}
