//! The small container of the examples, as root and as an ordinary user.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use pipewright::{Command, Stdio, pipe};
use testing::{copy_program, example, is_root, lives, with_time_enough};

fn main() {
    // Inside a container this program is the payload.
    if std::env::args().nth(1).as_deref() == Some("payload") {
        payload();
        return;
    }
    testing::trials::run(testing::tests![
        the_program_is_pid_1_in_a_world_of_its_own,
        a_container_ends_as_its_program_does,
        the_host_s_mounts_and_hostname_stay_as_they_were,
        a_container_dies_with_its_runtime,
        a_created_container_starts_once_and_is_deleted,
        a_living_container_is_deleted_by_force_only,
        a_made_up_state_file_kills_nobody,
        a_state_directory_that_others_can_enter_is_refused,
        a_container_s_name_leads_to_no_other_directory,
        a_refused_id_map_is_told_with_its_phase,
        a_withheld_reply_is_told_with_its_phase,
        a_missing_rootfs_and_a_missing_program_are_told_with_their_phases,
        a_trace_shows_the_messages_of_both_sides,
    ]);
}

/// Prints what a program sees in there, one line per fact.
fn payload() {
    let name = |path: &str| {
        fs::read_link(path).map_or_else(|error| error.to_string(), |it| it.display().to_string())
    };
    println!("pid {}", std::process::id());
    println!(
        "hostname {}",
        rustix::system::uname().nodename().to_string_lossy()
    );
    println!("directory {}", std::env::current_dir().unwrap().display());
    println!("root {}", name("/proc/1/root"));
    let inode = |path: &str| fs::metadata(path).unwrap().ino();
    println!(
        "above-root {}",
        if inode("/") == inode("/..") {
            "nothing"
        } else {
            "something"
        }
    );
    let mut descriptors: Vec<i32> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    descriptors.sort_unstable();
    // The last is the directory that is being read.
    descriptors.pop();
    println!("descriptors {descriptors:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    println!("mounts {places:?}");
    println!("user {}", rustix::process::getuid());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for (fact, name) in [
        ("capabilities", "CapPrm:"),
        ("more-by-exec", "CapBnd:"),
        ("no-new-privileges", "NoNewPrivs:"),
    ] {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        println!("{fact} {}", value.unwrap().trim());
    }
    // Opened only: the first is the host's.
    for (fact, path) in [
        ("core-pattern", "/proc/sys/kernel/core_pattern"),
        ("own-score", "/proc/self/oom_score_adj"),
    ] {
        let open = fs::OpenOptions::new().write(true).open(path);
        println!(
            "{fact} {}",
            open.map_or_else(|error| error.kind().to_string(), |_| "open".into())
        );
    }
    let seen = std::env::args()
        .nth(2)
        .is_some_and(|path| Path::new(&path).exists());
    println!("host-file {}", if seen { "seen" } else { "unseen" });
    match std::env::args().nth(3).as_deref() {
        Some("exit") => std::process::exit(7),
        Some("stay") => loop {
            std::thread::park();
        },
        _ => {}
    }
}

/// Who makes the container.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Root,
    RootInAUserNamespace,
    Ordinary,
}

/// An ordinary user, if the tests run as root: nobody.
const NOBODY: u32 = 65534;

/// A root file system with this test's program in it, a state directory and the runtime.
struct World {
    directory: tempfile::TempDir,
    who: Who,
}

impl World {
    fn new(who: Who) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory, who };
        let rootfs = world.rootfs();
        for part in [rootfs.join("proc"), world.path("state")] {
            fs::create_dir_all(part).unwrap();
        }
        let own = std::env::current_exe().unwrap();
        copy_program(&own, &rootfs.join("payload"));
        for library in libraries(&own) {
            let place = rootfs.join(library.strip_prefix("/").unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            copy_program(&library, &place);
        }
        // An ordinary user may not reach the folder of the tests' own programs.
        copy_program(
            &example("pipewright-handoff", "mini_container"),
            &world.path("runtime"),
        );
        fs::write(world.path("host-file"), "").unwrap();
        for open in [
            world.directory.path().to_owned(),
            world.path("state"),
            rootfs,
        ] {
            let mode = if open.ends_with("state") {
                0o700
            } else {
                0o755
            };
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            if who == Who::Ordinary && is_root() {
                std::os::unix::fs::chown(open, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// `mini_container` with these words, as whoever it is.
    fn command(&self, words: &[&str]) -> Command {
        let command = Command::new(self.path("runtime"))
            .arg("--state")
            .arg(self.path("state"))
            .args(words)
            .current_dir("/")
            .stdin(Stdio::Null);
        if self.who == Who::Ordinary && is_root() {
            command.uid(NOBODY).gid(NOBODY)
        } else {
            command
        }
    }

    /// The words that every container here is made with.
    fn made(&self, before: &[&str], program: &[&str]) -> Command {
        let rootfs = self.rootfs().display().to_string();
        let mut words = before.to_vec();
        words.extend(["--rootfs", &rootfs, "--hostname", "inside"]);
        if !before.contains(&"--timeout") {
            words.extend(["--timeout", "100"]);
        }
        if self.who == Who::RootInAUserNamespace {
            words.push("--user-namespace");
        }
        words.push("--");
        words.extend(program);
        self.command(&words)
    }
}

/// The libraries that the loader loads for a program.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = std::process::Command::new(program)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

struct Said {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Said {
    fn facts(&self) -> BTreeMap<&str, &str> {
        self.stdout
            .lines()
            .filter_map(|line| line.split_once(' '))
            .collect()
    }

    /// The one line of a failure.
    fn failed_with(&self, text: &str) {
        assert_eq!(
            self.status.code(),
            Some(125),
            "{}{}",
            self.stdout,
            self.stderr
        );
        assert!(self.stderr.contains(text), "{}", self.stderr);
    }
}

fn run(command: Command) -> Said {
    let ((mut out, stdout), (mut err, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
    let mut said = [String::new(), String::new()];
    std::thread::scope(|scope| {
        let [first, second] = &mut said;
        scope.spawn(move || out.read_to_string(first).unwrap());
        err.read_to_string(second).unwrap();
    });
    let [stdout, stderr] = said;
    Said {
        status: child.wait().unwrap(),
        stdout,
        stderr,
    }
}

/// The users that can make a container here. Prints why another one cannot.
fn worlds() -> Vec<World> {
    let all = match is_root() {
        true => vec![Who::Root, Who::RootInAUserNamespace, Who::Ordinary],
        false => vec![Who::Ordinary],
    };
    let possible = |who: &Who| {
        let world = World::new(*who);
        let said = run(world.made(&["run"], &["/payload", "payload"]));
        let by_kernel = ["namespace", "mount /proc"]
            .iter()
            .any(|phase| said.stderr.contains(phase));
        if !said.status.success() && by_kernel {
            println!("not tested here as {who:?}: {}", said.stderr.trim());
            return None;
        }
        assert!(said.status.success(), "{who:?}: {}", said.stderr);
        Some(world)
    };
    all.iter().filter_map(possible).collect()
}

fn the_program_is_pid_1_in_a_world_of_its_own() {
    for world in worlds() {
        let host_file = world.path("host-file").display().to_string();
        let said = run(world.made(&["run"], &["/payload", "payload", &host_file]));
        assert!(said.status.success(), "{}", said.stderr);
        let expected = [
            ("pid", "1"),
            ("hostname", "inside"),
            ("directory", "/"),
            ("root", "/"),
            ("above-root", "nothing"),
            ("descriptors", "[0, 1, 2]"),
            ("mounts", r#"["/", "/proc"]"#),
            ("user", "0"),
            ("capabilities", "0000000000000000"),
            ("more-by-exec", "0000000000000000"),
            ("no-new-privileges", "1"),
            ("core-pattern", "read-only filesystem or storage medium"),
            ("own-score", "read-only filesystem or storage medium"),
            ("host-file", "unseen"),
        ];
        assert_eq!(said.facts(), BTreeMap::from(expected), "{:?}", world.who);
    }
}

fn a_container_ends_as_its_program_does() {
    for world in worlds() {
        let said = run(world.made(&["run"], &["/payload", "payload", "-", "exit"]));
        assert_eq!(said.status.code(), Some(7), "{}", said.stderr);
    }
}

fn the_host_s_mounts_and_hostname_stay_as_they_were() {
    for world in worlds() {
        let host = || {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            (mounts, rustix::system::uname().nodename().to_owned())
        };
        let before = host();
        let said = run(world.made(&["run"], &["/payload", "payload"]));
        assert!(said.status.success(), "{}", said.stderr);
        assert_eq!(before, host());
    }
}

/// moby 44215, bubblewrap 700.
fn a_container_dies_with_its_runtime() {
    for world in worlds() {
        let (mut reader, writer) = pipe().unwrap();
        let command = world.made(&["run"], &["/payload", "payload", "-", "stay"]);
        let runtime = command.stdout(writer).spawn().unwrap();
        // It stays after its last fact.
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("host-file") {
            let mut piece = [0; 256];
            let count = reader.read(&mut piece).unwrap();
            assert_ne!(count, 0, "it ended by itself");
            said.extend_from_slice(&piece[..count]);
        }
        runtime.kill().unwrap();
        runtime.wait().unwrap();
        // The end of the file comes when nobody in the container holds the pipe any more.
        reader.read_to_end(&mut said).unwrap();
    }
}

fn a_created_container_starts_once_and_is_deleted() {
    for world in worlds() {
        let (mut reader, writer) = pipe().unwrap();
        let create = world.made(&["create", "one"], &["/payload", "payload"]);
        let created = create.stdout(writer).spawn().unwrap().wait().unwrap();
        assert!(created.success());
        // Created, not started: it has not said anything.
        let early = pipewright::PipeExt::unread(&reader).unwrap();
        assert_eq!(early, 0);
        run(world.made(&["create", "one"], &["/payload", "payload"])).failed_with("cannot make");

        let started = run(world.command(&["start", "one"]));
        assert!(started.status.success(), "{}", started.stderr);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("pid 1\nhostname inside\n"), "{text}");
        run(world.command(&["start", "one"])).failed_with("nobody waits there");

        let deleted = run(world.command(&["delete", "one"]));
        assert!(deleted.status.success(), "{}", deleted.stderr);
        assert!(!world.path("state").join("one").exists());
        run(world.command(&["start", "one"])).failed_with("there is no container");
    }
}

fn a_living_container_is_deleted_by_force_only() {
    for world in worlds() {
        let (mut reader, writer) = pipe().unwrap();
        let create = world.made(&["create", "two"], &["/payload", "payload"]);
        assert!(
            create
                .stdout(writer)
                .spawn()
                .unwrap()
                .wait()
                .unwrap()
                .success()
        );
        run(world.command(&["delete", "two"])).failed_with("give --force");
        let deleted = run(world.command(&["delete", "--force", "two"]));
        assert!(deleted.status.success(), "{}", deleted.stderr);
        // Nobody is left who holds the pipe, and the program never ran.
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
    }
}

/// Whoever writes a state file chooses a process; only a container's init can be killed by it.
fn a_made_up_state_file_kills_nobody() {
    for world in worlds() {
        let victim = Command::new("sleep").arg("1000").kill_on_drop();
        let victim = victim.spawn().unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", victim.id())).unwrap();
        let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
        let text = format!(
            r#"{{"process": {}, "started": {}}}"#,
            victim.id(),
            started.unwrap()
        );
        let directory = world.path("state").join("four");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("init.json"), text).unwrap();
        if world.who == Who::Ordinary && is_root() {
            std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let deleted = run(world.command(&["delete", "--force", "four"]));
        assert!(deleted.status.success(), "{}", deleted.stderr);
        assert!(lives(victim.id()), "{:?}", world.who);
        assert!(!directory.exists());
    }
}

fn a_state_directory_that_others_can_enter_is_refused() {
    for world in worlds() {
        let state = world.path("state");
        let refused = |why: &str| {
            for words in [&["start", "one"][..], &["delete", "--force", "one"]] {
                run(world.command(words)).failed_with(why);
            }
            run(world.made(&["create", "one"], &["/payload", "payload"])).failed_with(why);
        };
        for mode in [0o755, 0o770, 0o701, 0o1777] {
            fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
            refused("others may enter it");
        }
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        // Through a symbolic link, too, it is somebody's who can change the link.
        let real = world.path("real");
        fs::rename(&state, &real).unwrap();
        std::os::unix::fs::symlink(&real, &state).unwrap();
        refused("cannot open the state directory");
        if is_root() {
            fs::remove_file(&state).unwrap();
            fs::rename(&real, &state).unwrap();
            let other = if world.who == Who::Ordinary {
                0
            } else {
                NOBODY
            };
            std::os::unix::fs::chown(&state, Some(other), None).unwrap();
            refused(match world.who {
                // Nobody may not even look at root's.
                Who::Ordinary => "state directory",
                _ => "belongs to another user",
            });
        }
    }
}

fn a_container_s_name_leads_to_no_other_directory() {
    for world in worlds() {
        for name in ["../victim", "/tmp", ".", "..", "", "a/b", "a\nb"] {
            let said = run(world.command(&["delete", "--force", name]));
            said.failed_with("is no name for a container");
        }
    }
}

fn a_refused_id_map_is_told_with_its_phase() {
    for world in worlds() {
        let map = match world.who {
            Who::Root => continue, // has no ids to map
            // A range of nothing is invalid for everybody.
            Who::RootInAUserNamespace => "0:0:0",
            // Root's own id is not this user's to map.
            Who::Ordinary => "0:0:1",
        };
        let said = run(world.made(&["run", "--uid-map", map], &["/payload", "payload"]));
        said.failed_with("mini_container: map my ids: cannot write");
    }
}

fn a_withheld_reply_is_told_with_its_phase() {
    for world in worlds().into_iter().filter(|world| world.who != Who::Root) {
        let said = with_time_enough(|time| {
            let time = time.as_secs_f64().to_string();
            let options = ["run", "--withhold", "map my ids", "--timeout", &time];
            let said = run(world.made(&options, &["/payload", "payload"]));
            // The child may not have come that far in this time.
            (said.stderr.contains("map my ids: no answer")).then_some(said)
        });
        said.failed_with("mini_container: map my ids: no answer within ");
    }
}

fn a_missing_rootfs_and_a_missing_program_are_told_with_their_phases() {
    for world in worlds() {
        let said = run(world.made(&["run"], &["/no/such/program"]));
        said.failed_with("mini_container: exec /no/such/program: ");
        said.failed_with("No such file or directory");
        fs::remove_dir(world.rootfs().join("proc")).unwrap();
        let said = run(world.made(&["run"], &["/payload", "payload"]));
        said.failed_with("mini_container: mount /proc: ");
        fs::rename(world.rootfs(), world.path("elsewhere")).unwrap();
        let said = run(world.made(&["run"], &["/payload", "payload"]));
        said.failed_with("mini_container: bind the rootfs: No such file or directory");
        // In a created one as well, and nothing is left of it.
        let said = run(world.made(&["create", "three"], &["/payload", "payload"]));
        said.failed_with("mini_container: bind the rootfs: ");
        assert!(!world.path("state").join("three").exists());
    }
}

fn a_trace_shows_the_messages_of_both_sides() {
    for world in worlds() {
        let said = run(world.made(&["run", "--trace"], &["/payload", "payload"]));
        assert!(said.status.success(), "{}", said.stderr);
        let mut expected = vec![
            r#"init: sent peer=parent packet=the phase "pivot_root""#,
            r#"monitor: received peer=init packet=the phase "pivot_root""#,
            r#"monitor: received peer=init packet="executing /payload""#,
        ];
        if world.who != Who::Root {
            expected.extend([
                r#"monitor: sent peer=parent packet=the barrier "map my ids""#,
                r#"runtime: received peer=monitor packet=the barrier "map my ids""#,
                r#"runtime: sent peer=monitor packet="go on" at the barrier "map my ids""#,
                r#"monitor: received peer=parent packet="go on" at the barrier "map my ids""#,
            ]);
        }
        for line in expected {
            assert!(
                said.stderr.contains(line),
                "{line} is not in\n{}",
                said.stderr
            );
        }
    }
}
