//! A dialogue with a program that runs alongside: a question down one pipe, an answer up another.
//!
//! ```sh
//! cargo run --release --example coprocess
//! ```
//!
//! Three things can make both sides wait for each other for ever:
//!
//! 1. A question that is not sent, because it sits in a buffer here: write it in one piece, or flush.
//! 2. An answer that is not sent, because it sits in a buffer *there*: many programs hold back what
//!    they write to a pipe until 4 KiB have come together. Some have an option against it (`grep
//!    --line-buffered`, `sed -u`, `awk`'s `fflush()`, `python3 -u`), and `stdbuf -oL PROGRAM` helps
//!    with most of the others.
//! 3. Both write more than a pipe holds, and neither reads: ask one question at a time, and take the
//!    answer before the next. Where all questions are known beforehand, `capture().input(…)` feeds
//!    and reads at once.
//!
//! And an answer may simply not come: hence the time that each is given.

use std::io::Write;
use std::time::Duration;

use pipewright::{Command, Error, Lines, PipeWriter, Result, pipe};

/// A calculator that answers one line for each line.
struct Calculator {
    questions: PipeWriter,
    answers: Lines<'static>,
}

impl Calculator {
    fn start() -> Result<Self> {
        let (stdin, questions) = pipe()?;
        let script = r#"while read -r question; do eval "echo \$(($question))"; done"#;
        let shell = Command::new("sh").args(["-c", script]).stdin(stdin);
        // Killed if this program gives up on it. Its stderr is read meanwhile, and told in the error.
        let answers = shell.capture().kill_on_drop().lines()?;
        Ok(Self { questions, answers })
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        // If it has ended, this fails with a broken pipe, and the reason comes with the answer.
        let _ = self.questions.write_all(format!("{question}\n").as_bytes());
        let answer = self.answers.next_within(Duration::from_secs(10));
        answer.unwrap_or_else(|| Ok("it has ended".to_owned()))
    }

    /// No more questions: the end of file, which it ends by.
    fn finish(mut self) -> Result<()> {
        drop(self.questions);
        self.answers.try_for_each(|answer| answer.map(drop))
    }
}

fn main() -> Result<()> {
    let mut calculator = Calculator::start()?;
    for question in ["6 * 7", "1 << 10"] {
        println!("{question} = {}", calculator.ask(question)?);
    }
    calculator.finish()?;

    let mut calculator = Calculator::start()?;
    match calculator.ask("1 / 0") {
        Err(Error::Failed { exit_code, .. }) => println!("1 / 0 ended it with {exit_code}"),
        other => println!("1 / 0 gave {other:?}"),
    }
    Ok(())
}
