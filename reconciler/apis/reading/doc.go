// Package reading is about manifests as their authors wrote them: it says in words what of
// one can't be read, with the field and the remedy, where a decoder would name neither; and
// it keeps what was written as it is when defaults are added. Pure functions.
package reading
