# Sourced by scripts/test after setup.sh: makes the real servers that the end-to-end tests start.
# Debian's come from its packages; Prometheus 3, the OpenTelemetry Collector and Consul are built from the
# Go module proxy and kept in the cache. A machine that has none yet leaves the last two to a
# later run when it is in a hurry (CI=true): its tests say then that they were skipped.

export CAIRN_TOOLS_BIN="${CAIRN_TOOLS_BIN:-$CAIRN_CACHE/tools/bin}"
export CAIRN_SKIPPED="$CAIRN_CACHE/skipped.txt"
: > "$CAIRN_SKIPPED"
mkdir -p "$CAIRN_TOOLS_BIN"

packages prometheus prometheus-node-exporter victoria-metrics chromium iproute2 faketime

# Debian starts the services that it installs; the tests start their own.
if command -v systemctl >/dev/null; then
    for service in prometheus prometheus-node-exporter victoria-metrics vmagent; do
        systemctl disable --now "$service" >/dev/null 2>&1 || true
    done
fi

go_tool() { # go_tool NAME FILE MINUTES: builds NAME into FILE unless it is there
    local name=$1 file=$2 minutes=$3
    [ ! -x "$CAIRN_TOOLS_BIN/$file" ] || return 0
    if ! command -v go >/dev/null; then
        packages golang-go || true
    fi
    command -v go >/dev/null || { say "$name cannot be built: there is no Go compiler (tests that need it are skipped)"; return 0; }
    say "building $name, once for this machine: about $minutes minutes"
    scripts/build-go-tools "$name" || say "$name could not be built: tests that need it are skipped"
}

cold=""
[ -x "$CAIRN_TOOLS_BIN/prometheus3" ] || cold=yes
go_tool prometheus prometheus3 5
if [ -n "$cold" ] && [ -n "${CI:-}" ]; then
    say "cold CI run: the OpenTelemetry Collector and Consul are left to the next one"
else
    go_tool otelcol otelcol 10
    go_tool consul consul 10
fi
