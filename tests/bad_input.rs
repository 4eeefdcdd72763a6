//! What bad input gets: a clear ERR and a session that goes on, or an ERR and a closed connection; never a panic, never a
//! changed file, never a reply that lies.

mod common;

use common::raw::upload_bytes;
use common::{Raw, Server, with_x, x_stands};

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
