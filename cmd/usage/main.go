// Command usage keeps the ledger: who used what, by what gateway pods and nodes count.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kelseyhightower/envconfig"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"sluice.dev/sluice/cmd/internal/serving"
	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/functions/usage"
	"sluice.dev/sluice/reconciler/client/clientset/versioned"
)

// environment is what the Deployment says.
type environment struct {
	Namespace string `envconfig:"SYSTEM_NAMESPACE" required:"true"`
	Pod       string `envconfig:"POD_NAME" required:"true"`
	// Sink is the Broker's address; the name is Knative's.
	Sink string `envconfig:"K_SINK" required:"true"`
	// KubeletTLS says by which certificates kubelets are known: those of the cluster's CA ("cluster"), or
	// any ("unverified"), as where kubelets sign their own.
	KubeletTLS string `envconfig:"KUBELET_TLS" default:"cluster"`
	// AdminPort serves /metrics, /healthz and /readyz.
	AdminPort int `envconfig:"ADMIN_PORT" default:"9090"`
}

func main() {
	log := zap.Must(zap.NewProduction()).Sugar()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log); err != nil {
		log.Fatalw("Usage ended", zap.Error(err))
	}
}

func run(ctx context.Context, log *zap.SugaredLogger) error {
	var env environment
	if err := envconfig.Process("", &env); err != nil {
		return fmt.Errorf("reading the environment: %w", err)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	// A minute's writes are one for each Model that was used.
	config.QPS, config.Burst = 50, 100
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("building the Kubernetes client: %w", err)
	}
	ledger, informers, err := build(env, config, kube, log)
	if err != nil {
		return err
	}
	var synced atomic.Bool
	admin := serving.Start(serving.Admin(env.AdminPort, &synced), log)
	if err := informers.Start(ctx); err != nil {
		return fmt.Errorf("filling the caches: %w", err)
	}
	synced.Store(true)
	err = lead(ctx, env, kube, log, ledger)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, admin.Shutdown(ending))
}

func build(env environment, config *rest.Config, kube kubernetes.Interface, log *zap.SugaredLogger) (*usage.Ledger, *usage.Informers, error) {
	sluice, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("building the Sluice client: %w", err)
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("building the metadata client: %w", err)
	}
	sender, err := eventing.NewSender(func() (string, error) { return env.Sink, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("building the event sender: %w", err)
	}
	kubelets, err := kubelets(config, env.KubeletTLS)
	if err != nil {
		return nil, nil, err
	}
	informers, ledger := usage.NewInformers(kube, objects), usage.New(kubelets)
	ledger.Cluster, ledger.Usages, ledger.Events, ledger.Log = informers, sluice.SluiceV1alpha1(), sender, log
	ledger.Kube, ledger.Namespace = kube, env.Namespace
	crds := objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	ledger.Since = func(ctx context.Context) (types.UID, error) {
		crd, err := crds.Get(ctx, usage.CRDName, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting %s: %w", usage.CRDName, err)
		}
		return crd.UID, nil
	}
	return ledger, informers, nil
}

// kubelets is the client that asks nodes, by our own token.
func kubelets(config *rest.Config, known string) (*http.Client, error) {
	own := rest.CopyConfig(config)
	switch known {
	case "cluster":
	case "unverified":
		own.TLSClientConfig = rest.TLSClientConfig{Insecure: true}
	default:
		return nil, fmt.Errorf("KUBELET_TLS is %q, must be cluster or unverified", known)
	}
	transport, err := rest.TransportFor(own)
	if err != nil {
		return nil, fmt.Errorf("building the client of kubelets: %w", err)
	}
	return &http.Client{Transport: transport}, nil
}

// lead keeps the ledger while this replica holds the lease, and returns when the context ends. The
// lease is given up once all is written: whoever is next goes on from that.
func lead(ctx context.Context, env environment, kube kubernetes.Interface, log *zap.SugaredLogger, ledger *usage.Ledger) error {
	leasing, release := context.WithCancel(context.WithoutCancel(ctx))
	var leads atomic.Bool
	context.AfterFunc(ctx, func() {
		if !leads.Load() {
			release() // there is nothing to write
		}
	})
	ended := make(chan error, 1)
	leaderelection.RunOrDie(leasing, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: env.Namespace, Name: "usage"},
			Client:     kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: env.Pod},
		},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: true,
		Name:            "usage",
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				leads.Store(true)
				log.Info("Leading")
				ended <- ledger.Run(ctx)
				release()
			},
			OnStoppedLeading: func() {
				if leads.Load() && ctx.Err() == nil && leasing.Err() == nil {
					log.Fatal("Lost the lease")
				}
			},
		},
	})
	if !leads.Load() {
		return nil
	}
	return <-ended
}
