package census

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/serving"
)

func TestCensus(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	pod := func(model, uid string, ready, ending bool) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Labels: map[string]string{serving.ServiceLabelKey: model}}}
		if ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		if ending {
			p.DeletionTimestamp = &metav1.Time{Time: began}
		}
		return p
	}
	c := empty()
	c.note(at(0), nil)
	c.note(at(10), []corev1.Pod{pod("m", "1", false, false), pod("other", "9", true, false)})
	c.note(at(12), []corev1.Pod{pod("m", "1", true, false), pod("m", "2", false, false)})
	c.note(at(17), []corev1.Pod{pod("m", "1", true, false), pod("m", "2", true, false)})
	c.note(at(20), []corev1.Pod{pod("m", "1", true, true), pod("m", "2", true, false)})
	c.note(at(30), nil)
	for _, tt := range []struct {
		from, to int
		want     Span
	}{
		{0, 40, Span{2 + 2*8 + 10, 5 + 2*3 + 10, 2}},
		{0, 11, Span{1, 0, 1}},
		{11, 15, Span{1 + 2*3, 3, 2}},
		{25, 29, Span{4, 4, 1}},
		{30, 40, Span{}},
	} {
		if got := c.Between("m", at(tt.from), at(tt.to)); got != tt.want {
			t.Errorf("from %d to %d s: %+v, want %+v", tt.from, tt.to, got, tt.want)
		}
	}
	if least, ok := c.Shortest("m"); !ok || least != 2*time.Second {
		t.Errorf("the shortest start is %s, %t", least, ok)
	}
	if _, ok := c.Shortest("none"); ok {
		t.Error("a Model without replicas has a start")
	}
}
