//! What a session holds in memory while its client says nothing. Reads /proc/PID/smaps_rollup, so it must be root.

mod common;

use common::raw::upload_bytes;
use common::tls::TlsRaw;
use common::tree::noise;
use common::{Server, eventually};
use std::fs;

/// KiB that a session has for itself alone. What it shares with the listener and the other sessions comes to some 50 more.
const PLAIN: u64 = 220;
const TLS: u64 = 380;

/// KiB of memory that this process has written and no other has. Code that it alone has run of late is not counted: the kernel takes such
/// pages back when it likes, from the listener too, and what the session then has alone says nothing about it.
fn own(pid: nix::unistd::Pid) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let figures =
        rollup.lines().filter_map(|line| line.strip_prefix("Private_Dirty:")?.split_ascii_whitespace().next());
    figures.map(|figure| figure.parse::<u64>().unwrap()).sum()
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can see how the memory of other processes is shared");
    }
    root
}

/// Waits until the only session holds no more than `most`; tells what it held at first.
fn comes_down_to(server: &Server, most: u64, what: &str) {
    let pid = server.sessions()[0].pid;
    let (before, mut now) = (own(pid), 0);
    eventually(what, || {
        now = own(pid);
        now <= most
    });
    eprintln!("{what}: {before} KiB, then {now}");
}

#[test]
fn a_session_that_is_quiet_holds_little_also_after_a_large_transfer() {
    if !is_root() {
        return;
    }
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    comes_down_to(&server, PLAIN, "after login");
    let bytes = noise(1, 16 << 20);
    raw.put("f", &bytes);
    comes_down_to(&server, PLAIN, "after an upload");
    assert!(raw.get("f") == bytes);
    comes_down_to(&server, PLAIN, "after a download");
    raw.demand("PING", "OK pong");
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn within_tls_too() {
    if !is_root() {
        return;
    }
    let server = Server::start(&["--listen", "tls://127.0.0.1:0"]);
    let mut client = TlsRaw::connect(server.tls_address());
    client.demand("LOGIN alice secret", "OK welcome alice");
    comes_down_to(&server, TLS, "after login");
    client.send(upload_bytes("f", &noise(2, 16 << 20)));
    assert!(client.line().starts_with("READY"));
    assert!(client.line().starts_with("OK size="));
    comes_down_to(&server, TLS, "after an upload");
    client.demand("DOWNLOAD f", "READY");
    loop {
        let line = client.line();
        let Some(length) = line.strip_prefix("DATA ") else { break assert!(line.starts_with("END"), "{line}") };
        client.read_exact(length.parse().unwrap());
    }
    comes_down_to(&server, TLS, "after a download");
    client.demand("PING", "OK pong");
    drop(client);
    server.wait_idle();
    server.stop();
}
