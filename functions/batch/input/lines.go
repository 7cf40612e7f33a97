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
	"sluice.dev/sluice/functions/batch/task"
)

// chunk is how much is read at a time.
const chunk = 64 << 10

// byteOrder is what a file of UTF-8 may begin with; the others are of encodings that JSON
// lines don't have.
var byteOrder, utf16 = []byte("\xef\xbb\xbf"), [][]byte{{0xfe, 0xff}, {0xff, 0xfe}}

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
			if line, err = withoutMark(at.Object, line); err != nil {
				yield(nil, err)
				return false
			}
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

// withoutMark takes the mark of UTF-8 from an object's first line. Where it is another's,
// no line of it could be read.
func withoutMark(object string, first []byte) ([]byte, error) {
	for _, mark := range utf16 {
		if bytes.HasPrefix(first, mark) {
			return nil, task.Final(task.InputUnreadable, fmt.Errorf("%s is UTF-16; lines are read as UTF-8, convert it", object))
		}
	}
	return bytes.TrimPrefix(first, byteOrder), nil
}

// problem is why a line is no request.
func (l *lines) problem(line []byte) string {
	switch {
	case line == nil:
		return fmt.Sprintf("the line is longer than %d bytes", l.bound)
	case json.Valid(line) && utf8.Valid(line):
		return ""
	}
	for at := 0; at < len(line); {
		r, size := utf8.DecodeRune(line[at:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Sprintf("the line isn't UTF-8: byte %#x at column %d", line[at], at+1)
		}
		at += size
	}
	syntax := &json.SyntaxError{}
	if err := json.Unmarshal(line, new(json.RawMessage)); errors.As(err, &syntax) {
		return fmt.Sprintf("the line isn't JSON: %v at column %d", syntax, syntax.Offset)
	}
	return "the line isn't JSON"
}
