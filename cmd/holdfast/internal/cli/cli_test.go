package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"holdfast/cmd/holdfast/internal/cli"
	"holdfast/cmd/holdfast/internal/client/clienttest"
)

type doc = clienttest.JSON

// shell runs command lines against one server, at a fixed time.
type shell struct {
	server string
	stdin  io.Reader
	env    map[string]string
	tty    bool
	out    io.Writer // instead of what run returns
	extra  []*cobra.Command
	told   func(notice string) // called with what is written to standard error
}

// buffer is a bytes.Buffer for a command and its test at once.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	told func(string)
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told != nil {
		b.told(string(p))
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (sh shell) run(ctx context.Context, args ...string) (code int, out, notices string) {
	var o buffer
	e := buffer{told: sh.told}
	s := cli.Streams{
		In: strings.NewReader(""), Out: &o, Err: &e,
		Env: func(name string) string {
			if name == "HOLDFAST_SERVER" && sh.env[name] == "" {
				return sh.server
			}
			return sh.env[name]
		},
		Now:      func() time.Time { return time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC) },
		Terminal: func(any) bool { return sh.tty },
	}
	if sh.stdin != nil {
		s.In = sh.stdin
	}
	if sh.out != nil {
		s.Out = sh.out
	}
	code = cli.Main(ctx, args, s, sh.extra...)
	return code, o.String(), e.String()
}

// Guarantees D3, G6, in part: a dead letter whose item is lost is shown as that, and a requeue that leaves it says so.
func TestALostDeadLetterIsShownAndLeft(t *testing.T) {
	s := world(t)
	s.Dead = append(s.Dead, doc{"sink": "crm", "id": "d3", "died": "2026-01-31T08:00:02Z", "attempts": 4, "first_error": "delivery failed: status 500",
		"last_error": "delivery failed: status 502", "permanent": false, "lost": true})
	sh := shell{server: s.URL}
	for args, want := range map[string]string{
		"dead ls": "crm   d3  2026-01-31T08:00:02Z  4         the item is lost; status 502\n",
		"dead get crm d3": `sink         crm
id           d3
accepted     not known: the time in the id may not be that of the item
died         2026-01-31T08:00:02Z
attempts     4
first error  delivery failed: status 500
last error   delivery failed: status 502
item         lost: it is damaged or missing, and only its history is left
`,
		"dead requeue --sink crm --yes":     "2 dead letters requeued, 1 dead letter left: of a lost item only the history remains\n",
		"dead requeue --sink crm --dry-run": "2 dead letters would be requeued, 1 dead letter left: of a lost item only the history remains\n",
		"dead purge crm d3 --yes":           "1 dead letter purged\n",
	} {
		code, out, notices := sh.run(t.Context(), strings.Fields(args)...)
		if code != 0 || !strings.HasSuffix(out, want) {
			t.Errorf("%s: exit %d, %s%s", args, code, out, notices)
		}
	}
	code, _, notices := sh.run(t.Context(), "dead", "requeue", "crm", "d3")
	if code != 1 || !strings.Contains(notices, "the item of dead letter d3 is lost: there is nothing to send again, only to purge") {
		t.Errorf("exit %d, %s", code, notices)
	}
}

// world is a server with a little of everything.
func world(t *testing.T) *clienttest.Server {
	s := clienttest.New(t)
	s.Sinks = []doc{
		{"sink": "archive", "type": "file", "state": "active", "waiting": 0, "waiting_bytes": 0, "oldest": nil,
			"in_flight": 0, "dead": 0, "delivered": 1234567, "last_error": "", "next_attempt": nil, "later": "a field of tomorrow"},
		{"sink": "crm", "type": "webhook", "state": "down", "waiting": 1200, "waiting_bytes": 3145728, "oldest": "2026-01-31T06:55:00Z",
			"in_flight": 1, "dead": 2, "delivered": 41, "last_error": "delivery failed: dial tcp: \x1b[31mrefused\n", "next_attempt": "2026-01-31T09:00:05Z",
			"since": "2026-01-31T08:48:00Z", "last_failure": "2026-01-31T08:59:55Z"},
		{"sink": "old", "type": "webhook", "state": "orphan", "waiting": 1, "waiting_bytes": 10, "oldest": "2026-01-01T09:00:00Z"},
	}
	s.Dead = []doc{
		{"sink": "crm", "id": "d1", "accepted": "2026-01-30T08:00:00Z", "died": "2026-01-30T08:05:00Z", "attempts": 13,
			"first_error": "delivery failed: status 500", "last_error": "delivery failed: status 500", "permanent": false,
			"item": doc{"id": "d1", "type": "door.open", "key": "gate-7", "attrs": doc{"b": "2", "a": "1"}, "content_type": "application/json", "body": doc{"n": 1}}},
		{"sink": "crm", "id": "d2", "accepted": "2026-01-31T08:00:00Z", "died": "2026-01-31T08:00:01Z", "attempts": 1,
			"first_error": "delivery failed: permanent: status 413", "last_error": "delivery failed: permanent: status 413", "permanent": true,
			"item": doc{"id": "d2", "content_type": "image/jpeg", "body_base64": "/9j/"}},
	}
	s.Items["i1"] = doc{"id": "i1", "accepted": "2026-01-31T08:00:00Z", "state": "pending", "size": 2048, "type": "door.open", "key": "gate-7",
		"attrs": doc{"b": "2", "a": "1"}, "sinks": []doc{
			{"sink": "archive", "state": "done"},
			{"sink": "crm", "state": "retrying", "attempts": 3, "next_attempt": "2026-01-31T09:01:30Z", "last_error": "status 503"}}}
	s.Items["i2"] = doc{"id": "i2", "accepted": "2026-01-31T08:00:00Z", "state": "pending", "size": 1, "sinks": []doc{
		{"sink": "crm", "state": "retrying", "sink_state": "down", "attempts": 0, "next_attempt": "2026-01-31T08:59:59Z", "last_error": "delivery failed: status 401"},
		{"sink": "old", "state": "waiting", "sink_state": "paused"}}}
	s.Bodies["i1"] = []byte("\x00bytes\xff\n")
	s.Gone = []string{"i0"}
	s.Status = doc{"version": "v0.1.0", "uptime_seconds": 97384.5, "state": "ready", "accepting": true, "data_dir": "/var/lib/holdfast",
		"disk":     doc{"bytes": 214748364, "budget_bytes": int64(2147483648), "free_bytes": int64(42949672960)},
		"segments": 3, "accepted": 1235808, "recovery": doc{"created": false, "unclean": true, "kept": 1200, "lost": 0, "unconfirmed": 2, "took_ns": 2639346}, "sinks": s.Sinks[:2]}
	return s
}

func TestTablesReadAsTheyShould(t *testing.T) {
	t.Parallel()
	s := world(t)
	sh := shell{server: s.URL}
	for args, want := range map[string]string{
		"sink ls": `
SINK     TYPE     STATE        WAITING  BYTES    OLDEST  IN FLIGHT  DEAD  DELIVERED  LAST ERROR
archive  file     active       0        0 B      -       0          0     1,234,567  -
crm      webhook  down 12m00s  1,200    3.0 MiB  2h05m   1          2     41         dial tcp: �[31mrefused  (5s ago)
old      webhook  orphan       1        10 B     30d00h  0          0     0          -
`,
		"sink get crm": `
sink          crm
type          webhook
state         down 12m00s
waiting       1,200 items, 3.0 MiB, the oldest 2h05m old
in flight     1
delivered     41
dead          2
next attempt  2026-01-31T09:00:05Z (in 5s)
last error    dial tcp: �[31mrefused  (5s ago)
`,
		"sink pause crm":  "\ncrm: paused\n",
		"sink resume crm": "\ncrm: active\n",
		"item get i1": `
id        i1
accepted  2026-01-31T08:00:00Z
state     pending
size      2.0 KiB
type      door.open
key       gate-7
attrs     a=1 b=2

SINK     STATE     ATTEMPTS  NEXT      LAST ERROR
archive  done      -         -         -
crm      retrying  3         in 1m30s  status 503
`,
		"item get i2": `
id        i2
accepted  2026-01-31T08:00:00Z
state     pending
size      1 B

SINK  STATE                 ATTEMPTS  NEXT  LAST ERROR
crm   retrying, sink down   0         now   status 401
old   waiting, sink paused  -         -     -
`,
		"item get i1 --body": "\n\x00bytes\xff\n",
		"dead ls": `
SINK  ID  DIED                  ATTEMPTS  LAST ERROR
crm   d1  2026-01-30T08:05:00Z  13        status 500
crm   d2  2026-01-31T08:00:01Z  1         permanent: status 413
`,
		"dead ls --sink nobody": "\nSINK  ID  DIED  ATTEMPTS  LAST ERROR\n",
		"dead get crm d1": `
sink          crm
id            d1
accepted      2026-01-30T08:00:00Z
died          2026-01-30T08:05:00Z
attempts      13
first error   delivery failed: status 500
last error    delivery failed: status 500
type          door.open
key           gate-7
attrs         a=1 b=2
content type  application/json
body          {"n":1}
`,
		"dead get crm d2": `
sink          crm
id            d2
accepted      2026-01-31T08:00:00Z
died          2026-01-31T08:00:01Z
attempts      1, the last one permanent
first error   delivery failed: permanent: status 413
last error    delivery failed: permanent: status 413
content type  image/jpeg
body          3 B that are not text: -o json, or holdfast item get ID --body
`,
		"dead requeue crm d1":                       "\n1 dead letter requeued\n",
		"dead requeue --sink crm --dry-run":         "\n2 dead letters would be requeued\n",
		"dead purge --all --yes":                    "\n2 dead letters purged\n",
		"dead purge --died-before 12h --yes":        "\n1 dead letter purged\n",
		"dead purge --error-contains 413 --dry-run": "\n1 dead letter would be purged\n",
		"dead requeue --sink nobody":                "\n0 dead letters requeued\n",
		"dead requeue --sink crm -o json --yes":     "\n{\n  \"count\": 2\n}\n",
		"health":                                    "\nok\n",
		"health --ready -o json":                    "\n{\n  \"ok\": true\n}\n",
		"status": `
server    ` + s.URL + `
version   v0.1.0
state     ready
up        1d03h
data      /var/lib/holdfast
disk      204.8 MiB of 2.0 GiB (9%), 40.0 GiB free on the device
segments  3
accepted  1,235,808
recovery  kept 1,200, took 2.64ms, unclean, unconfirmed 2

SINK     TYPE     STATE        WAITING  BYTES    OLDEST  IN FLIGHT  DEAD  DELIVERED  LAST ERROR
archive  file     active       0        0 B      -       0          0     1,234,567  -
crm      webhook  down 12m00s  1,200    3.0 MiB  2h05m   1          2     41         dial tcp: �[31mrefused  (5s ago)
`,
	} {
		code, out, notices := sh.run(t.Context(), strings.Fields(args)...)
		if diff := cmp.Diff(want[1:], out); diff != "" || code != 0 || notices != "" {
			t.Errorf("holdfast %s: exit %d, %s\n%s", args, code, notices, diff)
		}
	}
}

func TestJSONLosesNothingTheServerSaid(t *testing.T) {
	t.Parallel()
	_, out, _ := shell{server: world(t).URL}.run(t.Context(), "sink", "ls", "-o", "json")
	if !strings.Contains(out, `"later": "a field of tomorrow"`) || strings.Contains(out, "\x1b") {
		t.Error(out)
	}
}

func TestEachFailureHasItsExitCodeAndSaysWhatNext(t *testing.T) {
	t.Parallel()
	s := world(t)
	dead := "http://127.0.0.1:1"
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"item get nowhere", 3, "holdfast: no item nowhere (not_found)"},
		{"item get i0", 3, "(released)"},
		{"item get i0 --body", 3, "(released)"},
		{"sink get nowhere", 3, "no sink nowhere"},
		{"sink pause old", 4, "not configured any more"},
		{"dead get crm nowhere", 3, "no dead letter nowhere"},
		{"dead requeue crm nowhere", 3, "crm has no dead letter nowhere"},
		{"dead purge crm nowhere --yes", 3, "crm has no dead letter nowhere"},
		{"status --server " + dead, 5, "cannot reach a server at " + dead + ": dial tcp 127.0.0.1:1: connect: connection refused\n  `holdfast serve` starts one"},
		{"status --server unix:///nowhere/s", 5, "unix:///nowhere/s"},
		{"put --server " + dead, 5, "holdfast serve"},
		{"health --server " + dead, 1, "cannot reach"},
		{"status --server 127.0.0.1:8080", 2, `did you mean "http://127.0.0.1:8080"?`},
		{"status -o xml", 2, "want table or json"},
		{"status --timeout 0s", 2, "--timeout"},
		{"status more", 2, `"more" is one argument too many`},
		{"item get", 2, "missing ID"},
		{"dead get crm", 2, "missing ID"},
		{"item get ..", 2, "neither a name nor an id"},
		{"statsu", 2, `"statsu" is not a verb of holdfast (did you mean status?)`},
		{"statsu --config x", 2, "did you mean status?"},
		{"sink lss", 2, `"lss" is not a verb of holdfast sink (did you mean ls?)`},
		{"dead requeeu --all", 2, "did you mean requeue?"},
		{"completion bsah", 2, "did you mean bash, zsh?"},
		{"help sink lss", 2, "did you mean ls?"},
		{"help nothing", 2, "is not a verb of holdfast"},
		{"status --colour", 2, "holdfast: status: unknown flag: --colour\n  see holdfast status --help"},
		{"--colour", 2, "holdfast: unknown flag: --colour\n  see holdfast --help"},
		{"dead ls --colour", 2, "holdfast: dead ls: unknown flag: --colour"},
		{"dead ls --limit -1", 2, "--limit"},
		{"dead purge", 2, "which dead letters?"},
		{"dead purge --all --sink crm", 2, "--all"},
		{"dead purge crm d1 --all", 2, "SINK ID is one"},
		{"dead purge crm", 2, "missing ID"},
		{"dead purge --died-before yesterday", 2, "2026-01-31T08:00:00Z"},
		{"dead purge crm d1", 2, "--yes"},
		{"dead requeue --all", 2, "Requeue 2 dead letters?"},
		{"put nowhere.txt", 74, "nothing was sent"},
		{"put .", 2, "is a directory"},
		{"put - -", 2, "once"},
		{"put --attr a", 2, "name=value"},
		{"put --attr A=1", 2, "a-z and 0-9"},
		{"put --attr a=1 --attr a=2", 2, "twice"},
		{"put --wait 301s", 2, "--wait"},
		{"put --ttl soon", 2, "--ttl soon: want a duration like 90s, 5m or 7d"},
		{"put --ttl 7", 2, "--ttl"},
		{"put --ttl 0d", 2, "--ttl"},
		{"put --ttl -1s", 2, "--ttl"},
		{"put --ttl 1d-1h", 2, "--ttl"},
		{"put --not-before tomorrow", 2, "--not-before tomorrow: want a time like"},
		{"status --ca nowhere.pem", 74, "holdfast: --ca: open nowhere.pem"},
		{"status --ca cli_test.go", 2, "there is no certificate in it"},
	} {
		code, out, notices := shell{server: s.URL}.run(t.Context(), strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(notices, c.want) || out != "" {
			t.Errorf("holdfast %s: exit %d, want %d\n%s%s\nwant %s", c.args, code, c.code, out, notices, c.want)
		}
	}
	for _, f := range s.Filters() {
		if f["dry_run"] == nil && f["ids"] == nil {
			t.Errorf("a filter was carried out without a yes: %v", f)
		}
	}
}

func TestAServerThatRefusesForNowIsTemporary(t *testing.T) {
	t.Parallel()
	s := world(t)
	s.Stream.Head = clienttest.Problem(503, "full", "the budget is used up", doc{"field": "data.max_bytes", "detail": "2 GiB"})
	code, _, notices := shell{server: s.URL}.run(t.Context(), "put")
	want := "holdfast: the budget is used up (full)\n  data.max_bytes: 2 GiB\n  try again later"
	if code != 75 || !strings.HasPrefix(notices, want) {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestHealthSaysWhyNot(t *testing.T) {
	t.Parallel()
	s := world(t)
	s.Down = clienttest.Problem(503, "stopping", "the server is stopping")
	sh := shell{server: s.URL}
	code, out, notices := sh.run(t.Context(), "health", "--ready")
	if code != 1 || out != "" || !strings.Contains(notices, "stopping") {
		t.Errorf("exit %d: %s%s", code, out, notices)
	}
	if _, out, _ = sh.run(t.Context(), "health", "-o", "json"); !strings.Contains(out, `"code": "stopping"`) {
		t.Error(out)
	}
}

func TestATimeLimitEndsAHungRequest(t *testing.T) {
	t.Parallel()
	s := world(t)
	s.Hang = make(chan struct{})
	defer close(s.Hang)
	code, _, notices := shell{server: s.URL}.run(t.Context(), "status", "--timeout", "20ms")
	if code != 5 || !strings.Contains(notices, "no answer from "+s.URL+": the time limit passed") {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestAnInterruptIsNotAnUnreachableServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, notices := (shell{server: world(t).URL}).run(ctx, "status"); code != 1 {
		t.Errorf("exit %d: %s", code, notices)
	}
}

func TestOnATerminalADestructiveVerbAsks(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"y\n": 0, "yes\n": 0, "n\n": 1, "\n": 1, "": 1} {
		s := world(t)
		code, out, notices := shell{server: s.URL, tty: true, stdin: strings.NewReader(answer)}.run(t.Context(), "dead", "purge", "--sink", "crm")
		if code != want || !strings.Contains(notices, "Purge 2 dead letters? They are gone for good. [y/N]") || (out != "") != (want == 0) {
			t.Errorf("%q: exit %d: %s%s", answer, code, out, notices)
		}
		filters := s.Filters()
		if done := filters[len(filters)-1]["dry_run"] == nil; done != (want == 0) {
			t.Errorf("%q: filters %v", answer, filters)
		}
	}
}

func TestFiltersSayExactlyWhatWasChosen(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]doc{
		"crm d1":              {"sink": "crm", "ids": []any{"d1"}},
		"--all":               {"all": true},
		"--sink crm":          {"sink": "crm"},
		"--died-before 7d":    {"died_before": "2026-01-24T09:00:00Z"},
		"--died-before 90m":   {"died_before": "2026-01-31T07:30:00Z"},
		"--all --dry-run":     {"all": true, "dry_run": true},
		"--error-contains 50": {"error_contains": "50"},
		"--died-before 2026-01-31T09:00:00+01:00 --sink x": {"died_before": "2026-01-31T08:00:00Z", "sink": "x"},
	} {
		s := world(t)
		code, _, notices := shell{server: s.URL}.run(t.Context(), append([]string{"dead", "purge", "--yes"}, strings.Fields(args)...)...)
		if diff := cmp.Diff([]doc{want}, s.Filters()); code != 0 && want["ids"] == nil || diff != "" {
			t.Errorf("%s: exit %d %s\n%s", args, code, notices, diff)
		}
	}
}

func TestALongListSaysThatThereIsMore(t *testing.T) {
	t.Parallel()
	sh := shell{server: world(t).URL}
	_, out, notices := sh.run(t.Context(), "dead", "ls", "--limit", "1")
	if strings.Count(out, "\n") != 2 || !strings.Contains(notices, "--limit") {
		t.Errorf("%s%s", out, notices)
	}
	if _, _, notices = sh.run(t.Context(), "dead", "ls", "--limit", "1", "-q"); notices != "" {
		t.Error(notices)
	}
}

func TestHelpNamesEveryVerbAndSucceeds(t *testing.T) {
	t.Parallel()
	extra := &cobra.Command{Use: "serve", Short: "Run it", RunE: func(*cobra.Command, []string) error { return nil }}
	sh := shell{extra: []*cobra.Command{extra}}
	for _, args := range []string{"", "help", "--help"} {
		code, out, notices := sh.run(t.Context(), strings.Fields(args)...)
		for _, verb := range []string{"put", "item", "sink", "dead", "status", "health", "version", "completion", "serve"} {
			if code != 0 || notices != "" || !strings.Contains(out, "\n  "+verb) {
				t.Errorf("%q: exit %d, without %s: %s", args, code, verb, out+notices)
			}
		}
	}
	for _, args := range []string{"sink", "dead", "item", "help dead purge", "completion", "completion bash", "version", "put --help"} {
		if code, out, notices := sh.run(t.Context(), strings.Fields(args)...); code != 0 || out == "" || notices != "" {
			t.Errorf("%s: exit %d: %s%s", args, code, out, notices)
		}
	}
}

func TestGivenCommandsChooseTheirExitCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{&cli.ExitError{Code: 78, Err: errors.New("holdfast.yaml:14:11: no\n\ttype: x\n\t      ^")}, 78, "holdfast.yaml:14:11: no\n\ttype: x\n\t      ^\n"},
		{&cli.ExitError{Code: 78, Err: errors.New("the format is not known")}, 78, "holdfast: the format is not known\n"},
		{&cli.ExitError{Code: 74, Err: errors.New("disk")}, 74, "holdfast: disk\n"},
		{&cli.ExitError{Code: 75}, 75, ""},
		{errors.New("plain"), 1, "holdfast: plain\n"},
	} {
		serve := &cobra.Command{Use: "serve", RunE: func(*cobra.Command, []string) error { return c.err }}
		code, _, notices := shell{extra: []*cobra.Command{serve}}.run(t.Context(), "serve")
		if code != c.code || notices != c.want {
			t.Errorf("exit %d: %q, want %d: %q", code, notices, c.code, c.want)
		}
	}
}

func TestColoursOnlyOnATerminalThatWantsThem(t *testing.T) {
	t.Parallel()
	red := func(tty bool, env map[string]string, args ...string) bool {
		_, _, notices := shell{tty: tty, env: env}.run(t.Context(), append(args, "nothing")...)
		return strings.Contains(notices, "\x1b[")
	}
	if !red(true, nil) || red(false, nil) || red(true, map[string]string{"NO_COLOR": "1"}) || red(true, nil, "--no-color") {
		t.Error("colours where none belong, or none where they do")
	}
}

// full is a standard output whose disk is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAnOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	s := world(t)
	for _, args := range []string{"sink ls", "item get i1 --body", "put -o json", "put --whole -o json", "version"} {
		sh := shell{server: s.URL, out: full{}, stdin: strings.NewReader("a\nb\n")}
		code, _, notices := sh.run(t.Context(), strings.Fields(args)...)
		if code != 74 || !strings.Contains(notices, "standard output: no space left on device") {
			t.Errorf("%s: exit %d: %s", args, code, notices)
		}
	}
}

func TestEveryVerbHasItsOwnHelp(t *testing.T) {
	t.Parallel()
	root := cli.Root(cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	var walk func(c *cobra.Command)
	seen := map[string]bool{}
	walk = func(c *cobra.Command) {
		if c.Short == "" || seen[c.Short] {
			t.Errorf("%s: %q", c.CommandPath(), c.Short)
		}
		seen[c.Short] = true
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if n := len(slices.Collect(maps.Keys(seen))); n < 20 {
		t.Errorf("only %d verbs", n)
	}
}

func TestTheVersionIsAFlagToo(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", " -o json"} {
		_, want, _ := shell{}.run(t.Context(), strings.Fields("version"+more)...)
		code, out, notices := shell{}.run(t.Context(), strings.Fields("--version"+more)...)
		if code != 0 || out != want || out == "" || notices != "" {
			t.Errorf("exit %d: %s%s, want %s", code, out, notices, want)
		}
	}
}
