//! Limits of users: the file they stand in, and that they hold.

mod common;

use common::raw::{body_bytes, number, pieces};
use common::tree::noise;
use common::{Raw, Server, command, eventually, home};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Files and directories, and bytes, that are really there, unfinished uploads included.
fn recount(server: &Server, user: &str) -> (u64, u64) {
    let all = common::tree::snapshot(&server.at(user));
    let partials = server.partials(user);
    let staged: u64 = partials.iter().map(|path| fs::metadata(path).map_or(0, |meta| meta.len())).sum();
    let bytes: u64 = all.values().filter(|(kind, ..)| *kind == 'f').map(|(.., content)| content.len() as u64).sum();
    ((all.len() + partials.len()) as u64, bytes + staged)
}

#[track_caller]
fn told(raw: &mut Raw) -> (u64, u64) {
    let quota = raw.ask("QUOTA");
    (number(&quota, "files"), number(&quota, "used"))
}

// --- The file

/// What a server says that does not start with this limits file.
#[track_caller]
fn refused(limits: &str, prepare: impl FnOnce(&Path)) -> String {
    let home = home();
    let file = home.path().join("user_limits.toml");
    fs::write(&file, limits).unwrap();
    prepare(&file);
    does_not_start(home.path(), &[])
}

/// What it says, too; a server that starts all the same is ended.
#[track_caller]
fn does_not_start(home: &Path, options: &[&str]) -> String {
    let mut child = command(home, &[&["--port", "0"], options].concat()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let told = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text).unwrap()
    });
    let mut out = String::new();
    // A line on standard output, or its end: it listens, or it has given up.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut out).unwrap();
    if !out.is_empty() {
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    }
    let (text, status) = (told.join().unwrap(), child.wait().unwrap());
    assert_eq!(out, "", "it listened: {text}");
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

#[test]
fn a_limits_file_that_cannot_be_understood_or_trusted_refuses_the_start() {
    let text = refused("[alice]\nquotta = 1\n[\"..\"]\nquota = 1\n[bob]\nallow = [\"10.0.0.1/8\"]\n", |_| {});
    for part in
        ["line 2: there is no limit 'quotta'; did you mean 'quota'?", "line 3: [..]:", "line 6: allow: '10.0.0.1/8'"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(refused("[alice", |_| {}).contains("user_limits.toml line 1"));
    let mode = |mode| move |file: &Path| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    assert!(refused("", mode(0o666)).contains("can be changed by every user"));
    let gone = |file: &Path| {
        fs::remove_file(file).unwrap();
        std::os::unix::fs::symlink("nowhere", file).unwrap();
    };
    assert!(refused("", gone).contains("cannot open"), "a link that leads nowhere is not 'no limits'");
    // A named file must be there.
    let home = home();
    assert!(does_not_start(home.path(), &["--user-limits", "none.toml"]).contains("none.toml"));
}

#[test]
fn a_hangup_takes_new_limits_over_and_a_broken_or_vanished_file_changes_nothing() {
    let server = Server::limited("[alice]\nquota = 1000\n[alicia]\nquota = 1\n", &[]);
    server.logged("line 3: [alicia] has limits and is no user");
    let limit = || server.login("alice").ask("QUOTA");
    assert!(limit().starts_with("OK used=0 limit=1000 "));
    assert!(server.relimit("[alice]\nquota = 2000\n"));
    assert!(limit().starts_with("OK used=0 limit=2000 "));
    assert!(!server.relimit("[alice]\nquota = \"much\"\n"));
    server.logged("line 2: quota: write a number of bytes");
    assert!(limit().starts_with("OK used=0 limit=2000 "));
    fs::remove_file(server.home().join("user_limits.toml")).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the second failure", || server.log().iter().filter(|line| line.contains("reload failed")).count() == 2);
    assert!(limit().starts_with("OK used=0 limit=2000 "), "limits do not vanish with their file");
    server.stop();
}

#[test]
fn a_limits_file_of_which_there_is_more_to_say_than_a_pipe_takes_is_refused_like_any_other() {
    let file = format!("[alice]\n{} = 1\n", "x".repeat(70_000));
    let server = Server::limited("", &[]);
    assert!(!server.relimit(&file));
    server.logged("line 2: there is no limit 'xxx");
    assert!(server.relimit("[alice]\nquota = 1\n"));
    server.stop();
    let text = refused(&file, |_| {});
    assert!(text.contains("line 2: there is no limit 'xxx") && text.len() < 64 * 1024, "{} bytes", text.len());
}

#[test]
fn a_name_that_begins_like_another_has_limits_and_files_of_its_own() {
    let home = home();
    let users = ["share", "share-secret"].map(|name| common::scram::entry(name, "secret")).concat();
    fs::write(home.path().join("users"), users).unwrap();
    let limits = "[share]\nquota = 10\nsessions = 1\n[share-secret]\nquota = 20\nsessions = 1\n";
    fs::write(home.path().join("user_limits.toml"), limits).unwrap();
    let server = Server::start_in(home, &[]);
    let (mut share, mut secret) = (server.login("share"), server.login("share-secret"));
    share.demand("QUOTA", "OK used=0 limit=10 ");
    secret.demand("QUOTA", "OK used=0 limit=20 ");
    secret.put("f", b"secret");
    for path in ["../share-secret/f", "-secret/f", "f", "%2e%2e/share-secret/f"] {
        share.demand(&format!("VIEW {path}"), "ERR ");
    }
    server.client().demand("LOGIN share- secret", "ERR login-refused");
    drop((share, secret));
    server.stop();
}

#[test]
fn the_list_of_users_tells_what_they_may_do() {
    let home = home();
    let limits = "[alice]\naccess = \"read-only\"\n[bob]\ndisabled = true\n";
    fs::write(home.path().join("user_limits.toml"), limits).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dfos-forkd"));
    command.env("DFOS_FORKD_CONFIG", "none");
    let output = command.args(["user", "list", "--users"]).arg(home.path().join("users")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let access =
        |user: &str| text.lines().find(|line| line.starts_with(user)).unwrap().rsplit(' ').next().unwrap().to_owned();
    assert_eq!([access("alice"), access("bob"), access("carol")], ["read-only", "disabled", "full"]);
}

// --- Quota and files

#[test]
fn quotas_of_nothing_of_one_and_exact_ones_hold() {
    let server = Server::limited(
        "[alice]\nquota = 0\nfiles = 1\n[bob]\nquota = 1\nfiles = 0\n[user1]\nfiles = 3\nquota=\"none\"\n",
        &["--quota", "5"],
    );
    let mut alice = server.login("alice");
    assert!(alice.upload("f", b"x").starts_with("ERR over-quota"));
    assert!(alice.upload_with("f", b"x").starts_with("ERR over-quota"), "a length that is not told is no way around");
    alice.put("f", b"");
    assert!(alice.upload("g", b"").starts_with("ERR over-quota"), "the second file");
    alice.demand("MKDIR d", "ERR over-quota");
    let mut bob = server.login("bob");
    assert!(bob.upload("f", b"").starts_with("ERR over-quota"));
    bob.demand("MKDIR a/b parents", "ERR over-quota");
    let mut user = server.login("user1");
    user.put("f", &noise(1, 100));
    user.demand("MKDIR a/b parents", "OK");
    user.demand("MKDIR a/b parents", "OK"); // what is there costs nothing, also when the account is full
    user.demand("MKDIR a/b", "ERR exists");
    user.demand("MKDIR c", "ERR over-quota your quota of files and directories is used up: there are 3 of 3");
    user.demand("RMDIR a/b", "OK");
    user.demand("MKDIR c/d parents", "ERR over-quota"); // c is made; d is too much
    assert_eq!(told(&mut user), recount(&server, "user1"));
    // The wire raises nothing.
    for request in ["UPLOAD g size=0 quota=none", "UPLOAD g files=99 limit=99 size=0", "QUOTA limit=99 files-limit=99"]
    {
        user.send(format!("{request}\n"));
        let answer = user.line();
        assert!(answer.starts_with("ERR over-quota") || answer.contains("files-limit=3"), "{request}: {answer}");
    }
    // The command line's quota is for those who have none of their own.
    assert!(server.login("user2").upload("f", b"sixsix").starts_with("ERR over-quota"));
    drop((alice, bob, user));
    server.stop();
}

#[test]
fn files_and_directories_are_counted_through_every_change() {
    let server = Server::limited("[alice]\nfiles = 1000\nquota = 1000000\n", &[]);
    let mut raw = server.login("alice");
    let agree = |raw: &mut Raw, what: &str| assert_eq!(told(raw), recount(&server, "alice"), "after {what}");
    agree(&mut raw, "nothing");
    for request in ["MKDIR a", "MKDIR b/c/d parents", "MKDIR a/b"] {
        raw.demand(request, "OK");
        agree(&mut raw, request);
    }
    for name in ["f", "g", "a/f", "b/c/d/f", "f"] {
        raw.put(name, &noise(1, 1000));
        agree(&mut raw, "an upload");
    }
    for request in [
        "RENAME f h",
        "RENAME h g replace",
        "RENAME g g replace",
        "RENAME a/b b/c/d/e",
        "DELETE g",
        "RMDIR b/c/d/e",
        "RMDIR b recursive",
        "DELETE none",
        "RMDIR a",
    ] {
        raw.ask(request);
        agree(&mut raw, request);
    }
    raw.send("UPLOAD left size=9\nDATA 3\nabcABORT\n");
    raw.expect("READY");
    raw.expect("ERR aborted");
    agree(&mut raw, "an upload that was given up");
    raw.send("UPLOAD left size=9 resume\n");
    raw.expect("READY offset=3");
    raw.send([b"FROM 0\n".as_slice(), &body_bytes(b"ninebytes")].concat());
    raw.expect("OK");
    agree(&mut raw, "a resumed upload");
    raw.send(
        "UPLOAD bad size=3\nDATA 3\nabcEND sha256=0000000000000000000000000000000000000000000000000000000000000000\n",
    );
    raw.expect("READY");
    raw.expect("ERR checksum-mismatch");
    agree(&mut raw, "a wrong digest");
    fs::hard_link(server.at("alice/left"), server.at("alice/twin")).unwrap();
    raw.send("UPLOAD unfinished size=9\nDATA 3\nabcABORT\n");
    raw.expect("READY");
    raw.expect("ERR aborted");
    let usage = server.at("alice/.dfos/usage");
    // An account of an older version is none: it is counted afresh.
    fs::write(&usage, format!("dfos-usage-1 {:020} {:020} {:020}\n", 7, u64::MAX / 2, 1)).unwrap();
    let expected = recount(&server, "alice");
    assert_eq!(told(&mut raw), expected);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    fs::write(&usage, format!("dfos-usage-9 {:020} {:020} {:020} {:020}\n", 7, 7, now, 1)).unwrap();
    assert_eq!(told(&mut raw), expected);
    raw.demand("RENAME twin left replace", "OK"); // two names of one file: rename(2) does nothing
    assert_eq!(told(&mut raw), expected);
    drop(raw);
    server.stop();
}

#[test]
fn eight_sessions_that_race_never_exceed_their_files() {
    const LIMIT: u64 = 40;
    let server = Server::limited("[alice]\nfiles = 40\nquota = 1000000\n", &[]);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8u64 {
            let (server, start) = (&server, &start);
            scope.spawn(move || {
                let mut raw = server.login("alice");
                start.wait();
                for m in 0..20u64 {
                    let answer = match m % 4 {
                        0 => raw.ask(format!("MKDIR d{n}.{m}/x parents")),
                        1 => raw.upload(&format!("f{n}.{m}"), &noise(n, 500)),
                        2 => raw.upload("same", &noise(m, 700)),
                        _ => raw.ask(format!("DELETE f{n}.{}", m - 2)),
                    };
                    let allowed = ["OK", "ERR over-quota", "ERR not-found"];
                    assert!(allowed.iter().any(|beginning| answer.starts_with(beginning)), "{answer}");
                    let there = common::tree::snapshot(&server.at("alice")).len() as u64;
                    assert!(there <= LIMIT, "{there}");
                }
                // All at once, so that nothing but the account stands between two.
                let all: String = (0..20).map(|m| format!("MKDIR e{n}.{m}\n")).collect();
                raw.send(all);
                (0..20).for_each(|_| drop(raw.line()));
            });
        }
    });
    let mut raw = server.login("alice");
    let there = recount(&server, "alice");
    assert_eq!(told(&mut raw), there);
    assert_eq!(there.0, LIMIT, "all that could be had was had");
    drop(raw);
    server.wait_idle();
    server.stop();
}

// --- The largest file

#[test]
fn a_file_that_is_too_large_is_refused_at_once_or_when_it_has_become_so() {
    let server = Server::limited("[alice]\nlargest_file = 1000\n[bob]\nlargest_file = 0\n", &[]);
    let mut raw = server.login("alice");
    raw.put("f", &noise(1, 1000));
    raw.demand("UPLOAD g size=1001", "ERR too-large");
    for lie in ["", " size=10", " size=1000"] {
        raw.send([format!("UPLOAD g{lie}\n").as_bytes(), &pieces(&noise(1, 1001)), b"END\n"].concat());
        let first = raw.line();
        let answer = if first.starts_with("READY") { raw.line() } else { first };
        assert!(answer.starts_with("ERR too-large") || answer.starts_with("ERR bad-request"), "{lie}: {answer}");
        assert!(!server.at("alice/g").exists());
    }
    // It is refused before the client has sent all of it, however much is still to come.
    raw.send([b"UPLOAD g\n".as_slice(), &pieces(&noise(1, 1001))].concat());
    raw.expect("READY");
    raw.expect("ERR too-large");
    raw.send("END\n");
    raw.demand("PING", "OK pong");
    assert!(
        raw.upload_with("h largest_file=9999 size=0", b"").starts_with("OK"),
        "an option that nobody knows does nothing"
    );
    let mut bob = server.login("bob");
    bob.put("f", b"");
    assert!(bob.upload("f", b"x").starts_with("ERR too-large"));
    // What was begun under a greater limit is not finished under a smaller one.
    let mut carol = server.login("carol");
    carol.send([b"UPLOAD f\n".as_slice(), &pieces(&noise(1, 5000)), b"ABORT\n"].concat());
    carol.expect("READY");
    carol.expect("ERR aborted");
    drop((raw, bob, carol));
    assert!(server.relimit("[carol]\nlargest_file = 1000\n"));
    let mut carol = server.login("carol");
    carol.demand("UPLOAD f resume", "READY offset=5000");
    carol.send("FROM 5000\nEND\n");
    carol.expect("ERR too-large");
    assert!(!server.at("carol/f").exists());
    drop(carol);
    server.stop();
}

// --- Sessions

/// Fifty logins at once, spread over the servers; those that were let in.
fn fifty(servers: &[&Server]) -> Vec<Raw> {
    let start = Barrier::new(50);
    std::thread::scope(|scope| {
        let start = &start;
        let logins: Vec<_> = (0..50usize)
            .map(|n| {
                scope.spawn(move || {
                    let mut raw = servers[n % servers.len()].client();
                    start.wait();
                    let answer = raw.ask("LOGIN alice secret");
                    assert!(answer == "OK welcome alice" || answer.starts_with("ERR busy you have"), "{answer}");
                    (answer.starts_with("OK")).then_some(raw)
                })
            })
            .collect();
        logins.into_iter().filter_map(|login| login.join().unwrap()).collect()
    })
}

#[test]
fn of_fifty_logins_at_once_one_is_let_in_and_its_seat_is_free_when_it_ends() {
    let server = Server::limited("[default]\nsessions = 1\n[bob]\nsessions = 3\n", &[]);
    let mut only = fifty(&[&server]);
    assert_eq!(only.len(), 1);
    server.client().demand("LOGIN alice wrong", "ERR login-refused"); // only the right password is told of the seats
    server.client().demand("LOGIN alice secret", "ERR busy");
    let bobs = [server.login("bob"), server.login("bob"), server.login("bob")];
    server.client().demand("LOGIN bob builder", "ERR busy");
    // After LOGOUT at once, after a kill as soon as the kernel has cleared away.
    only[0].demand("LOGOUT", "OK bye");
    let mut next = server.login("alice");
    next.demand("PING", "OK pong");
    drop(bobs);
    eventually("bob's sessions end", || server.sessions().len() <= 2);
    server.signal_sessions(Signal::SIGKILL);
    eventually("a seat after a kill", || {
        let mut raw = server.client();
        raw.ask("LOGIN alice secret").starts_with("OK")
    });
    drop((only, next));
}

#[test]
fn sessions_are_counted_over_all_servers_of_a_storage() {
    let first = Server::limited("[alice]\nsessions = 1\n", &[]);
    let second_home = home();
    fs::write(second_home.path().join("user_limits.toml"), "[alice]\nsessions = 1\n").unwrap();
    std::os::unix::fs::symlink(first.storage(), second_home.path().join("storage")).unwrap();
    fs::create_dir_all(first.storage()).unwrap();
    let second = Server::start_in(second_home, &[]);
    for _ in 0..3 {
        let in_ = fifty(&[&first, &second]);
        assert_eq!(in_.len(), 1);
        drop(in_);
        first.wait_idle();
        second.wait_idle();
    }
    second.stop();
    first.stop();
}

// --- Rates

const RATE: u64 = 400_000;
/// What a bound on a rate must leave: a burst of a quarter of a second, and the same again for a grant that each of two sessions has
/// taken and the reader's own delay.
fn bound(span: Duration) -> u64 {
    (RATE as f64 * span.as_secs_f64() * 1.1) as u64 + RATE / 4 * 3
}

/// Reads whatever comes until `until`; how many bytes it was.
fn drain(raw: &mut Raw, until: Instant) -> u64 {
    let (mut count, mut buffer) = (0, [0; 16384]);
    raw.socket().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while Instant::now() < until {
        count += raw.socket().read(&mut buffer).unwrap_or(0) as u64;
    }
    count
}

#[test]
fn two_sessions_that_fetch_stay_within_one_rate_and_nobody_else_is_slowed() {
    let server = Server::limited(&format!("[alice]\nrate_down = {RATE}\nrate_up = 1024\n"), &[]);
    fs::create_dir_all(server.at("alice")).unwrap();
    fs::create_dir_all(server.at("bob")).unwrap();
    fs::write(server.at("alice/f"), noise(1, 8_000_000)).unwrap();
    fs::write(server.at("bob/f"), noise(1, 8_000_000)).unwrap();
    for name in 0..40 {
        fs::write(server.at(&format!("alice/small{name}")), noise(name, 60_000)).unwrap();
    }
    let mut one = server.login("alice");
    let digest = one.ask("DIGEST f"); // the digest is known from now on: this one goes by sendfile
    assert!(digest.starts_with("OK size=8000000"));
    let mut two = server.login("alice");
    for name in 0..20 {
        assert!(two.ask(format!("DIGEST small{name}")).starts_with("OK")); // these go with the lines around them
    }
    let (began, span) = (Instant::now(), Duration::from_secs(3));
    one.send("DOWNLOAD f\n");
    two.send((0..40).map(|n| format!("DOWNLOAD small{n}\n")).collect::<String>());
    let until = began + span;
    let moved = std::thread::scope(|scope| {
        let readers = [scope.spawn(|| drain(&mut one, until)), scope.spawn(|| drain(&mut two, until))];
        // Bob has all of his while alice has a part of hers.
        let mut bob = server.login("bob");
        assert_eq!(bob.get("f").len(), 8_000_000);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    let elapsed = began.elapsed().max(span);
    eprintln!("moved {moved} in {elapsed:?}, bound {}", bound(elapsed));
    assert!(moved <= bound(span), "{moved}");
    assert!(moved > 0);
    // The server can end at any moment meanwhile.
    drop((one, two));
    let mut raw = server.login("alice");
    raw.send("DOWNLOAD f\n");
    raw.expect("READY");
    let log = server.stop();
    assert!(log.iter().any(|line| line.contains("ended")));
}

#[test]
fn views_are_counted_in_the_rate_too() {
    let server = Server::limited(&format!("[alice]\nrate_down = {RATE}\n"), &[]);
    fs::create_dir_all(server.at("alice")).unwrap();
    fs::write(server.at("alice/f"), noise(1, 70_000)).unwrap();
    let mut raw = server.login("alice");
    let (began, span) = (Instant::now(), Duration::from_secs(2));
    raw.send("VIEW f length=65536\n".repeat(100));
    let moved = drain(&mut raw, began + span);
    assert!(moved <= bound(span), "{moved}");
    drop(raw);
    server.stop();
}

#[test]
fn two_sessions_that_send_stay_within_one_rate_small_files_and_refused_ones_too() {
    let server = Server::limited(&format!("[alice]\nrate_up = {RATE}\n"), &[]);
    let (began, span) = (Instant::now(), Duration::from_secs(3));
    let (mut one, mut two) = (server.login("alice"), server.login("alice"));
    let one_pen = one.socket().try_clone().unwrap();
    let two_pen = two.socket().try_clone().unwrap();
    let all = [b"UPLOAD f size=8000000\n".as_slice(), &body_bytes(&noise(1, 8_000_000))].concat();
    let small: Vec<u8> =
        (0..200).flat_map(|n| common::raw::upload_bytes(&format!("s{n}"), &noise(n, 30_000))).collect();
    let mut stored = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| (&one_pen).write_all(&all));
        scope.spawn(|| (&two_pen).write_all(&small));
        // What counts is what the server has taken in.
        while began.elapsed() < span {
            stored = recount(&server, "alice").1;
            let so_far = began.elapsed(); // counted not later than this
            assert!(stored <= bound(so_far), "{stored} after {so_far:?}");
            std::thread::sleep(Duration::from_millis(100)); // a sample now and then
        }
        // Signals are heard between two grants.
        server.signal_sessions(Signal::SIGTERM);
        for raw in [&mut one, &mut two] {
            let rest = raw.rest();
            assert!(rest.last().is_some_and(|line| line.starts_with("ERR shutting-down")), "{rest:?}");
        }
    });
    eprintln!("stored {stored} in {span:?}, bound {}", bound(span));
    assert!(stored > 0);
    drop((one, two));
    server.wait_idle();
    server.stop();
}

#[test]
fn a_slow_upload_hears_that_work_goes_on() {
    let server = Server::limited("[alice]\nrate_up = 2048\n", &[]);
    let mut raw = server.login("alice");
    raw.send([b"UPLOAD f size=10000\n".as_slice(), &body_bytes(&noise(1, 10_000))].concat());
    let (mut text, began) = (String::new(), Instant::now());
    while !text.contains("OK size=10000") {
        let mut buffer = [0; 1000];
        let n = raw.socket().read(&mut buffer).unwrap();
        assert!(n > 0 && began.elapsed() < common::PATIENCE);
        text += std::str::from_utf8(&buffer[..n]).unwrap();
    }
    assert!(text.contains("WAIT\n"), "{text}");
    assert!(began.elapsed() > Duration::from_secs(3), "10,000 bytes at 2,048 a second");
    drop(raw);
    server.stop();
}
