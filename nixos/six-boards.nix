# Six boards with everything that a metrics store at home needs: a Consul and a Garage across all of
# them, Cairn on each, a Collector on each that finds its targets in Consul and writes to the Cairn beside
# it, and Grafana on the first. A flake's nixosConfigurations are made from it; yours adds hardware, disks,
# users and the secrets: /run/secrets/consul-token (Consul with ACLs), /run/secrets/garage.env
# (GARAGE_RPC_SECRET, GARAGE_ADMIN_TOKEN), /run/secrets/cairn-s3-access-key and cairn-s3-secret-key.
#
# The settings of Cairn, the Collector's configuration and Consul's are checked by this project's
# tests with the real programs; NixOS' options for the others are used as their documentation says.
let
  boards = {
    board-1 = { address = "10.0.0.1"; zone = "shelf-a"; };
    board-2 = { address = "10.0.0.2"; zone = "shelf-a"; };
    board-3 = { address = "10.0.0.3"; zone = "shelf-b"; };
    board-4 = { address = "10.0.0.4"; zone = "shelf-b"; };
    board-5 = { address = "10.0.0.5"; zone = "shelf-c"; };
    board-6 = { address = "10.0.0.6"; zone = "shelf-c"; };
  };
  addresses = map (board: board.address) (builtins.attrValues boards);
  # An odd number of Consul servers; the others are clients.
  consulServers = [ "board-1" "board-3" "board-5" ];

  board = name: { address, zone }: { config, lib, pkgs, ... }: {
    imports = [ ./module.nix ];
    networking.hostName = name;
    system.stateVersion = "25.11";

    services.consul = {
      enable = true;
      extraConfig = {
        datacenter = "home";
        server = builtins.elem name consulServers;
        bind_addr = address;
        retry_join = addresses;
      } // lib.optionalAttrs (builtins.elem name consulServers) {
        bootstrap_expect = builtins.length consulServers;
      };
    };

    services.garage = {
      enable = true;
      package = pkgs.garage;
      environmentFile = "/run/secrets/garage.env";
      settings = {
        replication_factor = 3;
        db_engine = "sqlite";
        rpc_bind_addr = "${address}:3901";
        rpc_public_addr = "${address}:3901";
        s3_api = { s3_region = "home"; api_bind_addr = "127.0.0.1:3900"; };
        admin.api_bind_addr = "127.0.0.1:3903";
      };
    };

    services.cairn = {
      enable = true;
      openFirewall = true;
      credentials = {
        consul-token = "/run/secrets/consul-token";
        s3-access-key = "/run/secrets/cairn-s3-access-key";
        s3-secret-key = "/run/secrets/cairn-s3-secret-key";
      };
      settings = {
        # A quarter of a board's 4 GB; systemd's bound is twice that.
        memory_limit = "1GiB";
        node = { inherit name zone; };
        peer.advertise = "${address}:9095";
        discovery.kind = "consul";
        cluster.bootstrap_expect = 3;
        retention = { total = "2y"; local_size = "40GiB"; };
        # The Garage on this board; make bucket and key first: garage bucket create cairn, garage key create cairn,
        # garage bucket allow --read --write cairn --key cairn.
        archive = { kind = "s3"; s3 = { endpoint = "http://127.0.0.1:3900"; region = "home"; bucket = "cairn"; }; };
      };
    };
    # Peers are the other boards and nobody else.
    networking.firewall.extraInputRules = "ip saddr { ${lib.concatStringsSep ", " addresses} } tcp dport 9095 accept";
    networking.nftables.enable = true;

    services.prometheus.exporters.node = { enable = true; listenAddress = "127.0.0.1"; };

    # What is on this board, and what its Consul agent knows to be here with the tag "metrics".
    services.opentelemetry-collector = {
      enable = true;
      package = pkgs.opentelemetry-collector-contrib;
      settings = {
        receivers.prometheus.config.scrape_configs = [
          {
            job_name = "node";
            scrape_interval = "15s";
            static_configs = [ { targets = [ "127.0.0.1:9100" ]; labels.instance = name; } ];
          }
          {
            job_name = "consul";
            scrape_interval = "15s";
            consul_sd_configs = [ { server = "127.0.0.1:8500"; tags = [ "metrics" ]; } ];
            relabel_configs = [
              { source_labels = [ "__meta_consul_node" ]; regex = name; action = "keep"; }
              { source_labels = [ "__meta_consul_service" ]; target_label = "job"; }
              { source_labels = [ "__meta_consul_node" ]; target_label = "instance"; }
            ];
          }
        ];
        processors.batch = { };
        # The Cairn beside it; when that one is away, the Collector keeps samples for it.
        exporters.prometheusremotewrite.endpoint = "http://127.0.0.1:9009/api/v1/write";
        service.pipelines.metrics = {
          receivers = [ "prometheus" ];
          processors = [ "batch" ];
          exporters = [ "prometheusremotewrite" ];
        };
      };
    };

    services.grafana = lib.mkIf (name == "board-1") {
      enable = true;
      settings.server = { http_addr = address; http_port = 3000; };
      provision = {
        enable = true;
        datasources.settings = {
          apiVersion = 1;
          datasources = [
            {
              name = "Cairn";
              uid = "cairn";
              type = "prometheus";
              access = "proxy";
              url = "http://127.0.0.1:9009";
              isDefault = true;
              jsonData = { httpMethod = "POST"; prometheusType = "Prometheus"; timeInterval = "15s"; };
            }
          ];
        };
        dashboards.settings = {
          apiVersion = 1;
          providers = [ { name = "cairn"; options.path = ../docs/dashboards; } ];
        };
      };
    };
  };
in
builtins.mapAttrs board boards
