//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/asked"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Whoever may read a Model asks what would come of it, of the demand that it really had, and
// nobody else does.
func TestWhatIf(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker"))
	endpoint := s.serving("ranker")
	for _, account := range []string{"planner", "stranger"} {
		s.made(s.Kube.CoreV1().ServiceAccounts(s.namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{}))
	}
	s.made(s.Kube.RbacV1().RoleBindings(s.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "planner"}, RoleRef: roleRef("view"),
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "planner"}},
	}, metav1.CreateOptions{}))
	controller := "http://" + s.clusterIP(sluice.SystemNamespace, "controller")
	ofRanker := controller + "/v1/whatif/" + s.namespace + "/ranker"
	planner, stranger := s.token(s.namespace, "planner", asked.Audience), s.token(s.namespace, "stranger", asked.Audience)

	// One replica serves 10 of these in a second; three are what it is asked about.
	end := s.offer(endpoint, 10)
	const question = `{"changed": {"spec": {"autoscaling": {"minReplicas": 3}}}, "goal": {"within": "1s"}, "runs": 3}`
	var answer asked.Answer
	s.until(time.Minute, "an answer about some seconds of demand", func(ctx context.Context) (string, error) {
		status, text, err := post(ctx, ofRanker, planner, question)
		if err != nil || status != http.StatusOK {
			return fmt.Sprint(status, " ", text, err), nil // nothing may be recorded yet
		}
		answer = asked.Answer{}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return "", err
		}
		if answer.Model.Offered.Median < 30 {
			return fmt.Sprintf("%+v", answer.Model.Offered), nil
		}
		return "", nil
	})
	s.noneFailed(end())
	if answer.Changed == nil || answer.Difference == nil || answer.Difference.ReplicaSeconds.Median <= 0 || answer.To.Sub(answer.From) < 3*time.Second {
		t.Errorf("three replicas instead of one: %+v", answer)
	} else {
		t.Logf("of %d seconds, three replicas would have taken %.0f replica-seconds more than %.0f", answer.Seconds,
			answer.Difference.ReplicaSeconds.Median, answer.Model.ReplicaSeconds.Median)
	}

	ofNobody := controller + "/v1/whatif/" + s.namespace + "/nobody"
	for name, c := range map[string]struct {
		to, token, question string
		status              int
		says                string
	}{
		"without a token":       {ofRanker, "", question, http.StatusUnauthorized, "no token"},
		"a token for others":    {ofRanker, s.token(s.namespace, "planner", "sluice.dev/limiter"), question, http.StatusUnauthorized, "unknown caller"},
		"a stranger":            {ofRanker, stranger, question, http.StatusForbidden, "can't get models.sluice.dev"},
		"a stranger, of nobody": {ofNobody, stranger, question, http.StatusForbidden, "can't get models.sluice.dev"},
		"of nobody":             {ofNobody, planner, question, http.StatusNotFound, "there is no Model nobody"},
		"what no Model can be":  {ofRanker, planner, `{"changed": {"spec": {"autoscaling": {"minReplicas": 5}}}}`, http.StatusUnprocessableEntity, "must not be above maxReplicas"},
		"more than a tuning":    {ofRanker, planner, `{"changed": {"spec": {"container": {"image": "x"}}}}`, http.StatusUnprocessableEntity, "changed.spec.container"},
		"a proposal": {
			controller + "/v1/proposal/" + s.namespace + "/ranker", planner,
			`{"goal": {"percentile": 90, "within": "2s"}, "demand": "0,10\n1,30\n2,10"}`, http.StatusOK, `"settings":{`,
		},
	} {
		status, text, err := post(t.Context(), c.to, c.token, c.question)
		if err != nil || status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %.300s, %v, want %d %s", name, status, text, err, c.status, c.says)
		}
	}
}
