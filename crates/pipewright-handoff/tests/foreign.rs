//! A foreign program as the child: messages in JSON.

use std::time::Duration;

use pipewright::Command;
use pipewright_handoff::{Error, Foreign};

fn main() {
    if Command::new("python3")
        .arg("--version")
        .stdout(pipewright::Stdio::Null)
        .spawn()
        .is_err()
    {
        println!("not tested here: there is no python3");
        return;
    }
    testing::trials::run(testing::tests![
        a_foreign_program_exchanges_messages_phases_and_barriers,
        a_foreign_program_tells_its_failure,
        a_foreign_program_that_executes_another_is_waited_for,
        what_a_foreign_program_sends_is_not_trusted,
    ]);
}

const CHANNEL: &str = r#"
import json, os, socket, sys
channel = socket.socket(fileno=int(os.environ["PIPEWRIGHT_CHANNEL"]))
sequence = 0
def send(**content):
    global sequence
    channel.send(json.dumps({"sequence": sequence, **content}).encode())
    sequence += 1
def receive():
    return json.loads(channel.recv(65536))
"#;

fn python(program: &str) -> pipewright_handoff::ChildLink {
    let command = Command::new("python3")
        .arg("-c")
        .arg(format!("{CHANNEL}{program}"));
    let mut child = Foreign::new(command).spawn().unwrap();
    // It is large, and loads much before it begins.
    child.channel().set_timeout(Duration::MAX);
    child
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Person {
    name: String,
    age: Option<u32>,
}

fn a_foreign_program_exchanges_messages_phases_and_barriers() {
    let mut child = python(
        r#"
person = receive()["message"]
send(phase="counting years")
person["age"] += 1
send(barrier="is this right")
assert receive() == {"sequence": 1, "go_on": "is this right"}
send(message=person)
"#,
    );
    let person = |age| Person {
        name: "Ada".to_owned(),
        age: Some(age),
    };
    child.channel().send(&person(36)).unwrap();
    child
        .channel()
        .serve_barrier("is this right", || Ok::<(), Error>(()))
        .unwrap();
    assert_eq!(child.channel().phase(), "is this right");
    assert_eq!(child.channel().receive::<Person>().unwrap(), person(37));
    assert!(child.into_child().wait().unwrap().success());
}

fn a_foreign_program_tells_its_failure() {
    let failure = r#"send(failure={"phase": "mount", "message": "no such device", "errno": 19})"#;
    let error = python(failure).channel().receive::<Person>().unwrap_err();
    assert_eq!(error.to_string(), "mount: no such device");
    assert_eq!(error.raw_os_error(), Some(19));
}

fn a_foreign_program_that_executes_another_is_waited_for() {
    let child = python(
        r#"
send(executing="true")
channel.set_inheritable(False)
os.execvp("true", ["true"])
"#,
    );
    let running = child.wait_exec(Duration::MAX).unwrap();
    assert!(running.wait().unwrap().success());
}

fn what_a_foreign_program_sends_is_not_trusted() {
    for nonsense in [
        "b''",
        "b'{'",
        "b'[1]'",
        "b'{\"sequence\": 1, \"message\": {\"name\": \"x\", \"age\": 1}}'",
        "b'{\"sequence\": 0, \"message\": {\"name\": \"x\"}, \"more\": 1}'",
        "b'{\"sequence\": 0, \"message\": 1}'",
        "b'{\"sequence\": -1, \"message\": 1}'",
        "b'{\"sequence\": 0, \"stagger\": \"x\"}'",
        "b'[' * 60000",
    ] {
        let mut child = python(&format!("channel.send({nonsense}); receive()"));
        let error = child.channel().receive::<Person>().unwrap_err();
        assert!(
            matches!(error, Error::Protocol { .. }),
            "{nonsense}: {error}"
        );
        child.child().kill().unwrap();
    }
}
