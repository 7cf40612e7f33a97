// Command batch-worker runs in the pods of a batch's Jobs: "plan" cuts the input into parts
// and shards, "work" works on the shard of the pod's index.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/batch/topic"
	"sluice.dev/sluice/functions/batch/worker"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	report, err := run(ctx, os.Args[1:])
	if ctx.Err() != nil && err != nil {
		err = task.Passing(task.Interrupted, err)
	}
	stop()
	report, code := report.Blame(err)
	if err != nil {
		log.Error("Ended early", "reason", report.Reason, "error", err)
	} else {
		log.Info("Ended", "report", report)
	}
	if err := os.WriteFile(task.ReportFile, report.Encode(), 0o600); err != nil {
		log.Error("The report can't be written", "error", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (task.Report, error) {
	t, err := task.Parse([]byte(os.Getenv(task.Variable)))
	if err != nil {
		return task.Report{}, task.Final(task.Failed, fmt.Errorf("reading %s: %w", task.Variable, err))
	}
	from, err := openInput(ctx, t)
	if err != nil {
		return task.Report{}, err
	}
	to, err := openOutput(ctx, t)
	if err != nil {
		return task.Report{}, err
	}
	if len(args) != 1 {
		args = []string{""}
	}
	switch args[0] {
	case "plan":
		p, err := worker.Plan(ctx, t, from, to)
		if err != nil {
			return task.Report{}, err
		}
		return task.Report{Items: p.Items, Parts: len(p.Parts), Shards: len(p.Shards)}, nil
	case "work":
		return work(ctx, t, from, to)
	default:
		return task.Report{}, errors.New("say plan or work")
	}
}

func openInput(ctx context.Context, t *task.Task) (input.Source, error) {
	if t.Input.Kafka != nil {
		return topic.OpenInput(t)
	}
	return input.Open(ctx, t)
}

func openOutput(ctx context.Context, t *task.Task) (worker.Output, error) {
	if t.Output.Kafka != nil {
		return topic.OpenOutput(t)
	}
	return output.Open(ctx, t)
}

func work(ctx context.Context, t *task.Task, from input.Source, to worker.Output) (task.Report, error) {
	index, err := strconv.Atoi(os.Getenv("JOB_COMPLETION_INDEX"))
	if err != nil {
		return task.Report{}, fmt.Errorf("reading the index of an Indexed Job, JOB_COMPLETION_INDEX: %w", err)
	}
	if err := to.Claim(ctx); err != nil {
		return task.Report{}, err
	}
	p, err := to.Plan(ctx)
	if err != nil {
		return task.Report{}, err
	}
	if p == nil || index < 0 || index >= len(p.Shards) {
		return task.Report{}, fmt.Errorf("the plan has no shard %d", index)
	}
	model, err := worker.NewModel(t)
	if err != nil {
		return task.Report{}, err
	}
	name := os.Getenv(task.PodVariable)
	if name == "" {
		return task.Report{}, fmt.Errorf("reading the pod's name: %s isn't set", task.PodVariable)
	}
	w := &worker.Worker{Task: t, Source: from, Output: to, Asker: model, Folder: os.TempDir(), Log: slog.Default()}
	leases := worker.NewLeases(t, index, name, filepath.Join(task.TokenFolder, task.TokenFile), w.Progress)
	w.Gate = leases
	go leases.Run(ctx)
	tally, err := w.Run(ctx, p, index)
	leases.Release(ctx)
	return task.Report{Succeeded: tally.Succeeded, Failed: tally.Failed}, err
}
