//! What bad input gets: a clear ERR and a session that goes on, or an ERR and a closed connection; never a panic, never a
//! changed file, never a reply that lies.

mod common;

use common::raw::{body_bytes, pieces, upload_bytes};
use common::tree::sha256;
use common::{Raw, Server};
use std::io::Write;

/// A server and a client of it that has a file `x`.
fn with_x() -> (Server, Raw) {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("x", b"content of x");
    (server, raw)
}

fn x_stands(server: &Server) {
    assert_eq!(std::fs::read(server.at("alice/x")).unwrap(), b"content of x");
}

#[test]
fn a_line_over_the_limit_closes_and_nothing_after_it_is_run() {
    let (server, mut raw) = with_x();
    let longest = format!("STAT {}", "a".repeat(32_768 - 6));
    raw.demand(&longest, "ERR name-too-long");
    raw.try_send(format!("STAT {}\nDELETE x\n", "a".repeat(32_768 - 5)));
    raw.expect("ERR bad-request the line is longer");
    raw.closed();
    // The same before login, and without an end.
    let mut raw = server.client();
    raw.try_send(format!("LOGIN alice {}\nLOGIN alice secret\nDELETE x\n", "a".repeat(40_000)));
    raw.expect("ERR bad-request");
    raw.closed();
    let mut raw = server.login("alice");
    raw.try_send("a".repeat(32_768));
    raw.expect("ERR bad-request");
    raw.closed();
    x_stands(&server);
    drop(raw);
    server.stop();
}

#[test]
fn control_bytes_and_broken_text_close_before_login_and_are_refused_after_it() {
    let (server, mut raw) = with_x();
    let rubbish: [&[u8]; 8] = [
        b"\0",
        b"DELETE x\0",
        b"DELETE\tx",
        b"DELETE x\x1b",
        b"DEL\rETE x",
        b"DELETE x\x7f",
        b"DELETE \xff",
        b"\xc3\x28",
    ];
    for line in rubbish {
        let answer = raw.ask(line);
        assert!(answer.starts_with("ERR bad-request"), "{line:?}: {answer}");
        raw.demand("PING", "OK pong");
        let mut stranger = server.client();
        stranger.send([line, b"\nLOGIN alice secret\nDELETE x\n"].concat());
        stranger.expect("ERR bad-request");
        stranger.closed();
    }
    raw.demand("PING\r", "OK pong");
    raw.demand("%00", "ERR bad-request");
    x_stands(&server);
    drop(raw);
    server.stop();
}

#[test]
fn paths_that_break_a_rule_are_refused_by_every_verb() {
    let (server, mut raw) = with_x();
    raw.demand("MKDIR d", "OK");
    let before = common::tree::snapshot(&server.storage());
    let name = "n".repeat(256);
    let over = format!("{}/aa", vec!["n".repeat(255); 16].join("/"));
    let bad = [
        "%", "x%", "x%2", "x%zz", "%00", "x%00", "%2F", "d%2Fx", "/", "/x", "//x", "d//x", "d/", "./x", "d/.", "d/./x",
    ];
    let worse =
        ["..", "../bob", "d/..", "d/../x", "%2e%2e/bob", "%2e", ".dfos", "d/.dfos", ".dfos/uploads", "d/.dfos/x"];
    for path in bad.iter().chain(&worse) {
        refused(&mut raw, path, "ERR bad-path");
    }
    for path in [&name, &over] {
        refused(&mut raw, path, "ERR name-too-long");
    }
    raw.demand(&format!("STAT {}", "%6e".repeat(256)), "ERR name-too-long");
    raw.demand(&format!("STAT {}", "%6e".repeat(255)), "ERR not-found");
    assert_eq!(common::tree::snapshot(&server.storage()), before);
    drop(raw);
    server.stop();
}

/// Every verb refuses `path` so, and the session goes on.
#[track_caller]
fn refused(raw: &mut Raw, path: &str, answer: &str) {
    for request in requests(path) {
        raw.demand(&request, answer);
    }
    raw.send(upload_bytes(path, b"never to be seen"));
    raw.expect(answer);
    raw.demand("PING", "OK pong");
}

/// Every request that takes a path, with `path` at each place where one stands.
fn requests(path: &str) -> Vec<String> {
    let verbs = [
        "LIST {}",
        "LIST {} recursive",
        "STAT {}",
        "UPLOAD {}",
        "UPLOAD {} resume",
        "UPLOAD {} new",
        "DOWNLOAD {}",
        "VIEW {}",
        "DELETE {}",
        "RENAME {} y",
        "RENAME x {}",
        "RENAME x {} replace",
        "MKDIR {}",
        "MKDIR {} parents",
        "RMDIR {}",
        "RMDIR {} recursive",
        "SUBFOLDER DELETE {}",
        "DIGEST {}",
    ];
    verbs.iter().map(|verb| verb.replace("{}", path)).collect()
}

#[test]
fn names_and_paths_of_the_greatest_length_work() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let name = "n".repeat(255);
    raw.put(&name, b"1");
    raw.demand(&format!("RENAME {name} {}", "%01".repeat(255)), "OK");
    let deep = vec!["d".repeat(255); 15].join("/"); // 3,839 bytes
    raw.demand(&format!("MKDIR {deep} parents"), "OK");
    let longest = format!("{deep}/{}", "f".repeat(255)); // 4,095
    raw.put(&longest, b"deep down");
    assert_eq!(raw.get(&longest), b"deep down");
    raw.demand(&format!("STAT {longest}"), "OK type=file size=9");
    raw.demand(&format!("MKDIR {longest}x"), "ERR name-too-long");
    let other = format!("{deep}/{}/x", "f".repeat(253)); // 4,095 again, one component more
    raw.demand(&format!("MKDIR {deep}/{}", "f".repeat(253)), "OK");
    raw.put(&other, b"");
    raw.demand(&format!("STAT {other}y"), "ERR name-too-long");
    raw.demand(&format!("RMDIR {} recursive", "d".repeat(255)), "OK removed=18");
    drop(raw);
    server.stop();
}

#[test]
fn numbers_that_are_none_or_too_large_change_nothing() {
    let (server, mut raw) = with_x();
    let before = common::tree::snapshot(&server.storage());
    let malformed = ["-1", "+5", "0x10", "", "05", "1e3", "5.0", "٣", "five"];
    let large = ["9223372036854775808", "18446744073709551616", "99999999999999999999999999"];
    let fits = ["2147483647", "2147483648", "4294967296", "9223372036854775807"];
    for n in malformed {
        raw.demand(&format!("DOWNLOAD x offset={n}"), "ERR bad-request");
        raw.demand(&format!("DOWNLOAD x length={n}"), "ERR bad-request");
        raw.demand(&format!("VIEW x length={n}"), "ERR bad-request");
        raw.demand(&format!("UPLOAD x size={n}"), "ERR bad-request");
    }
    for n in large {
        raw.demand(&format!("UPLOAD x size={n}"), "ERR too-large");
        raw.demand(&format!("DOWNLOAD x offset={n}"), "ERR too-large");
    }
    for n in fits {
        raw.demand(&format!("DOWNLOAD x offset={n}"), "ERR bad-request");
        let body = raw.fetch(&format!("DOWNLOAD x length={n}")).unwrap();
        assert_eq!(body.bytes, b"content of x");
        raw.demand(&format!("VIEW x length={n}"), "ERR too-large");
        raw.demand(&format!("VIEW x offset={n}"), "ERR bad-request");
    }
    raw.demand("UPLOAD x size=9223372036854775807", "ERR no-space");
    for digest in ["", "0", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"a".repeat(20_000)] {
        raw.demand(&format!("DOWNLOAD x if={digest}"), "ERR bad-request");
    }
    for time in ["x", "1.5", "1.0000000001", "--1", "1.-00000001", "99999999999999999999"] {
        raw.demand(&format!("UPLOAD x mtime={time}"), "ERR bad-request");
    }
    assert_eq!(common::tree::snapshot(&server.storage()), before);
    drop(raw);
    server.stop();
}

#[test]
fn a_size_that_no_body_reaches_changes_nothing() {
    let (server, mut raw) = with_x();
    for size in ["2147483648", "4294967296"] {
        raw.send(format!("UPLOAD x size={size}\n"));
        raw.expect("READY offset=0");
        raw.send("DATA 5\nhelloEND\n");
        raw.expect("ERR bad-request");
    }
    x_stands(&server);
    drop(raw);
    server.stop();
}

#[test]
fn data_lines_that_are_malformed_close_the_connection() {
    let (server, raw) = with_x();
    drop(raw);
    for count in ["", "0", "-1", "+5", "0x10", "05", "1048577", "2147483648", "9223372036854775808", "5 5", "five"] {
        for before in ["", "UPLOAD x\n", "UPLOAD ..\n"] {
            let mut raw = server.login("alice");
            raw.send(format!("{before}DATA {count}\nhello\nDELETE x\n"));
            let lines = raw.rest();
            assert!(lines.last().unwrap().starts_with("ERR bad-request DATA takes"), "DATA {count}: {lines:?}");
            assert!(!lines.iter().any(|line| line.starts_with("OK")), "DATA {count}: {lines:?}");
        }
    }
    x_stands(&server);
    server.wait_idle();
    server.stop();
}

#[test]
fn before_login_every_verb_is_denied_and_a_body_closes() {
    let (server, raw) = with_x();
    drop(raw);
    let mut raw = server.client();
    let lines = requests("x");
    for request in lines.iter().map(String::as_str).chain(["QUOTA", "LIST", "DIR"]) {
        if let Some(line) = raw.try_answer(request) {
            assert!(line.starts_with("ERR denied"), "{request}: {line}");
        } else {
            raw = server.client(); // ten errors are the limit
            raw.demand(request, "ERR denied");
        }
    }
    for words in ["OK", "OK welcome alice", "READY offset=0", "WAIT", "CHALLENGE YQ==", "ENTRY file 1 1 x", ""] {
        server.client().demand(words, "ERR bad-request");
    }
    for body in ["DATA 5\nhello", "DATA 0\n", "END\n", "ABORT aborted\n", "FROM 0\n"] {
        let mut raw = server.client();
        raw.send(format!("{body}LOGIN alice secret\nDELETE x\n"));
        raw.expect("ERR bad-request");
        raw.closed();
    }
    x_stands(&server);
    drop(raw);
    server.stop();
}

trait TryAnswer {
    fn try_answer(&mut self, request: &str) -> Option<String>;
}

impl TryAnswer for Raw {
    /// The answer, unless the connection is over.
    fn try_answer(&mut self, request: &str) -> Option<String> {
        self.try_send(format!("{request}\n"));
        self.try_line().filter(|line| !line.contains("too many requests"))
    }
}

#[test]
fn http_is_closed_at_once_and_nothing_smuggled_runs() {
    let (server, raw) = with_x();
    drop(raw);
    let smuggled = "\r\n\r\nLOGIN alice secret\r\nDELETE x\r\nLOGOUT\r\n";
    for line in ["GET / HTTP/1.1", "POST /x HTTP/1.1", "Host: a", "PRI * HTTP/2.0", "PUT x", "\x16\x03\x01\x02"] {
        let mut raw = server.client();
        raw.send(format!("{line}{smuggled}"));
        let lines = raw.rest();
        assert_eq!(lines.len(), 1, "{line}: {lines:?}");
        assert!(lines[0].starts_with("ERR bad-request"), "{line}: {lines:?}");
    }
    x_stands(&server);
    server.wait_idle();
    server.stop();
}

#[test]
fn requests_that_are_none_get_an_error_and_the_session_goes_on() {
    let (server, mut raw) = with_x();
    let lines = [
        "",
        " ",
        "FROBNICATE",
        "DELETE",
        "DELETE x y",
        "DELETE  x",
        " DELETE x",
        "DELETE x ",
        "DELETEx",
        "STAT x y",
        "LOGIN",
        "RENAME x",
        "RENAME x y z",
        "RENAME x y replace replace",
        "LIST . recursive recursive",
        "UPLOAD x size=1 size=1",
        "UPLOAD x =5",
        "QUOTA now",
        "AUTH",
        "SUBFOLDER",
        "SUBFOLDER RENAME x y",
        "LOGIN alice secret",
        "%n%s%n",
        "~{",
        "DELETE x; LIST",
        "{x}",
        "$(x)",
    ];
    for line in lines {
        raw.demand(line, "ERR bad-request");
    }
    raw.demand("stat x colour=blue", "OK type=file");
    for end in ["END", "END sha256=zz", "ABORT aborted", "FROM 0", "FROM x", "END twice"] {
        raw.demand(end, "ERR bad-request");
    }
    raw.send("DATA 9\nDELETE x\nEND\nPING\n");
    raw.expect("ERR bad-request no upload is open");
    raw.expect("OK pong");
    x_stands(&server);
    drop(raw);
    server.stop();
}

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
            assert_eq!(raw.line(), "OK pong", "{request} {end}");
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
fn the_reserved_name_is_never_listed_and_never_reached() {
    let (server, mut raw) = with_x();
    raw.demand("MKDIR d", "OK");
    std::fs::create_dir_all(server.at("alice/d/.dfos/uploads")).unwrap();
    std::fs::write(server.at("alice/d/.dfos/secret"), "x").unwrap();
    assert!(server.at("alice/.dfos").exists(), "an upload has made it");
    assert_eq!(raw.names(""), ["d", "x"]);
    assert_eq!(raw.names(". recursive"), ["d", "x"]);
    assert_eq!(raw.names("d recursive"), [""; 0]);
    assert_eq!(raw.list(". recursive").1, "OK entries=2 skipped=0", "not even as something left out");
    for path in [".dfos", "d/.dfos", "d/.dfos/secret", ".dfos/usage", "%2Edfos", "d/%2e%64fos"] {
        refused(&mut raw, path, "ERR bad-path");
    }
    raw.put(".dfosx", b"another name");
    raw.put(".DFOS", b"and another");
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
    assert!(server.partials("alice").len() <= 1, "{:?}", server.partials("alice"));
    let mut raw = server.client();
    raw.send(&all);
    raw.expect("OK welcome");
    raw.expect("READY");
    raw.expect("OK size=21");
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
