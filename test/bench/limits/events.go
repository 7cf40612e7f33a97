package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingclient "knative.dev/eventing/pkg/client/clientset/versioned"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/platform"
)

const (
	brokerName  = "sluice"
	triggerName = namespace
	// subscribedWithin bounds the wait for the Trigger.
	subscribedWithin = 20 * time.Second
)

// listener takes the same events as the limiter, by a Trigger of its own.
type listener struct {
	server *http.Server
	// hear is called with each event.
	hear func(eventing.RevisionScaled, time.Time)
}

// listen subscribes to the events of a subject until ctx ends. What is heard is how
// far the Broker's part of the way takes; the limiter's own part isn't changed by it.
func (b *bench) listen(ctx context.Context, of subject, hear func(eventing.RevisionScaled, time.Time)) error {
	config, err := clientcmd.BuildConfigFromFlags("", b.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	address, err := ownAddress(ctx, config.Host)
	if err != nil {
		return err
	}
	l := &listener{hear: hear}
	protocol, err := cloudevents.NewHTTP()
	if err != nil {
		return fmt.Errorf("building the event protocol: %w", err)
	}
	handler, err := cloudevents.NewHTTPReceiveHandler(ctx, protocol, l.receive)
	if err != nil {
		return fmt.Errorf("building the event handler: %w", err)
	}
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return fmt.Errorf("listening for events: %w", err)
	}
	l.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = l.server.Serve(socket) }() // ends with the server
	context.AfterFunc(ctx, func() { _ = l.server.Close() })
	return b.subscribe(ctx, of, socket.Addr().String())
}

func (l *listener) receive(_ context.Context, event cloudevents.Event) {
	now := time.Now()
	if scaled, err := eventing.ParseRevisionScaled(event); err == nil {
		l.hear(scaled, now)
	}
}

// ownAddress is that by which the cluster can reach this machine: the one from which
// this machine reaches the API server.
func ownAddress(ctx context.Context, server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("parsing the API server's address: %w", err)
	}
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return "", fmt.Errorf("finding this machine's address: %w", err)
	}
	defer connection.Close()
	address, _, err := net.SplitHostPort(connection.LocalAddr().String())
	return address, err
}

func (b *bench) subscribe(ctx context.Context, of subject, address string) error {
	triggers, err := b.triggers()
	if err != nil {
		return err
	}
	if _, err := triggers.EventingV1().Triggers(sluice.SystemNamespace).Create(ctx, trigger(of, address), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating a Trigger: %w", err)
	}
	return platform.Until(ctx, subscribedWithin, "a Trigger", func(ctx context.Context) (string, error) {
		got, err := triggers.EventingV1().Triggers(sluice.SystemNamespace).Get(ctx, triggerName, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting a Trigger: %w", err)
		}
		if !got.Status.IsReady() {
			return fmt.Sprintf("%+v", got.Status.Conditions), nil
		}
		return "", nil
	})
}

func trigger(of subject, address string) *eventingv1.Trigger {
	return &eventingv1.Trigger{
		ObjectMeta: meta(sluice.SystemNamespace, triggerName),
		Spec: eventingv1.TriggerSpec{
			Broker: brokerName,
			Filter: &eventingv1.TriggerFilter{Attributes: eventingv1.TriggerFilterAttributes{
				"type": eventing.RevisionScaledType, "subject": namespace + "/" + of.name,
			}},
			Subscriber: duckv1.Destination{URI: apis.HTTP(address)},
		},
	}
}

func (b *bench) triggers() (eventingclient.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", b.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := eventingclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Knative Eventing: %w", err)
	}
	return client, nil
}

func (b *bench) deleteTrigger(ctx context.Context) error {
	client, err := b.triggers()
	if err != nil {
		return err
	}
	err = client.EventingV1().Triggers(sluice.SystemNamespace).Delete(ctx, triggerName, metav1.DeleteOptions{})
	if apierrs.IsNotFound(err) {
		return nil
	}
	return errors.Join(err)
}
