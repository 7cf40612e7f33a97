package reading

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/apis"
)

// Explain says why the spec of an object, as JSON, can't be read into a kind, which is a
// pointer to a struct: each value that isn't of its field's type. It is nil where there is
// nothing to say. Of fields that there aren't, see Meant.
func Explain(object []byte, kind any) *apis.FieldError {
	content, err := numbered(object)
	if err != nil {
		return nil //nolint:nilerr // no JSON: the API server doesn't send any such thing
	}
	spec, ok := content["spec"]
	field, has := fieldsOf(reflect.TypeOf(kind).Elem())["spec"]
	if !ok || !has {
		return nil
	}
	return new(reader).explain(spec, field, "spec")
}

// numbered decodes JSON with its numbers as they are written.
func numbered(object []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber()
	var content map[string]any
	err := decoder.Decode(&content)
	return content, err
}

// reader counts how much was found to be wrong.
type reader struct{ found int }

// enough is how many mistakes are told at once: what is sent may hold any number.
const enough = 10

func (r *reader) report(err *apis.FieldError) *apis.FieldError {
	if err == nil || r.found >= enough {
		return nil
	}
	r.found++
	return err
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func (r *reader) explain(value any, t reflect.Type, path string) *apis.FieldError {
	t = pointedTo(t)
	switch {
	case value == nil || r.found >= enough:
		return nil
	case reflect.PointerTo(t).Implements(unmarshaler):
		return r.report(unreadable(value, t, path))
	}
	switch t.Kind() {
	case reflect.Struct:
		return r.explainFields(value, t, path)
	case reflect.Map:
		return r.explainMap(value, t, path)
	case reflect.Slice:
		return r.explainList(value, t, path)
	case reflect.Interface:
		return nil
	default:
		return r.report(unreadable(value, t, path))
	}
}

func (r *reader) explainFields(value any, t reflect.Type, path string) *apis.FieldError {
	object, ok := value.(map[string]any)
	if !ok {
		return r.report(invalid(path, "must have fields, one a line, as in %q, is %s", example(t), written(value)))
	}
	fields := fieldsOf(t)
	var errs *apis.FieldError
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if r.found >= enough {
			break
		}
		if field, known := fields[name]; known {
			errs = errs.Also(r.explain(object[name], field, path+"."+name))
		}
	}
	return errs
}

func (r *reader) explainMap(value any, t reflect.Type, path string) *apis.FieldError {
	object, ok := value.(map[string]any)
	if !ok {
		return r.report(invalid(path, `must be names with values, as in "name: value", is %s`, written(value)))
	}
	var errs *apis.FieldError
	for _, key := range slices.Sorted(maps.Keys(object)) {
		errs = errs.Also(r.explain(object[key], t.Elem(), path+"["+shortened(key)+"]"))
	}
	return errs
}

func (r *reader) explainList(value any, t reflect.Type, path string) *apis.FieldError {
	if t.Elem().Kind() == reflect.Uint8 {
		return r.report(unreadable(value, t, path))
	}
	list, ok := value.([]any)
	if !ok {
		return r.report(invalid(path, `must be a list, each item of which begins with "- ", is %s`, written(value)))
	}
	var errs *apis.FieldError
	for i, item := range list {
		errs = errs.Also(r.explain(item, t.Elem(), path+"["+strconv.Itoa(i)+"]"))
	}
	return errs
}

// unreadable reads a value that has no fields, and says what it would have to be.
func unreadable(value any, t reflect.Type, path string) *apis.FieldError {
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err == nil {
		return nil
	}
	return invalid(path, "%s, is %s", wanted(value, t, path), written(value))
}

// fieldsOf are the types of a struct's fields by their names in JSON, those of inlined
// structs among them.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		inlined := pointedTo(field.Type)
		switch {
		case !field.IsExported() || name == "-":
		case name != "":
			out[name] = field.Type
		case field.Anonymous && inlined.Kind() == reflect.Struct:
			maps.Copy(out, fieldsOf(inlined))
		default:
			out[field.Name] = field.Type
		}
	}
	return out
}

// example is a line that begins what a struct takes.
func example(t reflect.Type) string {
	names := slices.Sorted(maps.Keys(fieldsOf(t)))
	if slices.Contains(names, "name") {
		return "name: …"
	}
	if len(names) == 0 {
		return "{}"
	}
	return names[0] + ": …"
}

// written is a value as its author may know it again.
func written(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return strconv.Quote(shortened(v))
	case json.Number:
		return "the number " + shortened(v.String())
	default:
		return fmt.Sprintf("%v", v)
	}
}

// longestShown bounds what is said again of a value that may be of any length.
const longestShown = 60

func shortened(text string) string {
	if runes := []rune(text); len(runes) > longestShown {
		return string(runes[:longestShown]) + "…"
	}
	return text
}

func invalid(path, format string, args ...any) *apis.FieldError {
	return &apis.FieldError{Message: "invalid value: " + fmt.Sprintf(format, args...), Paths: []string{path}}
}

var intOrString = reflect.TypeFor[intstr.IntOrString]()
