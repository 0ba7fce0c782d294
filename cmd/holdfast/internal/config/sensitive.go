package config

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Guarantee W4 asks that no error shows a secret, and an error may come before anybody knows what a value means: bad
// syntax, an unknown key, a section that a later version has. So every excerpt is also searched for what looks like one.
var (
	secretKey = regexp.MustCompile(`(?i)[\w-]*(?:secret|token|authorization|passw|cookie|api[-_]?key|` +
		`github|standard_webhooks)[\w-]*["']?\s*:\s*`)
	secretAlone = regexp.MustCompile(`whsec_[A-Za-z0-9+/=_-]+|://([^/\s"'@]+)@`)
	// listOfMappings tells by the keys inside what is to be hidden, as a mapping does.
	listOfMappings = regexp.MustCompile(`^\[\s*\{`)
	// reference is a value that only names its secret; a default inside it would be one.
	reference = regexp.MustCompile(`^["'\[ ]*(?:[A-Za-z]+ )?\$\{[^}]*\}["'\] ]*(?:[,}#]|$)`)
)

// sensitive returns the parts of a line that look like secrets written into the file.
func sensitive(line int, text string) []span {
	var out []span
	hide := func(from, to int) {
		out = append(out, span{line, utf8.RuneCountInString(text[:from]) + 1, utf8.RuneCountInString(text[:to]) + 1})
	}
	for _, m := range secretKey.FindAllStringIndex(text, -1) {
		if n := secretLength(text[m[1]:]); n > 0 {
			hide(m[1], m[1]+n)
		}
	}
	for _, m := range secretAlone.FindAllStringSubmatchIndex(text, -1) {
		if m[2] >= 0 {
			m = m[2:] // the user and password of an address
		}
		hide(m[0], m[1])
	}
	return out
}

// secretLength is how many bytes of the text after a telling key are to be hidden: too many rather than too few.
func secretLength(rest string) int {
	rest = strings.TrimRight(rest, " ")
	if rest == "" || strings.ContainsRune("{#|>", rune(rest[0])) || listOfMappings.MatchString(rest) {
		return 0
	}
	switch end := closing(rest); {
	case end == 0 && namesSecret(rest):
		return 0
	case end == 0:
		return len(rest)
	case rest[0] == '[':
		for part := range strings.SplitSeq(rest[1:end-1], ",") {
			if !namesSecret(part) {
				return end
			}
		}
		return 0
	case namesSecret(rest[:end]):
		return 0
	default:
		return end
	}
}

// closing is where a quoted text or a list ends, and 0 where that takes more than a look.
func closing(rest string) int {
	end := strings.IndexByte(rest[1:], map[byte]byte{'[': ']', '"': '"', '\'': '\''}[rest[0]])
	if !strings.ContainsRune(`["'`, rune(rest[0])) || end < 0 {
		return 0
	}
	end += 2
	inside, after := rest[1:end-1], rest[end:]
	if strings.Contains(inside, `\`) || strings.HasPrefix(after, rest[:1]) {
		return 0
	}
	return end
}

func namesSecret(value string) bool {
	ref := reference.FindString(value)
	return ref != "" && !strings.Contains(ref, ":-")
}

// inlineSecret tells whether a raw value holds a secret itself instead of naming the place of one.
func inlineSecret(raw string) bool {
	return !strings.Contains(raw, "${") || strings.Contains(raw, ":-")
}

// sensitiveName tells whether the value of a header or a variable is a secret by its name.
func sensitiveName(name string) bool { return secretKey.MatchString(name + ":") }
