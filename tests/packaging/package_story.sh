#!/bin/bash
# package_story.sh FOLDER PORT: in a throw-away root, installs FOLDER/cairn.deb, runs what its unit says
# under what its unit allows, upgrades, and removes it. FOLDER/unit.env has the unit's lines as shell variables.
set -euo pipefail
folder=$1 port=$2
url="http://127.0.0.1:$port"
export DEBIAN_FRONTEND=noninteractive
say() { echo "--- $*"; }
fail() { echo "FAILED: $*"; exit 1; }
source "$folder/unit.env"

# as_the_unit LOG COMMAND...: user, capabilities and read-only root of the unit; what the kernel is asked
# for is written to LOG.
as_the_unit() {
    local log=$1
    shift
    # shellcheck disable=SC2016
    unshare --mount sh -c '
        mount --bind /var/lib/cairn /var/lib/cairn
        mount -t tmpfs tmpfs /tmp
        mount -t tmpfs tmpfs /home
        mount -t tmpfs tmpfs /root
        mount -o remount,ro,bind /
        exec "$@"' sh strace --follow-forks --quiet=all --output="$log" \
        setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
}
ready() {
    for _ in $(seq 600); do
        cairn status --url "$url" >/dev/null 2>&1 && return 0
        kill -0 "$node" 2>/dev/null || { cat "$folder/node.log"; fail "the node ended"; }
        sleep 0.1
    done
    cat "$folder/node.log"
    fail "the node is not ready"
}
start() {
    as_the_unit "$folder/trace.$1" bash -c "exec $exec_start" >>"$folder/node.log" 2>&1 &
    node=$!
    ready
    # What strace runs: the one to be told.
    cairn_pid=$(cat /var/lib/cairn/lock)
}
stop() {
    kill -TERM "$cairn_pid"
    wait "$node" || fail "the node ended with $?"
}

say "a first installation"
dpkg --install "$folder/cairn.deb"
id cairn
[ "$(stat -c '%U %G %a' /var/lib/cairn)" = "cairn cairn 750" ] || fail "whose is /var/lib/cairn?"
[ "$(stat -c '%U %a' /usr/bin/cairn)" = "root 755" ] || fail "whose is /usr/bin/cairn?"
[ -s /usr/share/doc/cairn/third-party-licenses.txt.gz ] || fail "no licences"
dpkg --verify cairn
# The settings that an administrator adds: another port, for the machine is not this test's alone.
echo "CAIRN_HTTP__LISTEN=127.0.0.1:$port" >"${environment_file#-}"
set -a
# shellcheck disable=SC1090
source "${environment_file#-}"
set +a

say "the unit's commands, as its user, with a read-only root"
as_the_unit "$folder/trace.check" bash -c "$exec_start_pre" >/dev/null
start first
[ "$(ps -o user= -p "$cairn_pid")" = cairn ] || fail "whose process is it?"
grep -q '^CapEff:\s*0000000000000000$' "/proc/$cairn_pid/status" || fail "it has capabilities"
for _ in $(seq 300); do
    cairn query --url "$url" 'count(cairn_build_info)' | grep -q 1 && break
    sleep 0.1
done
cairn query --url "$url" 'count(cairn_build_info)' | grep -q 1 || fail "nothing was stored"
bash -c "MAINPID=$cairn_pid; ${exec_reload}"
for _ in $(seq 300); do
    grep -q 'configuration was read again' "$folder/node.log" && break
    sleep 0.1
done
grep -q 'configuration was read again' "$folder/node.log" || fail "it did not read its configuration again"
stop

say "an upgrade over it keeps configuration and samples"
echo '# mine' >>/etc/cairn/cairn.toml
dpkg --install "$folder/cairn.deb"
grep -q '^# mine$' /etc/cairn/cairn.toml || fail "the configuration was written over"
start second
cairn query --url "$url" 'count(count_over_time(cairn_build_info[1h]))' | grep -q 1 || fail "samples are gone"
stop

say "a configuration that this version does not know"
echo 'from_the_future = 1' >>/etc/cairn/cairn.toml
dpkg --install "$folder/cairn.deb" 2>&1 | tee "$folder/refused"
grep -q 'cannot be used by this version.*from_the_future' "$folder/refused" || fail "nobody was told"
code=0
as_the_unit "$folder/trace.refused" bash -c "$exec_start_pre" >/dev/null 2>&1 || code=$?
[ "$code" = 2 ] || fail "the unit's check ends with $code"

say "removed, then purged"
dpkg --remove cairn
[ ! -e /usr/bin/cairn ] && [ -e /etc/cairn/cairn.toml ] && [ -d /var/lib/cairn/log ] || fail "what is left?"
dpkg --purge cairn | tee "$folder/purged"
[ ! -e /etc/cairn/cairn.toml ] && [ -d /var/lib/cairn/log ] || fail "what is left after a purge?"
grep -q 'is kept, it holds your samples' "$folder/purged" || fail "nobody was told of the samples"

say "what the kernel was asked for"
cat "$folder"/trace.* | sed -nE 's/^[0-9]+ +([a-z0-9_]+)\(.*/call \1/p' | sort -u
cat "$folder"/trace.* | sed -nE 's/^[0-9]+ +socket\((AF_[A-Z0-9]+).*/family \1/p' | sort -u
