//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	ociregistry "github.com/google/go-containerregistry/pkg/v1/types"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// modelPort is the ranker's, past queue-proxy.
	modelPort = 8080
	// crashHeader is on a request that ends the model.
	crashHeader = "Crash"
	// verdictWithin bounds how much later than its timeout a warm-up may end.
	verdictWithin = 500 * time.Millisecond
	// crashRate is of the load on each replica of a model that crashes, in requests per
	// second: some come to it before the kubelet has looked at it again.
	crashRate = 30
)

// crashingOn has the model end, without an answer, at a request with that header.
func crashingOn(header string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		m.Spec.Container.Env = append(m.Spec.Container.Env, corev1.EnvVar{Name: "RANKER_CRASH_ON", Value: header})
	}
}

// unsettled has each answer take 3 % less time than the one before, from 0.3 s on. So
// the latency falls by a quarter in a window of ten, for longer than the timeout.
func unsettled(m *v1alpha1.Model) {
	warmingBy(func(w *v1alpha1.WarmUpSpec) { w.Timeout = &metav1.Duration{Duration: 4 * time.Second} })(m)
	m.Spec.Container.Env = append(m.Spec.Container.Env, corev1.EnvVar{Name: "RANKER_SETTLE", Value: "300ms"})
}

// endedInTime checks that a warm-up that failed has ended by its timeout.
func (s *stage) endedInTime(m *v1alpha1.Model) {
	s.Helper()
	status := s.warmth(m.Status.WarmUp.Failure.Pod)
	if most := m.Spec.WarmUp.Timeout.Duration + verdictWithin; status.Seconds > most.Seconds() {
		s.Errorf("the warm-up took %.3f s, want at most %v", status.Seconds, most)
	}
}

// warmth is what a replica itself tells of its warm-up.
func (s *stage) warmth(pod string) warmup.Status {
	s.Helper()
	var status warmup.Status
	answer, err := s.Kube.CoreV1().Pods(s.namespace).ProxyGet("http", pod, strconv.Itoa(warmup.Port), warmup.StatusPath, nil).DoRaw(s.Context())
	if err == nil {
		err = json.Unmarshal(answer, &status)
	}
	if err != nil {
		s.Fatalf("asking %s how far it is: %v", pod, err)
	}
	return status
}

// A model that crashes while it serves, and listens again long before the endpoints
// follow, is warm again before it gets a request: those that come to its replica
// meanwhile wait. One that crashes in its warm-up never serves at all.
func TestModelCrashes(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		s := newStage(t)
		endpoint, pods := s.crashable(1)
		s.crashServing(endpoint, pods, 0)
	})
	t.Run("beside another", func(t *testing.T) {
		s := newStage(t)
		endpoint, pods := s.crashable(2)
		// The kubelet restarts a container at once the first time only.
		for victim := range pods {
			s.crashServing(endpoint, pods, victim)
		}
		s.crashWarming(endpoint)
	})
}

// crashable has replicas of a Model serve that end at a request with crashHeader.
func (s *stage) crashable(replicas int32) (platform.Endpoint, []corev1.Pod) {
	s.Helper()
	s.create(s.ranker("ranker", warmed, slow, crashingOn(crashHeader), fixed("1000"), func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.MinReplicas, m.Spec.Autoscaling.MaxReplicas = &replicas, &replicas
		// Without a bound, Knative's activator may choose among no replicas, and panic.
		m.Spec.ContainerConcurrency = ptr.Int64(100)
	}))
	endpoint := s.serving("ranker")
	s.reach(s.follow("ranker"), readyWithin, "all replicas", func(m platform.Moment) bool { return m.Ready() == replicas })
	pods, err := s.living(s.Context(), "ranker")
	if err != nil {
		s.Fatal(err)
	}
	return endpoint, pods
}

// crashServing ends the model of one of the replicas under load.
func (s *stage) crashServing(endpoint platform.Endpoint, pods []corev1.Pod, which int) {
	s.Helper()
	victim, seen := pods[which].Name, &answers{last: map[string]time.Time{}, waited: map[string]int{}}
	p := plan(endpoint, load.Schedule{load.Hold(crashRate*float64(len(pods)), time.Minute)})
	p.EachAnswer = seen.take
	stop := s.begin(p)
	s.until(answerWithin, "all replicas to answer", func(context.Context) (string, error) {
		if n := seen.replicas(); n < len(pods) {
			return fmt.Sprintf("%d have answered", n), nil
		}
		return "", nil
	})

	asked := time.Now()
	s.crash(victim)
	ended := time.Now()
	took := s.until(time.Minute, "the replica to serve again", func(ctx context.Context) (string, error) {
		if !seen.since(victim, ended) {
			return "it has not answered", nil
		}
		return s.readyAgain(ctx, victim, modelContainer, 0)
	})
	report := stop()
	s.noneEarly("ranker")
	for _, lost := range seen.lost {
		// Nobody can save those that are with the model when it ends.
		if lost.Due.After(ended) || lost.Due.Add(lost.Latency).Before(asked) || lost.Status != http.StatusBadGateway {
			s.Errorf("a request that was due %v after the model had ended was lost, by status %d after %v", lost.Due.Sub(ended), lost.Status, lost.Latency)
		}
	}
	s.Logf("the replica served again %.1f s after its crash; of %d requests %d waited for it, %d were lost, with %v and %q",
		took.Seconds(), report.Total.Offered, seen.waited[victim], len(seen.lost), report.Codes, report.Errors)
}

// answers are those to a load: the requests that were lost, and by replica, when the
// last one was due that it answered.
type answers struct {
	mu   sync.Mutex
	lost []load.Answer
	last map[string]time.Time
	// waited counts, by replica, those that took a second and more.
	waited map[string]int
}

func (a *answers) take(answer load.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if answer.Status == http.StatusOK {
		replica := answer.Header.Get("Ranker-Replica")
		a.last[replica] = answer.Due
		if answer.Latency >= time.Second {
			a.waited[replica]++
		}
		return
	}
	a.lost = append(a.lost, answer)
}

func (a *answers) replicas() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.last)
}

func (a *answers) since(replica string, at time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[replica].After(at)
}

// crash has the model of a replica end, past all that is in front of it.
func (s *stage) crash(pod string) {
	s.Helper()
	_, err := s.infer(s.Context(), pod, modelPort, http.Header{crashHeader: {"now"}})
	if err == nil {
		s.Fatalf("%s has answered", pod)
	}
}

// crashWarming releases a revision that ends at each request that warms it up.
func (s *stage) crashWarming(endpoint platform.Endpoint) {
	stop := s.offer(endpoint, trafficRate)
	s.update("ranker", func(m *v1alpha1.Model) {
		m.Spec.Container = s.container()
		crashingOn(warmup.MarkerHeader)(m)
	})
	m := s.condition("ranker", v1alpha1.ModelConditionRolledOut, corev1.ConditionFalse, "ended with exit code 3")
	failed := m.Status.GetCondition(v1alpha1.ModelConditionRolledOut)
	for _, remedy := range []string{"kubectl logs -n " + s.namespace, "serves meanwhile; set spec.rollout.undo to stay with it."} {
		if !strings.Contains(failed.Message, remedy) {
			s.Errorf("%q is no remedy in: %s", remedy, failed.Message)
		}
	}
	warm := s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionUnknown, " replicas are warm; ").Status.GetCondition(v1alpha1.ModelConditionWarm)
	s.Logf("RolledOut: %s; Warm: %s", failed.Message, warm.Message)
	if traffic := s.split("ranker"); traffic[rankerRevision] != 100 {
		s.Errorf("split = %v, want all for %s", traffic, rankerRevision)
	}
	s.update("ranker", func(m *v1alpha1.Model) { m.Spec.Rollout.Undo = true })
	s.phase("ranker", v1alpha1.RolloutUndone)
	s.predict(endpoint)
	s.noneFailed(stop())
}

// A corpus is pulled by its digest and replayed, whatever its layers: lines, or an
// archive of files.
func TestWarmUpByCorpus(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	const rounds = 5
	request, err := json.Marshal(warmup.Request{
		Name: "recorded", Path: platform.InferPath, Body: string(cluster.request),
		Expect: &warmup.Expect{JSON: &warmup.JSONValue{Path: "{.outputs[0].name}", Value: "score"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	line := string(request) + "\n"
	image := s.corpus(jsonLines(line+line), s.archive(line))
	s.create(s.ranker("ranker", fixed("20"), replaying(image), func(m *v1alpha1.Model) { m.Spec.WarmUp.Repeat, m.Spec.WarmUp.Until = rounds, nil }))
	s.predict(s.serving("ranker"))
	s.noneEarly("ranker")
	m := s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "1 of 1 replicas are warm")
	if got := m.Status.WarmUp.Replicas[0].Requests; got != 3*rounds {
		t.Errorf("%d requests, want %d rounds of the three of %s", got, rounds, image)
	}
}

// replaying warms the ranker up by a corpus.
func replaying(image string) func(*v1alpha1.Model) {
	return warmingBy(func(w *v1alpha1.WarmUpSpec) { w.Requests, w.Corpus = nil, &v1alpha1.WarmUpCorpus{Image: image} })
}

// corpus pushes an artifact to the registry that the ranker's image is in, and returns
// its name by digest.
func (s *stage) corpus(layers ...v1.Layer) string {
	s.Helper()
	ranker, err := name.NewDigest(cluster.image)
	if err != nil {
		s.Fatal(err)
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, ociregistry.OCIManifestSchema1), layers...)
	if err != nil {
		s.Fatal("making an artifact:", err)
	}
	digest, err := image.Digest()
	if err != nil {
		s.Fatal("making an artifact:", err)
	}
	to := ranker.Registry.Repo("e2e", "corpus").Digest(digest.String())
	if err := remote.Write(to, image, remote.WithContext(s.Context())); err != nil {
		s.Fatalf("pushing %s: %v", to, err)
	}
	return to.String()
}

func jsonLines(text string) v1.Layer { return static.NewLayer([]byte(text), "application/jsonl") }

// archive is a layer with a file of requests.
func (s *stage) archive(text string) v1.Layer {
	return static.NewLayer(s.zipped(text), ociregistry.OCILayer)
}

// truncated is a layer that is what its digest says, but of which the end is missing.
func (s *stage) truncated() v1.Layer {
	content := s.zipped(string(cluster.request))
	return static.NewLayer(content[:len(content)/2], ociregistry.OCILayer)
}

func (s *stage) zipped(text string) []byte {
	s.Helper()
	var content bytes.Buffer
	compressed := gzip.NewWriter(&content)
	files := tar.NewWriter(compressed)
	err := files.WriteHeader(&tar.Header{Name: "recorded.jsonl", Size: int64(len(text)), Mode: 0o644, Typeflag: tar.TypeReg})
	for _, write := range []func() error{
		func() error { _, err := files.Write([]byte(text)); return err }, files.Close, compressed.Close,
	} {
		if err == nil {
			err = write()
		}
	}
	if err != nil {
		s.Fatal("making an archive:", err)
	}
	return content.Bytes()
}

// A model that speaks HTTP/2 is warmed up over that, and by gRPC; a wrong answer of
// gRPC's blocks as any.
func TestWarmUpOverHTTP2(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	message, err := proto.Marshal(payload("warm"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := proto.Marshal(&testpb.SimpleResponse{Payload: payload("warm").GetPayload()})
	if err != nil {
		t.Fatal(err)
	}
	arrives := func(path, value string) v1alpha1.WarmUpRequest {
		return v1alpha1.WarmUpRequest{Path: "/headers", Expect: &v1alpha1.WarmUpExpectation{JSON: &v1alpha1.WarmUpJSONValue{Path: path, Value: value}}}
	}
	const unary = "grpc.testing.BenchmarkService/UnaryCall"
	s.create(s.streams("modern", overHTTP2, func(m *v1alpha1.Model) {
		m.Spec.WarmUp = &v1alpha1.WarmUpSpec{Repeat: 2, Timeout: &metav1.Duration{Duration: 30 * time.Second}, Requests: []v1alpha1.WarmUpRequest{
			arrives("{.protocol}", "HTTP/2.0"),
			arrives("{.headers."+warmup.MarkerHeader+"[0]}", "true"),
			{GRPC: unary, BodyBytes: message, Expect: &v1alpha1.WarmUpExpectation{BodyBytes: answer}},
		}}
	}))
	modern := newCaller(s.serving("modern"), 2)
	m := s.condition("modern", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "1 of 1 replicas are warm")
	if got := m.Status.WarmUp.Replicas[0].Requests; got != 2*3 {
		t.Errorf("%d requests, want two rounds of three", got)
	}
	s.callsWait(modern, s.onlyReplica("modern"))
	s.update("modern", func(m *v1alpha1.Model) { m.Spec.WarmUp.Requests[2].GRPC += "s" })
	s.condition("modern", v1alpha1.ModelConditionRolledOut, corev1.ConditionFalse, "gRPC "+unary+"s: gRPC code 12 instead of 0: unknown method UnaryCalls")
	if err := modern.unary(t.Context()); err != nil {
		t.Error("by the revision before:", err)
	}
}

// callsWait ends a model of HTTP/2 between two calls of the connection that all of them
// share: those that come before it is warm again wait.
func (s *stage) callsWait(modern *caller, pod string) {
	s.Helper()
	if err := modern.unary(s.Context()); err != nil {
		s.Fatal(err)
	}
	var model int
	for _, process := range s.processes(s.pod(pod).UID) {
		if process.Command == "streams" {
			model = process.ID
		}
	}
	if model == 0 {
		s.Log("the replica's node isn't this machine: its model can't be ended")
		return
	}
	s.until(answerWithin, "the model to end", func(context.Context) (string, error) {
		if err := syscall.Kill(model, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return "it is there", err
		}
		return "", nil
	})
	s.until(time.Minute, "the model to be warm again", func(ctx context.Context) (string, error) {
		if err := modern.unary(ctx); err != nil {
			s.Errorf("a call after the model has ended: %v", err)
		}
		return s.readyAgain(ctx, pod, modelContainer, 0)
	})
}

// pod is a pod as it is now.
func (s *stage) pod(name string) *corev1.Pod {
	s.Helper()
	pod, err := s.Kube.CoreV1().Pods(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return pod
}

// restartPod ends all processes of a pod at once, the one that holds its namespaces
// included, so that the kubelet sets it up anew, as after a restart of its node. The
// volumes stay. It can only be done on the node.
func (s *stage) restartPod(name string) {
	s.Helper()
	processes := s.processes(s.pod(name).UID)
	if len(processes) == 0 {
		s.Skip("the pod's node isn't this machine")
	}
	for _, process := range processes {
		if err := process.Kill(); err != nil {
			s.Fatalf("%s: %v", name, err)
		}
	}
}

// processes are those of a pod, as far as they run on this machine.
func (s *stage) processes(pod types.UID) []platform.Process {
	s.Helper()
	found, err := platform.Processes(pod)
	if err != nil {
		s.Fatal(err)
	}
	return found
}
