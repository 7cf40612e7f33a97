package jars

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKafkaIsPinned(t *testing.T) {
	p, err := Kafka()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, j := range p.Jars {
		if seen[j.file()] {
			t.Errorf("%s is pinned twice", j.file())
		}
		seen[j.file()] = true
	}
	for _, name := range []string{"kafka_2.13-4.3.1.jar", "kafka-clients-4.3.1.jar", "scala-library-2.13.18.jar"} {
		if !seen[name] {
			t.Errorf("%s isn't pinned", name)
		}
	}
}

func TestRead(t *testing.T) {
	hash := strings.Repeat("0a", sha256.Size)
	first, err := read("x", "g:a:1 "+hash+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Jar{Group: "g", Artifact: "a", Version: "1", SHA256: hash}); len(first.Jars) != 1 || first.Jars[0] != want {
		t.Errorf("read %+v", first.Jars)
	}
	second, err := read("x", "g:a:2 "+hash+"\n")
	if err != nil || second.Path("c") == first.Path("c") {
		t.Errorf("another list has the folder %s as well, %v", first.Path("c"), err)
	}
	for _, list := range []string{"g:a:1\n", "g:a " + hash + "\n", "g:a:1 0a\n", "g:a:1 " + hash[1:] + "x\n", "\n"} {
		if _, err := read("x", list); err == nil {
			t.Errorf("%q is read", list)
		}
	}
}

func TestVerify(t *testing.T) {
	sum := sha256.Sum256([]byte("content"))
	p := &Program{Name: "x", Jars: []Jar{{Artifact: "a", Version: "1", SHA256: hex.EncodeToString(sum[:])}}}
	for _, tt := range []struct {
		name  string
		files map[string]string
		err   string
	}{
		{"as pinned", map[string]string{"a-1.jar": "content"}, ""},
		{"other content", map[string]string{"a-1.jar": "other"}, "pinned is"},
		{"missing", nil, "no such file"},
		{"one too many", map[string]string{"a-1.jar": "content", "b-1.jar": ""}, "b-1.jar isn't pinned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := t.TempDir()
			for name, content := range tt.files {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := p.verify(folder)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

// Each jar is asked for by itself, so that none comes that isn't pinned.
func TestProject(t *testing.T) {
	p, err := Kafka()
	if err != nil {
		t.Fatal(err)
	}
	content, err := p.project()
	if err != nil {
		t.Fatal(err)
	}
	var project struct {
		Dependencies []struct {
			Artifact  string `xml:"artifactId"`
			Exclusion string `xml:"exclusions>exclusion>artifactId"`
		} `xml:"dependencies>dependency"`
	}
	if err := xml.Unmarshal(content, &project); err != nil {
		t.Fatal(err)
	}
	if len(project.Dependencies) != len(p.Jars) {
		t.Errorf("%d jars are asked for, %d pinned", len(project.Dependencies), len(p.Jars))
	}
	for _, d := range project.Dependencies {
		if d.Artifact == "" || d.Exclusion != "*" {
			t.Errorf("%+v asks for more", d)
		}
	}
}
