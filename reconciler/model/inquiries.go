package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// inquireAgain is how often it is inquired about a revision, at most, and inquiriesAtOnce
	// about how many a second, of those that aren't ready.
	inquireAgain    = 10 * time.Second
	inquiriesAtOnce = 5
	// remembered is how long what was found out stands in for what can't be asked.
	remembered = time.Minute
	// inquiryTimeout bounds the time that all of it takes, and answerTimeout that of a
	// replica's answer.
	inquiryTimeout, answerTimeout = 3 * time.Second, time.Second
	// startsFor is how long a replica may start, and runsFor how long its containers may run,
	// before it is inquired about.
	startsFor, runsFor = 4 * time.Second, 10 * time.Second
)

// inquiries find out about replicas what they don't say themselves: by their events, and by
// asking the model as its readiness probe does.
type inquiries struct {
	kube   kubernetes.Interface
	ask    func(ctx context.Context, ip string, model *corev1.Container) *obstacle.Answer
	clock  clock.PassiveClock
	budget flowcontrol.PassiveRateLimiter

	mu    sync.Mutex
	known map[types.UID]inquiry
}

// inquiry is what was found out about a revision.
type inquiry struct {
	at    time.Time
	asked *obstacle.Asked
}

func newInquiries(kube kubernetes.Interface, c clock.PassiveClock) *inquiries {
	return &inquiries{
		kube: kube, ask: askModel, clock: c, known: map[types.UID]inquiry{},
		budget: flowcontrol.NewTokenBucketPassiveRateLimiter(inquiriesAtOnce, 2*inquiriesAtOnce),
	}
}

// about is what is found out about a revision by its first replica that isn't ready, or
// about itself where it has none; nil for nothing, or not yet.
func (q *inquiries) about(ctx context.Context, revision *servingv1.Revision, pods []*corev1.Pod) *obstacle.Asked {
	pod := obstacle.FirstUnready(pods)
	if !q.due(revision, pod) {
		return nil
	}
	now := q.clock.Now()
	q.mu.Lock()
	last, known := q.known[revision.UID]
	q.mu.Unlock()
	if known && now.Sub(last.at) < inquireAgain || !q.budget.TryAccept() {
		return last.asked
	}
	found, err := q.inquire(ctx, revision, pod)
	if err != nil {
		logging.FromContext(ctx).Warnw("Can't find out what keeps a revision from being ready", "revision", revision.Name, zap.Error(err))
		found = last.asked
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for uid, old := range q.known {
		if now.Sub(old.at) > remembered {
			delete(q.known, uid)
		}
	}
	q.known[revision.UID] = inquiry{at: now, asked: found}
	return found
}

// due tells whether a replica, or a revision without any, has had the time to start.
func (q *inquiries) due(revision *servingv1.Revision, pod *corev1.Pod) bool {
	if pod == nil {
		return q.clock.Since(revision.CreationTimestamp.Time) >= startsFor
	}
	if obstacle.OfPod(pod, q.clock.Now()) != nil {
		return true
	}
	since, running, _ := obstacle.Starts(pod)
	if running {
		return q.clock.Since(since) >= runsFor
	}
	return q.clock.Since(since) >= startsFor
}

func (q *inquiries) inquire(ctx context.Context, revision *servingv1.Revision, pod *corev1.Pod) (*obstacle.Asked, error) {
	ctx, cancel := context.WithTimeout(ctx, inquiryTimeout)
	defer cancel()
	asked, object := &obstacle.Asked{}, revision.UID
	if pod != nil {
		asked.Pod, object = pod.Name, pod.UID
	}
	events, err := q.kube.CoreV1().Events(revision.Namespace).List(ctx, obstacle.EventsOf(object))
	if err != nil {
		return nil, fmt.Errorf("listing events: %w", err)
	}
	asked.Events = events.Items
	if pod == nil || isWarmed(pod) { // the warm-up asks the model itself, and tells
		return asked, nil
	}
	// A pod that has its node's address is none of Knative's, and its ports are the node's.
	if _, running, _ := obstacle.Starts(pod); running && pod.Status.PodIP != "" && pod.Status.PodIP != pod.Status.HostIP {
		asked.Answer = q.ask(ctx, pod.Status.PodIP, revision.Spec.GetContainer())
	}
	return asked, nil
}

// askModel asks a model as its readiness probe does, from outside of its pod. It is asked
// once; of its answer only the status is looked at.
func askModel(ctx context.Context, ip string, model *corev1.Container) *obstacle.Answer {
	port, get := asksFor(model)
	answer := &obstacle.Answer{Container: model.Name, Port: port, Question: fmt.Sprintf("a connection to port %d", port)}
	if get != nil {
		answer.Question = fmt.Sprintf("GET %s at port %d", get.Path, port)
	}
	address := net.JoinHostPort(ip, strconv.Itoa(int(port)))
	dialer := net.Dialer{Timeout: answerTimeout}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		// Anything else may be the way there, which isn't the one that a probe takes.
		answer.Closed = errors.Is(err, syscall.ECONNREFUSED)
		return answer
	}
	_ = connection.Close()
	answer.Open = true
	if get == nil || get.Scheme == corev1.URISchemeHTTPS {
		return answer
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+get.Path, http.NoBody)
	if err != nil {
		return answer
	}
	for _, header := range get.HTTPHeaders {
		if request.Header.Add(header.Name, header.Value); http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
		}
	}
	response, err := toReplicas.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		answer.Failure = fmt.Sprintf("it took longer than %s", answerTimeout)
	case err != nil:
		answer.Failure = errors.Unwrap(err).Error() // without the address
	default:
		answer.Status = response.StatusCode
		_ = response.Body.Close()
	}
	return answer
}

// asksFor is the port that a model's readiness probe asks, and what it gets there; nil where
// it isn't HTTP.
func asksFor(model *corev1.Container) (port int32, get *corev1.HTTPGetAction) {
	port = v1alpha1.PortOf(model)
	probe, asked := model.ReadinessProbe, 0
	switch {
	case probe == nil:
	case probe.HTTPGet != nil:
		get = probe.HTTPGet.DeepCopy()
		get.Path = cmp.Or(get.Path, "/")
		if get.Path[0] != '/' {
			get.Path = "/" + get.Path
		}
		asked = get.Port.IntValue()
	case probe.TCPSocket != nil:
		asked = probe.TCPSocket.Port.IntValue()
	case probe.GRPC != nil:
		asked = int(probe.GRPC.Port)
	}
	if asked > 0 && asked <= 65535 {
		port = int32(asked)
	}
	return port, get
}
