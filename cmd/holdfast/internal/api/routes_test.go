package api

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/queue"
)

func counter(t *testing.T, s *Server, source, reason string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s.metrics.rejected)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if m.Label[0].GetValue() == reason && m.Label[1].GetValue() == source {
			return m.Counter.GetValue()
		}
	}
	t.Fatalf("no series for %s, %s", source, reason)
	return 0
}

func TestUnknownRoutesAndMethodsAreProblems(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""}, {"GET", "/v2/items", 404, ""}, {"POST", "/v1", 404, ""}, {"GET", "/metrics", 404, ""},
		{"GET", "/v1/items", 405, "POST"}, {"DELETE", "/v1/items", 405, "POST"}, {"POST", "/v1/status", 405, "GET, HEAD"},
		{"GET", "/v1/dead/purge", 405, "POST"}, {"PUT", "/v1/dead/crm/" + idOf(1).String(), 405, "DELETE, GET, HEAD"},
	} {
		a := call(t, ts, c.method, c.path, "")
		a.problem(t)
		if a.StatusCode != c.status || a.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, allow %q", c.method, c.path, a.StatusCode, a.Header.Get("Allow"))
		}
	}
}

// Guarantee E5, in part: over HTTP.
func TestItemTellsItsStateByID(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	call(t, ts, "POST", "/v1/items", "<script>", "Content-Type", "text/html", "Holdfast-Key", "k", "Holdfast-Type", "t", "Holdfast-Attr-Site", "s")
	path := "/v1/items/" + idOf(0).String()
	a := call(t, ts, "GET", path, "")
	want := `{"id":"019b0000-0000-7000-8000-000000000000","accepted":"2026-01-02T03:04:05.678Z","state":"complete","size":8,"type":"t","key":"k","content_type":"text/html","attrs":{"site":"s"},"sinks":[{"sink":"crm","state":"done"}]}`
	if a.StatusCode != 200 || a.body != want {
		t.Errorf("%s", cmp.Diff(want, a.body))
	}
	b := call(t, ts, "GET", path+"/body", "")
	if b.body != "<script>" || b.Header.Get("Content-Type") != "application/octet-stream" || b.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(b.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%q %v", b.body, b.Header)
	}
	if h := call(t, ts, "HEAD", path+"/body", ""); h.StatusCode != 200 || h.body != "" || h.ContentLength != 8 {
		t.Errorf("%d %q, length %d", h.StatusCode, h.body, h.ContentLength)
	}
	for id, status := range map[string]int{idOf(9).String(): 404, "x": 404, strings.ToUpper(uuid.Nil.String()): 404, idOf(0xffff).String(): 410, "urn:uuid:" + idOf(0).String(): 404} {
		for _, tail := range []string{"", "/body"} {
			if a := call(t, ts, "GET", "/v1/items/"+id+tail, ""); a.StatusCode != status || a.problem(t).Code != map[int]string{404: "not_found", 410: "released"}[status] {
				t.Errorf("%s%s: %d %s", id, tail, a.StatusCode, a.body)
			}
		}
	}
}

func TestSinksAreShownAndOperated(t *testing.T) {
	lanes := func() []Lane {
		return []Lane{{Sink: "crm", State: "backoff", InFlight: 1, LastError: "500", NextAttempt: fakeTime}}
	}
	ts, _ := serve(t, &fakeQueue{}, Options{Lanes: lanes, SinkTypes: map[string]string{"crm": "webhook"}})
	const tail = `"waiting":2,"waiting_bytes":20,"oldest":"2026-01-02T03:04:05.678Z","in_flight":1,"dead":1,"delivered":7,"dropped":0,"last_error":"500","next_attempt":"2026-01-02T03:04:05.678Z"}`
	if a := call(t, ts, "GET", "/v1/sinks/crm", ""); a.body != `{"sink":"crm","type":"webhook","state":"backoff",`+tail {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", "/v1/sinks", ""); !strings.Contains(a.body, `"sink":"old","type":"","state":"orphan"`) {
		t.Errorf("%s", a.body)
	}
	next := strings.Index(tail, `,"next_attempt"`) // of what is paused there is none
	if a := call(t, ts, "POST", "/v1/sinks/crm/pause", ""); a.body != `{"sink":"crm","type":"webhook","state":"paused",`+tail[:next]+"}" {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "POST", "/v1/sinks/crm/resume", ""); a.body != `{"sink":"crm","type":"webhook","state":"backoff",`+tail {
		t.Errorf("%s", a.body)
	}
	for _, path := range []string{"/v1/sinks/none/pause", "/v1/sinks/none/resume"} {
		if a := call(t, ts, "POST", path, ""); a.StatusCode != 404 {
			t.Errorf("%s", a.body)
		}
	}
}

// Guarantee D2, in part: what the API shows of a dead letter.
func TestDeadLettersAreListedAndShown(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	const letter = `{"sink":"crm","id":"019b0000-0000-7000-8000-000000000001","accepted":"2026-01-02T03:04:05.678Z","died":"2026-01-02T03:04:05.678Z","attempts":3,"first_error":"a","last_error":"b","permanent":false,` +
		`"item":{"id":"019b0000-0000-7000-8000-000000000001","accepted":"2026-01-02T03:04:05.678Z","key":"k","body":{"n":1}}}`
	for path, want := range map[string]string{
		"/v1/dead":                             `{"items":[` + letter + `],"next":"/100"}`,
		"/v1/dead?sink=crm&limit=1000":         `{"items":[` + letter + `],"next":"crm/1000"}`,
		"/v1/dead?after=x":                     `{"items":[]}`,
		"/v1/dead/crm/" + idOf(1).String():     letter,
		"/v1/sinks?ignored=because+no+filters": "",
	} {
		if a := call(t, ts, "GET", path, ""); want != "" && a.body != want {
			t.Errorf("%s: %s", path, cmp.Diff(want, a.body))
		}
	}
	for path, status := range map[string]int{"/v1/dead?limit=0": 400, "/v1/dead?limit=1001": 400, "/v1/dead?limt=5": 400, "/v1/dead/crm/x": 404, "/v1/dead/old/" + idOf(1).String(): 404} {
		if a := call(t, ts, "GET", path, ""); a.StatusCode != status {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	if a := call(t, ts, "DELETE", "/v1/dead/crm/"+idOf(1).String(), ""); a.StatusCode != 200 || a.body != `{"count":3}` {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "DELETE", "/v1/dead/crm/"+idOf(2).String(), ""); a.StatusCode != 404 {
		t.Errorf("%s", a.body)
	}
}

// Guarantees D2, G6, in part: of a dead letter whose item is lost no more is shown than is known.
func TestALostDeadLetterShowsNoMoreThanIsKnown(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{lost: 2}, Options{})
	const letter = `{"sink":"crm","id":"019b0000-0000-7000-8000-000000000001","died":"2026-01-02T03:04:05.678Z","attempts":3,"first_error":"a","last_error":"b","permanent":false,"lost":true}`
	for path, want := range map[string]string{"/v1/dead": `{"items":[` + letter + `],"next":"/100"}`, "/v1/dead/crm/" + idOf(1).String(): letter} {
		if a := call(t, ts, "GET", path, ""); a.body != want {
			t.Errorf("%s: %s", path, cmp.Diff(want, a.body))
		}
	}
	if a := call(t, ts, "POST", "/v1/dead/requeue", `{"all":true}`); a.StatusCode != 200 || a.body != `{"count":3,"lost":2}` {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := call(t, ts, "POST", "/v1/dead/purge", `{"all":true}`); a.StatusCode != 200 || a.body != `{"count":3}` {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestFiltersChooseWhatTheySayAndNeverEverythingByAccident(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	body := `{"sink":"crm","ids":["` + idOf(1).String() + `"],"error_contains":"5","died_before":"2026-01-02T03:04:05.678Z","all":true,"dry_run":true}`
	for _, path := range []string{"/v1/dead/requeue", "/v1/dead/purge"} {
		a := call(t, ts, "POST", path, body)
		want := queue.DeadFilter{Sink: "crm", IDs: []uuid.UUID{idOf(1)}, ErrorContains: "5", DiedBefore: fakeTime, All: true, DryRun: true}
		if diff := cmp.Diff(want, q.filter); a.body != `{"count":3}` || diff != "" {
			t.Errorf("%s: %s, %s", path, a.body, diff)
		}
	}
	for body, field := range map[string]string{
		``: "", `{}`: "", `[]`: "", `{"all":false}`: "", `{"dry_run":true}`: "", `{"all":true}}`: "",
		`{"sink":"crm","ids":[]}`: "ids", `{"ids":"x"}`: "ids", `{"ids":["x"]}`: "ids[0]", `{"sink":""}`: "sink", `{"sink":1}`: "sink",
		`{"snik":"crm"}`: "snik", `{"all":1}`: "all", `{"died_before":"yesterday"}`: "died_before", `{"error_contains":""}`: "error_contains", `{"all":true,"all":true}`: "all",
	} {
		a := call(t, ts, "POST", "/v1/dead/purge", body)
		if p := a.problem(t); a.StatusCode != 400 || len(p.Errors) != 1 || p.Errors[0].Field != field {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
}

func TestStatusShowsTheWhole(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{Version: "1", DataDir: "/d", Recovery: map[string]int{"lost": 0}})
	var got map[string]any
	a := call(t, ts, "GET", "/v1/status", "")
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	if got["version"] != "1" || got["state"] != "ready" || got["accepting"] != true || got["data_dir"] != "/d" || len(got["sinks"].([]any)) != 2 || got["recovery"] == nil {
		t.Errorf("%s", a.body)
	}
	for reason, status := range map[string]int{"": 200, "full": 503, "disk_full": 503, "stopping": 503} {
		ts, _ := serve(t, &fakeQueue{reason: reason}, Options{})
		if a := call(t, ts, "GET", "/readyz", ""); a.StatusCode != status || reason != "" && a.problem(t).Code != reason {
			t.Errorf("%q: %s", reason, a.body)
		}
		if a := call(t, ts, "GET", "/healthz", ""); a.StatusCode != 200 {
			t.Errorf("%q: %s", reason, a.body)
		}
	}
}

func TestPagesOfOthersGetNothing(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{Hosts: []string{"Kiosk.example"}})
	_, port, _ := net.SplitHostPort(ts.Listener.Addr().String())
	for host, status := range map[string]int{
		"localhost": 202, "LOCALHOST:1": 202, "127.0.0.1:" + port: 202, "[::1]:8080": 202, "kiosk.example:80": 202,
		"evil.example": 421, "evil.example:" + port: 421, "127.0.0.2": 421, "localhost.evil.example": 421, "localhost.": 421,
	} {
		if a := call(t, ts, "POST", "/v1/items", "x", "Host", host); a.StatusCode != status {
			t.Errorf("%s: %d", host, a.StatusCode)
		}
	}
	n := len(q.items)
	for _, h := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		if a := call(t, ts, "POST", "/v1/items", "x", h...); a.StatusCode != 403 || a.problem(t).Code != "cross_origin" || len(q.items) != n {
			t.Errorf("%v: %d", h, a.StatusCode)
		}
	}
	if a := call(t, ts, "POST", "/v1/items", "x", "Sec-Fetch-Site", "same-origin"); a.StatusCode != 202 {
		t.Errorf("%s", a.body)
	}
}

func TestUnixSocketHasNoHosts(t *testing.T) {
	s, err := New(&fakeQueue{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	hs := s.HTTP()
	go func() { _ = hs.Serve(l) }()
	defer hs.Close()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) }}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://whatever/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

// Guarantee M1, in part: the API's own series.
func TestRejectionsAreCountedInClosedSeries(t *testing.T) {
	reg := prometheus.NewRegistry()
	ts, s := serve(t, &fakeQueue{}, Options{Registerer: reg, Gatherer: reg})
	before := call(t, ts, "GET", "/metrics", "").body
	if n := strings.Count(before, "holdfast_rejected_total{"); n != 2*len(reasons) {
		t.Errorf("%d series before traffic: %s", n, before)
	}
	call(t, ts, "POST", "/v1/items", "")
	call(t, ts, "POST", "/v1/items", "x", "Content-Encoding", "br")
	call(t, ts, "POST", "/v1/stream", "nope\n{\"body\":1}\n", "Content-Type", envelopeType)
	if counter(t, s, "http", "malformed") != 1 || counter(t, s, "http", "unsupported") != 1 || counter(t, s, "stream", "malformed") != 1 {
		t.Errorf("%s", call(t, ts, "GET", "/metrics", "").body)
	}
	if after := call(t, ts, "GET", "/metrics", "").body; strings.Count(after, "holdfast_rejected_total{") != 2*len(reasons) {
		t.Errorf("series came with the traffic: %s", after)
	}
}

func TestEveryCodeHasItsStatusAndTitle(t *testing.T) {
	for _, c := range append(reasons, CrossOrigin, NotFound, MethodNotAllowed, Released, Lost, Misdirected) {
		k, ok := kinds[c]
		if !ok || k.status < 400 || k.title == "" || (k.status == 503) != (k.retry > 0) {
			t.Errorf("%s: %+v", c, k)
		}
	}
}
