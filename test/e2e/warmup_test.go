//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/config"
	servingnetworking "knative.dev/serving/pkg/networking"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// warmed warms the ranker up by the request that the tests send.
func warmed(m *v1alpha1.Model) {
	m.Spec.WarmUp = &v1alpha1.WarmUpSpec{
		Requests: []v1alpha1.WarmUpRequest{{
			Name: "typical", Path: platform.InferPath, Body: string(cluster.request),
			Headers: map[string]string{"Content-Type": "application/json"},
			Expect:  &v1alpha1.WarmUpExpectation{JSON: &v1alpha1.WarmUpJSONValue{Path: "{.outputs[0].name}", Value: "score"}},
		}},
		Repeat: 400, Until: &v1alpha1.WarmUpUntil{Stable: &v1alpha1.WarmUpStable{}},
		Timeout: &metav1.Duration{Duration: 30 * time.Second},
	}
}

// slow initialises for 2 s on its first request.
func slow(m *v1alpha1.Model) {
	m.Spec.Container.Env = append(m.Spec.Container.Env, corev1.EnvVar{Name: "RANKER_INITIALIZE", Value: "2s"})
}

func warmingBy(change func(*v1alpha1.WarmUpSpec)) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		warmed(m)
		change(m.Spec.WarmUp)
	}
}

// living are a Model's pods that aren't ending.
func (s *stage) living(ctx context.Context, model string) ([]corev1.Pod, error) {
	pods, err := s.Kube.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.ModelLabelKey + "=" + model})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// modelContainer is how a Model's container is named that has no name.
const modelContainer = config.DefaultUserContainerName

// noneEarly checks, by what the replicas themselves have logged, that none served
// before its warm-up ended.
func (s *stage) noneEarly(model string) {
	s.Helper()
	pods, err := s.Kube.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: sluice.ModelLabelKey + "=" + model})
	if err != nil {
		s.Fatal(err)
	}
	for _, pod := range pods.Items {
		if !started(&pod, modelContainer) {
			continue
		}
		for _, previous := range []bool{false, restarts(&pod, modelContainer) > 0} {
			log, err := s.Kube.CoreV1().Pods(s.namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: modelContainer, Previous: previous}).DoRaw(s.Context())
			if apierrs.IsNotFound(err) {
				continue // it has gone since
			}
			if err != nil {
				s.Errorf("reading what %s has logged: %v", pod.Name, err)
			} else if strings.Contains(string(log), "served before the warm-up ended") {
				s.Errorf("%s served cold", pod.Name)
			}
		}
	}
}

// condition waits until a condition of a Model has a status and says something.
func (s *stage) condition(model string, of apis.ConditionType, status corev1.ConditionStatus, says string) *v1alpha1.Model {
	s.Helper()
	var m *v1alpha1.Model
	s.until(readyWithin, fmt.Sprintf("condition %s of Model %s to be %s", of, model, status), func(ctx context.Context) (string, error) {
		var err error
		if m, err = s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{}); err != nil {
			return "", err
		}
		c := m.Status.GetCondition(of)
		if c == nil || c.Status != status || !strings.Contains(c.Reason+": "+c.Message, says) {
			return fmt.Sprintf("%+v", c), nil
		}
		return "", nil
	})
	return m
}

// update changes a Model, whoever else writes it at the same time.
func (s *stage) update(model string, change func(*v1alpha1.Model)) {
	s.Helper()
	s.until(saidWithin, "Model "+model+" to be changed", func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		change(m)
		if _, err = s.Sluice.SluiceV1alpha1().Models(s.namespace).Update(ctx, m, metav1.UpdateOptions{}); apierrs.IsConflict(err) {
			return "somebody else changed it", nil
		}
		return "", err
	})
}

// From zero and on each scale-up, no request comes to a replica before it is warm, and
// none pays for the two seconds that the model initialises.
func TestNoCallerMeetsAColdReplica(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", warmed, slow, func(m *v1alpha1.Model) { m.Spec.Autoscaling.MinReplicas = ptr.Int32(0) }))
	endpoint, trail := s.serving("ranker"), s.follow("ranker")
	s.reach(trail, restWithin, "zero replicas", atZero)
	s.predict(endpoint)
	s.reach(trail, 10*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 })

	p := plan(endpoint, load.Schedule{load.Ramp(10, 40, 3*time.Second), load.Hold(40, 20*time.Second)})
	var report *load.Report
	var err error
	var loading sync.WaitGroup
	loading.Go(func() { report, err = p.Run(t.Context()) })
	s.reach(trail, 30*time.Second, "several replicas", func(m platform.Moment) bool { return m.Ready() >= 3 })
	loading.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s.noneFailed(report)
	s.noneEarly("ranker")
	m := s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "replicas are warm")
	for _, replica := range m.Status.WarmUp.Replicas {
		if replica.State != string(warmup.Warm) || replica.FirstLatency == nil || replica.FirstLatency.Duration < 2*time.Second ||
			replica.LastLatency.Duration > time.Second {
			t.Errorf("%+v, want a first latency of 2 s and a last one far below", replica)
		}
	}
}

// However a model is started again in its pod, it is warm before it serves: its
// container alone, in place, or all of the pod, as when its node restarts. Of that one
// the new verdict must not be the old one, which the pod still has in a file.
func TestModelRestarts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", warmed, slow, fixed("20")))
	endpoint := s.serving("ranker")
	s.predict(endpoint)
	pod := s.onlyReplica("ranker")
	for _, again := range []struct {
		what    string
		restart func(s *stage, pod string)
	}{
		{"container", func(s *stage, pod string) { s.restartContainer(pod, modelContainer) }},
		{"pod", (*stage).restartPod},
	} {
		t.Run(again.what, func(t *testing.T) {
			s := s.in(t)
			before := s.pod(pod)
			again.restart(s, pod)
			s.until(time.Minute, "the model to be warmed up again", func(ctx context.Context) (string, error) {
				return s.readyAgain(ctx, pod, modelContainer, restarts(before, modelContainer))
			})
			s.predict(endpoint)
			s.noneEarly("ranker")
			m := s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "1 of 1")
			if got := m.Status.WarmUp.Replicas[0]; got.Pod != pod || got.Requests == 0 || got.FirstLatency.Duration < 2*time.Second {
				t.Errorf("%+v, want another warm-up of %s, with a first request of 2 s", got, pod)
			}
			if now := s.warmUps(pod); now == 0 {
				t.Error("the container that runs has not warmed the model up")
			}
		})
	}
}

// The warm-up container restarts beside a warm model: green again without a request, and
// callers notice nothing.
func TestWarmUpContainerRestarts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", warmed, fixed("20")))
	endpoint := s.serving("ranker")
	pod := s.onlyReplica("ranker")
	stop := s.offer(endpoint, trafficRate/2)
	s.restartContainer(pod, warmup.ContainerName)
	s.until(time.Minute, "the replica to be ready again", func(ctx context.Context) (string, error) {
		return s.readyAgain(ctx, pod, warmup.ContainerName, 0)
	})
	s.predict(endpoint)
	s.noneFailed(stop())
	if again := s.warmUps(pod); again != 0 {
		t.Errorf("the model was warmed up %d times more", again)
	}
}

// What still comes to a replica that is to leave is served as long as queue-proxy drains,
// by connections that are new to the model as well.
func TestLeavingReplicaServes(t *testing.T) {
	t.Parallel()
	const bursts, burst = 10, 8
	s := newStage(t)
	s.create(s.ranker("ranker", warmed, fixed("20")))
	s.serving("ranker")
	pod := s.onlyReplica("ranker")
	if err := s.Kube.CoreV1().Pods(s.namespace).Delete(t.Context(), pod, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), answerWithin)
	defer cancel()
	next := time.NewTicker(200 * time.Millisecond)
	defer next.Stop()
	for range bursts {
		<-next.C
		var asked sync.WaitGroup
		for range burst {
			asked.Go(func() {
				if answer, err := s.infer(ctx, pod, servingnetworking.BackendHTTPPort, nil); err != nil {
					t.Errorf("%v: %s", err, answer)
				}
			})
		}
		asked.Wait()
	}
}

// infer asks a replica for a prediction at one of its ports, past all that is in front.
func (s *stage) infer(ctx context.Context, pod string, port int, header http.Header) ([]byte, error) {
	request := s.Kube.CoreV1().RESTClient().Post().Namespace(s.namespace).Resource("pods").SubResource("proxy").
		Name(fmt.Sprintf("%s:%d", pod, port)).Suffix(platform.InferPath).Body(cluster.request)
	for name, values := range header {
		request.SetHeader(name, values...)
	}
	return request.DoRaw(ctx)
}

// A revision whose replicas can't be warmed up never serves; the one before goes on,
// of whose requests none is lost, and the status says which request got which answer.
// What is mended is taken up.
func TestBlockedRevision(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", warmed, fixed("20")))
	endpoint := s.serving("ranker")
	missing := "10.88.0.1:5000/nothing@sha256:" + strings.Repeat("0", 64)
	nonsense, corrupt := s.corpus(jsonLines("not a request")), s.corpus(s.truncated())
	stop := s.offer(endpoint, 10)
	for name, c := range map[string]struct {
		change func(*v1alpha1.Model)
		says   string
	}{
		"unreachable path": {warmingBy(func(w *v1alpha1.WarmUpSpec) { w.Requests[0].Path = "/v2/nowhere" }), "typical (POST /v2/nowhere): 404 instead of 2xx: "},
		"wrong value":      {warmingBy(func(w *v1alpha1.WarmUpSpec) { w.Requests[0].Expect.JSON.Value = "class" }), "{.outputs[0].name} is score instead of class"},
		"wrong status":     {warmingBy(func(w *v1alpha1.WarmUpSpec) { w.Requests[0].Expect.Status = ptr.Int32(204) }), "200 instead of 204"},
		"timeout": {warmingBy(func(w *v1alpha1.WarmUpSpec) {
			w.Repeat, w.Until, w.Timeout = 100_000, nil, &metav1.Duration{Duration: 2 * time.Second}
		}), "not warm within 2s"},
		"missing corpus":           {replaying(missing), "artifact " + missing + ": "},
		"corpus of something else": {replaying(nonsense), "line 1 of artifact " + nonsense + ": no request: invalid character"},
		"corrupt corpus":           {replaying(corrupt), "artifact " + corrupt + ": layer 1: recorded.jsonl: unpacking: unexpected EOF"},
		"never levels off":         {unsettled, "not warm within 4s, after "},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			s.update("ranker", func(m *v1alpha1.Model) {
				m.Spec.Container = s.container()
				c.change(m)
			})
			m := s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionFalse, c.says)
			s.condition("ranker", v1alpha1.ModelConditionRolledOut, corev1.ConditionFalse, c.says)
			if m.Status.LatestReadyRevision != rankerRevision {
				t.Errorf("revision %s is ready", m.Status.LatestReadyRevision)
			}
			t.Log(m.Status.WarmUp.Failure.Reason)
			s.endedInTime(m)
			s.predict(endpoint)
		})
	}
	s.update("ranker", func(m *v1alpha1.Model) {
		m.Spec.Container = s.container()
		warmed(m)
	})
	s.condition("ranker", v1alpha1.ModelConditionReady, corev1.ConditionTrue, "")
	s.predict(endpoint)
	s.noneEarly("ranker")
	s.noneFailed(stop())
}

// What can't be warmed up and may serve cold does so, and the status says it.
func TestServesColdWhereAllowed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("20"), warmingBy(func(w *v1alpha1.WarmUpSpec) {
		w.Requests[0].Path, w.OnFailure = "/v2/nowhere", v1alpha1.WarmUpServe
	})))
	s.predict(s.serving("ranker"))
	s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "ServingCold: 1 of 1 replicas serve without having been warmed up")
}

// A ConfigMap that is missing holds up the new revision alone; one that changes later
// changes nothing but the status.
func TestBodiesFromConfigMaps(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("20")))
	endpoint := s.serving("ranker")
	fromRecorded := warmingBy(func(w *v1alpha1.WarmUpSpec) {
		w.Requests[0].Body = ""
		w.Requests[0].BodyFrom = &v1alpha1.WarmUpBodySource{ConfigMapKeyRef: &v1alpha1.WarmUpConfigMapKey{Name: "recorded", Key: "typical.json"}}
	})
	s.update("ranker", fromRecorded)
	s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionFalse, `BodyMissing: spec.warmUp: request typical: there is no ConfigMap "recorded"`)
	s.predict(endpoint)

	recorded := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "recorded"}, Data: map[string]string{"typical.json": string(cluster.request)}}
	configMaps := s.Kube.CoreV1().ConfigMaps(s.namespace)
	if _, err := configMaps.Create(t.Context(), recorded, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "1 of 1")
	m := s.condition("ranker", apis.ConditionReady, corev1.ConditionTrue, "")
	revision := m.Status.LatestReadyRevision
	recorded.Data["typical.json"] = "{}"
	if _, err := configMaps.Update(t.Context(), recorded, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until(readyWithin, "the status to name the ConfigMap", func(ctx context.Context) (string, error) {
		var err error
		m, err = s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, "ranker", metav1.GetOptions{})
		if err != nil || !slices.Equal(m.Status.WarmUp.ChangedBodies, []string{"recorded"}) {
			return "not yet", err
		}
		return "", nil
	})
	if m.Status.LatestReadyRevision != revision || !m.IsReady() {
		t.Errorf("revision %s, ready %t; a ConfigMap's change made %s something else", m.Status.LatestReadyRevision, m.IsReady(), revision)
	}
	s.predict(endpoint)
}

// Another image of the container, as after an upgrade of Sluice, makes no revision and
// restarts no pod.
func TestUpgradeKeepsReplicas(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker", warmed, fixed("20")))
	s.serving("ranker")
	pod := s.onlyReplica("ranker")
	controllers := s.Kube.AppsV1().Deployments(sluice.SystemNamespace)
	before, err := controllers.Get(t.Context(), "controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.setWarmUpImage("example.com/another@sha256:" + strings.Repeat("1", 64))
	t.Cleanup(func() {
		for _, v := range before.Spec.Template.Spec.Containers[0].Env {
			if v.Name == "WARM_UP_IMAGE" {
				s.setWarmUpImage(v.Value)
			}
		}
	})
	s.update("ranker", func(m *v1alpha1.Model) { m.Spec.Limit.HeadroomPercent = ptr.Int32(50) }) // the new controller has seen it
	s.until(readyWithin, "the new controller to take the Model up", func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, "ranker", metav1.GetOptions{})
		if err != nil || !m.IsReady() {
			return "not yet", err
		}
		return "", nil
	})
	revisions, err := s.Serving.ServingV1().Revisions(s.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if now := s.onlyReplica("ranker"); len(revisions.Items) != 1 || now != pod {
		t.Errorf("%d revisions, replica %s instead of %s", len(revisions.Items), now, pod)
	}
}

func (s *stage) setWarmUpImage(image string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	controllers := s.Kube.AppsV1().Deployments(sluice.SystemNamespace)
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"controller","env":[{"name":"WARM_UP_IMAGE","value":%q}]}]}}}}`, image)
	if _, err := controllers.Patch(ctx, "controller", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		s.Fatal("changing the controller:", err)
	}
	if err := platform.Until(ctx, time.Minute, "the controller to be rolled out", func(ctx context.Context) (string, error) {
		d, err := controllers.Get(ctx, "controller", metav1.GetOptions{})
		if err != nil || d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < *d.Spec.Replicas || d.Status.AvailableReplicas != d.Status.Replicas {
			return "not yet", err
		}
		return "", nil
	}); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) onlyReplica(model string) string {
	s.Helper()
	pods, err := s.living(s.Context(), model)
	if err != nil || len(pods) != 1 {
		s.Fatalf("%d replicas, %v; want one", len(pods), err)
	}
	return pods[0].Name
}

// warmUps is how often the container of a replica that runs now has warmed the model up.
func (s *stage) warmUps(pod string) int {
	s.Helper()
	log, err := s.Kube.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: warmup.ContainerName}).DoRaw(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return strings.Count(string(log), "The model answers; warming it up")
}

// restartContainer has the kubelet restart a container in place, as it does when its
// image is named otherwise. The images have no shell by which to kill it.
func (s *stage) restartContainer(name, container string) {
	s.Helper()
	pods := s.Kube.CoreV1().Pods(s.namespace)
	pod, err := pods.Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range pod.Spec.Containers {
		if c.Name != container {
			continue
		}
		repository, digest, byDigest := strings.Cut(c.Image, "@")
		if !byDigest {
			s.Fatalf("image %s is not named by digest", c.Image)
		}
		patch := fmt.Sprintf(`{"spec":{"containers":[{"name":%q,"image":%q}]}}`, container, repository+":again@"+digest)
		if _, err := pods.Patch(s.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			s.Fatal("restarting a container:", err)
		}
		return
	}
	s.Fatalf("%s has no container %s", name, container)
}

// started tells whether a container runs, or has run.
func started(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Name == container && (c.State.Waiting == nil || c.RestartCount > 0)
	})
}

// readyAgain says what a replica lacks to be ready after one more restart of a container
// than there were before.
func (s *stage) readyAgain(ctx context.Context, name, container string, before int32) (string, error) {
	pod, err := s.Kube.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if n := restarts(pod, container); n == before || !platform.IsReady(pod) {
		return fmt.Sprintf("%d restarts, ready %t", n, platform.IsReady(pod)), nil
	}
	return "", nil
}

func restarts(pod *corev1.Pod, container string) int32 {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == container {
			return c.RestartCount
		}
	}
	return 0
}
