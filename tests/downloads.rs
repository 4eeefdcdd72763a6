//! Downloads: the content that was asked for, proved by its digest, or an ABORT that says how far it can be trusted.

mod common;

use common::raw::{field, number};
use common::tree::{noise, sha256};
use common::{Raw, Server, eventually};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;

/// More than the sockets of both ends hold: a client that does not read stops the server in mid-file.
const BIG: usize = 40 << 20;

fn with_big() -> (Server, Raw, Vec<u8>) {
    let server = Server::start(&[]);
    let raw = server.login("alice");
    let bytes = noise(1, BIG);
    (server, raw, bytes)
}

#[test]
fn parts_are_what_was_asked_for_with_the_digest_of_the_whole() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let bytes = noise(1, 2_500_000);
    raw.put("f", &bytes);
    fs::write(server.at("alice/g"), &bytes).unwrap(); // its digest is not known yet
    for (offset, length) in
        [(0, 0), (0, 1), (1, 1), (1_048_575, 2), (2_499_999, 1), (2_500_000, 5), (100, 2_000_000), (5, u64::MAX >> 1)]
    {
        for name in ["f", "g"] {
            let body = raw.fetch(&format!("DOWNLOAD {name} offset={offset} length={length}")).unwrap();
            let end = (offset + length).min(2_500_000) as usize;
            assert!(body.bytes == bytes[offset as usize..end], "{name} {offset} {length}");
            assert_eq!(number(&body.ready, "size"), 2_500_000);
            assert_eq!(
                (number(&body.ready, "offset"), number(&body.ready, "length")),
                (offset, body.bytes.len() as u64)
            );
            assert_eq!(field(&body.end, "sha256"), sha256(&bytes));
        }
    }
    raw.demand("DOWNLOAD f offset=2500001", "ERR bad-request");
    raw.demand("DOWNLOAD f offset=2500001 length=0", "ERR bad-request");
    drop(raw);
    server.stop();
}

#[test]
fn in_plain_text_the_answer_names_the_file_that_was_asked_for() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("a%20b", b"content");
    assert_eq!(field(&raw.fetch("DOWNLOAD a%20b").unwrap().ready, "path"), "a%20b");
    drop(raw);
    server.stop();
}

#[test]
fn if_compares_the_digest_before_anything_is_sent() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("f", b"hello\n");
    fs::write(server.at("alice/g"), "hello\n").unwrap();
    let (right, wrong) = (sha256(b"hello\n"), sha256(b"HELLO\n"));
    for name in ["f", "g"] {
        raw.demand(&format!("DOWNLOAD {name} if={wrong}"), "ERR changed");
        raw.demand(&format!("DOWNLOAD {name} offset=3 if={wrong}"), "ERR changed");
        assert_eq!(raw.fetch(&format!("DOWNLOAD {name} offset=3 if={right}")).unwrap().bytes, b"lo\n");
        assert_eq!(raw.fetch(&format!("DOWNLOAD {name} if={} fresh", right.to_uppercase())).unwrap().bytes, b"hello\n");
    }
    drop(raw);
    server.stop();
}

#[test]
fn many_downloads_in_one_go_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let sizes = [0usize, 1, 70_000, 300_000, 5];
    for (n, size) in sizes.iter().enumerate() {
        raw.put(&format!("f{n}"), &noise(n as u64, *size));
    }
    raw.send((0..50).map(|n| format!("DOWNLOAD f{}\n", n % 5)).collect::<String>());
    for n in 0..50 {
        let ready = raw.expect("READY");
        let body = raw.body(ready);
        assert!(body.bytes == noise(n % 5, sizes[n as usize % 5]), "{n}");
    }
    drop(raw);
    server.stop();
}

#[test]
fn a_file_replaced_while_it_is_sent_keeps_its_old_content() {
    let (server, mut raw, bytes) = with_big();
    raw.put("f", &bytes);
    let ready = raw.demand("DOWNLOAD f", "READY");
    let mut other = server.login("alice");
    other.put("f", b"new");
    assert_eq!(other.get("f"), b"new");
    other.demand("DELETE f", "OK");
    let body = raw.body(ready);
    assert!(body.bytes == bytes);
    assert_eq!(body.end, format!("END sha256={}", sha256(&bytes)));
    drop((raw, other));
    server.stop();
}

#[test]
fn a_file_cut_while_it_is_sent_ends_in_an_abort_and_not_in_invented_bytes() {
    for known in [true, false] {
        let (server, mut raw, bytes) = with_big();
        let length = 30 << 20;
        if known {
            raw.put("f", &bytes);
        } else {
            fs::write(server.at("alice/f"), &bytes).unwrap();
        }
        let ready = raw.demand("DOWNLOAD f", "READY");
        assert_eq!(ready.contains("sha256="), known, "{ready}");
        fs::File::options().write(true).open(server.at("alice/f")).unwrap().set_len(length).unwrap();
        let body = raw.body(ready);
        assert!(body.end.starts_with("ABORT changed good="), "{}", body.end);
        let good = body.bytes.len() - body.last + number(&body.end, "good") as usize;
        assert!(good <= length as usize, "{good}");
        assert!(body.bytes[..good] == bytes[..good], "known: {known}");
        raw.demand("PING", "OK pong");
        drop(raw);
        server.stop();
    }
}

#[test]
fn a_file_that_grows_or_is_written_to_while_it_is_sent_is_not_passed_off_as_whole() {
    for known in [true, false] {
        let (server, mut raw, bytes) = with_big();
        raw.put("f", &bytes);
        if !known {
            fs::write(server.at("alice/f"), &bytes).unwrap();
        }
        let ready = raw.demand("DOWNLOAD f", "READY");
        fs::File::options().append(true).open(server.at("alice/f")).unwrap().write_all(b"more").unwrap();
        let body = raw.body(ready);
        assert!(body.end.starts_with("ABORT changed good="), "{}", body.end);
        assert!(body.bytes == bytes, "what was there when it was opened");
        let again = raw.get("f");
        assert!(again.ends_with(b"more") && again.len() == BIG + 4);
        drop(raw);
        server.stop();
    }
}

#[test]
fn view_shows_the_beginning_or_the_part_that_was_asked_for() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let bytes = noise(1, 100_000);
    raw.put("f", &bytes);
    raw.put("small", b"hello\n");
    raw.put("empty", b"");
    let cases = [
        ("VIEW f", 0, 1024),
        ("PREVIEW f", 0, 1024),
        ("VIEW f length=0", 0, 0),
        ("VIEW f length=65536", 0, 65_536),
        ("VIEW f offset=99999", 99_999, 1),
        ("VIEW f offset=100000", 100_000, 0),
        ("VIEW f offset=70000 length=50000", 70_000, 30_000),
    ];
    for (request, offset, length) in cases {
        let body = raw.fetch(request).unwrap();
        assert_eq!(body.ready, format!("READY size=100000 offset={offset} length={length}"), "{request}");
        assert!(body.bytes == bytes[offset..offset + length], "{request}");
        assert_eq!(body.end, "END", "{request}");
    }
    assert_eq!(raw.fetch("VIEW small").unwrap().bytes, b"hello\n");
    assert_eq!(raw.fetch("VIEW empty").unwrap().bytes, b"");
    raw.demand("VIEW f length=65537", "ERR too-large");
    raw.demand("VIEW f offset=100001", "ERR bad-request");
    drop(raw);
    server.stop();
}

#[test]
fn a_file_of_no_bytes_has_the_digest_of_nothing() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("known", b"");
    fs::write(server.at("alice/unknown"), "").unwrap();
    for name in ["known", "unknown"] {
        assert_eq!(raw.get(name), b"");
        raw.demand(&format!("DIGEST {name}"), &format!("OK size=0 sha256={}", sha256(b"")));
    }
    drop(raw);
    server.stop();
}

#[test]
fn pipes_sockets_and_devices_are_refused_without_waiting() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    nix::unistd::mkfifo(&server.at("alice/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(server.at("alice/socket")).unwrap();
    common::give(&server.at("alice"));
    for name in ["pipe", "socket"] {
        for verb in ["DOWNLOAD", "VIEW", "DIGEST"] {
            raw.demand(&format!("{verb} {name}"), "ERR bad-path");
        }
        assert!(raw.upload(name, b"x").starts_with("ERR bad-path"));
        raw.demand(&format!("STAT {name}"), "OK type=other");
        raw.demand(&format!("RMDIR {name}"), "ERR not-directory");
        raw.demand(&format!("LIST {name}"), "ERR not-directory");
    }
    let (rows, _) = raw.list(".");
    assert!(rows.len() == 2 && rows.iter().all(|row| row.starts_with("other ")), "{rows:?}");
    raw.demand("RENAME pipe moved", "OK");
    raw.demand("DELETE moved", "OK");
    raw.demand("DELETE socket", "OK");
    drop(raw);
    server.stop();
}

#[test]
fn a_client_that_reads_nothing_holds_up_only_itself_and_may_vanish() {
    let (server, mut raw, bytes) = with_big();
    raw.put("f", &bytes);
    raw.send("DOWNLOAD f\nDOWNLOAD f\nLIST\n");
    server.login("alice").demand("PING", "OK pong");
    raw.reset();
    eventually("the session ends", || server.sessions().is_empty());
    server.stop();
}
