package topic

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// maxPartitions bounds the partitions that are read, and so what a plan says of them.
const maxPartitions = 5000

// extent is what there is of a partition: the offsets from start up to, and without, end. Of
// these, since is the first that isn't before a time, until that of another.
type extent struct{ start, end, since, until int64 }

// rangesOf says what is read, by what there is of each partition.
func rangesOf(in *task.KafkaInput, there map[int32]extent) ([]plan.Range, error) {
	wanted := slices.Clone(in.Partitions)
	if len(wanted) == 0 {
		for partition, is := range there {
			wanted = append(wanted, during(in, partition, is))
		}
	}
	slices.SortFunc(wanted, func(a, b task.KafkaRange) int { return cmp.Compare(a.Partition, b.Partition) })
	if len(wanted) > maxPartitions {
		return nil, task.Final(task.InputUnreadable, fmt.Errorf(
			"topic %s has %d partitions, at most %d are read; name some (input.kafka.partitions)", in.Topic, len(wanted), maxPartitions))
	}
	ranges := []plan.Range{}
	var wrong []error
	for _, r := range wanted {
		is, ok := there[r.Partition]
		if !ok {
			wrong = append(wrong, fmt.Errorf("topic %s has no partition %d", in.Topic, r.Partition))
			continue
		}
		from, to, err := within(in.Topic, r, is)
		wrong = append(wrong, err)
		if from < to {
			ranges = append(ranges, plan.Range{Object: name(in.Topic, r.Partition), From: from, To: to})
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, task.Final(task.InputMissing, fmt.Errorf("reading the input: %w; correct input.kafka.partitions", err))
	}
	return ranges, nil
}

// during is what is read of a partition by time. A time for which there is no record yet is
// at the end.
func during(in *task.KafkaInput, partition int32, is extent) task.KafkaRange {
	from, to := is.start, is.end
	if in.Since != nil {
		from = min(max(is.since, is.start), is.end)
	}
	if in.Until != nil {
		to = max(from, min(is.until, is.end))
	}
	return task.KafkaRange{Partition: partition, From: &from, To: &to}
}

// within completes a range, all of which has to be there.
func within(topic string, r task.KafkaRange, is extent) (from, to int64, err error) {
	from, to = is.start, is.end
	if r.From != nil {
		from = *r.From
	}
	if r.To != nil {
		to = *r.To
	}
	if from < is.start || from > is.end || to > is.end {
		return 0, 0, fmt.Errorf("of %s the offsets from %d up to %d are there, not those from %d up to %d", name(topic, r.Partition), is.start, is.end, from, to)
	}
	return from, to, nil
}

// name is a partition's, as an object of the input.
func name(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }

// partitionOf is the partition of an object of the input.
func partitionOf(object string) (int32, error) {
	_, number, _ := strings.Cut(object, "/")
	partition, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no partition of a topic: %w", object, err)
	}
	return int32(partition), nil
}
