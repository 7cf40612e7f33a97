package pages

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Page is one of the documentation.
type Page struct {
	// Name is its path in the repository.
	Name string
	Text string
}

// Block is what stands between fences.
type Block struct {
	// Language is what the fence says, "" for nothing.
	Language string
	// File is the name that the reader is to save it by, "" for none.
	File string
	Text string
	// Line is that of its fence.
	Line int
}

// Session is the language of blocks that show what is typed and what is printed.
const Session = "console"

// Command is one of a page's, and what the page says that it prints.
type Command struct{ Typed, Prints string }

// All are README and what is in docs, of the repository at root.
func All(root string) ([]Page, error) {
	repository := os.DirFS(root)
	docs, err := fs.Glob(repository, "docs/*.md")
	if err != nil {
		return nil, fmt.Errorf("listing docs: %w", err)
	}
	var all []Page
	for _, name := range append([]string{"README.md"}, docs...) {
		content, err := fs.ReadFile(repository, name)
		if err != nil {
			return nil, fmt.Errorf("reading a page: %w", err)
		}
		all = append(all, Page{Name: name, Text: string(content)})
	}
	return all, nil
}

// savedAs ends a paragraph that says how the block behind it is to be saved.
var savedAs = regexp.MustCompile("\\bas `([^`]+)`:$")

const fence = "```"

// Blocks are a page's, in order.
func (p Page) Blocks() []Block {
	var all []Block
	var block *Block
	// before is the paragraph before a block.
	before, ended := "", false
	for i, line := range strings.Split(p.Text, "\n") {
		language, fenced := strings.CutPrefix(strings.TrimSpace(line), fence)
		switch {
		case fenced && block == nil:
			block = &Block{Language: language, Line: i + 1}
			if m := savedAs.FindStringSubmatch(before); m != nil {
				block.File = m[1]
			}
		case fenced:
			all = append(all, *block)
			block, before = nil, ""
		case block != nil:
			block.Text += line + "\n"
		case strings.TrimSpace(line) == "":
			ended = true
		case ended:
			before, ended = line, false
		default:
			before = strings.TrimSpace(before + " " + line)
		}
	}
	return all
}

// Files are those that a page has its reader save, by name.
func (p Page) Files() map[string]string {
	files := map[string]string{}
	for _, block := range p.Blocks() {
		if block.File != "" {
			files[block.File] = block.Text
		}
	}
	return files
}

// Commands are those of a page's sessions, in order.
func (p Page) Commands() []Command {
	var all []Command
	for _, block := range p.Blocks() {
		if block.Language != Session {
			continue
		}
		for line := range strings.Lines(block.Text) {
			if typed, ok := strings.CutPrefix(line, "$ "); ok {
				all = append(all, Command{Typed: strings.TrimSpace(typed)})
			} else if len(all) > 0 {
				all[len(all)-1].Prints += line
			}
		}
	}
	return all
}

// Shows tells whether a page's text is what was printed, with anything for each … and
// whatever space between words.
func Shows(page, printed string) bool {
	parts := strings.Split(words(page), "…")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile("^" + strings.Join(parts, "(?s:.*)") + "$").MatchString(words(printed))
}

func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// With is a page with other words in the place of some: what it says of a place that its
// reader has another one for.
func (p Page) With(instead map[string]string) Page {
	for _, word := range slices.Sorted(maps.Keys(instead)) {
		whole := regexp.MustCompile(`\b` + regexp.QuoteMeta(word) + `\b`)
		p.Text = whole.ReplaceAllLiteralString(p.Text, instead[word])
	}
	return p
}
