package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// initialisation is what the compared Models' first inference takes, by real work.
	initialisation = 2 * time.Second
	// tolerable is what no caller of a warm replica waits: half of the initialisation is
	// far more than a busy machine adds.
	tolerable = initialisation / 2
	// freshRequests are the first ones of the new replica that are looked at.
	freshRequests = 100
	// compareRate reaches both replicas; the load ends once the new one of each Model has
	// served its first requests, within compareWithin.
	compareRate   = 50
	compareWithin = 25 * time.Second
	// compareAfter is how long the load is there before the second replica is asked for.
	compareAfter = time.Second
	// pairWithin bounds the wait for one replica of each; they started with the demo.
	pairWithin = 45 * time.Second
)

// arm is one of two Models that differ in their warm-up alone.
type arm struct {
	name, title string
	warmUp      func(request []byte) *v1alpha1.WarmUpSpec
	endpoint    platform.Endpoint
	// seen is what came of it.
	seen comparison
}

// comparison is what callers saw of a scale-up.
type comparison struct {
	fresh platform.Answers
	total load.Second
}

func newPair() []*arm {
	return []*arm{
		{name: modelName + "-cold", title: "without warm-up", warmUp: func([]byte) *v1alpha1.WarmUpSpec { return nil }},
		{name: modelName + "-warm", title: "with warm-up", warmUp: warmUpBy},
	}
}

// warmUpBy replays the demo's request until its latency has levelled off.
func warmUpBy(request []byte) *v1alpha1.WarmUpSpec {
	return &v1alpha1.WarmUpSpec{
		Requests: []v1alpha1.WarmUpRequest{{
			Name: "typical", Path: platform.InferPath, Body: string(request),
			Headers: map[string]string{"Content-Type": "application/json"},
			Expect:  &v1alpha1.WarmUpExpectation{JSON: &v1alpha1.WarmUpJSONValue{Path: "{.outputs[0].name}", Value: "score"}},
		}},
		Repeat:  400,
		Until:   &v1alpha1.WarmUpUntil{Stable: &v1alpha1.WarmUpStable{}},
		Timeout: &metav1.Duration{Duration: 20 * time.Second},
	}
}

// variant is the demo's Model, initialising for longer, with a replica that is always
// there, and warmed up as the arm says.
func (d *demo) variant(a *arm) (*v1alpha1.Model, error) {
	object, err := manifest(d.image)
	if err != nil {
		return nil, err
	}
	var m v1alpha1.Model
	if err := json.Unmarshal(object, &m); err != nil {
		return nil, fmt.Errorf("reading model.yaml: %w", err)
	}
	m.Name, m.Namespace = a.name, d.namespace
	m.Spec.Container.Env = append(m.Spec.Container.Env, corev1.EnvVar{Name: "RANKER_INITIALIZE", Value: initialisation.String()})
	m.Spec.TimeoutSeconds = ptr.Int64(30)
	m.Spec.Autoscaling.MinReplicas, m.Spec.Autoscaling.MaxReplicas = ptr.Int32(1), ptr.Int32(2)
	// One replica is enough for the load: the second one comes when it is asked for.
	m.Spec.Autoscaling.Target = ptr.Int32(10 * compareRate)
	quantity := m.Spec.Limit.RequestsPerSecondPerReplica
	quantity.Set(10 * compareRate)
	m.Spec.WarmUp = a.warmUp(d.request)
	return &m, nil
}

// createPair creates the two, which get ready while the demo goes on, in the place of
// what an earlier run may have left.
func (d *demo) createPair(ctx context.Context) error {
	if err := d.removePair(ctx); err != nil {
		return err
	}
	for _, a := range d.pair {
		m, err := d.variant(a)
		if err != nil {
			return err
		}
		if err := platform.Until(ctx, 30*time.Second, "an earlier run's Model "+a.name+" to go", func(ctx context.Context) (string, error) {
			_, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Create(ctx, m, metav1.CreateOptions{})
			if apierrs.IsAlreadyExists(err) {
				return "it is there", nil
			}
			return "", err
		}); err != nil {
			return err
		}
	}
	return nil
}

// removePair deletes the two; their pods drain without being waited for.
func (d *demo) removePair(ctx context.Context) error {
	var failed []error
	for _, a := range d.pair {
		err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Delete(ctx, a.name, metav1.DeleteOptions{})
		if err != nil && !apierrs.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("deleting Model %s: %w", a.name, err))
		}
	}
	return errors.Join(failed...)
}

// compare scales both from one replica to two at the same time, under the same load.
func (d *demo) compare(ctx context.Context) error {
	d.Title(fmt.Sprintf("The same model, with %v of initialisation, scaled from one replica to two under %d requests/s", initialisation, compareRate))
	running, ctx := errgroup.WithContext(ctx)
	for _, a := range d.pair {
		running.Go(func() error {
			if err := d.scaleUp(ctx, a); err != nil {
				return fmt.Errorf("%s: %w", a.title, err)
			}
			return nil
		})
	}
	if err := running.Wait(); err != nil {
		return err
	}
	d.Printf("  %-40s %8s  %8s  %8s\n", fmt.Sprintf("first %d requests of the new replica", freshRequests), "p50", "p99", "max")
	for _, a := range d.pair {
		d.Printf("  %-40s %8s  %8s  %8s\n", a.title,
			show.Milliseconds(a.seen.fresh.Latency(0.5)), show.Milliseconds(a.seen.fresh.Latency(0.99)), show.Milliseconds(a.seen.fresh.Latency(1)))
	}
	return nil
}

// scaleUp loads one Model and asks for a second replica meanwhile.
func (d *demo) scaleUp(ctx context.Context, a *arm) error {
	before, err := d.single(ctx, a)
	if err != nil {
		return err
	}
	// The replica that is there pays for its own first request beforehand.
	if status, answer, _, err := a.endpoint.Post(ctx, platform.InferPath, d.request); err != nil || status != http.StatusOK {
		return fmt.Errorf("the first answer: status %d, %.200q, error %w", status, answer, err)
	}
	ledger, stop, steered := &platform.Ledger{}, make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(stop)
		steered <- d.second(ctx, a, func() int { return len(ledger.Answers().First(freshRequests, before)) })
	}()
	schedule := load.Schedule{load.Hold(compareRate, compareAfter+compareWithin)}
	got, err := load.Plan{
		Target: load.Target{
			Address: a.endpoint.Address, Host: a.endpoint.Host, Method: http.MethodPost, Path: platform.InferPath,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: d.request,
		},
		Schedule: schedule, Lanes: lanes, RequestTimeout: 10 * time.Second, Stop: stop, EachAnswer: ledger.Note,
		Bounds: load.Bounds{Requests: schedule.Requests(), Duration: schedule.Duration() + 11*time.Second, InFlight: 1024},
	}.Run(ctx)
	if err != nil {
		return err
	}
	a.seen = comparison{fresh: ledger.Answers().First(freshRequests, before), total: got.Total}
	return <-steered
}

// second asks for the second replica and waits until it has served its first requests.
func (d *demo) second(ctx context.Context, a *arm, served func() int) error {
	select {
	case <-time.After(compareAfter):
	case <-ctx.Done():
		return ctx.Err()
	}
	more := []byte(`{"spec": {"autoscaling": {"minReplicas": 2}}}`)
	if _, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Patch(ctx, a.name, types.MergePatchType, more, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("asking for a second replica: %w", err)
	}
	return platform.Until(ctx, compareWithin, "the second replica to serve", func(context.Context) (string, error) {
		if n := served(); n < freshRequests {
			return fmt.Sprintf("%d of %d requests", n, freshRequests), nil
		}
		return "", nil
	})
}

// single waits until a Model is Ready and has one replica, which it returns, and learns
// where it is served.
func (d *demo) single(ctx context.Context, a *arm) (map[string]bool, error) {
	replicas := map[string]bool{}
	err := platform.Until(ctx, pairWithin, "one replica of "+a.name, func(ctx context.Context) (string, error) {
		m, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Get(ctx, a.name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		if !m.IsReady() || m.Status.URL == nil {
			return fmt.Sprintf("conditions %v", m.Status.Conditions), nil
		}
		a.endpoint = platform.Endpoint{Address: d.endpoint.Address, Host: m.Status.URL.Host}
		pods, err := d.clients.Kube.CoreV1().Pods(d.namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + a.name})
		if err != nil {
			return "", fmt.Errorf("listing its pods: %w", err)
		}
		clear(replicas)
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil {
				replicas[pod.Name] = true
			}
		}
		if len(replicas) != 1 {
			return fmt.Sprintf("%d replicas", len(replicas)), nil
		}
		return "", nil
	})
	return replicas, err
}

// problems are what must not be of the warm one; none if all is well. The other one is
// told to show what it is about.
func (c comparison) problems() []error {
	var out []error
	if lost := c.total.Failed + c.total.Errored + c.total.Dropped + c.total.Limited; lost > 0 {
		out = append(out, fmt.Errorf("with warm-up, %d requests were not answered with 2xx", lost))
	}
	if len(c.fresh) == 0 {
		out = append(out, errors.New("with warm-up, the new replica served nothing"))
	}
	if slowest := c.fresh.Latency(1); slowest > tolerable {
		out = append(out, fmt.Errorf("with warm-up, a caller of the new replica waited for %s", show.Milliseconds(slowest)))
	}
	return out
}

// leave removes what is of no use any more, however the demo ended.
func (d *demo) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := d.removePair(ctx); err != nil {
		d.Sayf("%v", err)
	}
}
