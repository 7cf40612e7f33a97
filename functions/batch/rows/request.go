package rows

import (
	"bytes"
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
	// data are its elements, or where nested, its rows.
	data   []json.RawMessage
	nested bool
	rest   map[string]json.RawMessage
}

// Parse reads a request.
func Parse(body []byte) (*Request, error) {
	r := &Request{}
	if err := json.Unmarshal(body, &r.rest); err != nil {
		return nil, fmt.Errorf("isn't an object of JSON: %w", err)
	}
	var err error
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
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(object[field], &list); err != nil || len(list) == 0 {
		return nil, fmt.Errorf("%s is no list of tensors", field)
	}
	delete(object, field)
	read := make([]tensor, len(list))
	for i, rest := range list {
		t := &read[i]
		if err := json.Unmarshal(rest["name"], &t.name); err != nil {
			return nil, fmt.Errorf("%s[%d] has no name", field, i)
		}
		if err := t.read(rest); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", t.name, err)
		}
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
	if err := json.Unmarshal(rest["data"], &t.data); err != nil {
		return errors.New("data is no list; binary data isn't read")
	}
	want := size
	if t.nested = len(t.data) > 0 && bytes.HasPrefix(t.data[0], []byte("[")); t.nested {
		want = t.shape[0]
	}
	if int64(len(t.data)) != want {
		return fmt.Errorf("data has %d elements, shape %d has %d", len(t.data), t.shape, want)
	}
	delete(rest, "name")
	delete(rest, "shape")
	delete(rest, "data")
	t.rest = rest
	return nil
}
