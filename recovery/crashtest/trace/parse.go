package trace

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// Parse reads what strace wrote. Only what is in the directory root counts, and the writes to the file marks, which is
// elsewhere. Both are absolute, without symbolic links. A call that changes something in root and that the model does not
// know is an error, as is one that failed in a way that leaves its effect open.
func Parse(r io.Reader, root, marks string) (*Trace, error) {
	p := &parser{root: root, marks: marks, begun: map[string]begun{}}
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if perr := p.line(strings.TrimSuffix(line, "\n")); perr != nil {
			return nil, fmt.Errorf("line %d of the trace: %w", n, perr)
		}
		if err != nil {
			return &p.t, p.cutShort()
		}
	}
}

// cutShort takes the calls under which the process ended.
func (p *parser) cutShort() error {
	for _, b := range p.begun {
		if err := p.call(b.text+") = ?", b.step); err != nil {
			return err
		}
	}
	return nil
}

type parser struct {
	root, marks string
	t           Trace
	begun       map[string]begun // by thread
}

// begun is a call whose end was not seen yet.
type begun struct {
	text string
	step int // in Steps; its event is filled in at the end
}

// line takes one line: a whole call, the beginning of one, or its end.
func (p *parser) line(line string) error {
	thread, text, ok := strings.Cut(line, " ")
	text = strings.TrimLeft(text, " ")
	if !ok || strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "---") {
		return nil
	}
	if start, cut := strings.CutSuffix(text, " <unfinished ...>"); cut {
		p.begun[thread] = begun{start, len(p.t.Steps)}
		p.t.Steps = append(p.t.Steps, Step{Event: -1})
		return nil
	}
	if _, rest, resumed := strings.Cut(text, " resumed>"); resumed && strings.HasPrefix(text, "<... ") {
		b := p.begun[thread]
		delete(p.begun, thread)
		return p.call(b.text+rest, b.step)
	}
	p.t.Steps = append(p.t.Steps, Step{Event: -1})
	return p.call(text, len(p.t.Steps)-1)
}

// call adds the event of a whole call, which began at a step, and ends now. Steps of calls that change nothing stay
// without an event.
func (p *parser) call(text string, step int) error {
	i := strings.LastIndex(text, " = ")
	open := strings.IndexByte(text, '(')
	if i < 0 || open < 0 || i < open {
		return fmt.Errorf("%.80q is no call", text)
	}
	name, result := text[:open], strings.TrimSpace(text[i+3:])
	args := strings.Split(strings.TrimSuffix(strings.TrimRight(text[open+1:i], " "), ")"), ", ")
	e, err := p.event(name, args, result)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if e.Kind == 0 {
		return nil
	}
	p.t.Steps[step].Event = len(p.t.Events)
	p.t.Steps = append(p.t.Steps, Step{Event: len(p.t.Events), End: !strings.HasPrefix(result, "?")})
	p.t.Events = append(p.t.Events, e)
	return nil
}

var errUnknown = errors.New("the model does not know this call")

// event is what a call did; of kind 0 if that is nothing that counts.
func (p *parser) event(name string, args []string, result string) (e Event, err error) {
	failed := strings.HasPrefix(result, "-1")
	switch name {
	case "write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "mmap":
		file := args[0]
		if name == "mmap" {
			file = args[4]
		}
		return p.onFile(name, file, args, result)
	case "openat", "mkdirat", "unlinkat", "renameat2", "renameat":
		if failed {
			return e, nil
		}
		return p.onName(name, args, result)
	case "io_uring_setup":
		return e, errUnknown // what is done by it is not shown
	default:
		for _, a := range args {
			if _, ours := p.inside(cmp.Or(text(a), pathOf(a))); ours && !failed {
				return e, errUnknown
			}
		}
		return e, nil
	}
}

// onFile is what a call on an open file did.
func (p *parser) onFile(name, file string, args []string, result string) (e Event, err error) {
	full := pathOf(file)
	if full == p.marks && name == "write" {
		b, err := bytesOf(args[1])
		return Event{Kind: Mark, Data: b}, err
	}
	var ours bool
	if e.Path, ours = p.inside(full); !ours {
		return Event{}, nil
	}
	if strings.HasSuffix(file, "(deleted)") { // nobody will see it again
		return Event{}, nil
	}
	if name != "mmap" && (strings.HasPrefix(result, "-1") || strings.HasPrefix(result, "? E")) {
		return e, fmt.Errorf("%s: it ended with %s: the model needs a run in which nothing fails", e.Path, result)
	}
	switch name {
	case "pwrite64":
		return write(e, args, result)
	case "ftruncate":
		e.Kind = Resize
		e.Size, err = number(args[1])
	case "fallocate":
		return allocation(e, args)
	case "fsync", "fdatasync":
		e.Kind = Sync
	case "mmap":
		if strings.Contains(args[2], "PROT_WRITE") && strings.Contains(args[3], "MAP_SHARED") {
			err = errUnknown
		} else {
			e = Event{}
		}
	default:
		err = errUnknown
	}
	return e, err
}

func write(e Event, args []string, result string) (Event, error) {
	data, err := bytesOf(args[1])
	off, oerr := number(args[3])
	e.Kind, e.Data, e.Off = Write, data, off
	if err = errors.Join(err, oerr); err == nil && !strings.HasPrefix(result, "?") && result != strconv.Itoa(len(data)) {
		err = fmt.Errorf("%s of %d bytes answered %s", e.Path, len(data), result)
	}
	return e, err
}

func allocation(e Event, args []string) (Event, error) {
	off, err := number(args[2])
	n, nerr := number(args[3])
	switch args[1] {
	case "FALLOC_FL_KEEP_SIZE": // what is beyond the size is not seen
		return Event{}, nil
	case "0":
		e.Kind, e.Size = Extend, off+n
		return e, errors.Join(err, nerr)
	}
	return e, errUnknown
}

// onName is what a call that names a path did.
func (p *parser) onName(name string, args []string, result string) (e Event, err error) {
	path := p.at(args[0], args[1])
	var ours bool
	if e.Path, ours = p.inside(path); !ours {
		return Event{}, nil
	}
	switch name {
	case "openat":
		flags := args[2]
		switch {
		case strings.Contains(flags, "O_CREAT"):
			e.Kind = Make
			if e.Size = -1; strings.Contains(flags, "O_TRUNC") {
				e.Size = 0
			}
		case strings.Contains(flags, "O_TRUNC"):
			e.Kind = Resize
		default:
			return Event{}, nil
		}
		if strings.Contains(flags, "O_TMPFILE") {
			err = errUnknown
		}
	case "mkdirat":
		e.Kind = MakeDir
	case "unlinkat":
		e.Kind = Remove
	default:
		e.Kind = Rename
		if e.To, ours = p.inside(p.at(args[2], args[3])); !ours || filepath.Dir(e.To) != filepath.Dir(e.Path) {
			err = errUnknown
		}
	}
	return e, err
}

// at is the path that a call names, from the directory that it stands in.
func (p *parser) at(dir, path string) string {
	name := text(path)
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(pathOf(dir), name)
}

// inside makes a path relative to root, and reports whether it is in it.
func (p *parser) inside(path string) (string, bool) {
	if path == p.root {
		return ".", true
	}
	rest, ok := strings.CutPrefix(path, p.root+"/")
	return rest, ok
}

// pathOf is the path of an open file as strace shows it: 7<\x2f…>.
func pathOf(arg string) string {
	_, rest, ok := strings.Cut(arg, "<")
	if !ok {
		return ""
	}
	rest, _, _ = strings.Cut(rest, ">")
	return text(`"` + rest + `"`)
}

// text is a string argument; empty if it is none.
func text(arg string) string {
	b, err := bytesOf(arg)
	if err != nil {
		return ""
	}
	return string(b)
}

// bytesOf decodes "\x68\x69". One that strace has cut short is an error.
func bytesOf(arg string) ([]byte, error) {
	inner, ok := strings.CutPrefix(arg, `"`)
	inner, end := strings.CutSuffix(inner, `"`)
	if !ok || !end {
		return nil, fmt.Errorf("%.40s is no whole string", arg)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(inner, `\x`, ""))
	if err != nil {
		return nil, fmt.Errorf("%.40s: %w", arg, err)
	}
	return b, nil
}

func number(arg string) (int64, error) { return strconv.ParseInt(arg, 0, 64) }
