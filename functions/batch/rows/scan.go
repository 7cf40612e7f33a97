package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

var errNoObject = errors.New("it is another value")

// members are an object's, of text that is JSON. They are parts of the text, of which nothing is
// copied: what is held of a request doesn't come to a multiple of it.
func members(text []byte) (map[string]json.RawMessage, error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, errNoObject
	}
	found := map[string]json.RawMessage{}
	for _, member := range elements(text) {
		key := next(member)
		var name string
		if err := json.Unmarshal(member[:key], &name); err != nil {
			return nil, fmt.Errorf("reading a name: %w", err)
		}
		found[name] = trim(member[key+1:])
	}
	return found, nil
}

// elements yields those of a list, or the members of an object, each with where it ends in what
// is between the brackets. The text is JSON.
func elements(text []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		inside := text[1 : len(text)-1]
		if len(trim(inside)) == 0 {
			return
		}
		for at := 0; at < len(inside); at++ {
			begin := at
			for at += next(inside[at:]); at < len(inside) && inside[at] == ':'; {
				at += 1 + next(inside[at+1:])
			}
			if !yield(at, trim(inside[begin:at])) {
				return
			}
		}
	}
}

// next is where the comma or colon is before which a value ends, or else the end of the text.
func next(text []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case depth == 0 && (c == ',' || c == ':'):
			return i
		}
	}
	return len(text)
}

func trim(text []byte) []byte { return bytes.Trim(text, " \t\r\n") }
