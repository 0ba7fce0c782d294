package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/holdfast/internal/config"
)

func TestASinkTakesOverWhatItDoesNotSay(t *testing.T) {
	t.Parallel()
	const text = `version: 1
sinks:
  all: {type: stdout, format: json}
  own: {type: stdout, format: cloudevents, rate_limit: {per_second: 9}, batch: {wait: 1s}, match: {type: b}, retry: {backoff: 2s}}
  raw: {type: stdout, batch: {without_ids: true}, rate_limit: {burst: 3}, match: {}}
defaults:
  retry: {max_age: 1h}
  rate_limit: {per_second: 1.25%s}
  batch: {items: 4}
  match: {type: a, user: b}
`
	batch := config.Batch{Items: 4, Bytes: 1 << 20}
	waits, withoutIDs := batch, batch
	waits.Wait, withoutIDs.WithoutIDs = time.Second, true
	for burst, want := range map[string][]config.RateLimit{
		"":           {{PerSecond: 1.25, Burst: 2}, {PerSecond: 9, Burst: 9}, {PerSecond: 1.25, Burst: 3}},
		", burst: 7": {{PerSecond: 1.25, Burst: 7}, {PerSecond: 9, Burst: 7}, {PerSecond: 1.25, Burst: 3}},
	} {
		sinks := parse(t, strings.Replace(text, "%s", burst, 1)).Sinks
		for i, b := range []config.Batch{batch, waits, withoutIDs} {
			d := sinks[i].Delivery
			match := []string{`{"type":["a"],"user":["b"]}`, `{"type":["b"]}`, `{}`}[i]
			if d.RateLimit != want[i] || d.Batch != b || d.Match.String() != match || d.Retry.MaxAge != time.Hour {
				t.Errorf("%s%s has %+v", sinks[i].Name, burst, d)
			}
		}
	}
}

func TestABurstThatNobodyGaveIsASecondsItems(t *testing.T) {
	t.Parallel()
	for rate, want := range map[string]int{"0.001": 1, "1": 1, "1.5": 2, "20": 20, "1000000000": 1_000_000_000} {
		cfg := parse(t, "version: 1\nsinks: {a: {type: stdout, rate_limit: {per_second: "+rate+"}}}\n")
		if got := cfg.Sinks[0].Delivery.RateLimit.Burst; got != want {
			t.Errorf("%s gives a burst of %d, want %d", rate, got, want)
		}
	}
	for _, rate := range []string{"0", "-1", "nan", "inf", "1000000001", "many", "1e-400"} {
		refused(t, "version: 1\nsinks: {a: {type: stdout, rate_limit: {per_second: "+rate+"}}}\n", "sinks.a.rate_limit.per_second: ")
	}
}

func TestABatchNeedsAFormatWhoseItemsHaveIDs(t *testing.T) {
	t.Parallel()
	for sink, want := range map[string]string{
		"format: json, batch: {}":                                "",
		"format: cloudevents, batch: {}":                         "",
		"format: raw":                                            "",
		"format: cloudevents_binary":                             "",
		"batch: {without_ids: true}":                             "",
		"batch: {}":                                              "sinks.a.batch: a batch needs format json or cloudevents",
		"batch: {without_ids: false}":                            "sinks.a.batch: a batch needs format json or cloudevents",
		"format: cloudevents_binary, batch: {}":                  "sinks.a.batch: a batch cannot have format cloudevents_binary",
		"format: cloudevents_binary, batch: {without_ids: true}": "sinks.a.batch: a batch cannot have format cloudevents_binary",
	} {
		text := "version: 1\nsinks: {a: {type: webhook, url: \"http://h/\", " + sink + "}}\n"
		if want == "" {
			parse(t, text)
		} else {
			refused(t, text, want)
		}
	}
}

var (
	knownKeys = regexp.MustCompile(`c\.yaml:\d+:\d+: (\S+)\.zzzzzz: unknown key \(known: (.*)\)`)
	yamlKey   = regexp.MustCompile(`[\w-]+:`)
)

// The sample that TestEveryKeyReachesItsField loads has every key there is: each mapping is asked for what it knows.
func TestTheSampleHasEveryKey(t *testing.T) {
	t.Parallel()
	sample, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	has := strings.Join(yamlKey.FindAllString(string(sample), -1), " ")
	const z = "{zzzzzz: 1}"
	text := refused(t, `version: 1
data: {zzzzzz: 1, retain: `+z+`, dedupe: `+z+`}
server: {zzzzzz: 1, auth: {zzzzzz: 1, tokens: [`+z+`]}, tls: `+z+`}
log: `+z+`
defaults: {zzzzzz: 1, retry: `+z+`, breaker: `+z+`, rate_limit: `+z+`, batch: `+z+`}
sinks:
  x: {type: zzzzzz, zzzzzz: 1, bounds: `+z+`, dead: `+z+`, rotate: `+z+`, tls: `+z+`, sign: {zzzzzz: 1, custom: `+z+`}}
`)
	mappings := knownKeys.FindAllStringSubmatch(text, -1)
	for _, m := range mappings {
		for key := range strings.SplitSeq(m[2], ", ") {
			if !strings.Contains(" "+has, " "+key+":") {
				t.Errorf("%s.%s is not in the sample", m[1], key)
			}
		}
	}
	if len(mappings) != 20 {
		t.Errorf("%d mappings say what they know:\n%s", len(mappings), text)
	}
}
