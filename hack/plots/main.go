// Command plots prints the plot of docs/tuning.md: what targets cost, and how many seconds
// they let go over the latency goal, in functions/whatif. A float is a float: on another
// kind of processor a digit may differ.
package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func main() {
	if err := run(os.Stdout, 3600, whatif.DefaultRuns); err != nil {
		fmt.Fprintln(os.Stderr, "plots:", err)
		os.Exit(1)
	}
}

// point is what comes of a target.
type point struct {
	target float64
	// replicas are those that there were, on average; over is the part of the seconds.
	replicas, over whatif.Interval
}

// run plots what comes of so many seconds of demand, of so many courses each.
func run(out io.Writer, seconds, courses int) error {
	var points []point
	for target := int32(1); target <= 9; target++ {
		answer, err := whatif.Predict(context.Background(), whatif.Question{
			Demand: demand(seconds), Model: model(target), Runs: courses,
			Measured: whatif.Measured{Latency: 100 * time.Millisecond, ColdStarts: []time.Duration{2 * time.Second, 3 * time.Second, 5 * time.Second}},
			Goal:     whatif.Goal{Percentile: 95, Within: 300 * time.Millisecond},
		}, nil)
		if err != nil {
			return fmt.Errorf("target %d: %w", target, err)
		}
		points = append(points, point{target: float64(target), replicas: times(answer.Model.ReplicaSeconds, 1/float64(seconds)), over: times(answer.Model.OverShare, 100)})
	}
	if err := page.Execute(out, draw(points)); err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	return nil
}

// model has replicas that serve 50 requests per second, and so work on 5 at once.
func model(target int32) *v1alpha1.Model {
	rate, utilization := resource.MustParse("50"), int32(100)
	return &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker"},
		Spec: v1alpha1.ModelSpec{
			Container: corev1.Container{Image: "ranker"},
			Autoscaling: v1alpha1.AutoscalingSpec{
				Target: &target, TargetUtilization: &utilization, Window: &metav1.Duration{Duration: 30 * time.Second},
			},
			Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate},
		},
	}
}

// demand rises and falls every ten minutes, with a burst each two.
func demand(seconds int) trace.Trace {
	t := trace.Trace{Start: time.Unix(0, 0), Seconds: make([]float32, seconds)}
	for i := range t.Seconds {
		rate := 200 - 150*math.Cos(2*math.Pi*float64(i)/600)
		if i%120 < 10 {
			rate += 150
		}
		t.Seconds[i] = float32(math.Round(rate))
	}
	return t
}

// panel is a curve with its interval.
type panel struct {
	Title      string
	Left       int
	Line, Band string
	Ticks      []tick
	Targets    []tick
}

type tick struct {
	At   float64
	Text string
}

const width, height = 300., 200.

func draw(points []point) []panel {
	cost := curve("replicas, on average", 60, points, func(p point) whatif.Interval { return p.replicas })
	over := curve("seconds over the goal, %", 440, points, func(p point) whatif.Interval { return p.over })
	return []panel{cost, over}
}

func times(i whatif.Interval, by float64) whatif.Interval {
	return whatif.Interval{Low: i.Low * by, Median: i.Median * by, High: i.High * by}
}

func curve(title string, left int, points []point, of func(point) whatif.Interval) panel {
	most := 0.
	for _, p := range points {
		most = math.Max(most, of(p).High)
	}
	step := math.Pow(10, math.Floor(math.Log10(math.Max(most, 1e-9))))
	for _, part := range []float64{.2, .5, 1, 2} {
		if most/(step*part) <= 6 {
			step *= part
			break
		}
	}
	most = step * math.Max(1, math.Ceil(most/step))
	x := func(p point) float64 { return (p.target - 1) / float64(len(points)-1) * width }
	y := func(v float64) float64 { return height - v/most*height }
	out := panel{Title: title, Left: left}
	var line, high, low []string
	for i, p := range points {
		v := of(p)
		line = append(line, fmt.Sprintf("%.1f,%.1f", x(p), y(v.Median)))
		high = append(high, fmt.Sprintf("%.1f,%.1f", x(p), y(v.High)))
		back := points[len(points)-1-i]
		low = append(low, fmt.Sprintf("%.1f,%.1f", x(back), y(of(back).Low)))
		out.Targets = append(out.Targets, tick{At: x(p), Text: fmt.Sprintf("%g", p.target)})
	}
	out.Line, out.Band = strings.Join(line, " "), strings.Join(append(high, low...), " ")
	for v := 0.; v <= most+step/2; v += step {
		out.Ticks = append(out.Ticks, tick{At: y(v), Text: fmt.Sprintf("%.3g", v)})
	}
	return out
}

var page = template.Must(template.New("plot").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 280" font-family="sans-serif" font-size="12">
<rect width="780" height="280" fill="#fff"/>
{{- range . }}
<g transform="translate({{ .Left }},40)">
<text x="150" y="-18" text-anchor="middle" font-size="13">{{ .Title }}</text>
{{- range .Ticks }}
<line x1="0" x2="300" y1="{{ printf "%.1f" .At }}" y2="{{ printf "%.1f" .At }}" stroke="#ddd"/><text x="-6" y="{{ printf "%.1f" .At }}" dy="4" text-anchor="end">{{ .Text }}</text>
{{- end }}
{{- range .Targets }}
<text x="{{ printf "%.1f" .At }}" y="216" text-anchor="middle">{{ .Text }}</text>
{{- end }}
<polygon points="{{ .Band }}" fill="#4878b0" fill-opacity=".25"/>
<polyline points="{{ .Line }}" fill="none" stroke="#4878b0" stroke-width="2"/>
<text x="150" y="234" text-anchor="middle">target × utilisation; a replica works on 5</text>
</g>
{{- end }}
</svg>
`))
