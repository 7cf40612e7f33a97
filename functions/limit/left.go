package limit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/limit/slack"
)

// maxQuestion bounds what is read of a question: the longest names of as many Models as may
// be asked for, twice where batch needs something of each, and as many needs as may be told.
const maxQuestion = 2*slack.MostModels*160 + slack.MostNeeds*120

// LeftHandler answers what is left to batch, to whom admit lets in. A replica that doesn't
// lead answers 503: another one knows.
func (f *Function) LeftHandler(admit func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := admit(r); err != nil {
			status := http.StatusServiceUnavailable // nobody can be told yet
			if errors.Is(err, callers.ErrUnknown) {
				status = http.StatusUnauthorized
			}
			http.Error(w, err.Error(), status)
			return
		}
		models, err := readQuestion(http.MaxBytesReader(w, r.Body, maxQuestion))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		left, err := f.Left(models)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		answer, now := slack.Answer{Models: make(map[string]slack.Left, len(left))}, f.Clock.Now()
		for model, s := range left {
			answer.Models[model.String()] = s.Told(now)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // who asked may have gone
	})
}

func readQuestion(body io.Reader) (Wanted, error) {
	var q slack.Question
	if err := json.NewDecoder(body).Decode(&q); err != nil {
		return nil, fmt.Errorf("reading the question: %w", err)
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	models := make(Wanted, len(q.Models))
	for i, model := range q.Models {
		namespace, name, ok := strings.Cut(model, "/")
		if !ok {
			return nil, fmt.Errorf("models[%d] is %q, want namespace/name", i, model)
		}
		models[types.NamespacedName{Namespace: namespace, Name: name}] = q.Needs[model]
	}
	return models, nil
}
