package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// What was killed is there again only as another life, and Ready.
func TestStands(t *testing.T) {
	pod := func(uid string, restarts int32, phase corev1.PodPhase, ready bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}, Status: corev1.PodStatus{Phase: phase}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: restarts}}
		if ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		return p
	}
	before := map[string]int32{"old": 2}
	for name, tt := range map[string]struct {
		pod                *corev1.Pod
		inPlace, replacing bool
	}{
		"as before, as nobody has seen that it ended": {pod("old", 2, corev1.PodRunning, true), false, false},
		"started anew, and not Ready":                 {pod("old", 3, corev1.PodRunning, false), false, false},
		"started anew":                                {pod("old", 3, corev1.PodRunning, true), true, false},
		"another":                                     {pod("new", 0, corev1.PodRunning, true), true, true},
		"another, which starts":                       {pod("new", 0, corev1.PodPending, false), false, false},
		"another, which was quick":                    {pod("new", 0, corev1.PodSucceeded, false), false, true},
		"another, which failed":                       {pod("new", 0, corev1.PodFailed, false), false, false},
	} {
		if got := (victim{}).stands(tt.pod, before); got != tt.inPlace {
			t.Errorf("%s: in its place is %t", name, got)
		}
		if got := (victim{replaced: true}).stands(tt.pod, before); got != tt.replacing {
			t.Errorf("%s: of a Job is %t", name, got)
		}
	}
}
