package recording

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func TestWhatIsGoneHasNoEvents(t *testing.T) {
	gone := apierrs.NewNotFound(v1alpha1.Resource("models"), "ranker")
	for name, c := range map[string]struct {
		reason string
		err    error
		told   bool
	}{
		"gone":                {"UpdateFailed", gone, false},
		"refused":             {"UpdateFailed", errors.New("the webhook is down"), true},
		"something else gone": {"InternalError", gone, true},
	} {
		t.Run(name, func(t *testing.T) {
			fake := record.NewFakeRecorder(1)
			ofTheLiving{fake}.Eventf(&v1alpha1.Model{}, corev1.EventTypeWarning, c.reason, "Failed to update status for %q: %v", "ranker", c.err)
			if told := len(fake.Events) > 0; told != c.told {
				t.Errorf("told: %v, want %v", told, c.told)
			}
		})
	}
}
