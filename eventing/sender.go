package eventing

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"k8s.io/client-go/transport"
)

const (
	// sendTimeout bounds one delivery to the Broker's ingress.
	sendTimeout = 5 * time.Second
	// tokenFile is where a pod's manifest mounts the token, for the Broker alone, that
	// says who sends. The kubelet renews it.
	tokenFile = "/var/run/secrets/sluice.dev/broker/token"
)

// Sender hands events to the Broker.
type Sender struct {
	client  cloudevents.Client
	address func() (string, error)
}

// NewSender returns a Sender to the address that the function gives at the time
// of each sending, so that a Broker may come and go. Where the pod has a token for the
// Broker it is sent along; a Broker that doesn't authenticate ignores it.
func NewSender(address func() (string, error)) (*Sender, error) {
	return newSender(address, tokenFile)
}

func newSender(address func() (string, error), token string) (*Sender, error) {
	over := http.DefaultTransport
	if _, err := os.Stat(token); err == nil {
		over = transport.TokenSourceWrapTransport(transport.NewCachedFileTokenSource(token))(over)
	}
	client, err := cloudevents.NewClientHTTP(cehttp.WithClient(http.Client{Timeout: sendTimeout, Transport: over}))
	if err != nil {
		return nil, fmt.Errorf("making a CloudEvents client: %w", err)
	}
	return &Sender{client: client, address: address}, nil
}

// Send delivers an event once, with the trace of the context. The Broker has it, in its own keeping, when the
// error is nil; the caller decides about trying again.
func (s *Sender) Send(ctx context.Context, event cloudevents.Event) error {
	address, err := s.address()
	if err != nil {
		return fmt.Errorf("finding the broker: %w", err)
	}
	ctx, cancel := context.WithTimeout(cloudevents.ContextWithTarget(ctx, address), sendTimeout)
	defer cancel()
	if result := s.client.Send(ctx, WithTrace(ctx, event)); !cloudevents.IsACK(result) {
		return fmt.Errorf("sending %s: %w", event.Type(), result)
	}
	return nil
}
