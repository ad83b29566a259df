# Written by `scripts/check --write` from the code; do not edit it by hand.
#
# Every key of the configuration, as an option of services.cairn.settings.
{ forms }:
with forms;
{
  data_dir = key path "cairn-data" ''
    The directory that holds everything this node keeps. It is created when it is not
    there, and locked while the node runs.
  '';
  multitenancy_enabled = key flag "false" ''
    Whether `X-Scope-OrgID` decides whose series a request is about. When it is off,
    everything belongs to the tenant `anonymous` and the header is ignored; when it is on,
    a request without the header is refused with 401.
  '';
  memory_limit = key share "25%" ''
    The memory from which the head, every cache and every query are sized.
  '';
  node.name = key text "" ''
    The name of this node, for people. Unset: the host's name.
  '';
  node.zone = key text "default" ''
    Where it stands: replicas go to different zones.
  '';
  node.capacity = key size "" ''
    How much of the cluster's data it can hold beside the others: replicas are dealt out in
    proportion. Unset: all nodes that say nothing are equal.
  '';
  http.listen = key text "0.0.0.0:9009" ''
    Where it listens.
  '';
  http.max_connections = key count "1024" ''
    Connections at a time; further ones wait in the system's queue.
  '';
  http.read_timeout = key duration "1m" ''
    How long a request's head or body may take to arrive.
  '';
  http.enable_admin_api = key flag "false" ''
    Whether `/api/v1/admin/tsdb/...` deletes series, shows them again and makes snapshots: for
    everybody who reaches the port. When it is off, these paths answer 503, as Prometheus'
    do without `--web.enable-admin-api`.
  '';
  peer.listen = key text "0.0.0.0:9095" ''
    The address and port on which peers are listened for.
  '';
  peer.advertise = key text "" ''
    The address and port at which peers reach this node, such as `10.0.0.1:9095`. Unset:
    the address of the interface that leads to the others, with the port of `peer.listen`.
  '';
  peer.tls.ca_file = key path "" ''
    The file (PEM) with the authority that signs the certificates of all nodes, and of
    nobody else.
  '';
  peer.tls.cert_file = key path "" ''
    The file (PEM) with this node's certificate and what is between it and the authority.
    It must be good for both ends of a connection.
  '';
  peer.tls.key_file = key path "" ''
    The file (PEM) with that certificate's key. Changes of the three files are seen
    without a restart.
  '';
  peer.tls.names = key texts "" ''
    The names of which a peer's certificate must bear one. Empty: any certificate of the
    authority's will do.
  '';
  cluster.bootstrap_expect = key count "3" ''
    How many nodes found a new cluster together, once they see each other. Only for
    discovery by Consul or DNS: with a list it is the list. Nodes that come later join.
  '';
  cluster.replication_factor = key count "3" ''
    On how many nodes each sample is kept; on fewer while there are not so many. One of 1
    to 5: 3 survives the loss of any node without interruption.
  '';
  cluster.replace_after = key duration "1h" ''
    How long a node may be away before what it holds is made anew on others. When it comes
    back it gets a share again.
  '';
  cluster.copy_bandwidth = key size "32MiB" ''
    How fast this node fetches blocks from others, and how fast it uploads them to the bucket,
    in bytes a second; 0: as fast as it can.
  '';
  discovery.kind = key (choice [ "consul" "static" "dns" "none" ]) "none" ''
    What tells this node about its peers. With `none` it is a cluster of one.
  '';
  discovery.static.peers = key texts "" ''
    Every node's `peer.advertise`, this one's too: the same list on all nodes. A new
    cluster is founded by exactly these.
  '';
  discovery.dns.name = key text "" ''
    The full name. One that begins with `_`, such as `_cairn-peer._tcp.lan`, is looked up
    as SRV, with the ports that it says; any other as A and AAAA, on port 9095 unless it
    ends in one of its own, such as `cairn-peer.lan:9195`.
  '';
  discovery.dns.server = key text "" ''
    The name server to ask, such as Consul's `127.0.0.1:8600`. Unset: what
    `/etc/resolv.conf` says.
  '';
  discovery.consul.consul_http_addr = key text "http://127.0.0.1:8500" ''
    The HTTP interface of the Consul agent on this machine; `https://` for TLS.
  '';
  discovery.consul.service_name = key text "cairn" ''
    The service that senders and Grafana look up; peers register as the same name with
    `-peer` at its end. Letters, digits and hyphens.
  '';
  discovery.consul.ca_cert = key path "" ''
    The file (PEM) with the authority that signed the agent's certificate. Unset: those
    that the system trusts.
  '';
  discovery.consul.client_cert = key path "" ''
    The file (PEM) with this node's certificate, where the agent asks for one.
  '';
  discovery.consul.client_key = key path "" ''
    The file (PEM) with that certificate's key.
  '';
  discovery.consul.tls_skip_verify = key flag "false" ''
    Whether to talk TLS to an agent whose certificate nobody has checked.
  '';
  discovery.consul.token = key secret "" ''
    The ACL token. It must be allowed to write both services, sessions, and keys below
    `cairn/`.
  '';
  discovery.consul.token_file = key path "" ''
    The file with the ACL token; it is read for each request, so that it may change.
  '';
  discovery.consul.tags = key texts "" ''
    Tags of both services.
  '';
  discovery.consul.meta = key texts "" ''
    Metadata of both services, each as `key=value`.
  '';
  discovery.consul.datacenters = key texts "" ''
    The datacenters in which peers are looked for; the founding record is in the first.
    Empty: the agent's own.
  '';
  discovery.consul.namespace = key text "" ''
    The namespace, in Consul Enterprise.
  '';
  archive.kind = key (choice [ "s3" "local" "none" ]) "none" ''
    What sealed blocks are copied to: S3-compatible storage such as Garage, a directory, or
    nothing. The same on all nodes of a cluster.
  '';
  archive.local.path = key path "" ''
    The directory, which must be there: a second disk, or a share that all nodes of the
    cluster have mounted.
  '';
  archive.s3.endpoint = key text "" ''
    The address of the storage, such as `http://10.0.0.1:3900`. Unset: Amazon's, of the
    region.
  '';
  archive.s3.region = key text "garage" ''
    The region; what Garage calls `s3_region`.
  '';
  archive.s3.bucket = key text "" ''
    The bucket, which must be there.
  '';
  archive.s3.prefix = key text "" ''
    What the names of all objects begin with, so that one bucket may serve several
    clusters.
  '';
  archive.s3.path_style = key flag "true" ''
    Whether the bucket's name goes into the path, as Garage and MinIO want it, and not into
    the host's name.
  '';
  archive.s3.access_key_file = key path "" ''
    The file with the access key's id. Unset: `AWS_ACCESS_KEY_ID` in the environment, else
    what the machine's instance profile says.
  '';
  archive.s3.secret_key_file = key path "" ''
    The file with the secret key. Unset: `AWS_SECRET_ACCESS_KEY` in the environment, else
    what the machine's instance profile says.
  '';
  archive.s3.ca_cert = key path "" ''
    The file (PEM) with the authority that signed the storage's certificate. Unset: those
    that the system trusts.
  '';
  ingest.max_recv_msg_size = key size "32MiB" ''
    The largest body of a write as it comes over the wire, compressed. A larger one is
    answered with 413.
  '';
  ingest.max_decompressed_size = key size "64MiB" ''
    The largest body of a write after decompression. A larger one is answered with 413
    before memory is taken for it.
  '';
  ingest.creation_grace_period = key duration "10m" ''
    How far ahead of this node's clock a sample may be. Beyond it, it is refused with 400.
  '';
  ingest.max_label_names_per_series = key count "128" ''
    The most labels of one series.
  '';
  ingest.max_label_name_length = key count "1024" ''
    The longest label name, in bytes.
  '';
  ingest.max_label_value_length = key count "8192" ''
    The longest label value, in bytes.
  '';
  ingest.max_native_histogram_buckets = key count "10000" ''
    The most buckets of one native histogram, both sides together.
  '';
  ingest.max_series = key count "10000000" ''
    The most series that may be active at a time: those with samples that no block holds
    yet. A new one beyond it is refused with 400, samples of known ones are taken. New
    ones are also refused when labels and index take a fifth of `memory_limit`.
  '';
  ingest.self_scrape_interval = key duration "15s" ''
    How often this node stores its own metrics. `0s`: never.
  '';
  query.timeout = key duration "2m" ''
    A query that takes longer is ended. A request may ask for less.
  '';
  query.max_concurrency = key count "20" ''
    Queries that run at a time; further ones wait their turn.
  '';
  query.max_samples = key count "50000000" ''
    Samples that one query may hold in memory at a time.
  '';
  query.max_memory = key size "512MiB" ''
    Memory that one query may hold at a time.
  '';
  query.max_points = key count "11000" ''
    Points per series that a range query may ask for.
  '';
  query.lookback_delta = key duration "5m" ''
    How far back an instant selector looks for the newest sample.
  '';
  query.default_evaluation_interval = key duration "1m" ''
    The step of subqueries that name none.
  '';
  query.cache_results = key flag "true" ''
    Whether answers to range queries are kept, as far as they are made from samples that can
    no longer change, and used again while those are the same.
  '';
  query.enable_feature = key texts "" ''
    What to switch on, by the names that Prometheus' `--enable-feature` has for it, such as
    `promql-experimental-functions`; `all` for everything.
  '';
  retention.total = key duration "" ''
    Samples older than this are deleted, a block at a time. Unset: nothing is deleted by
    age.
  '';
  retention.local = key duration "" ''
    Where there is an archive: blocks older than this leave this node's disk once the archive
    has them, and queries read them from there. Unset: they stay as long as
    `retention.local_size` lets them.
  '';
  retention.local_size = key size "" ''
    What sealed blocks may take of this node's disk. Where there is an archive, the oldest
    leave the disk once the archive has them, and an eighth of this is for what queries
    fetched from there; without one, the oldest are deleted. Unset: no bound.
  '';
  retention.tenants = key texts "" ''
    Tenants of which more or less is kept than of all others, the same on all nodes:
    `tenant=total`, `tenant=total/local`, or `tenant=/local`, such as `team-a=30d`,
    `team-b=forever`, `team-c=2y/60d`. Blocks hold several tenants and are rewritten without
    those whose time is over; one leaves a disk when all in it may.
  '';
  retention.downsample = key texts "" ''
    From what age on samples are kept only as one in five minutes (`5m`) or one in an hour
    (`1h`), with count, sum, minimum, maximum and counter resets of those that go, the same on
    all nodes: `30d:5m`, `1y:1h`. Whole blocks are rewritten; nothing brings the samples back.
    Unset: all stay as they were written.
  '';
  disk.min_free = key size "256MiB" ''
    With less than this free, writes are answered with 503 and the reason, until space is
    free again. Reads go on.
  '';
  disk.reserve = key size "32MiB" ''
    The size of the file `reserve` in the data directory. It is given up when others have
    filled the disk in spite of `disk.min_free`, so that what is in memory can still be
    sealed and the node can stop cleanly. 0: none.
  '';
  log.sync = key (choice [ "fsync" "interval" "os" ]) "fsync" ''
    What an acknowledgement promises: `fsync`: the samples are on the disk; `interval`: they
    are within `log.sync_interval` (a power cut loses what came since); `os`: they are when
    the system decides. A crash of Cairn alone loses nothing in any of them.
  '';
  log.sync_interval = key duration "200ms" ''
    How long samples may be in memory only when `log.sync` is `interval`.
  '';
  log.segment_size = key size "16MiB" ''
    The size of a log file, 8 MiB to 1 GiB; what lies outside counts as the nearest. Files are
    zeroed once and used again and again.
  '';
  seal.grace = key duration "10m" ''
    How long after its end a window waits for late samples before its first seal. What
    comes later is kept all the same and sealed in a further round.
  '';
  telemetry.format = key (choice [ "human" "json" ]) "human" ''
    How log lines look: for people, or one JSON object a line for a log collector.
  '';
  telemetry.level = key text "info" ''
    What is logged: `error`, `warn`, `info` or `debug`, also by part, such as
    `info,cairn::query=debug`.
  '';
}
