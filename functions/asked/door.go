package asked

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/functions/access"
	"sluice.dev/sluice/functions/turns"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// PredictPath is where it is asked what would come of a Model, by POST.
	PredictPath = "/v1/whatif/{namespace}/{name}"
	// ProposePath is where it is asked how it should be tuned, by POST.
	ProposePath = "/v1/proposal/{namespace}/{name}"
	// Audience is that of tokens of those who ask.
	Audience = "sluice.dev/controller"
)

const (
	// atOnce bounds the questions that are read and answered at a time. A namespace has one of
	// them, so that none keeps others from theirs.
	atOnce = 2
	// maxQuestion bounds a question, in bytes: a day's demand by the second is 2.4 MB.
	maxQuestion = 4 << 20
	// readWithin bounds the time to read one, recordedWithin that to be told what was recorded.
	readWithin, recordedWithin = 10 * time.Second, 20 * time.Second
	// predictWithin and proposeWithin bound what is computed for an answer.
	predictWithin, proposeWithin = time.Minute, 4 * time.Minute
	// againAfter is when those should ask again who were asked to.
	againAfter = 5 * time.Second
)

// Sources are where what answers take comes from.
type Sources struct {
	// May is an error, as package access has them, unless who makes a request may read a Model.
	May func(r *http.Request, model types.NamespacedName) error
	// Model finds one; its error is the API's.
	Model func(model types.NamespacedName) (*v1alpha1.Model, error)
	// Synced is true once Model and Neighbours know what there is.
	Synced func() bool
	// Neighbours are who shares the caps of a Model's tenant.
	Neighbours v1alpha1.Neighbours
	// Cluster is how Knative scales where a Model doesn't say.
	Cluster func() *autoscalerconfig.Config
	// Recorded is what came to a Model; the error is recorded.ErrNone where that isn't known.
	Recorded func(ctx context.Context, model types.NamespacedName) (trace.Trace, error)
}

// Function answers questions.
type Function struct {
	Sources
	turns     *turns.Turns
	computing chan struct{}
}

// New returns a Function.
func New(from Sources) *Function {
	return &Function{Sources: from, turns: turns.New(atOnce), computing: make(chan struct{}, 1)}
}

// Server is one that answers at an address. An answer may wait for the one before.
func (f *Function) Server(address string) *http.Server {
	return &http.Server{
		Addr: address, Handler: f.Handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		// Of a body that nobody reads, as where it may not be asked, too; read takes it back.
		ReadTimeout:  readWithin + 5*time.Second,
		WriteTimeout: 2*max(predictWithin, proposeWithin) + time.Minute,
	}
}

// Handler answers questions about Models that exist to those who may read them.
func (f *Function) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+PredictPath, f.answers(predicts))
	mux.Handle("POST "+ProposePath, f.answers(proposes))
	return mux
}

func (f *Function) answers(k kind) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		text, err := f.answer(w, r, k)
		if err == nil {
			questions.WithLabelValues(k.name, "answered").Inc()
			seconds.WithLabelValues(k.name).Observe(time.Since(began).Seconds())
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(append(text, '\n')) //nolint:gosec // it is JSON, and said to be; who asked may have gone
			return
		}
		why := failureOf(err)
		questions.WithLabelValues(k.name, why.outcome).Inc()
		if why.again {
			w.Header().Set("Retry-After", strconv.Itoa(int(againAfter.Seconds())))
		}
		if why.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		http.Error(w, why.Error(), why.status)
	})
}

// answer is the answer to a question, as JSON.
func (f *Function) answer(w http.ResponseWriter, r *http.Request, k kind) ([]byte, error) {
	name := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	switch err := f.May(r, name); {
	case errors.Is(err, access.ErrUnknown), errors.Is(err, access.ErrForbidden):
		return nil, failure{outcome: "unknown", status: access.StatusOf(err), err: err}
	case err != nil:
		return nil, away(err)
	case !f.Synced():
		return nil, away(errors.New("the caches are not filled yet"))
	}
	model, err := f.Model(name)
	switch {
	case apierrs.IsNotFound(err):
		return nil, failure{outcome: "missing", status: http.StatusNotFound, err: fmt.Errorf("there is no Model %s in namespace %s", name.Name, name.Namespace)}
	case err != nil:
		return nil, fmt.Errorf("getting Model %s: %w", name, err)
	}
	// Nobody takes a turn who may not ask.
	if !f.turns.Take(name.Namespace) {
		return nil, failure{outcome: "busy", status: http.StatusTooManyRequests, again: true, err: fmt.Errorf(
			"a question about a Model in namespace %s is being answered, or %d others are: ask again", name.Namespace, atOnce)}
	}
	defer f.turns.Leave(name.Namespace)
	q, err := read(w, r)
	if err != nil {
		return nil, err
	}
	a, err := f.gather(r.Context(), k, model, q)
	if err != nil {
		return nil, err
	}
	answer, err := f.compute(r.Context(), k, a)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, fmt.Errorf("writing the answer: %w", err)
	}
	return text, nil
}

// read reads a question, which may not be written slowly: it has a turn.
func read(w http.ResponseWriter, r *http.Request) (Question, error) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(readWithin)) // what isn't a connection ends by itself
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return Question{}, refused(http.StatusRequestEntityTooLarge, fmt.Errorf("the question has more than %d MB: give a shorter demand", maxQuestion>>20))
	case err != nil:
		return Question{}, refused(http.StatusBadRequest, fmt.Errorf("reading the question: %w", err))
	}
	// From here on a read tells that who asks has gone.
	_ = connection.SetReadDeadline(time.Time{})
	q, err := readQuestion(body)
	if err != nil {
		return Question{}, refused(http.StatusBadRequest, err)
	}
	return q, nil
}
