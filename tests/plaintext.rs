//! Plain text between two machines: what neither the server nor the client does there. Two network namespaces and a wire between them stand
//! for the machines, since all other tests talk over loopback, where nobody else reads.

mod common;

use common::scram::{change, salt_of};
use common::tls::TlsRaw;
use common::{Raw, Server, home};
use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the run of a test that is in a namespace.
const INSIDE: &str = "DFOS_TEST_NAMESPACE";

/// Runs the test of this name again in a network namespace of its own; `true` in that run.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let can = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !can("unshare", &["--net", "ip", "link", "add", "wire", "type", "veth"]) || !can("nsenter", &["--version"]) {
        eprintln!("skipped: no right to make network namespaces, or no ip, unshare or nsenter");
        return false;
    }
    let mut again = Command::new("unshare");
    again.arg("--net").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(again.status().unwrap().success(), "{test}, in a namespace");
    false
}

/// Another machine at 192.0.2.2, while this one is at 192.0.2.1 (RFC 5737). It goes with this value.
struct Machine(String);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(format!("dfos-test-{}", std::process::id()));
        let name = machine.0.as_str();
        ip(&["netns", "add", name]);
        ip(&["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", name]);
        for (of, address) in [(&[][..], "192.0.2.1/30"), (&["-n", name], "192.0.2.2/30")] {
            ip(&[of, &["address", "add", address, "dev", "wire"]].concat());
            ip(&[of, &["link", "set", "wire", "up"]].concat());
        }
        machine
    }

    /// What a command does, there.
    fn run(&self, command: &Command, dir: &Path) -> Command {
        let mut there = Command::new("nsenter");
        there.arg(format!("--net=/run/netns/{}", self.0)).arg(command.get_program()).args(command.get_args());
        there.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(dir);
        there.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        there
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

#[test]
fn a_new_password_is_neither_taken_nor_sent_in_plain_text_from_another_machine() {
    if !is_inside("a_new_password_is_neither_taken_nor_sent_in_plain_text_from_another_machine") {
        return;
    }
    let (machine, home) = (Machine::new(), home());
    common::give(home.path());
    let options = ["--listen", "tcp://192.0.2.2:0", "--listen", "tls://192.0.2.2:0", "--allow-plaintext"];
    let command = machine.run(&common::command(home.path(), &options), home.path());
    let server = Server::spawn(command, home, &options);
    let words = change("alice", ("secret", &salt_of("alice")), ("another", b"0123456789abcdef"));

    let mut plain = Raw::connect(server.address());
    plain.demand("LOGIN alice secret", "ERR denied ");
    plain.scram("alice", "secret").unwrap();
    plain.demand(&format!("PASSWD {words}"), "ERR denied a new password is not taken in plain text");
    Raw::connect(server.address()).scram("alice", "secret").unwrap();

    // The client does not even connect.
    let mut client = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
    client.args(["--server", &format!("tcp://{}", server.address()), "--user", "alice", "--retries", "0", "passwd"]);
    client.args(["--new-password-command", "echo another"]).env("DFOS_PASSWORD", "secret").env_remove("DFOS_SERVER");
    let output = client.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(6) && said.contains("not sent in plain text"), "{said}");

    // That it is for the plain text alone, and that another who comes is seen.
    let mut tls = TlsRaw::connect(server.tls_address());
    tls.demand("LOGIN alice secret", "OK welcome alice");
    tls.demand(&format!("PASSWD {words}"), "OK changed");
    server.logged("the password of alice was changed by the user");
    let comings = server.log().iter().filter(|line| line.contains(" connected, session ")).count();
    assert_eq!(comings, 3, "two in plain text, one over TLS");
    assert!(Raw::connect(server.address()).scram("alice", "another").is_ok());
    drop((plain, tls));
    server.wait_idle();
    server.stop();
}
