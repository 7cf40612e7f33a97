//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// users are asked for in each round of TestCallersKeepTheirRevision.
const users = 600

// Callers who say who they are stay at one revision of a split: at each gateway pod,
// through scale changes, and, those whom it had, when it gets more. By header and by
// cookie; who says nothing is split by chance.
func TestCallersKeepTheirRevision(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	const model = "ranker"
	rate := resource.MustParse("10000")
	s.create(s.ranker(model, constant, func(m *v1alpha1.Model) {
		m.Spec.Limit.RequestsPerSecondPerReplica = &rate
		m.Spec.Autoscaling.Target = ptr.Int32(1000)
		m.Spec.Rollout.Percent = ptr.Int32(0)
		m.Spec.SplitBy = &v1alpha1.SplitKey{Header: "X-User"}
	}))
	endpoint := s.serving(model)
	s.release(model, "2")
	var variant string
	s.until(rolledWithin, "a second revision", func(context.Context) (string, error) {
		now := s.rolling(model)
		if variant = now.To.Name(); now.Phase != v1alpha1.RolloutPaused || variant == now.From.Name() || now.From.Name() == "" {
			return fmt.Sprintf("%+v", now), nil
		}
		return "", nil
	})
	poll := func(key string) map[int]bool {
		return s.poll(variant, endpoint, func(user int, to http.Header) {
			switch key {
			case "header":
				to.Set("X-User", fmt.Sprint("user-", user))
			case "cookie":
				to.Set("Cookie", fmt.Sprintf("other=1; uid=user-%d", user))
			}
		})
	}

	s.share(model, variant, 30)
	before := poll("header")
	s.near("by header", before, 0.3)
	s.same("a second time", before, poll("header"))

	s.patch(model, fmt.Sprintf(`{"spec": {"autoscaling": {"minReplicas": %d}}}`, serves+1))
	s.until(rolledWithin, "more replicas", func(context.Context) (string, error) {
		if n := len(s.podsOf(variant)); n < 2 {
			return fmt.Sprintf("%d pods", n), nil
		}
		return "", nil
	})
	s.same("with more replicas", before, poll("header"))

	s.share(model, variant, 50)
	after := poll("header")
	s.near("by header", after, 0.5)
	for user := range users {
		if before[user] && !after[user] {
			t.Errorf("user %d is no longer at %s, which has more requests now", user, variant)
		}
	}
	s.near("by chance", poll(""), 0.5)

	s.patch(model, `{"spec": {"splitBy": {"header": null, "cookie": "uid"}}}`)
	s.until(readyWithin, "callers to be told apart by a cookie", func(context.Context) (string, error) {
		before = poll("cookie")
		if n := differ(before, poll("cookie")); n > 0 {
			return fmt.Sprintf("%d of %d users are elsewhere", n, users), nil
		}
		return "", nil
	})
	s.near("by cookie", before, 0.5)

	s.patch(model, `{"spec": {"splitBy": null}}`)
	filter := gateway.VirtualServiceName(s.namespace, model)
	s.until(readyWithin, "the EnvoyFilter to go", func(ctx context.Context) (string, error) {
		_, err := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).Get(ctx, filter, metav1.GetOptions{})
		if apierrs.IsNotFound(err) {
			return "", nil
		}
		return filter + " is there", err
	})
	s.until(readyWithin, "callers to be told apart no more", func(context.Context) (string, error) {
		if differ(poll("cookie"), poll("cookie")) == 0 {
			return "they are", nil
		}
		return "", nil
	})
}

// share gives a revision some percent of a Model's requests.
func (s *stage) share(model, revision string, percent int64) {
	s.Helper()
	s.patch(model, fmt.Sprintf(`{"spec": {"traffic": [{"revisionName": %q, "percent": %d}]}}`, revision, percent))
	s.until(rolledWithin, fmt.Sprintf("%d percent for %s", percent, revision), func(ctx context.Context) (string, error) {
		service, err := s.Serving.ServingV1().Services(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if split := s.split(model); split[revision] != percent || !service.IsReady() || service.Generation != service.Status.ObservedGeneration {
			return fmt.Sprintf("%v, conditions %v", split, service.Status.Conditions), nil
		}
		return "", nil
	})
}

// poll asks once for each user and returns who was served by a revision. Every so often
// it opens another connection, which may be to another gateway pod.
func (s *stage) poll(revision string, endpoint platform.Endpoint, sign func(user int, to http.Header)) map[int]bool {
	s.Helper()
	at := map[int]bool{}
	transport := endpoint.Transport()
	defer transport.CloseIdleConnections()
	for user := range users {
		if user%10 == 0 {
			transport.CloseIdleConnections()
		}
		request, err := http.NewRequestWithContext(s.Context(), http.MethodPost, endpoint.URL(platform.InferPath), bytes.NewReader(cluster.request))
		if err != nil {
			s.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		sign(user, request.Header)
		response, err := transport.RoundTrip(request)
		if err != nil {
			s.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		served, ok := platform.ReadServed(load.Answer{Status: response.StatusCode, Header: response.Header})
		if !ok {
			s.Fatalf("user %d was answered with status %d and headers %v", user, response.StatusCode, response.Header)
		}
		at[user] = strings.HasPrefix(served.Replica, revision+"-")
	}
	return at
}

// near checks a share, within four standard deviations of so many users.
func (s *stage) near(how string, at map[int]bool, share float64) {
	s.Helper()
	n := 0
	for _, there := range at {
		if there {
			n++
		}
	}
	got, off := float64(n)/users, 4*math.Sqrt(share*(1-share)/users)
	s.Logf("%s: %.1f %% of %d users, asked for %.0f %%", how, 100*got, users, 100*share)
	if math.Abs(got-share) > off {
		s.Errorf("%s: %.3f of the users are there, want %.3f ± %.3f", how, got, share, off)
	}
}

func (s *stage) same(when string, before, after map[int]bool) {
	s.Helper()
	if n := differ(before, after); n > 0 {
		s.Errorf("%s %d of %d users are elsewhere", when, n, users)
	}
}

// differ counts the users who are elsewhere.
func differ(before, after map[int]bool) int {
	n := 0
	for user, there := range before {
		if after[user] != there {
			n++
		}
	}
	return n
}
