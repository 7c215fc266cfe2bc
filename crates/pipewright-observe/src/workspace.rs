//! What the command and the tests of this workspace need beside the public face. No promise is made
//! about any of it.

pub use crate::memory_kills::MemoryKills;
pub use crate::now::{PipelineNow, StageNow, look_at};
pub use crate::proc::{
    BlockedOn, CommandLine, FilePosition, IoCounters, ProcessState, Stat, Target, command_lines,
};
pub use crate::sampler::remote::{NAME as REMOTE_STATE, RemoteState, now as remote_state_now};
pub use crate::spool_state::{Board, EndedRuns, KEEPER as KEEPER_STATE, NAME as SPOOL_STATE};
pub use crate::text::displayable;
pub use crate::topology::{Direction, Holder, PipeEnd, SocketEnd, SocketId};
