package platform

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingclient "knative.dev/eventing/pkg/client/clientset/versioned"
)

const (
	// unsubscribedWithin is how long Knative may take to forget a Trigger.
	unsubscribedWithin = 10 * time.Second
	// eventingController alone may change who is subscribed to a channel.
	eventingController = "system:serviceaccount:knative-eventing:eventing-controller"
)

// DeleteTrigger deletes a Trigger of a Broker that is a channel of Knative's, and waits until the channel has
// forgotten it. Where two go at a time Knative may forget one of them and lose that, as it reads the channel from a
// cache: then the channel tries each event ten times at a Trigger that isn't there, for seconds, before
// whoever sent it is answered. So what is left is taken away here.
func (c *Clients) DeleteTrigger(ctx context.Context, namespace, broker, name string) error {
	if err := c.Eventing.EventingV1().Triggers(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting Trigger %s/%s: %w", namespace, name, err)
	}
	channel := broker + "-kne-trigger"
	is := func(s eventingduckv1.SubscriberSpec) bool {
		return strings.Contains(s.SubscriberURI.String(), "/triggers/"+namespace+"/"+name+"/")
	}
	left := func(ctx context.Context) (string, error) {
		of, err := c.Eventing.MessagingV1().InMemoryChannels(namespace).Get(ctx, channel, metav1.GetOptions{})
		switch {
		case apierrs.IsNotFound(err):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("getting channel %s/%s: %w", namespace, channel, err)
		case slices.ContainsFunc(of.Spec.Subscribers, is):
			return "it is subscribed", nil
		}
		return "", nil
	}
	if Until(ctx, unsubscribedWithin, "Trigger "+name+" to be forgotten", left) == nil {
		return nil
	}
	config := rest.CopyConfig(c.config)
	config.Impersonate.UserName = eventingController
	as, err := eventingclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connecting to Knative Eventing: %w", err)
	}
	return Until(ctx, unsubscribedWithin, "Trigger "+name+" to be taken off channel "+channel, func(ctx context.Context) (string, error) {
		of, err := as.MessagingV1().InMemoryChannels(namespace).Get(ctx, channel, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting channel %s/%s: %w", namespace, channel, err)
		}
		of.Spec.Subscribers = slices.DeleteFunc(of.Spec.Subscribers, is)
		if _, err := as.MessagingV1().InMemoryChannels(namespace).Update(ctx, of, metav1.UpdateOptions{}); err != nil {
			return err.Error(), nil //nolint:nilerr // tried again
		}
		return left(ctx)
	})
}
