package input

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"sluice.dev/sluice/functions/batch/plan"
)

// chunk is how much is read at a time.
const chunk = 64 << 10

// lines are items of a line each. An empty line is none.
type lines struct {
	listing

	bound int64
}

// Items yields them.
func (l *lines) Items(ctx context.Context, from plan.Position) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		for object, err := range l.objects(ctx, from.Object) {
			if err != nil {
				yield(nil, err)
				return
			}
			at := plan.Position{Object: object.Key}
			if object.Key == from.Object {
				at = from
			}
			if object.Size >= 0 && at.Offset >= object.Size {
				continue
			}
			if !l.read(ctx, at, yield) {
				return
			}
		}
	}
}

// read yields an object's lines from a position on, and tells whether to go on.
func (l *lines) read(ctx context.Context, at plan.Position, yield func(*Item, error) bool) bool {
	content := l.patience.Read(ctx, l.from, at.Object, at.Offset)
	defer content.Close()
	buffer := bufio.NewReaderSize(content, chunk)
	if at.Offset == 0 {
		if err := recognize(at.Object, buffer); err != nil {
			yield(nil, err)
			return false
		}
	}
	for {
		line, size, err := readLine(buffer, l.bound)
		if err != nil && !errors.Is(err, io.EOF) {
			yield(nil, blame(err))
			return false
		}
		if size == 0 {
			return true
		}
		if at.Offset == 0 {
			line = bytes.TrimPrefix(line, byteOrder)
		}
		item := &Item{Object: at.Object, Line: at.Line + 1, Size: size, ContentType: "application/json"}
		at.Offset, at.Line = at.Offset+size, at.Line+1
		item.End = at
		if line != nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if item.Problem = l.problem(line); item.Problem == "" {
			item.Body = line
		}
		if !yield(item, nil) {
			return false
		}
	}
}

// readLine reads a line and returns it without its end, with its size with it. A line over
// the bound is read and isn't kept: it is nil. At the end of the file the size is 0.
func readLine(from *bufio.Reader, bound int64) (line []byte, size int64, err error) {
	line = []byte{}
	for {
		piece, err := from.ReadSlice('\n')
		size += int64(len(piece))
		if line != nil {
			// The end of the line doesn't count, and is at most two bytes.
			if line = append(line, piece...); int64(len(line)) > bound+2 {
				line = nil
			}
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if line = withoutEnd(line); int64(len(line)) > bound {
			line = nil
		}
		return line, size, err
	}
}

func withoutEnd(line []byte) []byte {
	if rest, ok := bytes.CutSuffix(line, []byte("\n")); ok {
		return bytes.TrimSuffix(rest, []byte("\r"))
	}
	return line
}

// problem is why a line is no request.
func (l *lines) problem(line []byte) string {
	if line == nil {
		return fmt.Sprintf("the line is longer than %d bytes", l.bound)
	}
	return NotJSON("line", line)
}

// NotJSON is why a text, such as a line, isn't JSON; it is empty if it is.
func NotJSON(what string, text []byte) string {
	if json.Valid(text) && utf8.Valid(text) {
		return ""
	}
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Sprintf("the %s isn't UTF-8: byte %#x at column %d", what, text[at], at+1)
		}
		at += size
	}
	syntax := &json.SyntaxError{}
	if err := json.Unmarshal(text, new(json.RawMessage)); errors.As(err, &syntax) {
		return fmt.Sprintf("the %s isn't JSON: %v at column %d", what, syntax, syntax.Offset)
	}
	return fmt.Sprintf("the %s isn't JSON", what)
}
