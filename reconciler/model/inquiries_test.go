package model

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

// inquirer counts what is asked of the API server, by its field selector, and of models.
type inquirer struct {
	*inquiries
	clock       *clocktesting.FakePassiveClock
	lists, asks []string
}

func newInquirer(after time.Duration) *inquirer {
	i := &inquirer{clock: clocktesting.NewFakePassiveClock(noon.Add(after))}
	kube := kubefake.NewSimpleClientset()
	kube.PrependReactor("list", "events", func(action clientgotesting.Action) (bool, runtime.Object, error) {
		list, _ := action.(clientgotesting.ListAction)
		i.lists = append(i.lists, list.GetListRestrictions().Fields.String())
		return true, &corev1.EventList{Items: []corev1.Event{{Reason: "FailedMount"}}}, nil
	})
	i.inquiries = newInquiries(kube, i.clock)
	i.ask = func(_ context.Context, ip string, _ *corev1.Container) *obstacle.Answer {
		i.asks = append(i.asks, ip)
		return &obstacle.Answer{Closed: true}
	}
	return i
}

// silentPod runs since a time and isn't ready.
func silentPod(changes ...func(*corev1.Pod)) *corev1.Pod {
	p := showing(first, "ContainerCreating", "")
	for _, change := range changes {
		change(p)
	}
	return p
}

func runs(p *corev1.Pod) {
	p.Status.PodIP, p.Status.HostIP = "10.0.0.1", "192.168.0.1"
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon.Add(time.Second))}}
}

func TestInquiries(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after       time.Duration
		pods        []*corev1.Pod
		lists, asks int
	}{
		"none yet":                     {3 * time.Second, nil, 0, 0},
		"none":                         {5 * time.Second, nil, 1, 0},
		"begins":                       {3 * time.Second, []*corev1.Pod{silentPod()}, 0, 0},
		"begins for long":              {5 * time.Second, []*corev1.Pod{silentPod()}, 1, 0},
		"runs":                         {10 * time.Second, []*corev1.Pod{silentPod(runs)}, 0, 0},
		"runs for long":                {12 * time.Second, []*corev1.Pod{silentPod(runs)}, 1, 1},
		"with a warm-up, which asks":   {12 * time.Second, []*corev1.Pod{silentPod(runs, func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{{Name: warmup.ContainerName}} })}, 1, 0},
		"at its node's address":        {12 * time.Second, []*corev1.Pod{silentPod(runs, func(p *corev1.Pod) { p.Status.PodIP = p.Status.HostIP })}, 1, 0},
		"a killed one, of which more":  {time.Second, []*corev1.Pod{showing(first, "ImagePullBackOff", "Back-off")}, 1, 0},
		"one is asked, not all of two": {12 * time.Second, []*corev1.Pod{silentPod(runs), silentPod(runs, func(p *corev1.Pod) { p.Name = "b" })}, 1, 1},
	} {
		i := newInquirer(test.after)
		r := revision(first, func(r *servingv1.Revision) { r.CreationTimestamp, r.UID = metav1.NewTime(noon), "revision" })
		r.Spec.Containers = []corev1.Container{{}}
		asked := i.about(t.Context(), r, test.pods)
		if len(i.lists) != test.lists || len(i.asks) != test.asks || (asked != nil) != (test.lists > 0) {
			t.Errorf("%s: lists %q, asks %q, found %+v", name, i.lists, i.asks, asked)
		}
		object := "revision"
		if len(test.pods) > 0 {
			object = "a"
		}
		if test.lists > 0 && i.lists[0] != "involvedObject.uid="+object {
			t.Errorf("%s: lists %q", name, i.lists)
		}
		// What was found out stands in for a while.
		if again := i.about(t.Context(), r, test.pods); again != asked || len(i.lists) != test.lists {
			t.Errorf("%s: asked at once again: %q", name, i.lists)
		}
	}
}

// However many revisions aren't ready, few are inquired about at once, and what was found
// out is forgotten.
func TestInquiriesAreBounded(t *testing.T) {
	t.Parallel()
	i := newInquirer(time.Hour)
	for n := range 1000 {
		i.about(t.Context(), revision(fmt.Sprint("r-", n), func(r *servingv1.Revision) { r.UID = types.UID(fmt.Sprint(n)) }), nil)
	}
	if len(i.lists) < inquiriesAtOnce || len(i.lists) > 20*inquiriesAtOnce {
		t.Errorf("%d lists at once", len(i.lists))
	}
	i.clock.SetTime(noon.Add(2 * time.Hour))
	i.budget = newInquiries(nil, i.clock).budget
	i.about(t.Context(), revision("last", func(r *servingv1.Revision) { r.UID = "last" }), nil)
	if len(i.known) != 1 {
		t.Errorf("%d are remembered", len(i.known))
	}
}

func TestAskModel(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/slow":
			<-r.Context().Done()
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/nowhere", http.StatusFound)
		case r.URL.Path != "/ready" || r.Host != "model":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().(*net.TCPAddr).Port
	_ = closed.Close()
	asks := func(path string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, HTTPHeaders: []corev1.HTTPHeader{{Name: "host", Value: "model"}}}}}
	}
	for name, test := range map[string]struct {
		port   int
		probe  *corev1.Probe
		status int
		says   string
		open   bool
		fails  string
	}{
		"right":           {number, asks("/ready"), 200, fmt.Sprintf("GET /ready at port %d", number), true, ""},
		"without a slash": {number, asks("ready"), 200, fmt.Sprintf("GET /ready at port %d", number), true, ""},
		"wrong":           {number, asks("/nowhere"), 404, fmt.Sprintf("GET /nowhere at port %d", number), true, ""},
		"elsewhere":       {number, asks("/moved"), 302, fmt.Sprintf("GET /moved at port %d", number), true, ""},
		"slow":            {number, asks("/slow"), 0, fmt.Sprintf("GET /slow at port %d", number), true, "it took longer than 1s"},
		"a connection":    {number, nil, 0, fmt.Sprintf("a connection to port %d", number), true, ""},
		"another port":    {nobody, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(number)}}}, 0, fmt.Sprintf("a connection to port %d", number), true, ""},
		"gRPC":            {nobody, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(number)}}}, 0, fmt.Sprintf("a connection to port %d", number), true, ""},
		"nobody":          {nobody, asks("/ready"), 0, fmt.Sprintf("GET /ready at port %d", nobody), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := askModel(context.WithoutCancel(t.Context()), host, &corev1.Container{
				Name: "m", ReadinessProbe: test.probe, Ports: []corev1.ContainerPort{{ContainerPort: int32(test.port)}},
			})
			if got.Status != test.status || got.Question != test.says || got.Open != test.open || got.Closed == test.open || got.Failure != test.fails || got.Container != "m" {
				t.Errorf("got %+v", got)
			}
		})
	}
}
