//! What the child is besides its program and descriptors: session, credentials, limits, mask.

use rustix::process::{Resource, Rlimit, Signal};

use super::{Command, OnDrop};

/// What the child sets on itself before it executes: what [`spawn::vfork`](crate::spawn) reads.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attributes {
    pub(crate) session: bool,
    /// The number of the terminal that the session is to have.
    pub(crate) terminal: Option<i32>,
    pub(crate) process_group: Option<i32>,
    /// The number of the terminal in whose foreground the program is to run.
    pub(crate) foreground: Option<i32>,
    pub(crate) limits: Vec<(Resource, Rlimit)>,
    pub(crate) nice: Option<i32>,
    pub(crate) umask: Option<u32>,
    /// Bit n of the whole stands for CPU n; empty for those of this process.
    pub(crate) cpus: Vec<u64>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) group: Option<u32>,
    pub(crate) user: Option<u32>,
    pub(crate) no_new_privileges: bool,
    pub(crate) parent_death_signal: Option<Signal>,
    /// Bit n-1 stands for signal n, as in the kernel's own set.
    pub(crate) signal_mask: u64,
}

impl Command {
    /// Starts the program as the leader of a new session without a controlling terminal.
    ///
    /// # References
    ///
    /// [setsid(2)](https://man7.org/linux/man-pages/man2/setsid.2.html)
    pub fn new_session(mut self) -> Self {
        self.attributes.session = true;
        self
    }

    /// Starts the program as the leader of a new session whose controlling terminal is the one at this
    /// descriptor of the child: 0 where the terminal is its stdin.
    ///
    /// For the far end of a pseudo-terminal, so that Ctrl-C, job control and `/dev/tty` work. The
    /// terminal must not belong to another session.
    ///
    /// # References
    ///
    /// [TIOCSCTTY](https://man7.org/linux/man-pages/man2/TIOCSCTTY.2const.html)
    pub fn controlling_terminal(mut self, number: i32) -> Self {
        self.attributes.session = true;
        self.attributes.terminal = Some(number);
        self
    }

    /// Puts the program's process group into the foreground of the terminal at this descriptor of the
    /// child, as a shell does with a job: it gets what is typed, Ctrl-C too.
    ///
    /// Goes with [`process_group`](Command::process_group) or
    /// [`controlling_terminal`](Command::controlling_terminal). The terminal must be the one of its
    /// session. When the program has ended, the caller takes the foreground back
    /// (`tcsetpgrp`, with SIGTTOU blocked or ignored).
    ///
    /// # References
    ///
    /// [tcsetpgrp(3)](https://man7.org/linux/man-pages/man3/tcsetpgrp.3.html)
    pub fn foreground(mut self, number: i32) -> Self {
        self.attributes.foreground = Some(number);
        self
    }

    /// Puts the program into a process group: 0 for a new one that it leads, else the group of that
    /// id.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let leader = Command::new("sleep").arg("60").process_group(0).kill_on_drop().spawn()?;
    /// let group = leader.id() as i32;
    /// let member = Command::new("cut").args(["-d ", "-f5", "/proc/self/stat"]).process_group(group);
    /// assert_eq!(member.capture().read()?, group.to_string());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [setpgid(2)](https://man7.org/linux/man-pages/man2/setpgid.2.html)
    pub fn process_group(mut self, group: i32) -> Self {
        self.attributes.process_group = Some(group);
        self
    }

    /// Sends the program this signal when *this process* ends.
    ///
    /// The kernel ties the signal to the parent's *thread*. Only the main thread is sure to last as
    /// long as the process; so when another thread starts the program, it does so by way of a new
    /// thread, which waits until the program has ended. That thread begins with the caller's
    /// credentials, capabilities, seccomp filters and namespaces, so the program has them as well. A
    /// caller that may not make a thread gets an error ([`Step::Thread`](crate::Step::Thread)); one
    /// that has unshared the pid namespace of its children may not.
    ///
    /// If the parent is gone before the signal could be set, the child ends without executing the
    /// program. The signal is also sent when this process executes another program. The kernel drops
    /// the setting when the program is set-user-id or has file capabilities.
    ///
    /// # References
    ///
    /// PR_SET_PDEATHSIG in
    /// [prctl(2)](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)
    pub fn parent_death_signal(mut self, signal: Signal) -> Self {
        self.attributes.parent_death_signal = Some(signal);
        self
    }

    /// Runs the program as this user: sets its real, effective and saved user id.
    ///
    /// **The group id stays**: started by root, the program keeps group 0 unless
    /// [`gid`](Command::gid) is set, too. The supplementary groups are dropped where the kernel lets
    /// this thread do it (it takes CAP_SETGID), unless [`groups`](Command::groups) sets them. All of
    /// it is in [the table above](Command#privileges).
    ///
    /// ```
    /// use pipewright::{Command, Error, Step};
    ///
    /// match Command::new("id").arg("-u").uid(65534).capture().read() {
    ///     Ok(user) => assert_eq!(user, "65534"),
    ///     // Only root may become somebody else.
    ///     Err(Error::Start(failure)) => assert_eq!(failure.step, Step::UserId),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [setresuid(2)](https://man7.org/linux/man-pages/man2/setresuid.2.html)
    pub fn uid(mut self, user: u32) -> Self {
        self.attributes.user = Some(user);
        self
    }

    /// Runs the program with this group: sets its real, effective and saved group id. The
    /// supplementary groups stay; see [the table above](Command#privileges).
    ///
    /// # References
    ///
    /// [setresgid(2)](https://man7.org/linux/man-pages/man2/setresgid.2.html)
    pub fn gid(mut self, group: u32) -> Self {
        self.attributes.group = Some(group);
        self
    }

    /// Sets the supplementary groups, an empty list to drop them all. Without CAP_SETGID it is an
    /// error. See [the table above](Command#privileges).
    ///
    /// # References
    ///
    /// [setgroups(2)](https://man7.org/linux/man-pages/man2/setgroups.2.html)
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.attributes.groups = Some(groups.into_iter().collect());
        self
    }

    /// Forbids the program, and all that it starts, to gain privileges by executing: the set-user-id
    /// and set-group-id bits and file capabilities have no effect.
    ///
    /// # References
    ///
    /// [PR_SET_NO_NEW_PRIVS](https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html)
    pub fn no_new_privs(mut self) -> Self {
        self.attributes.no_new_privileges = true;
        self
    }

    /// Sets the file mode creation mask, for example `0o077`.
    ///
    /// # References
    ///
    /// [umask(2)](https://man7.org/linux/man-pages/man2/umask.2.html)
    pub fn umask(mut self, mask: u32) -> Self {
        self.attributes.umask = Some(mask);
        self
    }

    /// Adds to the niceness, as nice(1) does: 10 makes the program give way to others, a negative
    /// number needs a privilege.
    ///
    /// # References
    ///
    /// [nice(2)](https://man7.org/linux/man-pages/man2/nice.2.html)
    pub fn nice(mut self, increment: i32) -> Self {
        self.attributes.nice = Some(increment);
        self
    }

    /// The CPUs that the program may run on, counted from 0. At least one must be there and allowed.
    ///
    /// # References
    ///
    /// [sched_setaffinity(2)](https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html)
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = u16>) -> Self {
        let mut set = vec![0];
        for cpu in cpus.into_iter().map(usize::from) {
            if set.len() <= cpu / 64 {
                set.resize(cpu / 64 + 1, 0);
            }
            set[cpu / 64] |= 1 << (cpu % 64);
        }
        self.attributes.cpus = set;
        self
    }

    /// Sets a resource limit.
    ///
    /// ```
    /// use pipewright::{Command, Resource, Rlimit};
    ///
    /// let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    /// let child = Command::new("sh").args(["-c", "test $(ulimit -c) = 0"])
    ///     .rlimit(Resource::Core, no_core)
    ///     .spawn()?;
    /// assert!(child.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)
    pub fn rlimit(mut self, resource: Resource, limit: Rlimit) -> Self {
        self.attributes.limits.push((resource, limit));
        self
    }

    /// The signals that are blocked in the program. Without this call: none.
    ///
    /// # References
    ///
    /// [sigprocmask(2)](https://man7.org/linux/man-pages/man2/sigprocmask.2.html)
    pub fn signal_mask(mut self, blocked: impl IntoIterator<Item = Signal>) -> Self {
        let bit = |signal: Signal| 1_u64.wrapping_shl(signal.as_raw().wrapping_sub(1) as u32);
        self.attributes.signal_mask = blocked.into_iter().fold(0, |set, it| set | bit(it));
        self
    }

    /// Has the program killed when its [`Child`](crate::Child) is dropped before its end was seen.
    /// Otherwise it runs on. [`kill_tree_on_drop`](Self::kill_tree_on_drop) ends what it started, too.
    ///
    /// The drop does not wait for the end; the zombie is taken when the next child is started. It
    /// is for futures above all, which may be dropped at any point.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// drop(Command::new("sleep").arg("60").stdout(writer).kill_on_drop().spawn()?);
    /// assert_eq!(std::io::read_to_string(reader)?, ""); // its end closed the pipe
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_on_drop(mut self) -> Self {
        self.on_drop = OnDrop::Kill;
        self
    }
}
