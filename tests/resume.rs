//! Resuming uploads: what an interrupted one leaves is verified, used, and never takes the place of a whole file.

mod common;

use common::raw::{field, number, pieces};
use common::tree::{noise, sha256};
use common::{Raw, Server, binary, command_of, eventually};
use nix::sys::signal::Signal;
use std::fs;
use std::time::{Duration, SystemTime};

/// Begins an upload, sends `bytes` of it, and vanishes when they have arrived.
fn leave(server: &Server, path: &str, size: usize, bytes: &[u8]) {
    let mut raw = server.login("alice");
    raw.demand(&format!("UPLOAD {path} size={size} resume"), "READY offset=0");
    raw.send("FROM 0\n");
    raw.send(pieces(bytes));
    drop(raw);
    server.wait_idle();
}

fn resume(raw: &mut Raw, path: &str, size: usize) -> String {
    raw.demand(&format!("UPLOAD {path} size={size} resume"), "READY offset=")
}

#[track_caller]
fn go_on(raw: &mut Raw, whole: &[u8], from: usize) {
    raw.send(format!("FROM {from}\n"));
    raw.send(pieces(&whole[from..]));
    raw.send(format!("END sha256={}\n", sha256(whole)));
    assert_eq!(raw.line(), format!("OK size={} sha256={}", whole.len(), sha256(whole)));
}

#[test]
fn a_cut_upload_goes_on_where_it_was_or_begins_anew() {
    let server = Server::start(&[]);
    let whole = noise(1, 500_000);
    for from_the_start in [false, true] {
        leave(&server, "f", whole.len(), &whole[..300_000]);
        assert!(!server.at("alice/f").exists());
        let mut raw = server.login("alice");
        let ready = resume(&mut raw, "f", whole.len());
        assert_eq!((number(&ready, "offset"), field(&ready, "sha256")), (300_000, &*sha256(&whole[..300_000])));
        go_on(&mut raw, &whole, if from_the_start { 0 } else { 300_000 });
        assert!(raw.get("f") == whole);
        assert!(server.partials("alice").is_empty());
        raw.demand("DELETE f", "OK");
    }
    server.stop();
}

#[test]
fn a_piece_that_was_cut_keeps_what_had_arrived() {
    let server = Server::start(&[]);
    let whole = noise(2, 100_000);
    let mut raw = server.login("alice");
    raw.send("UPLOAD f size=100000\nDATA 100000\n");
    raw.send(&whole[..12_345]);
    drop(raw);
    server.wait_idle();
    let mut raw = server.login("alice");
    assert_eq!(number(&resume(&mut raw, "f", whole.len()), "offset"), 12_345);
    go_on(&mut raw, &whole, 12_345);
    assert!(raw.get("f") == whole);
    drop(raw);
    server.stop();
}

#[test]
fn a_leftover_that_was_tampered_with_is_told_by_its_true_digest() {
    let server = Server::start(&[]);
    let whole = noise(3, 100_000);
    leave(&server, "f", whole.len(), &whole[..60_000]);
    let mut changed = whole[..60_000].to_vec();
    changed[30_000] ^= 1;
    fs::write(&server.partials("alice")[0], &changed).unwrap();
    let mut raw = server.login("alice");
    let ready = resume(&mut raw, "f", whole.len());
    assert_eq!(field(&ready, "sha256"), sha256(&changed));
    // A client that goes on regardless is stopped at the end, and nothing is published.
    raw.send([b"FROM 60000\n", &*pieces(&whole[60_000..])].concat());
    raw.send(format!("END sha256={}\n", sha256(&whole)));
    raw.expect("ERR checksum-mismatch");
    assert!(!server.at("alice/f").exists());
    resume(&mut raw, "f", whole.len());
    go_on(&mut raw, &whole, 0);
    assert!(raw.get("f") == whole);
    drop(raw);
    server.stop();
}

#[test]
fn a_leftover_that_cannot_be_of_use_is_not_offered() {
    let server = Server::start(&[]);
    let whole = noise(4, 100_000);
    leave(&server, "f", whole.len(), &whole[..60_000]);
    let mut raw = server.login("alice");
    raw.demand("UPLOAD f size=59999 resume", "READY offset=0");
    raw.send("FROM 0\nABORT aborted\n");
    raw.expect("ERR aborted");
    raw.demand("UPLOAD g size=100000 resume", "READY offset=0");
    raw.send("FROM 0\nABORT aborted\n");
    raw.expect("ERR aborted");
    // without resume it begins at nothing
    raw.put("f", &whole[..10]);
    assert_eq!(raw.get("f"), &whole[..10]);
    // of exactly the announced size: only the END is missing
    drop(raw);
    leave(&server, "h", 1000, &whole[..1000]);
    let mut raw = server.login("alice");
    assert_eq!(number(&resume(&mut raw, "h", 1000), "offset"), 1000);
    go_on(&mut raw, &whole[..1000], 1000);
    drop(raw);
    server.stop();
}

#[test]
fn what_a_living_session_writes_is_copied_and_never_written_to() {
    let server = Server::start(&[]);
    let (mut stuck, mut raw) = (server.login("alice"), server.login("alice"));
    let (a, b) = (noise(5, 200_000), [noise(5, 200_000)[..80_000].to_vec(), noise(6, 120_000)].concat());
    stuck.demand("UPLOAD f size=200000 resume", "READY offset=0");
    stuck.send([b"FROM 0\n", &*pieces(&a[..80_000])].concat());
    let arrived = || server.partials("alice").iter().any(|p| fs::metadata(p).is_ok_and(|m| m.len() == 80_000));
    eventually("the bytes have arrived", arrived);
    let ready = resume(&mut raw, "f", 200_000);
    assert_eq!((number(&ready, "offset"), field(&ready, "sha256")), (80_000, &*sha256(&b[..80_000])));
    go_on(&mut raw, &b, 80_000);
    assert!(fs::read(server.at("alice/f")).unwrap() == b);
    // The first was only slow: it ends as well, whole, and the later publish wins.
    stuck.send(pieces(&a[80_000..]));
    stuck.send(format!("END sha256={}\n", sha256(&a)));
    stuck.expect("OK size=200000");
    assert!(fs::read(server.at("alice/f")).unwrap() == a);
    assert!(server.partials("alice").is_empty(), "{:?}", server.partials("alice"));
    drop((stuck, raw));
    server.stop();
}

#[test]
fn fifty_interrupted_attempts_leave_one_leftover_and_lose_nothing() {
    let server = Server::start(&[]);
    let whole = noise(7, 51_000);
    for n in 0..50 {
        let mut raw = server.login("alice");
        let ready = resume(&mut raw, "f", whole.len());
        let offset = number(&ready, "offset") as usize;
        assert_eq!(offset, n * 1000);
        raw.send(format!("FROM {offset}\n"));
        raw.send(pieces(&whole[offset..offset + 1000]));
        match n % 3 {
            0 => raw.send("ABORT aborted\n"),
            1 => {
                let arrived = || {
                    server
                        .partials("alice")
                        .iter()
                        .any(|p| fs::metadata(p).is_ok_and(|m| m.len() == offset as u64 + 1000))
                };
                eventually("the bytes have arrived", arrived);
                server.signal_sessions(Signal::SIGKILL);
            }
            _ => {}
        }
        drop(raw);
        server.wait_idle();
        assert_eq!(server.partials("alice").len(), 1);
    }
    let mut raw = server.login("alice");
    resume(&mut raw, "f", whole.len());
    go_on(&mut raw, &whole, 50_000);
    assert!(server.partials("alice").is_empty());
    assert!(raw.get("f") == whole);
}

#[test]
fn a_retry_at_once_finds_what_the_dead_session_had() {
    let server = Server::start(&[]);
    let whole = noise(8, 400_000);
    let mut sent = 0;
    for _ in 0..20 {
        let mut raw = server.login("alice"); // the one before may still live
        let offset = number(&resume(&mut raw, "f", whole.len()), "offset") as usize;
        raw.send(format!("FROM {offset}\n"));
        let part = &whole[offset..(offset + 15_000).min(whole.len())];
        raw.send(pieces(part));
        sent += part.len();
        let arrived = || {
            server
                .partials("alice")
                .iter()
                .any(|p| fs::metadata(p).is_ok_and(|m| m.len() == (offset + part.len()) as u64))
        };
        eventually("the bytes have arrived", arrived);
    }
    let mut raw = server.login("alice");
    let offset = number(&resume(&mut raw, "f", whole.len()), "offset") as usize;
    go_on(&mut raw, &whole, offset);
    sent += whole.len() - offset;
    assert!(sent < whole.len() * 105 / 100, "{sent} bytes for {}", whole.len());
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn old_leftovers_are_swept_at_login_unless_somebody_holds_them() {
    let server = Server::start(&[]);
    leave(&server, "f", 1000, b"old");
    leave(&server, "g", 1000, b"young");
    let age = |path: &std::path::Path, days: u64| {
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        let times = fs::FileTimes::new().set_modified(then).set_accessed(then);
        fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    };
    let holds =
        |text: &str| server.partials("alice").into_iter().find(|path| fs::read(path).unwrap() == text.as_bytes());
    // Both are found before either is aged: to read one is to touch it.
    let (old, young) = (holds("old").unwrap(), holds("young").unwrap());
    age(&old, 8);
    age(&young, 6);
    let mut living = server.login("alice");
    assert!(holds("old").is_none(), "swept");
    assert!(holds("young").is_some(), "kept");
    living.send("UPLOAD h\nDATA 4\nheld");
    eventually("the bytes have arrived", || holds("held").is_some());
    age(&holds("held").unwrap(), 30);
    let raw = server.login("alice");
    assert!(holds("held").is_some(), "a session holds it");
    living.send("END\n");
    living.expect("READY");
    living.expect("OK size=4");
    drop((raw, living));
    server.stop();
}

#[test]
fn a_server_beside_it_on_the_same_storage_sweeps_nothing_that_a_session_holds() {
    let server = Server::start(&[]);
    let mut living = server.login("alice");
    living.send("UPLOAD h\nDATA 4\nheld");
    let held = || server.partials("alice").into_iter().find(|path| fs::read(path).unwrap() == b"held");
    eventually("the bytes have arrived", || held().is_some());
    let then = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    fs::File::options().write(true).open(held().unwrap()).unwrap().set_modified(then).unwrap();
    for _ in 0..2 {
        // Started, and started again.
        let command = command_of(&binary(), "022", server.home(), &[]);
        let beside = Server::spawn(command, tempfile::tempdir().unwrap(), &[]);
        let mut raw = beside.login("alice");
        raw.put("f", b"content");
        drop(raw);
        beside.stop();
        assert!(held().is_some(), "a session of the first holds it");
    }
    living.send("END\n");
    living.expect("READY");
    living.expect("OK size=4");
    assert_eq!(number(&living.ask("QUOTA"), "used"), 4 + 7);
    drop(living);
    server.stop();
}

#[test]
fn the_time_and_the_mode_are_those_of_the_last_attempt() {
    let server = Server::start(&[]);
    let whole = noise(9, 2000);
    leave(&server, "f", 2000, &whole[..1500]);
    let mut raw = server.login("alice");
    raw.demand("UPLOAD f size=2000 mtime=1500000000.000000007 resume", "READY offset=1500");
    go_on(&mut raw, &whole, 1500);
    assert_eq!(field(&raw.ask("STAT f"), "mtime"), "1500000000.000000007");
    drop(raw);
    server.stop();
}
