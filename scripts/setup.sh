# Sourced by the other scripts: installs what the build needs, finds the caches, and makes sure
# that RocksDB's C++ is compiled once per machine and never again.
#
# After it, CAIRN_CACHE, CARGO_TARGET_DIR, ROCKSDB_LIB_DIR and ROCKSDB_STATIC are exported.

set -euo pipefail
cairn_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CAIRN_CACHE="${CAIRN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cairn}"
mkdir -p "$CAIRN_CACHE"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
# The commit of the tree, for the program that is built from it (cargo ... with CAIRN_REVISION="$(revision)").
revision() { git -C "$cairn_root" describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || true; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# packages NAME...: installs the Debian packages that are missing; says which.
packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "these packages are missing, and there is no apt-get to install them: ${missing[*]}"
    say "installing system packages: ${missing[*]}"
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

packages ca-certificates gcc g++ libc6-dev make clang libclang-dev git

# Rust: what is there, as long as it works; else the toolchain that the tree was written with, by rustup.
[ -x "$HOME/.cargo/bin/cargo" ] && case ":$PATH:" in *":$HOME/.cargo/bin:"*) ;; *) export PATH="$HOME/.cargo/bin:$PATH" ;; esac
rust_works() { (cd "$cairn_root" && cargo --version && rustc --version && cargo fmt --version && cargo clippy --version) >/dev/null 2>&1; }
install_rust() {
    local channel components="rustfmt clippy"
    channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$cairn_root/rust-toolchain.toml")
    if ! command -v rustup >/dev/null; then
        packages curl
        say "installing Rust by rustup, into $HOME/.cargo"
        # https://rust-lang.github.io/rustup/installation/other.html: the installer and its checksum.
        local init="$CAIRN_CACHE/rustup-init" from
        from="https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init"
        curl --proto '=https' --tlsv1.2 -fsSL "$from" -o "$init" || die "rustup cannot be had from $from: install Rust yourself (https://rustup.rs), then run this again"
        [ "$(curl --proto '=https' --tlsv1.2 -fsSL "$from.sha256" | cut -d' ' -f1)" = "$(sha256sum "$init" | cut -d' ' -f1)" ] || die "$from does not have its checksum: try again"
        chmod +x "$init"
        "$init" -y --quiet --no-modify-path --profile minimal --default-toolchain none
        rm "$init"
        export PATH="$HOME/.cargo/bin:$PATH"
    fi
    say "installing the Rust toolchain $channel"
    rustup toolchain install "$channel" --no-self-update --profile minimal --component ${components// / --component } >/dev/null
}
rust_works || install_rust
rust_works || die "cargo, rustc, rustfmt and clippy of $(sed -n 's/^channel = "\(.*\)"/\1/p' "$cairn_root/rust-toolchain.toml") do not run here: see \"rustup show\""
rust_minor=$(cd "$cairn_root" && rustc --version | sed -E 's/^rustc 1\.([0-9]+).*/\1/')
[ "$rust_minor" -ge 91 ] || die "$(rustc --version) is too old: Cairn needs 1.91 or later (rustup update)"

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$CAIRN_CACHE/target}"

# Every version of every dependency leaves its objects there: beyond this many MiB (a full set of
# debug and release takes 4,000) it is emptied and built anew, which takes minutes. Not by a script
# that another one runs: that one has things there.
target_mib_max=12000
if [ -z "${BUILD_CACHE_IN_USE:-}" ] &&
    [ "$CARGO_TARGET_DIR" = "$CAIRN_CACHE/target" ] && [ -d "$CARGO_TARGET_DIR" ] &&
    [ "$(du -sm "$CARGO_TARGET_DIR" | cut -f1)" -gt "$target_mib_max" ]; then
    say "the build cache has outgrown $target_mib_max MiB: emptying $CARGO_TARGET_DIR"
    rm -rf "$CARGO_TARGET_DIR"
fi
# Not CAIRN_...: the program, which scripts/run starts, takes such a variable for a key that it does not know.
export BUILD_CACHE_IN_USE=1

# RocksDB as a static archive, keyed by all that shapes it. The crate's build script compiles no
# C++ when ROCKSDB_LIB_DIR is set, so every profile and every fresh clone shares this one.
rocksdb_archive() {
    local version key dir build archive
    version=$(awk '$0 == "name = \"librocksdb-sys\"" { getline; gsub(/version = |"/, ""); print }' "$cairn_root/Cargo.lock")
    key="$version-$(uname -m)-$(printf '%s' "$(clang++ --version | head -n 1) zstd O2 $(cat "$cairn_root/.cargo/config.toml")" | sha256sum | cut -c1-12)"
    dir="$CAIRN_CACHE/rocksdb/$key"
    if [ ! -f "$dir/librocksdb.a" ]; then
        say "compiling RocksDB ($version), once for this machine: 10 to 20 minutes on two cores"
        # Archives of other versions are of no use any more: this keeps the cache bounded.
        rm -rf "$CAIRN_CACHE/rocksdb"
        build="$CAIRN_CACHE/rocksdb/build"
        mkdir -p "$build/tmp" "$dir"
        (
            cd "$cairn_root"
            unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
            # A private TMPDIR: a cleaner of /tmp must not take the compiler's files away.
            TMPDIR="$build/tmp" CC=clang CXX=clang++ CARGO_TARGET_DIR="$build" \
                cargo build --release --locked --quiet --package librocksdb-sys
        )
        archive=$(find "$build/release/build" -name librocksdb.a | head -n 1)
        [ -n "$archive" ] || die "RocksDB was compiled, but no librocksdb.a is below $build"
        cp "$archive" "$dir/librocksdb.a.new"
        mv "$dir/librocksdb.a.new" "$dir/librocksdb.a"
        rm -rf "$build"
    fi
    export ROCKSDB_LIB_DIR="$dir" ROCKSDB_STATIC=1
}
rocksdb_archive
