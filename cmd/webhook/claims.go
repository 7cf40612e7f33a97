package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	networkingclientset "knative.dev/networking/pkg/client/clientset/versioned"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// lookUpWithin bounds the questions to the API server about a domain, of which one is
// asked where a Tenant gets another one. It is half of what an admission may take.
const lookUpWithin = 5 * time.Second

// claims refuses a Tenant that asks for what is another's. What can't be known here,
// or changes meanwhile, the Tenant's reconciler decides.
type claims struct {
	tenants    sluicelisters.TenantLister
	kube       kubernetes.Interface
	networking networkingclientset.Interface
	// servingNamespace is where Knative Serving has its ConfigMap config-domain.
	servingNamespace string
}

// check lets one that is there already, in whatever state, stay writable in all that
// isn't its spec.
func (c claims) check(ctx context.Context, object *unstructured.Unstructured) error {
	tenant := &v1alpha1.Tenant{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, tenant); err != nil {
		return fmt.Errorf("decoding the Tenant: %w", err)
	}
	before, ok := apis.GetBaseline(ctx).(*v1alpha1.Tenant)
	if tenant.DeletionTimestamp != nil || ok && equality.Semantic.DeepEqual(before.Spec, tenant.Spec) {
		return nil
	}
	others, err := c.tenants.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing the Tenants: %w", err)
	}
	// A nil *FieldError must not become an error that isn't nil.
	if conflicts := tenant.ConflictsWith(others).Filter(apis.ErrorLevel); conflicts != nil {
		return conflicts
	}
	if ok && before.Spec.Domain == tenant.Spec.Domain {
		return nil
	}
	return c.checkDomain(ctx, tenant)
}

// checkDomain refuses a domain that is the cluster's, or that takes hosts of others.
func (c claims) checkDomain(ctx context.Context, tenant *v1alpha1.Tenant) error {
	if tenant.Spec.Domain == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpWithin)
	defer cancel()
	domains := tenancy.Domains{ConfigMap: c.servingNamespace + "/" + tenancy.DomainConfig}
	cm, err := c.kube.CoreV1().ConfigMaps(c.servingNamespace).Get(ctx, tenancy.DomainConfig, metav1.GetOptions{})
	if err != nil && !apierrs.IsNotFound(err) {
		return fmt.Errorf("getting Knative's ConfigMap %s: %w", domains.ConfigMap, err)
	}
	if err == nil {
		domains.Config = cm.Data
	}
	if domains.Ingresses, err = c.ingresses(ctx, tenant); err != nil {
		return err
	}
	if refusal := domains.Unfit(holding(tenant)); refusal != nil {
		return &apis.FieldError{Message: refusal.Message, Paths: []string{"spec.domain"}}
	}
	return nil
}

// ingresses are those of all namespaces, and none where the tenant selects some: which
// those are isn't known here.
func (c claims) ingresses(ctx context.Context, tenant *v1alpha1.Tenant) ([]*netv1alpha1.Ingress, error) {
	if tenant.Spec.Namespaces.Selector != nil {
		return nil, nil
	}
	list, err := c.networking.NetworkingV1alpha1().Ingresses(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		ResourceVersion: "0", // of the API server's cache
	})
	if err != nil {
		return nil, fmt.Errorf("listing the Ingresses that may have hosts under %q: %w", tenant.Spec.Domain, err)
	}
	out := make([]*netv1alpha1.Ingress, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// holding is the tenant as if it held the namespaces that it names: no other does.
func holding(tenant *v1alpha1.Tenant) *v1alpha1.Tenant {
	out := tenant.DeepCopy()
	for _, name := range tenant.Spec.Namespaces.Names {
		out.Status.Namespaces = append(out.Status.Namespaces, v1alpha1.TenantNamespace{Name: name})
	}
	return out
}
