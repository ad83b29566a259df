# services.cairn: a node of a Prometheus-compatible metrics store.
#
# What the module adds to packaging/systemd/cairn.service is that it is told of settings at evaluation
# (types, unknown keys) and at build (`cairn check-config`), and that a change of what the
# program reads again while it runs is a reload, not a restart.
{ config, lib, pkgs, ... }:
let
  inherit (lib) concatMap concatStringsSep filterAttrs hasAttr isAttrs mkEnableOption mkIf mkOption optional types;
  cfg = config.services.cairn;
  toml = pkgs.formats.toml { };
  forms = import ./forms.nix lib;
  known = import ./options.nix { inherit forms; };

  # Keys that take effect by a reload; src/node/reload.rs names them.
  live = [ "telemetry" "level" ];

  credential = name: "/run/credentials/cairn.service/${name}";

  # Settings that follow from the other options; what is written in `settings` wins.
  implied = {
    data_dir = "/var/lib/cairn";
    # Of MemoryMax.
    memory_limit = "50%";
    discovery.consul.token_file = secretFile "consul-token";
    peer.tls.key_file = secretFile "peer-key";
    archive.s3.access_key_file = secretFile "s3-access-key";
    archive.s3.secret_key_file = secretFile "s3-secret-key";
  };
  secretFile = name: if hasAttr name cfg.credentials then credential name else null;

  # Without what is unset.
  given = settings:
    filterAttrs (_: value: value != null && value != { })
      (builtins.mapAttrs (_: value: if isAttrs value then given value else value) settings);
  settings = lib.recursiveUpdate (given implied) (given cfg.settings);

  # Keys that the program does not know, as paths.
  unknown = prefix: options: values:
    concatMap
      (name:
        let option = options.${name}; path = "${prefix}${name}"; in
        if !(hasAttr name options) then [ path ]
        else if lib.isOption option then [ ]
        else if isAttrs values.${name} then unknown "${path}." option values.${name}
        else [ path ])
      (builtins.attrNames values);
  unknownKeys = unknown "" known (given cfg.settings);

  written = toml.generate "cairn.toml" settings;
  # At build, and so before anything is switched to. Not where the program cannot run, on another architecture.
  checked =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      pkgs.runCommand "cairn.toml" { } ''
        ${cfg.package}/bin/cairn check-config --config ${written} >/dev/null
        cp ${written} $out
      ''
    else written;

  without = path: set:
    let name = builtins.head path; rest = builtins.tail path; in
    if !(hasAttr name set) then set
    else if rest == [ ] then removeAttrs set [ name ]
    else set // { ${name} = without rest set.${name}; };

  port = listen: lib.toInt (lib.last (lib.splitString ":" listen));
  httpPort = port settings.http.listen or "0.0.0.0:9009";
  peerPort = port settings.peer.listen or "0.0.0.0:9095";
  kind = settings.discovery.kind or "none";

  # A size in bytes; null for a share.
  bytes = value:
    let
      parts = builtins.match "([0-9]+(\\.[0-9]+)?) *([A-Za-z]*)" value;
      units = {
        B = 1; KiB = 1024; MiB = 1048576; GiB = 1073741824; TiB = 1099511627776;
        KB = 1000; MB = 1000000; GB = 1000000000; TB = 1000000000000;
      };
      unit = builtins.elemAt parts 2;
    in
    if builtins.isInt value then value
    else if parts == null then null
    else builtins.floor (builtins.fromJSON (builtins.head parts) * (if unit == "" then 1 else units.${unit}));
  memoryBytes = bytes settings.memory_limit;

  inState = settings.data_dir == "/var/lib/cairn";
in
{
  options.services.cairn = {
    enable = mkEnableOption "Cairn, a Prometheus-compatible metrics store";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package that has `bin/cairn`.";
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = toml.type;
        options = known;
      };
      default = { };
      example = {
        retention = { total = "1y"; local_size = "50GiB"; };
        discovery.kind = "consul";
      };
      description = ''
        The configuration, key by key as in `docs/reference/configuration.md`. Here `data_dir` is
        `/var/lib/cairn` and `memory_limit` is `50%` (of {option}`services.cairn.memoryMax`) unless given.
        A key that is not known is refused, and so is a secret.
      '';
    };

    environmentFile = mkOption {
      type = types.nullOr forms.path;
      default = null;
      example = "/run/secrets/cairn.env";
      description = ''
        A file with lines such as `CAIRN_DISCOVERY__CONSUL__TOKEN=...`, read by systemd when the unit
        starts; it wins over {option}`services.cairn.settings`. Files are safer: see
        {option}`services.cairn.credentials`.
      '';
    };

    credentials = mkOption {
      type = types.attrsOf forms.path;
      default = { };
      example = { consul-token = "/run/secrets/consul-token"; peer-key = "/run/secrets/cairn-peer-key.pem"; };
      description = ''
        Secret files that systemd reads as root and shows to Cairn alone, as
        `/run/credentials/cairn.service/NAME`. By itself,
        `consul-token` becomes `settings.discovery.consul.token_file`, `peer-key` `settings.peer.tls.key_file`,
        and `s3-access-key` and `s3-secret-key` become the two files of `settings.archive.s3`.
      '';
    };

    memoryMax = mkOption {
      type = types.str;
      default = if memoryBytes == null then "50%" else toString (2 * memoryBytes);
      defaultText = lib.literalMD "twice `settings.memory_limit` when that is a size, else `50%`";
      description = ''
        systemd's `MemoryMax`: the hard bound. Labels of series and buffers of requests come on top of
        `settings.memory_limit`, so leave as much again. A share in `settings.memory_limit` is a share of this.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the port of `settings.http.listen`, to senders and Grafana.";
    };

    openPeerFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to open the port of `settings.peer.listen`. Without `settings.peer.tls` whoever reaches it
        can pretend to be a peer: open it on trusted interfaces only
        (`networking.firewall.interfaces.NAME.allowedTCPPorts`), or use certificates.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = unknownKeys == [ ];
        message = ''
          services.cairn.settings: unknown key ${concatStringsSep ", " unknownKeys}.
          docs/reference/configuration.md lists all keys of this version.
        '';
      }
    ];

    users.users.cairn = { isSystemUser = true; group = "cairn"; };
    users.groups.cairn = { };

    environment.systemPackages = [ cfg.package ];
    environment.etc."cairn/cairn.toml".source = checked;
    networking.firewall.allowedTCPPorts =
      optional cfg.openFirewall httpPort ++ optional cfg.openPeerFirewall peerPort;
    systemd.tmpfiles.rules = optional (!inState) "d ${settings.data_dir} 0750 cairn cairn -";

    systemd.services.cairn = {
      description = "Cairn, a Prometheus-compatible metrics store";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" "time-sync.target" ] ++ optional (kind == "consul") "consul.service";
      # What a reload does not change restarts the node; the rest reloads it.
      restartTriggers = [ (builtins.toJSON (without live settings)) ];
      reloadTriggers = [ checked ];
      serviceConfig = {
        Type = "exec";
        User = "cairn";
        Group = "cairn";
        UMask = "0027";
        ExecStartPre = "${cfg.package}/bin/cairn check-config --config /etc/cairn/cairn.toml";
        ExecStart = "${cfg.package}/bin/cairn serve --config /etc/cairn/cairn.toml";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "on-failure";
        RestartSec = "5s";
        RestartPreventExitStatus = 2;
        TimeoutStopSec = "90s";
        LimitNOFILE = 65536;
        MemoryMax = cfg.memoryMax;
        EnvironmentFile = optional (cfg.environmentFile != null) cfg.environmentFile;
        LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.credentials;

        NoNewPrivileges = true;
        CapabilityBoundingSet = "";
        AmbientCapabilities = "";
        ProtectSystem = "strict";
        ReadWritePaths = optional (!inState) settings.data_dir;
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectProc = "invisible";
        ProtectClock = true;
        ProtectHostname = true;
        ProtectControlGroups = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        RemoveIPC = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@privileged @resources" ];
        SystemCallErrorNumber = "EPERM";
      } // lib.optionalAttrs inState {
        StateDirectory = "cairn";
        StateDirectoryMode = "0750";
      };
    };
  };
}
