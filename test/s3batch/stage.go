package s3batch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/stores"
)

// What the manifests have.
const (
	// Model is the name of the Model.
	Model = "ranker"
	// Trigger is the InferenceTrigger's.
	Trigger = "score"
	// Broker is the Broker's.
	Broker = "default"
	// Secret is that of the store's keys.
	Secret = "store"
	// Endpoint is where pods of the namespace find the store.
	Endpoint = "http://store:7070"
	// Rows is the bucket of what is to be scored.
	Rows = "rows"
	// Scores is that of what comes of it.
	Scores = "scores"
)

const (
	// announcer is the Deployment, and the Service, that makes CloudEvents.
	announcer = "s3events"
	// startedWithin bounds the way of an event from the store to a Batch.
	startedWithin = 30 * time.Second
	// outcomes counts the events that reach the function of InferenceTriggers, at component batch.
	outcomes, function = "sluice_trigger_events_total", "batch"
	// maxLine bounds a line of a log, in bytes: a record is some hundred.
	maxLine = 1 << 20
)

// Images are what the pods run, as the cluster pulls them.
type Images struct {
	// Ranker is the Model's, Store is versitygw, Events makes CloudEvents of what it sends.
	Ranker, Store, Events string
}

// Stage is a namespace with all that an object needs to be scored.
type Stage struct {
	Clients   *platform.Clients
	Namespace string

	store *stores.S3
	// events is the URL of what makes CloudEvents.
	events string
}

// Announced is an event as it was sent to the Broker, and the record of the store's that it
// was made of.
type Announced struct {
	ID, Type, Source, Subject string
	Record                    json.RawMessage
}

// New makes a namespace, which has to be there, such a stage: the Model, the store, what
// announces, the InferenceTrigger. It returns once all are ready.
func New(ctx context.Context, clients *platform.Clients, namespace string, images Images) (*Stage, error) {
	by := map[string]string{"ranker": images.Ranker, "versitygw": images.Store, "s3events": images.Events}
	for _, manifest := range [][]byte{storeYAML, modelYAML, triggerYAML} {
		objects, err := read(manifest, by)
		if err != nil {
			return nil, err
		}
		if err := apply(ctx, clients, namespace, objects); err != nil {
			return nil, err
		}
	}
	s := &Stage{Clients: clients, Namespace: namespace}
	address, err := s.address(ctx, "store")
	if err != nil {
		return nil, err
	}
	if s.events, err = s.address(ctx, announcer); err != nil {
		return nil, err
	}
	keys, err := clients.Kube.CoreV1().Secrets(namespace).Get(ctx, Secret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting the store's keys: %w", err)
	}
	s.store = stores.S3At(address, string(keys.Data["accessKeyID"]), string(keys.Data["secretAccessKey"]))
	for _, bucket := range []string{Rows, Scores} {
		if err := s.store.Ensure(ctx, bucket); err != nil {
			return nil, fmt.Errorf("%w (Services of the cluster have to be reached from here, as on the local stack)", err)
		}
	}
	return s, nil
}

// address is the URL of a Service of the namespace.
func (s *Stage) address(ctx context.Context, name string) (string, error) {
	service, err := s.Clients.Kube.CoreV1().Services(s.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("getting Service %s: %w", name, err)
	}
	return fmt.Sprintf("http://%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port), nil
}

// Put puts an object into a bucket.
func (s *Stage) Put(ctx context.Context, bucket, key, content string) error {
	return s.store.Put(ctx, bucket, key, content)
}

// Source is that of a bucket's events.
func Source(bucket string) string { return "aws:s3.us-east-1." + bucket }

// Announced waits for the event of an object of rows to be sent.
func (s *Stage) Announced(ctx context.Context, key string) (a Announced, err error) {
	err = platform.Until(ctx, startedWithin, "the store to announce "+key, func(ctx context.Context) (string, error) {
		all, err := s.sent(ctx, key)
		if err != nil || len(all) == 0 {
			return "nothing was sent", err
		}
		a = all[0]
		return "", nil
	})
	return a, err
}

// sent are the events of an object of rows that were sent, by the log of what sends them.
func (s *Stage) sent(ctx context.Context, key string) ([]Announced, error) {
	pods, err := s.Clients.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + announcer})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	var all []Announced
	for i := range pods.Items {
		if !platform.IsReady(&pods.Items[i]) {
			continue
		}
		log, err := s.Clients.Kube.CoreV1().Pods(s.Namespace).GetLogs(pods.Items[i].Name, &corev1.PodLogOptions{}).Stream(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the log of pod %s: %w", pods.Items[i].Name, err)
		}
		all = append(all, sentOf(log, key)...)
		if err := log.Close(); err != nil {
			return nil, fmt.Errorf("reading the log of pod %s: %w", pods.Items[i].Name, err)
		}
	}
	return all, nil
}

// sentOf reads a log of s3events.
func sentOf(log io.Reader, key string) []Announced {
	var all []Announced
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var line struct {
			Msg string
			Announced
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "sent" && line.Subject == key && line.Source == Source(Rows) {
			all = append(all, line.Announced)
		}
	}
	return all
}

// All are the Batches that events have started.
func (s *Stage) All(ctx context.Context) ([]v1alpha1.Batch, error) {
	all, err := s.Clients.Sluice.SluiceV1alpha1().Batches(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.TriggerLabelKey + "=" + Trigger})
	if err != nil {
		return nil, fmt.Errorf("listing Batches: %w", err)
	}
	return all.Items, nil
}

// Batches are those of them that read an object.
func (s *Stage) Batches(ctx context.Context, key string) ([]v1alpha1.Batch, error) {
	all, err := s.All(ctx)
	if err != nil {
		return nil, err
	}
	var of []v1alpha1.Batch
	for _, b := range all {
		if b.Spec.Input.S3 != nil && b.Spec.Input.S3.Key == key {
			of = append(of, b)
		}
	}
	return of, nil
}

// Started waits for the Batch of an object.
func (s *Stage) Started(ctx context.Context, key string) (b *v1alpha1.Batch, err error) {
	err = platform.Until(ctx, startedWithin, "a Batch of "+key, func(ctx context.Context) (string, error) {
		all, err := s.Batches(ctx, key)
		if err != nil || len(all) == 0 {
			return "there is none", err
		}
		b = &all[0]
		return "", nil
	})
	return b, err
}

// Batch gets a Batch.
func (s *Stage) Batch(ctx context.Context, name string) (*v1alpha1.Batch, error) {
	return s.Clients.Sluice.SluiceV1alpha1().Batches(s.Namespace).Get(ctx, name, metav1.GetOptions{})
}

// Again has the store's record of an object announced once more, as stores may, and waits
// until the event has come through the Broker a second time. It returns how many Batches of
// the object there are then, and fails if the first is another one.
func (s *Stage) Again(ctx context.Context, key string, a Announced, first *v1alpha1.Batch) (int, error) {
	before, err := s.Clients.Outcomes(ctx, function, outcomes)
	if err != nil {
		return 0, err
	}
	if err := s.notify(ctx, a.Record); err != nil {
		return 0, err
	}
	err = platform.Until(ctx, startedWithin, "the same event to come again", func(ctx context.Context) (string, error) {
		now, err := s.Clients.Outcomes(ctx, function, outcomes)
		if err != nil {
			return "", err
		}
		all, err := s.sent(ctx, key)
		if err != nil {
			return "", err
		}
		if len(all) < 2 || now["started"] <= before["started"] {
			return fmt.Sprintf("it was sent %d times, and events came to %v, before %v", len(all), now, before), nil
		}
		if all[1].ID != a.ID || all[1].Source != a.Source {
			return "", fmt.Errorf("it came as event %s of %s, and was %s of %s", all[1].ID, all[1].Source, a.ID, a.Source)
		}
		return "", nil
	})
	if err != nil {
		return 0, err
	}
	batches, err := s.Batches(ctx, key)
	if err != nil {
		return 0, err
	}
	for _, b := range batches {
		if b.UID == first.UID && b.Generation == first.Generation {
			return len(batches), nil
		}
	}
	return len(batches), errors.New("the first Batch isn't there any more, or was changed")
}

// notify sends a record as a store does.
func (s *Stage) notify(ctx context.Context, record json.RawMessage) error {
	body, err := json.Marshal(map[string][]json.RawMessage{"Records": {record}})
	if err != nil {
		return fmt.Errorf("writing a notification: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.events, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("sending a notification: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("sending a notification: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		return fmt.Errorf("the notification was answered by %s: %s", answer.Status, strings.TrimSpace(string(said)))
	}
	return nil
}

// Output reads what a Batch has put, and holds it against its input.
func (s *Stage) Output(ctx context.Context, b *v1alpha1.Batch, in *Input) (*Output, error) {
	to := b.Spec.Output.S3
	if to == nil {
		return nil, errors.New("its output is no bucket")
	}
	objects, err := s.store.Objects(ctx, to.Bucket, to.Prefix+"/")
	if err != nil {
		return nil, err
	}
	return in.Read(objects)
}
