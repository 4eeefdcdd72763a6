//! The stream stays in step: whatever is refused, cut, split or garbled, the next request is read where it begins.

mod common;

use common::raw::{body_bytes, pieces, upload_bytes};
use common::tree::sha256;
use common::{Raw, Server, with_x, x_stands};
use std::io::Write;

#[test]
fn a_refused_upload_keeps_the_stream_in_step() {
    let (server, mut raw) = with_x();
    raw.demand("MKDIR d", "OK");
    let trap = b"DELETE x\nEND\nDELETE x\n";
    let digest = sha256(trap);
    let refused = [
        "UPLOAD ..",
        "UPLOAD d",
        "UPLOAD x new",
        "UPLOAD x size=1",
        "UPLOAD x size=-1",
        "UPLOAD no/such",
        "UPLOAD x x",
    ];
    for request in refused {
        // with a body and END, with ABORT instead, with two pieces, and with a body that never comes
        for end in [
            format!("END sha256={digest}\n"),
            "END\n".into(),
            "ABORT aborted\n".into(),
            "END sha256=zz\n".into(),
            String::new(),
        ] {
            let mut all = format!("{request}\n").into_bytes();
            all.extend(pieces(trap));
            all.extend(pieces(trap));
            all.write_all(end.as_bytes()).unwrap();
            all.extend(b"PING\n");
            raw.send(all);
            let line = raw.line();
            let line = if line == "READY offset=0" { raw.line() } else { line };
            assert!(line.starts_with("ERR "), "{request}: {line}");
            assert!(raw.line().starts_with("OK pong"), "{request} {end}");
        }
        raw.send(format!("{request}\nPING\n"));
        if raw.line() == "READY offset=0" {
            raw.expect("ERR bad-request");
        }
        raw.expect("OK pong");
    }
    x_stands(&server);
    drop(raw);
    server.stop();
}

#[test]
fn an_error_in_mid_body_is_the_only_answer() {
    let (server, mut raw) = with_x();
    // longer than announced, in the second piece, with more pieces behind it
    raw.send("UPLOAD x size=6\nDATA 5\nhelloDATA 5\nhelloDATA 5\nhelloEND\nPING\n");
    for due in ["READY offset=0", "ERR bad-request", "OK pong"] {
        raw.expect(due);
    }
    // shorter than announced
    raw.send("UPLOAD x size=6\nDATA 5\nhelloEND\nPING\n");
    for due in ["READY offset=0", "ERR bad-request", "OK pong"] {
        raw.expect(due);
    }
    // the wrong digest
    raw.send([b"UPLOAD x size=5\nDATA 5\nhello".as_slice(), &body_bytes(b"")].concat());
    raw.expect("READY offset=0");
    raw.expect("ERR checksum-mismatch");
    // a digest that is none: the body is not over
    raw.send("UPLOAD x\nDATA 5\nhelloEND sha256=12\nEND\nPING\n");
    for due in ["READY offset=0", "ERR bad-request", "OK pong"] {
        raw.expect(due);
    }
    // another request where the body should go on
    raw.send("UPLOAD x size=6\nDATA 5\nhelloPING\nDATA 5\nhelloEND\nPING\n");
    for due in ["READY offset=0", "ERR bad-request", "OK pong", "ERR bad-request", "OK pong"] {
        raw.expect(due);
    }
    // FROM that nobody asked for, and one that is wrong
    raw.send("UPLOAD x size=6\nFROM 0\nDATA 5\nhelloEND\nPING\n");
    for due in ["READY offset=0", "ERR bad-request", "OK pong"] {
        raw.expect(due);
    }
    raw.demand("UPLOAD y resume", "READY offset=0");
    raw.send("FROM 7\nDATA 5\nhelloEND\nPING\n");
    raw.expect("ERR bad-request");
    raw.expect("OK pong");
    // the client gives up
    raw.send("UPLOAD x\nDATA 5\nhelloABORT aborted the disk is gone\nPING\n");
    for due in ["READY offset=0", "ERR aborted", "OK pong"] {
        raw.expect(due);
    }
    x_stands(&server);
    drop(raw);
    server.stop();
}

#[test]
fn a_peer_that_vanishes_at_any_byte_of_an_upload_changes_nothing() {
    let (server, raw) = with_x();
    drop(raw);
    let login = b"LOGIN alice secret\n".to_vec();
    let all = [login, upload_bytes("x", b"hello, not to be seen")].concat();
    for cut in 0..all.len() {
        let mut raw = server.client();
        raw.send(&all[..cut]);
        if cut % 2 == 0 { drop(raw) } else { raw.reset() }
    }
    server.wait_idle();
    x_stands(&server);
    // Two that end in the same instant each see the other's as held: the next attempt takes them away.
    let mut raw = server.client();
    raw.send(&all[..all.len() - 10]); // all of it but the end of END: as much as any before it had
    drop(raw);
    server.wait_idle();
    assert!(server.partials("alice").len() <= 1, "{:?}", server.partials("alice"));
    let mut raw = server.client();
    raw.send(&all);
    raw.expect("OK welcome");
    raw.expect("READY");
    raw.expect("OK size=21");
    assert_eq!(server.partials("alice"), Vec::<std::path::PathBuf>::new());
    drop(raw);
    server.wait_idle();
    server.stop();
}

/// Requests, and how many lines answer each.
fn exchange() -> Vec<(Vec<u8>, usize)> {
    vec![
        (b"HELP PING\n".to_vec(), 2),
        (b"LOGIN alice secret\r\n".to_vec(), 1),
        (b"UPLOAD one size=5\n".to_vec(), 1),
        (b"DATA 3\nhelDATA 2\nloEND\n".to_vec(), 1),
        (b"upload ../x\nDATA 5\nhelloEND\n".to_vec(), 1),
        (b"DOWNLOAD one\n".to_vec(), 3),
        (b"RENAME one t%77o replace\n".to_vec(), 1),
        (b"LIST\n".to_vec(), 2),
        (b"DELETE two\n".to_vec(), 1),
        (b"LOGOUT\n".to_vec(), 1),
    ]
}

/// What a client sees, with the times taken out.
fn heard(raw: &mut Raw, lines: usize) -> Vec<String> {
    let mut heard = Vec::new();
    for _ in 0..lines {
        let mut line = raw.line();
        if let Some(count) = line.strip_prefix("DATA ") {
            raw.read_exact(count.parse().unwrap());
        }
        if line.starts_with("ENTRY ") || line.starts_with("READY ") {
            line = line.split(' ').filter(|word| !word.contains('.')).collect::<Vec<_>>().join(" ");
        }
        heard.push(line);
    }
    heard
}

#[test]
fn requests_split_at_any_byte_or_sent_in_one_packet_get_the_same_answers() {
    let server = Server::start(&[]);
    let all: Vec<u8> = exchange().into_iter().flat_map(|(bytes, _)| bytes).collect();
    let lines = exchange().iter().map(|(_, n)| n).sum();
    let mut raw = server.client();
    raw.send(&all);
    let due = heard(&mut raw, lines);
    raw.closed();
    assert_eq!(due.last().unwrap(), "OK bye");
    for cut in 1..all.len() {
        let mut raw = server.client();
        raw.send(&all[..cut]);
        // What is whole so far is answered: then the rest comes in another packet for certain.
        let (mut whole, mut answered) = (0, 0);
        for (bytes, n) in exchange() {
            whole += bytes.len();
            answered += if whole <= cut { n } else { 0 };
        }
        let mut got = heard(&mut raw, answered);
        raw.send(&all[cut..]);
        got.extend(heard(&mut raw, lines - answered));
        raw.closed();
        assert_eq!(got, due, "split at {cut}");
    }
    let mut raw = server.client();
    all.chunks(1).for_each(|byte| raw.send(byte));
    assert_eq!(heard(&mut raw, lines), due, "byte by byte");
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn any_byte_at_any_place_of_a_request_is_survived() {
    let (server, mut raw) = with_x();
    raw.demand("MKDIR keep", "OK");
    raw.put("keep/x", b"content of x");
    for request in ["DELETE keep", "STAT x", "LIST", "DATA 1", "UPLOAD x/y"] {
        for at in 0..request.len() {
            for byte in 0..=255u8 {
                let mut line = request.as_bytes().to_vec();
                line[at] = byte;
                // Nine bytes for a DATA that might have been asked for, the end of its body, and a mark in the answers.
                raw.try_send([&line[..], b"\n\n\n\n\n\n\n\n\n\nEND\nHELP PING\n"].concat());
                loop {
                    match raw.try_line() {
                        Some(line) if line.starts_with("INFO PING") => break assert!(raw.line().starts_with("OK")),
                        Some(_) => {}
                        None => break raw = server.login("alice"), // a malformed DATA closes
                    }
                }
            }
        }
    }
    x_stands(&server);
    assert_eq!(std::fs::read(server.at("alice/keep/x")).unwrap(), b"content of x");
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn any_byte_at_any_place_before_login_is_survived() {
    let server = Server::start(&[]);
    for request in ["STAT x", "LOGIN a b"] {
        for at in 0..request.len() {
            for byte in 0..=255u8 {
                let mut line = request.as_bytes().to_vec();
                line[at] = byte;
                let mut raw = server.client();
                raw.send([&line[..], b"\n"].concat());
                raw.finish_sending();
                let lines = raw.rest();
                assert!(lines.iter().all(|line| line.starts_with("ERR ")), "{line:?}: {lines:?}");
            }
        }
    }
    server.wait_idle();
    server.stop();
}

#[test]
fn what_a_failed_body_leaves_and_how_long_its_answer_is() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    // A reason as long as a line is not repeated beyond the limit of lines, and none is no gap.
    raw.send(format!("UPLOAD a size=1\nABORT x {}\n", "t".repeat(32_000)));
    raw.expect("READY");
    assert!(raw.line().len() < 500);
    raw.send("UPLOAD a size=1\nABORT\n");
    raw.expect("READY");
    assert_eq!(raw.line(), "ERR aborted given up by the client");
    // A refused resume swallows what was meant for it, in whatever shape.
    raw.send("UPLOAD .. size=1 resume\nFROM x\nDATA 1\nxEND\nPING\n");
    raw.expect("ERR bad-path");
    raw.expect("OK pong");
    // Only what broke off is kept; what was wrong is not.
    for wrong in ["bogus line\n", "PING\n", "END junk\n", "END\n"] {
        raw.send(format!("UPLOAD k size=9\nDATA 3\nabc{wrong}"));
        raw.expect("READY");
        raw.expect("ERR bad-request");
        if wrong == "PING\n" {
            raw.expect("OK pong");
        }
        raw.demand("UPLOAD k resume", "READY offset=0");
        raw.send("FROM 0\nABORT\n");
        raw.expect("ERR aborted");
    }
    drop(raw);
    server.stop();
}
