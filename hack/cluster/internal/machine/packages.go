package machine

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Package is a Debian package that the stack runs on, known by a program or
// file of it.
type Package struct {
	Name string
	File string
	// Version is the lowest that will do; empty for any.
	Version string
	// VersionArgs print the version; its first number-like word counts.
	VersionArgs []string
}

// Packages are what the stack takes from the distribution.
var Packages = []Package{
	{Name: "containerd", File: "containerd", Version: "1.6", VersionArgs: []string{"--version"}},
	{Name: "runc", File: "runc", Version: "1.1", VersionArgs: []string{"--version"}},
	{Name: "containernetworking-plugins", File: "/usr/lib/cni/bridge"},
	{Name: "nftables", File: "nft", Version: "1.0.1", VersionArgs: []string{"--version"}},
	{Name: "conntrack", File: "conntrack"},
	{Name: "iptables", File: "iptables"},
	{Name: "iproute2", File: "ip"},
	{Name: "ca-certificates", File: "/etc/ssl/certs/ca-certificates.crt"},
}

func (p Package) present() bool {
	if strings.HasPrefix(p.File, "/") {
		_, err := os.Stat(p.File)
		return err == nil
	}
	_, err := exec.LookPath(p.File)
	return err == nil
}

// MissingPackages lists those of packages that are not installed.
func MissingPackages(packages []Package) []string {
	var missing []string
	for _, p := range packages {
		if !p.present() {
			missing = append(missing, p.Name)
		}
	}
	return missing
}

// CanInstall refuses a machine that lacks packages and the means to get them.
func CanInstall(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("these programs are missing and this is no Debian: install %s", strings.Join(missing, ", "))
	}
	return nil
}

// InstallPackages installs those of packages that are missing and checks the versions of
// all.
func InstallPackages(ctx context.Context, packages []Package, log io.Writer) error {
	missing := MissingPackages(packages)
	if len(missing) > 0 {
		install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
		for _, args := range [][]string{{"update"}, install} {
			cmd := exec.CommandContext(ctx, "apt-get", args...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			cmd.Stdout, cmd.Stderr = log, log
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("apt-get %s: %w", args[0], err)
			}
		}
	}
	for _, p := range packages {
		if p.Version == "" {
			continue
		}
		out, err := exec.CommandContext(ctx, p.File, p.VersionArgs...).Output()
		if err != nil {
			return fmt.Errorf("asking %s for its version: %w", p.File, err)
		}
		if got := firstVersion(string(out)); !AtLeast(got, p.Version) {
			return fmt.Errorf("%s is version %s, at least %s is needed", p.Name, got, p.Version)
		}
	}
	return nil
}

// firstVersion finds the first word that starts like 1.2, with or without a v.
func firstVersion(text string) string {
	for _, word := range strings.Fields(text) {
		word = strings.TrimPrefix(word, "v")
		if major, _, dotted := strings.Cut(word, "."); dotted {
			if _, err := strconv.Atoi(major); err == nil {
				return word
			}
		}
	}
	return ""
}

// AtLeast compares dotted versions number by number; whatever follows the
// digits of a part is ignored, and a missing part counts as zero.
func AtLeast(version, least string) bool {
	have, want := numbers(version), numbers(least)
	for i, w := range want {
		h := 0
		if i < len(have) {
			h = have[i]
		}
		if h != w {
			return h > w
		}
	}
	return len(have) > 0
}

func numbers(version string) []int {
	var out []int
	for _, part := range strings.Split(strings.TrimPrefix(version, "v"), ".") {
		digits := 0
		for digits < len(part) && part[digits] >= '0' && part[digits] <= '9' {
			digits++
		}
		n, err := strconv.Atoi(part[:digits])
		if err != nil {
			break
		}
		out = append(out, n)
	}
	return out
}
