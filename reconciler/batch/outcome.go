package batch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/functions/batch/task"
)

// outcome is what a pod of a run ended with.
type outcome struct {
	pod string
	// shard is the index that it had, as Kubernetes writes it.
	shard string
	at    time.Time
	// exit is the code of its container, and killedBy why that was killed, as Kubernetes says.
	exit     int32
	killedBy string
	// report is what it says itself, where it was told; text what else it said last.
	report task.Report
	told   bool
	text   string
}

// outcomeOf reads what a pod ended with; false for one that hasn't.
func outcomeOf(pod *corev1.Pod) (outcome, bool) {
	if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		return outcome{}, false
	}
	o := outcome{pod: pod.Name, shard: pod.Labels[batchv1.JobCompletionIndexAnnotation], at: pod.CreationTimestamp.Time, killedBy: pod.Status.Reason}
	for _, c := range pod.Status.ContainerStatuses {
		end := c.State.Terminated
		if end == nil {
			continue
		}
		o.at, o.exit = end.FinishedAt.Time, end.ExitCode
		if end.Reason == oomKilled {
			o.killedBy = oomKilled
		}
		if o.told = json.Unmarshal([]byte(end.Message), &o.report) == nil; !o.told {
			o.report, o.text = task.Report{}, end.Message
		}
	}
	if pod.Status.Phase == corev1.PodFailed && o.exit == 0 {
		o.exit = endedByNode
	}
	return o, true
}

const (
	oomKilled = "OOMKilled"
	// endedByNode is the code of a pod whose container had none to tell.
	endedByNode = -1
)

// successes are the reports of the pods that did what they were to do, by shard: of two that
// worked on the same one, which may be, both tell of what is in the output. What plans a run
// has no shard.
func successes(pods []*corev1.Pod) map[string]task.Report {
	out := map[string]task.Report{}
	for _, pod := range slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) }) {
		o, ended := outcomeOf(pod)
		if _, known := out[o.shard]; ended && !known && o.told && o.exit == 0 && pod.Status.Phase == corev1.PodSucceeded {
			out[o.shard] = o.report
		}
	}
	return out
}

// lastFailure is the outcome that says most of why a Job fails: one that no other attempt
// would mend, or else the latest.
func lastFailure(pods []*corev1.Pod) (outcome, bool) {
	var last outcome
	found := false
	for _, pod := range pods {
		o, ended := outcomeOf(pod)
		if !ended || o.exit == 0 {
			continue
		}
		if !found || rank(o) > rank(last) || (rank(o) == rank(last) && (o.at.After(last.at) || o.at.Equal(last.at) && o.pod < last.pod)) {
			last, found = o, true
		}
	}
	return last, found
}

func rank(o outcome) int {
	switch {
	case o.exit == task.ExitFinal:
		return 2
	case o.report.Reason != "" && o.report.Reason != task.Interrupted:
		return 1
	}
	return 0
}

// whyFailed is why a Job has failed, with what is to be done about it.
func whyFailed(job *batchv1.Job, pods []*corev1.Pod) (reason, message string) {
	if o, ok := lastFailure(pods); ok {
		return o.reason(), o.sentence()
	}
	end := over(job)
	return reasonWorkerFailed, fmt.Sprintf("Job %q says %s: %s.", job.Name, end.Reason, strings.TrimSuffix(end.Message, "."))
}

// reason is one of those that are explained: what a pod says isn't repeated unseen.
func (o outcome) reason() string {
	switch {
	case o.killedBy == oomKilled:
		return oomKilled
	case o.report.Reason == task.Failed || remedies[o.report.Reason] == "":
		return reasonWorkerFailed
	}
	return o.report.Reason
}

// sentence is what happened, and what is to be done.
func (o outcome) sentence() string {
	says := shortened(cmp.Or(o.report.Message, o.text))
	if says == "" {
		says = fmt.Sprintf("Pod %s ended with exit code %d", o.pod, o.exit)
		if o.exit == endedByNode {
			says = fmt.Sprintf("Pod %s was ended by its node", o.pod)
		}
		if o.killedBy != "" {
			says += ", " + o.killedBy
		}
	}
	if !strings.HasSuffix(says, ".") && !strings.HasSuffix(says, "…") {
		says += "."
	}
	return says + " " + remedies[o.reason()]
}

// longestSaid bounds what is repeated of what a pod says, in bytes.
const longestSaid = 600

func shortened(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "")
	if len(text) > longestSaid {
		return strings.ToValidUTF8(text[:longestSaid], "") + "…"
	}
	return text
}
