// Command limiter serves the limit function: it takes in revision.scaled events
// and keeps the gateways' rate limits in step with the replicas.
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
	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"
	servingclientset "knative.dev/serving/pkg/client/clientset/versioned"

	"sluice.dev/sluice/cmd/internal/serving"
	"sluice.dev/sluice/cmd/internal/tracing"
	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/guard"
	"sluice.dev/sluice/eventing/receiver"
	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/limit"
	"sluice.dev/sluice/functions/limit/demand"
	"sluice.dev/sluice/functions/limit/demand/history"
	"sluice.dev/sluice/functions/limit/demand/recorded"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/functions/limit/watch"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
	"sluice.dev/sluice/reconciler/client/clientset/versioned"
)

// environment is what the Deployment says.
type environment struct {
	Namespace string `envconfig:"SYSTEM_NAMESPACE" required:"true"`
	Pod       string `envconfig:"POD_NAME" required:"true"`
	// Sink is the Broker's address; the name is Knative's.
	Sink string `envconfig:"K_SINK" required:"true"`
	// Trigger, of our namespace, delivers events here, for the audience that it names.
	Trigger  string `envconfig:"TRIGGER" default:"limiter"`
	Audience string `envconfig:"AUDIENCE" default:"sluice.dev/limiter"`
	// EventingNamespace is where Knative Eventing keeps its features.
	EventingNamespace string `envconfig:"KNATIVE_EVENTING_NAMESPACE" default:"knative-eventing"`
	// ServingNamespace is where Knative Serving keeps how it scales.
	ServingNamespace string `envconfig:"KNATIVE_SERVING_NAMESPACE" default:"knative-serving"`
	// Port takes events, and questions what is left to batch and what came to a Model, AdminPort serves /metrics, /healthz and /readyz.
	Port      int `envconfig:"PORT" default:"8080"`
	AdminPort int `envconfig:"ADMIN_PORT" default:"9090"`

	Traces tracing.Settings
}

func main() {
	log := zap.Must(zap.NewProduction()).Sugar()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log); err != nil {
		log.Fatalw("Limiter ended", zap.Error(err))
	}
}

func run(ctx context.Context, log *zap.SugaredLogger) error {
	var env environment
	if err := envconfig.Process("", &env); err != nil {
		return fmt.Errorf("reading the environment: %w", err)
	}
	// Whatever is wrong with traces, limits follow their replicas.
	endTraces, err := tracing.Start(ctx, "limiter", env.Traces)
	if err != nil {
		log.Errorw("Nothing is traced", zap.Error(err))
		endTraces = func(context.Context) error { return nil }
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	// A burst of writes is at most one update for each slot of each gateway.
	config.QPS, config.Burst = 200, 400
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("building the Kubernetes client: %w", err)
	}
	recording := limit.NewRecording(history.DefaultRoom)
	function, informers, err := build(env, config, kube, recording, log)
	if err != nil {
		return err
	}
	tell := record.NewBroadcaster(record.WithContext(ctx))
	tell.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: kube.CoreV1().Events(gateway.Namespace)})
	function.Recorder = tell.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "sluice-limiter"})

	var synced atomic.Bool
	admin := serving.Start(serving.Admin(env.AdminPort, &synced), log)
	if err := informers.Start(ctx); err != nil {
		return fmt.Errorf("filling the caches: %w", err)
	}
	synced.Store(true)
	events, err := door(ctx, env, config, function)
	if err != nil {
		return err
	}
	known, err := callers.New(rest.CopyConfig(config), env.Audience)
	if err != nil {
		return fmt.Errorf("telling callers: %w", err)
	}
	doors := events.Server(fmt.Sprintf(":%d", env.Port))
	doors.Handler = with(doors.Handler, function.LeftHandler(known.Must(env.Namespace, "batch")), function.RecordedHandler(recording, known.Of, env.Namespace))
	server := serving.Start(doors, log)

	lead(ctx, env, kube, log, function)

	// What was taken in before the signal is answered still.
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(ending), admin.Shutdown(ending), endTraces(ending))
}

func build(env environment, config *rest.Config, kube kubernetes.Interface, recording *history.History, log *zap.SugaredLogger) (*limit.Function, *limit.Informers, error) {
	sluice, err := versioned.NewForConfig(statusesOf(config))
	if err != nil {
		return nil, nil, fmt.Errorf("building the Sluice client: %w", err)
	}
	knative, err := servingclientset.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("building the Serving client: %w", err)
	}
	istio, err := istioclientset.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("building the Istio client: %w", err)
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("building the metadata client: %w", err)
	}
	sender, err := eventing.NewSender(func() (string, error) { return env.Sink, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("building the event sender: %w", err)
	}
	function := limit.New()
	clients := limit.Clients{Kube: kube, Serving: knative, Istio: istio, Metadata: objects, Sluice: sluice}
	informers, err := limit.NewInformers(clients, limit.Namespaces{System: env.Namespace, Serving: env.ServingNamespace}, function.Look)
	if err != nil {
		return nil, nil, err
	}
	function.Caches = informers.Caches()
	function.Slots = limit.NewSlotWriter(istio.NetworkingV1alpha3().RESTClient())
	function.Limits = sluice.SluiceV1alpha1()
	function.Prover = limit.NewProver(clock.RealClock{}, function.Proved, reach.In(function.Caches.GatewayPods))
	offered := demand.New(informers, clock.RealClock{}, log, function.Look)
	offered.Keep(recording.Tell)
	function.Demand, function.Scaled = offered, recording.Scale
	function.Watch = watch.New(informers, clock.RealClock{}, log, function.Breached)
	function.Events = sender
	function.ProbeToken = informers.ProbeToken
	function.Log = log
	return function, informers, nil
}

// statusesOf gives statuses a rate of their own, so that no slot waits for them. It
// leaves most of a small API server to the slots.
func statusesOf(config *rest.Config) *rest.Config {
	own := rest.CopyConfig(config)
	own.QPS, own.Burst = 50, 100
	return own
}

// door takes in what the Broker's Trigger delivers.
func door(ctx context.Context, env environment, config *rest.Config, function *limit.Function) (*receiver.Door, error) {
	door := guard.Door{Trigger: guard.Only(types.NamespacedName{Namespace: env.Namespace, Name: env.Trigger}), Audience: env.Audience}
	watched, err := guard.Watch(logging.WithLogger(ctx, function.Log), config, env.EventingNamespace, door)
	if err != nil {
		return nil, fmt.Errorf("guarding the door for events: %w", err)
	}
	return function.Door(watched.Admit), nil
}

// with answers what is left to batch, and what came to a Model, beside the door for events.
func with(events, left, told http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+slack.Path, left)
	mux.Handle("GET "+recorded.Path, told)
	mux.Handle("/", events)
	return mux
}

// lead runs the function while this replica holds the lease, and returns when
// the context ends. A replica that lost the lease ends: its successor writes.
func lead(ctx context.Context, env environment, kube kubernetes.Interface, log *zap.SugaredLogger, function *limit.Function) {
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: env.Namespace, Name: "limiter"},
			Client:     kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: env.Pod},
		},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: true,
		Name:            "limiter",
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				log.Info("Leading")
				function.Run(ctx)
			},
			OnStoppedLeading: func() {
				if ctx.Err() == nil {
					log.Fatal("Lost the lease")
				}
			},
		},
	})
}
