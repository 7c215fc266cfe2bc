//! What the tests of all crates share.
//!
//! Tests here use real processes, so a fault tends to be a hang: every test that could hang holds a
//! [`watchdog`]. A test that counts this process's descriptors or children, or changes what belongs
//! to all of its threads, runs [`isolated`]. A test that re-executes itself has a `main` of its own
//! and runs by [`trials`].

mod far_host;
mod fault;
mod isolated;
mod nats;
mod once;
mod processes;
mod programs;
mod shells;
pub mod stubborn;
pub mod terminals;
pub mod trials;
mod watchdog;

pub use far_host::FarHost;
pub use fault::{Fault, fault};
pub use isolated::{isolated, isolated_by};
pub use nats::NatsServer;
pub use once::example;
pub use processes::{
    READY_THEN_WAIT, await_no_children, children, descriptors_of, is_root, lives,
    may_have_descriptors, open_descriptors, signals_at_their_default, state,
};
pub use programs::{copy_program, feed, shell_status, stderr, wait_for_lines, write_script};
pub use shells::{deaf_to_sigterm, sh, sh_on_a_pipe, until_there};
pub use watchdog::{PATIENCE, Watchdog, campaign, rounds, watchdog, with_time_enough};
