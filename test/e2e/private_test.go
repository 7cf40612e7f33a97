//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/network"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// A private Model isn't there for callers outside, whatever host they name, and answers
// those inside, within its limit. It becomes public, and private again, without a new
// revision.
func TestPrivateModel(t *testing.T) {
	t.Parallel()
	const limit, seconds = 20, 5
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("20"), func(m *v1alpha1.Model) {
		m.Labels = map[string]string{networking.VisibilityLabelKey: serving.VisibilityClusterLocal}
	}))
	inside, public := network.GetServiceHostname("ranker", s.namespace), "ranker."+s.publicDomain()
	if at := s.serving("ranker"); at.Host != inside {
		t.Errorf("a private Model says to be at %s, want %s", at.Host, inside)
	}
	before := s.revisions("ranker")
	local := platform.Endpoint{Address: s.localAddress(gateway.Shared), Host: inside}
	s.hidden(public, inside)
	s.predict(local)
	if got := s.run(plan(local, load.Schedule{load.Hold(2*limit, seconds*time.Second)})).Total.Admitted; got > most(limit, seconds) {
		t.Errorf("%d admitted inside in %d s, at a limit of %d/s", got, seconds, limit)
	}

	s.patch("ranker", fmt.Sprintf(`{"metadata": {"labels": {%q: null}}}`, networking.VisibilityLabelKey))
	s.movesTo("ranker", public)
	s.answers(public, http.StatusOK)
	s.predict(platform.Endpoint{Address: cluster.address, Host: public})
	s.predict(local)

	s.patch("ranker", fmt.Sprintf(`{"metadata": {"labels": {%q: %q}}}`, networking.VisibilityLabelKey, serving.VisibilityClusterLocal))
	s.movesTo("ranker", inside)
	s.answers(public, http.StatusNotFound)
	s.hidden(public, inside)
	s.predict(local)
	if after := s.revisions("ranker"); !slices.Equal(before, after) {
		t.Errorf("revisions %q became %q", before, after)
	}
}

// hidden checks that hosts are not found from outside.
func (s *stage) hidden(hosts ...string) {
	s.Helper()
	for _, host := range hosts {
		if got, err := ask(s.Context(), cluster.address, "http://"+host+readyPath); err != nil || got.status != http.StatusNotFound {
			s.Errorf("%s from outside: status %d, error %v, want 404", host, got.status, err)
		}
	}
}

// movesTo waits until a Model is Ready at a host.
func (s *stage) movesTo(model, host string) {
	s.Helper()
	s.until(readyWithin, "Model "+model+" to be at "+host, func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !m.IsReady() || m.Status.URL == nil || m.Status.URL.Host != host {
			return fmt.Sprintf("at %v, %+v", m.Status.URL, m.Status.GetCondition(v1alpha1.ModelConditionReady)), nil
		}
		return "", nil
	})
}
