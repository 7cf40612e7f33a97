package eventing

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas holds the JSON schema of each event's data, under schemas/<type>.json.
//
//go:embed schemas/*.json
var schemas embed.FS

// Types are the types of all events that have a schema.
func Types() []string {
	return []string{
		RevisionScaledType, LimitAppliedType, GatewayMigratedType, ModelWarmedType, ModelTunedType,
		BatchRequestedType, BatchStartedType, BatchProgressedType, BatchCompletedType, BatchFailedType,
		UsageType,
	}
}

// Schema returns the JSON schema of a type's data.
func Schema(eventType string) ([]byte, error) {
	content, err := fs.ReadFile(schemas, "schemas/"+eventType+".json")
	if err != nil {
		return nil, fmt.Errorf("no schema for event type %q", eventType)
	}
	return content, nil
}

// compiled are the schemas by type. They are part of the program, so one that is none
// is a mistake in it.
var compiled = sync.OnceValue(func() map[string]*jsonschema.Schema {
	all := map[string]*jsonschema.Schema{}
	for _, eventType := range Types() {
		content, err := Schema(eventType)
		if err != nil {
			panic(err)
		}
		parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			panic(fmt.Errorf("schema of %s: %w", eventType, err))
		}
		compiler, id := jsonschema.NewCompiler(), "https://sluice.dev/schemas/"+eventType+".json"
		if err := compiler.AddResource(id, parsed); err != nil {
			panic(fmt.Errorf("schema of %s: %w", eventType, err))
		}
		all[eventType] = compiler.MustCompile(id)
	}
	return all
})

// conforms says what in an event's data its schema refuses, by field.
func conforms(eventType string, data []byte) error {
	schema, ok := compiled()[eventType]
	if !ok {
		return fmt.Errorf("no schema for event type %q", eventType)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	var refused *jsonschema.ValidationError
	if err := schema.Validate(value); !errors.As(err, &refused) {
		return err //nolint:wrapcheck // nil, or no error of the data's
	}
	var errs []error
	for _, unit := range refused.BasicOutput().Errors {
		if unit.Error != nil {
			field := "data" + strings.ReplaceAll(unit.InstanceLocation, "/", ".")
			errs = append(errs, fmt.Errorf("%s: %s", field, unit.Error))
		}
	}
	return errors.Join(errs...)
}
