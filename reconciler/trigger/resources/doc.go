// Package resources has the Triggers that are made from an InferenceTrigger. Pure functions.
package resources
