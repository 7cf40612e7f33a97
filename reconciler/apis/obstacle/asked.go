package obstacle

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Answer is what the port of a model did when it was asked as its readiness probe asks.
type Answer struct {
	// Container is the one that is to answer, Question what it was asked, in words.
	Container, Question string
	// Port is the one that was asked; Closed is true if nothing listens there, Open if
	// something does.
	Port         int32
	Closed, Open bool
	// Status is that of an HTTP answer; 0 without one.
	Status int
	// Failure is why there is no answer, "" if there is one.
	Failure string
}

const (
	untilDeadline = " If it is still loading, it has until the progress deadline."
	toListen      = "Have it listen at the port in its variable PORT, at all addresses (0.0.0.0), or name its own in spec.container.ports." + untilDeadline
	toAnswer      = "Have it answer with a status from 200 to 399, or correct spec.container.readinessProbe." + untilDeadline
	toPass        = "Have it pass, or correct spec.container.%s."
)

// obstacle is what was found out about a pod that says nothing, or nothing definite.
func (a *Asked) obstacle(s Seen, pods []*corev1.Pod, said *Obstacle) *Obstacle {
	if a.Pod == "" {
		return ofRevision(a.Events, s)
	}
	i := slices.IndexFunc(pods, func(p *corev1.Pod) bool { return p.Name == a.Pod })
	if i < 0 || !Lives(pods[i]) || Ready(pods[i]) {
		return nil
	}
	o := ofEvents(pods[i], a.Events, said)
	if _, running, _ := Starts(pods[i]); o == nil && said == nil && running && a.Answer != nil {
		o = a.Answer.obstacle(a.Pod)
	}
	if o != nil {
		o.Pod = a.Pod
	}
	return o
}

func (a *Answer) obstacle(pod string) *Obstacle {
	o := &Obstacle{Container: a.Container, MayPass: true, Reason: ReadinessProbeFailed, Remedy: fmt.Sprintf(toPass, "readinessProbe") + untilDeadline}
	who := fmt.Sprintf("Container %s of replica %s", a.Container, pod)
	switch {
	case a.Closed:
		o.Reason, o.Remedy = NotListening, toListen
		o.Message = fmt.Sprintf("%s runs, and nothing listens at port %d of it.", who, a.Port)
	case a.Failure != "":
		o.Message = sentence(fmt.Sprintf("%s gives no answer to its readiness probe, %s: %s", who, a.Question, a.Failure))
	case a.Status >= 200 && a.Status < 400:
		return nil
	case a.Status != 0:
		o.Remedy = toAnswer
		o.Message = fmt.Sprintf("%s answers its readiness probe, %s, with status %d.", who, a.Question, a.Status)
	case a.Open:
		o.Message = fmt.Sprintf("%s listens, and its readiness probe, %s, doesn't pass.", who, a.Question)
	default:
		o.Message = fmt.Sprintf("%s runs, and its readiness probe, %s, doesn't pass.", who, a.Question)
	}
	return o
}

// ofEvents is what the events of a pod say that it doesn't say itself. What happened since
// takes back what was said before.
func ofEvents(pod *corev1.Pod, events []corev1.Event, said *Obstacle) *Obstacle {
	events = slices.SortedFunc(slices.Values(events), func(a, b corev1.Event) int { return When(b).Compare(When(a)) })
	_, running, _ := Starts(pod)
	for _, e := range events {
		switch {
		case said != nil && said.Reason == ImagePullFailed:
			if e.Reason == "Failed" && strings.Contains(e.Message, "pull image") {
				if o := ofImage(e.Message); o.Reason != ImagePullFailed {
					o.Container, o.Message = said.Container, fmt.Sprintf("Container %s of replica %s gets no image: %s", said.Container, pod.Name, o.Message)
					return &o
				}
			}
		case e.Reason == "Unhealthy":
			if o := unhealthy(pod, e, said); o != nil {
				return o
			}
		case said != nil || running:
		case e.Reason == "FailedMount" || e.Reason == "FailedAttachVolume":
			o := say(mounted, e.Message)
			o.Message = sentence(fmt.Sprintf("A volume of replica %s can't be mounted: %s", pod.Name, e.Message))
			return &o
		case e.Reason == "FailedCreatePodSandBox":
			o := say(sandbox, e.Message)
			o.Message = sentence(fmt.Sprintf("Replica %s can't be begun: %s", pod.Name, e.Message))
			return &o
		case e.Type == corev1.EventTypeNormal && e.Reason != "Scheduled":
			return nil // it has come further since
		}
	}
	return nil
}

// unhealthy is a probe that the kubelet asks. The readiness of queue-proxy is of no help:
// it is that of the model, which says more itself.
func unhealthy(pod *corev1.Pod, e corev1.Event, said *Obstacle) *Obstacle {
	container := ""
	if m := inContainer.FindStringSubmatch(e.InvolvedObject.FieldPath); m != nil {
		container = m[1]
	}
	kind, message, _ := strings.Cut(e.Message, " probe failed: ")
	killed := said != nil && said.ExitCode != nil && said.Container == container
	o := &Obstacle{Container: container, MayPass: true}
	switch {
	case container == "" || container == queueProxy || said != nil && !killed:
		return nil
	case kind == "Liveness" && killed:
		o.Reason, o.Remedy = LivenessProbeFailed, fmt.Sprintf(toPass, "livenessProbe")
		o.ExitCode, o.MayPass = said.ExitCode, said.MayPass
		message = strings.TrimSuffix(message, ".") + "; it is killed and started again."
	case kind == "Startup":
		o.Reason, o.Remedy = StartupProbeFailed, fmt.Sprintf(toPass, "startupProbe")+untilDeadline
	case kind == "Readiness" && !killed:
		o.Reason, o.Remedy = ReadinessProbeFailed, fmt.Sprintf(toPass, "readinessProbe")+untilDeadline
	default:
		return nil
	}
	o.Message = sentence(fmt.Sprintf("The %s probe of container %s of replica %s fails: %s", strings.ToLower(kind), container, pod.Name, message))
	return o
}

// queueProxy is Knative's container (serving pkg/reconciler/revision/resources).
const queueProxy = "queue-proxy"

var inContainer = regexp.MustCompile(`^spec\.(?:initContainers|containers)\{(.+)\}$`)
