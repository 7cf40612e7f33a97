package topic

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/task"
)

const (
	// defaultRoom is what brokers take where they don't say what.
	defaultRoom = 1 << 20
	// leastRoom is what the record of any item that has failed takes, maxRoom what is sent at
	// once.
	leastRoom, maxRoom = 16 << 10, 16 << 20
	// headroom is for what a record has beside its value, and for what a batch has beside
	// records.
	headroom = 2 << 10
)

// ofMarkers are the settings of a topic of markers that is made. A batch reads its own
// alone, so they may go once no run can be in need of them; those of a plan go before those
// of its parts, so a run that lasts longer ends, and does nothing twice.
var ofMarkers = []struct{ name, value string }{
	{"cleanup.policy", "compact,delete"},
	{"retention.ms", "7776000000"}, // 90 days
	{"max.message.bytes", "1048588"},
}

// Claim finds that the topics are there, makes that of markers where it isn't, and finds what
// they have room for. Others may use them as well.
func (o *Output) Claim(ctx context.Context) error {
	found := map[string]topic{}
	for _, name := range []string{o.of.Topic, o.of.ErrorTopic, o.of.Markers()} {
		if name == "" {
			continue
		}
		t, err := o.inspect(ctx, name)
		if err != nil {
			return err
		}
		found[name] = t
	}
	o.topics = found
	return nil
}

// Limit is what a record may take.
func (o *Output) Limit() output.Limit {
	tightest := o.of.Topic
	if other, ok := o.topics[o.of.ErrorTopic]; ok && other.room < o.topics[tightest].room {
		tightest = o.of.ErrorTopic
	}
	return output.Limit{
		RecordBytes: int64(o.topics[tightest].room - headroom),
		Remedy:      fmt.Sprintf("raise max.message.bytes of topic %s, or have the Model answer with less", tightest),
	}
}

// inspect finds what a topic is like.
func (o *Output) inspect(ctx context.Context, name string) (topic, error) {
	described, err := o.find(ctx, name)
	if err != nil {
		return topic{}, err
	}
	room, err := o.roomOf(ctx, name)
	if err != nil {
		return topic{}, err
	}
	if room < leastRoom {
		return topic{}, task.Final(task.StoreRefused, fmt.Errorf(
			"at the output: topic %s takes batches of %d bytes; raise its max.message.bytes to %d at least", name, room, leastRoom))
	}
	return topic{partitions: int32(len(described.Partitions)), room: room}, nil
}

// find finds a topic; that of markers is made where it isn't there.
func (o *Output) find(ctx context.Context, name string) (found kadm.TopicDetail, err error) {
	if name == o.of.Markers() {
		if err := o.make(ctx, name); err != nil {
			return found, err
		}
	}
	return o.cluster.describe(ctx, o.client, name)
}

// make makes the topic of markers, unless it is there.
func (o *Output) make(ctx context.Context, name string) error {
	return o.cluster.try(ctx, func() error {
		if _, unknown, err := o.cluster.look(ctx, o.client, name); unknown == nil {
			return err
		}
		settings := map[string]*string{}
		for _, s := range ofMarkers {
			settings[s.name] = &s.value
		}
		made, err := kadm.NewClient(o.client).CreateTopic(ctx, 1, -1, settings, name)
		err = errors.Join(err, made.Err)
		switch {
		case err == nil, errors.Is(err, kerr.TopicAlreadyExists):
			return nil
		case kerr.IsRetriable(made.Err), made.Err == nil:
			return fmt.Errorf("making topic %s: %w", name, err)
		default:
			return task.Final(task.OutputMissing, fmt.Errorf("at the output: topic %s can't be made: %w; make it: %s", name, err, command(name)))
		}
	})
}

// command makes a topic of markers by hand.
func command(name string) string {
	var said strings.Builder
	fmt.Fprintf(&said, "kafka-topics.sh --create --topic %s --partitions 1", name)
	for _, s := range ofMarkers {
		fmt.Fprintf(&said, " --config %s=%s", s.name, s.value)
	}
	return said.String()
}

// roomOf asks what a batch of a topic's records may take. Who may not ask goes by what
// brokers take by default.
func (o *Output) roomOf(ctx context.Context, name string) (room int32, err error) {
	err = o.cluster.try(ctx, func() error {
		room = defaultRoom
		configs, err := kadm.NewClient(o.client).DescribeTopicConfigs(ctx, name)
		if errors.Is(err, kerr.TopicAuthorizationFailed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("asking for the settings of topic %s: %w", name, err)
		}
		of, err := configs.On(name, nil)
		switch {
		case errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(of.Err, kerr.TopicAuthorizationFailed):
			return nil
		case errors.Join(err, of.Err) != nil:
			return fmt.Errorf("asking for the settings of topic %s: %w", name, errors.Join(err, of.Err))
		}
		for _, setting := range of.Configs {
			if setting.Key != "max.message.bytes" || setting.Value == nil {
				continue
			}
			bytes, err := strconv.ParseInt(*setting.Value, 10, 64)
			if err != nil {
				return fmt.Errorf("the setting max.message.bytes of topic %s: %w", name, err)
			}
			room = int32(min(bytes, maxRoom))
		}
		return nil
	})
	return room, err
}
