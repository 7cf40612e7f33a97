package limit

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	istioclient "istio.io/client-go/pkg/clientset/versioned/typed/networking/v1alpha3"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// slotWriterOf writes to a fake, and counts generations as the API server does.
type slotWriterOf struct {
	filters istioclient.EnvoyFilterInterface
}

func (w slotWriterOf) Create(ctx context.Context, f *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error) {
	f = f.DeepCopy()
	f.Generation = 1
	got, err := w.filters.Create(ctx, f, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return metadataOf(got), nil
}

func (w slotWriterOf) Update(ctx context.Context, f *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error) {
	now, err := w.filters.Get(ctx, f.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	f.Generation = now.Generation
	if !proto.Equal(&now.Spec, &f.Spec) {
		f.Generation++
	}
	got, err := w.filters.Update(ctx, f, metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return metadataOf(got), nil
}

func (w slotWriterOf) Delete(ctx context.Context, f *metav1.PartialObjectMetadata) error {
	return w.filters.Delete(ctx, f.Name, *metav1.NewPreconditionDeleteOptions(string(f.UID)))
}

// metadataIn is the metadata of a fake's EnvoyFilters.
type metadataIn struct {
	metadata.Getter
	istio     *istiofake.Clientset
	namespace string
}

func (m metadataIn) Resource(schema.GroupVersionResource) metadata.Getter { return m }

func (m metadataIn) Namespace(name string) metadata.ResourceInterface {
	m.namespace = name
	return m
}

func (m metadataIn) List(ctx context.Context, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	found, err := m.istio.NetworkingV1alpha3().EnvoyFilters(m.namespace).List(ctx, o)
	if err != nil {
		return nil, err
	}
	list := &metav1.PartialObjectMetadataList{ListMeta: found.ListMeta}
	for _, f := range found.Items {
		list.Items = append(list.Items, *metadataOf(f))
	}
	return list, nil
}

func (m metadataIn) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	events, err := m.istio.NetworkingV1alpha3().EnvoyFilters(m.namespace).Watch(ctx, o)
	if err != nil {
		return nil, err
	}
	return watch.Filter(events, func(e watch.Event) (watch.Event, bool) {
		f, ok := e.Object.(*istio.EnvoyFilter)
		if !ok || f.Labels[gateway.SlotLabelKey] == "" {
			return e, false
		}
		e.Object = metadataOf(f)
		return e, true
	}), nil
}

// What goes out is a whole EnvoyFilter, what is asked for its metadata alone; an error
// of the API server keeps its reason.
func TestSlotWriter(t *testing.T) {
	var got *http.Request
	var body string
	answer, status := `{"metadata": {"name": "x", "uid": "u", "generation": 7}}`, http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		got, body = r, string(content)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	clients, err := istioclientset.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	w := NewSlotWriter(clients.NetworkingV1alpha3().RESTClient())
	f, _, err := resources.Slot{Gateway: gateway.Shared, Slots: 1}.EnvoyFilter()
	if err != nil {
		t.Fatal(err)
	}
	sent := func(method, path string, err error) {
		t.Helper()
		if err != nil || got.Method != method || got.URL.Path != path {
			t.Errorf("%s %s, error %v; want %s %s", got.Method, got.URL.Path, err, method, path)
		}
	}
	const all = "/apis/networking.istio.io/v1alpha3/namespaces/" + gateway.Namespace + "/envoyfilters"
	created, err := w.Create(t.Context(), f)
	sent(http.MethodPost, all, err)
	if created.UID != "u" || created.Generation != 7 || got.Header.Get("Accept") != metadataAlone {
		t.Errorf("%+v by Accept %q", created, got.Header.Get("Accept"))
	}
	_, err = w.Update(t.Context(), f)
	sent(http.MethodPut, all+"/"+f.Name, err)
	back := &istio.EnvoyFilter{}
	if err := json.Unmarshal([]byte(body), back); err != nil || back.Kind != "EnvoyFilter" || !proto.Equal(&back.Spec, &f.Spec) {
		t.Errorf("sent %s, error %v", body, err)
	}
	err = w.Delete(t.Context(), &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "x", UID: "u"}})
	sent(http.MethodDelete, all+"/x", err)
	if !strings.Contains(body, `"preconditions":{"uid":"u"}`) {
		t.Errorf("deleted by %s", body)
	}
	answer, status = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "it was changed", "code": 409}`, http.StatusConflict
	if _, err := w.Update(t.Context(), f); !apierrs.IsConflict(err) || !strings.Contains(err.Error(), "it was changed") {
		t.Errorf("a conflict is %v", err)
	}
}
