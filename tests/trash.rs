//! The trash: what is deleted can be had back, whole and under any name, until its time is over; and whatever ends a session in the
//! midst of it, a thing is where it was or in the trash.

mod common;

use common::raw::{field, number};
use common::tree::noise;
use common::{Raw, Server, give, home};
use nix::sys::signal::{Signal, kill};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The rows of the trash, as words, sorted by path.
#[track_caller]
fn trash(raw: &mut Raw) -> Vec<Vec<String>> {
    let mut line = raw.ask("TRASH LIST");
    let mut rows = Vec::new();
    while let Some(row) = line.strip_prefix("TRASHED ") {
        rows.push(row.split(' ').map(str::to_owned).collect::<Vec<_>>());
        line = raw.line();
    }
    assert_eq!(line, format!("OK entries={}", rows.len()));
    rows.sort_by(|a, b| a[4].cmp(&b[4]));
    rows
}

#[track_caller]
fn delete(raw: &mut Raw, path: &str) -> String {
    field(&raw.demand(&format!("DELETE {path} trash"), "OK deleted id="), "id").to_owned()
}

#[test]
fn a_client_knows_at_its_login_who_has_a_trash_and_nobody_else_gets_one() {
    let limits = "[alice]\ntrash = \"2w\"\n[bob]\ntrash = \"none\"\n[user0]\naccess = \"upload-only\"\n\
                  [user1]\naccess = \"read-only\"\n";
    let home = home();
    fs::create_dir_all(home.path().join("storage/user1")).unwrap();
    fs::write(home.path().join("user_limits.toml"), limits).unwrap();
    let server = Server::start_in(home, &["--trash", "12h"]);
    for (user, password, welcome) in [
        ("alice", "secret", "OK welcome alice trash=1209600"),
        ("bob", "builder", "OK welcome bob"),
        ("user0", "secret", "OK welcome user0"),
        ("user1", "secret", "OK welcome user1"),
        ("user2", "secret", "OK welcome user2 trash=43200"),
    ] {
        assert_eq!(server.client().ask(format!("LOGIN {user} {password}")), welcome);
    }
    let mut bob = server.login("bob");
    bob.put("f", b"x");
    bob.demand("MKDIR d", "OK");
    bob.demand("DELETE f trash", "ERR denied your account has no trash");
    bob.demand("RMDIR d recursive trash", "ERR denied");
    assert_eq!(bob.names("."), ["d", "f"]);
    assert!(!server.at("bob/.dfos/trash").exists());
    for user in ["user0", "user1"] {
        let mut raw = server.login(user);
        for request in ["TRASH list", "TRASH empty", "TRASH restore 1-0000000000000000", "DELETE f trash"] {
            raw.demand(request, "ERR denied your account is");
        }
    }
    // What the operator takes away later leaves what is there, to be had back or deleted.
    let mut alice = server.login("alice");
    alice.put("f", b"x");
    let id = delete(&mut alice, "f");
    drop(alice);
    assert!(server.relimit("[alice]\ntrash = \"none\"\n"));
    let mut alice = server.login("alice");
    assert_eq!(trash(&mut alice).len(), 1);
    alice.demand(&format!("TRASH restore {id}"), "OK restored path=f");
    alice.demand("DELETE f trash", "ERR denied");
}

#[test]
fn what_comes_back_is_the_same_file_and_a_taken_name_is_not_taken_over() {
    let server = Server::start(&["--trash", "30d"]);
    let mut raw = server.login("alice");
    raw.demand("MKDIR d", "OK");
    raw.upload_with("d/f mtime=1700000000.123456789", b"content");
    let (stat, before) = (raw.ask("STAT d/f"), fs::metadata(server.at("alice/d/f")).unwrap());
    let id = delete(&mut raw, "d/f");
    raw.demand("STAT d/f", "ERR not-found");
    raw.demand("RMDIR d", "OK removed=1");
    let rows = trash(&mut raw);
    assert_eq!(
        (rows.len(), &rows[0][0], &rows[0][1..3], &rows[0][4]),
        (1, &id, &["file".into(), "7".into()][..], &"d/f".into())
    );
    let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - rows[0][3].parse::<f64>().unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    raw.demand(&format!("TRASH RESTORE {id}"), "OK restored path=d/f");
    assert_eq!(raw.ask("STAT d/f"), stat, "size, time and digest");
    let after = fs::metadata(server.at("alice/d/f")).unwrap();
    assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
    raw.demand(&format!("TRASH restore {id}"), "ERR not-found");
    // A name that is taken, by a file and by a directory.
    let id = delete(&mut raw, "d/f");
    raw.put("d/f", b"another");
    raw.demand(&format!("TRASH restore {id}"), "ERR exists");
    raw.demand(&format!("TRASH restore {id} to=d"), "ERR exists");
    raw.demand(&format!("TRASH restore {id} to=d replace"), "ERR is-directory");
    raw.demand(&format!("TRASH restore {id} to=d/f/g"), "ERR not-directory");
    raw.demand(&format!("TRASH restore {id} to=."), "ERR exists");
    assert_eq!(raw.get("d/f"), b"another");
    raw.demand(&format!("TRASH restore {id} replace"), "OK restored");
    assert_eq!(raw.get("d/f"), b"content");
    // A tree whole; a link as a link; what is no directory is not moved as one.
    symlink("/etc/passwd", server.at("alice/link")).unwrap();
    give(&server.at("alice/link"));
    let link = delete(&mut raw, "link");
    raw.demand("RMDIR d trash", "ERR bad-request");
    raw.demand("DELETE d trash", "ERR is-directory");
    raw.demand("RMDIR d/f recursive trash", "ERR not-directory");
    raw.demand("DELETE . trash", "ERR bad-path");
    raw.demand("RMDIR . recursive trash", "ERR bad-path");
    let tree = raw.demand("RMDIR d recursive trash", "OK removed=1 id=");
    assert_eq!(raw.names("."), [""; 0]);
    raw.demand(&format!("TRASH restore {} to=new/place/d", field(&tree, "id")), "OK restored path=new/place/d");
    raw.demand(&format!("TRASH restore {link}"), "OK restored path=link");
    assert_eq!(raw.get("new/place/d/f"), b"content");
    assert_eq!(fs::read_link(server.at("alice/link")).unwrap().as_os_str(), "/etc/passwd");
    raw.demand("SUBFOLDER DELETE new trash", "OK removed=1 id=");
    raw.demand("TRASH empty", "OK emptied entries=1");
    assert!(trash(&mut raw).is_empty());
    drop(raw);
    server.stop();
}

#[test]
fn nothing_but_an_id_of_ones_own_is_an_id_and_no_path_leads_into_the_trash() {
    let server = Server::start(&["--trash", "30d"]);
    let mut bob = server.login("bob");
    bob.put("f", b"bob's");
    let foreign = delete(&mut bob, "f");
    let mut raw = server.login("alice");
    raw.put("f", b"x");
    let id = delete(&mut raw, "f");
    for bad in
        ["..", "../../bob", ".", "usage", "%2e%2e", &id.to_uppercase(), &format!("{id}.note"), &format!("0{id}"), "*"]
    {
        raw.demand(&format!("TRASH restore {bad}"), "ERR bad-request");
        raw.demand(&format!("TRASH empty {bad}"), "ERR bad-request");
    }
    for verb in ["restore", "empty"] {
        raw.demand(&format!("TRASH {verb} {foreign}"), "ERR not-found");
    }
    for bad in
        ["TRASH", "TRASH restore", "TRASH list x", "TRASH nonsense", "TRASH list replace", "DELETE f trash trash"]
    {
        raw.demand(bad, "ERR bad-request");
    }
    for to in [".dfos/x", ".dfos", "a/.dfos/b", "../x", "/x", "a//b", ""] {
        raw.demand(&format!("TRASH restore {id} to={to}"), "ERR bad-path");
    }
    raw.demand("DELETE .dfos/trash trash", "ERR bad-path");
    raw.demand("RMDIR .dfos recursive trash", "ERR bad-path");
    raw.demand(&format!("DOWNLOAD .dfos/trash/{id}"), "ERR bad-path");
    assert_eq!((raw.names("."), trash(&mut raw).len(), trash(&mut bob).len()), (vec![], 1, 1));
    drop((raw, bob));
    server.stop();
}

#[test]
fn names_of_every_kind_and_of_the_greatest_length_come_back() {
    let server = Server::start(&["--trash", "30d"]);
    let mut raw = server.login("alice");
    let names: [&[u8]; 14] = [
        b"with space",
        b"new\nline",
        b"%41",
        b"a=b",
        b"trash",
        b"replace",
        b"-rf",
        b"\xff\xfe",
        b"\x01",
        b"...",
        "\u{202e}txt".as_bytes(),
        b"restored",
        b"dfos-trash-1 x .",
        &[0xc3; 255],
    ];
    let encode = |name: &[u8]| name.iter().map(|b| format!("%{b:02X}")).collect::<String>();
    for name in names {
        raw.put(&encode(name), name);
        delete(&mut raw, &encode(name));
    }
    let rows = trash(&mut raw);
    assert_eq!((rows.len(), raw.names(".").len()), (names.len(), 0));
    for row in &rows {
        raw.demand(&format!("TRASH restore {}", row[0]), &format!("OK restored path={}", row[4]));
    }
    for name in names {
        assert_eq!(fs::read(server.at("alice").join(OsStr::from_bytes(name))).unwrap(), name);
    }
    // 4,095 bytes, of which each is three on the wire: fifteen directories of 255 and a name of the rest.
    let part = "%FF".repeat(255);
    let above = vec![part.as_str(); 15].join("/");
    let path = format!("{above}/{}", "%FE".repeat(4095 - 15 * 256));
    raw.demand(&format!("MKDIR {above} parents"), "OK");
    raw.put(&path, b"deep");
    let id = delete(&mut raw, &path);
    raw.demand(&format!("RMDIR {part} recursive"), "OK removed=15");
    raw.demand(&format!("TRASH restore {id}"), &format!("OK restored path={path}"));
    assert_eq!(raw.get(&path), b"deep");
    drop(raw);
    let log = server.stop();
    assert!(log.iter().all(|line| line.chars().all(|c| !c.is_control() && c != '\u{202e}')), "the log is plain");
}

#[test]
fn a_trash_of_many_things_is_listed_and_emptied_in_constant_memory() {
    let server = Server::start(&["--trash", "30d"]);
    let mut raw = server.login("alice");
    for _ in 0..2 {
        raw.put("f", b"x");
        delete(&mut raw, "f");
        trash(&mut raw);
        raw.demand("TRASH empty", "OK emptied entries=1");
    }
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let bin = server.at("alice/.dfos/trash");
    for n in 0..20_000 {
        fs::write(bin.join(format!("{now:x}-{n:016x}")), "").unwrap();
        fs::write(bin.join(format!("{now:x}-{n:016x}.note")), format!("dfos-trash-1 name-number-{n} .\n")).unwrap();
    }
    give(&bin);
    let session = server.sessions()[0].pid;
    let peak = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{session}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let before = peak();
    assert_eq!(trash(&mut raw).len(), 20_000);
    raw.demand("TRASH empty", "OK emptied entries=20000");
    let grown = peak() - before;
    eprintln!("the session grew by {grown} KiB over 20,000 things");
    assert!(grown < 1024, "{grown} KiB");
    drop(raw);
    server.stop();
}

#[test]
fn what_lies_in_the_trash_fills_the_quota_until_it_is_emptied() {
    let server = Server::start(&["--quota", "100000", "--trash", "30d"]);
    let mut raw = server.login("alice");
    let used = |raw: &mut Raw| number(&raw.ask("QUOTA"), "used");
    raw.put("f", &noise(1, 60_000));
    let id = delete(&mut raw, "f");
    assert_eq!(used(&mut raw), 60_000);
    assert!(raw.upload("g", &noise(2, 60_000)).starts_with("ERR over-quota"));
    // Counted afresh it is the same.
    fs::write(server.at("alice/.dfos/usage"), "").unwrap();
    assert_eq!(used(&mut raw), 60_000);
    assert!(raw.upload("g", &noise(2, 60_000)).starts_with("ERR over-quota"));
    raw.demand(&format!("TRASH empty {id}"), "OK emptied entries=1");
    assert_eq!(used(&mut raw), 0);
    raw.put("g", &noise(2, 60_000));
    drop(raw);
    server.stop();
}

#[test]
fn what_is_over_its_time_is_gone_with_the_next_login() {
    let server = Server::start(&["--quota", "1000000", "--trash", "1d"]);
    let mut raw = server.login("alice");
    raw.demand("MKDIR d/e parents", "OK");
    raw.put("d/e/f", &noise(1, 1000));
    raw.put("young", b"x");
    let (old, young) = (raw.demand("RMDIR d recursive trash", "OK"), delete(&mut raw, "young"));
    let (old, bin) = (field(&old, "id").to_owned(), server.at("alice/.dfos/trash"));
    let (seconds, random) = old.split_once('-').unwrap();
    let older = format!("{:x}-{random}", u64::from_str_radix(seconds, 16).unwrap() - 24 * 3600);
    for end in ["", ".note"] {
        fs::rename(bin.join(format!("{old}{end}")), bin.join(format!("{older}{end}"))).unwrap();
    }
    assert_eq!(trash(&mut raw).iter().map(|row| &row[0]).collect::<Vec<_>>(), [&young], "what is over is not told");
    raw.demand(&format!("TRASH restore {older}"), "ERR not-found");
    assert!(bin.join(&older).exists());
    assert_eq!(number(&raw.ask("QUOTA"), "used"), 1001);
    let mut next = server.login("alice");
    assert_eq!(fs::read_dir(&bin).unwrap().count(), 2, "the young one with its note");
    assert_eq!(number(&next.ask("QUOTA"), "used"), 1);
    drop((raw, next));
    server.stop();
}

/// Whether `name` stands at the top, and how many things lie in the trash, as a new session sees it.
fn look(server: &Server, name: &str) -> (bool, Vec<Vec<String>>) {
    let mut raw = server.login("alice");
    (raw.names(".").iter().any(|there| there == name), trash(&mut raw))
}

#[test]
fn a_session_killed_at_any_moment_leaves_a_thing_in_place_or_in_the_trash() {
    let long = std::env::var_os("DFOS_TEST_LONG").is_some_and(|word| !word.is_empty());
    let server = Server::start(&["--trash", "30d"]);
    let mut raw = server.login("alice");
    raw.put("f", b"precious");
    let inode = fs::metadata(server.at("alice/f")).unwrap().ino();
    drop(raw);
    server.wait_idle();
    // How long a restore and a delete are let live at most: whatever the disk and the other processes are at, about half of them get far
    // enough, for each that did has the next killed earlier, and each that did not later.
    let mut lives = [Duration::from_millis(1); 2];
    let mut outcomes = [0; 4];
    for round in 0..if long { 1000 } else { 100 } {
        let (before, rows) = look(&server, "f");
        assert_eq!(rows.len(), usize::from(!before), "never both, never neither");
        let request = if before { "DELETE f trash\n".to_owned() } else { format!("TRASH restore {}\n", rows[0][0]) };
        server.wait_idle();
        let mut raw = server.login("alice");
        let (random, sessions) = (noise(round + 1, 2), server.sessions());
        raw.send(&request);
        let life = &mut lives[usize::from(before)];
        let (began, span) = (Instant::now(), *life * u32::from(random[0]) / 128);
        while began.elapsed() < span {
            std::hint::spin_loop();
        }
        sessions.iter().for_each(|session| kill(session.pid, Signal::SIGKILL).unwrap());
        server.wait_idle();
        let (after, rows) = look(&server, "f");
        server.wait_idle();
        assert_eq!(usize::from(after) + rows.len(), 1, "round {round}: {request}: in place {after}, {rows:?}");
        *life = if before == after { *life * 5 / 4 } else { *life * 4 / 5 };
        outcomes[usize::from(before) * 2 + usize::from(after)] += 1;
        let at = if after { server.at("alice/f") } else { server.at("alice/.dfos/trash").join(&rows[0][0]) };
        assert_eq!((fs::metadata(&at).unwrap().ino(), fs::read(&at).unwrap()), (inode, b"precious".to_vec()));
    }
    eprintln!(
        "restore: killed before {}, after {}; delete: after {}, before {}",
        outcomes[0], outcomes[1], outcomes[2], outcomes[3]
    );
    let [before, restored, deleted, after] = outcomes;
    assert!(before + after > 0 && restored > 0 && deleted > 0, "too late, and too early: {outcomes:?}");
    // Notes of nothing are all that such ends leave.
    let notes = fs::read_dir(server.at("alice/.dfos/trash"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(notes.filter(|name| !name.ends_with(".note")).count() <= 1);
}

#[test]
fn of_sessions_that_race_for_one_thing_one_gets_it() {
    let server = Server::start(&["--trash", "30d"]);
    let mut raw = server.login("alice");
    let mut sessions: Vec<Raw> = (0..6).map(|_| server.login("alice")).collect();
    let mut met = [0, 0];
    for round in 0..40 {
        raw.demand("MKDIR d/sub parents", "OK");
        raw.put("d/sub/f", b"x");
        raw.put("d/g", b"y");
        let id = field(&raw.demand("RMDIR d recursive trash", "OK"), "id").to_owned();
        let start = std::sync::Barrier::new(sessions.len());
        let answers: Vec<String> = std::thread::scope(|scope| {
            let racers = sessions.iter_mut().enumerate().map(|(n, raw)| {
                let (start, id) = (&start, &id);
                scope.spawn(move || {
                    let request = if n % 2 == 0 { format!("TRASH restore {id}") } else { format!("TRASH empty {id}") };
                    start.wait();
                    raw.ask(request)
                })
            });
            let racers: Vec<_> = racers.collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let restored = answers.iter().filter(|answer| answer.starts_with("OK restored")).count();
        let emptied = answers.iter().any(|answer| answer.starts_with("OK emptied"));
        assert!(restored + usize::from(emptied) == 1, "round {round}: {answers:?}");
        assert!(
            answers.iter().all(|answer| answer.starts_with("OK ") || answer.starts_with("ERR not-found")),
            "{answers:?}"
        );
        let names = raw.names(". recursive");
        assert_eq!(
            names,
            if restored == 1 { vec!["d", "d/g", "d/sub", "d/sub/f"] } else { vec![] },
            "whole or not at all"
        );
        met[restored] += 1;
        raw.ask("RMDIR d recursive");
        assert!(trash(&mut raw).is_empty());
    }
    eprintln!("emptied {}, restored {}", met[0], met[1]);
    drop((raw, sessions));
    server.stop();
}

// --- the client ---

fn client(server: &Server, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
    command.args(["--server", &format!("tcp://{}", server.address()), "--user", "alice"]).args(arguments);
    command.env("DFOS_PASSWORD", "secret").env_remove("DFOS_TRASH").envs(environment.iter().copied());
    command.current_dir(server.home()).stdin(Stdio::null()).output().unwrap()
}

/// What the client prints where all goes well.
#[track_caller]
fn prints(server: &Server, arguments: &[&str]) -> String {
    let output = client(server, arguments, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
fn fails(server: &Server, arguments: &[&str], status: i32, says: &str) {
    let output = client(server, arguments, &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(status) && text.contains(says), "{arguments:?}: {:?}: {text}", output.status);
}

#[test]
fn the_client_moves_things_to_the_trash_lists_them_and_brings_them_back() {
    let server = Server::start(&["--trash", "30d"]);
    let mut raw = server.login("alice");
    raw.demand("MKDIR docs/old parents", "OK");
    for name in ["a%20b", "docs/old/x", "twice"] {
        raw.put(name, name.as_bytes());
    }
    let output = client(&server, &["rm", "--trash", "a b"], &[]);
    assert!(output.status.success() && output.stdout.is_empty());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("kept in the trash for 30 days, where it counts in your quota"), "{text}");
    fails(&server, &["rm", "--trash", "docs"], 8, "rm -r --trash");
    prints(&server, &["rm", "-r", "--trash", "docs"]);
    prints(&server, &["rm", "--trash", "twice"]);
    raw.put("twice", b"again");
    prints(&server, &["rm", "--trash", "twice"]);
    let list = prints(&server, &["trash", "list"]);
    let names: Vec<&str> = list.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["a b", "docs", "twice", "twice"], "{list}");
    let long = prints(&server, &["trash", "list", "--long"]);
    assert!(long.lines().any(|line| line.contains(" dir ") && line.ends_with("Z docs")), "{long}");
    for line in prints(&server, &["--json", "trash", "list"]).lines().filter(|line| line.contains("\"trash\"")) {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(list.contains(object["id"].as_str().unwrap()) && object["deleted_at"].is_string(), "{line}");
        assert!(object["type"].is_string() && object["bytes"].is_number() && object["path"].is_string(), "{line}");
    }
    prints(&server, &["trash", "restore", "a b", "docs"]);
    assert_eq!((raw.get("a%20b"), raw.get("docs/old/x")), (b"a%20b".to_vec(), b"docs/old/x".to_vec()));
    fails(&server, &["trash", "restore", "a b"], 7, "there is no a b in the trash");
    fails(&server, &["trash", "restore", "twice"], 8, "deleted 2 times; name one by its id");
    let ids: Vec<String> = trash(&mut raw).into_iter().map(|row| row[0].clone()).collect();
    fails(&server, &["trash", "restore", &ids[0], &ids[1], "--to", "twice"], 2, "need a directory");
    prints(&server, &["trash", "restore", &ids[0]]);
    fails(&server, &["trash", "restore", &ids[1]], 8, "exists; --to gives another name");
    prints(&server, &["trash", "restore", &ids[1], "--to", "docs"]);
    assert_ne!(raw.get("twice"), raw.get("docs/twice"));
    // Emptying asks, and where nobody can be asked it says so.
    prints(&server, &["rm", "--trash", "twice", "docs/twice", "a b"]);
    fails(&server, &["trash", "empty"], 2, "say --yes");
    fails(&server, &["trash", "empty", "twice"], 2, "say --yes");
    assert_eq!(trash(&mut raw).len(), 3);
    prints(&server, &["trash", "empty", "--yes", "twice"]);
    assert_eq!(trash(&mut raw).len(), 2);
    prints(&server, &["trash", "empty", "-y"]);
    assert!(trash(&mut raw).is_empty() && prints(&server, &["trash", "list"]).is_empty());
    drop(raw);
    server.stop();
}

#[test]
fn where_there_is_no_trash_the_client_deletes_nothing_that_was_to_go_there() {
    let server = Server::limited("[default]\ntrash = \"1d\"\n[alice]\ntrash = \"none\"\n", &[]);
    let mut raw = server.login("alice");
    raw.put("f", b"x");
    fails(&server, &["rm", "--trash", "f"], 6, "nothing was deleted; --no-trash deletes for good");
    let by_default = |arguments: &[&str], word| client(&server, arguments, &[("DFOS_TRASH", word)]).status.code();
    assert_eq!(by_default(&["rm", "f"], "yes"), Some(6));
    assert_eq!(by_default(&["rm", "f"], "perhaps"), Some(2));
    assert_eq!(raw.names("."), ["f"]);
    assert_eq!(by_default(&["rm", "--no-trash", "f"], "yes"), Some(0));
    assert_eq!(raw.names("."), [""; 0]);
    assert!(server.relimit("[default]\ntrash = \"1d\"\n"));
    raw.put("f", b"x");
    assert_eq!(by_default(&["rm", "f"], "no"), Some(0));
    raw.put("f", b"x");
    assert_eq!(by_default(&["rm", "f"], "yes"), Some(0));
    let mut next = server.login("alice");
    assert_eq!(trash(&mut next).len(), 1);
    drop((raw, next));
    server.stop();
}
