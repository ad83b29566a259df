# What our Nix files amount to, as JSON:
#   nix-instantiate --eval --strict --json eval.nix --argstr what '{"module": {"enable": true}}'
{ what }:
let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix;
  asked = builtins.fromJSON what;

  # services.cairn of somebody's configuration: what the system gets, and the configuration file.
  system = cairn:
    let
      evaluated = lib.evalStub { module = ../../../nixos/module.nix; inherit pkgs; settings.services.cairn = cairn; };
      out = evaluated.out;
    in
    {
      broken = map (a: a.message) (builtins.filter (a: !a.assertion) out.assertions);
      source = out.environment.etc."cairn/cairn.toml".source.text;
      unit = out.systemd.services.cairn;
      ports = out.networking.firewall.allowedTCPPorts;
      tmpfiles = out.systemd.tmpfiles.rules;
      users = builtins.attrNames out.users.users;
    };

  # A machine's module, called as NixOS would.
  machine = module:
    let config = lib.evalStub { module = args: { options = { }; config = removeAttrs (module args) [ "imports" ]; }; inherit pkgs; };
    in config.out;
  checked = module: let m = machine module; in m // { services = m.services // { cairn = system m.services.cairn; }; };

  outputs = (import ../../../flake.nix).outputs {
    self = { };
    nixpkgs = {
      lib = lib // { nixosSystem = { system, modules }: { inherit system modules; }; };
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: pkgs);
    };
  };
  test = import ../../../nixos/test.nix { };
  package = outputs.packages.x86_64-linux.default;
in
if asked ? module then system asked.module
else if asked ? boards then builtins.mapAttrs (_: checked) (import ../../../nixos/six-boards.nix)
else {
  package = { inherit (package) pname version; inherit (package.meta) description; };
  systems = builtins.attrNames outputs.packages;
  boards = builtins.attrNames outputs.nixosConfigurations;
  checks = builtins.attrNames outputs.checks.aarch64-linux;
  module = builtins.pathExists outputs.nixosModules.default;
  inherit (test) testScript;
  machines = builtins.mapAttrs (_: module: (checked module).services) test.nodes;
}
