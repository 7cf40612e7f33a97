package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name  string
		stat  string
		ticks uint64
		state string
		bad   bool
	}{
		{name: "plain", stat: "7 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20", ticks: 4242, state: "S"},
		{name: "name with a parenthesis and spaces", stat: "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 20", ticks: 99, state: "R"},
		{name: "cut short", stat: "7 (sh) S 1 2", bad: true},
		{name: "no name", stat: "7 sh S", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ticks, state, err := parseStat(tt.stat)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if ticks != tt.ticks || state != tt.state {
				t.Errorf("got %d %q, want %d %q", ticks, state, tt.ticks, tt.state)
			}
		})
	}
}

func TestReusedPidIsNeverSignalled(t *testing.T) {
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Running() {
		t.Fatal("this very process should count as running")
	}
	stranger := self
	stranger.StartTicks--
	file := filepath.Join(t.TempDir(), "x.pid")
	if err := stranger.save(file); err != nil {
		t.Fatal(err)
	}
	// Were the identity taken by pid alone, this would end the test itself.
	if err := Stop(context.Background(), file, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Error("the stale pid file should be gone")
	}
	otherBoot := self
	otherBoot.Boot = "another"
	if otherBoot.Running() {
		t.Error("an identity of another boot can't be running")
	}
}

func TestDaemonLifecycle(t *testing.T) {
	dir := t.TempDir()
	d := Daemon{Name: "sleeper", Path: "/usr/bin/sleep", Args: []string{"60"}, PidFile: filepath.Join(dir, "p"), LogFile: filepath.Join(dir, "l")}
	ctx := context.Background()
	if running, err := d.Start(ctx); err != nil || running {
		t.Fatalf("first start: running %v, %v", running, err)
	}
	first, _ := Load(d.PidFile)
	if running, err := d.Start(ctx); err != nil || !running {
		t.Fatalf("second start: running %v, %v", running, err)
	}
	if n := len(Marked(dir)); n != 1 {
		t.Errorf("%d processes carry the marker, want 1", n)
	}
	// A start that was cut off before its pid was on record is found again.
	if err := os.Remove(d.PidFile); err != nil {
		t.Fatal(err)
	}
	if running, err := d.Start(ctx); err != nil || running || first.Running() {
		t.Fatalf("start over an unrecorded one: running %v, the first still runs %v, %v", running, first.Running(), err)
	}
	first, _ = Load(d.PidFile)
	d.Args = []string{"61"}
	if running, err := d.Start(ctx); err != nil || running {
		t.Fatalf("start with another command: running %v, %v", running, err)
	}
	if first.Running() {
		t.Error("the old command still runs")
	}
	if err := Stop(ctx, d.PidFile, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if d.Running() {
		t.Error("it still runs")
	}
}
