package reading

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/json"
)

// Unknown says what is wrong with the names of an object's fields, each with its path and with what
// was meant, where that can be told: those that its kind, a pointer to a struct, doesn't have, and
// those that are there twice. What else is wrong is told by who decodes it. Metadata is the API
// server's to know.
func Unknown(object []byte, kind runtime.Object) []string {
	empty := reflect.New(reflect.TypeOf(kind).Elem()).Interface()
	problems, err := json.UnmarshalStrict(object, empty)
	if err != nil {
		return nil
	}
	var unknown []string
	for _, problem := range problems {
		if text := problem.Error(); !strings.Contains(text, `"metadata.`) {
			unknown = append(unknown, text+hint(kind, text))
		}
	}
	slices.Sort(unknown)
	return unknown
}

// hint says what was meant by an unknown field.
func hint(kind any, problem string) string {
	path, ok := strings.CutPrefix(problem, "unknown field ")
	if !ok {
		return ""
	}
	if meant := Meant(kind, strings.Trim(path, `"`)); meant != "" {
		return " (" + meant + ")"
	}
	return ""
}
