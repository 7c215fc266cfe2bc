//! Which pipelines exist: from who holds which ends of which pipes. Pure, but for [`Scan::now`].
//!
//! # From holders to pipelines
//!
//! 1. **Both ends in one process.** A shell holds both ends of a pipe for a moment while it starts
//!    a pipeline; careless programs hold them for ever. Such an end counts only if nobody else holds
//!    that side.
//! 2. **A stage is a process and its descendants.** A process whose ends are all held by an
//!    ancestor too has inherited them: it is part of that ancestor's stage. What a keeper of
//!    `pipewright run --record` has started is part of the keeper's, whatever it holds.
//! 3. **A shell that only waits is no stage.** When every end of a process is also held by
//!    descendants that are stages of their own, as in `a | (b | c) | d`, they do the work.
//! 4. **Pipes between relatives and pipes for messages are weak.** A process and its own ancestor
//!    (a program and its supervisor, a co-process), and a pipe that its writers hold only as
//!    standard error, do not merge two pipelines into one. They make a pipeline where there is no
//!    other; a logger of one pipeline's messages is part of it, a logger of several is part of none.
//!    The same goes for an end that many processes hold under one number above 2: whoever started
//!    the first of them forgot to close it, so the process at its other end is no neighbour of theirs.
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

#[doc(hidden)]
pub use self::ends::{Direction, Holder, PipeEnd, SocketEnd, SocketId};
pub use self::found::{FoundPipe, FoundStage, Pipeline};
use self::graph::Graph;
pub use self::order::Shape;
pub use self::scan::Scan;
pub(crate) use self::scan::parents;
use crate::error::{Error, Result};

mod ends;
mod found;
mod graph;
mod order;
mod scan;
mod sockets;

impl Scan {
    /// The pipelines there are.
    pub fn pipelines(&self) -> Vec<Pipeline> {
        Graph::of(self).pipelines(self)
    }

    /// The pipeline that a process is part of. For a shell that waits for a pipeline it has
    /// started, that pipeline.
    ///
    /// # Errors
    ///
    /// [`Error::NotInAPipeline`]; [`Error::SeveralPipelines`] for a shell that has started several;
    /// [`Error::Denied`] if the process may not be looked at.
    pub fn pipeline_of(&self, pid: u32) -> Result<Pipeline> {
        // Its own children, and not all that is somewhere below: init has started nothing of it.
        let below = |stage: &FoundStage| self.parents.get(&stage.process.pid) == Some(&pid);
        let mut found: Vec<_> = self
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
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        match &found[..] {
            // Those that it has started: which of them is meant, nobody knows.
            [(first @ (_, 1), _), (second, _), ..] if first == second => {
                let nearest = found.iter().take_while(|(rank, _)| rank == first);
                let stages = nearest.map(|(_, pipeline)| pipeline.stages[0].process.pid);
                Err(Error::SeveralPipelines {
                    pid,
                    stages: stages.collect(),
                })
            }
            [(_, pipeline), ..] => Ok(pipeline.clone()),
            [] if self.denied.contains(&pid) => Err(Error::Denied {
                what: "look at the descriptors",
                pid,
            }),
            [] => Err(Error::NotInAPipeline { pid }),
        }
    }
}
