//! Names: any that Linux allows, any number of them, any depth.

mod common;

use common::raw::upload_bytes;
use common::{Server, eventually};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

/// Percent-encodes as the server prints names, written anew from the page.
fn encode(name: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~@:+,=/".contains(b);
    name.iter().map(|b| if plain(b) { (*b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

#[test]
fn every_name_that_linux_allows_goes_up_is_listed_and_comes_down() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let mut names: Vec<Vec<u8>> = [
        "with space",
        " ",
        "new\nline",
        "tab\t",
        "quote'",
        "double\"",
        "back\\slash",
        "%",
        "%41",
        "a=b",
        "=",
        "size=5",
        "recursive",
        "replace",
        "resume",
        "-rf",
        "--",
        "~",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "$(x)",
        "`x`",
        "|cat",
        "&",
        ";",
        "#",
        "!",
        "...",
        "..a",
        "a..",
        ".hidden",
        "é",
        "e\u{301}",
        "日本語",
        "\u{202e}txt",
        "\u{1b}[2J",
        "\r",
        "x:y",
        "CON",
        "ABORT",
        "a\u{7f}",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.extend([b"\xff\xfe".to_vec(), b"\x80".to_vec(), b"caf\xe9".to_vec(), b"\xc3".to_vec(), vec![0x01; 255]]);
    for name in &names {
        raw.put(&encode(name), name);
        assert_eq!(&fs::read(server.at("alice").join(OsStr::from_bytes(name))).unwrap(), name);
        assert_eq!(&raw.get(&encode(name)), name);
    }
    // As a person may type them: UTF-8 and most signs stand for themselves.
    raw.demand("STAT é", "OK type=file");
    raw.demand("STAT size=5", "OK type=file");
    let mut due: Vec<String> = names.iter().map(|name| encode(name)).collect();
    due.sort();
    assert_eq!(raw.names("."), due);
    raw.demand("MKDIR d", "OK");
    for name in &names {
        raw.demand(&format!("RENAME {0} d/{0}", encode(name)), "OK renamed");
    }
    assert_eq!(raw.names("d"), due);
    raw.demand("RMDIR d recursive", &format!("OK removed={}", names.len() + 1));
    drop(raw);
    let log = server.stop();
    assert!(log.iter().all(|line| line.chars().all(|c| !c.is_control() && c != '\u{202e}')), "the log is plain");
}

#[test]
fn a_hundred_thousand_entries_are_listed_in_constant_memory() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    fs::create_dir(server.at("alice/many")).unwrap();
    for n in 0..100_000 {
        fs::File::create(server.at(&format!("alice/many/entry-number-{n}"))).unwrap();
    }
    common::give(&server.at("alice/many"));
    raw.demand("LIST", "ENTRY dir");
    raw.expect("OK entries=1");
    // What is asked for is code too, and that takes memory once, however much is asked for.
    raw.demand("MKDIR few", "OK");
    raw.put("few/f", b"x");
    raw.demand("RMDIR few recursive", "OK removed=2");
    let session = server.sessions()[0].pid;
    let before = peak(session);
    for arguments in ["many", ". recursive"] {
        let names = raw.names(arguments);
        assert!(names.len() >= 100_000);
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "each once");
    }
    let grown = peak(session) - before;
    eprintln!("the session grew by {grown} KiB over 100,000 entries");
    assert!(grown < 1024, "{grown} KiB");
    raw.demand("RMDIR many recursive", "OK removed=100001");
    let grown = peak(session) - before;
    eprintln!("and by {grown} KiB with their removal");
    assert!(grown < 1024, "{grown} KiB");
    drop(raw);
    server.stop();
}

/// The most memory that a process held, in KiB.
fn peak(pid: nix::unistd::Pid) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_listing_tells_type_size_and_time_and_what_it_skipped() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.upload_with("f mtime=1700000000.5", b"x"); // refused: nine digits
    raw.upload_with("f mtime=1700000000.500000000", b"hello");
    raw.demand("MKDIR d", "OK");
    raw.demand("MKDIR d/e", "OK");
    raw.put("d/e/g", b"");
    symlink("f", server.at("alice/l")).unwrap();
    let (rows, last) = raw.list("");
    assert_eq!(last, "OK entries=3 skipped=0");
    assert!(rows.contains(&"file 5 1700000000.500000000 f".to_owned()), "{rows:?}");
    assert_eq!(raw.names(". recursive"), ["d", "d/e", "d/e/g", "f", "l"]);
    assert_eq!(raw.names("d recursive"), ["e", "e/g"]);
    assert_eq!(raw.names("d/e"), ["g"]);
    drop(raw);
    server.stop();
}

#[test]
fn a_tree_deeper_than_any_path_is_listed_and_removed() {
    const DEPTH: usize = 3_000;
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    // From the inside out: each new directory takes in what is there already.
    raw.demand("MKDIR a", "OK");
    let mut requests = String::new();
    for _ in 1..DEPTH {
        requests += "MKDIR b\nRENAME a b/a\nRENAME b a\n";
    }
    std::thread::scope(|scope| {
        let mut pen = raw.socket().try_clone().unwrap();
        scope.spawn(move || std::io::Write::write_all(&mut pen, requests.as_bytes()).unwrap());
        for _ in 1..DEPTH {
            for due in ["OK created", "OK renamed", "OK renamed"] {
                raw.expect(due);
            }
        }
    });
    let (rows, last) = raw.list(". recursive");
    assert_eq!(rows.len(), 2048, "each component takes two bytes of 4,095");
    assert_eq!(last, "OK entries=2048 skipped=1");
    raw.demand("QUOTA", "OK used=0");
    raw.demand(&format!("STAT {}", vec!["a"; 2048].join("/")), "OK type=dir");
    raw.demand("RMDIR a recursive", &format!("OK removed={DEPTH}"));
    assert_eq!(raw.names("."), [""; 0]);
    drop(raw);
    server.stop();
}

#[test]
fn rename_moves_replaces_and_refuses() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    for dir in ["d", "d/sub", "empty", "full"] {
        raw.demand(&format!("MKDIR {dir}"), "OK");
    }
    for file in ["a", "b", "d/c", "full/x"] {
        raw.put(file, file.as_bytes());
    }
    for (request, due) in [
        ("RENAME a b", "ERR exists"),
        ("RENAME a a", "ERR exists"),
        ("RENAME a a replace", "OK renamed"),
        ("RENAME a b replace", "OK renamed"),
        ("STAT a", "ERR not-found"),
        ("RENAME b d/b", "OK renamed"),
        ("RENAME d/b d/c", "ERR exists"),
        ("RENAME d/b d/c replace", "OK renamed"),
        ("RENAME d d/sub/d", "ERR bad-path"),
        ("RENAME d d", "ERR exists"),
        ("RENAME d empty", "ERR exists"),
        ("RENAME d full replace", "ERR not-empty"),
        ("RENAME d empty replace", "OK renamed"),
        ("RENAME d x", "ERR not-found"),
        ("RENAME empty/c none/c", "ERR not-found"),
        ("RENAME empty new", "OK renamed"),
    ] {
        raw.demand(request, due);
    }
    assert_eq!(raw.get("new/c"), b"a");
    assert_eq!(raw.names(". recursive"), ["full", "full/x", "new", "new/c", "new/sub"]);
    drop(raw);
    server.stop();
}

#[test]
fn directories_are_made_with_their_parents_and_removed_with_their_content() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    for (request, due) in [
        ("MKDIR a/b/c", "ERR not-found"),
        ("MKDIR a/b/c parents", "OK created"),
        ("MKDIR a/b/c parents", "OK created"),
        ("MKDIR a/b/c", "ERR exists"),
        ("SUBFOLDER CREATE a/b/d", "OK created"),
        ("RMDIR a/b", "ERR not-empty"),
        ("RMDIR a/b/d", "OK removed=1"),
        ("DELETE a/b/c", "ERR is-directory"),
        ("RMDIR none", "ERR not-found"),
    ] {
        raw.demand(request, due);
    }
    raw.put("a/b/c/f", b"x");
    let outside = server.home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    symlink(&outside, server.at("alice/a/b/link")).unwrap();
    symlink(outside.join("kept"), server.at("alice/a/b/c/link")).unwrap();
    raw.demand("SUBFOLDER DELETE a", "OK removed=6");
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
    assert_eq!(raw.names("."), [""; 0]);
    drop(raw);
    server.stop();
}

#[test]
fn a_user_reaches_nothing_of_another() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.login("alice"), server.login("bob"));
    alice.put("f", b"alice's");
    bob.demand("STAT f", "ERR not-found");
    bob.put("f", b"bob's");
    assert_eq!((alice.get("f"), bob.get("f")), (b"alice's".to_vec(), b"bob's".to_vec()));
    bob.send(upload_bytes("alice/f", b"x"));
    bob.expect("ERR not-found");
    drop((alice, bob));
    eventually("they have gone", || server.sessions().is_empty());
    server.stop();
}
