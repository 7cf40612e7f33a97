package rows

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Gather makes one request of some that gather.
func Gather(requests []*Request) ([]byte, error) {
	gathered := make([]tensor, len(requests[0].inputs))
	for i := range gathered {
		gathered[i] = requests[0].inputs[i]
		gathered[i].shape = append([]int64{0}, gathered[i].shape[1:]...)
		gathered[i].data = nil
		for _, r := range requests {
			gathered[i].shape[0] += int64(r.rows)
			gathered[i].data = append(gathered[i].data, r.inputs[i].data...)
		}
	}
	return write(requests[0].rest, "inputs", gathered, nil)
}

// Cut cuts the answer to a gathered request into one for each, in their order.
func Cut(answer []byte, requests []*Request) ([][]byte, error) {
	var rest map[string]json.RawMessage
	if err := json.Unmarshal(answer, &rest); err != nil {
		return nil, fmt.Errorf("the answer is no object of JSON: %w", err)
	}
	outputs, err := tensors(rest, "outputs")
	if err != nil {
		return nil, fmt.Errorf("the answer can't be cut: %w", err)
	}
	delete(rest, "id")
	total := 0
	for _, r := range requests {
		total += r.rows
	}
	for _, output := range outputs {
		if output.shape[0] != int64(total) {
			return nil, fmt.Errorf("the answer can't be cut: output %s has shape %d, not %d rows", output.name, output.shape, total)
		}
	}
	cut := make([][]byte, len(requests))
	from := 0
	for i, r := range requests {
		if cut[i], err = write(rest, "outputs", rowsOf(outputs, from, from+r.rows), r.id); err != nil {
			return nil, err
		}
		from += r.rows
	}
	return cut, nil
}

// rowsOf are tensors' rows from one up to, and without, another.
func rowsOf(of []tensor, from, to int) []tensor {
	sliced := make([]tensor, len(of))
	for i, t := range of {
		t.data = [][]byte{t.between(from, to)}
		t.shape = append([]int64{int64(to - from)}, t.shape[1:]...)
		sliced[i] = t
	}
	return sliced
}

// write writes a request or an answer, at once as long as it is.
func write(rest map[string]json.RawMessage, field string, of []tensor, id json.RawMessage) ([]byte, error) {
	list := [][]byte{[]byte("[")}
	for i, t := range of {
		text, err := t.text()
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", field, err)
		}
		if i > 0 {
			list = append(list, comma)
		}
		list = append(list, text...)
	}
	whole := texts(rest)
	whole[field] = append(list, []byte("]"))
	if id != nil {
		whole["id"] = [][]byte{id}
	}
	text, err := object(whole)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", field, err)
	}
	return slices.Concat(text...), nil
}

var comma = []byte(",")

// text is the tensor's, in pieces.
func (t *tensor) text() ([][]byte, error) {
	name, err := json.Marshal(t.name)
	if err != nil {
		return nil, err
	}
	shape, err := json.Marshal(t.shape)
	if err != nil {
		return nil, err
	}
	data := [][]byte{[]byte("[")}
	for i, piece := range t.data {
		if i > 0 {
			data = append(data, comma)
		}
		data = append(data, piece)
	}
	fields := texts(t.rest)
	fields["name"], fields["shape"], fields["data"] = [][]byte{name}, [][]byte{shape}, append(data, []byte("]"))
	return object(fields)
}

// texts are members in one piece each.
func texts(of map[string]json.RawMessage) map[string][][]byte {
	pieces := make(map[string][][]byte, len(of)+3)
	for name, value := range of {
		pieces[name] = [][]byte{value}
	}
	return pieces
}

// object is the text of one, in pieces, by those of its members.
func object(of map[string][][]byte) ([][]byte, error) {
	pieces := [][]byte{[]byte("{")}
	for i, name := range slices.Sorted(maps.Keys(of)) {
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			pieces = append(pieces, comma)
		}
		pieces = append(append(pieces, key, []byte(":")), of[name]...)
	}
	return append(pieces, []byte("}")), nil
}
