//! `dfos-client doctor`: each thing that can be wrong on the way is told on its line, with what to do.

mod common;

use common::Server;
use common::tls::{Authority, Pair};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// `dfos-client` of a user with a state of their own.
struct User {
    place: tempfile::TempDir,
}

impl User {
    fn new() -> User {
        User { place: tempfile::tempdir().unwrap() }
    }

    fn known_servers(&self) -> std::path::PathBuf {
        self.place.path().join("known_servers")
    }

    fn command(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
        command.env_clear().env("HOME", self.place.path()).env("DFOS_USER", "alice").env("DFOS_PASSWORD", "secret");
        command.args(["--server", url, "--known-servers"]).arg(self.known_servers()).args(arguments);
        command
    }

    /// What the doctor says; it must end so.
    #[track_caller]
    fn doctor(&self, url: &str, options: &[&str], status: i32) -> Told {
        told(self.command(url, options).arg("doctor"), status)
    }
}

/// What was said.
struct Told(String);

#[track_caller]
fn told(command: &mut Command, status: i32) -> Told {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}");
    Told(text)
}

impl Told {
    /// There is a line of that state and step that holds all the words.
    #[track_caller]
    fn says(&self, state: &str, step: &str, words: &[&str]) -> &Told {
        let begins = format!("{state:<7}  {step:<13}  ");
        let fits = |line: &&str| line.starts_with(&begins) && words.iter().all(|word| line.contains(word));
        assert!(self.0.lines().any(|line| fits(&line)), "no '{begins}' with {words:?} in:\n{}", self.0);
        self
    }

    /// There is no line of that step.
    #[track_caller]
    fn is_silent_about(&self, step: &str) -> &Told {
        assert!(!self.0.lines().any(|line| line.get(9..).is_some_and(|rest| rest.starts_with(step))), "{}", self.0);
        self
    }
}

fn start(options: &[&str]) -> (Server, String) {
    let server = Server::start(&[&["--listen", "tls://127.0.0.1:0"], options].concat());
    let url = server.listening[0].trim_start_matches("listening ").to_owned();
    (server, url)
}

/// Somebody who greets whoever comes with these bytes, or answers what they say with them.
fn somebody(greets: bool, words: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut said = [0; 4096];
                if !greets && !socket.read(&mut said).is_ok_and(|n| n > 0) {
                    return;
                }
                let _ = socket.write_all(words.as_bytes());
                let _ = socket.shutdown(std::net::Shutdown::Write);
                let _ = socket.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

#[test]
fn a_server_that_is_well_has_a_line_for_each_step_and_stays_unknown() {
    let ((server, url), user) = (start(&[]), User::new());
    let told = user.doctor(&url, &[], 0);
    told.says("ok", "configuration", &["alice at tls://127.0.0.1"]).says("ok", "password", &["DFOS_PASSWORD"]);
    told.says("ok", "known servers", &["none yet"]).says("ok", "resolve", &["127.0.0.1"]).says(
        "ok",
        "connect",
        &["answers"],
    );
    told.says("ok", "tls", &["TLS 1.3"]).says("ok", "certificate", &["server's own", "no end in sight"]);
    told.says("warning", "key", &["sha256:", "new here"]).says("ok", "greeting", &["dfos/1", "SCRAM-SHA-256-PLUS"]);
    told.says("ok", "login", &["alice", "bound to this channel"]).says("ok", "clock", &["ms apart"]);
    told.says("ok", "versions", &["client 0.", "server 0."]).says("ok", "space", &["used, no limit", "free"]);
    assert!(!user.known_servers().exists(), "the doctor changes nothing");
    assert!(user.command(&url, &["ls"]).status().unwrap().success());
    user.doctor(&url, &[], 0).says("ok", "known servers", &["1 in"]).says("ok", "key", &["known"]);
    let objects = told_objects(&mut user.command(&url, &["--json", "doctor"]));
    assert_eq!(objects.last().unwrap()["event"], "end");
    let login = objects.iter().find(|object| object["step"] == "login").unwrap();
    assert_eq!((&login["event"], &login["state"], &login["v"]), (&"check".into(), &"ok".into(), &1.into()));
    server.stop();
}

fn told_objects(command: &mut Command) -> Vec<serde_json::Value> {
    let output = command.output().unwrap().stdout;
    String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn where_nobody_listens_or_no_name_is_known_that_is_said() {
    let user = User::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    user.doctor(&format!("tls://{free}"), &[], 3)
        .says("failed", "connect", &["refused", "does the server run"])
        .is_silent_about("tls")
        .says("ok", "password", &[]);
    user.doctor("tls://no-such-host.invalid", &[], 3).says("failed", "resolve", &["no-such-host.invalid", "spelling"]);
    user.doctor("unix:/nonexistent/socket", &[], 3).says("failed", "connect", &["no such socket"]);
}

#[test]
fn who_listens_instead_is_found_out() {
    let user = User::new();
    let web = somebody(false, "HTTP/1.1 400 Bad Request\r\n\r\n");
    user.doctor(&format!("tls://{web}"), &[], 12).says("failed", "tls", &["web server", "port"]);
    user.doctor(&format!("tcp://{web}"), &["--timeout", "1"], 13).says("failed", "greeting", &["web server"]);
    let mail = somebody(true, "220 mail.example ESMTP\r\n");
    user.doctor(&format!("tls://{mail}"), &[], 12).says("failed", "tls", &["another service", "220 mail.example"]);
    user.doctor(&format!("tcp://{mail}"), &[], 12).says("failed", "greeting", &["220 mail.example"]);
    let (server, url) = start(&["--listen", "tcp://127.0.0.1:0"]);
    let plain = server.listening.iter().find_map(|line| line.split_once("tcp://")).unwrap().1.to_owned();
    let encrypted = url.trim_start_matches("tls://");
    user.doctor(&format!("tls://{plain}"), &[], 12).says(
        "failed",
        "tls",
        &["plain text there", &format!("tcp://{plain}")],
    );
    user.doctor(&format!("tcp://{encrypted}"), &["--timeout", "1"], 13).says(
        "failed",
        "greeting",
        &["speaks TLS there", &url],
    );
    user.doctor(&format!("tcp://{plain}"), &[], 0).says("ok", "login", &["SCRAM-SHA-256,"]).is_silent_about("tls");
    server.stop();
}

#[test]
fn another_key_than_before_ends_the_walk_with_its_repair() {
    let ((server, url), user) = (start(&[]), User::new());
    let other = "0".repeat(64);
    fs::write(user.known_servers(), format!("{url} sha256:{other}\n")).unwrap();
    user.doctor(&url, &[], 4)
        .says("failed", "key", &["another key than before", "forget", "ask the operator"])
        .is_silent_about("login");
    fs::remove_file(user.known_servers()).unwrap();
    user.doctor(&url, &["--pin", &other], 4).says("failed", "key", &["--pin", "dfos-forkd check"]);
    let pin = server.logged("pin is sha256:").rsplit(':').next().unwrap().to_owned();
    user.doctor(&url, &["--pin", &pin], 0).says("ok", "key", &["as --pin says"]);
    server.stop();
}

#[test]
fn a_certificate_is_judged_by_its_authority_and_its_dates() {
    let (authority, place, user) = (Authority::new(), tempfile::tempdir().unwrap(), User::new());
    let ca = place.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let case = |pair: Pair| {
        let home = common::home();
        let [certificate, key] = pair.write(home.path(), "tls");
        let options = ["--listen", "tls://127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
        let server = Server::start_in(home, &options);
        let port = server.listening[0].rsplit(':').next().unwrap().to_owned();
        let told = user.doctor(&format!("tls://localhost:{port}"), &["--ca", ca.to_str().unwrap()], 0);
        server.stop();
        told
    };
    let until = |pair: &mut rcgen::CertificateParams, days: i64| {
        pair.not_after = time::OffsetDateTime::now_utc() + time::Duration::hours(24 * days + 12);
    };
    case(authority.certify("localhost")).says("ok", "certificate", &["an authority vouches"]).says(
        "ok",
        "key",
        &["vouches"],
    );
    case(authority.certify_with("localhost", |pair| until(pair, 3))).says(
        "warning",
        "certificate",
        &["an authority vouches", "3 days left", "renew"],
    );
    case(authority.certify_with("localhost", |pair| until(pair, -3)))
        .says("warning", "certificate", &["expired", "over since 3 days", "renew"])
        .says("warning", "key", &["new here"]);
    case(authority.certify("elsewhere.example")).says("warning", "certificate", &["another name"]);
    case(Pair::own("localhost")).says("ok", "certificate", &["server's own"]);
}

#[test]
fn a_login_that_fails_and_a_password_that_cannot_be_had_are_told_apart() {
    let ((server, url), user) = (start(&[]), User::new());
    told(user.command(&url, &["doctor"]).env("DFOS_PASSWORD", "wrong"), 5)
        .says("failed", "login", &["look at --user"])
        .is_silent_about("space");
    let open = user.place.path().join("password");
    fs::write(&open, "secret\n").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    user.doctor(&url, &["--password-file", open.to_str().unwrap()], 10)
        .says("failed", "password", &["others can read", "chmod 600"])
        .says("ok", "greeting", &[])
        .is_silent_about("login");
    user.doctor(&url, &["--password-command", "exit 3"], 5).says("failed", "password", &["command failed"]);
    user.doctor(&url, &["--password-command", "echo"], 5).says("failed", "password", &["is empty"]);
    server.stop();
}

#[test]
fn an_account_that_is_full_or_nearly_so_is_told() {
    let server = Server::limited("[alice]\nquota = \"1KiB\"\n", &["--listen", "tls://127.0.0.1:0"]);
    let (url, user) = (server.listening[0].trim_start_matches("listening ").to_owned(), User::new());
    let file = user.place.path().join("file");
    let put = |bytes: usize, status| {
        fs::write(&file, vec![b'x'; bytes]).unwrap();
        assert!(
            user.command(&url, &["put", "-q", file.to_str().unwrap(), "--to", &bytes.to_string()])
                .status()
                .unwrap()
                .success()
        );
        user.doctor(&url, &[], status)
    };
    put(950, 0).says("warning", "space", &["of 1.0 KiB", "delete"]);
    put(74, 9).says("failed", "space", &["it is full", "ask the operator"]);
    server.stop();
}

#[test]
fn what_is_wrong_on_this_machine_is_told() {
    let ((server, url), user) = (start(&[]), User::new());
    fs::write(user.known_servers(), "").unwrap();
    fs::set_permissions(user.known_servers(), fs::Permissions::from_mode(0o666)).unwrap();
    user.doctor(&url, &[], 0).says("warning", "known servers", &["others can change", "chmod 600"]);
    fs::write(user.known_servers(), "nonsense\n").unwrap();
    user.doctor(&url, &[], 10)
        .says("failed", "known servers", &["line 1"])
        .says("ok", "connect", &[])
        .is_silent_about("login");
    fs::remove_file(user.known_servers()).unwrap();
    let broken = user.place.path().join("broken.toml");
    fs::write(&broken, "retires = 3\n").unwrap();
    user.doctor(&url, &["--config", broken.to_str().unwrap()], 2)
        .says("failed", "configuration", &["line 1", "--config none"])
        .says("ok", "login", &[]);
    user.doctor("http://x", &[], 2).says("failed", "configuration", &["tls://HOST:PORT"]).is_silent_about("connect");
    server.stop();
}
