package main

import (
	"reflect"
	"testing"
	"time"
)

func TestParseLevels(t *testing.T) {
	got, err := parseLevels("100:500:15s,1000:50:1m")
	want := []level{{subjects: 100, rate: 500, lasts: 15 * time.Second}, {subjects: 1000, rate: 50, lasts: time.Minute}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parseLevels() = %+v, %v", got, err)
	}
	for _, text := range []string{"", "100:500", "100:500:15", "x:1:1s", "10:1:1s", "100:0:1s", "100:1:0s", "1000:1:1s,100:1:1s"} {
		if _, err := parseLevels(text); err == nil {
			t.Errorf("took %q", text)
		}
	}
}
