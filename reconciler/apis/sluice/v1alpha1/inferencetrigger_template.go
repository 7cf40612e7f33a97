package v1alpha1

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/expression"
)

// templateTexts bounds the texts of a template, which are all evaluated for one event.
const templateTexts = 2000

// EachText replaces the texts of a Batch by what a function makes of them, which is told each
// one's path, as in input.s3.key. It ends at the first error.
func (s *BatchSpec) EachText(replace func(path, text string) (string, error)) error {
	return eachText(reflect.ValueOf(s).Elem(), "", replace)
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func eachText(v reflect.Value, path string, replace func(path, text string) (string, error)) error {
	// What writes itself as JSON, a time or a quantity, has texts that are none of its users'.
	if v.Type().Implements(marshaler) || reflect.PointerTo(v.Type()).Implements(marshaler) {
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		text, err := replace(path, v.String())
		if err == nil {
			v.SetString(text)
		}
		return err
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return eachText(v.Elem(), path, replace)
	case reflect.Struct:
		for i := range v.NumField() {
			name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			below := path
			if options != "inline" && name != "" {
				below = strings.TrimPrefix(path+"."+name, ".")
			}
			if err := eachText(v.Field(i), below, replace); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := eachText(v.Index(i), fmt.Sprintf("%s[%d]", path, i), replace); err != nil {
				return err
			}
		}
	case reflect.Map:
		return eachValue(v, path, replace)
	}
	return nil
}

// eachValue is eachText for a map, whose values can't be changed where they are.
func eachValue(v reflect.Value, path string, replace func(path, text string) (string, error)) error {
	values, ok := v.Interface().(map[string]string)
	if !ok {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text, err := replace(path+"["+key+"]", values[key])
		if err != nil {
			return err
		}
		values[key] = text
	}
	return nil
}

// validateTemplate checks a Batch whose texts may have expressions: these by their types, and all
// else as a Batch's.
func (s *BatchSpec) validateTemplate() *apis.FieldError {
	var errs *apis.FieldError
	open, texts := map[string]bool{}, 0
	err := s.DeepCopy().EachText(func(path, text string) (string, error) {
		if texts++; texts > templateTexts {
			return "", fmt.Errorf("must have at most %d texts", templateTexts)
		}
		problem := validateText(path, text)
		if why := fixed(path); why != "" {
			problem = validateFixed(path, text, why)
		}
		if problem != nil {
			errs, open[path] = errs.Also(problem), true
		}
		open[path] = open[path] || expression.Has(text)
		return text, nil
	})
	if err != nil {
		return invalid(apis.CurrentField, "%v", err)
	}
	b := &Batch{ObjectMeta: metav1.ObjectMeta{Name: "batch"}, Spec: *s.DeepCopy()}
	b.SetDefaults(context.Background())
	for _, e := range b.Validate(context.Background()).WrappedErrors() {
		for i, path := range e.Paths {
			e.Paths[i] = strings.TrimPrefix(path, "spec.")
		}
		// What an expression comes to is known when there is an event.
		if !slices.ContainsFunc(e.Paths, func(path string) bool { return open[path] }) {
			errs = errs.Also(e)
		}
	}
	return errs.Also(s.validateOwnOutput(open), s.ValidateEnd())
}

// ValidateEnd wants Batches to go that nobody deletes, as nobody has created them by hand.
func (s *BatchSpec) ValidateEnd() *apis.FieldError {
	if s.TTLAfterFinished != nil {
		return nil
	}
	err := apis.ErrMissingField("ttlAfterFinished")
	err.Details = "each event leaves a Batch, which is to go some time after its end: say when, as in 168h, and later than the Broker may deliver the event again"
	return err
}

// fixed is why no event may choose a text of a template; "" where one may. The run has the rights, or
// the keys, of what some name.
func fixed(path string) string {
	name, _, _ := strings.Cut(path[strings.LastIndexByte(path, '.')+1:], "[")
	switch name {
	case "serviceAccountName":
		return "whose rights the run has"
	case "secretName":
		return "whose keys the run has"
	case "endpoint", "bootstrapServers":
		return "who is shown the keys"
	}
	return ""
}

func validateFixed(path, text, why string) *apis.FieldError {
	if !expression.Has(text) && !looksBare(text) {
		return nil
	}
	return invalid(path, "can't have an expression, is %q: whoever may send events would choose %s; write out the one that is meant, and an InferenceTrigger for each other one", text, why)
}

// validateOwnOutput wants an output that differs from event to event: no two Batches may have the
// same, but a topic.
func (s *BatchSpec) validateOwnOutput(open map[string]bool) *apis.FieldError {
	for path, is := range open {
		if is && strings.HasPrefix(path, "output.") && fixed(path) == "" {
			return nil
		}
	}
	const remedy = "is the same for all events, and each Batch needs an output of its own; put an expression into it, as in %q"
	switch out := s.Output; {
	case out.S3 != nil && out.S3.Prefix != "":
		return invalid("output.s3.prefix", remedy, strings.TrimSuffix(out.S3.Prefix, "/")+"/${event.id}")
	case out.Volume != nil && out.Volume.Folder != "":
		return invalid("output.volume.folder", remedy, strings.TrimSuffix(out.Volume.Folder, "/")+"/${event.id}")
	}
	return nil
}
