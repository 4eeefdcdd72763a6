//! The end: what is in hand is finished or kept, what was acknowledged is whole, and nobody is left.

mod common;

use common::raw::{number, pieces};
use common::tree::{noise, sha256};
use common::{Server, eventually};
use nix::sys::signal::{SigSet, Signal, kill};
use std::fs;
use std::time::{Duration, Instant};

const BIG: usize = 40 << 20;

#[test]
fn idle_clients_are_told_and_the_end_is_quick() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut server = Server::start(&["--grace", "60"]);
        let (mut member, mut stranger) = (server.login("alice"), server.client());
        let began = Instant::now();
        server.signal(signal);
        for raw in [&mut member, &mut stranger] {
            raw.expect("ERR shutting-down");
            raw.closed();
        }
        drop((member, stranger));
        assert_eq!(server.wait(), 0);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        server.nobody_is_left();
        server.no_alarm();
    }
}

#[test]
fn an_upload_in_hand_is_finished_within_the_grace() {
    let mut server = Server::start(&["--grace", "60"]);
    let mut raw = server.login("alice");
    let bytes = noise(1, 300_000);
    raw.send([b"UPLOAD f\n", &*pieces(&bytes[..100_000])].concat());
    raw.expect("READY");
    server.signal(Signal::SIGINT);
    server.logged("ending: 1 active");
    raw.send(pieces(&bytes[100_000..]));
    raw.send(format!("END sha256={}\n", sha256(&bytes)));
    raw.expect("OK size=300000");
    raw.expect("ERR shutting-down");
    raw.closed();
    drop(raw);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    assert_eq!(fs::read(server.at("alice/f")).unwrap(), bytes);
}

#[test]
fn an_upload_that_stands_still_is_cut_after_the_grace_and_can_be_resumed() {
    let mut server = Server::start(&["--grace", "1"]);
    let mut raw = server.login("alice");
    let bytes = noise(2, 300_000);
    raw.put("whole", b"acknowledged");
    raw.send("UPLOAD f size=300000\nDATA 300000\n");
    raw.send(&bytes[..123_456]);
    raw.expect("READY");
    eventually("the bytes have arrived", || {
        server.partials("alice").iter().any(|p| fs::metadata(p).is_ok_and(|m| m.len() == 123_456))
    });
    server.signal(Signal::SIGINT);
    raw.expect("ERR shutting-down");
    raw.closed();
    drop(raw);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    assert!(!server.at("alice/f").exists());
    // Another server on the same storage goes on where it was.
    let server = Server::start_in(server.leave(), &[]);
    let mut raw = server.login("alice");
    let ready = raw.demand("UPLOAD f size=300000 resume", "READY offset=123456");
    assert_eq!(number(&ready, "offset"), 123_456);
    raw.send(
        [b"FROM 123456\n", &*pieces(&bytes[123_456..]), format!("END sha256={}\n", sha256(&bytes)).as_bytes()].concat(),
    );
    raw.expect("OK size=300000");
    assert_eq!(raw.get("whole"), b"acknowledged");
    drop(raw);
    server.stop();
}

#[test]
fn a_download_in_hand_is_finished_within_the_grace() {
    let mut server = Server::start(&["--grace", "60"]);
    let mut raw = server.login("alice");
    let bytes = noise(3, BIG);
    raw.put("f", &bytes);
    let ready = raw.demand("DOWNLOAD f", "READY");
    server.signal(Signal::SIGINT);
    server.logged("ending: 1 active");
    let body = raw.body(ready);
    assert_eq!(body.end, format!("END sha256={}", sha256(&body.bytes)));
    assert!(body.bytes == bytes);
    raw.expect("ERR shutting-down");
    raw.closed();
    drop(raw);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
}

#[test]
fn a_download_that_nobody_reads_is_cut_after_the_grace_without_an_invented_byte() {
    for known in [true, false] {
        let mut server = Server::start(&["--grace", "1"]);
        let mut raw = server.login("alice");
        let bytes = noise(4, BIG);
        if known {
            raw.put("f", &bytes);
        } else {
            fs::write(server.at("alice/f"), &bytes).unwrap();
        }
        raw.demand("DOWNLOAD f", "READY");
        server.signal(Signal::SIGINT);
        assert_eq!(server.wait(), 0);
        server.nobody_is_left();
        let body = received(&mut raw);
        assert!(body.len() < BIG && bytes.starts_with(&body), "known: {known}, {} bytes", body.len());
    }
}

/// The bytes of pieces up to where the connection ends, also within a piece.
fn received(raw: &mut common::Raw) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = raw.try_line() {
        let Some(count) = line.strip_prefix("DATA ") else { break };
        let (piece, whole) = raw.read_up_to(count.parse().unwrap());
        body.extend(piece);
        if !whole {
            break;
        }
    }
    body
}

#[test]
fn a_second_request_ends_at_once() {
    let mut server = Server::start(&["--grace", "600"]);
    let mut raw = server.login("alice");
    raw.send("UPLOAD f\nDATA 5\nhe");
    raw.expect("READY");
    let began = Instant::now();
    server.signal(Signal::SIGINT);
    server.logged("ending: 1 active");
    server.signal(Signal::SIGINT);
    server.logged("asked again");
    raw.expect("ERR shutting-down");
    drop(raw);
    assert_eq!(server.wait(), 1, "this was not the controlled end");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    server.nobody_is_left();
}

#[test]
fn while_it_ends_nobody_new_is_served() {
    let mut server = Server::start(&["--grace", "60"]);
    let mut raw = server.login("alice");
    raw.send("UPLOAD f\nDATA 5\nhe");
    raw.expect("READY");
    server.signal(Signal::SIGINT);
    server.logged("ending: 1 active");
    assert!(std::net::TcpStream::connect(server.address()).is_err(), "the socket is closed");
    raw.send("lloEND\n");
    raw.expect("OK size=5");
    drop(raw);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
}

#[test]
fn how_it_ended_and_what_was_lost_is_told_to_a_log_that_is_behind() {
    let mut server = Server::start(&[]);
    let scribe = server.scribe().unwrap();
    server.logged("listening on");
    kill(scribe, Signal::SIGSTOP).unwrap();
    for _ in 0..400 {
        server.client(); // two records each: more than wait for a scribe
    }
    server.wait_idle();
    server.signal(Signal::SIGINT);
    let listener = server.pid().as_raw();
    eventually("the listener to have nothing left but its last words", || {
        let waits = common::process(listener).is_none_or(|listener| listener.state == 'S' || listener.state == 'Z');
        std::net::TcpStream::connect(server.address()).is_err() && waits
    });
    kill(scribe, Signal::SIGCONT).unwrap();
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    server.logged("log lines were lost");
    server.logged(" ended: 400 connections");
}

#[test]
fn who_knocks_in_the_moment_of_the_end_does_no_harm() {
    let mut server = Server::start(&["--grace", "60"]);
    let mut member = server.login("alice");
    let bytes = noise(4, 300_000);
    member.send([b"UPLOAD f\n", &*pieces(&bytes[..100_000])].concat());
    member.expect("READY");
    // The request to end comes while the listener has its hands full with a queue of connections.
    server.signal(Signal::SIGSTOP);
    eventually("the listener stands still", || common::process(server.pid().as_raw()).is_some_and(|p| p.state == 'T'));
    let mut queue: Vec<_> = (0..200).map(|_| common::Raw::silent(server.address())).collect();
    server.signal(Signal::SIGCONT);
    queue[0].expect("OK dfos/1");
    server.signal(Signal::SIGINT);
    server.logged("ending: ");
    member.send(pieces(&bytes[100_000..]));
    member.send(format!("END sha256={}\n", sha256(&bytes)));
    member.expect("OK size=300000");
    member.expect("ERR shutting-down");
    drop((member, queue));
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    server.no_alarm();
}

#[test]
fn when_the_listener_is_killed_sessions_finish_what_they_hold_and_another_can_start_at_once() {
    let mut server = Server::start(&["--grace", "60"]);
    let (mut busy, mut idle) = (server.login("alice"), server.login("bob"));
    let bytes = noise(5, 200_000);
    busy.send([b"UPLOAD f\n", &*pieces(&bytes[..100_000])].concat());
    busy.expect("READY");
    server.kill_listener();
    idle.expect("ERR shutting-down");
    idle.closed();
    // The port is free although a session of the dead server still talks on it.
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let other = Server::start(&["--listen", &format!("tcp://127.0.0.1:{port}")]);
    assert_eq!(other.address(), server.address());
    other.login("bob").demand("PING", "OK pong");
    busy.send([&*pieces(&bytes[100_000..]), b"END\n"].concat());
    busy.expect("OK size=200000");
    busy.expect("ERR shutting-down");
    drop((busy, idle));
    server.nobody_is_left();
    assert_eq!(fs::read(server.at("alice/f")).unwrap(), bytes);
    other.stop();
    let again = Server::start_in(server.leave(), &[]);
    assert_eq!(again.login("alice").get("f"), bytes);
    again.stop();
}

#[test]
fn a_server_whose_starter_had_blocked_its_signals_hears_them_all_the_same() {
    let start = || {
        SigSet::all().thread_block().unwrap(); // of this thread, and what it starts
        Server::start(&[])
    };
    let server = std::thread::spawn(start).join().unwrap();
    server.login("alice").demand("PING", "OK pong");
    server.stop();
}
