//! Running tests from a `main` of one's own, which re-executed children need: they are dispatched
//! there before anything else.

use libtest_mimic::{Arguments, Trial};

use crate::watchdog;

/// A test and its name.
pub type Test = (&'static str, fn());

/// `tests![one, two]`: these functions, by their names.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        vec![$((stringify!($test), $test as fn())),*]
    };
}

/// Runs the tests that the command line asks for, as the ordinary test harness does, each under a
/// [`watchdog`], and exits.
pub fn run(tests: Vec<Test>) -> ! {
    let trial = |(name, body): Test| {
        Trial::test(name, move || {
            let _watchdog = watchdog();
            body();
            Ok(())
        })
    };
    let trials = tests.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}
