package rows

import (
	"bytes"
	"encoding/json"
	"fmt"
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
		each := len(t.data) / int(t.shape[0])
		t.shape = append([]int64{int64(to - from)}, t.shape[1:]...)
		t.data = t.data[from*each : to*each]
		sliced[i] = t
	}
	return sliced
}

// write writes a request or an answer.
func write(rest map[string]json.RawMessage, field string, of []tensor, id json.RawMessage) ([]byte, error) {
	list := make([]map[string]any, len(of))
	for i, t := range of {
		list[i] = map[string]any{"name": t.name, "shape": t.shape, "data": t.data}
		for key, value := range t.rest {
			list[i][key] = value
		}
	}
	whole := map[string]any{field: list}
	for key, value := range rest {
		whole[key] = value
	}
	if id != nil {
		whole["id"] = id
	}
	buffer := &bytes.Buffer{}
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(whole); err != nil {
		return nil, fmt.Errorf("writing %s: %w", field, err)
	}
	return bytes.TrimSpace(buffer.Bytes()), nil
}
