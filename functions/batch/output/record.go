package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Record is what came of an item: an answer, or the reason why there is none.
type Record struct {
	// Item is its number in the input; the first is 0.
	Item int64 `json:"item"`
	// Object, and Line or Offset, are where it is in the input: a topic's record is at an
	// offset of topic/partition.
	Object string `json:"object,omitempty"`
	Line   int64  `json:"line,omitempty"`
	Offset *int64 `json:"offset,omitempty"`
	// Status is the last answer's, if there was one.
	Status int `json:"status,omitempty"`
	// Response is an answer in JSON, or in text, which is a string then. What is neither is
	// in Base64.
	Response json.RawMessage `json:"response,omitempty"`
	Base64   []byte          `json:"base64,omitempty"`
	// Reason is why it has failed, if it has.
	Reason string `json:"reason,omitempty"`
}

// Failed tells whether it has.
func (r *Record) Failed() bool { return r.Reason != "" }

// Where is where it is in the input, as it follows the item's number in a text.
func (r *Record) Where() string {
	switch {
	case r.Offset != nil:
		return fmt.Sprintf(", offset %d of %s", *r.Offset, r.Object)
	case r.Line > 0:
		return fmt.Sprintf(", line %d", r.Line)
	default:
		return ""
	}
}

// Answer sets what the Model answered.
func (r *Record) Answer(body []byte) error {
	switch {
	case len(body) == 0:
	case json.Valid(body) && utf8.Valid(body):
		r.Response = body
	case utf8.Valid(body):
		text, err := json.Marshal(string(body))
		if err != nil {
			return fmt.Errorf("writing the answer to item %d: %w", r.Item, err)
		}
		r.Response = text
	default:
		r.Base64 = body
	}
	return nil
}

// line is a record on one.
func (r *Record) line() ([]byte, error) {
	buffer := &bytes.Buffer{}
	encoder := json.NewEncoder(buffer)
	// An answer stays as it was.
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return nil, fmt.Errorf("writing the record of item %d: %w", r.Item, err)
	}
	return buffer.Bytes(), nil
}

// Tally counts records.
type Tally struct {
	Succeeded int64
	Failed    int64
}

// Plus adds up.
func (t Tally) Plus(other Tally) Tally {
	return Tally{t.Succeeded + other.Succeeded, t.Failed + other.Failed}
}

// Count counts one record.
func (t Tally) Count(r *Record) Tally {
	if r.Failed() {
		t.Failed++
	} else {
		t.Succeeded++
	}
	return t
}
