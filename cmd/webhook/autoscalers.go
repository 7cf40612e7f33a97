package main

import (
	"context"
	"fmt"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// hpaAutoscaler is the Deployment of what serves class hpa, which an installation of
// Knative can do without.
const hpaAutoscaler = "autoscaler-hpa"

// autoscalerServed asks the API server where a Model names class hpa; any other class of
// Knative's is served wherever Knative is.
func autoscalerServed(client kubernetes.Interface, namespace string) v1alpha1.AutoscalerServed {
	return func(ctx context.Context, class string) (bool, error) {
		if class != autoscaling.HPA {
			return true, nil
		}
		ctx, cancel := context.WithTimeout(ctx, lookUpWithin)
		defer cancel()
		_, err := client.AppsV1().Deployments(namespace).Get(ctx, hpaAutoscaler, metav1.GetOptions{})
		switch {
		case apierrs.IsNotFound(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("getting the Deployment %s/%s: %w", namespace, hpaAutoscaler, err)
		}
		return true, nil
	}
}
