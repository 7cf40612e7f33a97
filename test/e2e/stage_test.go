//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/network"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// cluster is what all tests share: the way to the stack, the images of the ranker
// and of the streams, and what the ranker is asked and answers.
var cluster struct {
	clients *platform.Clients
	address string
	image   string
	streams string
	request []byte
	answer  platform.Prediction
}

const (
	// readyWithin bounds the wait for a new Model, its image to be pulled included.
	readyWithin = 90 * time.Second
	// restWithin bounds the wait for zero replicas: the window, a few ticks of the
	// autoscaler, a pod's last seconds.
	restWithin = 60 * time.Second
	// followWithin is how old the replicas may be from which a limit follows.
	followWithin = time.Second
	// testdata is where the ranker's request and the training library's answer are.
	testdata = "../images/ranker/testdata/"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := reachCluster(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func reachCluster() error {
	cluster.image, cluster.streams = os.Getenv("RANKER_IMAGE"), os.Getenv("STREAMS_IMAGE")
	kubeconfig := os.Getenv("KUBECONFIG")
	if cluster.image == "" || cluster.streams == "" || kubeconfig == "" {
		return fmt.Errorf("KUBECONFIG is %q, RANKER_IMAGE %q and STREAMS_IMAGE %q; all are needed, `make test-e2e` sets them",
			kubeconfig, cluster.image, cluster.streams)
	}
	var err error
	if cluster.clients, err = platform.Connect(kubeconfig); err != nil {
		return err
	}
	if cluster.address, err = cluster.clients.GatewayAddress(context.Background()); err != nil {
		return err
	}
	if cluster.request, err = os.ReadFile(testdata + "request.json"); err != nil {
		return fmt.Errorf("reading the ranker's request: %w", err)
	}
	answer, err := os.ReadFile(testdata + "response.json")
	if err != nil {
		return fmt.Errorf("reading the ranker's answer: %w", err)
	}
	cluster.answer, err = platform.ParsePrediction(answer)
	return err
}

// stage is a namespace for one test.
type stage struct {
	*testing.T
	*platform.Clients
	namespace string
}

// newStage makes a namespace that goes with the test. If the test fails, what the
// cluster says of it is printed first.
func newStage(t *testing.T) *stage {
	t.Helper()
	namespace, err := cluster.clients.Kube.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal("creating a namespace:", err)
	}
	s := &stage{T: t, Clients: cluster.clients, namespace: namespace.Name}
	t.Cleanup(s.strike)
	return s
}

// strike removes the namespace and what is in it. Kubernetes empties a namespace of
// its pods first, which take half a minute to drain, and their limits and routes
// would go after them only; so the owners are deleted here. The wait is for the
// gateway to forget them, so that the next test finds it quiet.
func (s *stage) strike() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.Failed() {
		s.Log(s.Explain(ctx, s.namespace))
	}
	all := metav1.ListOptions{}
	err := errors.Join(
		s.Sluice.SluiceV1alpha1().Models(s.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, all),
		s.Serving.ServingV1().Services(s.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, all),
		s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, all),
		platform.Until(ctx, 30*time.Second, "limits and routes to go", s.forgotten),
	)
	// A test may have deleted it itself.
	if _, removing := gone(s.Kube.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{})); removing != nil {
		err = errors.Join(err, removing)
	}
	if err != nil {
		s.Errorf("removing namespace %s: %v", s.namespace, err)
	}
}

// forgotten says what the gateway still has of the namespace.
func (s *stage) forgotten(ctx context.Context) (string, error) {
	limits, err := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	ingresses, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	if n := len(limits.Items) + len(ingresses.Items); n > 0 {
		return fmt.Sprintf("%d are left", n), nil
	}
	return "", nil
}

// until waits for a condition and ends the test if it isn't met in time.
func (s *stage) until(within time.Duration, what string, check func(context.Context) (string, error)) time.Duration {
	s.Helper()
	start := time.Now()
	if err := platform.Until(s.Context(), within, what, check); err != nil {
		s.Fatal(err)
	}
	return time.Since(start)
}

// ranker is a Model of the ranker image that serves 20 requests per second a
// replica, with one to four replicas, at short windows.
func (s *stage) ranker(name string, changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
	rate := resource.MustParse("20")
	m := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.ModelSpec{
			Container: s.container(),
			Autoscaling: v1alpha1.AutoscalingSpec{
				MinReplicas:       ptr.Int32(1),
				MaxReplicas:       ptr.Int32(4),
				Metric:            v1alpha1.MetricRPS,
				Target:            ptr.Int32(20),
				TargetUtilization: ptr.Int32(75),
				Window:            &metav1.Duration{Duration: 6 * time.Second},
			},
			Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate},
		},
	}
	for _, change := range changes {
		change(m)
	}
	return m
}

// fixed makes a Model's limit a constant: one replica, strictly what it serves.
func fixed(rate string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		quantity := resource.MustParse(rate)
		m.Spec.Autoscaling = v1alpha1.AutoscalingSpec{MinReplicas: ptr.Int32(1), MaxReplicas: ptr.Int32(1)}
		m.Spec.Limit = v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &quantity, Policy: v1alpha1.PolicyReady}
	}
}

// container is the ranker's, restricted as a namespace of a careful cluster asks.
func (s *stage) container() corev1.Container {
	return corev1.Container{
		Image: cluster.image,
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("20m"),
			corev1.ResourceMemory: resource.MustParse("32Mi"),
		}},
		// A probe every second, since Kubernetes' own period of 10 s is how late a
		// replica would be whose first probe came a moment too early.
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/v2/health/ready", Port: intstr.FromInt32(0)},
		}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.Bool(false),
			RunAsNonRoot:             ptr.Bool(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

// create creates a Model.
func (s *stage) create(m *v1alpha1.Model) {
	s.Helper()
	if _, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Create(s.Context(), m, metav1.CreateOptions{}); err != nil {
		s.Fatalf("creating Model %s: %v", m.Name, err)
	}
}

// serving waits until a Model is Ready and returns where it is.
func (s *stage) serving(model string) platform.Endpoint {
	s.Helper()
	endpoint := platform.Endpoint{Address: cluster.address}
	took := s.until(readyWithin, "Model "+model+" to be Ready", func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !m.IsReady() || m.Status.URL == nil {
			return fmt.Sprintf("%+v", m.Status.GetCondition(v1alpha1.ModelConditionReady)), nil
		}
		endpoint.Host = m.Status.URL.Host
		return "", nil
	})
	s.Logf("Model %s/%s Ready after %.1f s at %s", s.namespace, model, took.Seconds(), endpoint.Host)
	return endpoint
}

// follow begins the trail of a Model.
func (s *stage) follow(model string) *platform.Trail {
	s.Helper()
	trail, err := platform.Follow(s.Context(), s.Clients, s.namespace, model)
	if err != nil {
		s.Fatal(err)
	}
	return trail
}

// reach waits until the trail's latest moment meets a condition and its limit is
// the one that the formula gives for it.
func (s *stage) reach(trail *platform.Trail, within time.Duration, what string, met func(platform.Moment) bool) platform.Moment {
	s.Helper()
	var now platform.Moment
	took := s.until(within, what+" and the limit for it", func(context.Context) (string, error) {
		if now = trail.Now(); met(now) && now.Agrees() {
			return "", nil
		}
		return fmt.Sprintf("%s, expected limit %g", now, now.Expected()), nil
	})
	s.Logf("%s after %.1f s: %s", what, took.Seconds(), now)
	return now
}

// predict asks the ranker for one prediction and compares it with the training
// library's.
func (s *stage) predict(endpoint platform.Endpoint) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	status, body, took, err := endpoint.Post(ctx, platform.InferPath, cluster.request)
	if err != nil || status != http.StatusOK {
		s.Fatalf("%s: status %d, error %v, answer %s", endpoint.Host, status, err, body)
	}
	got, err := platform.ParsePrediction(body)
	if err != nil {
		s.Fatal(err)
	}
	if d := got.Difference(cluster.answer); d > 1e-5 {
		s.Errorf("%s: scores %v, off by %g from %v", endpoint.Host, got.Scores, d, cluster.answer.Scores)
	}
	s.Logf("%s answered after %d ms", endpoint.Host, took.Milliseconds())
}

// plan is a load of predictions, bounded by its schedule and a few seconds more.
func plan(endpoint platform.Endpoint, schedule load.Schedule) load.Plan {
	return load.Plan{
		Target: load.Target{
			Address: endpoint.Address,
			Host:    endpoint.Host,
			Method:  http.MethodPost,
			Path:    platform.InferPath,
			Header:  http.Header{"Content-Type": {"application/json"}},
			Body:    cluster.request,
		},
		Schedule: schedule,
		Bounds:   load.Bounds{Requests: 5000, Duration: schedule.Duration() + 10*time.Second, InFlight: 512},
		// As many connections as give each of a few gateway pods its share.
		Lanes: 64,
	}
}

// run runs a plan and ends the test if it couldn't.
func (s *stage) run(p load.Plan) *load.Report {
	s.Helper()
	report, err := p.Run(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	s.noneFailed(report)
	return report
}

// noneFailed checks that every request was either admitted and answered, or
// refused with 429.
func (s *stage) noneFailed(report *load.Report) {
	s.Helper()
	if total := report.Total; total.Failed+total.Errored+total.Dropped > 0 {
		s.Errorf("load: %+v, codes %v, errors %q; want only 2xx and 429", total, report.Codes, report.Errors)
	}
}

// route is an Ingress of our class that leads to a Model as a DomainMapping does: by the
// Service that is another name for our own entry, and by the Model's name there.
func (s *stage) route(name, model string, hosts ...string) *netv1alpha1.Ingress {
	return &netv1alpha1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name,
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: netv1alpha1.IngressSpec{
			HTTPOption: netv1alpha1.HTTPOptionEnabled,
			Rules: []netv1alpha1.IngressRule{{
				Hosts:      hosts,
				Visibility: netv1alpha1.IngressVisibilityExternalIP,
				HTTP: &netv1alpha1.HTTPIngressRuleValue{Paths: []netv1alpha1.HTTPIngressPath{{
					RewriteHost: network.GetServiceHostname(model, s.namespace),
					Splits: []netv1alpha1.IngressBackendSplit{{
						Percent: 100,
						IngressBackend: netv1alpha1.IngressBackend{
							ServiceNamespace: s.namespace, ServiceName: model, ServicePort: intstr.FromInt32(80),
						},
					}},
				}}},
			}},
		},
	}
}

// gone says whether an error means that an object isn't there any more.
func gone(err error) (bool, error) {
	if err == nil || apierrs.IsNotFound(err) {
		return err != nil, nil
	}
	return false, err
}
