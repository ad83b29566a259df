# Not locked: this project's machines reach no nixpkgs, so `nix flake lock` is yours to run. Rust 1.91 is in
# nixos-unstable and in 25.11 and later.
{
  description = "Cairn, a Prometheus-compatible metrics store for small machines";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      revision = self.shortRev or self.dirtyShortRev or "";
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forAll = made: nixpkgs.lib.genAttrs systems (system: made nixpkgs.legacyPackages.${system});
    in
    {
      packages = forAll (pkgs: rec {
        cairn = pkgs.callPackage ./nixos/package.nix { inherit revision; };
        default = cairn;
      });
      overlays.default = final: _: { cairn = final.callPackage ./nixos/package.nix { inherit revision; }; };
      nixosModules.default = ./nixos/module.nix;
      # nixos-rebuild switch --flake .#board-1
      nixosConfigurations = builtins.mapAttrs
        (_: board: nixpkgs.lib.nixosSystem { system = "aarch64-linux"; modules = [ board ]; })
        (import ./nixos/six-boards.nix);
      checks = forAll (pkgs: { three-machines = pkgs.testers.runNixOSTest ./nixos/test.nix; });
    };
}
