//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// usageTold are the events of a Model's usage, each once.
type usageTold struct {
	*stage
	model string

	mu   sync.Mutex
	byID map[string]eventing.Usage
	// repeated is how many came again, wrong what couldn't be read or came again as another.
	repeated int
	wrong    []string
}

// usageEvents listens for what the Broker is told of a Model of the stage, until the test ends.
func (s *stage) usageEvents(model string) *usageTold {
	s.Helper()
	told := &usageTold{stage: s, model: model, byID: map[string]eventing.Usage{}}
	url, err := apis.ParseURL(s.listen(told))
	if err != nil {
		s.Fatal(err)
	}
	triggers := s.Eventing.EventingV1().Triggers(sluice.SystemNamespace)
	trigger, err := triggers.Create(s.Context(), &eventingv1.Trigger{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-usage-"},
		Spec: eventingv1.TriggerSpec{
			Broker:     eventing.BrokerName,
			Filter:     &eventingv1.TriggerFilter{Attributes: eventingv1.TriggerFilterAttributes{"type": eventing.UsageType, "subject": s.namespace + "/" + model}},
			Subscriber: duckv1.Destination{URI: url},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating a Trigger:", err)
	}
	s.Cleanup(func() {
		if err := s.DeleteTrigger(context.Background(), sluice.SystemNamespace, eventing.BrokerName, trigger.Name); err != nil {
			s.Error(err)
		}
	})
	s.until(30*time.Second, "the Trigger to deliver", func(ctx context.Context) (string, error) {
		got, err := triggers.Get(ctx, trigger.Name, metav1.GetOptions{})
		if err != nil || got.Status.IsReady() {
			return "", err
		}
		return fmt.Sprint(got.Status.GetCondition(eventingv1.TriggerConditionReady)), nil
	})
	return told
}

func (u *usageTold) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var d eventing.Usage
	err := json.NewDecoder(r.Body).Decode(&d)
	id := r.Header.Get("Ce-Id")
	u.mu.Lock()
	defer u.mu.Unlock()
	before, again := u.byID[id]
	switch {
	case err != nil || id == "" || r.Header.Get("Ce-Type") != eventing.UsageType:
		u.wrong = append(u.wrong, fmt.Sprint(r.Header, err))
	case again && fmt.Sprint(before) != fmt.Sprint(d):
		u.wrong = append(u.wrong, fmt.Sprintf("%s came as %+v and as %+v", id, before, d))
	case again:
		u.repeated++
	default:
		u.byID[id] = d
	}
	w.WriteHeader(http.StatusAccepted)
}

// addUp waits until the events of each day are what the Usage says of it.
func (u *usageTold) addUp() {
	u.Helper()
	u.until(noted, "the events", func(ctx context.Context) (string, error) {
		usage, err := u.Sluice.SluiceV1alpha1().Usages(u.namespace).Get(ctx, u.model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		sums, cpu := map[string]eventing.UsageRequests{}, 0.0
		for _, event := range u.byID {
			for _, row := range event.Revisions {
				sum, r := sums[event.Day], row.Requests
				sums[event.Day] = eventing.UsageRequests(v1alpha1.UsageRequests(sum).Plus(v1alpha1.UsageRequests(r)))
				seconds, err := strconv.ParseFloat(row.CPUSeconds.Total, 64)
				if err != nil {
					return "", err
				}
				cpu += seconds
			}
		}
		for _, day := range []*v1alpha1.UsageDay{usage.Status.Day, usage.Status.Previous} {
			if day != nil && sums[day.Date] != eventing.UsageRequests(day.Total.Requests) {
				return fmt.Sprintf("%d events of %s sum up to %+v, want %+v", len(u.byID), day.Date, sums[day.Date], day.Total.Requests), nil
			}
		}
		if told := float64(days(usage).CPUSeconds.Total) / 1000; cpu > told+0.0005 || cpu < told-0.0005 {
			return fmt.Sprintf("%d events sum up to %.3f CPU-seconds, want %.3f", len(u.byID), cpu, told), nil
		}
		u.Logf("%d events, %d came again", len(u.byID), u.repeated)
		return "", nil
	})
	if len(u.wrong) > 0 {
		u.Errorf("events: %v", u.wrong)
	}
}
