// Package exposition shows Prometheus what the controller has in its caches: what is promised of
// Models, how they are, and until when certificates are good. It reads at each scrape and
// keeps nothing, so the series of what is gone go with it. What happens, and has to be counted,
// is counted where it does.
package exposition
