package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/report"
)

func TestAlternateGivesNobodyTheFirstTurn(t *testing.T) {
	var order []way
	got, err := alternate(4, func(w way) ([]float64, error) {
		order = append(order, w)
		return []float64{float64(w), float64(len(order))}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []way{byOurs, byOther, byOther, byOurs, byOurs, byOther, byOther, byOurs}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if want := []float64{0, 1, 0, 4, 0, 5, 0, 8}; !slices.Equal(got.ours, want) {
		t.Errorf("ours %v, want %v", got.ours, want)
	}
	if want := []float64{1, 2, 1, 3, 1, 6, 1, 7}; !slices.Equal(got.byHand, want) {
		t.Errorf("by hand %v, want %v", got.byHand, want)
	}
}

func TestAlternateEndsAtAnError(t *testing.T) {
	broken := errors.New("refused")
	n := 0
	_, err := alternate(10, func(way) ([]float64, error) { n++; return nil, broken })
	if !errors.Is(err, broken) || n != 1 {
		t.Errorf("error %v after %d turns", err, n)
	}
}

func TestRecorderKeepsTheFirstSighting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		arm := arm{name: "sluice"}
		r.begin("sluice-0")
		r.begin("hand-0")
		go func() {
			time.Sleep(2 * time.Second)
			r.note("hand-0", podReady, time.Now())
			r.note("sluice-0", podReady, time.Now())
			time.Sleep(time.Second)
			r.note("sluice-0", podReady, time.Now())
			r.note("sluice-0", revisionReady, time.Now())
			r.note("rehearsal", podReady, time.Now())
		}()
		if err := r.wait(t.Context(), "sluice-0", revisionReady); err != nil {
			t.Fatal(err)
		}
		if got := r.after(arm, podReady); !slices.Equal(got, []float64{2}) {
			t.Errorf("pod ready after %v, want 2 s", got)
		}
		if got := r.after(arm, revisionReady); !slices.Equal(got, []float64{3}) {
			t.Errorf("revision ready after %v, want 3 s", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.wait(ctx, "sluice-0", modelReady); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), string(modelReady)) {
			t.Errorf("error %v", err)
		}
	})
}

func TestWhatIsSeenOfAPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "any", Labels: map[string]string{serving.ServiceLabelKey: "sluice-1"}}}
	if run, reached := lookAtPod(pod); run != "sluice-1" || !slices.Equal(reached, []milestone{podCreated}) {
		t.Errorf("run %q reached %v", run, reached)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if _, reached := lookAtPod(pod); !slices.Equal(reached, []milestone{podCreated, podReady}) {
		t.Errorf("reached %v", reached)
	}
}

func TestWhoseRouteItIs(t *testing.T) {
	byHand := handRoute("hand-3", "hand-3-00001")
	ours := byHand.DeepCopy()
	ours.Name = gateway.VirtualServiceName(namespace, "sluice-3")
	foreign := byHand.DeepCopy()
	foreign.Name = gateway.VirtualServiceName("elsewhere", "sluice-3")
	for _, c := range []struct {
		name string
		want string
	}{{byHand.Name, "hand-3"}, {ours.Name, "sluice-3"}, {foreign.Name, ""}} {
		route := byHand.DeepCopy()
		route.Name = c.name
		if run, _ := lookAtRoute(route); run != c.want {
			t.Errorf("%s is the route of %q, want %q", c.name, run, c.want)
		}
	}
}

// straight is what would be measured if each route cost the same.
func straight(routes int) level {
	n := float64(routes)
	at := level{routes: routes, config: 200*kibi + n*20*kibi}
	for i := range 3 {
		at.changes = append(at.changes, change{
			ready: 0.2 + n/2000, writes: 7 + float64(i%2), pushes: float64(gateways * (1 + i%2)),
			pushed:         float64(1+i%2) * (10*kibi + n*5*kibi),
			controllerHeap: 18*mebi + n*50*kibi, istiodHeap: 47*mebi + n*130*kibi,
		})
	}
	return at
}

func TestStraightGrowthHoldsItsBounds(t *testing.T) {
	var measured []level
	for _, routes := range levels {
		measured = append(measured, straight(routes))
	}
	if missed := judged(measured); len(missed) > 0 {
		t.Errorf("missed: %v", missed)
	}
}

func TestBend(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{1, 2, 3, 4}, 1},
		{[]float64{0, 1, 4, 9}, 2.6},
		{[]float64{0, 1, 4}, 3},
		{[]float64{10, 8, 6, 4}, 1},
	} {
		if got := bend(c.values); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v bends by %v, want %v", c.values, got, c.want)
		}
	}
}

func TestGrowthThatIsNotStraightMisses(t *testing.T) {
	for want, spoil := range map[string]func(*level){
		"gateway's configuration": func(l *level) { l.config += float64(l.routes*l.routes) * kibi },
		"controller's heap":       each(func(c *change, n float64) { c.controllerHeap += n * n * kibi }),
		"each time":               each(func(c *change, n float64) { c.pushed += n * n * c.pushes * kibi }),
		"one more Ready":          each(func(c *change, n float64) { c.ready += n / 500 }),
		"API writes":              each(func(c *change, n float64) { c.writes += n }),
	} {
		var measured []level
		for _, routes := range levels {
			at := straight(routes)
			spoil(&at)
			measured = append(measured, at)
		}
		if missed := judged(measured); len(missed) != 1 || !strings.Contains(missed[0], want) {
			t.Errorf("%s: missed %q", want, missed)
		}
	}
}

func each(spoil func(c *change, routes float64)) func(*level) {
	return func(l *level) {
		for i := range l.changes {
			spoil(&l.changes[i], float64(l.routes))
		}
	}
}

// judged returns the figures that miss their bounds.
func judged(measured []level) []string {
	b := &bench{report: report.New("any", time.Time{})}
	b.reportRoutes(measured)
	var missed []string
	for _, figure := range b.report.Figures {
		if figure.Verdict == report.Missed {
			missed = append(missed, fmt.Sprintf("%s: %s", figure.Part, figure.Name))
		}
	}
	return missed
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		want      string
	}{
		{[]string{"-image", "i", "-kubeconfig", "k"}, ""},
		{[]string{"-image", "i", "-kubeconfig", "k", "-only", "path,routes"}, ""},
		{[]string{"-image", "i", "-kubeconfig", "k", "-only", "paths"}, `no part is called "paths"`},
		{[]string{"-kubeconfig", "k"}, "-image is required"},
		{[]string{"-image", "i", "-kubeconfig", "k", "more"}, "unexpected argument"},
	} {
		_, err := parse(c.arguments)
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: error %v, want %q", c.arguments, err, c.want)
		}
	}
}
