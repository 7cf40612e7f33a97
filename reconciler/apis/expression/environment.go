package expression

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
)

const (
	eventVariable = "event"
	eventType     = "cloudevents.Event"
	// dataField is what an event carries.
	dataField         = "data"
	urlEncodeFunction = "urlEncode"
	// deepestParse bounds how deep an expression may nest.
	deepestParse = 64
)

// environment is what expressions know: CEL's own functions, those on strings, base64,
// urlEncode, and optional values. Of those on strings, version 5 is the first with a cost by their arguments.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	base, err := cel.NewEnv(cel.OptionalTypes(), ext.Strings(ext.StringsVersion(5)), ext.Encoders(), urlEncoding,
		cel.ParserExpressionSizeLimit(MaxText), cel.ParserRecursionLimit(deepestParse))
	if err != nil {
		return nil, fmt.Errorf("preparing CEL: %w", err)
	}
	env, err := base.Extend(
		cel.CustomTypeProvider(provider{base.CELTypeProvider()}), cel.CustomTypeAdapter(adapter{base.CELTypeAdapter()}),
		cel.Variable(eventVariable, cel.ObjectType(eventType)))
	if err != nil {
		return nil, fmt.Errorf("preparing CEL: %w", err)
	}
	return env, nil
})

// urlEncoding is a function that has a string stand for itself in a part of a path, or in a
// parameter's name or value.
var urlEncoding = cel.Function(urlEncodeFunction, cel.Overload("url_encode_string", []*cel.Type{cel.StringType}, cel.StringType,
	cel.UnaryBinding(func(value ref.Val) ref.Val {
		text, ok := value.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(value)
		}
		return types.String(urlEncode(string(text)))
	})))

// urlEncode leaves letters, digits, and what RFC 3986 has unreserved: -._~.
func urlEncode(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// known are the attributes that CloudEvents defines, each with its type.
var known = map[string]*types.Type{
	"id": types.StringType, "source": types.StringType, "type": types.StringType, "specversion": types.StringType,
	"subject": types.StringType, "datacontenttype": types.StringType, "dataschema": types.StringType, "time": types.TimestampType,
	dataField: types.DynType,
}

// attributeName is what the name of any other attribute can be.
var attributeName = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// provider adds the type of events, which have any attribute that can be one.
type provider struct{ types.Provider }

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if name == eventType {
		return types.NewTypeTypeWithParam(types.NewObjectType(eventType)), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if name != eventType {
		return p.Provider.FindStructFieldNames(name)
	}
	var names []string
	for field := range known {
		names = append(names, field)
	}
	return names, true
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name != eventType {
		return p.Provider.FindStructFieldType(name, field)
	}
	of, ok := known[field]
	if !ok {
		of = types.DynType
	}
	if !ok && !attributeName.MatchString(field) {
		return nil, false
	}
	return &types.FieldType{
		Type: of,
		IsSet: func(target any) bool {
			e, ok := target.(*Event)
			return ok && e.has(field)
		},
		GetFrom: func(target any) (any, error) {
			e, ok := target.(*Event)
			if !ok {
				return nil, fmt.Errorf("no event: %T", target)
			}
			return e.get(field)
		},
	}, true
}

// NewValue makes none of an event: there is one.
func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if name == eventType {
		return types.NewErr("an event can't be made")
	}
	return p.Provider.NewValue(name, fields)
}

// adapter takes an event as a whole for its attributes and its data.
type adapter struct{ types.Adapter }

func (a adapter) NativeToValue(value any) ref.Val {
	e, ok := value.(*Event)
	if !ok {
		return a.Adapter.NativeToValue(value)
	}
	all, err := e.all()
	if err != nil {
		return types.WrapErr(err)
	}
	return types.NewStringInterfaceMap(a, all)
}
