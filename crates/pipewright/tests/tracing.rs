//! With the feature `tracing`: a span for each start, an event for each end, and none from the
//! child.
#![cfg(feature = "tracing")]

use std::io::{PipeReader, Read};
use std::sync::Mutex;

use pipewright::{Command, pipe};
use testing::watchdog;

/// Everything that is told while `body` runs, as text. The subscriber writes to a pipe, so that
/// what a child would tell arrives here as well.
fn told(body: impl FnOnce()) -> String {
    let (mut reader, writer): (PipeReader, _) = pipe().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(Mutex::new(writer))
        .finish();
    tracing::subscriber::with_default(subscriber, body);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_start_is_a_span_and_an_end_is_an_event() {
    let _watchdog = watchdog();
    let mut pid = 0;
    let text = told(|| {
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        pid = child.id();
        child.wait().unwrap();
        child.wait().unwrap();
    });
    let lines: Vec<&str> = text.lines().collect();
    let [started, ended] = lines[..] else {
        panic!("{text}")
    };
    assert!(started.contains(&format!(
        "start{{program=sh}}: pipewright::spawn: started pid={pid}"
    )));
    assert!(ended.contains(&format!(
        "ended program=\"sh\" pid={pid} status=exit status: 3 wall="
    )));
}

#[test]
fn a_start_that_failed_is_told_once_and_by_the_parent() {
    let _watchdog = watchdog();
    let text = told(|| {
        Command::new("/no/such/program").spawn().unwrap_err();
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("not started error=cannot start \"/no/such/program\": exec "),
        "{text}"
    );
}
