package worker

import (
	"context"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// Plan returns a batch's plan, once its output is its own: the one that is there, or else
// that of its input, which it keeps.
func Plan(ctx context.Context, t *task.Task, from input.Source, to Output) (*plan.Plan, error) {
	if err := to.Claim(ctx); err != nil {
		return nil, err
	}
	if kept, err := to.Plan(ctx); kept != nil || err != nil {
		return kept, err
	}
	ranges, err := from.Fix(ctx, nil)
	if err != nil {
		return nil, err
	}
	builder := plan.New(plan.Bounds{Items: t.Bounds.PartItems, Bytes: t.Bounds.PartBytes, Shards: t.Bounds.Shards, Workers: t.Bounds.Workers})
	for item, err := range from.Items(ctx, plan.Position{}) {
		if err != nil {
			return nil, err
		}
		builder.Add(item.End, item.Size)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	p := builder.Plan()
	p.Ranges = ranges
	return to.SavePlan(ctx, p)
}
