package obstacle

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ofContainer is what a container says; nil for nothing.
func ofContainer(pod *corev1.Pod, c corev1.ContainerStatus) *Obstacle {
	var o Obstacle
	waiting, ended := c.State.Waiting, c.State.Terminated
	if ended == nil {
		ended = c.LastTerminationState.Terminated
	}
	who := fmt.Sprintf("Container %s of replica %s", c.Name, pod.Name)
	switch {
	case waiting != nil && strings.Contains(waiting.Reason, "Image"):
		o = ofImage(waiting.Reason + ": " + waiting.Message)
		o.Message = fmt.Sprintf("%s gets no image: %s", who, o.Message)
	case waiting != nil && starts[waiting.Reason] == "" && waiting.Reason != "":
		o = say(configured, withoutWrapping(waiting.Message))
		o.Message = fmt.Sprintf("%s can't be started: %s", who, o.Message)
	case ended != nil && (ended.Reason == "StartError" || ended.Reason == "ContainerCannotRun"):
		o = say(cannotStart, withoutWrapping(ended.Message))
		o.Message, o.ExitCode = fmt.Sprintf("%s can't be started: %s", who, o.Message), &ended.ExitCode
	case ended != nil:
		o = ofEnd(ended)
		o.Message = fmt.Sprintf("%s ended %s", who, o.Message)
		if o.Reason == ContainerExited {
			o.Remedy += fmt.Sprintf(" Its whole log: kubectl logs -n %s %s -c %s --previous.", pod.Namespace, pod.Name, c.Name)
		}
	default:
		return nil
	}
	o.Pod, o.Container = pod.Name, c.Name
	o.MayPass = o.ExitCode != nil && c.RestartCount < crashes
	return &o
}

// starts are what a container waits for that begins, or begins anew.
var starts = map[string]string{"ContainerCreating": "its volumes", "PodInitializing": "others", "CrashLoopBackOff": "a while"}

// ofEnd is how a container ended.
func ofEnd(end *corev1.ContainerStateTerminated) Obstacle {
	o := Obstacle{Reason: ContainerExited, Remedy: remedyOfExit(end.ExitCode), ExitCode: &end.ExitCode}
	how := fmt.Sprintf("with exit code %d", end.ExitCode)
	if end.Reason == OOMKilled {
		o.Reason, how = OOMKilled, "for lack of memory, "+how
		o.Remedy = "Raise its memory in spec.container.resources.limits, or have the model take less."
	}
	o.Message = sentence(how + lastLines(end.Message))
	return o
}

func remedyOfExit(code int32) string {
	switch code {
	case 0:
		return "A model has to serve until it is stopped: keep its process in the foreground."
	case 126, 127:
		return "Correct spec.container.command and args: what they name has to be in the image, executable, and built for the node."
	case 137, 143:
		return "Something killed it: see its livenessProbe, its memory and its node."
	}
	return "Mend what its last lines tell of."
}

// lastLines are the last of what a container said before it ended: its termination message,
// or what Kubernetes took from its log, as Knative has it do (FallbackToLogsOnError).
func lastLines(message string) string {
	message = strings.TrimSpace(message)
	if len(message) > longestEnd {
		message = message[len(message)-longestEnd:]
		if cut := strings.IndexByte(message, '\n'); cut >= 0 && cut < len(message)-1 {
			message = message[cut+1:]
		}
		message = strings.ToValidUTF8(message, "")
	}
	if message == "" {
		return ""
	}
	return ": " + strings.Join(strings.FieldsFunc(message, func(r rune) bool { return r == '\n' || r == '\r' }), " | ")
}

// withoutWrapping is what is at the heart of what a container runtime says.
func withoutWrapping(message string) string {
	for _, wrapping := range []string{"error during container init: ", "OCI runtime create failed: ", "OCI runtime exec failed: "} {
		if _, after, found := strings.Cut(message, wrapping); found {
			message = after
		}
	}
	return message
}
