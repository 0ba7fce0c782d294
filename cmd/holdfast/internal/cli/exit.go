package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"holdfast/cmd/holdfast/internal/client"
)

// The exit codes, a contract with scripts.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2  // the command line is wrong; nothing was done
	ExitNotFound    = 3  // no such item, sink or dead letter, or not any more
	ExitConflict    = 4  // the server's state forbids it
	ExitUnreachable = 5  // no server answered, or it went away
	ExitIO          = 74 // reading input, writing output or storage failed
	ExitTemporary   = 75 // full, busy or stopping: try again later
	ExitConfig      = 78 // the configuration is wrong
)

// ExitError chooses the exit code. Err may be nil: then nothing is printed.
// Err is printed after "holdfast: ", but with ExitConfig as it stands if it
// begins with FILE:LINE:COLUMN.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// usageError is a command line that makes no sense.
type usageError struct{ text, hint string }

func (e *usageError) Error() string {
	if e.hint == "" {
		return e.text
	}
	return e.text + "\n  " + e.hint
}

func usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// exitCode is the code for what a command returned.
func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*ExitError](err); ok {
		return e.Code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[*client.NameError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[*client.UnreachableError](err); ok {
		return ExitUnreachable
	}
	if _, ok := errors.AsType[*client.BrokenError](err); ok {
		return ExitUnreachable
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return problemCode(p)
	}
	return ExitFailed
}

func problemCode(p *client.Problem) int {
	switch p.Status {
	case http.StatusNotFound, http.StatusGone:
		return ExitNotFound
	case http.StatusConflict, http.StatusUnprocessableEntity: // 422: the idempotency key has another body
		return ExitConflict
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ExitTemporary
	}
	return ExitFailed
}

// positioned is a text that begins as a compiler's messages do.
var positioned = regexp.MustCompile(`^[^\n]+?:[0-9]+:[0-9]+: `)

// report tells an error: what, where, why, and what next.
func (a *app) report(err error) {
	if err == nil {
		return
	}
	e, chosen := errors.AsType[*ExitError](err)
	if chosen && e.Err == nil {
		return
	}
	prefix := "holdfast: "
	if a.colors() {
		prefix = "\x1b[31mholdfast:\x1b[0m "
	}
	text := err.Error()
	if chosen && e.Code == ExitConfig && positioned.MatchString(text) {
		prefix = ""
	}
	if next := a.whatNext(err); next != "" {
		text += "\n  " + next
	}
	fmt.Fprintln(a.Err, prefix+cleanLines(strings.TrimSuffix(text, "\n")))
}

func (a *app) whatNext(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "--ca or HOLDFAST_CA names a file with the authority that signed the server's certificate"
	}
	if u, ok := errors.AsType[*client.UnreachableError](err); ok {
		if u.Dialed {
			return "see how it is with `holdfast status`; --timeout gives it more time"
		}
		return "`holdfast serve` starts one; --server or HOLDFAST_SERVER names another"
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		switch {
		case p.Status == http.StatusUnauthorized:
			return "--token-file or HOLDFAST_TOKEN gives the token that the server asks for"
		case problemCode(p) == ExitTemporary:
			return "try again later; `holdfast status` shows how it is"
		}
	}
	if _, ok := errors.AsType[*client.ForeignError](err); ok {
		return "is --server (or HOLDFAST_SERVER) the address of a holdfast server?"
	}
	return ""
}

// colors says whether standard error takes colours.
func (a *app) colors() bool {
	return !a.noColor && a.Env("NO_COLOR") == "" && a.Env("TERM") != "dumb" && a.Terminal(a.Err)
}
