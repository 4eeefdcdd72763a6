//! Requests sent one behind the other without waiting: each does what it would do alone, and is answered in its turn.

mod common;

use common::raw::{Raw, body_bytes, field, number, pieces, upload_bytes};
use common::tree::{noise, sha256};
use common::{PATIENCE, Server};
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Sends all at once, then expects the answers in their order.
fn burst(raw: &mut Raw, requests: &[&[u8]], answers: &[&str]) {
    raw.send(requests.concat());
    for answer in answers {
        raw.expect(answer);
    }
}

#[test]
fn a_path_leads_where_it_leads_now_and_not_where_it_led() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    burst(&mut raw, &[b"MKDIR a\n"], &["OK"]);
    let requests: [&[u8]; 4] =
        [b"MKDIR a/x\nMKDIR a/x\n", b"RENAME a b\n", &upload_bytes("a/f", b"lost?"), b"MKDIR a/y\n"];
    burst(&mut raw, &requests, &["OK", "ERR exists", "OK", "ERR not-found", "ERR not-found"]);
    raw.put("b/f", b"older");
    // The same where a body has been broken off, and where the directory is another one now.
    raw.send([b"UPLOAD b/g size=9\n", &*pieces(b"half"), b"ABORT aborted\n"].concat());
    raw.expect("READY");
    raw.expect("ERR aborted");
    let mut other = server.login("alice");
    other.demand("RENAME b c", "OK");
    other.demand("MKDIR b", "OK");
    raw.put("b/f", b"newer");
    assert_eq!(fs::read(server.at("alice/c/f")).unwrap(), b"older");
    assert_eq!(fs::read(server.at("alice/b/f")).unwrap(), b"newer");
    raw.demand("DELETE b/f", "OK");
    raw.demand("RMDIR b", "OK");
    let upload = upload_bytes("b/f", b"again");
    burst(&mut raw, &[b"MKDIR b\n", &upload, b"RENAME b d\n", &upload], &["OK", "READY", "OK", "OK", "ERR not-found"]);
    assert_eq!(fs::read(server.at("alice/d/f")).unwrap(), b"again");
    drop((raw, other));
    server.stop();
}

#[test]
fn a_path_that_a_refused_request_looked_up_is_looked_up_again() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    burst(&mut raw, &[b"MKDIR a\n", b"MKDIR a/x\n"], &["OK", "OK"]);
    // Nothing is on its way to the disk here, with which it would be forgotten.
    let requests: [&[u8]; 4] = [b"MKDIR a/x\n", b"RENAME a b\n", &upload_bytes("a/f", b"lost?"), b"MKDIR a/y\n"];
    burst(&mut raw, &requests, &["ERR exists", "OK", "ERR not-found", "ERR not-found"]);
    drop(raw);
    server.stop();
}

#[test]
fn where_another_session_puts_another_directory_uploads_find_it() {
    let server = Server::start(&[]);
    let (mut raw, mut other) = (server.login("alice"), server.login("alice"));
    raw.demand("MKDIR a", "OK");
    // While a body is waited for: it stays with the directory that it began in, the next is looked up.
    raw.send("UPLOAD a/f size=1\n");
    raw.expect("READY");
    burst(&mut other, &[b"RENAME a b\n", b"MKDIR a\n"], &["OK", "OK"]);
    burst(&mut raw, &[&body_bytes(b"f"), &upload_bytes("a/g", b"g")], &["OK", "READY", "OK"]);
    assert!(server.at("alice/b/f").exists() && server.at("alice/a/g").exists());
    // And while uploads come without a pause.
    let uploads = (0..1000).map(|n| upload_bytes(&format!("a/{n}"), b"x")).collect::<Vec<_>>().concat();
    let mut socket = raw.socket().try_clone().unwrap();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Relaxed) {
                socket.write_all(&uploads).unwrap_or_else(|_| enough.store(true, Relaxed));
            }
        });
        (0..200).for_each(|_| drop(raw.line()));
        burst(&mut other, &[b"RENAME a c\n", b"MKDIR a\n"], &["OK", "OK"]);
        let deadline = Instant::now() + PATIENCE;
        while fs::read_dir(server.at("alice/a")).unwrap().next().is_none() {
            if Instant::now() > deadline {
                break;
            }
            raw.line();
        }
        enough.store(true, Relaxed);
        raw.socket().shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert!(fs::read_dir(server.at("alice/a")).unwrap().next().is_some(), "all went to where the name once led");
    drop((raw, other));
    server.stop();
}

#[test]
fn the_later_of_two_uploads_to_one_path_wins_and_what_was_broken_off_behind_a_whole_one_stays() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let (one, two) = (upload_bytes("f", b"one"), upload_bytes("f", b"two"));
    burst(
        &mut raw,
        &[&one, &two, b"DIGEST f\n"],
        &["READY", "OK", "READY", "OK", &format!("OK size=3 sha256={}", sha256(b"two"))],
    );
    let whole = noise(1, 5000);
    let half = [b"UPLOAD f size=5000\n", &*pieces(&whole[..2000]), b"ABORT aborted\n"].concat();
    burst(&mut raw, &[&one, &half], &["READY", "OK", "READY", "ERR aborted"]);
    raw.send("UPLOAD f size=5000 resume\n");
    let ready = raw.expect("READY");
    assert_eq!(number(&ready, "offset"), 2000, "{ready}");
    let end = format!("END sha256={}\n", sha256(&whole));
    raw.send([b"FROM 2000\n", &*pieces(&whole[2000..]), end.as_bytes()].concat());
    raw.expect("OK");
    assert!(fs::read(server.at("alice/f")).unwrap() == whole);
    let new = |bytes: &[u8]| [format!("UPLOAD g size={} new\n", bytes.len()).into_bytes(), body_bytes(bytes)].concat();
    burst(&mut raw, &[&new(b"first"), &new(b"second")], &["READY", "OK", "READY", "ERR exists"]);
    assert_eq!(fs::read(server.at("alice/g")).unwrap(), b"first");
    drop(raw);
    server.stop();
}

#[test]
fn what_an_upload_on_its_way_will_set_free_is_there_for_the_next() {
    let server = Server::start(&["--quota", "100"]);
    let mut raw = server.login("alice");
    raw.put("f", &[b'a'; 40]);
    let (again, other) = (upload_bytes("f", &[b'b'; 40]), upload_bytes("g", &[b'c'; 60]));
    burst(&mut raw, &[&again, &again, &other], &["READY", "OK", "READY", "OK", "READY", "OK"]);
    raw.demand("DELETE g", "OK");
    let unsized_ = [b"UPLOAD g\n", &*body_bytes(&[b'd'; 50])].concat();
    burst(&mut raw, &[&again, &unsized_], &["READY", "OK", "READY", "OK"]);
    assert_eq!(number(&raw.demand("QUOTA", "OK"), "used"), 90);
    drop(raw);
    server.stop();
}

#[test]
fn a_small_upload_is_answered_while_the_long_one_behind_it_still_comes_in() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    // Pieces that are much work for their size: the socket stays full, and the session never pauses for more to come.
    let bytes = b"DATA 1\nx".repeat(1 << 17);
    let announced: u64 = 4 << 30; // more than is ever sent
    raw.send([upload_bytes("small", b"small"), format!("UPLOAD big size={announced}\n").into_bytes()].concat());
    let mut socket = raw.socket().try_clone().unwrap();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender =
            scope.spawn(|| (0..512).take_while(|_| !enough.load(Relaxed)).try_for_each(|_| socket.write_all(&bytes)));
        raw.expect("READY");
        assert_eq!(field(&raw.expect("OK"), "size"), "5");
        enough.store(true, Relaxed);
        assert!(!sender.is_finished(), "only when the long one paused");
        sender.join().unwrap().unwrap();
    });
    raw.send("ABORT aborted\n");
    raw.expect("READY");
    raw.expect("ERR aborted");
    drop(raw);
    server.stop();
}
