package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxFile   = int(mib)
	maxTokens = 50_000 // the parser's time and memory grow with their square
	maxDepth  = 64     // levels of brackets, or of dashes in one line
)

// An Env is what a configuration depends on beside its text. The zero value is the process's own.
type Env struct {
	LookupEnv func(name string) (string, bool)   // nil: os.LookupEnv
	Open      func(name string) (fs.File, error) // nil: os.Open; for the file itself, ${file:…}, ${cred:…} and tls.key

	InsecureNoAuth bool // --insecure-no-auth: server.listen may be any address without tokens, with a warning
}

func (e Env) withDefaults() Env {
	if e.LookupEnv == nil {
		e.LookupEnv = os.LookupEnv
	}
	if e.Open == nil {
		e.Open = func(name string) (fs.File, error) { return os.Open(name) }
	}
	return e
}

// Load reads the file and parses it. A file that cannot be read is the error of the read; else see Parse. One that
// everyone may write is refused: it says which programs are run.
func Load(path string, env Env) (*Config, error) {
	f, err := env.withDefaults().Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, int64(maxFile)+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		d := newDecoder(string(src), env.withDefaults())
		d.report("", 1, 1, "the file is writable by everyone: chmod o-w it")
		return d.finish(path, nil)
	}
	return Parse(path, src, env)
}

// Parse decodes one file's text; name is what messages call it. The error is always an *Error.
func Parse(name string, src []byte, env Env) (*Config, error) {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	d := newDecoder(string(src), env.withDefaults())
	cfg := defaults()
	if body, ok := d.syntax(src); ok {
		d.root(value{node: body}, cfg)
	}
	return d.finish(name, cfg)
}

// Default is the configuration where there is no file: one sink, stdout. The error is an *Error about the environment.
func Default(env Env) (*Config, error) {
	return Parse("defaults", []byte("version: 1\n"), env)
}

// syntax returns the tree of the file's one document, or reports why there is none.
func (d *decoder) syntax(src []byte) (ast.Node, bool) {
	if !d.readable(src) {
		return nil, false
	}
	file, ok := d.tree(string(src))
	if !ok {
		return nil, false
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch {
	case len(bodies) == 0:
		d.report("", 1, 1, "the file is empty: it needs at least \"version: 1\"")
	case bodies[0].Type() == ast.DirectiveType:
		d.fail("", bodies[0].GetToken(), "YAML directives are not supported")
	case len(bodies) > 1:
		d.fail("", start(bodies[1]), "a second document: a configuration is one document")
	default:
		return bodies[0], true
	}
	return nil, false
}

// readable looks at the bytes: size, encoding and control characters.
func (d *decoder) readable(src []byte) bool {
	if len(src) > maxFile {
		d.report("", 1, 1, fmt.Sprintf("the file is larger than %d bytes", maxFile))
		return false
	}
	line, col := 1, 1
	for i := 0; i < len(src); col++ {
		r, n := utf8.DecodeRune(src[i:])
		switch i += n; {
		case r == utf8.RuneError && n == 1:
			d.report("", line, col, "not UTF-8")
			return false
		case r == '\n':
			line, col = line+1, 0
		case r == '\r' && i < len(src) && src[i] == '\n', r == '\t':
		case r < ' ' || r == 0x7f || r == '\ufeff':
			d.report("", line, col, fmt.Sprintf("control character %U", r))
			return false
		}
	}
	return true
}

// tree runs the YAML parser. It is foreign code that gets whatever a disk holds: a panic of it is a syntax error.
func (d *decoder) tree(text string) (file *ast.File, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			d.report("", 1, 1, "the YAML parser gave up on this file")
			file, ok = nil, false
		}
	}()
	tokens := lexer.Tokenize(text)
	if deep := tooMuch(tokens); deep != nil {
		d.fail("", deep, fmt.Sprintf("too large or too deep: at most %d levels and %d tokens", maxDepth, maxTokens))
		return nil, false
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntaxError(err)
		return nil, false
	}
	return file, true
}

// tooMuch returns the token at which the file leaves the bounds of what is parsed, nil if it stays within.
func tooMuch(tokens token.Tokens) *token.Token {
	flow, dashes, line := 0, 0, 0
	for i, t := range tokens {
		if t.Position.Line != line {
			dashes, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			dashes++
		}
		if flow > maxDepth || dashes > maxDepth || i >= maxTokens {
			return t
		}
	}
	return nil
}

// syntaxError reports what the parser said, in words that help with the two usual mistakes.
func (d *decoder) syntaxError(err error) {
	located, ok := errors.AsType[interface {
		error
		GetMessage() string
		GetToken() *token.Token
	}](err)
	if !ok {
		d.report("", 1, 1, "bad YAML")
		return
	}
	message := "bad YAML: " + located.GetMessage()
	switch t := located.GetToken(); {
	case strings.Contains(message, "'\t'"):
		message = "a tab: YAML is indented with spaces"
	case t != nil && strings.Contains(message, "'}'") && strings.Contains(d.line(t), "${"):
		message += `; inside { } write "${…}" in quotes`
	}
	d.fail("", located.GetToken(), message)
}
