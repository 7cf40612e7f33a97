#!/usr/bin/env bash
# Makes components.go, go.mod and go.sum of builder.yaml. What the builder does last fails: modules that only tests of
# components need aren't served. So it is asked for the sources alone, and the go command is told to go on without these
# modules. Its main.go gives way to ours.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT

(
  cd "${work}"
  go mod init builder
  go get -tool go.opentelemetry.io/collector/cmd/builder@v0.155.0
  go build -o builder go.opentelemetry.io/collector/cmd/builder
) &>"${work}/log" || { cat "${work}/log" >&2; exit 1; }
mkdir "${work}/sources"
cp builder.yaml "${work}/sources"
(cd "${work}/sources" && "${work}/builder" --config builder.yaml --skip-compilation) &>"${work}/log" || true
if [[ ! -s "${work}/sources/go.mod" ]]; then cat "${work}/log" >&2; exit 1; fi
cp "${work}"/sources/{components.go,go.mod} .
gofmt -w components.go
go mod tidy -e &>"${work}/log" || { cat "${work}/log" >&2; exit 1; }
go vet -tags remove_all_sd,enable_kubernetes_sd .
