//! Links and directories where a file is meant: nothing outside is read, changed, listed or deleted.

mod common;

use common::raw::body_bytes;
use common::tree::snapshot;
use common::{Raw, Server};
use std::os::unix::fs::symlink;

/// What every verb says to a path; `{}` stands for it.
type Table<'a> = &'a [(&'a str, &'a str)];

const ELOOP: &str = "ERR bad-path";

/// A server with a tree outside of alice's, and links to it in hers.
fn planted() -> (Server, Raw) {
    let server = Server::start(&[]);
    let raw = server.login("alice");
    let outside = server.home().join("outside");
    std::fs::create_dir_all(outside.join("sub")).unwrap();
    std::fs::write(outside.join("file"), "the secret").unwrap();
    std::fs::write(outside.join("sub/file"), "another secret").unwrap();
    let root = server.at("alice");
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    std::fs::write(root.join("f"), "a file").unwrap();
    std::fs::write(root.join("d/f"), "another file").unwrap();
    for (target, name) in [
        (outside.to_str().unwrap(), "dirlink"),
        (outside.join("file").to_str().unwrap(), "filelink"),
        ("../../outside", "d/relative"),
        ("d", "inner"),
        ("nowhere", "dangling"),
        ("/proc/self/root", "magic"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    common::give(server.home()); // what holds is not the mode
    (server, raw)
}

/// Sends a request, with a body behind it if it is an upload.
fn ask(raw: &mut Raw, request: &str) -> String {
    if !request.starts_with("UPLOAD") || request.contains("resume") {
        return raw.ask(request);
    }
    raw.send(format!("{request}\n"));
    raw.send(body_bytes(b"not to be seen"));
    let line = raw.line();
    if line.starts_with("READY") { raw.line() } else { line }
}

#[track_caller]
fn all_say(raw: &mut Raw, path: &str, table: Table) {
    for (request, due) in table {
        let request = request.replace("{}", path);
        let said = ask(raw, &request);
        assert!(said.starts_with(due), "'{request}': due was '{due}', came '{said}'");
        raw.demand("PING", "OK pong");
    }
}

const NOTHING_THROUGH_A_LINK: Table = &[
    ("LIST {}", ELOOP),
    ("LIST {} recursive", ELOOP),
    ("STAT {}", ELOOP),
    ("UPLOAD {}", ELOOP),
    ("UPLOAD {} new", ELOOP),
    ("UPLOAD {} resume", ELOOP),
    ("DOWNLOAD {}", ELOOP),
    ("VIEW {}", ELOOP),
    ("DELETE {}", ELOOP),
    ("RENAME {} stolen", ELOOP),
    ("RENAME f {}", ELOOP),
    ("RENAME f {} replace", ELOOP),
    ("MKDIR {}", ELOOP),
    ("MKDIR {} parents", ELOOP),
    ("RMDIR {}", ELOOP),
    ("RMDIR {} recursive", ELOOP),
    ("DIGEST {}", ELOOP),
];

#[test]
fn a_link_as_first_or_middle_component_leads_nowhere() {
    let (server, mut raw) = planted();
    let before = snapshot(server.home());
    let paths = [
        "dirlink/file",
        "dirlink/sub",
        "dirlink/sub/file",
        "dirlink/new",
        "d/relative/file",
        "d/relative/sub/file",
        "d/relative/new",
        "inner/f",
        "inner/e",
        "inner/new",
        "magic/etc",
        "magic/etc/passwd",
        "dangling/x",
    ];
    for path in paths {
        all_say(&mut raw, path, NOTHING_THROUGH_A_LINK);
    }
    assert_eq!(snapshot(server.home()), before);
    drop(raw);
    server.stop();
}

#[test]
fn a_link_as_last_component_is_a_link_and_no_way() {
    let (server, mut raw) = planted();
    let before = snapshot(server.home());
    for path in ["dirlink", "filelink", "d/relative", "inner", "dangling", "magic"] {
        all_say(
            &mut raw,
            path,
            &[
                ("LIST {}", ELOOP),
                ("LIST {} recursive", ELOOP),
                ("STAT {}", "OK type=link"),
                ("UPLOAD {}", ELOOP),
                ("UPLOAD {} new", ELOOP),
                ("UPLOAD {} resume", ELOOP),
                ("DOWNLOAD {}", ELOOP),
                ("VIEW {}", ELOOP),
                ("RENAME f {}", "ERR exists"),
                ("MKDIR {}", "ERR exists"),
                ("MKDIR {} parents", ELOOP),
                ("RMDIR {}", "ERR not-directory"),
                ("RMDIR {} recursive", ELOOP),
                ("DIGEST {}", ELOOP),
            ],
        );
    }
    assert_eq!(snapshot(server.home()), before);
    // Links can be renamed, replaced and deleted; what they point at stays.
    let outside = server.home().join("outside");
    let secrets = snapshot(&outside);
    raw.demand("RENAME filelink moved", "OK renamed");
    raw.demand("STAT moved", "OK type=link");
    raw.demand("RENAME f moved replace", "OK renamed");
    assert_eq!(raw.get("moved"), b"a file");
    for path in ["dirlink", "d/relative", "inner", "dangling", "magic"] {
        raw.demand(&format!("DELETE {path}"), "OK deleted");
        raw.demand(&format!("STAT {path}"), "ERR not-found");
    }
    assert_eq!(snapshot(&outside), secrets);
    assert_eq!(raw.get("d/f"), b"another file");
    drop(raw);
    server.stop();
}

#[test]
fn links_are_listed_as_links_and_not_entered() {
    let (server, mut raw) = planted();
    let (rows, last) = raw.list(". recursive");
    let links = rows.iter().filter(|row| row.starts_with("link ")).count();
    assert_eq!((links, last.as_str()), (6, "OK entries=10 skipped=0"), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.contains("secret") || row.contains("/file")), "{rows:#?}");
    drop(raw);
    server.stop();
}

#[test]
fn a_directory_where_a_file_is_meant_and_the_reverse_have_their_codes() {
    let (server, mut raw) = planted();
    let before = snapshot(server.home());
    all_say(
        &mut raw,
        "d",
        &[
            ("UPLOAD {}", "ERR is-directory"),
            ("UPLOAD {} resume", "ERR is-directory"),
            ("DOWNLOAD {}", "ERR is-directory"),
            ("VIEW {}", "ERR is-directory"),
            ("DIGEST {}", "ERR is-directory"),
            ("DELETE {}", "ERR is-directory"),
            ("RMDIR {}", "ERR not-empty"),
            ("RENAME f {}", "ERR exists"),
            ("RENAME f {} replace", "ERR is-directory"),
            ("RENAME {} f", "ERR exists"),
            ("RENAME {} f replace", "ERR not-directory"),
            ("RENAME {} d/e/self", "ERR bad-path"),
            ("RENAME {} d/e/self replace", "ERR bad-path"),
            ("MKDIR {}", "ERR exists"),
            ("MKDIR {} parents", "OK created"),
        ],
    );
    all_say(
        &mut raw,
        "f",
        &[
            ("LIST {}", "ERR not-directory"),
            ("LIST {} recursive", "ERR not-directory"),
            ("RMDIR {}", "ERR not-directory"),
            ("RMDIR {} recursive", "ERR not-directory"),
            ("MKDIR {}", "ERR exists"),
            ("MKDIR {} parents", "ERR not-directory"),
        ],
    );
    all_say(
        &mut raw,
        "f/x",
        &[
            ("LIST {}", "ERR not-directory"),
            ("STAT {}", "ERR not-directory"),
            ("UPLOAD {}", "ERR not-directory"),
            ("DOWNLOAD {}", "ERR not-directory"),
            ("VIEW {}", "ERR not-directory"),
            ("DELETE {}", "ERR not-directory"),
            ("RENAME {} y", "ERR not-directory"),
            ("RENAME f {}", "ERR not-directory"),
            ("MKDIR {}", "ERR not-directory"),
            ("MKDIR {} parents", "ERR not-directory"),
            ("RMDIR {}", "ERR not-directory"),
            ("DIGEST {}", "ERR not-directory"),
        ],
    );
    all_say(
        &mut raw,
        ".",
        &[
            ("STAT {}", "OK type=dir"),
            ("UPLOAD {}", "ERR is-directory"),
            ("DOWNLOAD {}", "ERR is-directory"),
            ("VIEW {}", "ERR is-directory"),
            ("DELETE {}", "ERR is-directory"),
            ("RENAME {} y", "ERR bad-path"),
            ("RENAME d {} replace", "ERR bad-path"),
            ("MKDIR {}", "ERR exists"),
            ("MKDIR {} parents", "OK created"),
            ("RMDIR {}", "ERR bad-path"),
            ("RMDIR {} recursive", "ERR bad-path"),
            ("SUBFOLDER DELETE {}", "ERR bad-path"),
            ("DIGEST {}", "ERR is-directory"),
        ],
    );
    all_say(
        &mut raw,
        "none/x",
        &[
            ("LIST {}", "ERR not-found"),
            ("STAT {}", "ERR not-found"),
            ("UPLOAD {}", "ERR not-found"),
            ("DOWNLOAD {}", "ERR not-found"),
            ("DELETE {}", "ERR not-found"),
            ("RENAME {} y", "ERR not-found"),
            ("RENAME f {}", "ERR not-found"),
            ("MKDIR {}", "ERR not-found"),
            ("RMDIR {}", "ERR not-found"),
            ("RMDIR {} recursive", "ERR not-found"),
        ],
    );
    assert_eq!(snapshot(server.home()), before);
    drop(raw);
    server.stop();
}

#[test]
fn a_user_whose_directory_is_a_link_or_a_file_cannot_log_in() {
    let home = common::home();
    let storage = home.path().join("storage");
    std::fs::create_dir_all(home.path().join("outside")).unwrap();
    std::fs::create_dir_all(&storage).unwrap();
    symlink("../outside", storage.join("alice")).unwrap();
    std::fs::write(storage.join("bob"), "").unwrap();
    let server = Server::start_in(home, &[]);
    for (user, password) in [("alice", "secret"), ("bob", "builder")] {
        let mut raw = server.client();
        raw.send(format!("LOGIN {user} {password}\nMKDIR d\n"));
        let lines = raw.rest();
        let last = lines.last().unwrap();
        assert!(last.starts_with("ERR ") && last.contains("your directory cannot be used"), "{lines:?}");
    }
    assert_eq!(std::fs::read_dir(server.home().join("outside")).unwrap().count(), 0);
    server.login("carol").demand("PING", "OK pong");
    assert!(server.logged("directory cannot be used").contains(" error "));
}

#[test]
fn a_planted_reserved_directory_is_not_written_to() {
    let (server, mut raw) = planted();
    let outside = server.home().join("outside");
    symlink(&outside, server.at("alice/.dfos")).unwrap();
    let secrets = snapshot(&outside);
    assert!(raw.upload("x", b"not to be seen").starts_with(ELOOP));
    assert_eq!(snapshot(&outside), secrets);
    assert!(!server.at("alice/x").exists());
    drop(raw);
    server.stop();
}
