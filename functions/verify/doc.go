// Package verify finds out whether what Models tried was better than what they say, beside
// whoever asks: it reads what the limiter recorded of a trial, and has package verdict judge, one
// trial at a time. It writes nothing.
package verify
