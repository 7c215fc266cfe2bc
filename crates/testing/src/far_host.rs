//! Another host for tests: an sshd with keys of its own, in a network namespace where that can be had, and
//! else on a port of this host.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pipewright::{Child, Signal};

use crate::processes::{is_left, is_root, lives, signals_at_their_default};
use crate::{PATIENCE, write_script};

const SSHD: &str = "/usr/sbin/sshd";

/// The variable that marks all that belongs to a host's tests, on both sides.
const MARK: &str = "PIPEWRIGHT_FAR_HOST";

/// A host that is called `far`.
pub struct FarHost {
    directory: tempfile::TempDir,
    sshd: Child,
    /// Its network namespace, and the end of the cable here.
    cable: Option<(String, String)>,
    address: (String, u16),
    mark: String,
}

impl FarHost {
    /// Starts one whose programs are looked up in these directories first. `None` where there can be none;
    /// why is said then. In CI that is a failure.
    pub fn start(path: &[&Path]) -> Option<Self> {
        match Self::try_start(path) {
            Ok(host) => Some(host),
            Err(why) if std::env::var_os("CI").is_some_and(|ci| ci == "true") && is_root() => {
                panic!("there must be an sshd in CI: {why}")
            }
            Err(why) => {
                println!("skipped: no other host can be had here: {why}");
                None
            }
        }
    }

    fn try_start(path: &[&Path]) -> Result<Self, String> {
        // What is ignored here would be ignored on both sides, and no shell could set a trap for it.
        signals_at_their_default();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        if !Path::new(SSHD).exists() {
            return Err(format!("there is no {SSHD} (Debian: openssh-server)"));
        }
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let place = directory.path();
        let mark = format!("{}-{number}-{:x}", std::process::id(), fresh());
        for key in ["host_key", "key"] {
            ran(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(place.join(key)))?;
        }
        for directory in ["home", "run"] {
            fs::create_dir(place.join(directory)).map_err(|error| error.to_string())?;
        }
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(place.join("run"), private).map_err(|error| error.to_string())?;
        if is_root() {
            fs::create_dir_all("/run/sshd").map_err(|error| error.to_string())?;
        }

        let cable = is_root().then(|| {
            remove_what_the_dead_left();
            lay_cable(number)
        });
        let cable = cable.and_then(Result::ok);
        let (address, port) = match &cable {
            Some((_, _, address)) => (address.clone(), 22),
            None => ("127.0.0.1".to_owned(), free_port()?),
        };
        let show = |path: &Path| path.display().to_string();
        let path: Vec<_> = path.iter().map(|path| show(path)).collect();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", path.join(":"));
        let text = format!(
            "Port {port}\nListenAddress {address}\nHostKey {0}/host_key\nPidFile none\n\
             AuthorizedKeysFile {0}/key.pub\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nMaxStartups 100:30:200\nMaxSessions 100\n\
             SetEnv PATH={path} HOME={0}/home XDG_CACHE_HOME={0}/home/.cache {MARK}={mark}\n",
            show(place)
        );
        let config = place.join("sshd_config");
        fs::write(&config, &text).map_err(|error| error.to_string())?;
        // From OpenSSH 9.8 on, who is cut off or fails to log in is not let in for a while.
        let penalties = "PerSourcePenalties=no";
        let mut knows = Command::new(SSHD);
        knows.args(["-t", "-o", penalties, "-f"]).arg(&config);
        if ran(&mut knows).is_ok() {
            let text = text + &penalties.replace('=', " ") + "\n";
            fs::write(&config, text).map_err(|error| error.to_string())?;
        }
        let user = whoami()?;
        let text = format!(
            "Host far\n HostName {address}\n Port {port}\n User {user}\n IdentityFile {0}/key\n \
             IdentitiesOnly yes\n UserKnownHostsFile {0}/known_hosts\n StrictHostKeyChecking no\n \
             LogLevel ERROR\n",
            show(place)
        );
        fs::write(place.join("ssh_config"), text).map_err(|error| error.to_string())?;
        let script = format!("#!/bin/sh\nexec ssh -F {}/ssh_config \"$@\"\n", show(place));
        write_script(&place.join("ssh"), &script);

        let command = match &cable {
            Some((namespace, ..)) => {
                pipewright::Command::new("ip").args(["netns", "exec", namespace, SSHD])
            }
            None => pipewright::Command::new(SSHD),
        };
        let log = fs::File::create(place.join("sshd.log")).map_err(|error| error.to_string())?;
        let null = || pipewright::Stdio::Null;
        let command = command.args(["-D", "-e", "-f"]).arg(&config);
        // Where a session's own variables are taken from.
        let command = command.env_remove("PIPEWRIGHT_TREE");
        let command = command.stdin(null()).stdout(null()).stderr(log);
        // A test that a watchdog ends drops nothing.
        let sshd = command
            .parent_death_signal(Signal::KILL)
            .spawn()
            .map_err(|error| error.to_string())?;
        let cable = cable.map(|(namespace, device, _)| (namespace, device));
        let host = Self {
            directory,
            sshd,
            cable,
            address: (address.clone(), port),
            mark,
        };
        host.await_sshd(&address, port)?;
        let tried = Command::new(host.ssh())
            .args(["far", "echo $HOME"])
            .output();
        let tried = tried.map_err(|error| error.to_string())?;
        if !tried.status.success() {
            let said = String::from_utf8_lossy(&tried.stderr).into_owned();
            return Err(format!("this user cannot log in: {said}{}", host.log()));
        }
        assert_eq!(
            tried.stdout.trim_ascii_end(),
            host.home().as_os_str().as_encoded_bytes()
        );
        Ok(host)
    }

    fn await_sshd(&self, address: &str, port: u16) -> Result<(), String> {
        loop {
            if TcpStream::connect((address, port)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.sshd.try_wait() {
                return Err(format!("sshd ended with {status}: {}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("sshd.log")).unwrap_or_default()
    }

    /// An ssh that knows how to reach it.
    pub fn ssh(&self) -> PathBuf {
        self.directory.path().join("ssh")
    }

    /// The home directory there.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Lets a program of this side know of it, and be found by [`left`](Self::left).
    pub fn known_to(&self, command: &mut Command) {
        command
            .env("PIPEWRIGHT_SSH", self.ssh())
            .env("XDG_RUNTIME_DIR", self.directory.path().join("run"))
            .env(MARK, &self.mark);
    }

    /// Lets a program of this side know of several, by these names. It is found by
    /// [`left`](Self::left) of the first.
    pub fn known_together(hosts: &[(&str, &Self)], command: &mut Command) {
        hosts[0].1.known_to(command);
        command.env("PIPEWRIGHT_SSH", Self::ssh_to_all(hosts));
    }

    /// An ssh that knows how to reach several, by these names.
    pub fn ssh_to_all(hosts: &[(&str, &Self)]) -> PathBuf {
        let place = hosts[0].1.directory.path();
        let config = hosts.iter().map(|(name, host)| {
            let text = fs::read_to_string(host.directory.path().join("ssh_config"));
            text.unwrap()
                .replacen("Host far", &format!("Host {name}"), 1)
        });
        let path = place.join("ssh_config_of_all");
        fs::write(&path, config.collect::<String>()).unwrap();
        let script = format!("#!/bin/sh\nexec ssh -F {} \"$@\"\n", path.display());
        let ssh = place.join("ssh_of_all");
        if !ssh.exists() {
            write_script(&ssh, &script);
        }
        ssh
    }

    /// Where its sshd listens.
    pub fn address(&self) -> (&str, u16) {
        (&self.address.0, self.address.1)
    }

    /// Runs a shell text there by plain ssh.
    pub fn run(&self, text: &str) -> Output {
        Command::new(self.ssh())
            .args(["far", text])
            .output()
            .unwrap()
    }

    /// Tells whether it has a cable of its own, which can be pulled.
    pub fn has_cable(&self) -> bool {
        self.cable.is_some()
    }

    /// Pulls the cable, or puts it back.
    pub fn set_cable(&self, up: bool) {
        let (_, device) = self.cable.as_ref().expect("it has a cable");
        let state = if up { "up" } else { "down" };
        ran(Command::new("ip").args(["link", "set", "dev", device, state])).unwrap();
    }

    /// The processes of sshd that serve a connection.
    pub fn sessions(&self) -> Vec<u32> {
        let all = processes();
        let mut found = vec![self.sshd.id()];
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            // What a session runs is marked, and is none of it.
            let children = all
                .iter()
                .filter(|it| it.1 == parent && !self.is_marked(it.0));
            found.extend(children.map(|it| it.0));
            next += 1;
        }
        found.split_off(1)
    }

    /// The processes of either side that this is true for, by their command lines.
    pub fn processes(&self, are_wanted: impl Fn(&str) -> bool) -> Vec<u32> {
        let marked = processes()
            .into_iter()
            .map(|it| it.0)
            .filter(|&pid| self.is_marked(pid));
        marked
            .filter(|&pid| lives(pid) && are_wanted(&command_line(pid)))
            .collect()
    }

    /// What still runs, on either side, by command lines.
    pub fn left(&self) -> Vec<String> {
        self.processes(|_| true)
            .into_iter()
            .map(command_line)
            .collect()
    }

    /// Waits until nothing runs any more, on either side.
    ///
    /// # Panics
    ///
    /// When something still does after a time in which everything has ended.
    pub fn await_nothing_left(&self) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.left().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still there: {:#?}", self.left());
    }

    fn is_marked(&self, pid: u32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let wanted = format!("{MARK}={}", self.mark);
        environment
            .split(|byte| *byte == 0)
            .any(|word| word == wanted.as_bytes())
    }
}

impl Drop for FarHost {
    fn drop(&mut self) {
        let sessions = self.sessions();
        // What has ended by now need not be.
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
        sessions
            .into_iter()
            .chain(self.processes(|_| true))
            .for_each(kill);
        if let Some((namespace, device)) = &self.cable {
            remove_cable(namespace, device);
        }
    }
}

/// Makes a network namespace and a cable to it: its name, the device here, its address there.
fn lay_cable(number: u32) -> Result<(String, String, String), String> {
    // Whose it is can be told from the name when nobody else can any more.
    let name = format!("pw-{}-{number}", std::process::id());
    let (here, there) = (format!("{name}h"), format!("{name}t"));
    // A network of four addresses, out of those for private use.
    let network = (std::process::id() * 16 + number) % (1 << 14);
    let address = |host: u32| {
        let whole = (network << 2) + host;
        format!("10.213.{}.{}", whole >> 8, whole & 255)
    };
    let steps = [
        format!("netns add {name}"),
        format!("link add {here} type veth peer name {there} netns {name}"),
        format!("addr add {}/30 dev {here}", address(1)),
        format!("link set dev {here} up"),
        format!("-n {name} addr add {}/30 dev {there}", address(2)),
        format!("-n {name} link set dev {there} up"),
        format!("-n {name} link set dev lo up"),
    ];
    for step in &steps {
        if let Err(why) = ran(Command::new("ip").args(step.split(' '))) {
            remove_cable(&name, &here);
            println!("no network namespace can be had, so no cable is pulled: {why}");
            return Err(why);
        }
    }
    Ok((name, here, address(2)))
}

fn remove_cable(namespace: &str, device: &str) {
    let _ = ran(Command::new("ip").args(["link", "del", device]));
    let _ = ran(Command::new("ip").args(["netns", "del", namespace]));
}

/// Removes network namespaces, with the sessions in them.
fn remove_what_the_dead_left() {
    let Ok(listed) = ran(Command::new("ip").args(["netns", "list"])) else {
        return;
    };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        if !is_left(name, "pw") {
            continue;
        }
        if let Ok(inside) = ran(Command::new("ip").args(["netns", "pids", name])) {
            let inside = String::from_utf8_lossy(&inside.stdout).into_owned();
            inside
                .lines()
                .filter_map(|pid| pid.parse().ok())
                .for_each(kill);
        }
        remove_cable(name, &format!("{name}h"));
    }
}

fn kill(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

fn ran(command: &mut Command) -> Result<Output, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut why = format!("{command:?}: ");
    let _ = write!(
        why,
        "{}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Err(why)
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port())
}

fn whoami() -> Result<String, String> {
    let output = ran(Command::new("id").arg("-un"))?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// A number that no other test has.
fn fresh() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as u32
}

/// All processes, each with its parent.
fn processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let with_parent = pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent))
    });
    with_parent.collect()
}

fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
