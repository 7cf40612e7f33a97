package capacity

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, after int, reason string) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: reason + "!", LastTransitionTime: metav1.NewTime(at(after))}
}

func podWith(status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", CreationTimestamp: metav1.NewTime(noon)}, Status: status}
}

func TestStartsOf(t *testing.T) {
	scheduled, unready := condition(corev1.PodScheduled, corev1.ConditionTrue, 1, ""), condition(corev1.PodReady, corev1.ConditionFalse, 2, "ContainersNotReady")
	waits := func(reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "model", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "so"}}}
	}
	crashed := corev1.ContainerStatus{Name: "model", RestartCount: 2, LastTerminationState: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: 7},
	}}
	again := crashed
	again.RestartCount, again.State = 1, waits("CrashLoopBackOff").State
	going := podWith(corev1.PodStatus{})
	going.DeletionTimestamp = &metav1.Time{Time: at(5)}
	for name, test := range map[string]struct {
		pod    *corev1.Pod
		want   Pod
		reason string
		says   string
	}{
		"ready":             {podWith(corev1.PodStatus{Conditions: []corev1.PodCondition{scheduled, condition(corev1.PodReady, corev1.ConditionTrue, 9, "")}}), Pod{Scheduled: at(1), Since: at(9), Ready: true}, "", ""},
		"starts":            {podWith(corev1.PodStatus{Conditions: []corev1.PodCondition{scheduled, unready}, ContainerStatuses: []corev1.ContainerStatus{waits("ContainerCreating")}}), Pod{Scheduled: at(1), Since: at(2)}, "", ""},
		"without a node":    {podWith(corev1.PodStatus{Conditions: []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionFalse, 1, "Unschedulable")}}), Pod{}, "Unschedulable", "Unschedulable!"},
		"without its image": {podWith(corev1.PodStatus{Conditions: []corev1.PodCondition{scheduled, unready}, ContainerStatuses: []corev1.ContainerStatus{waits("ImagePullBackOff")}}), Pod{Scheduled: at(1), Since: at(2)}, "ImagePullFailed", "Container model of replica p gets no image: so."},
		"crashes":           {podWith(corev1.PodStatus{Conditions: []corev1.PodCondition{scheduled, unready}, ContainerStatuses: []corev1.ContainerStatus{crashed}}), Pod{Scheduled: at(1), Since: at(2), Restarted: true}, "ContainerExited", "exit code 7"},
		"crashes at first":  {podWith(corev1.PodStatus{Conditions: []corev1.PodCondition{scheduled, unready}, InitContainerStatuses: []corev1.ContainerStatus{crashed}}), Pod{Scheduled: at(1), Since: at(2), Restarted: true}, "ContainerExited", "exit code 7"},
		"ended once":        {podWith(corev1.PodStatus{Conditions: []corev1.PodCondition{scheduled, unready}, ContainerStatuses: []corev1.ContainerStatus{again}}), Pod{Scheduled: at(1), Since: at(2), Restarted: true}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pods := StartsOf([]*corev1.Pod{going, podWith(corev1.PodStatus{Phase: corev1.PodFailed}), test.pod}, nil).Pods
			if len(pods) != 1 {
				t.Fatalf("%d pods count", len(pods))
			}
			got, reason, says := pods[0], "", ""
			if got.Obstacle != nil {
				reason, says = got.Obstacle.Reason, got.Obstacle.Message
			}
			got.Obstacle, test.want.Name, test.want.Made = nil, "p", noon
			if got != test.want || reason != test.reason || !strings.Contains(says, test.says) {
				t.Errorf("got %+v, %s: %s", got, reason, says)
			}
		})
	}
}

func TestStartsOfDeployment(t *testing.T) {
	seconds := int32(90)
	got := StartsOf(nil, &appsv1.Deployment{
		Spec: appsv1.DeploymentSpec{ProgressDeadlineSeconds: &seconds},
		Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
			Message: strings.Repeat("é", 5000), LastTransitionTime: metav1.NewTime(at(3)),
		}}},
	})
	if got.Deadline != 90*time.Second || got.Refused == nil || got.Refused.Reason != "PodRefused" || !got.Refused.Since.Equal(at(3)) {
		t.Errorf("got %+v", got)
	}
	if m := got.Refused.Message; len(m) > 1000 || !utf8.ValidString(m) {
		t.Errorf("a message of %d bytes: %q", len(m), m)
	}
	if got := StartsOf(nil, &appsv1.Deployment{}); got.Deadline != defaultDeadline || got.Refused != nil {
		t.Errorf("nothing said is %+v", got)
	}
}
