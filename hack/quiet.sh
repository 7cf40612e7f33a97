# Sourced by the scripts beside it.

# quiet runs a command, passes on what it prints, and shows what it says beside
# that (its standard error) only if it fails.
quiet() {
  local log
  log=$(mktemp)
  if ! "$@" 2>"${log}"; then
    cat "${log}" >&2
    rm -f "${log}"
    return 1
  fi
  rm -f "${log}"
}
