package eventing

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

func TestBrokerAddress(t *testing.T) {
	at := func(address *duckv1.Addressable) *eventingv1.Broker {
		b := &eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: BrokerName}}
		b.Status.Address = address
		return b
	}
	for name, test := range map[string]struct {
		broker *eventingv1.Broker
		err    error
		want   string // the address, or part of the error
	}{
		"there":      {broker: at(&duckv1.Addressable{URL: apis.HTTP("broker.example")}), want: "http://broker.example"},
		"no address": {broker: at(nil), want: "has no address yet"},
		"no URL":     {broker: at(&duckv1.Addressable{}), want: "has no address yet"},
		"no Broker":  {err: errors.New("not found"), want: "getting the broker: not found"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := BrokerAddress(func(string) (*eventingv1.Broker, error) { return test.broker, test.err })()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
