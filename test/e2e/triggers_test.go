//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

const (
	// answered bounds the way of an event to a Model, and of the reply to whoever listens.
	answered = time.Minute
	// asking is the type of the events that these tests send.
	asking = "dev.sluice.test.asking"
	// ofTriggers is the count of events for InferenceTriggers.
	ofTriggers = "sluice_trigger_events_total"
)

// An event reaches a Model that answers plain JSON, and its reply comes back once; the same event
// again has a reply of the same id. What the Model refuses reaches the dead letter, with its
// words, and isn't tried again.
func TestEventAsksAModel(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("40")))
	s.serving("ranker")
	broker := s.broker("events")
	replies, dead := &mailbox{}, &mailbox{}
	s.trigger(s.namespace, "replies", eventingv1.TriggerSpec{
		Broker: "events", Subscriber: s.to(replies),
		Filter: &eventingv1.TriggerFilter{Attributes: map[string]string{"type": v1alpha1.InferenceCompletedType}},
	})
	s.triggers("score", func(spec *v1alpha1.InferenceTriggerSpec) {
		spec.Filters = []eventingv1.SubscriptionsAPIFilter{{CESQL: "type = '" + asking + "' AND EXISTS subject"}}
		spec.Model, spec.Request = "ranker", &v1alpha1.TriggerRequest{Path: platform.InferPath, Body: ptr.String("${event.data}")}
		to, linear := s.to(dead), eventingduckv1.BackoffPolicyLinear
		spec.Delivery = &eventingduckv1.DeliverySpec{Retry: ptr.Int32(3), BackoffPolicy: &linear, BackoffDelay: ptr.String("PT1S"), DeadLetterSink: &to}
	})
	token := s.token(s.namespace, "default", "eventing.knative.dev/broker/"+s.namespace+"/events")

	good := event("1", string(withID(t, "item-1")))
	s.handed(broker, token, good)
	first := s.arrival(replies, 1)
	var prediction struct{ ID string }
	if err := json.Unmarshal(first.Data(), &prediction); err != nil || prediction.ID != "item-1" {
		t.Errorf("the reply has %s, %v", first.Data(), err)
	}
	if first.Extensions()["causationid"] != "1" || first.Subject() != "someone" || !strings.HasSuffix(first.Source(), s.namespace+"/inferencetriggers/score") {
		t.Errorf("the reply is %v", first)
	}

	before := s.outcomes("batch", ofTriggers)
	s.handed(broker, token, event("2", `{"inputs": []}`))
	refused := s.arrival(dead, 1)
	if refused.ID() != "2" || fmt.Sprint(refused.Extensions()["knativeerrorcode"]) != "400" {
		t.Errorf("the dead letter is %v", refused)
	}
	said, _ := refused.Extensions()["knativeerrordata"].(string)
	if why, err := base64.StdEncoding.DecodeString(said); err != nil || !strings.Contains(string(why), "the Model answered 400 Bad Request") {
		t.Errorf("the dead letter says %q, %v", why, err)
	}
	if after := s.outcomes("batch", ofTriggers); after["refused"] != before["refused"]+1 {
		t.Errorf("the Model refused %g times, want once", after["refused"]-before["refused"])
	}
	if n := replies.count(); n != 1 {
		t.Errorf("there are %d replies, want 1", n)
	}

	s.strangers(good)
	s.handed(broker, token, good)
	if again := s.arrival(replies, 2); again.ID() != first.ID() || again.Source() != first.Source() {
		t.Errorf("the same event has the replies %s of %s, and %s of %s", first.ID(), first.Source(), again.ID(), again.Source())
	}
	s.repliesToASink(broker, token)
}

// repliesToASink has the Model asked for an event by an InferenceTrigger with a sink of its own,
// where its answer arrives.
func (s *stage) repliesToASink(broker, token string) {
	s.Helper()
	const asides, scored = asking + ".aside", asking + ".scored"
	sink := &mailbox{}
	s.triggers("aside", func(spec *v1alpha1.InferenceTriggerSpec) {
		spec.Filters = []eventingv1.SubscriptionsAPIFilter{{Exact: map[string]string{"type": asides}}}
		spec.Model, spec.Request = "ranker", &v1alpha1.TriggerRequest{Path: platform.InferPath, Body: ptr.String("${event.data}")}
		to := s.to(sink)
		spec.Reply = &v1alpha1.TriggerReply{To: v1alpha1.ReplyToSink, Sink: &to, Type: scored}
	})
	// Knative's Broker may not deliver yet what comes in the moment in which a Trigger is Ready.
	again := time.Now()
	s.until(answered, "the reply to arrive", func(context.Context) (string, error) {
		if sink.count() > 0 {
			return "", nil
		}
		if !time.Now().Before(again) {
			again = again.Add(2 * time.Second)
			s.handed(broker, token, strings.Replace(event("3", string(withID(s.T, "item-3"))), asking, asides, 1))
		}
		return "none is there", nil
	})
	got := s.arrival(sink, 1)
	var prediction struct{ ID string }
	if err := json.Unmarshal(got.Data(), &prediction); err != nil || prediction.ID != "item-3" {
		s.Errorf("the sink has %s, %v", got.Data(), err)
	}
	if got.Type() != scored || got.Extensions()["causationid"] != "3" || !strings.HasSuffix(got.Source(), s.namespace+"/inferencetriggers/aside") {
		s.Errorf("the sink has %v", got)
	}
}

// strangers come past the Broker with an event for the InferenceTrigger score: where Knative
// Eventing authenticates, it takes one from nobody but its own Trigger.
func (s *stage) strangers(event string) {
	s.Helper()
	if !s.authenticates() {
		s.Log("Knative Eventing doesn't authenticate here")
		return
	}
	score, err := s.Sluice.SluiceV1alpha1().InferenceTriggers(s.namespace).Get(s.Context(), "score", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	who := eventing.InferenceTrigger{Ref: eventing.Ref{Namespace: s.namespace, Name: "score"}, UID: score.UID}
	direct := "http://" + s.clusterIP(sluice.SystemNamespace, "triggers")
	for name, c := range map[string]struct {
		path, account, audience string
		want                    int
	}{
		"nobody":                          {who.Path(), "", "", http.StatusUnauthorized},
		"another account":                 {who.Path(), "default", eventing.TriggersAudience, http.StatusForbidden},
		"a token for somebody else":       {who.Path(), "default", "sluice.dev/limiter", http.StatusUnauthorized},
		"the path of no InferenceTrigger": {"/", "default", eventing.TriggersAudience, http.StatusNotFound},
	} {
		token := ""
		if c.account != "" {
			token = s.token(s.namespace, c.account, c.audience)
		}
		status, answer, err := post(s.Context(), direct+c.path, token, event)
		if err != nil || status != c.want {
			s.Errorf("%s: %d %s, %v; want %d", name, status, answer, err, c.want)
		}
	}
}

// An event that comes twice starts one Batch, whose output is the event's own.
func TestEventStartsABatch(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	folder := s.shelf("results")
	s.create(s.ranker("ranker", fixed("40")))
	s.serving("ranker")
	s.items("items", 20)
	broker := s.broker("events")
	s.triggers("nightly", func(spec *v1alpha1.InferenceTriggerSpec) {
		spec.Filters = []eventingv1.SubscriptionsAPIFilter{{Exact: map[string]string{"type": asking}}}
		spec.Batch = &v1alpha1.TriggerBatch{}
		b := &spec.Batch.Template.Spec
		b.Model, b.Request.Path = "ranker", platform.InferPath
		b.Input.ConfigMap = &v1alpha1.BatchConfigMapInput{Name: "${event.data.items}", Key: "items.jsonl"}
		b.Output.Volume = &v1alpha1.BatchVolumeOutput{ClaimName: "results", Folder: "runs/${event.id}"}
		b.TTLAfterFinished = &metav1.Duration{Duration: time.Hour}
	})
	token := s.token(s.namespace, "default", "eventing.knative.dev/broker/"+s.namespace+"/events")
	before := s.outcomes("batch", ofTriggers)
	for range 2 {
		s.handed(broker, token, event("7", `{"items": "items"}`))
	}
	s.until(answered, "both events to be taken", func(ctx context.Context) (string, error) {
		now, err := s.counters(ctx, "batch", ofTriggers)
		if err != nil || now["started"] >= before["started"]+2 {
			return "", err
		}
		return fmt.Sprintf("%v, before %v", now, before), nil
	})
	made, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: sluice.TriggerLabelKey + "=nightly"})
	if err != nil || len(made.Items) != 1 {
		t.Fatalf("%d Batches were started, %v", len(made.Items), err)
	}
	s.complete(made.Items[0].Name, 20)
	s.oneEffectEach(filepath.Join(folder, "runs", "7"), 20)
}

// triggers makes an InferenceTrigger of the Broker events, and waits until it is Ready.
func (s *stage) triggers(name string, change func(*v1alpha1.InferenceTriggerSpec)) {
	s.Helper()
	t := &v1alpha1.InferenceTrigger{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	t.Spec.Broker = "events"
	change(&t.Spec)
	ours := s.Sluice.SluiceV1alpha1().InferenceTriggers(s.namespace)
	s.made(ours.Create(s.Context(), t, metav1.CreateOptions{}))
	s.until(readyWithin, "InferenceTrigger "+name+" to be Ready", func(ctx context.Context) (string, error) {
		got, err := ours.Get(ctx, name, metav1.GetOptions{})
		if err != nil || got.Status.GetCondition(v1alpha1.InferenceTriggerConditionReady).IsTrue() {
			return "", err
		}
		return fmt.Sprintf("%+v", got.Status.Conditions), nil
	})
}

// event is one of these tests', with an id and data.
func event(id, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","type":%q,"source":"/test","subject":"someone","id":%q,"datacontenttype":"application/json","data":%s}`, asking, id, data)
}

// withID is the ranker's request, with an id by which its answer is known.
func withID(t *testing.T, id string) []byte {
	t.Helper()
	var request map[string]any
	if err := json.Unmarshal(cluster.request, &request); err != nil {
		t.Fatal(err)
	}
	request["id"] = id
	content, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(content)
}

func (s *stage) handed(broker, token, event string) {
	s.Helper()
	if err := hand(s.Context(), broker, token, event); err != nil {
		s.Fatal(err)
	}
}

// mailbox keeps the events that it is sent.
type mailbox struct {
	mu     sync.Mutex
	events []cloudevents.Event
}

// ServeHTTP takes an event, and answers with nothing.
func (m *mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cloudevents.NewEventFromHTTPRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	m.events = append(m.events, *event)
	m.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

func (m *mailbox) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}

// to is where a mailbox gets its events.
func (s *stage) to(m *mailbox) duckv1.Destination {
	s.Helper()
	url, err := apis.ParseURL(s.listen(m))
	if err != nil {
		s.Fatal(err)
	}
	return duckv1.Destination{URI: url}
}

// arrival waits until a mailbox has so many events, and returns the last of them.
func (s *stage) arrival(m *mailbox, n int) cloudevents.Event {
	s.Helper()
	took := s.until(answered, fmt.Sprintf("%d events to arrive", n), func(context.Context) (string, error) {
		if m.count() >= n {
			return "", nil
		}
		return fmt.Sprintf("%d are there", m.count()), nil
	})
	s.Logf("an event arrived after %.1f s", took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events[n-1]
}
