//! Which pipelines exist: from who holds which ends of which pipes. Pure, but for [`Scan::now`].
//!
//! # From holders to pipelines
//!
//! 1. **Both ends in one process.** A shell holds both ends of a pipe for a moment while it starts
//!    a pipeline, and careless programs for ever. Such an end counts only if nobody else holds
//!    that side.
//! 2. **A stage is a process and its descendants.** A process whose ends are all held by an
//!    ancestor too has inherited them: it is part of that ancestor's stage.
//! 3. **A shell that only waits is no stage.** When every end of a process is also held by
//!    descendants that are stages of their own, as in `a | (b | c) | d`, they do the work.
//! 4. **Pipes between relatives and pipes for messages are weak.** A process and its own ancestor
//!    (a program and its supervisor, a co-process), and a pipe that its writers hold only as
//!    standard error, do not merge two pipelines into one. They make a pipeline where there is no
//!    other; a logger of one pipeline's messages is part of it, a logger of several is part of none.
//!    The same goes for an end that many processes hold under one number above 2: whoever started
//!    the first of them forgot to close it, and who is at its other end is part of nothing by that.
//!
//! ```
//! use pipewright_observe::topology::Scan;
//!
//! for pipeline in Scan::now()?.pipelines() {
//!     let names: Vec<&str> = pipeline.stages.iter().map(|stage| &*stage.name).collect();
//!     println!("{}", names.join(" | "));
//!     assert!(!pipeline.pipes.is_empty());
//! }
//! # Ok::<(), pipewright_observe::Error>(())
//! ```

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pipe::PipeId;
use crate::proc::ProcessId;
use crate::proc::stat::number;

mod graph;
mod order;
mod scan;
mod sockets;

use self::graph::Graph;
pub use self::order::Shape;
pub(crate) use self::scan::parents;

/// Which end of a pipe.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use pipewright_observe::topology::{Direction, Scan};
///
/// let (reader, _writer) = std::io::pipe()?;
/// let scan = Scan::now()?;
/// let me = scan.holders.iter().find(|it| it.process.pid == std::process::id()).expect("I hold one");
/// let end = me.ends.iter().find(|end| end.descriptor == reader.as_raw_fd() as u32);
/// assert_eq!(end.map(|end| end.direction), Some(Direction::Read));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The end to read from.
    Read,
    /// The end to write to.
    Write,
}

/// One end of a pipe, as a descriptor of a process.
///
/// ```
/// use pipewright_observe::PipeId;
/// use pipewright_observe::topology::{Direction, PipeEnd};
///
/// let stdout = PipeEnd { pipe: PipeId(4711), direction: Direction::Write, descriptor: 1 };
/// let written = serde_json::to_string(&stdout)?;
/// assert_eq!(written, r#"{"pipe":4711,"direction":"write","descriptor":1}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PipeEnd {
    /// The pipe.
    pub pipe: PipeId,
    /// Which end of it.
    pub direction: Direction,
    /// The descriptor's number in the process that holds it.
    pub descriptor: u32,
}

/// A process that holds ends of pipes.
///
/// ```
/// use pipewright_observe::topology::Scan;
///
/// let (_reader, writer) = std::io::pipe()?;
/// let mut sleep = std::process::Command::new("sleep").arg("60").stdout(writer).spawn()?;
/// let scan = Scan::now()?;
/// let found = scan.holders.iter().find(|holder| holder.process.pid == sleep.id());
/// assert!(found.is_some_and(|holder| holder.ends.iter().any(|end| end.descriptor == 1)));
/// # sleep.kill()?; sleep.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: ProcessId,
    /// The kernel's short name for it, safe to show.
    pub name: String,
    /// The ends that it holds.
    pub ends: Vec<PipeEnd>,
}

/// A socket, by the number of its inode.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use pipewright_observe::topology::SocketId;
///
/// let (one, other) = std::os::unix::net::UnixStream::pair()?;
/// let id = |socket: &std::os::unix::net::UnixStream| {
///     let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()));
///     link.map(|link| SocketId::from_link(link.as_os_str().as_encoded_bytes()))
/// };
/// assert_eq!(id(&one)?, id(&one.try_clone()?)?); // the same socket at another number
/// assert_ne!(id(&one)?, id(&other)?); // a pair is two sockets
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketId(pub u64);

impl SocketId {
    /// Reads what `/proc/PID/fd/N` links to; `None` if that is no socket.
    ///
    /// ```
    /// use pipewright_observe::topology::SocketId;
    ///
    /// assert_eq!(SocketId::from_link(b"socket:[4711]"), Some(SocketId(4711)));
    /// assert_eq!(SocketId::from_link(b"pipe:[4711]"), None);
    /// ```
    pub fn from_link(link: &[u8]) -> Option<SocketId> {
        let inode = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        number(inode).map(SocketId)
    }
}

/// A socket as a descriptor of a process.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use pipewright_observe::topology::Scan;
///
/// let (socket, _other) = std::os::unix::net::UnixStream::pair()?;
/// let scan = Scan::now()?;
/// let mine = scan.sockets.iter().filter(|end| end.process.pid == std::process::id());
/// let numbers: Vec<u32> = mine.map(|end| end.descriptor).collect();
/// assert!(numbers.contains(&(socket.as_raw_fd() as u32)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketEnd {
    /// The process.
    pub process: ProcessId,
    /// The descriptor's number in it.
    pub descriptor: u32,
    /// The socket.
    pub socket: SocketId,
}

/// Everything about pipes and processes that a pipeline is recognised from.
///
/// ```
/// use pipewright_observe::topology::Scan;
///
/// let scan = Scan::now()?;
/// assert!(scan.processes > scan.denied.len()); // this one at least
/// assert!(scan.descriptors >= scan.sockets.len()); // and those of pipes and files
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The processes that hold ends of pipes.
    pub holders: Vec<Holder>,
    /// The sockets of all processes. They make no pipeline; they tell where one goes on.
    pub sockets: Vec<SocketEnd>,
    /// The parent of each process that holds an end of a pipe, and of all its ancestors, by number.
    pub parents: HashMap<u32, u32>,
    /// Processes whose descriptors this user may not look at, threads of the kernel left out.
    pub denied: Vec<u32>,
    /// How many processes there were, threads of the kernel included.
    pub processes: usize,
    /// How many descriptors were looked at.
    pub descriptors: usize,
}

/// A stage of a pipeline that was found.
///
/// ```
/// use pipewright_observe::topology::{Direction, Holder, PipeEnd, Scan};
/// # use pipewright_observe::{PipeId, ProcessId};
/// # let holder = |pid, name: &str, direction, descriptor| Holder {
/// #     process: ProcessId { pid, start_time: 1 },
/// #     name: name.into(),
/// #     ends: vec![PipeEnd { pipe: PipeId(4711), direction, descriptor }],
/// # };
///
/// // The shell's child has inherited its output, so the two are one stage.
/// let scan = Scan {
///     holders: vec![
///         holder(10, "sh", Direction::Write, 1),
///         holder(11, "sleep", Direction::Write, 1),
///         holder(12, "wc", Direction::Read, 0),
///     ],
///     parents: [(11, 10)].into(),
///     ..Scan::default()
/// };
/// let stage = &scan.pipeline_of(12)?.stages[0];
/// assert_eq!((&*stage.name, &*stage.members), ("sh", &[11][..]));
/// # Ok::<(), pipewright_observe::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundStage {
    /// The process at its root.
    pub process: ProcessId,
    /// The kernel's short name for it, safe to show.
    pub name: String,
    /// Descendants that have inherited the stage's ends.
    pub members: Vec<u32>,
}

/// A pipe of a pipeline that was found.
///
/// ```
/// use pipewright_observe::topology::{Direction, Holder, PipeEnd, Scan};
/// # use pipewright_observe::{PipeId, ProcessId};
/// # let holder = |pid, name: &str, direction, descriptor| Holder {
/// #     process: ProcessId { pid, start_time: 1 },
/// #     name: name.into(),
/// #     ends: vec![PipeEnd { pipe: PipeId(4711), direction, descriptor }],
/// # };
///
/// let holders = vec![holder(12, "wc", Direction::Read, 0), holder(11, "cat", Direction::Write, 1)];
/// let pipe = &Scan { holders, ..Scan::default() }.pipeline_of(12)?.pipes[0];
/// assert_eq!((&*pipe.writers, &*pipe.readers), (&[0][..], &[1][..])); // of the stages found
/// assert_eq!(pipe.pipe.to_string(), "pipe:[4711]");
/// # Ok::<(), pipewright_observe::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPipe {
    /// The pipe.
    pub pipe: PipeId,
    /// Indices of the stages that hold its write end.
    pub writers: Vec<usize>,
    /// Indices of the stages that hold its read end.
    pub readers: Vec<usize>,
    /// A descriptor through which it can be reached.
    pub through: (ProcessId, u32),
}

/// Processes connected by pipes.
///
/// ```
/// use pipewright_observe::topology::{Direction, Holder, PipeEnd, Scan};
/// # use pipewright_observe::{PipeId, ProcessId};
/// # let holder = |pid, name: &str, direction, descriptor| Holder {
/// #     process: ProcessId { pid, start_time: 1 },
/// #     name: name.into(),
/// #     ends: vec![PipeEnd { pipe: PipeId(4711), direction, descriptor }],
/// # };
///
/// let holders = vec![holder(12, "wc", Direction::Read, 0), holder(11, "cat", Direction::Write, 1)];
/// let pipeline = Scan { holders, ..Scan::default() }.pipeline_of(12)?;
/// let names: Vec<&str> = pipeline.stages.iter().map(|stage| &*stage.name).collect();
/// assert_eq!(names, ["cat", "wc"]); // in the order of the bytes
/// assert!(!pipeline.with_ancestor);
/// # Ok::<(), pipewright_observe::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its stages, upstream first as far as there is an upstream.
    pub stages: Vec<FoundStage>,
    /// Its pipes, in the order of the first stage that writes to them.
    pub pipes: Vec<FoundPipe>,
    /// What it looks like.
    pub shape: Shape,
    /// A program and its own ancestor, connected by pipes: a co-process, or a program whose
    /// output its parent captures, rather than stages side by side.
    pub with_ancestor: bool,
}

impl Pipeline {
    /// Whether the process is a stage, or part of one.
    ///
    /// ```
    /// use pipewright_observe::topology::{Direction, Holder, PipeEnd, Scan};
    /// # use pipewright_observe::{PipeId, ProcessId};
    /// # let holder = |pid, name: &str, direction, descriptor| Holder {
    /// #     process: ProcessId { pid, start_time: 1 },
    /// #     name: name.into(),
    /// #     ends: vec![PipeEnd { pipe: PipeId(4711), direction, descriptor }],
    /// # };
    ///
    /// let holders = vec![holder(12, "wc", Direction::Read, 0), holder(11, "cat", Direction::Write, 1)];
    /// let pipeline = Scan { holders, ..Scan::default() }.pipeline_of(12)?;
    /// assert!(pipeline.contains(11) && !pipeline.contains(13));
    /// # Ok::<(), pipewright_observe::Error>(())
    /// ```
    pub fn contains(&self, pid: u32) -> bool {
        self.stages
            .iter()
            .any(|stage| stage.process.pid == pid || stage.members.contains(&pid))
    }
}

impl Scan {
    /// The pipelines there are.
    ///
    /// ```
    /// use pipewright_observe::topology::{Direction, Holder, PipeEnd, Scan, Shape};
    /// use pipewright_observe::{PipeId, ProcessId};
    ///
    /// let holder = |pid, name: &str, direction, descriptor| Holder {
    ///     process: ProcessId { pid, start_time: 1 },
    ///     name: name.into(),
    ///     ends: vec![PipeEnd { pipe: PipeId(4711), direction, descriptor }],
    /// };
    /// let scan = Scan {
    ///     holders: vec![holder(12, "wc", Direction::Read, 0), holder(11, "cat", Direction::Write, 1)],
    ///     ..Scan::default()
    /// };
    /// let [pipeline] = &scan.pipelines()[..] else { panic!("one pipeline") };
    /// assert_eq!(pipeline.shape, Shape::Linear);
    /// assert_eq!(pipeline.stages[0].name, "cat");
    /// ```
    pub fn pipelines(&self) -> Vec<Pipeline> {
        Graph::of(self).pipelines(self)
    }

    /// The pipeline that a process is part of. For a shell that waits for a pipeline it has
    /// started, that pipeline.
    ///
    /// # Errors
    ///
    /// [`Error::NotInAPipeline`]; [`Error::Denied`] if the process may not be looked at.
    ///
    /// ```
    /// use pipewright_observe::Error;
    /// use pipewright_observe::topology::{Direction, Holder, PipeEnd, Scan};
    /// # use pipewright_observe::{PipeId, ProcessId};
    /// # let holder = |pid, name: &str, direction, descriptor| Holder {
    /// #     process: ProcessId { pid, start_time: 1 },
    /// #     name: name.into(),
    /// #     ends: vec![PipeEnd { pipe: PipeId(4711), direction, descriptor }],
    /// # };
    ///
    /// let holders = vec![holder(12, "wc", Direction::Read, 0), holder(11, "cat", Direction::Write, 1)];
    /// let parents = [(11, 10), (12, 10)].into(); // 10 is the shell that has started both
    /// let scan = Scan { holders, parents, ..Scan::default() };
    /// assert_eq!(scan.pipeline_of(11)?, scan.pipeline_of(12)?);
    /// assert_eq!(scan.pipeline_of(10)?, scan.pipeline_of(12)?); // what the shell waits for
    /// assert!(matches!(scan.pipeline_of(13), Err(Error::NotInAPipeline { pid: 13 })));
    /// # Ok::<(), pipewright_observe::Error>(())
    /// ```
    pub fn pipeline_of(&self, pid: u32) -> Result<Pipeline> {
        // Its own children, and not all that is somewhere below: init has started nothing of it.
        let below = |stage: &FoundStage| self.parents.get(&stage.process.pid) == Some(&pid);
        let found = self
            .pipelines()
            .into_iter()
            .filter_map(|pipeline| {
                // A shell may have inherited an end of some pipe, and be part of a stage by that:
                // the pipeline that it has started itself says more. A pipe to an ancestor says
                // least.
                let nearness = if pipeline.stages.iter().any(|stage| stage.process.pid == pid) {
                    0
                } else if pipeline.stages.iter().all(below) {
                    1
                } else if pipeline.contains(pid) {
                    2
                } else {
                    return None;
                };
                Some(((pipeline.with_ancestor, nearness), pipeline))
            })
            .min_by_key(|(rank, _)| *rank);
        match found {
            Some((_, pipeline)) => Ok(pipeline),
            None if self.denied.contains(&pid) => Err(Error::Denied {
                what: "look at the descriptors",
                pid,
            }),
            None => Err(Error::NotInAPipeline { pid }),
        }
    }

    /// Parent, grandparent and so on, as far as they are known.
    fn ancestors(&self, pid: u32) -> impl Iterator<Item = u32> {
        // The bound guards against a table that is not a tree: it was read process by process,
        // while processes came and went.
        std::iter::successors(self.parents.get(&pid).copied(), |pid| {
            self.parents.get(pid).copied()
        })
        .take_while(move |&above| above != 0 && above != pid)
        .take(self.parents.len())
    }
}
