package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/platform"
)

// confuse stands before the store and between the limiter's Trigger and the limiter, until
// what it returns is called.
func (k *killing) confuse(ctx context.Context) (stop func() error, err error) {
	if k.before, err = newInterceptor(k.store.Endpoint); err != nil {
		return nil, err
	}
	service, err := k.clients.Kube.CoreV1().Services(sluice.SystemNamespace).Get(ctx, "limiter", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting the limiter's Service: %w", err)
	}
	k.chaos = &platform.Chaos{To: "http://" + service.Spec.ClusterIP}
	front, closeBefore, err := k.serve(ctx, k.before)
	if err != nil {
		return nil, err
	}
	k.front = front
	address, closeChaos, err := k.serve(ctx, k.chaos)
	if err != nil {
		return nil, errors.Join(err, closeBefore())
	}
	restore, err := k.subscribe(ctx, address)
	if err != nil {
		return nil, errors.Join(err, closeBefore(), closeChaos())
	}
	again, cancel := context.WithCancel(ctx)
	var repeating sync.WaitGroup
	repeating.Go(func() { k.again(again) })
	return func() error {
		cancel()
		repeating.Wait()
		return errors.Join(restore(), closeBefore(), closeChaos())
	}, nil
}

// serve serves where pods reach it.
func (k *killing) serve(ctx context.Context, handler http.Handler) (address string, closed func() error, err error) {
	listener, err := k.clients.ListenForPods(ctx)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), server.Close, nil
}

// subscribe has the limiter's Trigger deliver to another address until restore is called.
func (k *killing) subscribe(ctx context.Context, address string) (restore func() error, err error) {
	url, err := apis.ParseURL(address)
	if err != nil {
		return nil, fmt.Errorf("reading an address: %w", err)
	}
	before, err := k.deliver(ctx, func(d *duckv1.Destination) { d.Ref, d.URI = nil, url })
	if err != nil {
		return nil, err
	}
	restore = func() error {
		restoring, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, err := k.deliver(restoring, func(d *duckv1.Destination) { *d = before })
		return err
	}
	err = platform.Until(ctx, 30*time.Second, "the Trigger to deliver to "+address, func(ctx context.Context) (string, error) {
		got, err := k.clients.Eventing.EventingV1().Triggers(sluice.SystemNamespace).Get(ctx, "limiter", metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		if !got.Status.IsReady() || got.Status.SubscriberURI.String() != address {
			return fmt.Sprintf("it delivers to %s", got.Status.SubscriberURI), nil
		}
		return "", nil
	})
	if err != nil {
		return nil, errors.Join(err, restore())
	}
	return restore, nil
}

// deliver changes where the limiter's Trigger delivers, and returns where that was.
func (k *killing) deliver(ctx context.Context, change func(*duckv1.Destination)) (before duckv1.Destination, err error) {
	triggers := k.clients.Eventing.EventingV1().Triggers(sluice.SystemNamespace)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		got, err := triggers.Get(ctx, "limiter", metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("getting the limiter's Trigger: %w", err)
		}
		before = *got.Spec.Subscriber.DeepCopy()
		change(&got.Spec.Subscriber)
		_, err = triggers.Update(ctx, got, metav1.UpdateOptions{})
		return err //nolint:wrapcheck // what a conflict is told by
	})
	if err != nil {
		return before, fmt.Errorf("changing the limiter's Trigger: %w", err)
	}
	return before, nil
}
