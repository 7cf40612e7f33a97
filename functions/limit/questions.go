package limit

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// probeLines are the lines of a gateway, but for the pod, that always answer: those
// of the entries that need no certificate.
func probeLines(name string) []line {
	return []line{
		{entry: gateway.External, host: gateway.ProbeHost(name)},
		{entry: gateway.Local, host: gateway.ProbeHost(name)},
	}
}

// setLines sets what is to prove each plan at each of its homes. A filter chain of
// the HTTPS entry is asked at one host, whoever's, since its slots are asked about
// and not its routes. It is no line where no host leads to it.
func setLines(plans []plan, r *routing) {
	hosts := map[chain]string{}
	for _, p := range plans {
		for _, h := range p.homes {
			for _, c := range h.chains {
				if _, ok := hosts[c]; ok {
					continue
				}
				if host, ok := r.hostOn(p.of.Spec.VirtualService, h.gateway, c); ok {
					hosts[c] = host
				}
			}
		}
	}
	for _, p := range plans {
		for i := range p.homes {
			h := &p.homes[i]
			h.asked = probeLines(h.gateway)
			for _, c := range h.chains {
				if host, ok := hosts[c]; ok {
					h.asked = append(h.asked, line{entry: gateway.Secure, host: host})
				}
			}
		}
	}
}

// questions returns the generation that each slot of each gateway pod should answer
// with: of entries without certificates every slot, of a filter chain those that
// hold a limit of what is served there.
func questions(s *state, plans []plan, generations map[string][]string) map[question]string {
	out, entries := map[question]string{}, gateway.Entries()
	want := func(l line, slot int) {
		if of, ok := generations[gateway.SlotObjectName(l.pod.Gateway, l.pod.Slots, slot)]; ok {
			out[question{line: l, slot: slot}] = of[slices.Index(entries, l.entry)]
		}
	}
	for name := range s.routing.gateways {
		for _, l := range probeLines(name) {
			for _, l.pod = range s.pods[name] {
				for slot := range l.pod.Slots {
					want(l, slot)
				}
			}
		}
	}
	for _, p := range plans {
		for _, h := range p.homes {
			for _, l := range h.asked {
				for _, l.pod = range s.pods[h.gateway] {
					want(l, p.slots[l.pod.Slots])
				}
			}
		}
	}
	return out
}

// proof is how far a limit was seen enforced on the gateways that are to have its
// route.
type proof struct {
	pods int
	// lagging has a question for each pod that was not seen to enforce it.
	lagging []question
	// without are the gateways that have no ready pod, proved those of which each was
	// seen to enforce it.
	without, proved []string
}

func (p proof) equal(q proof) bool {
	return p.pods == q.pods && slices.Equal(p.lagging, q.lagging) && slices.Equal(p.without, q.without) && slices.Equal(p.proved, q.proved)
}

func (p proof) complete() bool { return len(p.lagging) == 0 && len(p.without) == 0 }

// proofOf compares what is asked of a plan with what was answered. Nothing is proved
// on a gateway that isn't there.
func (f *Function) proofOf(p *plan) proof {
	var found proof
	wanted := sets.New(p.of.Spec.Gateways...)
	for _, h := range p.homes {
		if !wanted.Has(h.gateway) || len(f.pods[h.gateway]) == 0 {
			continue
		}
		wanted.Delete(h.gateway)
		lagged := len(found.lagging)
		for _, pod := range f.pods[h.gateway] {
			asked := make([]question, len(h.asked))
			for i, l := range h.asked {
				l.pod = pod
				asked[i] = question{line: l, slot: p.slots[pod.Slots]}
			}
			found.pods++
			if unproved := f.Prover.unproved(asked); len(unproved) > 0 {
				found.lagging = append(found.lagging, unproved[0])
			}
		}
		if len(found.lagging) == lagged {
			found.proved = append(found.proved, h.gateway)
		}
	}
	found.without = sets.List(wanted)
	return found
}
