package mapping

import (
	"context"
	"fmt"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/expression"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// distinct are the digits of a Batch's name that are the event's own.
const distinct = 16

func compileBatch(of *v1alpha1.BatchSpec) (*batch, error) {
	b := &batch{spec: of.DeepCopy(), texts: map[string]*expression.Template{}}
	err := b.spec.EachText(func(path, text string) (string, error) {
		if !strings.Contains(text, "${") {
			return text, nil
		}
		template, err := expression.Compile(text)
		if err != nil {
			return "", fmt.Errorf("batch.template.spec.%s: %w", path, err)
		}
		b.texts[path] = template
		return text, nil
	})
	return b, err
}

// BatchName is that of the Batch that an event starts: the same whenever it is delivered.
func BatchName(t eventing.InferenceTrigger, event cloudevents.Event) string {
	digits := t.AnswerID(event)[:distinct]
	return t.Name[:min(len(t.Name), v1alpha1.MaxBatchName-distinct-1)] + "-" + digits
}

// Batch is the one that an event starts, without its defaults. The error is as that of Request.
func (m *Mapping) Batch(t eventing.InferenceTrigger, event cloudevents.Event) (*v1alpha1.Batch, error) {
	ctx, cancel := context.WithTimeout(context.Background(), evaluatedWithin)
	defer cancel()
	e := expression.Of(event)
	out := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{
		Namespace: t.Namespace, Name: BatchName(t, event),
		Labels:      map[string]string{sluice.TriggerLabelKey: t.Name, sluice.ManagedByLabelKey: sluice.ManagedBy},
		Annotations: map[string]string{sluice.StartedByAnnotationKey: t.AnswerID(event)},
	}, Spec: *m.batch.spec.DeepCopy()}
	err := out.Spec.EachText(func(path, text string) (string, error) {
		template, ok := m.batch.texts[path]
		if !ok {
			return text, nil
		}
		text, err := template.Text(ctx, e, maxField)
		if err != nil {
			return "", fmt.Errorf("batch.template.spec.%s: %w", path, err)
		}
		return text, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
