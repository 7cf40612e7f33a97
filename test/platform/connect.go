package platform

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	istioclient "istio.io/client-go/pkg/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	eventingclient "knative.dev/eventing/pkg/client/clientset/versioned"
	networkingclient "knative.dev/networking/pkg/client/clientset/versioned"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"sluice.dev/sluice/reconciler/apis/gateway"
	apisluice "sluice.dev/sluice/reconciler/apis/sluice"
	sluiceclient "sluice.dev/sluice/reconciler/client/clientset/versioned"
	"sluice.dev/sluice/test/load"
)

// Clients reach the API groups that tests look at.
type Clients struct {
	Kube       kubernetes.Interface
	Sluice     sluiceclient.Interface
	Serving    servingclient.Interface
	Networking networkingclient.Interface
	Istio      istioclient.Interface
	Eventing   eventingclient.Interface
	// Dynamic reaches objects of any kind, as manifests have them.
	Dynamic dynamic.Interface
	// AsController reaches Sluice's kinds in the name of its controller, whose RateLimits
	// are to write.
	AsController sluiceclient.Interface

	config *rest.Config
}

// KnativeAs reaches Knative Serving as a user, with that one's rights.
func (c *Clients) KnativeAs(user string) (servingclient.Interface, error) {
	config := rest.CopyConfig(c.config)
	config.Impersonate.UserName = user
	serving, err := servingclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Knative Serving as %s: %w", user, err)
	}
	return serving, nil
}

// SluiceAs reaches Sluice's kinds as a user, with that one's rights.
func (c *Clients) SluiceAs(user string) (sluiceclient.Interface, error) {
	config := rest.CopyConfig(c.config)
	config.Impersonate.UserName = user
	sluice, err := sluiceclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Sluice as %s: %w", user, err)
	}
	return sluice, nil
}

// clientRate is how many requests a second the clients may make. The default, 5,
// would hold up the tests, and no more is needed to poll every 100 ms.
const clientRate = 100

// Connect returns clients for the cluster that a kubeconfig file names.
func Connect(kubeconfig string) (*Clients, error) { return ConnectAt(kubeconfig, clientRate) }

// ConnectAt is Connect for clients that may make that many requests a second.
func ConnectAt(kubeconfig string, rate float32) (*Clients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = rate, int(2*rate)
	// A webhook's warnings are for people; here they would get between the lines.
	config.WarningHandler = rest.NoWarnings{}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	sluice, err := sluiceclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Sluice: %w", err)
	}
	serving, err := servingclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Knative Serving: %w", err)
	}
	networking, err := networkingclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Knative networking: %w", err)
	}
	istio, err := istioclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Istio: %w", err)
	}
	eventing, err := eventingclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Knative Eventing: %w", err)
	}
	anything, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to any kind: %w", err)
	}
	controller := rest.CopyConfig(config)
	controller.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + apisluice.SystemNamespace + ":controller", Groups: []string{"system:masters"},
	}
	asController, err := sluiceclient.NewForConfig(controller)
	if err != nil {
		return nil, fmt.Errorf("connecting to Sluice as its controller: %w", err)
	}
	return &Clients{
		Kube: kube, Sluice: sluice, Serving: serving, Networking: networking, Istio: istio, Eventing: eventing, Dynamic: anything,
		AsController: asController, config: config,
	}, nil
}

// LoopbackGateway is GatewayAddress, and refuses one that no load may be sent to.
func (c *Clients) LoopbackGateway(ctx context.Context) (string, error) {
	address, err := c.GatewayAddress(ctx)
	if err != nil {
		return "", err
	}
	if _, err := load.LoopbackAddress(address); err != nil {
		return "", fmt.Errorf("the shared gateway: %w", err)
	}
	return address, nil
}

// GatewayAddress waits for the address, with port 80, that the shared gateway's
// Service was given.
func (c *Clients) GatewayAddress(ctx context.Context) (string, error) {
	var address string
	err := Until(ctx, 30*time.Second, "an address of Service "+gateway.Namespace+"/"+gateway.Shared,
		func(ctx context.Context) (string, error) {
			service, err := c.Kube.CoreV1().Services(gateway.Namespace).Get(ctx, gateway.Shared, metav1.GetOptions{})
			if err != nil {
				return err.Error(), nil //nolint:nilerr // what is waited for
			}
			for _, ingress := range service.Status.LoadBalancer.Ingress {
				if ip, err := netip.ParseAddr(ingress.IP); err == nil {
					address = netip.AddrPortFrom(ip, 80).String()
					return "", nil
				}
			}
			return "its status names none", nil
		})
	return address, err
}
