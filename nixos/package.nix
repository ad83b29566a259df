# The program. Written for nixpkgs with Rust 1.91 or later; not built where this project's tests run,
# which have no nixpkgs: they evaluate it against a stand-in.
{ lib, rustPlatform, installShellFiles, revision ? "" }:
let
  manifest = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).package;
in
rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;
  src = lib.cleanSource ../.;
  cargoLock.lockFile = ../Cargo.lock;
  # libclang, for the bindings to RocksDB, whose C++ the crate brings along and compiles.
  nativeBuildInputs = [ rustPlatform.bindgenHook installShellFiles ];
  cargoBuildFlags = [ "--bin" "cairn" ];
  # What `cairn --version` says behind the version: the flake gives its commit.
  env.CAIRN_REVISION = revision;
  # scripts/test runs the tests: they start real servers.
  doCheck = false;
  postInstall = ''
    installShellCompletion --cmd cairn \
      --bash <($out/bin/cairn completions bash) \
      --zsh <($out/bin/cairn completions zsh) \
      --fish <($out/bin/cairn completions fish)
  '';
  meta = {
    inherit (manifest) description;
    license = lib.licenses.asl20;
    mainProgram = "cairn";
    platforms = [ "x86_64-linux" "aarch64-linux" ];
  };
}
