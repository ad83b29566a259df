//! Boards on one machine: each node in a network namespace of its own, all on one bridge.
//!
//! Needs root and iproute2; without them the stories say that they are skipped. Everything is
//! named after this process, and taken away when the lab is dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::servers::{Answer, Cairn, Consul, ConsulPorts, Server, eventually, get, post_form};

/// Labs of this process; each has a network of its own.
static LABS: AtomicU8 = AtomicU8::new(0);

/// One board: a namespace with an address, and what runs on it.
pub struct Board {
    pub name: String,
    pub address: String,
    pub folder: PathBuf,
    namespace: String,
    link: String,
    server: Option<Server>,
    /// Counts its reboots; 0: it is seen under this machine's own boot id.
    boots: u32,
}

/// All boards.
pub struct Lab {
    pub boards: Vec<Board>,
    /// Senders use so many of them, the first; at first all.
    pub targets: usize,
    /// Where this machine is for the boards.
    pub gateway: String,
    bridge: String,
    settings: Vec<String>,
    folder: PathBuf,
}

fn ip(arguments: &str) -> Result<(), String> {
    run(&format!("ip {arguments}"))
}

fn run(command: &str) -> Result<(), String> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{command}: {said}"))
}

fn without_offloads(device: &str) -> String {
    format!("ethtool -K {device} tx off tso off gso off gro off")
}

/// A link that is bad as long as this lives.
pub struct Worse {
    undo: Vec<String>,
    program: Option<Server>,
}

impl Drop for Worse {
    fn drop(&mut self) {
        drop(self.program.take());
        for undo in &self.undo {
            if let Err(error) = ip(undo) {
                println!("the link could not be mended: {error}");
            }
        }
    }
}

impl Lab {
    /// Boards that are switched off; or why there can be none.
    pub fn new(folder: &Path, boards: usize, settings: &[&str]) -> Result<Self, String> {
        let number = LABS.fetch_add(1, Ordering::SeqCst);
        let process = std::process::id() % 10_000;
        // 10.64.0.0/10 in slices of 256: different for tests that run beside each other.
        let (second, third) = (64 + process % 64, (process / 64 + u32::from(number)) % 256);
        let bridge = format!("cb{process}x{number}");
        let network = format!("10.{second}.{third}");
        let mut lab = Self {
            boards: Vec::new(),
            targets: boards,
            gateway: format!("{network}.1"),
            bridge: bridge.clone(),
            settings: settings.iter().map(|s| (*s).to_owned()).collect(),
            folder: folder.to_owned(),
        };
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {network}.1/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        for at in 1..=boards {
            lab.add_board(at, &network, process, number)?;
        }
        Ok(lab)
    }

    fn add_board(
        &mut self,
        at: usize,
        network: &str,
        process: u32,
        number: u8,
    ) -> Result<(), String> {
        let namespace = format!("cairn-{process}-{number}-{at}");
        let (outside, inside) = (
            format!("co{process}x{number}x{at}"),
            format!("ci{process}x{number}x{at}"),
        );
        let address = format!("{network}.{}", 10 + at);
        ip(&format!("netns add {namespace}"))?;
        ip(&format!(
            "link add {outside} type veth peer name {inside} netns {namespace}"
        ))?;
        ip(&format!("link set {outside} master {}", self.bridge))?;
        ip(&format!("link set {outside} up"))?;
        let within = |what: &str| ip(&format!("-n {namespace} {what}"));
        within(&format!("addr add {address}/24 dev {inside}"))?;
        within(&format!("link set {inside} up"))?;
        within("link set lo up")?;
        let folder = self.folder.join(format!("board-{at}"));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        self.boards.push(Board {
            name: format!("board-{at}"),
            address,
            folder,
            namespace,
            link: inside,
            server: None,
            boots: 0,
        });
        Ok(())
    }

    /// A Consul in which the boards find each other; or why there is none.
    pub fn with_consul(&mut self) -> Result<Consul, &'static str> {
        let everywhere = serde_json::json!({"client_addr": "0.0.0.0"});
        let consul = Consul::start(&self.folder, ConsulPorts::free(), everywhere)?;
        let address = format!("http://{}:{}", self.gateway, consul.ports.http);
        self.set("discovery.kind=consul".to_owned());
        self.set(format!("cluster.bootstrap_expect={}", self.boards.len()));
        self.set(format!("discovery.consul.consul_http_addr={address}"));
        Ok(consul)
    }

    /// The setting that lists all boards.
    pub fn static_peers(&self) -> String {
        self.static_peers_of(self.boards.len())
    }

    /// The setting that lists the first boards.
    pub fn static_peers_of(&self, boards: usize) -> String {
        let boards = self.boards.iter().take(boards);
        let peers = boards.map(|b| format!("{}:9095", b.address));
        let peers: Vec<String> = peers.collect();
        format!("discovery.static.peers={}", peers.join(","))
    }

    /// A setting for all starts from now on, in place of what the key had.
    pub fn set(&mut self, setting: String) {
        let key = setting.split('=').next().unwrap_or_default().to_owned();
        let is_it = |other: &String| other.split('=').next() == Some(key.as_str());
        self.settings.retain(|other| !is_it(other));
        self.settings.push(setting);
    }

    /// Switches a board on; it need not be ready when this returns.
    pub fn start(&mut self, at: usize) {
        self.start_with(at, &[]);
    }

    /// The same with variables in its environment.
    pub fn start_with(&mut self, at: usize, variables: &[(&str, &str)]) {
        self.start_as(at, &Cairn::program(), variables);
    }

    /// The same with another build of the program.
    pub fn start_as(&mut self, at: usize, program: &Path, variables: &[(&str, &str)]) {
        let settings = self.settings.clone();
        let board = &mut self.boards[at];
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &board.namespace]);
        if board.boots > 0 {
            // Each has a view of mounts of its own.
            let over = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
            command.args(["sh", "-c", over]).arg(board.boot_file());
        }
        command
            .arg(program)
            .arg("serve")
            .arg("--data-dir")
            .arg(board.data_dir())
            .args(["--http-listen", "0.0.0.0:9009"])
            .args(["--set", &format!("node.name={}", board.name)])
            .args(["--set", &format!("node.zone={}", board.name)])
            .args(["--set", &format!("peer.advertise={}:9095", board.address)]);
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        Cairn::hide_test_variables(&mut command);
        command.envs(variables.iter().copied());
        board.server = Some(Server::start(&board.name, command, &board.folder));
    }

    /// Switches all boards on and waits until all are ready.
    pub fn start_all(&mut self) {
        (0..self.boards.len()).for_each(|at| self.start(at));
        self.wait_ready(Duration::from_secs(60));
    }

    /// Waits until all boards that are on are ready; fails with what all of them have printed.
    pub fn wait_ready(&self, patience: Duration) {
        eventually("all boards are ready", patience, || {
            for board in self.boards.iter().filter(|board| board.server.is_some()) {
                let answer = get(&format!("{}/-/ready", board.url()));
                if !answer.is_ok_and(|answer| answer.status == 200) {
                    let all = self.boards.iter().map(Board::output);
                    return Err(format!(
                        "{} is not\n{}",
                        board.name,
                        all.collect::<String>()
                    ));
                }
            }
            Ok(())
        });
    }

    /// Lets what `from` sends to `to` vanish, or arrive again.
    pub fn cut(&self, from: usize, to: usize, cut: bool) {
        let verb = if cut { "add" } else { "del" };
        let (from, to) = (&self.boards[from], &self.boards[to]);
        ip(&format!(
            "-n {} route {verb} blackhole {}/32",
            from.namespace, to.address
        ))
        .unwrap();
    }

    /// Another address of this machine, which can be cut off by itself.
    pub fn another_address(&self) -> String {
        let network = self.gateway.rsplit_once('.').unwrap().0;
        let address = format!("{network}.2");
        ip(&format!("addr add {address}/24 dev {}", self.bridge)).unwrap();
        address
    }

    /// Lets what a board sends to an address vanish, or arrive again.
    pub fn cut_address(&self, from: usize, address: &str, cut: bool) {
        let verb = if cut { "add" } else { "del" };
        let namespace = &self.boards[from].namespace;
        ip(&format!(
            "-n {namespace} route {verb} blackhole {address}/32"
        ))
        .unwrap();
    }

    /// Both ways.
    pub fn cut_both(&self, one: usize, other: usize, cut: bool) {
        self.cut(one, other, cut);
        self.cut(other, one, cut);
    }

    /// Delays and loses what a board sends, until the answer is dropped: by the kernel's netem, or
    /// where it has none by a program between the board and the others.
    pub fn worsen(&self, at: usize, delay_ms: u32, loss_percent: u32) -> Result<Worse, String> {
        let board = &self.boards[at];
        let (namespace, link) = (&board.namespace, &board.link);
        let netem = format!("root netem delay {delay_ms}ms loss {loss_percent}%");
        if ip(&format!(
            "netns exec {namespace} tc qdisc add dev {link} {netem}"
        ))
        .is_ok()
        {
            let undo = format!("netns exec {namespace} tc qdisc del dev {link} root");
            return Ok(Worse {
                undo: vec![undo],
                program: None,
            });
        }
        // Who forwards frames himself needs them whole, with their checksums.
        for board in &self.boards {
            let (namespace, link) = (&board.namespace, &board.link);
            ip(&format!(
                "netns exec {namespace} {}",
                without_offloads(link)
            ))?;
        }
        run(&without_offloads(&self.bridge))?;
        let outside = link.replacen("ci", "co", 1);
        let (near, far) = (link.replacen("ci", "cn", 1), link.replacen("ci", "cf", 1));
        ip(&format!("link add {near} type veth peer name {far}"))?;
        let undo = vec![
            format!("link set {outside} master {}", self.bridge),
            format!("link del {near}"),
        ];
        let mut worse = Worse {
            undo,
            program: None,
        };
        run(&without_offloads(&far))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("link set {outside} nomaster"))?;
        ip(&format!("link set {far} master {} up", self.bridge))?;
        let mut command = Command::new("python3");
        command
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/e2e/cluster/slow_link.py"
            ))
            .args([&outside, &near])
            .args([delay_ms.to_string(), loss_percent.to_string()]);
        let name = format!("slow-link-{outside}");
        let said = board.folder.join(format!("{name}.log"));
        let mut program = Server::start(&name, command, &board.folder);
        program.wait_until(Duration::from_secs(30), || {
            fs::read_to_string(&said).is_ok_and(|said| said.contains("ready"))
        });
        worse.program = Some(program);
        Ok(worse)
    }

    /// The boards' addresses for a sender, in turn: of the first `targets`.
    pub fn urls(&self) -> Vec<String> {
        let targets = self.boards.iter().take(self.targets);
        targets.map(Board::url).collect()
    }
}

impl Board {
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("cairn")
    }

    pub fn url(&self) -> String {
        format!("http://{}:9009", self.address)
    }

    pub fn is_on(&self) -> bool {
        self.server.is_some()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Its power goes: what it runs is killed, and the next start is one after a reboot.
    pub fn cut_power(&mut self) {
        self.kill();
        self.boots += 1;
        fs::write(self.boot_file(), format!("boot {}\n", self.boots)).unwrap();
    }

    fn boot_file(&self) -> PathBuf {
        self.folder.join("boot-id")
    }

    /// Its newest samples had not reached the disk: the log is empty.
    pub fn lose_log(&self) {
        assert!(!self.is_on());
        for entry in fs::read_dir(self.data_dir().join("log")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    /// SIGTERM; how long it took.
    pub fn terminate(&mut self) -> Duration {
        let mut server = self.server.take().unwrap();
        let (code, took) = server.terminate(Duration::from_secs(30));
        assert_eq!(code, Some(0), "{}", server.output());
        took
    }

    /// Waits until it ends by itself: its exit code and all that it has said.
    pub fn wait_for_end(&mut self, patience: Duration) -> (Option<i32>, String) {
        let mut server = self.server.take().unwrap();
        let code = server.wait_for_end(patience);
        (code, server.output())
    }

    /// Why it is not ready, or that it is.
    pub fn ready(&self) -> Result<String, String> {
        let answer = get(&format!("{}/-/ready", self.url()))?;
        Ok(answer.text())
    }

    /// The sum of a metric's values, of those lines that contain a text.
    pub fn metric(&self, name: &str, containing: &str) -> f64 {
        let text = get(&format!("{}/metrics", self.url())).map(|answer| answer.text());
        let text = text.unwrap_or_default();
        let lines = text.lines();
        let lines = lines.filter(|line| line.starts_with(name) && line.contains(containing));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// A signal by name, such as `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.server.as_ref().unwrap().pid().to_string();
        let mut kill = Command::new("kill");
        kill.args([&format!("-{name}"), &pid]).stderr(Stdio::null());
        assert!(kill.status().unwrap().success());
    }

    /// The disk is gone; a new one is in.
    pub fn wipe(&self) {
        assert!(!self.is_on());
        let _ = fs::remove_dir_all(self.data_dir());
    }

    pub fn output(&self) -> String {
        self.server.as_ref().map(Server::output).unwrap_or_default()
    }

    pub fn query(&self, expression: &str, at_ms: i64) -> Result<serde_json::Value, String> {
        let time = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
        let form = [("query", expression), ("time", &time)];
        let answer: Answer = post_form(&format!("{}/api/v1/query", self.url()), &form)?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        Ok(answer.json()["data"]["result"].clone())
    }

    /// The ids of the blocks that it holds.
    pub fn blocks(&self) -> Result<Vec<String>, String> {
        let answer = get(&format!("{}/api/v1/status/tsdb/blocks", self.url()))?;
        let json = answer.json();
        let blocks = json["data"]["blocks"].as_array().ok_or("no blocks")?;
        Ok(blocks
            .iter()
            .map(|block| block["ulid"].to_string())
            .collect())
    }

    /// What the node says of the cluster.
    pub fn cluster(&self) -> Result<serde_json::Value, String> {
        let answer = get(&format!("{}/api/v1/status/cluster", self.url()))?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        Ok(answer.json()["data"].clone())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for board in &mut self.boards {
            drop(board.server.take());
            let _ = ip(&format!("netns del {}", board.namespace));
        }
        // The namespaces' links go with them, a moment later.
        let deadline = Instant::now() + Duration::from_secs(2);
        while ip(&format!("link del {}", self.bridge)).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
