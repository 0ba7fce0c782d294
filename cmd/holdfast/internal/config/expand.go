package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// maxReferenced is the most that ${file:…} and ${cred:…} read.
const maxReferenced = 64 << 10

var variable = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?$`)

// A badReference is a piece of a value that could not be expanded.
type badReference struct {
	text    string // as it stands in the value, to find its column
	message string
}

// expand replaces ${…} in a parsed scalar by what resolve gives for the text between the braces, and $$ by a dollar. What
// comes out is not expanded again. A dollar that is neither is refused: nobody can tell which of the two was meant.
func expand(text string, resolve func(ref string) (string, error)) (string, []badReference) {
	var out strings.Builder
	var bad []badReference
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), bad
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			ref, after, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return out.String(), append(bad, badReference{"${", "${ without its }"})
			}
			value, err := resolve(ref)
			if err != nil {
				bad = append(bad, badReference{"${" + ref, err.Error()})
			}
			out.WriteString(value)
			text = after
		default:
			bad = append(bad, badReference{"$", "a lone $: write $$ for a dollar, ${NAME} for a variable"})
			text = rest
		}
	}
}

// resolve is the value of one reference. warn is what an operator should know about the file it came from. Errors name
// the reference and never a value.
func (e Env) resolve(ref string) (value, warn string, err error) {
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		if !filepath.IsAbs(path) {
			return "", "", fmt.Errorf("${file:%s}: the path must be absolute", path)
		}
		return e.referenced(path)
	}
	if name, ok := strings.CutPrefix(ref, "cred:"); ok {
		dir, set := e.LookupEnv("CREDENTIALS_DIRECTORY")
		switch {
		case !filepath.IsLocal(name) || name != filepath.Base(name) || name == ".":
			return "", "", fmt.Errorf("${cred:%s}: not a credential's name", name)
		case !set || dir == "":
			return "", "", fmt.Errorf("${cred:%s}: CREDENTIALS_DIRECTORY is not set: systemd gives it with LoadCredential=", name)
		}
		return e.referenced(filepath.Join(dir, name))
	}
	value, err = e.variable(ref)
	return value, "", err
}

// variable is an environment variable or its default, which also stands in for an empty one, as in a shell.
func (e Env) variable(ref string) (string, error) {
	m := variable.FindStringSubmatch(ref)
	switch {
	case m == nil:
		return "", errors.New("${…} takes NAME, NAME:-default, file:/path or cred:name")
	case strings.Contains(m[3], "${"):
		return "", errors.New("${…} cannot stand inside ${…}")
	}
	got, set := e.LookupEnv(m[1])
	switch {
	case m[2] != "" && got == "":
		return m[3], nil
	case !set:
		return "", fmt.Errorf("the environment variable %s is not set; ${%s:-default} would give a default", m[1], m[1])
	}
	return got, nil
}

// referenced is a file's content without one trailing newline.
func (e Env) referenced(path string) (value, warn string, err error) {
	f, err := e.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	warn, err = exposed(f, path)
	if err != nil {
		return "", "", err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxReferenced+1))
	switch {
	case err != nil:
		return "", "", err
	case len(content) > maxReferenced:
		return "", "", fmt.Errorf("%s is larger than %d bytes", path, maxReferenced)
	}
	value = strings.TrimSuffix(string(content), "\n")
	return strings.TrimSuffix(value, "\r"), warn, nil
}

// exposed looks at who else can reach a file: a warning for everyone's reading, an error for everyone's writing.
func exposed(f fs.File, path string) (warn string, err error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o002 != 0:
		return "", fmt.Errorf("%s is writable by everyone: chmod o-w it", path)
	case info.Mode().Perm()&0o004 != 0:
		return path + " is readable by everyone: chmod o-r it", nil
	}
	return "", nil
}
