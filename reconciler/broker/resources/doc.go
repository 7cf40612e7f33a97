// Package resources has the Trigger that is made for a Broker. Pure functions.
package resources
