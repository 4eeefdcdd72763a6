//! Clients that keep still, or only talk and never listen.

mod common;

use common::Server;
use common::raw::pieces;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

#[test]
fn a_member_who_keeps_still_is_told_and_closed() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut raw = server.login("alice");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(400)); // not still enough
        raw.demand("PING", "OK pong");
    }
    let began = Instant::now();
    raw.expect("ERR timeout");
    raw.closed();
    assert!(began.elapsed() > Duration::from_millis(900) && began.elapsed() < Duration::from_secs(5));
    drop(raw);
    server.wait_idle();
    assert!(server.stop().iter().any(|line| line.contains("idle for too long")));
}

#[test]
fn whoever_sends_and_never_reads_costs_no_memory() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let session = server.sessions()[0].pid;
    raw.socket().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let requests = b"HELP\n".repeat(10_000);
    let mut sent = 0usize;
    // Each request is answered by some 2,000 bytes: without a halt this would go on for ever.
    while let Ok(n) = raw.socket().write(&requests) {
        sent += n;
        assert!(sent < 256 << 20, "the server reads on and on");
    }
    let status = fs::read_to_string(format!("/proc/{session}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    eprintln!("after {sent} bytes of requests the session holds {peak} KiB");
    assert!(peak.parse::<u64>().unwrap() < 32 * 1024, "{peak} KiB");
    // Once it listens, it is answered.
    let mut answered = 0;
    while answered < 2_000 {
        answered += usize::from(raw.line().starts_with("OK "));
    }
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn an_upload_that_pauses_goes_on() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut raw = server.login("alice");
    raw.send("UPLOAD f size=10\n");
    raw.expect("READY");
    raw.send(pieces(b"hello"));
    std::thread::sleep(Duration::from_millis(1500)); // longer than idle: something is in hand
    raw.send([&*pieces(b"world"), b"END\n"].concat());
    raw.expect("OK size=10");
    drop(raw);
    server.stop();
}

#[test]
fn a_client_that_is_not_ready_yet_says_so_within_its_body() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.send("UPLOAD f size=4 resume\n");
    raw.expect("READY offset=0");
    raw.send("WAIT hashing\nFROM 0\nDATA 2\nabWAIT\nWAIT more comes\nDATA 2\ncdEND\n");
    raw.expect("OK size=4");
    raw.demand("WAIT", "ERR bad-request");
    raw.send("UPLOAD ../f\nWAIT\nDATA 2\nabWAIT\nEND\nPING\n");
    raw.expect("ERR bad-path");
    raw.expect("OK pong");
    drop(raw);
    server.stop();
}
