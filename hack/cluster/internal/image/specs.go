package image

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
)

// certificates of the host's distribution go into every image that speaks TLS.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// NonRoot is the user that Knative's pods run as; ProxyUser is Istio's.
const (
	NonRoot   = 65532
	ProxyUser = 1337
)

// Base is what ko puts binaries on: no shell, no libraries, a user that isn't
// root, because Knative's pods demand runAsNonRoot.
func Base(reference string) Spec {
	return Spec{Reference: reference, Files: ground(NonRoot), User: fmt.Sprint(NonRoot)}
}

// Pause holds a pod's namespaces open.
func Pause(reference, binary string) Spec {
	return Spec{
		Reference:  reference,
		Files:      []File{{Path: "/pause", Source: binary, Mode: 0o755}},
		Entrypoint: []string{"/pause"}, User: "65535",
	}
}

// Pilot is istiod.
func Pilot(reference, discovery string) Spec {
	files := append(ground(ProxyUser), File{Path: "/usr/local/bin/pilot-discovery", Source: discovery, Mode: 0o755})
	return Spec{Reference: reference, Files: files, Entrypoint: []string{"/usr/local/bin/pilot-discovery"}, User: fmt.Sprint(ProxyUser)}
}

// Proxy is Envoy under pilot-agent, at the paths of Istio's own image, so that
// the manifests which Istio renders fit.
func Proxy(reference, agent, envoy, bootstrap string) (Spec, error) {
	libraries, err := Libraries(envoy)
	if err != nil {
		return Spec{}, err
	}
	files := append(ground(ProxyUser),
		File{Path: "/usr/local/bin/pilot-agent", Source: agent, Mode: 0o755},
		File{Path: "/usr/local/bin/envoy", Source: envoy, Mode: 0o755},
		File{Path: "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json", Source: bootstrap, Mode: 0o644},
		File{Path: "/etc/istio/proxy", Dir: true, Mode: 0o777, Owner: ProxyUser},
	)
	for inside, source := range libraries {
		files = append(files, File{Path: inside, Source: source, Mode: 0o755})
	}
	return Spec{Reference: reference, Files: files, Entrypoint: []string{"/usr/local/bin/pilot-agent"}, User: fmt.Sprint(ProxyUser)}, nil
}

func ground(user int) []File {
	passwd := fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%[1]d:%[1]d:nonroot:/home/nonroot:/sbin/nologin\n", user)
	group := fmt.Sprintf("root:x:0:\nnonroot:x:%d:\n", user)
	return []File{
		{Path: certificates, Source: certificates, Mode: 0o644},
		{Path: "/etc/passwd", Content: []byte(passwd), Mode: 0o644},
		{Path: "/etc/group", Content: []byte(group), Mode: 0o644},
		{Path: "/etc/nsswitch.conf", Content: []byte("hosts: files dns\n"), Mode: 0o644},
		{Path: "/home/nonroot", Dir: true, Mode: 0o700, Owner: user},
		{Path: "/tmp", Dir: true, Mode: 0o1777},
	}
}

// Libraries returns what a dynamically linked program needs, by the path inside
// the image: its loader and its shared libraries, those of libraries included.
func Libraries(program string) (map[string]string, error) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", program, err)
	}
	defer file.Close()
	found := map[string]string{}
	for _, p := range file.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw := make([]byte, p.Filesz-1)
		if _, err := p.ReadAt(raw, 0); err != nil {
			return nil, err
		}
		loader := string(raw)
		if found[loader], err = filepath.EvalSymlinks(loader); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return found, nil // linked statically
	}
	return found, addLibraries(file, found)
}

func addLibraries(file *elf.File, found map[string]string) error {
	names, err := file.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, library := range names {
		inside := "/lib/" + library
		if _, known := found[inside]; known {
			continue
		}
		source := locate(library)
		if source == "" {
			return fmt.Errorf("library %s is not on this machine", library)
		}
		found[inside] = source
		inner, err := elf.Open(source)
		if err != nil {
			return err
		}
		err = addLibraries(inner, found)
		_ = inner.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func locate(library string) string {
	for _, pattern := range []string{"/lib/*-linux-gnu/", "/lib64/", "/usr/lib/*-linux-gnu/", "/usr/lib64/"} {
		matches, _ := filepath.Glob(pattern + library)
		for _, match := range matches {
			if real, err := filepath.EvalSymlinks(match); err == nil {
				if info, err := os.Stat(real); err == nil && info.Mode().IsRegular() {
					return real
				}
			}
		}
	}
	return ""
}
