package slack

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var read = time.Unix(2_000_000_000, 0)

func steady(rate float64) Demand { return Demand{At: read, Mean: rate, Last: rate} }

func TestOf(t *testing.T) {
	plain := Rule{Every: time.Second, Valid: 4 * time.Second}
	waits := Backlog{}.Next(0, 0, read).Next(150, 100, read.Add(time.Second))
	for name, tt := range map[string]struct {
		rule  Rule
		model Model
		want  float64
	}{
		"nobody asks": {plain, Model{Limit: 200, Serves: 100, Demand: steady(0)}, 100},
		"what the demand leaves of the replicas, not of the headroom": {plain, Model{Limit: 200, Serves: 100, Demand: steady(30)}, 70},
		"a cap below what they serve":                                 {plain, Model{Limit: 60, Serves: 100, Demand: steady(30)}, 30},
		"no replica is ready":                                         {plain, Model{Limit: 200, Demand: steady(0)}, 0},
		"nothing is left":                                             {plain, Model{Limit: 200, Serves: 100, Demand: steady(120)}, 0},
		"a margin of the demand":                                      {Rule{Margin: .1}, Model{Limit: 200, Serves: 100, Demand: steady(30)}, 67},
		"a reserve of what is left":                                   {Rule{Reserve: .1}, Model{Limit: 200, Serves: 100, Demand: steady(30)}, 63},
		"both":                                                        {Rule{Margin: .1, Reserve: .1}, Model{Limit: 200, Serves: 100, Demand: steady(30)}, 60.3},
		"by chance one second has more":                               {plain, Model{Limit: 100, Serves: 100, Demand: Demand{At: read, Mean: 36, Last: 45}}, 64},
		"a rise is believed at once":                                  {plain, Model{Limit: 100, Serves: 100, Demand: Demand{At: read, Mean: 16, Last: 32}}, 74},
		"a fall is believed slowly":                                   {plain, Model{Limit: 100, Serves: 100, Demand: Demand{At: read, Mean: 45, Last: 30}}, 55},
		"what waits goes first":                                       {plain, Model{Limit: 200, Serves: 100, Demand: steady(30), Backlog: waits}, 47.5},
	} {
		t.Run(name, func(t *testing.T) {
			got := tt.rule.Of(tt.model)
			if math.Abs(got.Rate-tt.want) > 1e-9 || !got.Expires.Equal(read.Add(tt.rule.Valid)) {
				t.Errorf("Of() = %+v, want %g until %v", got, tt.want, read.Add(tt.rule.Valid))
			}
		})
	}
}

func TestBacklog(t *testing.T) {
	b, now := Backlog{}, read
	for _, step := range []struct {
		name             string
		admitted, serves float64
		after            time.Duration
		want             float64
	}{
		{"there is nothing to compare with", 500, 100, time.Second, 0},
		{"more is admitted than served", 150, 100, 2 * time.Second, 100},
		{"just what is served", 100, 100, 10 * time.Second, 100},
		{"it is worked off", 70, 100, 2 * time.Second, 40},
		{"and is no credit", 0, 100, 10 * time.Second, 0},
		{"the activator holds no more", 1e6, 0, time.Second, mostWaiting},
	} {
		now = now.Add(step.after)
		if b = b.Next(step.admitted, step.serves, now); math.Abs(b.requests-step.want) > 1e-9 {
			t.Errorf("%s: %g wait, want %g", step.name, b.requests, step.want)
		}
	}
}

func drawRule(t *rapid.T) Rule {
	return Rule{
		Margin: rapid.Float64Range(0, .5).Draw(t, "margin"), Reserve: rapid.Float64Range(0, .9).Draw(t, "reserve"),
		Every: time.Second, Valid: 4 * time.Second,
	}
}

func drawModel(t *rapid.T) Model {
	rate := func(name string) float64 { return rapid.Float64Range(0, 1e5).Draw(t, name) }
	return Model{
		Limit: rate("limit"), Serves: rate("serves"), Demand: Demand{At: read, Mean: rate("mean"), Last: rate("last")},
		Backlog: Backlog{requests: rapid.Float64Range(0, mostWaiting).Draw(t, "backlog")},
	}
}

// Whatever the figures, a steady demand and its slack are no more than the replicas serve
// and the limit admits; more demand, fewer replicas and more that waits never leave more.
func TestSlackIsWhatIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule, m := drawRule(t), drawModel(t)
		got := rule.Of(m).Rate
		if got < 0 || math.IsNaN(got) {
			t.Fatalf("a slack of %g", got)
		}
		if got > 0 && got+m.Demand.Mean > m.capacity()+1e-6 {
			t.Fatalf("%g and a demand of %g are more than %g", got, m.Demand.Mean, m.capacity())
		}
		more := func(name string, of *float64) {
			was := *of
			*of += rapid.Float64Range(0, 1e4).Draw(t, name)
			if now := rule.Of(m).Rate; now > got+1e-6 {
				t.Fatalf("with %s %g, not %g, it is %g, not %g", name, *of, was, now, got)
			}
			*of = was
		}
		more("last", &m.Demand.Last)
		more("backlog", &m.Backlog.requests)
		m.Demand.Last = m.Demand.Mean
		got = rule.Of(m).Rate
		more("demand", &m.Demand.Mean)
		m.Serves *= rapid.Float64Range(0, 1).Draw(t, "fewer")
		if now := rule.Of(m).Rate; now > got+1e-6 {
			t.Fatalf("with fewer replicas it is %g, not %g", now, got)
		}
	})
}

// What a slack was computed by is within what Together says of the demand then.
func TestTogetherBoundsEachSlack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule, m := drawRule(t), drawModel(t)
		low := min(m.Demand.Mean, m.Demand.Last)
		if rapid.Bool().Draw(t, "rising") {
			low = m.Demand.Last
		}
		got, most := rule.Of(m).Rate, rule.Together(m.capacity(), low, 0)
		if got > most+1e-6 {
			t.Fatalf("%+v leaves %g, more than %g", m.Demand, got, most)
		}
	})
}

func TestSlackExpires(t *testing.T) {
	s := Slack{Rate: 7, Expires: read}
	if got := s.At(read.Add(-1)); got != 7 {
		t.Errorf("before: %g", got)
	}
	if got := s.At(read); got != 0 {
		t.Errorf("from then on: %g", got)
	}
}
