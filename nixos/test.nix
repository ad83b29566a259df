# Three machines found a cluster through Consul, take samples, and go on without one of them.
#
#   nix build .#checks.x86_64-linux.three-machines     (on a machine with KVM)
#
# Written for nixpkgs' testers.runNixOSTest; this project's own tests only evaluate the machines'
# settings, for they have neither nixpkgs nor KVM. It has not been run yet.
{ ... }:
let
  machine = { config, pkgs, ... }: {
    imports = [ ./module.nix ];
    virtualisation.memorySize = 1024;
    networking.firewall.enable = false;
    services.consul = {
      enable = true;
      interface.bind = "eth1";
      extraConfig = {
        server = true;
        bootstrap_expect = 3;
        retry_join = [ "one" "two" "three" ];
      };
    };
    services.cairn = {
      enable = true;
      settings = {
        discovery.kind = "consul";
        cluster.bootstrap_expect = 3;
        ingest.self_scrape_interval = "1s";
      };
    };
  };
in
{
  name = "cairn-three-machines";
  nodes = { one = machine; two = machine; three = machine; };
  testScript = ''
    start_all()
    machines = [one, two, three]
    for machine in machines:
        machine.wait_for_unit("cairn.service")
        machine.wait_until_succeeds("curl -fsS http://127.0.0.1:9009/-/ready", timeout=180)
    everybody = "test \"$(cairn query 'count(cairn_build_info)' | grep -o '[0-9]*$')\" = 3"
    for machine in machines:
        machine.wait_until_succeeds(everybody, timeout=120)
    with subtest("one machine is lost, the others take samples and answer"):
        three.crash()
        one.wait_until_succeeds("cairn query 'count_over_time(cairn_build_info{instance=~\"one.*\"}[10s]) > 5'", timeout=120)
        two.succeed("curl -fsS http://127.0.0.1:9009/-/ready")
    with subtest("it comes back"):
        three.start()
        three.wait_until_succeeds("curl -fsS http://127.0.0.1:9009/-/ready", timeout=180)
        three.wait_until_succeeds(everybody, timeout=180)
    with subtest("a configuration that is read again"):
        one.succeed("systemctl reload cairn.service")
        one.wait_until_succeeds("journalctl -u cairn | grep 'configuration was read again'")
    with subtest("a clean stop"):
        two.succeed("systemctl stop cairn.service")
        two.succeed("journalctl -u cairn | grep 'everything is on disk'")
  '';
}
