// Package config holds the typed ConfigMaps of Sluice, one struct each, with its
// defaults and its checks. What a ConfigMap steers lives with the reconciler
// that reads it; no client or informer belongs here.
package config
