package loadbalancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/kubeapi"
	"sluice.dev/sluice/hack/cluster/internal/process"
)

// object is the part of a Service that matters here.
type object struct {
	Metadata struct {
		Namespace         string `json:"namespace"`
		Name              string `json:"name"`
		UID               string `json:"uid"`
		ResourceVersion   string `json:"resourceVersion"`
		CreationTimestamp string `json:"creationTimestamp"`
		DeletionTimestamp string `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Type string `json:"type"`
	} `json:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []ingress `json:"ingress"`
		} `json:"loadBalancer"`
	} `json:"status"`
}

type ingress struct {
	IP     string `json:"ip"`
	IPMode string `json:"ipMode,omitempty"`
}

type list struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Items []object `json:"items"`
}

// Allocator watches Services and writes their addresses. What has been given
// out is read from the Services themselves, so it keeps no state.
type Allocator struct {
	client *kubeapi.Client
	known  map[string]object
}

// NewAllocator speaks to the API server through client.
func NewAllocator(client *kubeapi.Client) *Allocator {
	return &Allocator{client: client}
}

// Run works until the context ends.
func (a *Allocator) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := a.listAndWatch(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, kubeapi.ErrGone) {
			log.Printf("starting again: %v", err)
			_ = process.Pause(ctx, time.Second)
		}
	}
	return nil
}

func (a *Allocator) listAndWatch(ctx context.Context) error {
	var services list
	if err := a.client.Get(ctx, "/api/v1/services", &services); err != nil {
		return fmt.Errorf("listing services: %w", err)
	}
	a.known = make(map[string]object, len(services.Items))
	for _, s := range services.Items {
		a.known[s.Metadata.UID] = s
	}
	if err := a.assign(ctx); err != nil {
		return err
	}
	path := "/api/v1/services?watch=1&timeoutSeconds=300&resourceVersion=" + services.Metadata.ResourceVersion
	return a.client.Watch(ctx, path, func(e kubeapi.Event) error {
		var s object
		if err := json.Unmarshal(e.Object, &s); err != nil {
			return fmt.Errorf("decoding a service: %w", err)
		}
		if e.Type == "DELETED" {
			delete(a.known, s.Metadata.UID)
			return nil
		}
		a.known[s.Metadata.UID] = s
		return a.assign(ctx)
	})
}

func (a *Allocator) assign(ctx context.Context) error {
	services := make([]Service, 0, len(a.known))
	for _, s := range a.known {
		service := Service{
			Namespace: s.Metadata.Namespace, Name: s.Metadata.Name, Created: s.Metadata.CreationTimestamp,
			Wants: s.Spec.Type == "LoadBalancer",
		}
		for _, i := range s.Status.LoadBalancer.Ingress {
			service.Addresses = append(service.Addresses, i.IP)
		}
		services = append(services, service)
	}
	writes, err := Assign(services)
	if err != nil {
		return err
	}
	for _, w := range writes {
		entries := []ingress{}
		if w.Address != "" {
			entries = append(entries, ingress{IP: w.Address, IPMode: "VIP"})
		}
		path := fmt.Sprintf("/api/v1/namespaces/%s/services/%s/status", w.Namespace, w.Name)
		patch := map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": entries}}}
		if err := a.client.MergePatch(ctx, path, patch); err != nil {
			return fmt.Errorf("writing the address of %s/%s: %w", w.Namespace, w.Name, err)
		}
		a.remember(w, entries)
		log.Printf("%s/%s: %q", w.Namespace, w.Name, w.Address)
	}
	return nil
}

// remember notes a write at once: the watch tells of it only later, and another
// Service's event may come first.
func (a *Allocator) remember(w Assignment, entries []ingress) {
	for uid, s := range a.known {
		if s.Metadata.Namespace == w.Namespace && s.Metadata.Name == w.Name {
			s.Status.LoadBalancer.Ingress = entries
			a.known[uid] = s
		}
	}
}
