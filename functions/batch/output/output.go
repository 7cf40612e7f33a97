package output

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// maxOwn bounds what is read of the worker's own objects: a plan of MaxParts long names.
const maxOwn = 64 << 20

// Owner is the batch that an output is of.
type Owner struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Output is a batch's.
type Output struct {
	store    objects.Store
	prefix   string
	owner    Owner
	patience objects.Patience
}

// Open opens the Output that a task names.
func Open(ctx context.Context, t *task.Task) (*Output, error) {
	store, err := objects.Open(ctx, &t.Output.Store, t.Output.Prefix)
	if err != nil {
		return nil, blame(err)
	}
	return New(store, t), nil
}

// New returns the Output of a task in a store.
func New(store objects.Store, t *task.Task) *Output {
	return &Output{
		store: store, prefix: t.Output.Prefix, owner: Owner{Namespace: t.Namespace, Name: t.Name, UID: t.UID},
		patience: objects.Patience(t.Retry.Patience),
	}
}

func (o *Output) key(names ...string) string {
	return path.Join(append([]string{o.prefix}, names...)...)
}

func results(first int64) string { return fmt.Sprintf("results/%012d.jsonl", first) }

func failures(first int64) string { return fmt.Sprintf("errors/%012d.jsonl", first) }

// Claim makes the output the batch's own. It fails where it is another's already, and where
// the store replaces what is there: then nothing would be sure.
func (o *Output) Claim(ctx context.Context) error {
	key := o.key("_sluice/owner.json")
	content, err := json.Marshal(o.owner)
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	err = o.create(ctx, key, content)
	if err == nil {
		if err = o.create(ctx, key, content); err == nil {
			return task.Final(task.OutputUnsafe, fmt.Errorf("the store has replaced %s though asked not to (If-None-Match: *); use one that heeds that", key))
		}
	}
	if !errors.Is(err, objects.ErrExists) {
		return blame(err)
	}
	var owner Owner
	if err := o.readOwn(ctx, key, &owner); err != nil {
		return err
	}
	if owner.UID != o.owner.UID {
		return task.Final(task.OutputInUse, fmt.Errorf(
			"%s says that the output is that of batch %s/%s (uid %s); name another prefix, or remove what is there", key, owner.Namespace, owner.Name, owner.UID))
	}
	return nil
}

// SavePlan keeps a plan, unless there is one. It returns the one that is kept.
func (o *Output) SavePlan(ctx context.Context, p *plan.Plan) (*plan.Plan, error) {
	content, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("writing the plan: %w", err)
	}
	err = o.create(ctx, o.key("_sluice/plan.json"), content)
	if err != nil && !errors.Is(err, objects.ErrExists) {
		return nil, blame(err)
	}
	return o.Plan(ctx)
}

// Plan returns the plan, nil where none is kept yet.
func (o *Output) Plan(ctx context.Context) (*plan.Plan, error) {
	kept := &plan.Plan{}
	err := o.readOwn(ctx, o.key("_sluice/plan.json"), kept)
	if errors.Is(err, objects.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return kept, nil
}

func (o *Output) create(ctx context.Context, key string, content []byte) error {
	return o.patience.Try(ctx, func() error { return o.store.Create(ctx, key, bytes.NewReader(content)) })
}

// readOwn reads an object that a worker has written.
func (o *Output) readOwn(ctx context.Context, key string, into any) error {
	content := o.patience.Read(ctx, o.store, key, 0)
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, maxOwn))
	if err != nil {
		return blame(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return task.Final(task.OutputInUse, fmt.Errorf("%s isn't what a worker wrote there: %w; name another prefix, or remove what is there", key, err))
	}
	return nil
}

// Limit is none: an object has room for any record.
func (o *Output) Limit() Limit { return Limit{} }

// Settled returns the tallies of the parts of a shard that are in the output, by their first
// items. It settles those that were left between results and errors.
func (o *Output) Settled(ctx context.Context, _ int, parts []plan.Part) (map[int64]Tally, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	last := parts[len(parts)-1].First
	committed, err := o.list(ctx, results, parts[0].First, last)
	if err != nil {
		return nil, err
	}
	known, err := o.list(ctx, failures, parts[0].First, last)
	if err != nil {
		return nil, err
	}
	tallies := make(map[int64]Tally, len(committed))
	for _, part := range parts {
		if _, ok := committed[part.First]; !ok {
			continue
		}
		size, ok := known[part.First]
		if !ok {
			if err := o.settle(ctx, part.First); err != nil {
				return nil, err
			}
			size = -1
		}
		failed := int64(0)
		if size != 0 {
			if failed, err = o.countFailures(ctx, part.First); err != nil {
				return nil, err
			}
		}
		tallies[part.First] = Tally{Succeeded: part.Items - failed, Failed: failed}
	}
	return tallies, nil
}

// list returns the sizes of objects by the number in their names, from one up to another.
func (o *Output) list(ctx context.Context, named func(int64) string, from, to int64) (map[int64]int64, error) {
	var sizes map[int64]int64
	folder := o.key(path.Dir(named(from))) + "/"
	err := o.patience.Try(ctx, func() error {
		sizes = map[int64]int64{}
		for object, err := range o.store.List(ctx, folder, o.key(named(from))) {
			if err != nil {
				return err
			}
			first, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(object.Key, folder), ".jsonl"), 10, 64)
			if err != nil {
				continue
			}
			if first > to {
				break
			}
			sizes[first] = object.Size
		}
		return nil
	})
	return sizes, blame(err)
}

// blame adds why an output can't be written or read.
func blame(err error) error {
	if known := (*task.ReasonedError)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	err = fmt.Errorf("at the output: %w", err)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, objects.ErrMissing):
		return task.Final(task.OutputMissing, err)
	case errors.Is(err, objects.ErrUnsafe):
		return task.Final(task.OutputUnsafe, err)
	case errors.Is(err, objects.ErrRefused):
		return task.Final(task.StoreRefused, err)
	case errors.Is(err, objects.ErrFull):
		return task.Passing(task.DiskFull, err)
	default:
		return task.Passing(task.StoreAway, err)
	}
}
