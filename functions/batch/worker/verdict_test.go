package worker

import (
	"net/http"
	"testing"
	"time"

	"sluice.dev/sluice/functions/batch/task"
)

func TestNext(t *testing.T) {
	retry := task.Retry{Attempts: 3, Patience: task.Duration(time.Minute)}
	tried, waited := trial{attempts: 3}, trial{attempts: 1, waited: time.Minute}
	heard := trial{attempts: 1, waited: time.Minute, heard: true}
	for _, tc := range []struct {
		answer              Answer
		want, tried, waited verdict
		heard               verdict
	}{
		{Answer{Status: 200}, answered, answered, answered, answered},
		{Answer{Status: 204}, answered, answered, answered, answered},
		{Answer{Status: 200, TooLong: true}, failed, failed, failed, failed},
		{Answer{Status: 302}, failed, failed, failed, failed},
		{Answer{Status: 400}, failed, failed, failed, failed},
		{Answer{Status: 404}, failed, failed, failed, failed},
		{Answer{Status: 408}, again, failed, again, again},
		{Answer{Status: 425}, again, failed, again, again},
		{Answer{Status: 429}, later, later, lost, failed},
		{Answer{Status: 500}, again, failed, again, again},
		{Answer{Status: 502}, again, failed, again, again},
		{Answer{Status: 503}, later, later, lost, failed},
		{Answer{Status: 504}, again, failed, again, again},
		{Answer{Problem: "no answer"}, again, failed, again, again},
		{Answer{Problem: "no such host", Unreached: true}, later, later, lost, failed},
	} {
		got := []verdict{trial{attempts: 1}.next(tc.answer, retry), tried.next(tc.answer, retry), waited.next(tc.answer, retry), heard.next(tc.answer, retry)}
		for i, want := range []verdict{tc.want, tc.tried, tc.waited, tc.heard} {
			if got[i] != want {
				t.Errorf("%+v, %d: got %d, want %d", tc.answer, i, got[i], want)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "3": 3 * time.Second, "-1": 0, "1.5": 0, "soon": 0, "99999999999999999999": 0, "31536000": 365 * 24 * time.Hour,
		now.Add(365 * 24 * time.Hour).Format(http.TimeFormat): 365 * 24 * time.Hour, now.Add(-365 * 24 * time.Hour).Format(time.RFC850): 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}
