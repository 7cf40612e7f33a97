package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// demo is what the steps know of each other.
type demo struct {
	options
	*show.Page

	request  []byte
	expected platform.Prediction

	clients  *platform.Clients
	endpoint platform.Endpoint
	model    *v1alpha1.Model
	trail    *platform.Trail

	// fromZero is how long the first answer took, difference how far it was off.
	fromZero   time.Duration
	difference float64
	loadStart  time.Time
	samples    []sample
	// counts are the gateway's own at the last sample; miscounted is why they aren't.
	counts     platform.Counts
	miscounted error
	report     *load.Report

	// pair is the same model without and with a warm-up.
	pair []*arm
}

func (d *demo) readFiles() error {
	request, err := os.ReadFile(d.options.request)
	if err != nil {
		return fmt.Errorf("reading the request (run it in the repository's root): %w", err)
	}
	answer, err := os.ReadFile(d.options.expected)
	if err != nil {
		return fmt.Errorf("reading the expected answer: %w", err)
	}
	expected, err := platform.ParsePrediction(answer)
	if err != nil {
		return fmt.Errorf("%s: %w", d.options.expected, err)
	}
	d.request, d.expected = request, expected
	return nil
}

// findGateway looks the address up before anything is deployed, and refuses one
// that no load may be sent to.
func (d *demo) findGateway(ctx context.Context) error {
	address := d.address
	if address == "" {
		found, err := d.clients.GatewayAddress(ctx)
		if err != nil {
			return err
		}
		address = found
	}
	if _, err := load.LoopbackAddress(address); err != nil {
		return fmt.Errorf("the gateway's %w; for example `kubectl -n sluice-gateways port-forward service/shared 8080:80` "+
			"and -address 127.0.0.1:8080", err)
	}
	d.endpoint.Address = address
	d.Printf("Sluice demo: a model from zero, a limit that follows its replicas, and a warm-up\n"+
		"  image     %s\n  model     %s/%s, from test/demo/model.yaml\n  gateway   %s\n",
		show.Digest(d.image), d.namespace, modelName, address)
	return nil
}

// follow begins the trail that every later step reads.
func (d *demo) follow(ctx context.Context) error {
	trail, err := platform.Follow(ctx, d.clients, d.namespace, modelName)
	d.trail = trail
	return err
}

// restWithin bounds the wait for zero replicas: the window, a tick or two of the
// autoscaler, and a pod's last seconds.
const restWithin = time.Minute

// rest waits until the Model is scaled to zero and its limit says so.
func (d *demo) rest(ctx context.Context) error {
	d.Title(fmt.Sprintf("Waiting for zero replicas, %v at most", restWithin))
	said := ""
	return platform.Until(ctx, restWithin, "zero replicas and their limit", func(ctx context.Context) (string, error) {
		if now := d.trail.Now().String(); now != said {
			said = now
			d.Sayf("%s", now)
		}
		return d.resting(ctx)
	})
}

// resting says what is missing to rest.
func (d *demo) resting(context.Context) (string, error) {
	if now := d.trail.Now(); now.Desired() > 0 || now.Ready() > 0 || !now.Agrees() {
		return now.String(), nil
	}
	return "", nil
}

// predict sends the one request, with no replica there.
func (d *demo) predict(ctx context.Context) error {
	d.Title("One prediction, from zero")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d.Printf("  request     POST http://%s%s\n              %s, %d candidates of 30 measurements\n",
		d.endpoint.Host, platform.InferPath, d.options.request, len(d.expected.Scores))
	status, answer, took, err := d.endpoint.Post(ctx, platform.InferPath, d.request)
	if err != nil {
		return err
	}
	if status != 200 {
		return fmt.Errorf("the prediction was answered with status %d: %s", status, answer)
	}
	got, err := platform.ParsePrediction(answer)
	if err != nil {
		return err
	}
	d.fromZero, d.difference = took, got.Difference(d.expected)
	d.Printf("  answer      %s\n  expected    %s, by scikit-learn\n  difference  %.1e at most; the order is %v\n  took        %s from zero replicas\n",
		scores(got), scores(d.expected), d.difference, got.Order, show.Seconds(took))
	return nil
}

// farewell says how to go on.
func (d *demo) farewell() {
	d.Title("Go on with")
	host, port, _ := net.SplitHostPort(d.endpoint.Address)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "80" {
		host += ":" + port
	}
	d.Printf("  curl -H 'Host: %s' http://%s%s \\\n    -d @%s\n  kubectl --kubeconfig %s -n %s get models\n",
		d.endpoint.Host, host, platform.InferPath, d.options.request, d.kubeconfig, d.namespace)
}

// explained adds what the cluster says of itself to an error, once there is
// something to say it of.
func (d *demo) explained(err error) error {
	if apierrs.IsNotFound(err) || d.model == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return fmt.Errorf("%w\n\n%s", err, d.clients.Explain(ctx, d.namespace))
}

func scores(p platform.Prediction) string {
	texts := make([]string, 0, len(p.Scores))
	for _, score := range p.Scores {
		texts = append(texts, fmt.Sprintf("%.6f", score))
	}
	return strings.Join(texts, "  ")
}
