package ndjson

// The functions of this file walk over JSON. Each takes where to begin, and returns where what it walked over ends; the
// bool is false if it does not parse, and then the index is that of the byte that does not fit.

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

func value(b []byte, i, depth int) (int, bool) {
	if i == len(b) || depth > maxDepth {
		return i, false
	}
	switch c := b[i]; {
	case c == '"':
		return text(b, i)
	case c == '{':
		return object(b, i, depth+1)
	case c == '[':
		return array(b, i, depth+1)
	case c == '-' || isDigit(c):
		return number(b, i)
	case c == 't':
		return word(b, i, "true")
	case c == 'f':
		return word(b, i, "false")
	case c == 'n':
		return word(b, i, "null")
	}
	return i, false
}

func object(b []byte, i, depth int) (int, bool) {
	if depth > maxDepth {
		return i, false
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1, true
	}
	for {
		var ok bool
		if i, ok = nameEnd(b, i); !ok {
			return i, false
		}
		if i, ok = value(b, space(b, space(b, i)+1), depth); !ok {
			return i, false
		}
		switch i = space(b, i); {
		case i < len(b) && b[i] == '}':
			return i + 1, true
		case i == len(b) || b[i] != ',':
			return i, false
		}
		i = space(b, i+1)
	}
}

// nameEnd walks over a member's name, and sees that a colon follows.
func nameEnd(b []byte, i int) (int, bool) {
	if i == len(b) || b[i] != '"' {
		return i, false
	}
	i, ok := text(b, i)
	if !ok {
		return i, false
	}
	if colon := space(b, i); colon == len(b) || b[colon] != ':' {
		return colon, false
	}
	return i, true
}

func array(b []byte, i, depth int) (int, bool) {
	if depth > maxDepth {
		return i, false
	}
	if i = space(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1, true
	}
	for {
		var ok bool
		if i, ok = value(b, i, depth); !ok {
			return i, false
		}
		switch i = space(b, i); {
		case i < len(b) && b[i] == ']':
			return i + 1, true
		case i == len(b) || b[i] != ',':
			return i, false
		}
		i = space(b, i+1)
	}
}

func text(b []byte, i int) (int, bool) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, true
		case c < ' ':
			return i, false
		case c == '\\':
			var ok bool
			if i, ok = escape(b, i+1); !ok {
				return i, false
			}
		}
	}
	return i, false
}

// escape walks over what follows a backslash, to its last byte.
func escape(b []byte, i int) (int, bool) {
	if i == len(b) {
		return i, false
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i, true
	case 'u':
		for range 4 {
			if i++; i == len(b) || !isHex(b[i]) {
				return i, false
			}
		}
		return i, true
	}
	return i, false
}

func number(b []byte, i int) (int, bool) {
	if b[i] == '-' {
		i++
	}
	var ok bool
	if i < len(b) && b[i] == '0' {
		i++
	} else if i, ok = digits(b, i); !ok {
		return i, false
	}
	if i < len(b) && b[i] == '.' {
		if i, ok = digits(b, i+1); !ok {
			return i, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i, true
}

func digits(b []byte, i int) (int, bool) {
	start := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i, i > start
}

func word(b []byte, i int, w string) (int, bool) {
	if len(b)-i < len(w) || string(b[i:i+len(w)]) != w {
		return i, false
	}
	return i + len(w), true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	c2 := c | 0x20
	return isDigit(c) || 'a' <= c2 && c2 <= 'f'
}
