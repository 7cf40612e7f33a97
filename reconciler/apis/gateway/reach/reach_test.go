package reach

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Nothing is sent to an address that isn't the gateway pod's any more.
func TestDial(t *testing.T) {
	t.Parallel()
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-gateways", Name: "shared-a"}}
		p.Status.PodIP = "127.0.0.1"
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		change(p)
		return p
	}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want bool
	}{
		{"a pod that is there", pod(func(*corev1.Pod) {}), true},
		{"one that has gone", nil, false},
		{"one that is going", pod(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), false},
		{"one that isn't ready", pod(func(p *corev1.Pod) { p.Status.Conditions = nil }), false},
		{"one that is elsewhere now", pod(func(p *corev1.Pod) { p.Status.PodIP = "127.1.0.9" }), false},
		{"another of the address", pod(func(p *corev1.Pod) { p.Name = "shared-b" }), false},
	} {
		var there []any
		if c.pod != nil {
			there = append(there, c.pod)
		}
		if err := pods.Replace(there, ""); err != nil {
			t.Fatal(err)
		}
		has := In(corev1listers.NewPodLister(pods).Pods("sluice-gateways"))
		conn, err := has.Dial("shared-a", "127.0.0.1")(t.Context(), "tcp", "any.example:"+port)
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
}

// A pod is asked by several at once until one gets no answer, and by one from then on.
func TestDoor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		d := NewDoor(4)
		var dead atomic.Bool
		var under, most atomic.Int32
		ask := func() {
			leave, err := d.Enter(t.Context(), dead.Load)
			if err != nil {
				return
			}
			defer leave()
			most.Store(max(most.Load(), under.Add(1)))
			time.Sleep(timeout)
			dead.Store(true)
			under.Add(-1)
		}
		for range 10 {
			go ask()
		}
		synctest.Wait()
		if under.Load() != 4 {
			t.Errorf("%d at once at first, want 4", under.Load())
		}
		time.Sleep(timeout + timeout/2)
		most.Store(0)
		time.Sleep(10 * timeout)
		if most.Load() != 0 && most.Load() != 1 || under.Load() != 0 {
			t.Errorf("%d at once to one that doesn't answer, %d still", most.Load(), under.Load())
		}
		ctx, leaves := context.WithCancel(t.Context())
		leaves()
		if _, err := d.Enter(ctx, func() bool { return true }); err == nil && len(d.suspects) == 0 {
			t.Error("entered, and no turn is taken")
		}
	})
}
