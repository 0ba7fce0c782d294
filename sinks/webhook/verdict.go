package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/sinks"
)

// classify says what an answer means for the item. The URL is fixed, so what says that it is the wrong place, or that we
// may not go there, speaks of the destination and not of the item.
//
//	2xx                                                        done
//	410                                                        gone
//	1xx, 3xx, 401, 403, 404, 405, 407                          unavailable
//	429, 502, 503, 504, 520–527, 530                           unavailable
//	408, 425, other 5xx                                        this try failed
//	other 4xx                                                  permanent
//	what is unavailable or a failed try, with Retry-After > 0  unavailable, not before that
func classify(status int, header http.Header, now time.Time, limit time.Duration) error {
	if status >= 200 && status <= 299 {
		return nil
	}
	err := fmt.Errorf("status %d", status)
	switch {
	case status == http.StatusGone:
		return sinks.Gone(err)
	case isPermanent(status):
		return sinks.Permanent(err)
	}
	if after := retryAfter(header, now, limit); after > 0 {
		return sinks.RetryAfter(after, err)
	}
	if isUnavailable(status) {
		return sinks.Unavailable(err)
	}
	return err
}

func isPermanent(status int) bool {
	switch status {
	case 401, 403, 404, 405, 407, 408, 410, 425, 429:
		return false
	}
	return status >= 400 && status <= 499
}

func isUnavailable(status int) bool {
	switch status {
	case 401, 403, 404, 405, 407, 429, 502, 503, 504, 530:
		return true
	}
	return status < 400 || status >= 520 && status <= 527
}

// retryAfter reads a Retry-After (RFC 9110, section 10.2.3): seconds, or a date, which is taken relative to the answer's own
// Date if there is one, as our clock may be the wrong one. It is between 0 and limit; what is not valid is 0.
func retryAfter(h http.Header, now time.Time, limit time.Duration) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(limit/time.Second) {
			return limit
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return min(limit, max(0, at.Sub(now)))
}

// unreachable says in fixed words why there was no answer. The error itself may quote what the other side sent, or the
// URL, so it is not wrapped.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return sinks.Unavailable(fmt.Errorf("no answer: %w", ctx.Err()))
	}
	return sinks.Unavailable(errors.New(reason(err)))
}

func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return op.Err.Error() // a TLS alert, whose type is not exported: one of a few phrases
	}
	if why := tlsReason(err); why != "" {
		return why
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "the host is not known"
		}
		return "the look-up of the host failed"
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "no connection in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the connection was closed before the answer"
	}
	return "no valid answer"
}

func tlsReason(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "tls: the certificate is signed by an unknown authority"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "tls: the certificate is for another host"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "tls: the certificate has expired or is not yet valid"
		}
		return "tls: the certificate is not valid"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "tls: the certificate cannot be verified"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "tls: the other side does not speak it"
	}
	return ""
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}
