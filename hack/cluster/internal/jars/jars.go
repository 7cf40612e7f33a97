// Package jars fetches Java programs: pinned jars, which Maven gets from where this machine
// has it get them, and which are taken only if they are the ones that are pinned.
package jars

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kafka is the broker and all that it needs to run: a jar a line, as
// group:artifact:version, with the SHA-256 of its content.
//
//go:embed kafka.txt
var kafka string

// copyDependencies is the goal of Maven that puts jars in a folder, at a version of its own.
const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

// Jar is one that is pinned.
type Jar struct {
	Group    string `xml:"groupId"`
	Artifact string `xml:"artifactId"`
	Version  string `xml:"version"`
	// SHA256 is of its content, in hex.
	SHA256 string `xml:"-"`
}

func (j Jar) file() string { return j.Artifact + "-" + j.Version + ".jar" }

// Program is jars that go together.
type Program struct {
	Name string
	Jars []Jar
	key  string
}

// Kafka returns the broker.
func Kafka() (*Program, error) { return read("kafka", kafka) }

// read reads a list of pinned jars.
func read(name, list string) (*Program, error) {
	p := &Program{Name: name}
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return nil, fmt.Errorf("the jars of %s: %q is no group:artifact:version with a SHA-256", name, line)
		}
		at := strings.Split(fields[0], ":")
		if hash, err := hex.DecodeString(fields[1]); len(at) != 3 || err != nil || len(hash) != sha256.Size {
			return nil, fmt.Errorf("the jars of %s: %q is no group:artifact:version with a SHA-256", name, line)
		}
		p.Jars = append(p.Jars, Jar{Group: at[0], Artifact: at[1], Version: at[2], SHA256: fields[1]})
	}
	sum := sha256.Sum256([]byte(list))
	p.key = hex.EncodeToString(sum[:])[:16]
	return p, nil
}

// Path is the folder in which Fetch leaves the jars, and no others.
func (p *Program) Path(cache string) string { return filepath.Join(cache, p.key, p.Name) }

// Fetched tells whether they are there.
func (p *Program) Fetched(cache string) bool {
	_, err := os.Stat(p.Path(cache))
	return err == nil
}

// Fetch has Maven get the jars, and refuses other content than the pinned.
func (p *Program) Fetch(ctx context.Context, cache string, log io.Writer) error {
	if p.Fetched(cache) {
		return nil
	}
	target := p.Path(cache)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(cache, ".jars-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	project, err := p.project()
	if err != nil {
		return err
	}
	pom, jars := filepath.Join(tmp, "pom.xml"), filepath.Join(tmp, "jars")
	if err := os.WriteFile(pom, project, 0o644); err != nil {
		return err
	}
	// What Maven keeps for itself goes again: the jars are kept here.
	cmd := exec.CommandContext(ctx, "mvn", "--batch-mode", "--no-transfer-progress", "--file", pom,
		"-Dmaven.repo.local="+filepath.Join(tmp, "repository"), copyDependencies, "-DoutputDirectory="+jars)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetching the jars of %s with Maven: %w", p.Name, err)
	}
	if err := p.verify(jars); err != nil {
		return fmt.Errorf("the jars of %s: %w", p.Name, err)
	}
	return os.Rename(jars, target)
}

// project is what Maven is told: these jars, and nothing that they ask for themselves.
func (p *Program) project() ([]byte, error) {
	type exclusion struct {
		Group    string `xml:"groupId"`
		Artifact string `xml:"artifactId"`
	}
	type dependency struct {
		Jar

		Exclusions []exclusion `xml:"exclusions>exclusion"`
	}
	project := struct {
		XMLName      xml.Name     `xml:"http://maven.apache.org/POM/4.0.0 project"`
		Model        string       `xml:"modelVersion"`
		Group        string       `xml:"groupId"`
		Artifact     string       `xml:"artifactId"`
		Version      string       `xml:"version"`
		Packaging    string       `xml:"packaging"`
		Dependencies []dependency `xml:"dependencies>dependency"`
	}{Model: "4.0.0", Group: "sluice", Artifact: p.Name, Version: "1", Packaging: "pom"}
	for _, j := range p.Jars {
		project.Dependencies = append(project.Dependencies, dependency{Jar: j, Exclusions: []exclusion{{"*", "*"}}})
	}
	return xml.MarshalIndent(project, "", "  ")
}

// verify holds a folder to the pins: every jar is there as pinned, and no other.
func (p *Program) verify(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	left := make(map[string]bool, len(entries))
	for _, e := range entries {
		left[e.Name()] = true
	}
	var problems []error
	for _, j := range p.Jars {
		content, err := os.ReadFile(filepath.Join(folder, j.file()))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		delete(left, j.file())
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); got != j.SHA256 {
			problems = append(problems, fmt.Errorf("%s has the SHA-256 %s, pinned is %s", j.file(), got, j.SHA256))
		}
	}
	for name := range left {
		problems = append(problems, fmt.Errorf("%s isn't pinned", name))
	}
	return errors.Join(problems...)
}
