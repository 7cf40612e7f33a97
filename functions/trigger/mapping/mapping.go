package mapping

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"sluice.dev/sluice/reconciler/apis/expression"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// maxBody bounds the body of a request that is made of an event, in bytes; maxPath, maxHeader
	// and maxField what else texts come to.
	maxBody   = 4 << 20
	maxPath   = 8 << 10
	maxHeader = 4 << 10
	maxField  = 4 << 10
	// evaluatedWithin bounds the expressions of one event. Their cost does so before, but for what it
	// doesn't count.
	evaluatedWithin = time.Second
)

// Mapping is what an InferenceTrigger says becomes of an event, compiled.
type Mapping struct {
	request *request
	batch   *batch
}

type request struct {
	method, path *expression.Template
	headers      map[string]*expression.Template
	// body is nil where the event's data is taken as it is.
	body *expression.Template
}

// batch has the Batch's spec, and its texts by their paths.
type batch struct {
	spec  *v1alpha1.BatchSpec
	texts map[string]*expression.Template
}

// Request is what a Model is asked.
type Request struct {
	Method, Path string
	Headers      map[string]string
	Body         []byte
	// ContentType is that of the body, where the headers don't say another; "" for no body.
	ContentType string
}

// Compile compiles what becomes of an event. The spec has its defaults, and was found right.
func Compile(s *v1alpha1.InferenceTriggerSpec) (*Mapping, error) {
	m := &Mapping{}
	var err error
	switch {
	case s.Request != nil:
		m.request, err = compileRequest(s.Request)
	case s.Batch != nil:
		m.batch, err = compileBatch(&s.Batch.Template.Spec)
	default:
		err = errors.New("neither spec.request nor spec.batch is set")
	}
	return m, err
}

func compileRequest(of *v1alpha1.TriggerRequest) (*request, error) {
	r := &request{headers: map[string]*expression.Template{}}
	var err error
	if r.method, err = expression.Compile(of.Method); err != nil {
		return nil, fmt.Errorf("request.method: %w", err)
	}
	if r.path, err = expression.Compile(of.Path); err != nil {
		return nil, fmt.Errorf("request.path: %w", err)
	}
	for name, value := range of.Headers {
		if r.headers[name], err = expression.Compile(value); err != nil {
			return nil, fmt.Errorf("request.headers[%s]: %w", name, err)
		}
	}
	if of.Body != nil {
		if r.body, err = expression.Compile(*of.Body); err != nil {
			return nil, fmt.Errorf("request.body: %w", err)
		}
	}
	return r, nil
}

// StartsBatch tells whether an event starts a Batch.
func (m *Mapping) StartsBatch() bool { return m.batch != nil }

// Request is what the Model is asked for an event. The error says which field doesn't come to
// what it has to be, which it wouldn't the next time either, unless the error wraps
// context.DeadlineExceeded.
func (m *Mapping) Request(event cloudevents.Event) (Request, error) {
	ctx, cancel := context.WithTimeout(context.Background(), evaluatedWithin)
	defer cancel()
	e, of := expression.Of(event), m.request
	out := Request{Headers: map[string]string{}}
	var err error
	if out.Method, err = of.method.Text(ctx, e, maxField); err != nil {
		return out, fmt.Errorf("request.method: %w", err)
	}
	if out.Path, err = of.path.Text(ctx, e, maxPath); err != nil {
		return out, fmt.Errorf("request.path: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(of.headers)) {
		if out.Headers[name], err = of.headers[name].Text(ctx, e, maxHeader); err != nil {
			return out, fmt.Errorf("request.headers[%s]: %w", name, err)
		}
	}
	check := v1alpha1.TriggerRequest{Method: out.Method, Path: out.Path, Headers: out.Headers}
	if err := check.Check(); err != nil {
		return out, err
	}
	switch {
	case of.body != nil:
		body, err := of.body.Body(ctx, e, maxBody)
		if err != nil {
			return out, fmt.Errorf("request.body: %w", err)
		}
		out.Body, out.ContentType = body.Content, body.ContentType
	case v1alpha1.TakesData(out.Method) && len(event.Data()) > 0:
		out.Body, out.ContentType = event.Data(), event.DataContentType()
		if out.ContentType == "" {
			out.ContentType = "application/json" // as CloudEvents has it
		}
	}
	return out, nil
}
