//! Quotas: reserved before bytes arrive, never exceeded, never lost.

mod common;

use common::raw::{number, pieces, upload_bytes};
use common::tree::noise;
use common::{Raw, Server, eventually};
use nix::sys::signal::Signal;
use std::fs;

#[track_caller]
fn used(raw: &mut Raw) -> u64 {
    number(&raw.ask("QUOTA"), "used")
}

/// The bytes that are really there, unfinished uploads included.
fn stored(server: &Server, user: &str) -> u64 {
    let files = common::tree::snapshot(&server.at(user)).into_values();
    let partials: u64 = server.partials(user).iter().map(|p| fs::metadata(p).map_or(0, |m| m.len())).sum();
    files.filter(|(kind, ..)| *kind == 'f').map(|(.., content)| content.len() as u64).sum::<u64>() + partials
}

#[test]
fn the_last_byte_fits_and_one_more_does_not() {
    let server = Server::start(&["--quota", "100000"]);
    let mut raw = server.login("alice");
    raw.demand("QUOTA", "OK used=0 limit=100000 free=");
    assert!(raw.upload("f", &noise(1, 100_001)).starts_with("ERR over-quota"));
    raw.put("f", &noise(1, 100_000));
    assert_eq!(used(&mut raw), 100_000);
    assert!(raw.upload("g", b"x").starts_with("ERR over-quota"));
    raw.put("g", b"");
    assert!(raw.upload_with("h", b"x").starts_with("ERR over-quota"), "without a size");
    raw.demand("DELETE f", "OK");
    assert_eq!(used(&mut raw), 0);
    assert!(raw.upload_with("h", &noise(2, 100_001)).starts_with("ERR over-quota"));
    assert!(raw.upload_with("h", &noise(2, 100_000)).starts_with("OK"));
    // another user has an account of her own
    server.login("bob").put("f", &noise(3, 100_000));
    drop(raw);
    server.stop();
}

#[test]
fn a_size_that_lies_gains_nothing() {
    let server = Server::start(&["--quota", "100000"]);
    let mut raw = server.login("alice");
    let bytes = noise(1, 60_000);
    for size in [0, 10, 59_999] {
        raw.send([format!("UPLOAD f size={size}\n").as_bytes(), &pieces(&bytes), b"END\n"].concat());
        raw.expect("READY");
        raw.expect("ERR bad-request");
        assert_eq!(used(&mut raw), stored(&server, "alice"), "announced {size}");
    }
    raw.send([b"UPLOAD f size=99999\n", &*pieces(&bytes), b"END\n"].concat());
    raw.expect("READY");
    raw.expect("ERR bad-request");
    raw.demand("UPLOAD f size=4294967296", "ERR over-quota");
    raw.demand("UPLOAD f size=9223372036854775807", "ERR ");
    raw.demand("PING", "OK pong");
    assert_eq!(used(&mut raw), stored(&server, "alice"));
    raw.put("f", &noise(1, 100_000));
    drop(raw);
    server.stop();
}

#[test]
fn what_is_replaced_deleted_or_given_up_is_given_back() {
    let server = Server::start(&["--quota", "1000000"]);
    let mut raw = server.login("alice");
    let agree = |raw: &mut Raw, what: &str| assert_eq!(used(raw), stored(&server, "alice"), "after {what}");
    raw.demand("MKDIR d", "OK");
    for (name, size) in [("a", 1000), ("b", 2000), ("d/c", 3000), ("d/e", 4000), ("a", 5000)] {
        raw.put(name, &noise(1, size));
        agree(&mut raw, "an upload");
    }
    raw.demand("RENAME a b", "ERR exists");
    raw.demand("RENAME a b replace", "OK");
    agree(&mut raw, "a replacing rename");
    raw.send("UPLOAD f size=500000\nDATA 5\nhelloABORT aborted\n");
    raw.expect("READY");
    raw.expect("ERR aborted");
    agree(&mut raw, "an aborted upload");
    raw.send("UPLOAD f\nDATA 5\nhelloEND sha256=00\n");
    raw.expect("READY");
    raw.expect("ERR bad-request");
    agree(&mut raw, "a malformed end");
    let mut cut = server.login("alice");
    cut.send("UPLOAD g size=400000\nDATA 1000\n");
    cut.send(noise(1, 500));
    drop(cut);
    eventually("the cut session ends", || server.sessions().len() == 1);
    agree(&mut raw, "a cut upload");
    raw.demand("RMDIR d recursive", "OK removed=3");
    agree(&mut raw, "a recursive removal");
    fs::hard_link(server.at("alice/b"), server.at("alice/link")).unwrap();
    raw.demand("DELETE b", "OK");
    raw.put("f", b"whole now");
    drop(raw);
    server.stop();
}

#[test]
fn eight_sessions_that_race_for_one_quota_never_exceed_it() {
    const LIMIT: u64 = 2_000_000;
    let server = Server::start(&["--quota", "2000000"]);
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8u64)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    let mut raw = server.login("alice");
                    let mut stored = 0;
                    for m in 0..12 {
                        let bytes = noise(n, 30_000 + 1000 * m);
                        let size = if m % 2 == 0 { format!(" size={}", bytes.len()) } else { String::new() };
                        let answer = raw.upload_with(&format!("f{n}.{m}{size}"), &bytes);
                        stored += if answer.starts_with("OK") { bytes.len() as u64 } else { 0 };
                        assert!(answer.starts_with("OK") || answer.starts_with("ERR over-quota"), "{answer}");
                        assert!(self::stored(server, "alice") <= LIMIT);
                    }
                    stored
                })
            })
            .collect();
        let total: u64 = racers.into_iter().map(|racer| racer.join().unwrap()).sum();
        assert_eq!(total, stored(&server, "alice"));
        assert!(total <= LIMIT && total > LIMIT / 2, "{total}");
    });
    let mut raw = server.login("alice");
    assert_eq!(used(&mut raw), stored(&server, "alice"));
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn reservations_that_come_all_at_once_are_all_counted() {
    const LIMIT: u64 = 1_000_000;
    let server = Server::start(&["--quota", "1000000"]);
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8u64 {
            let (server, start) = (&server, &start);
            scope.spawn(move || {
                let mut raw = server.login("alice");
                // In one go: nothing but the reservations stands between one upload and the next.
                let all: Vec<u8> =
                    (0..100).flat_map(|m| upload_bytes(&format!("f{n}.{m}"), &noise(n, 2_500))).collect();
                start.wait();
                raw.send(all);
                for _ in 0..100 {
                    let answer = raw.line();
                    let answer = if answer.starts_with("READY") { raw.line() } else { answer };
                    assert!(answer.starts_with("OK") || answer.starts_with("ERR over-quota"), "{answer}");
                }
            });
        }
    });
    let mut raw = server.login("alice");
    let stored = stored(&server, "alice");
    assert_eq!(used(&mut raw), stored);
    assert!(stored <= LIMIT && stored > LIMIT - 2_500, "{stored}");
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn the_reservation_of_a_killed_session_is_recovered() {
    let server = Server::start(&["--quota", "1000000"]);
    let mut dying = server.login("alice");
    dying.send("UPLOAD f size=900000\nDATA 10\n0123456789");
    dying.expect("READY");
    let arrived = || server.partials("alice").iter().any(|p| fs::metadata(p).is_ok_and(|m| m.len() == 10));
    eventually("the bytes have arrived", arrived);
    let mut raw = server.login("alice");
    raw.demand("UPLOAD g size=900000", "ERR over-quota");
    drop(raw);
    server.signal_sessions(Signal::SIGKILL);
    server.wait_idle();
    let mut raw = server.login("alice");
    let bytes = noise(1, 900_000);
    // The tree is counted again before anybody is refused, but not for each refusal.
    eventually("there is room again", || {
        std::thread::sleep(std::time::Duration::from_millis(250));
        raw.upload("g", &bytes).starts_with("OK")
    });
    assert_eq!(used(&mut raw), 900_010);
    assert_eq!(stored(&server, "alice"), 900_010);
}

#[test]
fn without_a_quota_the_account_is_counted() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("f", &noise(1, 12_345));
    raw.demand("MKDIR d", "OK");
    raw.put("d/g", &noise(1, 10));
    raw.demand("QUOTA", "OK used=12355 limit=none free=");
    drop(raw);
    server.stop();
}
