package limit

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/limit/slack"
)

// maxQuestion bounds what is read of a question: the longest names of as many Models as may
// be asked for, three times where batch is idle on each and needs something of it, and as many
// needs as may be told.
const maxQuestion = 3*slack.MostModels*160 + slack.MostNeeds*120

// badNeedsEvery is the least time between two lines of the log about needs that can't be.
const badNeedsEvery = time.Minute

// LeftHandler answers what is left to batch, to whom admit lets in. A replica that doesn't
// lead answers 503: another one knows.
func (f *Function) LeftHandler(admit func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := admit(r); err != nil {
			http.Error(w, err.Error(), callers.StatusOf(err))
			return
		}
		models, bad, err := readQuestion(http.MaxBytesReader(w, r.Body, maxQuestion))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.blame(bad)
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

// blame tells of needs that can't be, of the first of them, once in a while: they come with
// each question.
func (f *Function) blame(bad []error) {
	if len(bad) == 0 {
		return
	}
	now, last := f.Clock.Now(), f.blamed.Load()
	if last != nil && now.Sub(*last) < badNeedsEvery || !f.blamed.CompareAndSwap(last, &now) {
		return
	}
	f.Log.Warnw("What some batches need can't be: it is left out, and others are served", "needs", len(bad), zap.Error(bad[0]))
}

// readQuestion reads what is asked, and what is wrong with needs that it leaves out.
func readQuestion(body io.Reader) (models Wanted, bad []error, err error) {
	var q slack.Question
	if err := json.NewDecoder(body).Decode(&q); err != nil {
		return nil, nil, fmt.Errorf("reading the question: %w", err)
	}
	if err := q.Check(); err != nil {
		return nil, nil, err
	}
	q, bad = q.Sound()
	idle := sets.New(q.Idle...)
	models = make(Wanted, len(q.Models))
	for i, model := range q.Models {
		namespace, name, ok := strings.Cut(model, "/")
		if !ok {
			return nil, nil, fmt.Errorf("models[%d] is %q, want namespace/name", i, model)
		}
		models[types.NamespacedName{Namespace: namespace, Name: name}] = Want{Needs: q.Needs[model], Idle: idle.Has(model)}
	}
	return models, bad, nil
}
