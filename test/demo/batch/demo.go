package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/demo/internal/deploy"
	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/s3batch"
)

// demo is what the steps know of each other.
type demo struct {
	options
	*show.Page
	// key is the object's: a new one each time, since a run is of one event.
	key string

	request []byte
	input   *s3batch.Input

	clients  *platform.Clients
	stage    *s3batch.Stage
	endpoint platform.Endpoint
	trail    *platform.Trail

	event s3batch.Announced
	// first is the Batch as the event started it, batch as it ended.
	first, batch *v1alpha1.Batch
	traffic      traffic
	output       *s3batch.Output
	// wrong is what isn't as the input wants it.
	wrong error
	// batches are how many there are of the object, after its event came twice.
	batches int
}

func (d *demo) readFiles() error {
	request, err := os.ReadFile(d.options.request)
	if err != nil {
		return fmt.Errorf("reading the request (run it in the repository's root): %w", err)
	}
	expected, err := os.ReadFile(d.options.expected)
	if err != nil {
		return fmt.Errorf("reading the candidates: %w", err)
	}
	d.request = request
	d.input, err = s3batch.NewInput(expected, d.rows, d.broken)
	return err
}

// deploy makes the namespace, and the stage in it.
func (d *demo) deploy(ctx context.Context) error {
	address, err := d.clients.GatewayAddress(ctx)
	if err != nil {
		return err
	}
	if _, err := load.LoopbackAddress(address); err != nil {
		return fmt.Errorf("the gateway's %w; the demo is for the local stack", err)
	}
	d.Printf("Sluice demo of batch: an object is put into a store, and scored with what online callers leave\n"+
		"  ranker     %s\n  store      %s\n  s3events   %s\n  namespace  %s, from test/s3batch\n",
		show.Digest(d.images.Ranker), show.Digest(d.images.Store), show.Digest(d.images.Events), d.namespace)
	d.Title("Deploying")
	if err := deploy.Namespace(ctx, d.clients, d.namespace); err != nil {
		return err
	}
	if d.stage, err = s3batch.New(ctx, d.clients, d.namespace, d.images); err != nil {
		return err
	}
	m, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Get(ctx, s3batch.Model, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("getting the Model: %w", err)
	}
	d.endpoint = platform.Endpoint{Address: address, Host: m.Status.URL.Host}
	d.Sayf("ready: a Broker, a store that announces what is put to it, Model %s at %s, InferenceTrigger %s", s3batch.Model, m.Status.URL, s3batch.Trigger)
	d.trail, err = platform.Follow(ctx, d.clients, d.namespace, s3batch.Model)
	return err
}

// wake has the Model answer once, so that online callers meet no start.
func (d *demo) wake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	status, answer, took, err := d.endpoint.Post(ctx, platform.InferPath, d.request)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("the first request was answered with status %d: %.200s", status, answer)
	}
	d.Sayf("the first answer took %s", show.Seconds(took))
	return nil
}

// announce puts the object, and follows its event until the run that it starts is over.
func (d *demo) announce(ctx context.Context) error {
	if err := d.stage.Put(ctx, s3batch.Rows, d.key, d.input.Content); err != nil {
		return err
	}
	put := time.Now()
	var err error
	if d.event, err = d.stage.Announced(ctx, d.key); err != nil {
		return err
	}
	if d.first, err = d.stage.Started(ctx, d.key); err != nil {
		return err
	}
	d.traffic.putAt = put
	d.Printf("  put      rows/%s, %d rows, %.1f MB\n  event    %s, source %s, id %s…\n  started  Batch %s %s after the object was put\n",
		d.key, d.input.Rows(), float64(len(d.input.Content))/1e6, d.event.Type, d.event.Source, d.event.ID[:8],
		d.first.Name, show.Seconds(time.Since(put)))
	return platform.Until(ctx, runWithin, "the run to be over", func(ctx context.Context) (string, error) {
		b, err := d.stage.Batch(ctx, d.first.Name)
		if err != nil {
			return "", fmt.Errorf("getting the Batch: %w", err)
		}
		d.batch = b
		if b.Status.IsFinished() {
			return "", nil
		}
		return fmt.Sprintf("%+v, %+v", b.Status.GetCondition(apis.ConditionSucceeded), b.Status.BatchProgress), nil
	})
}

// results reads what the run has put.
func (d *demo) results(ctx context.Context) error {
	if c := d.batch.Status.GetCondition(v1alpha1.BatchConditionComplete); !c.IsTrue() {
		return fmt.Errorf("the run has failed: %s: %s", c.GetReason(), c.GetMessage())
	}
	d.output, d.wrong = d.stage.Output(ctx, d.batch, d.input)
	if d.output == nil {
		return d.wrong
	}
	d.Title(fmt.Sprintf("The first results, of bucket scores, %s/results/", d.batch.Spec.Output.S3.Prefix))
	for _, r := range d.output.First(3) {
		score, _ := r.Score()
		d.Printf("  %-8s malignant with probability %.6f; by scikit-learn %.6f\n", r.Response.ID, score, d.input.Scores[r.Item])
	}
	d.Title("Dead letters, the same prefix, errors/")
	for _, r := range d.output.Errors {
		d.Printf("  line %-6d %.110s\n", r.Line, r.Reason)
	}
	return nil
}

// again has the store's event come a second time.
func (d *demo) again(ctx context.Context) (err error) {
	d.Title("The same event again")
	if d.batches, err = d.stage.Again(ctx, d.key, d.event, d.first); err != nil {
		return err
	}
	d.Printf("  event %s… came through the Broker a second time; Batches of the object: %d\n", d.event.ID[:8], d.batches)
	return nil
}

// farewell says how to go on.
func (d *demo) farewell() {
	d.Title("Go on with")
	kubectl := "kubectl --kubeconfig " + d.kubeconfig
	d.Printf("  %s -n %s get batches\n  %s -n %s logs deployment/s3events\n  %s delete namespace %s\n",
		kubectl, d.namespace, kubectl, d.namespace, kubectl, d.namespace)
}

// explained adds what the cluster says of itself to an error.
func (d *demo) explained(err error) error {
	if d.stage == nil && !strings.Contains(err.Error(), "waiting for") {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	said := ""
	if d.first != nil {
		if b, getErr := d.stage.Batch(ctx, d.first.Name); getErr == nil {
			said = fmt.Sprintf("Batch %s: %+v\n", b.Name, b.Status)
		}
	}
	return errors.Join(err, errors.New("\n"+said+d.clients.Explain(ctx, d.namespace)))
}
