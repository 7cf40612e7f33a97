package main

import (
	"context"
	"fmt"
	"slices"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	networkingclientset "knative.dev/networking/pkg/client/clientset/versioned"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// uncapped finds the Routes that are served by our class and bear no Model's name. It is
// asked where a Tenant is written, so it asks the API server and keeps nothing.
func uncapped(client networkingclientset.Interface, models sluicelisters.ModelLister) v1alpha1.Uncapped {
	return func(ctx context.Context, namespaces []string) ([]string, error) {
		if len(namespaces) == 0 {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(ctx, lookUpWithin)
		defer cancel()
		list, err := client.NetworkingV1alpha1().Ingresses(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
			ResourceVersion: "0", // of the API server's cache
		})
		if err != nil {
			return nil, fmt.Errorf("listing the Ingresses of the tenant's namespaces: %w", err)
		}
		var names []string
		for i := range list.Items {
			ing := &list.Items[i]
			owner := metav1.GetControllerOf(ing)
			if !slices.Contains(namespaces, ing.Namespace) || !tenancy.Serves(ing) || !ing.IsReady() || owner == nil || owner.Kind != "Route" {
				continue
			}
			if _, err := models.Models(ing.Namespace).Get(ing.Name); apierrs.IsNotFound(err) {
				names = append(names, ing.Namespace+"/"+ing.Name)
			}
		}
		return names, nil
	}
}
