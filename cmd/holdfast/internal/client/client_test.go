package client_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"holdfast/cmd/holdfast/internal/client"
	"holdfast/cmd/holdfast/internal/client/clienttest"
)

func newClient(t *testing.T, server string) *client.Client {
	t.Helper()
	c, err := client.New(server, client.Options{Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAddressesThatMakeNoSenseAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"127.0.0.1:8080":     `did you mean "http://127.0.0.1:8080"?`,
		"ftp://host":         `scheme "ftp"`,
		"unix://":            "path of a socket",
		"http://":            "host:port",
		"http://h/?x=1":      "nothing after it",
		"http://h:bad port/": "not a URL",
	} {
		if _, err := client.New(server, client.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%q): %v, want …%s…", server, err, want)
		}
	}
}

func TestAnUnknownFieldOrAnotherKindOfFieldIsKeptNotRefused(t *testing.T) {
	t.Parallel()
	var d client.Doc[client.Sink]
	in := `{"sink":"crm","waiting":"many","oldest":17,"in_flight":3,"news":{"a":1}}`
	if err := json.Unmarshal([]byte(in), &d); err != nil {
		t.Fatal(err)
	}
	if d.Value.Sink != "crm" || d.Value.InFlight != 3 || !d.Value.Oldest.IsZero() || string(d.Raw) != in {
		t.Errorf("got %+v raw %s", d.Value, d.Raw)
	}
}

func TestListsAreFollowedToTheLimit(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Page = 3
	for range 10 {
		s.Dead = append(s.Dead, clienttest.JSON{"sink": "crm"})
	}
	c := newClient(t, s.URL)
	for limit, want := range map[int]int{0: 10, 2: 2, 3: 3, 7: 7, 10: 10, 50: 10} {
		page, err := c.DeadLetters(t.Context(), "", limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) != want || (page.Next != "") != (want < 10) {
			t.Errorf("limit %d: %d items, next %q", limit, len(page.Items), page.Next)
		}
	}
}

func TestAListThatDoesNotEndIsAnError(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"items":[{}],"next":"again"}`)
	}))
	defer s.Close()
	_, err := newClient(t, s.URL).Sinks(t.Context())
	if _, ok := errors.AsType[*client.ForeignError](err); !ok {
		t.Errorf("got %v", err)
	}
}

func TestAnotherServerIsToldFromARefusal(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	_, err := newClient(t, s.URL).Status(t.Context())
	if f, ok := errors.AsType[*client.ForeignError](err); !ok || f.Status != 404 {
		t.Errorf("got %v", err)
	}
}

func TestNamesCannotLeaveTheirPath(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Sinks = []clienttest.JSON{{"sink": "a/b c"}}
	c := newClient(t, s.URL)
	d, err := c.Sink(t.Context(), "a/b c")
	if err != nil || d.Value.Sink != "a/b c" {
		t.Errorf("got %+v, %v", d.Value, err)
	}
	for _, name := range []string{"", ".", ".."} {
		_, err := c.Sink(t.Context(), name)
		if _, ok := errors.AsType[*client.NameError](err); !ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAUnixSocketIsAServerToo(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" {
			t.Errorf("host %q", r.Host)
		}
		io.WriteString(w, `{"status":"ready"}`)
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	if err := newClient(t, "unix://"+path).Health(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestEnvelopesKeepEveryByteOfALine(t *testing.T) {
	t.Parallel()
	e, err := client.NewEnvelopeEncoder(client.Meta{Key: "k", Attrs: map[string]string{"a": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	for line, asIs := range map[string]bool{
		`{"a": 1.0,  "b":"<>"}`: true, `[1]`: true, `12.50`: true, `true`: true,
		`plain <text>`: true, `{"half":`: true, "tab\tend\r": true,
		`"a string"`: false, `null`: false, ` {"a":1}`: false, "{\"a\":1}\r": false, "\xff\xfe": false, "{\"a\":\"\xff\"}": false,
	} {
		b, err := e.Append(nil, []byte(line), "K-1")
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			client.Envelope
			IdempotencyKey string `json:"idempotency_key"`
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v in %s", line, err, b)
		}
		body := []byte(got.Body)
		if len(body) > 0 && body[0] == '"' {
			var text string
			json.Unmarshal(body, &text)
			body = []byte(text)
		}
		if !asIs {
			body = got.BodyBase64
		}
		kind := "text/plain"
		if json.Valid([]byte(line)) {
			kind = "application/json"
		}
		if string(body) != line || got.ContentType != kind || got.Key != "k" || got.Attrs["a"] != "1" || got.IdempotencyKey != "K-1" {
			t.Errorf("%q became %s (%s)", line, b, base64.StdEncoding.EncodeToString(body))
		}
		if bytes.ContainsRune(b, '\n') {
			t.Errorf("%q: an LF in %s", line, b)
		}
	}
}

func TestLinesAreReadWithinTheirLimit(t *testing.T) {
	t.Parallel()
	read := func(in string) (lines []string, err error) {
		r := bufio.NewReaderSize(strings.NewReader(in), 16)
		for {
			line, err := client.ReadLine(r, 20)
			if err != nil {
				return lines, err
			}
			lines = append(lines, string(line))
		}
	}
	fits, over := strings.Repeat("x", 20), strings.Repeat("x", 21)
	got, err := read("a\n\n" + fits + "\n" + fits)
	if diff := cmp.Diff([]string{"a", "", fits, fits}, got); diff != "" || err != io.EOF {
		t.Error(diff, err)
	}
	for _, in := range []string{over, over + "\n"} {
		if _, err := read(in); err != client.ErrLineTooLong {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestAProblemShowsDetailCodeAndPositions(t *testing.T) {
	t.Parallel()
	p := &client.Problem{Detail: "two fields are wrong", Code: "malformed", Errors: []client.Position{
		{Line: 3, Field: "ttl", Detail: "not a duration"}, {Pointer: "/attrs/A", Detail: "upper case"}}}
	want := "two fields are wrong (malformed)\n  line 3, ttl: not a duration\n  /attrs/A: upper case"
	if p.Error() != want {
		t.Errorf("got %s", p)
	}
}
