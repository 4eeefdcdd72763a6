//! What the kernel says of the server's processes, compared with what is promised: on a start as root and on one without.
//! Run as root, since nobody else can look into a process that is not dumpable.

mod common;

use common::tree::{noise, snapshot};
use common::{SERVICE, Server, command, eventually, home};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// CAP_SYS_CHROOT and no other.
const CHROOT: &str = "0000000000040000";
const NONE: &str = "0000000000000000";

/// How a server was started.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Root,
    Unprivileged,
}

/// Runs a test on both kinds of start.
fn on_both(options: &[&str], test: impl Fn(Start, Server)) {
    if !geteuid().is_root() {
        return eprintln!("skipped: needs root, since no process of the server can be looked into by its own user");
    }
    test(Start::Root, Server::start(options));
    test(Start::Unprivileged, Server::start_unprivileged(home(), options));
}

/// /proc/PID/status, by name.
fn status(pid: Pid) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let split = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(split).collect()
}

/// Where each descriptor leads, by its number.
fn descriptors(pid: Pid) -> BTreeMap<i32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap());
    // One that is closed meanwhile leads nowhere any more.
    let target = |entry: &fs::DirEntry| Some(fs::read_link(entry.path()).ok()?.to_str()?.to_owned());
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, target(&entry)?))).collect()
}

/// The soft and the hard limit of that name.
fn limits(pid: Pid, name: &str) -> [String; 2] {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    [words.next().unwrap(), words.next().unwrap()]
}

/// The limits that hold from before the first byte on. The hard ones too: the soft ones alone it could lift by itself.
#[track_caller]
fn has_the_limits_of_a_session(pid: Pid) {
    for (name, value) in [
        ("Max core file size", "0"),
        ("Max address space", "1073741824"),
        ("Max open files", "2688"),
        ("Max locked memory", "0"),
        ("Max msgqueue size", "0"),
    ] {
        assert_eq!(limits(pid, name), [value; 2], "{name}");
    }
}

#[track_caller]
fn is_the_service_user(pid: Pid) {
    let status = status(pid);
    let four = [SERVICE.to_string().as_str(); 4].join("\t");
    assert_eq!((&status["Uid"], &status["Gid"]), (&four, &four));
    assert!(["", "65534"].contains(&status["Groups"].as_str()), "{}", status["Groups"]);
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0, "it can be traced by its own user");
}

#[track_caller]
fn has_capabilities(pid: Pid, permitted: &str, handed_on: &str) {
    let status = status(pid);
    let sets = ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"].map(|name| status[name].as_str());
    assert_eq!(sets, [permitted, permitted, NONE, handed_on, handed_on]);
}

fn session(server: &Server) -> Pid {
    let sessions = server.sessions();
    assert_eq!(sessions.len(), 1);
    sessions[0].pid
}

#[test]
fn before_login_a_session_has_the_storage_the_users_and_the_right_to_chroot() {
    on_both(&[], |start, server| {
        let raw = server.client();
        let pid = session(&server);
        is_the_service_user(pid);
        // What the listener hands on to the program that takes its place, a session has until it logs in; it can execute nothing.
        has_capabilities(pid, CHROOT, if start == Start::Root { CHROOT } else { NONE });
        assert_eq!((&*status(pid)["Seccomp"], &*status(pid)["Seccomp_filters"]), ("2", "1"));
        let mut held = descriptors(pid);
        let storage = server.storage().to_str().unwrap().to_owned();
        held.retain(|_, target| !target.starts_with("socket:"));
        let mut held: Vec<_> = held.into_values().collect();
        held.sort();
        assert_eq!(
            held,
            ["/dev/null", "/dev/null", "/memfd:dfos-limits (deleted)", "/memfd:dfos-users (deleted)", &storage]
                .map(str::to_owned)
                .as_slice(),
            "{start:?}"
        );
        has_the_limits_of_a_session(pid);
        assert_eq!(limits(pid, "Max cpu time"), ["10", "unlimited"]);
        drop(raw);
        server.stop();
    });
}

#[test]
fn after_login_a_session_has_its_connection_its_root_the_log_and_nothing_else() {
    on_both(&[], |start, server| {
        let raw = server.login("alice");
        let pid = session(&server);
        is_the_service_user(pid);
        has_capabilities(pid, NONE, NONE);
        assert_eq!((&*status(pid)["Seccomp"], &*status(pid)["Seccomp_filters"]), ("2", "2"));
        let root = server.at("alice");
        assert_eq!(fs::read_link(format!("/proc/{pid}/root")).unwrap(), root, "{start:?}");
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), root);
        let held = descriptors(pid);
        assert_eq!((held[&1].as_str(), held[&2].as_str()), ("/dev/null", "/dev/null"));
        let sockets: Vec<_> = held.iter().filter(|(_, target)| target.starts_with("socket:")).collect();
        // The client, the log, where it asks for another password, and the ends of the pipe that signals arrive in.
        assert_eq!((sockets.len(), *sockets[0].0), (5, 0));
        let log = sockets.iter().filter(|(_, target)| descriptors(server.pid()).values().any(|other| other == *target));
        assert_eq!(log.count(), 2, "of the listener's sockets it has the log and where it asks for another password");
        let rest: Vec<_> =
            held.iter().filter(|(number, target)| **number > 2 && !target.starts_with("socket:")).collect();
        assert_eq!(rest.len(), 1, "{held:?}");
        assert_eq!(Path::new(rest[0].1), root);
        has_the_limits_of_a_session(pid);
        assert_eq!(limits(pid, "Max cpu time")[0], "unlimited");
        drop(raw);
        server.stop();
    });
}

#[test]
fn the_listener_and_the_scribe_are_not_root() {
    on_both(&[], |start, server| {
        let (listener, scribe) = (server.pid(), server.scribe().unwrap());
        for pid in [listener, scribe] {
            is_the_service_user(pid);
        }
        // It may have started only just now.
        eventually("the scribe to give its rights up", || status(scribe)["CapPrm"] == NONE);
        if start == Start::Root {
            has_capabilities(listener, CHROOT, CHROOT);
            has_capabilities(scribe, NONE, NONE);
        } else {
            assert_eq!(status(listener)["CapPrm"], NONE);
        }
        eventually("the scribe to drop what it inherited", || {
            let held: Vec<_> = descriptors(scribe).into_iter().filter(|(number, _)| *number > 2).collect();
            held.len() == 2 && held.iter().all(|(_, what)| what.starts_with("socket:")) // the two ways to it
        });
        server.stop();
    });
}

#[test]
fn what_the_starter_left_open_is_not_inherited() {
    on_both(&[], |_, server| server.stop().clear());
    if !geteuid().is_root() {
        return;
    }
    let server = Server::start_under("022; exec 9</etc/passwd", home(), &[]);
    let raw = server.login("alice");
    for pid in [server.pid(), server.scribe().unwrap(), session(&server)] {
        assert!(descriptors(pid).values().all(|target| target != "/etc/passwd"), "{:?}", descriptors(pid));
    }
    drop(raw);
    server.stop();
}

#[test]
fn everything_works_within_the_walls() {
    on_both(&["--quota", "100MB"], |_, server| {
        let mut raw = server.login("alice");
        let bytes = noise(7, 3_000_000);
        raw.put("big", &bytes);
        raw.demand("MKDIR a/b/c parents", "OK");
        for n in 0..40 {
            raw.put(&format!("a/b/c/f{n}"), format!("file {n}").as_bytes());
        }
        raw.demand("RENAME big a/moved", "OK");
        raw.demand("LOGOUT", "OK bye");
        let mut raw = server.login("alice");
        assert!(raw.ask("STAT a/moved").contains(" sha256="), "the digest is kept in an attribute");
        assert_eq!(raw.get("a/moved"), bytes);
        raw.demand("DIGEST a/moved", "OK");
        assert_eq!(raw.names("a recursive").len(), 43);
        raw.demand("QUOTA", "OK used=3000");
        raw.demand("UPLOAD x size=200000000", "ERR over-quota"); // counts the tree again
        raw.demand("RMDIR a recursive", "OK removed=44");
        let found = fs::metadata(server.at("alice")).unwrap();
        assert_eq!((found.uid(), found.gid()), (SERVICE, SERVICE));
        drop(raw);
        server.stop();
    });
}

#[test]
fn a_home_that_cannot_be_used_is_a_refused_login_and_nothing_is_made_elsewhere() {
    on_both(&[], |_, server| {
        fs::write(server.at("alice"), "a file").unwrap();
        fs::create_dir(server.at("bob")).unwrap(); // root's own
        fs::set_permissions(server.at("bob"), Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/tmp", server.at("carol")).unwrap();
        fs::set_permissions(server.storage(), Permissions::from_mode(0o555)).unwrap();
        let before = snapshot(server.home());
        for (user, password) in
            [("alice", "secret"), ("bob", "builder"), ("carol", "let%20me%20in"), ("user1", "secret")]
        {
            let mut raw = server.client();
            let answer = raw.ask(format!("LOGIN {user} {password}"));
            assert!(answer.starts_with("ERR ") && answer.contains("your directory cannot be used"), "{user}: {answer}");
            raw.closed();
        }
        assert_eq!(snapshot(server.home()), before);
        server.wait_idle();
    });
}

#[test]
fn a_killed_listener_takes_confined_sessions_with_it() {
    on_both(&[], |_, mut server| {
        let (mut member, mut stranger) = (server.login("alice"), server.client());
        server.kill_listener();
        member.expect("ERR shutting-down");
        stranger.expect("ERR shutting-down");
        server.nobody_is_left();
    });
}

/// The standard error of a start that must fail; one that serves instead is ended.
fn refused(mut command: Command) -> String {
    let mut process = command.spawn().unwrap();
    let (mut line, mut why) = (String::new(), String::new());
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        process.kill().unwrap();
        panic!("it serves: {line}");
    }
    process.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(1), "{why}");
    why
}

#[test]
fn root_is_nobody_to_run_as() {
    if !geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let home = home();
    for (name, text) in [
        ("root", "must not run as root"),
        ("0", "must not run as root"),
        ("no-such-user", "there is no user 'no-such-user'"),
        ("", "there is no user ''"),
        ("4294967295", "no user id"),
    ] {
        let why = refused(command(home.path(), &["--run-as", name, "--port", "0"]));
        assert!(why.contains(text), "{name}: {why}");
    }
    let storage = home.path().join("storage");
    fs::create_dir_all(&storage).unwrap();
    chown(&storage, Some(0), Some(0)).unwrap();
    let why = refused(command(home.path(), &["--port", "0"]));
    assert!(why.contains("--run-as USER") && why.contains("chown -R USER"), "{why}");
    chown(&storage, Some(54321), None).unwrap(); // a user without a name
    let output = Server::spawn(command(home.path(), &[]), home, &[]);
    output.logged("running as user 54321");
    assert_eq!(status(output.pid())["Uid"], "54321\t54321\t54321\t54321");
    assert_eq!(status(output.pid())["Groups"], "54321");
    output.login("alice").put("f", b"x");
    assert_eq!(fs::metadata(output.at("alice/f")).unwrap().uid(), 54321);
    output.stop();
}

#[test]
fn what_root_makes_belongs_to_the_service_user() {
    if !geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let server = Server::start(&[]);
    server.logged("running as nobody");
    for path in ["", ".dfos", ".dfos/login-secret"] {
        assert_eq!(fs::metadata(server.at(path)).unwrap().uid(), SERVICE, "{path}");
    }
    server.stop();
}

#[test]
fn the_users_are_loaded_again_by_the_service_user_if_the_file_lets_it() {
    on_both(&[], |start, server| {
        let users = server.home().join("users");
        fs::write(&users, "dave:hello\n").unwrap();
        server.signal(Signal::SIGHUP);
        server.logged("users reloaded");
        server.client().demand("LOGIN dave hello", "OK welcome dave");
        if start == Start::Unprivileged {
            return;
        }
        chown(&users, Some(0), Some(0)).unwrap();
        fs::set_permissions(&users, Permissions::from_mode(0o600)).unwrap();
        server.signal(Signal::SIGHUP);
        server.logged("reload failed: ");
        server.client().demand("LOGIN dave hello", "OK welcome dave");
        // A fresh start reads it as root, and says what will not work.
        let mut server = server;
        server.signal(Signal::SIGINT);
        assert_eq!(server.wait(), 0);
        let home = server.leave();
        let server = Server::spawn(command(home.path(), &[]), home, &[]);
        let warning = server.logged("SIGHUP cannot load it again");
        assert!(warning.contains("chgrp 65534") && warning.contains("chmod 0640"), "{warning}");
        server.client().demand("LOGIN dave hello", "OK welcome dave");
        server.stop();
    });
}

#[test]
fn a_missing_layer_is_a_warning_and_with_require_sandbox_a_refusal() {
    on_both(&["--require-sandbox"], |_, server| server.stop().clear());
    if !geteuid().is_root() {
        return;
    }
    // A user namespace in which there can be no other: an unprivileged start gets no right to chroot there.
    let home = home();
    let start = |options: &[&str]| {
        let server = command(home.path(), options);
        let script =
            "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "sh", "-c", script, "sh"]);
        command.arg(server.get_program()).args(server.get_args()).current_dir(home.path());
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command
    };
    for path in [home.path().to_owned(), home.path().join("users")] {
        chown(path, Some(0), Some(0)).unwrap();
    }
    let why = refused(start(&["--port", "0", "--require-sandbox"]));
    if why.contains("unshare:") || why.contains("setpriv:") {
        return eprintln!("skipped: no user namespace to try it in ({})", why.trim());
    }
    assert!(why.contains("the layer 'chroot' is missing here"), "{why}");
    let command = start(&[]);
    let server = Server::spawn(command, home, &[]);
    server.logged("the layer 'chroot' is missing here: a session that is taken over can tell which files exist");
    let raw = server.login("alice");
    let pid = session(&server);
    assert_eq!(status(pid)["Seccomp_filters"], "2", "the other layers are there");
    assert_eq!(fs::read_link(format!("/proc/{pid}/root")).unwrap(), Path::new("/"));
    drop(raw);
    server.stop();
}

/// What `check` prints, and its exit status.
fn check(home: &Path, options: &[&str]) -> (String, Option<i32>) {
    let output = command(home, &[&["check"], options].concat()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn check_names_layers_listeners_and_faults_and_fails_for_what_would_be_refused() {
    let home = home();
    let (text, code) = check(home.path(), &[]);
    assert_eq!(code, Some(0), "{text}");
    for layer in ["service-user", "descriptors", "process", "chroot", "landlock", "seccomp"] {
        assert!(text.contains(&format!("layer {layer}")), "{layer}: {text}");
    }
    assert!(text.contains("Landlock has version"), "{text}");
    assert!(text.contains("ok       tls://127.0.0.1:9000: this machine only"), "{text}");
    assert!(text.contains("users line 3: the password of carol stands in clear text"), "{text}");
    let (text, code) = check(home.path(), &["--listen", "tcp://0.0.0.0:9000"]);
    assert!(code == Some(1) && text.contains("refused  tcp://0.0.0.0:9000 would be reachable"), "{text}");
    let (text, code) = check(home.path(), &["--allow-plaintext", "--listen", "tcp://0.0.0.0:9000"]);
    assert!(
        code == Some(0) && text.contains("warning  tcp://0.0.0.0:9000 can be reached from other machines"),
        "{text}"
    );
    let users = home.path().join("users");
    fs::set_permissions(&users, Permissions::from_mode(0o604)).unwrap();
    let (text, _) = check(home.path(), &[]);
    assert!(text.contains("users can be read by every user of this machine"), "{text}");
    fs::set_permissions(&users, Permissions::from_mode(0o602)).unwrap();
    let (text, code) = check(home.path(), &[]);
    assert!(code == Some(1) && text.contains("refused  the users file cannot be used"), "{text}");
    fs::remove_file(&users).unwrap();
    assert_eq!(check(home.path(), &[]).1, Some(1));
    assert!(!home.path().join("storage").exists(), "check makes nothing");
}

#[test]
fn check_does_not_take_a_storage_that_will_be_made_for_a_missing_layer() {
    let home = home();
    let (text, code) = check(home.path(), &["--require-sandbox"]);
    assert!(text.contains("storage will be made"), "{text}");
    assert!(code == Some(0) && !text.contains("is missing"), "{text}");
}

#[test]
fn check_refuses_a_socket_without_a_directory_and_a_storage_that_cannot_be_written() {
    let home = home();
    let (text, code) = check(home.path(), &["--listen", "unix:/nonexistent/dfos.sock"]);
    assert!(code == Some(1) && text.contains("the directory for this socket is missing"), "{text}");
    let storage = home.path().join("storage");
    fs::create_dir(&storage).unwrap();
    fs::set_permissions(&storage, Permissions::from_mode(0o550)).unwrap();
    let options: &[&str] = if geteuid().is_root() { &["--run-as", "nobody"] } else { &[] };
    let (text, code) = check(home.path(), options);
    assert!(code == Some(1) && text.contains("refused  the user that the server runs as cannot write"), "{text}");
    assert!(refused(command(home.path(), options)).contains("the login secret in the storage directory"));
    fs::set_permissions(&storage, Permissions::from_mode(0o750)).unwrap();
}

#[test]
fn a_start_that_is_refused_says_why_and_nothing_else_and_makes_nothing() {
    let home = home();
    fs::remove_file(home.path().join("users")).unwrap();
    let tls = ["--port", "0"];
    let why = refused(command(home.path(), &tls));
    assert!(why.starts_with("dfos-forkd: the users file cannot be used") && why.lines().count() == 1, "{why}");
    assert!(!home.path().join("storage").exists());
    fs::write(home.path().join("users"), "alice:secret\n").unwrap();
    fs::write(home.path().join("user_limits.toml"), "[alice]\nquota = 'x'\nfiles = 'y'\n").unwrap();
    let why = refused(command(home.path(), &tls));
    assert!(why.lines().count() == 2 && why.lines().all(|line| line.starts_with("dfos-forkd: ")), "{why}");
    assert!(!why.contains("pin"), "{why}");
    let (text, _) = check(home.path(), &tls);
    let limits = text.lines().filter(|line| line.contains("user_limits.toml"));
    assert_eq!(limits.filter(|line| line.starts_with("refused ")).count(), 2, "{text}");
}

#[test]
fn the_limit_of_processor_time_ends_with_the_login() {
    on_both(&[], |_, server| {
        let mut raw = server.login("alice");
        eventually("the limit is lifted", || limits(session(&server), "Max cpu time")[0] == "unlimited");
        raw.demand("PING", "OK pong");
    });
}
