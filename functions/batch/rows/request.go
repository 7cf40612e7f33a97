package rows

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxElements bounds a tensor, so that sizes can be multiplied.
const maxElements = 1 << 31

// Request is one that was read: of one row or more, each input's first dimension.
type Request struct {
	id     json.RawMessage
	rows   int
	inputs []tensor
	// rest is what isn't gathered, the outputs that are asked for and parameters: it has to
	// be the same of all.
	rest map[string]json.RawMessage
	kind string
}

// tensor is one of a request or an answer.
type tensor struct {
	name  string
	shape []int64
	// data are its elements as they were written, in pieces between which commas go.
	data [][]byte
	// ends are those of its rows in the one piece that was read.
	ends   []int
	nested bool
	rest   map[string]json.RawMessage
}

// Parse reads a request, of which it holds the body.
func Parse(body []byte) (*Request, error) {
	if !json.Valid(body) {
		return nil, errors.New("isn't JSON")
	}
	r := &Request{}
	var err error
	if r.rest, err = members(trim(body)); err != nil {
		return nil, fmt.Errorf("isn't an object of JSON: %w", err)
	}
	if r.inputs, err = tensors(r.rest, "inputs"); err != nil {
		return nil, err
	}
	for i := range r.inputs {
		input := &r.inputs[i]
		if rows := int(input.shape[0]); i == 0 {
			r.rows = rows
		} else if rows != r.rows {
			return nil, fmt.Errorf("input %s has %d rows, input %s has %d", input.name, rows, r.inputs[0].name, r.rows)
		}
	}
	r.id = r.rest["id"]
	delete(r.rest, "id")
	if r.kind, err = r.kindOf(); err != nil {
		return nil, err
	}
	return r, nil
}

// Rows is how many it has.
func (r *Request) Rows() int { return r.rows }

// Held is how many bytes are held of it beside its body, about: where it has many inputs or members,
// that is more than the body.
func (r *Request) Held() int64 {
	const each, member, row = 512, 128, 8
	held := len(r.kind) + member*len(r.rest)
	for _, input := range r.inputs {
		held += each + member*len(input.rest) + row*len(input.ends)
	}
	return int64(held)
}

// Gathers tells whether both can be of one request.
func (r *Request) Gathers(other *Request) bool { return r.kind == other.kind }

// kindOf is all in which requests must be the same to be gathered.
func (r *Request) kindOf() (string, error) {
	kind := &strings.Builder{}
	encoder := json.NewEncoder(kind)
	for _, input := range r.inputs {
		if err := encoder.Encode([]any{input.name, input.shape[1:], input.nested, input.rest}); err != nil {
			return "", fmt.Errorf("input %s: %w", input.name, err)
		}
	}
	if err := encoder.Encode(r.rest); err != nil {
		return "", fmt.Errorf("reading it: %w", err)
	}
	return kind.String(), nil
}

// tensors takes a list of them out of an object.
func tensors(object map[string]json.RawMessage, field string) ([]tensor, error) {
	list := object[field]
	if len(list) == 0 || list[0] != '[' {
		return nil, fmt.Errorf("%s is no list of tensors", field)
	}
	delete(object, field)
	var read []tensor
	for _, element := range elements(list) {
		rest, err := members(element)
		if err != nil {
			return nil, fmt.Errorf("%s is no list of tensors", field)
		}
		t := tensor{}
		if err := json.Unmarshal(rest["name"], &t.name); err != nil {
			return nil, fmt.Errorf("%s[%d] has no name", field, len(read))
		}
		if err := t.read(rest); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", t.name, err)
		}
		read = append(read, t)
	}
	if len(read) == 0 {
		return nil, fmt.Errorf("%s is no list of tensors", field)
	}
	return read, nil
}

func (t *tensor) read(rest map[string]json.RawMessage) error {
	if err := json.Unmarshal(rest["shape"], &t.shape); err != nil || len(t.shape) == 0 {
		return errors.New("shape is no list of numbers, the first of them that of its rows")
	}
	size := int64(1)
	for _, n := range t.shape {
		if n < 1 || n > maxElements/size {
			return fmt.Errorf("shape %d has a number below 1, or is too large", t.shape)
		}
		size *= n
	}
	if err := t.readData(rest["data"], size); err != nil {
		return err
	}
	delete(rest, "name")
	delete(rest, "shape")
	delete(rest, "data")
	t.rest = rest
	return nil
}

// readData reads its elements, which are size, or as many lists as it has rows.
func (t *tensor) readData(data []byte, size int64) error {
	if len(data) == 0 || data[0] != '[' {
		return errors.New("data is no list; binary data isn't read")
	}
	t.data = [][]byte{data[1 : len(data)-1]}
	count, want, each := int64(0), size, size/t.shape[0]
	for end, element := range elements(data) {
		if count++; count == 1 && element[0] == '[' {
			t.nested, want, each = true, t.shape[0], 1
		}
		if count <= want && count%each == 0 {
			t.ends = append(t.ends, end)
		}
	}
	if count != want {
		return fmt.Errorf("data has %d elements, shape %d has %d", count, t.shape, want)
	}
	return nil
}

// between are the elements of its rows from one up to, and without, another.
func (t *tensor) between(from, to int) []byte {
	begin := 0
	if from > 0 {
		begin = t.ends[from-1] + 1
	}
	return t.data[0][begin:t.ends[to-1]]
}
