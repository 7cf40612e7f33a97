package v1alpha1

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

func scoring(changes ...func(*InferenceTrigger)) *InferenceTrigger {
	t := &InferenceTrigger{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "score"}}
	t.Spec.Broker, t.Spec.Model, t.Spec.Request = "default", "ranker", &TriggerRequest{Path: "/score"}
	for _, change := range changes {
		change(t)
	}
	return t
}

func TestInferenceTriggerDefaults(t *testing.T) {
	t.Parallel()
	sink := &duckv1.Destination{URI: apis.HTTP("sink.example.com")}
	for name, c := range map[string]struct {
		reply *TriggerReply
		want  TriggerReply
	}{
		"none":      {nil, TriggerReply{To: ReplyToBroker, Type: InferenceCompletedType}},
		"a type":    {&TriggerReply{Type: "x"}, TriggerReply{To: ReplyToBroker, Type: "x"}},
		"a sink":    {&TriggerReply{Sink: sink}, TriggerReply{To: ReplyToSink, Sink: sink, Type: InferenceCompletedType}},
		"no effect": {&TriggerReply{To: ReplyToNone}, TriggerReply{To: ReplyToNone}},
	} {
		trigger := scoring(func(t *InferenceTrigger) { t.Spec.Reply = c.reply })
		trigger.SetDefaults(t.Context())
		again := trigger.DeepCopy()
		again.SetDefaults(t.Context())
		if !equality.Semantic.DeepEqual(*trigger.Spec.Reply, c.want) || !equality.Semantic.DeepEqual(trigger, again) {
			t.Errorf("%s: %+v, and then %+v", name, trigger.Spec.Reply, again.Spec.Reply)
		}
		if trigger.Spec.Request.Method != http.MethodPost || trigger.Spec.Request.Timeout.Duration != defaultTriggerTimeout {
			t.Errorf("%s: %+v", name, trigger.Spec.Request)
		}
		if err := trigger.Validate(t.Context()); err != nil {
			t.Errorf("%s: what has its defaults is refused: %v", name, err)
		}
	}
	empty := &InferenceTrigger{}
	empty.SetDefaults(t.Context())
	if empty.Spec.Reply != nil {
		t.Error("what asks nobody has a reply")
	}
}

// Another Broker would be another Trigger of Knative, which would lose what is on its way.
func TestBrokersDoNotChange(t *testing.T) {
	t.Parallel()
	before := scoring()
	after := scoring(func(t *InferenceTrigger) { t.Spec.Broker = "other" })
	ctx := apis.WithinUpdate(t.Context(), before)
	if err := after.Validate(ctx); err == nil || !strings.Contains(err.Error(), "spec.broker") || !strings.Contains(err.Error(), "create another") {
		t.Errorf("%v", err)
	}
	if err := before.Validate(ctx); err != nil {
		t.Errorf("%v", err)
	}
}

// What was accepted once stays deletable, and its status writable.
func TestWhatIsInvalidCanGo(t *testing.T) {
	t.Parallel()
	wrong := scoring(func(t *InferenceTrigger) { t.Spec.Broker = "" })
	if err := wrong.Validate(apis.WithinSubResourceUpdate(t.Context(), wrong, "status")); err != nil {
		t.Errorf("its status can't be written: %v", err)
	}
	wrong.DeletionTimestamp = &metav1.Time{}
	if err := wrong.Validate(t.Context()); err != nil {
		t.Errorf("it can't go: %v", err)
	}
}

// Filters are evaluated for each event of the Broker, so there is a bound on them, however they
// are nested.
func TestFiltersAreBounded(t *testing.T) {
	t.Parallel()
	nested := eventingv1.SubscriptionsAPIFilter{Exact: map[string]string{"type": "x"}}
	for range maxFilters {
		within := nested
		nested = eventingv1.SubscriptionsAPIFilter{Not: &within}
	}
	for name, filters := range map[string][]eventingv1.SubscriptionsAPIFilter{
		"many":   make([]eventingv1.SubscriptionsAPIFilter, maxFilters+1),
		"nested": {nested},
		"long":   {{CESQL: "type = '" + strings.Repeat("x", maxFilterText) + "'"}},
	} {
		err := scoring(func(t *InferenceTrigger) { t.Spec.Filters = filters }).Validate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "spec.filters") || !strings.Contains(err.Error(), "filter by fewer") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every text of a Batch can have an expression, wherever it is, and nothing else is touched.
func TestEachText(t *testing.T) {
	t.Parallel()
	most := int32(4)
	s := BatchSpec{
		Model: "m", Workers: &most, ServiceAccountName: "runs",
		Input:     BatchInput{S3: &BatchS3Input{BatchS3Bucket: BatchS3Bucket{Bucket: "b"}, Key: "k"}, HTTP: &BatchHTTPInput{URLs: []string{"u", "v"}}},
		Request:   BatchRequest{Path: "/p", Headers: map[string]string{"X-A": "a"}, Timeout: &metav1.Duration{Duration: 1}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *quantity("1")}},
	}
	before := s.DeepCopy()
	paths := map[string]string{}
	if err := s.EachText(func(path, text string) (string, error) {
		if text != "" {
			paths[path] = text
		}
		return text + text, nil
	}); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"model": "m", "serviceAccountName": "runs", "input.s3.bucket": "b", "input.s3.key": "k",
		"input.http.urls[0]": "u", "input.http.urls[1]": "v", "request.path": "/p", "request.headers[X-A]": "a",
	} {
		if paths[path] != text {
			t.Errorf("%s is %q, want %q", path, paths[path], text)
		}
		delete(paths, path)
	}
	if len(paths) > 0 {
		t.Errorf("there are others: %v", paths)
	}
	if s.Input.HTTP.URLs[1] != "vv" || s.Request.Headers["X-A"] != "aa" || s.Model != "mm" || *s.Workers != most ||
		!equality.Semantic.DeepEqual(s.Resources, before.Resources) || s.Request.Timeout.Duration != 1 {
		t.Errorf("%+v", s)
	}
	failure := apierrs.NewBadRequest("no")
	if err := s.EachText(func(string, string) (string, error) { return "", failure }); err == nil {
		t.Error("an error is lost")
	}
}

// What Knative says of a Trigger is repeated, in one word, and with what to do.
func TestPropagateTrigger(t *testing.T) {
	t.Parallel()
	const of = InferenceTriggerConditionSubscribed
	happy := func(t *eventingv1.Trigger) {
		t.Status.InitializeConditions()
		t.Status.PropagateBrokerCondition(&apis.Condition{Status: corev1.ConditionTrue})
		t.Status.PropagateSubscriptionCondition(&apis.Condition{Status: corev1.ConditionTrue})
		t.Status.MarkSubscriberResolvedSucceeded()
		t.Status.MarkDeadLetterSinkResolvedSucceeded()
		t.Status.MarkDependencySucceeded()
		t.Status.MarkOIDCIdentityCreatedSucceeded()
	}
	for name, c := range map[string]struct {
		change  func(*eventingv1.Trigger)
		status  corev1.ConditionStatus
		reason  string
		message string
	}{
		"nothing yet":       {func(*eventingv1.Trigger) {}, corev1.ConditionUnknown, "Subscribing", "has not said yet"},
		"all is well":       {happy, corev1.ConditionTrue, "", ""},
		"of an earlier one": {func(t *eventingv1.Trigger) { happy(t); t.Generation = 2 }, corev1.ConditionUnknown, "Subscribing", "has not said yet"},
		"no Broker": {func(t *eventingv1.Trigger) {
			happy(t)
			t.Status.MarkBrokerFailed("BrokerDoesNotExist", "Broker %q does not exist.", "default")
		},
			corev1.ConditionFalse, "BrokerDoesNotExist", `Broker "default" does not exist. Create the Broker, or name one`},
		"no dead letter sink": {func(t *eventingv1.Trigger) {
			happy(t)
			t.Status.MarkDeadLetterSinkResolvedFailed("Unable to get the dead letter sink's URI", "services %q not found", "dead")
		}, corev1.ConditionFalse, "NotResolved", "Correct spec.delivery.deadLetterSink"},
		"under way": {func(t *eventingv1.Trigger) {
			happy(t)
			t.Status.MarkSubscribedUnknown("SubscriptionNotConfigured", "not yet")
		}, corev1.ConditionUnknown, "SubscriptionNotConfigured", "not yet"},
	} {
		trigger := &eventingv1.Trigger{}
		c.change(trigger)
		s := &InferenceTriggerStatus{}
		s.InitializeConditions()
		s.PropagateTrigger(of, trigger)
		got := s.GetCondition(of)
		if got.Status != c.status || got.Reason != c.reason || !strings.Contains(got.Message, c.message) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A race says nothing, a refusal is for a person, and all else is tried again.
func TestTriggersThatAreNotWritten(t *testing.T) {
	t.Parallel()
	const of = InferenceTriggerConditionSubscribed
	for _, c := range []struct {
		err    error
		status corev1.ConditionStatus
		reason string
	}{
		{apierrs.NewConflict(Resource("x"), "x", nil), corev1.ConditionUnknown, ""},
		{apierrs.NewBadRequest("no"), corev1.ConditionFalse, "Refused"},
		{apierrs.NewServiceUnavailable("later"), corev1.ConditionUnknown, "NotWritten"},
	} {
		s := &InferenceTriggerStatus{}
		s.InitializeConditions()
		s.MarkTriggerNotWritten(of, "score", c.err)
		if got := s.GetCondition(of); got.Status != c.status || got.Reason != c.reason {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
}
