package expression

import (
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// asJSON writes a value as JSON of at most so many bytes. Values may be shared, so what they come
// to isn't bounded by what it cost to make them.
func asJSON(value ref.Val, most int) ([]byte, error) {
	w := writer{left: most}
	if err := w.value(value); err != nil {
		return nil, err
	}
	return w.out, nil
}

type writer struct {
	out  []byte
	left int
}

func (w *writer) write(text []byte) error {
	if len(text) > w.left {
		return errors.New("comes to more bytes than a request may have")
	}
	w.left -= len(text)
	w.out = append(w.out, text...)
	return nil
}

func (w *writer) value(value ref.Val) error {
	switch value := value.(type) {
	case types.Null:
		return w.write([]byte("null"))
	case types.Bool, types.Int, types.Uint, types.String:
		return w.encode(value.Value())
	case types.Double:
		if number := float64(value); math.IsNaN(number) || math.IsInf(number, 0) {
			return fmt.Errorf("has the number %g, which JSON hasn't", number)
		}
		return w.encode(float64(value))
	case types.Bytes:
		return w.encode(base64.StdEncoding.EncodeToString(value))
	case types.Timestamp:
		return w.encode(value.Time.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		return w.encode(value.Duration.String())
	case traits.Mapper:
		return w.mapping(value)
	case traits.Lister:
		return w.list(value)
	}
	return fmt.Errorf("has a value of type %s, which can't be written as JSON; choose what of it is meant", value.Type().TypeName())
}

func (w *writer) encode(value any) error {
	content, err := stdjson.Marshal(value)
	if err != nil {
		return fmt.Errorf("can't be written as JSON: %w", err)
	}
	return w.write(content)
}

func (w *writer) list(list traits.Lister) error {
	if err := w.write([]byte("[")); err != nil {
		return err
	}
	first := true
	for at := list.Iterator(); at.HasNext() == types.True; {
		if !first {
			if err := w.write([]byte(",")); err != nil {
				return err
			}
		}
		first = false
		if err := w.value(at.Next()); err != nil {
			return err
		}
	}
	return w.write([]byte("]"))
}

// mapping writes a map, in the order of its keys, so that the same event makes the same request.
func (w *writer) mapping(of traits.Mapper) error {
	keys, err := keysOf(of)
	if err != nil {
		return err
	}
	if err := w.write([]byte("{")); err != nil {
		return err
	}
	for i, key := range keys {
		if i > 0 {
			if err := w.write([]byte(",")); err != nil {
				return err
			}
		}
		if err := w.encode(key); err != nil {
			return err
		}
		if err := w.write([]byte(":")); err != nil {
			return err
		}
		if err := w.value(of.Get(types.String(key))); err != nil {
			return err
		}
	}
	return w.write([]byte("}"))
}

func keysOf(of traits.Mapper) ([]string, error) {
	var keys []string
	for at := of.Iterator(); at.HasNext() == types.True; {
		key, ok := at.Next().(types.String)
		if !ok {
			return nil, errors.New("has a map with keys that aren't strings, which JSON hasn't; write string(...) around them")
		}
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	return keys, nil
}
