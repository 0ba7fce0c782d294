package webhook_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"holdfast/sinks"
	"holdfast/sinks/sinktest"
	"holdfast/sinks/webhook"
)

// Guarantee W2: the vector of the reference implementation.
func TestPublishedStandardWebhooksVectorPasses(t *testing.T) {
	for _, secret := range []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} {
		h := webhook.Signing{StandardWebhooks: []string{secret}}.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
		for name, want := range map[string]string{
			"webhook-id":        "msg_p5jXN8AQM9LWM0D4loKWxJek",
			"webhook-timestamp": "1614265330",
			"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
}

// Guarantee W2: the vector of GitHub's documentation.
func TestPublishedGitHubVectorPasses(t *testing.T) {
	h := webhook.Signing{GitHub: "It's a Secret to Everybody"}.Sign("id", time.Unix(0, 0), []byte("Hello, World!"))
	if got, want := h.Get("X-Hub-Signature-256"), "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"; got != want {
		t.Errorf("X-Hub-Signature-256 is %q, want %q", got, want)
	}
	if h.Get("webhook-signature") != "" {
		t.Error("there is a signature that nobody asked for")
	}
}

// Guarantee W2.
func TestCustomHeaderHasPrefixAndEncoding(t *testing.T) {
	const sum = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	raw, err := hex.DecodeString(sum)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ encoding, want string }{{"hex", "v0=" + sum}, {"base64", "v0=" + base64.StdEncoding.EncodeToString(raw)}} {
		custom := webhook.Custom{Header: "X-Mine", Prefix: "v0=", Encoding: c.encoding, Secret: "It's a Secret to Everybody"}
		h := webhook.Signing{Custom: custom}.Sign("id", time.Unix(0, 0), []byte("Hello, World!"))
		if got := h.Get("X-Mine"); got != c.want {
			t.Errorf("%s: X-Mine is %q, want %q", c.encoding, got, c.want)
		}
	}
}

// Guarantee W2: the reference library verifies what arrives, with either secret of a rotation; the id stays and the
// timestamp is that of the attempt.
func TestReferenceLibraryVerifiesEveryAttempt(t *testing.T) {
	secrets := []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte("the old secret, 24 bytes")), "whsec_" + base64.StdEncoding.EncodeToString([]byte("the new secret, 24 bytes"))}
	for _, format := range []sinks.Format{sinks.Raw, sinks.JSON, sinks.CloudEvents, sinks.CloudEventsBinary} {
		s, got := recording(t, webhook.Options{Format: format, Signing: webhook.Signing{StandardWebhooks: secrets}})
		now := time.Now().Add(-time.Minute)
		webhook.SetNow(s, func() time.Time { now = now.Add(time.Second); return now })
		items := sinktest.Items("a\x00\xff\n", "b")
		for _, batch := range [][]sinks.Item{items[:1], items[:1], items, items} {
			if err := s.Deliver(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		verify(t, *got, secrets)
		first, second := (*got)[0].header, (*got)[1].header
		if id := items[0].ID.String(); first.Get("webhook-id") != id || second.Get("webhook-id") != id {
			t.Errorf("%s: webhook-id is %q, then %q, want %q", format, first.Get("webhook-id"), second.Get("webhook-id"), id)
		}
		if first.Get("webhook-timestamp") == second.Get("webhook-timestamp") || first.Get("webhook-signature") == second.Get("webhook-signature") {
			t.Errorf("%s: the second attempt was not signed anew", format)
		}
	}
}

func verify(t *testing.T, got []seen, secrets []string) {
	t.Helper()
	for i, r := range got {
		for j, secret := range secrets {
			oracle, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := oracle.Verify([]byte(r.body), r.header); err != nil {
				t.Errorf("request %d with secret %d: %v", i, j, err)
			}
			if oracle.Verify([]byte(r.body+" "), r.header) == nil {
				t.Errorf("request %d: the signature covers not all of the body", i)
			}
		}
		if n := len(strings.Fields(r.header.Get("webhook-signature"))); n != len(secrets) {
			t.Errorf("request %d has %d signatures", i, n)
		}
	}
}

func TestBatchHasAnIDOfAllItsItems(t *testing.T) {
	items := sinktest.Items("a", "b", "c")
	ids := []string{webhook.MessageID(items[:1]), webhook.MessageID(items[:2]), webhook.MessageID(items), webhook.MessageID([]sinks.Item{items[0], items[2]})}
	first := items[0].ID.String()
	if ids[0] != first {
		t.Errorf("one item has the id %s", ids[0])
	}
	for _, id := range ids[1:] {
		if !strings.HasPrefix(id, first+"_") || len(id) != 36+1+16 {
			t.Errorf("a batch has the id %s", id)
		}
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 4 {
		t.Errorf("different batches have one id: %v", ids)
	}
}

// Guarantee W4, in part: no error of an option shows its value.
func TestOptionsAreRefusedByNameWithoutTheirValue(t *testing.T) {
	const secret = "hunter2"
	for _, c := range []struct {
		want string
		o    webhook.Options
	}{
		{"url: is required", webhook.Options{URL: ""}},
		{"url: is not a URL", webhook.Options{URL: "http://user:" + secret + "@[::1"}},
		{"url: is neither", webhook.Options{URL: "ftp://user:" + secret + "@x"}},
		{"url: has no host", webhook.Options{URL: "http:///" + secret}},
		{"format: ", webhook.Options{Format: "xml"}},
		{"headers.CE-Id: ", webhook.Options{Format: sinks.CloudEventsBinary, Headers: map[string]string{"CE-Id": secret}}},
		{"batch.without_ids: ", webhook.Options{Format: sinks.JSON, BatchWithoutIDs: true}},
		{"concurrency: ", webhook.Options{Concurrency: -1}},
		{"retry_after_max: ", webhook.Options{RetryAfterMax: -1}},
		{"version: ", webhook.Options{Version: "a\nb"}},
		{`headers: "a b"`, webhook.Options{Headers: map[string]string{"a b": secret}}},
		{"headers.a: ", webhook.Options{Headers: map[string]string{"a": secret + "\n"}}},
		{"headers.webhook-ID: ", webhook.Options{Headers: map[string]string{"webhook-ID": secret}}},
		{"sign.standard_webhooks[1]: ", webhook.Options{Signing: webhook.Signing{StandardWebhooks: []string{"whsec_aGk=", "whsec_" + secret}}}},
		{"sign.standard_webhooks[0]: ", webhook.Options{Signing: webhook.Signing{StandardWebhooks: []string{"whsec_"}}}},
		{"sign.custom.header: ", webhook.Options{Signing: webhook.Signing{Custom: webhook.Custom{Secret: secret}}}},
		{"sign.custom.header: ", webhook.Options{Signing: webhook.Signing{Custom: webhook.Custom{Header: "Content-Length", Secret: secret}}}},
		{"sign.custom.prefix: ", webhook.Options{Signing: webhook.Signing{Custom: webhook.Custom{Header: "a", Prefix: "\n", Secret: secret}}}},
		{"sign.custom.encoding: ", webhook.Options{Signing: webhook.Signing{Custom: webhook.Custom{Header: "a", Encoding: "hax", Secret: secret}}}},
		{"sign.custom.secret: ", webhook.Options{Signing: webhook.Signing{Custom: webhook.Custom{Header: "a"}}}},
		{"tls: ", webhook.Options{TLS: webhook.TLS{CertFile: "x"}}},
		{"tls.ca_file: ", webhook.Options{TLS: webhook.TLS{CAFile: "/does/not/exist"}}},
		{"tls.cert_file, tls.key_file: ", webhook.Options{TLS: webhook.TLS{CertFile: "/does/not/exist", KeyFile: "/nor/this"}}},
	} {
		if c.o.URL == "" && !strings.HasPrefix(c.want, "url") {
			c.o.URL = "http://user:" + secret + "@127.0.0.1/"
		}
		_, err := webhook.New(c.o)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("new: %v, want %q", err, c.want)
		}
	}
}

// Guarantee W4, in part.
func TestNoVerbShowsASecret(t *testing.T) {
	o := webhook.Options{
		URL: "http://user:hunter2@127.0.0.1/hunter2?token=hunter2", Headers: map[string]string{"authorization": "hunter2"},
		Signing: webhook.Signing{StandardWebhooks: []string{"whsec_hunter2="}, GitHub: "hunter2", Custom: webhook.Custom{Header: "a", Secret: "hunter2"}},
	}
	s := newSink(t, webhook.Options{URL: o.URL, Headers: o.Headers, Signing: webhook.Signing{GitHub: "hunter2"}})
	for _, v := range []any{o, &o, o.Signing, &o.Signing, o.Signing.Custom, &o.Signing.Custom, s, struct{ O webhook.Options }{o}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "hunter2") {
				t.Errorf("%s of %T shows a secret: %s", verb, v, text)
			}
		}
	}
}

// Guarantee W4, in part: a malformed answer is quoted by net/http, and not by us.
func TestUnreachableIsSaidInFixedWords(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New(`malformed HTTP response "hunter2"`), "no valid answer"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, "tls: certificate required"},
		{&net.DNSError{Name: "hunter2", IsNotFound: true}, "the host is not known"},
		{&net.DNSError{Name: "hunter2", IsTimeout: true}, "the look-up of the host failed"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, "no route to host"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "no connection in time"},
		{fmt.Errorf("hunter2: %w", io.ErrUnexpectedEOF), "the connection was closed before the answer"},
		{x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign, Detail: "hunter2"}, "tls: the certificate is not valid"},
		{&tls.CertificateVerificationError{Err: errors.New("hunter2")}, "tls: the certificate cannot be verified"},
	} {
		if got := webhook.Reason(c.err); got != c.want {
			t.Errorf("reason of %v is %q, want %q", c.err, got, c.want)
		}
	}
}
