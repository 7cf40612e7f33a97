//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/limit"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/platform"
)

// Deleting a Model removes all that was made for it, its descriptor in the
// gateway's slot included, and its host is served no more.
func TestDeletionLeavesNothing(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker"))
	endpoint := s.serving("ranker")
	s.predict(endpoint)
	if present, err := s.present(t.Context(), "ranker"); err != nil || len(present) != len(s.belongings("ranker")) {
		t.Fatalf("before the deletion there are only %v, error %v", present, err)
	}
	if got, want := s.slotsWith("ranker"), []string{slotName(s.namespace, "ranker")}; !slices.Equal(got, want) {
		t.Errorf("the descriptor is in slots %v, want %v", got, want)
	}

	if err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Delete(t.Context(), "ranker", metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting the Model:", err)
	}
	took := s.until(30*time.Second, "everything of the Model to go", func(ctx context.Context) (string, error) {
		left, err := s.present(ctx, "ranker")
		if err != nil {
			return "", err
		}
		return strings.Join(append(left, s.slotsWith("ranker")...), ", "), nil
	})
	t.Logf("everything was gone after %.1f s", took.Seconds())
	s.until(10*time.Second, "the host to be unknown", func(ctx context.Context) (string, error) {
		status, _, _, err := endpoint.Post(ctx, platform.InferPath, cluster.request)
		if err != nil || status == http.StatusNotFound {
			return "", err
		}
		return fmt.Sprintf("status %d", status), nil
	})
}

// belongings are what is made for a Model: by name, how to get it.
func (s *stage) belongings(model string) map[string]func(context.Context) error {
	virtualService := gateway.VirtualServiceName(s.namespace, model)
	return map[string]func(context.Context) error{
		"Model": func(ctx context.Context) error {
			_, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
			return err
		},
		"Knative Service": func(ctx context.Context) error {
			_, err := s.Serving.ServingV1().Services(s.namespace).Get(ctx, model, metav1.GetOptions{})
			return err
		},
		"Knative Ingress": func(ctx context.Context) error {
			_, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Get(ctx, model, metav1.GetOptions{})
			return err
		},
		"VirtualService": func(ctx context.Context) error {
			_, err := s.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Get(ctx, virtualService, metav1.GetOptions{})
			return err
		},
		"RateLimit": func(ctx context.Context) error {
			_, err := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace).Get(ctx, model, metav1.GetOptions{})
			return err
		},
	}
}

// present lists which of a Model's belongings are there.
func (s *stage) present(ctx context.Context, model string) ([]string, error) {
	var names []string
	var errs []error
	for name, get := range s.belongings(model) {
		if isGone, err := gone(get(ctx)); err != nil {
			errs = append(errs, fmt.Errorf("getting its %s: %w", name, err))
		} else if !isGone {
			names = append(names, name)
		}
	}
	return names, errors.Join(errs...)
}

// slotsWith lists the slots' EnvoyFilters that hold a Model's descriptor, sorted.
func (s *stage) slotsWith(model string) []string {
	s.Helper()
	filters, err := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List(s.Context(), metav1.ListOptions{LabelSelector: gateway.SlotLabelKey})
	if err != nil {
		s.Fatal("listing slots:", err)
	}
	descriptor := `"` + gateway.VirtualServiceMetadata(gateway.VirtualServiceName(s.namespace, model)) + `"`
	var names []string
	for _, f := range filters.Items {
		content, err := json.Marshal(&f.Spec)
		if err != nil {
			s.Fatalf("reading slot %s: %v", f.Name, err)
		}
		if strings.Contains(string(content), descriptor) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return names
}

// slotName is the slot of the shared gateway in which a Model's descriptor belongs.
func slotName(namespace, model string) string {
	slot := limit.SlotOf(gateway.VirtualServiceName(namespace, model), gateway.DefaultSlots)
	return gateway.SlotObjectName(gateway.Shared, gateway.DefaultSlots, slot)
}
