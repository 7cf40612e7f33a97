package limit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// SlotWriter writes the EnvoyFilters of the gateways' namespace that supply slots, with
// their kind, and returns what the API server made of them.
type SlotWriter interface {
	Create(ctx context.Context, f *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error)
	Update(ctx context.Context, f *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error)
	// Delete deletes that one alone, whatever has its name by then.
	Delete(ctx context.Context, f *metav1.PartialObjectMetadata) error
}

// metadataAlone asks for an answer without the content that was sent: to read it would
// cost many times what writing it did.
const metadataAlone = runtime.ContentTypeJSON + ";as=PartialObjectMetadata;g=" + metav1.GroupName + ";v=v1"

// slotWriter writes by the API of EnvoyFilters.
type slotWriter struct{ api rest.Interface }

// NewSlotWriter returns a SlotWriter that writes by a client for networking.istio.io.
func NewSlotWriter(api rest.Interface) SlotWriter { return slotWriter{api: api} }

func (w slotWriter) Create(ctx context.Context, f *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error) {
	return w.send(ctx, http.MethodPost, f)
}

func (w slotWriter) Update(ctx context.Context, f *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error) {
	return w.send(ctx, http.MethodPut, f)
}

func (w slotWriter) send(ctx context.Context, verb string, f *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("writing an EnvoyFilter as JSON: %w", err)
	}
	request := w.api.Verb(verb).Namespace(gateway.Namespace).Resource(gateway.SlotResource.Resource).
		SetHeader("Content-Type", runtime.ContentTypeJSON).SetHeader("Accept", metadataAlone).Body(body)
	if verb == http.MethodPut {
		request = request.Name(f.Name)
	}
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return nil, err
	}
	answer, err := result.Raw()
	if err != nil {
		return nil, err
	}
	got := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(answer, got); err != nil {
		return nil, fmt.Errorf("reading an EnvoyFilter's metadata: %w", err)
	}
	return got, nil
}

func (w slotWriter) Delete(ctx context.Context, f *metav1.PartialObjectMetadata) error {
	body, err := json.Marshal(metav1.NewPreconditionDeleteOptions(string(f.UID)))
	if err != nil {
		return fmt.Errorf("writing delete options as JSON: %w", err)
	}
	return w.api.Delete().Namespace(f.Namespace).Resource(gateway.SlotResource.Resource).Name(f.Name).
		SetHeader("Content-Type", runtime.ContentTypeJSON).Body(body).Do(ctx).Error()
}
