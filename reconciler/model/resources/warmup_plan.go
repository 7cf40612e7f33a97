package resources

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

// warmUpPlan is the Model's warm-up as the container goes by it.
func warmUpPlan(spec *v1alpha1.ModelSpec) *warmup.Plan {
	w := spec.WarmUp
	probes, conclusive := probesOf(spec)
	plan := &warmup.Plan{
		Model:               warmup.Target{Port: int(spec.ModelPort()), H2C: spec.SpeaksH2C(), Probes: probes, Conclusive: conclusive},
		Concurrency:         int(w.Concurrency),
		Repeat:              int(w.Repeat),
		TimeoutMilliseconds: w.Timeout.Milliseconds(),
		ServeCold:           w.OnFailure == v1alpha1.WarmUpServe,
	}
	if w.Corpus != nil {
		plan.Corpus = w.Corpus.Image
	}
	if w.Until != nil && w.Until.Stable != nil {
		plan.Stable = &warmup.Stable{Window: int(w.Until.Stable.Window), Tolerance: int(w.Until.Stable.Tolerance)}
	}
	beside := bodiesBeside(w)
	for i, r := range w.Requests {
		request := planned(r)
		if beside {
			request.Body, request.BodyBytes = "", nil
			if r.BodyFrom != nil || r.Body != "" || len(r.BodyBytes) > 0 {
				request.BodyFile = bodyFile(i)
			}
		}
		plan.Requests = append(plan.Requests, request)
	}
	return plan
}

func planned(r v1alpha1.WarmUpRequest) warmup.Request {
	out := warmup.Request{
		Name: r.Name, Method: r.Method, Path: r.Path, GRPC: r.GRPC, Headers: r.Headers, Body: r.Body, BodyBytes: r.BodyBytes,
	}
	if r.Expect == nil {
		return out
	}
	out.Expect = &warmup.Expect{Status: r.Expect.Status}
	if j := r.Expect.JSON; j != nil {
		out.Expect.JSON = &warmup.JSONValue{Path: j.Path, Value: j.Value}
	}
	if body := append([]byte(r.Expect.Body), r.Expect.BodyBytes...); len(body) > 0 {
		sum := sha256.Sum256(body)
		out.Expect.BodySHA256 = hex.EncodeToString(sum[:])
	}
	return out
}

// probesOf are the model's own probes that the container beside it can ask, as the kubelet
// asks the one and Knative's queue-proxy the other; and whether they say that the model has
// loaded. They don't where there are none, or only that its port takes connections, which
// is looked up anyway; nor where one can't be asked.
func probesOf(spec *v1alpha1.ModelSpec) (asked []warmup.Probe, conclusive bool) {
	silent := false
	for _, own := range []struct {
		name    string
		probe   *corev1.Probe
		timeout int32
	}{
		{"startupProbe", spec.Container.StartupProbe, kubeletFor},
		{"readinessProbe", spec.Container.ReadinessProbe, probeFor},
	} {
		switch {
		case own.probe == nil || own.probe.ProbeHandler == corev1.ProbeHandler{}:
			continue
		case !v1alpha1.WarmUpCanAsk(own.name, own.probe):
			silent = true
			continue
		}
		probe := probeOf(own.probe, spec.ModelPort())
		if probe.HTTP == nil && probe.GRPC == nil && probe.Port == int(spec.ModelPort()) {
			continue
		}
		probe.Name, probe.TimeoutSeconds = own.name, int(cmp.Or(own.probe.TimeoutSeconds, own.timeout))
		asked = append(asked, probe)
	}
	return asked, len(asked) > 0 && !silent
}

// probeOf is a probe as the container asks it; model is the port of one that names none.
func probeOf(p *corev1.Probe, model int32) warmup.Probe {
	switch {
	case p.HTTPGet != nil:
		get := &warmup.HTTPProbe{Path: p.HTTPGet.Path, HTTPS: p.HTTPGet.Scheme == corev1.URISchemeHTTPS}
		for _, h := range p.HTTPGet.HTTPHeaders {
			if get.Headers == nil {
				get.Headers = map[string][]string{}
			}
			get.Headers[h.Name] = append(get.Headers[h.Name], h.Value)
		}
		return warmup.Probe{Port: int(cmp.Or(p.HTTPGet.Port.IntVal, model)), HTTP: get}
	case p.GRPC != nil:
		check := &warmup.GRPCProbe{}
		if p.GRPC.Service != nil {
			check.Service = *p.GRPC.Service
		}
		return warmup.Probe{Port: int(cmp.Or(p.GRPC.Port, model)), GRPC: check}
	default:
		return warmup.Probe{Port: int(cmp.Or(p.TCPSocket.Port.IntVal, model))}
	}
}

func encodePlan(plan *warmup.Plan) string {
	text, err := json.Marshal(plan)
	if err != nil {
		panic(fmt.Sprintf("a plan is plain data: %v", err))
	}
	return string(text)
}
