//! Who we are on the server, and what it says of itself.

use testing::{NatsServer, feed, shell_status, stderr, watchdog};

use crate::bed::{Process, by_workers, coordinator, lines};
use crate::support::pipewright;

#[test]
fn how_durable_the_server_is_is_said_where_it_is_less_than_durable() {
    let _watchdog = watchdog();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (sync, said) in [("", "every 120 s only"), (", sync_interval: always", "")] {
        let configuration = format!("http: \"{free}\"\njetstream {{ store_dir: STORE{sync} }}");
        let Some(server) = NatsServer::start(&configuration) else {
            return;
        };
        let monitor = format!("http://{free}");
        let output = by_workers(
            &server,
            1,
            &["--monitor", &monitor],
            &["cat"],
            &lines(10_000),
        );
        assert!(output.status.success());
        let told = stderr(&output);
        assert!(
            told.contains(said) && told.is_empty() == said.is_empty(),
            "{sync}: {told}"
        );
    }
}

/// Runs a job and its worker with these options and variables on both sides.
fn runs_with(url: &str, options: &[&str], variables: &[(&str, &str)]) {
    let bytes = lines(10_000);
    let mut worker = pipewright();
    worker
        .args(["worker", url, "--name", "job"])
        .args(options)
        .args(["--", "cat"])
        .envs(variables.iter().copied());
    let mut worker = Process(worker.spawn().unwrap());
    let mut stage = coordinator(url, options, &["cat"]);
    let output = feed(stage.envs(variables.iter().copied()), &bytes);
    assert!(
        output.status.success() && output.stdout == bytes,
        "{url} {options:?}: {}",
        stderr(&output)
    );
    // It has found the job and its end: it was let in, too.
    assert!(worker.0.wait().unwrap().success(), "{url} {options:?}");
}

/// Is told that it is not let in, without a word of what it has said.
fn is_refused(url: &str, options: &[&str], secret: &str) {
    let refused = feed(&mut coordinator(url, options, &["cat"]), b"x\n");
    assert_eq!(shell_status(&refused), 125, "{url}");
    let told = stderr(&refused);
    assert!(told.contains("cannot connect to NATS"), "{url}: {told}");
    assert!(secret.is_empty() || !told.contains(secret), "{told}");
}

const JETSTREAM: &str = "jetstream { store_dir: STORE, sync_interval: always }";

#[test]
fn a_user_and_a_password_let_us_in_whatever_bytes_they_have() {
    let _watchdog = watchdog();
    for (user, password, named) in [
        ("me", "secret", "me:secret"),
        (
            "me@lab",
            "p:a/s%s w?#ü",
            "me%40lab:p%3Aa%2Fs%25s%20w%3F%23%C3%BC",
        ),
    ] {
        let configuration =
            format!("authorization {{ user: \"{user}\", password: \"{password}\" }}\n{JETSTREAM}");
        let Some(server) = NatsServer::start(&configuration) else {
            return;
        };
        runs_with(&format!("nats://{named}@{}", server.address()), &[], &[]);
        let variables = [("NATS_USER", user), ("NATS_PASSWORD", password)];
        runs_with(&server.url(), &[], &variables);
        is_refused(&server.url(), &[], "");
        is_refused(
            &format!("nats://me:wrong@{}", server.address()),
            &[],
            "wrong",
        );
    }
}

#[test]
fn a_token_lets_us_in_whatever_bytes_it_has() {
    let _watchdog = watchdog();
    for (token, named) in [("word", "word"), ("w:o/r@d", "w%3Ao%2Fr%40d")] {
        let configuration = format!("authorization {{ token: \"{token}\" }}\n{JETSTREAM}");
        let Some(server) = NatsServer::start(&configuration) else {
            return;
        };
        runs_with(&server.url(), &[], &[("NATS_TOKEN", token)]);
        runs_with(&format!("nats://{named}@{}", server.address()), &[], &[]);
        is_refused(&server.url(), &[], "");
        is_refused(&format!("nats://wrong@{}", server.address()), &[], "wrong");
    }
}

#[test]
fn an_nkey_lets_us_in() {
    let _watchdog = watchdog();
    let (ours, other) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let configuration = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}\n{JETSTREAM}",
        ours.public_key()
    );
    let Some(server) = NatsServer::start(&configuration) else {
        return;
    };
    let seed = |key: &nkeys::KeyPair, name: &str| {
        let path = server.directory().join(name);
        std::fs::write(&path, key.seed().unwrap() + "\n").unwrap();
        path.display().to_string()
    };
    let (ours, other) = (seed(&ours, "ours"), seed(&other, "other"));
    runs_with(&server.url(), &["--nkey", &ours], &[]);
    runs_with(&server.url(), &[], &[("NATS_NKEY", &ours)]);
    is_refused(&server.url(), &["--nkey", &other], "");
    is_refused(&server.url(), &[], "");
    let missing = feed(
        &mut coordinator(&server.url(), &["--nkey", "/nowhere"], &["cat"]),
        b"",
    );
    assert!(
        stderr(&missing).contains("cannot read the nkey /nowhere"),
        "{}",
        stderr(&missing)
    );
}

/// A signed token, as `nsc` makes them.
fn token(issuer: &nkeys::KeyPair, subject: &str, claims: serde_json::Value) -> String {
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let head = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = serde_json::json!({
        "jti": "of-this-test", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject, "nats": claims,
    });
    let text = format!("{head}.{}", encode(body.to_string().as_bytes()));
    let signature = encode(&issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

#[test]
fn credentials_let_us_in() {
    let _watchdog = watchdog();
    let (operator, user) = (nkeys::KeyPair::new_operator(), nkeys::KeyPair::new_user());
    let (system, jobs) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_account());
    let account = |key: &nkeys::KeyPair, disk: i32| {
        let claims = serde_json::json!({
            "limits": {
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1,
                "mem_storage": disk, "disk_storage": disk, "streams": disk, "consumer": disk,
            },
            "type": "account", "version": 2,
        });
        token(&operator, &key.public_key(), claims)
    };
    let is_operator = serde_json::json!({ "type": "operator", "version": 2 });
    let configuration = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n{JETSTREAM}",
        token(&operator, &operator.public_key(), is_operator),
        system.public_key(),
        system.public_key(),
        account(&system, 0),
        jobs.public_key(),
        account(&jobs, -1),
    );
    let Some(server) = NatsServer::start(&configuration) else {
        return;
    };
    let credentials = |issuer: &nkeys::KeyPair, name: &str| {
        let claims = serde_json::json!({ "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(issuer, &user.public_key(), claims),
            user.seed().unwrap()
        );
        let path = server.directory().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let ours = credentials(&jobs, "ours.creds");
    let other = credentials(&nkeys::KeyPair::new_account(), "other.creds");
    runs_with(&server.url(), &["--creds", &ours], &[]);
    runs_with(&server.url(), &[], &[("NATS_CREDS", &ours)]);
    is_refused(&server.url(), &["--creds", &other], "");
    is_refused(&server.url(), &[], "");
}

/// Makes an authority, and certificates of a server and a client; `None`, with a word why, without openssl.
fn certificates(directory: &std::path::Path) -> Option<()> {
    let script = "set -e
        new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \"$@\"; }
        new -x509 -subj /CN=authority -keyout authority.key -out authority.pem
        new -x509 -subj /CN=other -keyout other.key -out other.pem
        echo 'subjectAltName=IP:127.0.0.1,DNS:localhost' > names
        for who in server client; do
            new -subj /CN=$who -keyout $who.key -out $who.csr
            openssl x509 -req -in $who.csr -CA authority.pem -CAkey authority.key -CAcreateserial \\
                -days 2 -extfile names -out $who.pem
        done";
    let made = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(directory)
        .output()
        .unwrap();
    if made.status.code() == Some(127) {
        eprintln!("skipped: there is no openssl, which makes the certificates");
        return None;
    }
    assert!(made.status.success(), "{}", stderr(&made));
    Some(())
}

#[test]
fn by_tls_both_sides_are_who_they_say() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    if certificates(directory.path()).is_none() {
        return;
    }
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (authority, other) = (file("authority.pem"), file("other.pem"));
    let (certificate, key) = (file("client.pem"), file("client.key"));
    for verify in [false, true] {
        let configuration = format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {authority:?}, verify: {verify} }}\n{JETSTREAM}",
            file("server.pem"),
            file("server.key"),
        );
        let Some(server) = NatsServer::start(&configuration) else {
            return;
        };
        let url = format!("tls://{}", server.address());
        let mut options = vec!["--tls-ca", &authority];
        let mut variables = vec![("NATS_CA", &*authority)];
        if verify {
            // A server that asks for a certificate does not let in who has none.
            is_refused(&url, &options, "");
            options.extend(["--tls-cert", &certificate, "--tls-key", &key]);
            variables.extend([("NATS_CERT", &*certificate), ("NATS_KEY", &*key)]);
        }
        runs_with(&url, &options, &[]);
        // The server asks for TLS, whatever the address says.
        runs_with(&server.url(), &options, &[]);
        runs_with(&url, &[], &variables);
        // A server that nobody vouches for is not spoken to.
        options[1] = &other;
        is_refused(&url, &options, "");
        is_refused(&url, &[], "");
    }
    // Who asks for TLS is not content with less.
    let Some(server) = NatsServer::start(JETSTREAM) else {
        return;
    };
    is_refused(
        &format!("tls://{}", server.address()),
        &["--tls-ca", &authority],
        "",
    );
}

#[test]
fn a_server_that_is_not_there_is_an_error_at_once() {
    let _watchdog = watchdog();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = feed(
        &mut coordinator(&format!("nats://{free}"), &[], &["cat"]),
        b"x\n",
    );
    assert_eq!(shell_status(&output), 125);
    assert!(stderr(&output).contains(&format!("cannot connect to NATS at nats://{free}")));
    let output = feed(&mut coordinator("http://host", &[], &["cat"]), b"x\n");
    assert!(
        stderr(&output).contains("is no address of a NATS server"),
        "{}",
        stderr(&output)
    );
}
