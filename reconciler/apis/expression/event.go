package expression

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/url"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cetypes "github.com/cloudevents/sdk-go/v2/types"
)

// maxValues bounds the values in an event's data, those in lists and objects and these themselves
// included: what is decoded of them takes up to some 400 bytes each.
const maxValues = 200_000

// Event is a CloudEvent as expressions see it. It is for one goroutine: its data is decoded once,
// when it is asked for.
type Event struct {
	attributes map[string]any
	data       []byte
	isJSON     bool
	budget     budget

	whole   map[string]any
	decoded any
	err     error
	done    bool
}

// Of returns what expressions see of an event.
func Of(event cloudevents.Event) *Event {
	e := &Event{attributes: map[string]any{}, data: event.Data(), isJSON: saysJSON(event.DataContentType())}
	for name, value := range event.Extensions() {
		e.attributes[name] = native(value)
	}
	for name, value := range map[string]string{
		"id": event.ID(), "source": event.Source(), "type": event.Type(), "specversion": event.SpecVersion(),
		"subject": event.Subject(), "datacontenttype": event.DataContentType(), "dataschema": event.DataSchema(),
	} {
		if value != "" {
			e.attributes[name] = value
		}
	}
	if at := event.Time(); !at.IsZero() {
		e.attributes["time"] = at
	}
	return e
}

// native is an attribute's value as CEL knows it.
func native(value any) any {
	switch value := value.(type) {
	case string, bool, []byte, time.Time:
		return value
	case int32:
		return int64(value)
	case cetypes.Timestamp:
		return value.Time
	case cetypes.URI:
		return value.String()
	case cetypes.URIRef:
		return value.String()
	case url.URL:
		return value.String()
	}
	return fmt.Sprint(value)
}

// saysJSON tells whether a content type is that of JSON. Where there is none it is, as
// CloudEvents has it.
func saysJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == json || media == "text/json" || strings.HasSuffix(media, "+json"))
}

func (e *Event) has(name string) bool {
	if name == dataField {
		return len(e.data) > 0
	}
	_, ok := e.attributes[name]
	return ok
}

func (e *Event) get(name string) (any, error) {
	if name == dataField {
		return e.decode()
	}
	value, ok := e.attributes[name]
	if !ok {
		return nil, fmt.Errorf("the event has no attribute %q; where it may lack it, ask has(event.%s) first, or write event.?%s.orValue(...)", name, name, name)
	}
	return value, nil
}

// all is the event as a map, which is made once however often it is asked for.
func (e *Event) all() (map[string]any, error) {
	if e.whole != nil {
		return e.whole, nil
	}
	out := maps.Clone(e.attributes)
	if e.has(dataField) {
		data, err := e.decode()
		if err != nil {
			return nil, err
		}
		out[dataField] = data
	}
	e.whole = out
	return out, nil
}

// decode returns the data: what JSON says where it is JSON, else bytes.
func (e *Event) decode() (any, error) {
	if e.done {
		return e.decoded, e.err
	}
	e.done = true
	switch {
	case len(e.data) == 0:
		e.err = errors.New("the event has no data; where it may lack it, ask has(event.data) first")
	case !e.isJSON:
		e.decoded = e.data
	default:
		e.decoded, e.err = decode(e.data)
	}
	return e.decoded, e.err
}

// decode reads JSON with whole numbers as such.
func decode(data []byte) (any, error) {
	if ValuesIn(data, maxValues) > maxValues {
		return nil, fmt.Errorf("the event's data has more than %d values, which expressions don't take; send less in one event, or let no expression have event.data", maxValues)
	}
	decoder := stdjson.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("the event's data isn't the JSON that its datacontenttype says: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the event's data has more behind the JSON that its datacontenttype says")
	}
	return plainNumbers(value), nil
}

// ValuesIn counts the values in JSON, and at most one above how many there may be: each is the
// outermost, or comes behind a comma, or behind what opens a list or an object. An empty one counts
// as if it had a value, and what isn't JSON is for the decoder to tell.
func ValuesIn(data []byte, most int) int {
	count, quoted := 1, false
	for i := 0; i < len(data) && count <= most; i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			count++
		}
	}
	return count
}

func plainNumbers(value any) any {
	switch value := value.(type) {
	case stdjson.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		number, err := value.Float64()
		if err != nil {
			return value.String() // beyond what a double can hold
		}
		return number
	case []any:
		for i := range value {
			value[i] = plainNumbers(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = plainNumbers(value[key])
		}
	}
	return value
}

// ofText is the content type of a text: JSON if it is that.
func ofText(text string) string {
	if stdjson.Valid([]byte(text)) {
		return json
	}
	return plain
}
