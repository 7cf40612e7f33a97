//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/platform"
)

// ofRequests is the count of events that ask for Batches.
const ofRequests = "sluice_batch_requests_total"

// A Broker whose label says so takes requests for Batches: one that comes twice starts one, and one
// that can't be one reaches the dead letter, and the Broker's events, with the field. Nobody comes past
// the Broker, and without the label there is no way any more.
func TestEventRequestsABatch(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	folder := s.shelf("results")
	s.create(s.ranker("ranker", fixed("40")))
	s.serving("ranker")
	s.items("items", 20)
	broker, dead := s.broker("events"), &mailbox{}
	to := s.to(dead)
	of := s.takesRequests("events", fmt.Sprintf(`"spec":{"delivery":{"retry":1,"deadLetterSink":{"uri":%q}}}`, to.URI))
	token := s.token(s.namespace, "default", "eventing.knative.dev/broker/"+s.namespace+"/events")

	before := s.outcomes("batch", ofRequests)
	good := s.requestFor("7", "path")
	for range 2 {
		s.handed(broker, token, good)
	}
	s.handed(broker, token, s.requestFor("8", "paht"))
	s.until(answered, "all events to be taken", func(ctx context.Context) (string, error) {
		now, err := s.Outcomes(ctx, "batch", ofRequests)
		if err != nil || now["started"] >= before["started"]+2 && now["refused"] >= before["refused"]+1 {
			return "", err
		}
		return fmt.Sprintf("%v, before %v", now, before), nil
	})
	made, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: sluice.RequestedByLabelKey + "=events"})
	if err != nil || len(made.Items) != 1 || !strings.HasPrefix(made.Items[0].Name, "asked-") || made.Items[0].Labels["team"] != "search" {
		t.Fatalf("%d Batches were started, %v: %+v", len(made.Items), err, made.Items)
	}
	const meant = `unknown field "spec.request.paht" (did you mean spec.request.path?)`
	refused := s.arrival(dead, 1)
	said, _ := refused.Extensions()["knativeerrordata"].(string)
	if why, err := base64.StdEncoding.DecodeString(said); err != nil || refused.ID() != "8" || fmt.Sprint(refused.Extensions()["knativeerrorcode"]) != "422" || !strings.Contains(string(why), meant) {
		t.Errorf("the dead letter %v says %q, %v", refused, why, err)
	}
	s.toldOfBroker("events", "BatchRefused", meant)
	s.pastTheBroker(of, good)
	s.complete(made.Items[0].Name, 20)
	s.oneEffectEach(filepath.Join(folder, "runs", "7"), 20)

	s.labelled("events", `"metadata":{"labels":{"`+sluice.BatchRequestsLabelKey+`":null}}`)
	s.until(readyWithin, "the Trigger to go", func(ctx context.Context) (string, error) {
		_, err := s.Eventing.EventingV1().Triggers(s.namespace).Get(ctx, of.TriggerName(), metav1.GetOptions{})
		if gone, err := gone(err); gone || err != nil {
			return "", err
		}
		return "it is there", nil
	})
}

// requestFor is a request for a Batch of the stage's items, whose path is in a field of a name.
func (s *stage) requestFor(id, pathField string) string {
	return fmt.Sprintf(`{"specversion":"1.0","type":%q,"source":"/test","id":%q,"datacontenttype":"application/json","data":{
		"name":"asked","labels":{"team":"search"},"spec":{"model":"ranker","input":{"configMap":{"name":"items","key":"items.jsonl"}},
		"request":{%q:%q},"output":{"volume":{"claimName":"results","folder":"runs/%s"}},"ttlAfterFinished":"1h"}}}`,
		eventing.BatchRequestedType, id, pathField, platform.InferPath, id)
}

// takesRequests labels a Broker, changes what else is to change of it, and waits until requests are taken.
func (s *stage) takesRequests(name, change string) eventing.RequestedBroker {
	s.Helper()
	uid := s.labelled(name, `"metadata":{"labels":{"`+sluice.BatchRequestsLabelKey+`":"true"}},`+change)
	of := eventing.RequestedBroker{Ref: eventing.Ref{Namespace: s.namespace, Name: name}, UID: uid}
	s.until(readyWithin, "the Broker to deliver requests", func(ctx context.Context) (string, error) {
		got, err := s.Eventing.EventingV1().Triggers(s.namespace).Get(ctx, of.TriggerName(), metav1.GetOptions{})
		if missing, err := gone(err); missing || err != nil {
			return "there is no Trigger", err
		}
		if !got.Status.IsReady() {
			return fmt.Sprintf("%+v", got.Status.Conditions), nil
		}
		return "", nil
	})
	return of
}

// labelled changes a Broker.
func (s *stage) labelled(name, change string) types.UID {
	s.Helper()
	broker, err := s.Eventing.EventingV1().Brokers(s.namespace).Patch(s.Context(), name, types.MergePatchType, []byte("{"+change+"}"), metav1.PatchOptions{})
	if err != nil {
		s.Fatal("changing the Broker:", err)
	}
	return broker.UID
}

// toldOfBroker waits until an event of a Broker's says something.
func (s *stage) toldOfBroker(name, reason, want string) {
	s.Helper()
	s.until(answered, "the Broker's events to say why", func(ctx context.Context) (string, error) {
		events, err := s.Kube.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Broker,involvedObject.name=" + name + ",reason=" + reason})
		if err != nil {
			return "", err
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, want) {
				return "", nil
			}
		}
		return fmt.Sprintf("%d events", len(events.Items)), nil
	})
}

// pastTheBroker comes with a request to whom the Broker delivers them: where Knative Eventing
// authenticates, it is taken from nobody but the Broker's own Trigger.
func (s *stage) pastTheBroker(of eventing.RequestedBroker, event string) {
	s.Helper()
	if !s.authenticates() {
		s.Log("Knative Eventing doesn't authenticate here")
		return
	}
	at := "http://" + s.clusterIP(sluice.SystemNamespace, "triggers") + of.Path()
	for _, c := range []struct {
		token string
		want  int
	}{
		{"", http.StatusUnauthorized},
		{s.token(s.namespace, "default", eventing.TriggersAudience), http.StatusForbidden},
	} {
		if status, answer, err := post(s.Context(), at, c.token, event); err != nil || status != c.want {
			s.Errorf("past the Broker: %d %s, %v; want %d", status, answer, err, c.want)
		}
	}
}
