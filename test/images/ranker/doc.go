// Command ranker is a model image with a real network in it: it scores breast
// biopsies by how likely they are malignant and ranks them, over the Open Inference
// Protocol v2. Sluice's demo, e2e tests and benchmarks deploy it.
//
// Here: wiring (main.go), training (train/), weights and expected scores (testdata/).
// internal/score runs the network, internal/oip speaks HTTP. Nothing here may import
// Sluice itself, and Sluice imports nothing from here: it is a module of its own so
// that its libraries stay out of the product's go.mod.
package main
