# The packages that our Nix files name, as objects with a store-like path, and pkgs.formats. What a command
# would run stands in it as `text`.
let
  lib = import ./lib.nix;
  pkg = name: { inherit name; pname = name; outPath = "/nix/store/00000000000000000000000000000000-${name}"; meta.mainProgram = name; };
  settings = {
    type = { name = "settings"; check = _: true; };
    # The path of such a file shows what is in it.
    generate = name: value: { inherit name; outPath = "WRITTEN<<<${builtins.toJSON value}>>>"; };
  };
  pkgs = {
    inherit lib pkgs;
    formats = { json = _: settings; yaml = _: settings; toml = _: settings; };
    stdenv = { buildPlatform.canExecute = _: true; hostPlatform = { }; };
    runCommand = name: _: text: pkg name // { inherit text; };
    callPackage = file: more:
      let made = import file; in made (builtins.intersectAttrs (builtins.functionArgs made) pkgs // more);
    rustPlatform = { buildRustPackage = a: pkg a.pname // a; bindgenHook = pkg "bindgen-hook"; };
    testers.runNixOSTest = test: import test { };
  } // lib.genAttrs [ "coreutils" "garage" "installShellFiles" "opentelemetry-collector-contrib" ] pkg;
in
pkgs
