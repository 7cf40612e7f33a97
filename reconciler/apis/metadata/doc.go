// Package metadata says where the labels and annotations of a Model mean something: on
// its Knative Service, on its replicas, or on the Model alone. It has one rule for other
// people's, and one table of Knative's. Pure functions over plain values.
package metadata
