package whatif

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Settings are what is proposed.
type Settings struct {
	// Target is in requests in flight, or requests per second where the Model scales by
	// those; TargetUtilization in percent of it.
	Target            int32         `json:"target"`
	TargetUtilization int32         `json:"targetUtilization"`
	MinReplicas       int32         `json:"minReplicas"`
	MaxReplicas       int32         `json:"maxReplicas"`
	Window            time.Duration `json:"window"`
	HeadroomPercent   int32         `json:"headroomPercent"`
}

// settable are the annotations that would win over what is proposed.
var settable = []kmap.KeyPriority{
	autoscaling.MinScaleAnnotation, autoscaling.MaxScaleAnnotation, autoscaling.TargetAnnotation,
	autoscaling.TargetUtilizationPercentageAnnotation, autoscaling.WindowAnnotation,
}

// On is a Model with the settings instead of its own.
func (s Settings) On(model *v1alpha1.Model) *v1alpha1.Model {
	m := model.DeepCopy()
	for _, keys := range settable {
		for _, key := range keys {
			delete(m.Annotations, key)
		}
	}
	a := &m.Spec.Autoscaling
	a.Target, a.TargetUtilization, a.MinReplicas, a.MaxReplicas = &s.Target, &s.TargetUtilization, &s.MinReplicas, &s.MaxReplicas
	a.Window = &metav1.Duration{Duration: s.Window}
	m.Spec.Limit.HeadroomPercent = &s.HeadroomPercent
	return m
}

// place is a point of the space that is searched: an index into each of its axes.
type place struct{ aim, least, window, headroom int }

// space is what is searched. Each axis is in order.
type space struct {
	// aims are what the autoscaler aims at in a replica, as parts of what it works on at once,
	// or serves a second; full is that whole.
	aims []float64
	full float64
	// least are minReplicas, most is maxReplicas.
	least    []int32
	most     int32
	windows  []time.Duration
	headroom []int32
}

const (
	// finest is the ratio of two neighbouring aims, from the least to the most.
	finest            = 1.15
	leastAim, mostAim = .15, 2.
	// spare is how far above the busiest second maxReplicas is.
	spare = 1.5
)

// spaceOf is where a better tuning of a Model is looked for. How many replicas there should
// be at least goes by how many some shares of the seconds take, at most by the busiest one.
func spaceOf(s *setup) space {
	sp := space{
		full:     min(s.known.Parallel, s.known.replica(s.model).Concurrency),
		windows:  []time.Duration{6 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 3 * time.Minute},
		headroom: []int32{50, 100, 200},
	}
	serves := min(sp.full/s.known.Latency.Seconds(), s.perReplica)
	highest := mostAim
	if s.model.AutoscalingAnnotations()[autoscaling.MetricAnnotationKey] == autoscaling.RPS {
		sp.full = serves
	} else if n := s.model.Spec.ContainerConcurrency; n != nil && *n > 0 {
		highest = min(highest, float64(*n)/sp.full) // Knative takes no more for a target
	}
	for aim := leastAim; aim <= highest+1e-9; aim *= finest {
		sp.aims = append(sp.aims, aim)
	}
	var demand []float64
	for _, n := range s.Demand.Seconds {
		if n >= 0 {
			demand = append(demand, float64(n))
		}
	}
	slices.Sort(demand)
	for _, share := range []float64{0, .5, .8, .95, 1} {
		n := int32(min(mostReplicas, math.Ceil(demand[int(share*float64(len(demand)-1))]/serves)))
		sp.least = append(sp.least, n)
	}
	sp.most = max(2, int32(min(mostReplicas, math.Ceil(spare*demand[len(demand)-1]/serves))))
	sp.least = append(sp.least, 0, 1, 2)
	sp.fit(s)
	slices.Sort(sp.least)
	sp.least = slices.Compact(sp.least)
	return sp
}

// fit holds the bounds on replicas to what else is said of them: by the Model, which none of
// that is proposed anew of, and by the cluster.
func (sp *space) fit(s *setup) {
	mostLeast := int32(math.MaxInt32)
	if _, text, ok := autoscaling.ActivationScale.Get(s.model.AutoscalingAnnotations()); ok {
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			sp.most, mostLeast = max(sp.most, int32(n)), int32(n)
		}
	}
	if n := s.model.Spec.Autoscaling.InitialReplicas; n != nil {
		sp.most = max(sp.most, *n)
	}
	if s.Cluster != nil && s.Cluster.MaxScaleLimit > 0 {
		sp.most = min(sp.most, s.Cluster.MaxScaleLimit)
	}
	sp.least = slices.DeleteFunc(sp.least, func(n int32) bool { return n > min(sp.most, mostLeast) })
}

// at are the settings of a place.
func (sp *space) at(p place) Settings {
	value := max(.01, sp.aims[p.aim]*sp.full)
	target := max(1, math.Ceil(max(sp.full, value)-1e-9))
	return Settings{
		Target: int32(target), TargetUtilization: int32(min(100, max(1, math.Round(100*value/target)))),
		MinReplicas: sp.least[p.least], MaxReplicas: sp.most, Window: sp.windows[p.window], HeadroomPercent: sp.headroom[p.headroom],
	}
}

// coarse are the places that are looked at first: every third aim, every second minimum from the
// highest down and the lowest, every second window, and the headroom that is the default and the
// most.
func (sp *space) coarse() []place {
	var out []place
	usual, most := slices.Index(sp.headroom, v1alpha1.DefaultHeadroomPercent), len(sp.headroom)-1
	for aim := 0; aim < len(sp.aims); aim += 3 {
		for least := range sp.least {
			if least > 0 && (len(sp.least)-least)%2 == 0 {
				continue
			}
			for window := 0; window < len(sp.windows); window += 2 {
				out = append(out, place{aim, least, window, usual}, place{aim, least, window, most})
			}
		}
	}
	return out
}

// around are the neighbours of a place.
func (sp *space) around(p place) []place {
	var out []place
	add := func(q place) {
		if q.aim >= 0 && q.aim < len(sp.aims) && q.least >= 0 && q.least < len(sp.least) &&
			q.window >= 0 && q.window < len(sp.windows) && q.headroom >= 0 && q.headroom < len(sp.headroom) {
			out = append(out, q)
		}
	}
	for _, d := range []int{-1, 1} {
		add(place{p.aim + d, p.least, p.window, p.headroom})
		add(place{p.aim + 2*d, p.least, p.window, p.headroom})
		add(place{p.aim, p.least + d, p.window, p.headroom})
		add(place{p.aim, p.least, p.window + d, p.headroom})
		add(place{p.aim, p.least, p.window, p.headroom + d})
		// Fewer that are kept take a lower aim, and the other way round.
		add(place{p.aim + d, p.least + d, p.window, p.headroom})
		add(place{p.aim + 2*d, p.least + d, p.window, p.headroom})
	}
	return out
}

// String is what an operator would write.
func (s Settings) String() string {
	return strings.Join([]string{
		"target " + strconv.Itoa(int(s.Target)), "utilisation " + strconv.Itoa(int(s.TargetUtilization)) + " %",
		"min " + strconv.Itoa(int(s.MinReplicas)), "max " + strconv.Itoa(int(s.MaxReplicas)),
		"window " + s.Window.String(), "headroom " + strconv.Itoa(int(s.HeadroomPercent)) + " %",
	}, ", ")
}
