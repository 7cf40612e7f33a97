package eventing

import (
	"fmt"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
)

// BrokerName is the Broker, in Sluice's own namespace, that takes the events.
const BrokerName = "sluice"

// BrokerAddress returns, for NewSender, what finds the address of that Broker; get
// gets a Broker of Sluice's namespace.
func BrokerAddress(get func(name string) (*eventingv1.Broker, error)) func() (string, error) {
	return func() (string, error) {
		broker, err := get(BrokerName)
		if err != nil {
			return "", fmt.Errorf("getting the broker: %w", err)
		}
		if address := broker.Status.Address; address != nil && !address.URL.IsEmpty() {
			return address.URL.String(), nil
		}
		return "", fmt.Errorf("broker %s/%s has no address yet", broker.Namespace, broker.Name)
	}
}
