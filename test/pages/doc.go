// Package pages reads the documentation as its readers do: what it has them save, what it
// has them type, and what it says that they see. Nothing is run here.
package pages
