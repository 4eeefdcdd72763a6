//! Read-only and upload-only accounts: every verb of the table, against a picture of the tree before and after.

mod common;

use common::raw::{body_bytes, field};
use common::tree::noise;
use common::{PATIENCE, Raw, Server, give, home};
use dfos::proto::Access;
use dfos::proto::verb::{TABLE, Verb};
use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Requests of a verb that would do all that it can do. A new verb does not compile until it has some.
fn requests(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Help => &["HELP", "HELP UPLOAD"],
        Verb::Auth => &["AUTH SCRAM-SHA-256 biws"],
        Verb::Login => &["LOGIN alice secret"],
        Verb::List => &["LIST", "LIST . recursive", "DIR dir"],
        Verb::Stat => &["STAT file", "STAT dir", "STAT .", "STAT none"],
        Verb::Upload => &[
            "UPLOAD new size=0",
            "UPLOAD empty-body",
            "UPLOAD file size=4",
            "UPLOAD file",
            "UPLOAD fresh new",
            "UPLOAD dir/fresh size=4 mtime=1",
            "UPLOAD begun size=4 resume",
            "UPLOAD file resume",
            "UPLOAD dir",
            "UPLOAD link",
        ],
        Verb::Download => &["DOWNLOAD file", "DOWNLOAD file fresh", "DOWNLOAD file offset=8", "DOWNLOAD dir/inner"],
        Verb::View => &["VIEW file", "PREVIEW file offset=8"],
        Verb::Delete => &["DELETE file", "DELETE link", "DELETE none", "DELETE file trash"],
        Verb::Trash => &[
            "TRASH list",
            "TRASH restore 6543210f-0011223344556677",
            "TRASH restore 6543210f-0011223344556677 to=file replace",
            "TRASH empty 6543210f-0011223344556677",
            "TRASH empty",
        ],
        Verb::Rename => {
            &["RENAME file other", "RENAME file dir/inner replace", "RENAME dir empty replace", "RENAME file file"]
        }
        Verb::Mkdir => &["MKDIR made", "MKDIR made/deep parents", "MKDIR dir parents", "SUBFOLDER CREATE sub"],
        Verb::Rmdir => &["RMDIR empty", "RMDIR dir recursive", "SUBFOLDER DELETE dir", "RMDIR dir recursive trash"],
        Verb::Digest => &["DIGEST file", "DIGEST dir/inner"],
        Verb::Quota => &["QUOTA"],
        Verb::Passwd => &["PASSWD a b"],
        Verb::Ping => &["PING"],
        Verb::Logout => &["LOGOUT"],
        #[cfg(feature = "hostile")]
        Verb::Hostile => &["HOSTILE none"],
    }
}

/// A user's directory as an operator may have filled it: no digests are known, and an upload lies there that was broken off long ago.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("file"), "content\nof a file\n").unwrap();
    fs::write(root.join("dir/inner"), "content within\n").unwrap();
    symlink("file", root.join("link")).unwrap();
    // In the trash since long ago, and there for ever, since these accounts have no trash.
    fs::create_dir_all(root.join(".dfos/trash")).unwrap();
    fs::write(root.join(".dfos/trash/6543210f-0011223344556677"), "content in the trash\n").unwrap();
    fs::write(root.join(".dfos/trash/6543210f-0011223344556677.note"), "dfos-trash-1 trashed .\n").unwrap();
    fs::create_dir_all(root.join(".dfos/uploads")).unwrap();
    let old = File::create(root.join(".dfos/uploads/00000000000000000000000000000000.0.9")).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(60 * 24 * 3600);
    old.set_times(FileTimes::new().set_accessed(long_ago).set_modified(long_ago)).unwrap();
}

/// Everything of one name that a change could touch: inode, mode, owner, links, size, times of content and inode, content, digest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Picture(u64, u32, (u32, u32), u64, u64, [i64; 4], Vec<u8>, Vec<u8>);

/// The tree as it is, the server's own directories included.
fn pictures(root: &Path) -> BTreeMap<PathBuf, Picture> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let (mut content, mut digest) = (Vec::new(), Vec::new());
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if meta.is_file() {
            // What is empty is not read: that would make it look used just now.
            content = if meta.len() > 0 { fs::read(&path).unwrap() } else { Vec::new() };
            let mut kept = [0; 256];
            let length = dfos::sys::xattr::get(File::open(&path).unwrap().as_fd(), c"user.dfos.sha256", &mut kept);
            digest = kept[..length.unwrap_or(0)].to_vec();
        }
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        let owner = (meta.uid(), meta.gid());
        found.insert(path, Picture(meta.ino(), meta.mode(), owner, meta.nlink(), meta.size(), times, content, digest));
    }
    found
}

/// Sends a request, with a body where one may follow; all lines up to the answer to a PING behind it.
fn exchange(raw: &mut Raw, request: &str) -> Vec<String> {
    raw.send(format!("{request}\n"));
    if request.starts_with("UPLOAD") && request.ends_with(" resume") {
        let first = raw.line();
        if let Some(offset) = first.strip_prefix("READY ").map(|fields| field(fields, "offset").to_owned()) {
            raw.send(format!("FROM {offset}\n"));
        }
        raw.send(body_bytes(b"new\n"));
        raw.send("PING\n");
        let mut lines = vec![first];
        lines.extend(until_pong(raw));
        return lines;
    }
    match request {
        _ if request.ends_with(" size=0") || request.contains("empty") && request.starts_with("UPLOAD") => {
            raw.send("END\n")
        }
        _ if request.starts_with("UPLOAD") => raw.send(body_bytes(b"new\n")),
        _ => {}
    }
    raw.try_send("PING\n");
    until_pong(raw)
}

fn until_pong(raw: &mut Raw) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = raw.try_line().filter(|line| !line.starts_with("OK pong")) {
        lines.push(line);
    }
    lines
}

#[test]
fn a_read_only_account_changes_nothing_whatever_it_asks() {
    let home = home();
    fill(&home.path().join("storage/alice"));
    let limits = "[alice]\naccess = \"read-only\"\nquota = \"1GiB\"\nfiles = 100\n";
    fs::write(home.path().join("user_limits.toml"), limits).unwrap();
    let server = Server::start_in(home, &[]);
    let before = pictures(&server.at("alice"));
    assert_eq!(before.len(), 12, "{:?}", before.keys());
    for row in TABLE {
        for request in requests(row.verb) {
            let mut raw = server.login("alice");
            let answers = exchange(&mut raw, request);
            let denied = answers.iter().filter(|line| line.starts_with("ERR denied your account is read-only")).count();
            assert_eq!(
                (denied, answers.len() > 1),
                (usize::from(row.writes), !row.writes && answers.len() > 1),
                "{request}: {answers:?}"
            );
            drop(raw);
            server.wait_idle();
            assert_eq!(pictures(&server.at("alice")), before, "{request}");
        }
    }
    // What has been asked at once, and broken off, changes nothing either.
    let mut raw = server.login("alice");
    raw.send("UPLOAD a size=5\nDATA 5\nhel");
    drop(raw);
    server.wait_idle();
    assert_eq!(pictures(&server.at("alice")), before);
    let mut raw = server.login("alice");
    let quota = raw.ask("QUOTA");
    assert_eq!((field(&quota, "files"), field(&quota, "files-limit"), field(&quota, "used")), ("7", "100", "54"));
    drop(raw);
    server.stop();
}

#[test]
fn the_same_requests_do_change_the_tree_of_a_full_account() {
    let home = home();
    let root = home.path().join("storage/alice");
    fill(&root);
    let server = Server::start_in(home, &[]);
    drop(server.login("alice"));
    server.wait_idle();
    for row in TABLE.iter().filter(|row| row.writes) {
        let mut changed = false;
        for request in requests(row.verb) {
            fs::remove_dir_all(&root).unwrap();
            fill(&root);
            give(&root);
            let before = pictures(&root);
            let mut raw = server.login("alice");
            exchange(&mut raw, request);
            let swept = |mut all: BTreeMap<PathBuf, Picture>| {
                all.retain(|path, _| !path.components().any(|part| part.as_os_str() == ".dfos"));
                all.remove(&root);
                all
            };
            changed |= swept(pictures(&root)) != swept(before);
        }
        assert!(changed, "{} changes nothing: its requests prove nothing", row.name);
    }
    server.stop();
}

#[test]
fn a_read_only_account_without_a_directory_is_told_so_and_gets_none() {
    let server = Server::limited("[alice]\naccess = \"read-only\"\nsessions = 2\n", &[]);
    let mut raw = server.client();
    raw.demand("LOGIN alice secret", "ERR not-found your directory cannot be used: there is none");
    raw.closed();
    server.wait_idle();
    assert!(!server.at("alice").exists());
}

#[test]
fn an_upload_only_account_adds_and_sees_nothing() {
    let home = home();
    let root = home.path().join("storage/alice");
    fill(&root);
    fs::write(home.path().join("user_limits.toml"), "[alice]\naccess = \"upload-only\"\n").unwrap();
    let server = Server::start_in(home, &[]);
    drop(server.login("alice"));
    server.wait_idle();
    assert!(server.partials("alice").is_empty(), "what is old is swept, unlike with a read-only account");
    let files = |root: &Path| {
        let mut all = pictures(root);
        all.retain(|_, picture| picture.1 & 0o170_000 != 0o040_000);
        all
    };
    let before = files(&root);
    for row in TABLE {
        for request in requests(row.verb) {
            let mut raw = server.login("alice");
            let answers = exchange(&mut raw, request);
            let denied = answers.iter().any(|line| line.starts_with("ERR denied your account is upload-only"));
            assert_eq!(denied, !Access::UploadOnly.permits(row.verb.row()), "{request}: {answers:?}");
            assert!(
                !answers.iter().any(|line| line.contains("content") || line.contains("inner")),
                "{request}: {answers:?}"
            );
            if request.starts_with("UPLOAD file") {
                assert!(answers[0].starts_with("ERR exists"), "{request}: {answers:?}");
            }
        }
    }
    server.wait_idle();
    let after = files(&root);
    for (path, picture) in &before {
        assert_eq!(after.get(path), Some(picture), "{}", path.display());
    }
    let mut added: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    added.sort();
    let names = ["begun", "dir/fresh", "empty-body", "fresh", "new"].map(|name| root.join(name));
    assert_eq!(added, names.iter().collect::<Vec<_>>());
    let mut raw = server.login("alice");
    let help = exchange(&mut raw, "HELP").join("\n");
    assert!(
        help.contains("UPLOAD") && help.contains("MKDIR") && !help.contains("DOWNLOAD") && !help.contains("STAT"),
        "{help}"
    );
    // What was broken off is resumed, and what is whole is not touched again.
    raw.send("UPLOAD part size=6\nDATA 3\nabcABORT\n");
    raw.expect("READY offset=0");
    raw.expect("ERR aborted");
    raw.demand("UPLOAD part size=6 resume", "READY offset=3 sha256=");
    raw.send("FROM 3\nDATA 3\ndefEND\n");
    raw.expect("OK size=6");
    raw.demand("UPLOAD part size=6 resume", "ERR exists");
    assert_eq!(fs::read(root.join("part")).unwrap(), b"abcdef");
    // A race for one name: one of them gets it.
    let answers: Vec<String> = std::thread::scope(|scope| {
        let race = |n: u64| server.login("alice").upload("raced", &noise(n, 1000));
        let racers: Vec<_> = (0..8).map(|n| scope.spawn(move || race(n))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.starts_with("OK")).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.starts_with("OK") || answer.starts_with("ERR exists")), "{answers:?}");
    drop(raw);
    server.stop();
}

#[test]
fn the_client_puts_files_and_trees_with_an_upload_only_account() {
    let server = Server::limited("[alice]\naccess = \"upload-only\"\n", &[]);
    let tree = server.home().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/small"), "small").unwrap();
    fs::write(tree.join("big"), noise(1, 3_000_000)).unwrap();
    let client = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
        command.args(["--server", &format!("tcp://{}", server.address()), "--user", "alice"]).args(arguments);
        let output = command.env("DFOS_PASSWORD", "secret").current_dir(server.home()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let began = SystemTime::now();
    assert_eq!(client(&["put", "-r", "tree"]).0, Some(0), "{}", client(&["put", "-r", "tree"]).1);
    assert_eq!(client(&["put", "tree/big", "--to", "other"]).0, Some(0));
    assert_eq!(client(&["put", "tree/big", "--to", "new-dir/"]).0, Some(0));
    assert_eq!(client(&["quota"]).0, Some(0));
    for path in ["tree/big", "other", "new-dir/big"] {
        assert_eq!(fs::read(server.at("alice").join(path)).unwrap(), noise(1, 3_000_000), "{path}");
    }
    assert_eq!(fs::read(server.at("alice/tree/a/b/small")).unwrap(), b"small");
    let (status, text) = client(&["put", "tree/big", "--to", "other"]);
    assert_eq!(status, Some(8), "{text}");
    let (status, text) = client(&["ls"]);
    assert_eq!(status, Some(6), "{text}");
    assert!(text.contains("upload-only"), "{text}");
    assert!(began.elapsed().unwrap() < PATIENCE * 2);
    server.stop();
}
