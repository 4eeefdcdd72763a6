//! What an operator sees and does through the control socket: status, kick, drain; and what ps shows.

mod common;

use common::{PATIENCE, Raw, SERVICE, Server, eventually, home};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{Pid, geteuid, ttyname};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A server with a control socket, in a directory that is the operator's alone.
struct Operated {
    server: Server,
    _place: tempfile::TempDir,
    socket: PathBuf,
}

impl std::ops::Deref for Operated {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

fn operated(options: &[&str]) -> Operated {
    let place = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
    let socket = place.path().join("own/control");
    let options: Vec<&str> =
        ["--control", socket.to_str().unwrap()].into_iter().chain(options.iter().copied()).collect();
    let server = Server::start(&options);
    Operated { server, _place: place, socket }
}

fn binary() -> PathBuf {
    match std::env::var_os("DFOS_BIN") {
        Some(place) => std::path::absolute(Path::new(&place).join("dfos-forkd")).unwrap(),
        None => env!("CARGO_BIN_EXE_dfos-forkd").into(),
    }
}

/// `dfos-forkd WORDS… --control SOCKET`.
fn command(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(words).arg("--control").arg(socket).stdin(Stdio::null());
    command
}

impl Operated {
    fn ask(&self, words: &[&str]) -> Output {
        command(&self.socket, words).output().unwrap()
    }

    /// What a command that succeeds says.
    #[track_caller]
    fn told(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn status(&self) -> Value {
        let status: Value = serde_json::from_str(&self.told(&["status", "--json"])).unwrap();
        assert_eq!(status["v"], 1);
        status
    }

    /// The one session that there is.
    #[track_caller]
    fn session(&self) -> Value {
        let status = self.status();
        assert_eq!(status["sessions"].as_array().unwrap().len(), 1, "{status}");
        status["sessions"][0].clone()
    }
}

/// What ps shows of a process.
fn title(pid: impl std::fmt::Display) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8(line).unwrap().trim_end_matches('\0').to_owned()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn an_upload_half_way_is_seen_with_its_path_and_how_far_it_is() {
    let server = operated(&[]);
    let mut raw = server.login("alice");
    raw.demand("MKDIR gr%C3%BCn", "OK");
    raw.send("UPLOAD gr%C3%BCn/a%1Bb.txt size=1000\nDATA 400\n");
    raw.send(vec![b'x'; 400]);
    raw.expect("READY");
    eventually("400 bytes are seen", || server.session()["done"] == 400);
    let session = server.session();
    assert_eq!(
        (&session["user"], &session["state"], &session["verb"]),
        (&"alice".into(), &"busy".into(), &"UPLOAD".into())
    );
    assert_eq!(
        (&session["path"], &session["size"], &session["from"]),
        (&"grün/a\u{1b}b.txt".into(), &1000.into(), &0.into())
    );
    assert_eq!(session["peer"], raw.local());
    let status = server.status();
    let start = status["start"].as_i64().unwrap();
    assert_eq!(session["session"], format!("{start:x}-1"));
    assert_eq!(title(&session["pid"]), "dfos-forkd: session alice UPLOAD", "no path");
    let table = server.told(&["status"]);
    assert!(table.contains("grün/a\\u{1b}b.txt") && table.contains("40%") && table.contains("400/1.0K"), "{table}");
    assert!(!server.told(&["status", "--json"]).contains('\u{1b}'));

    raw.send("DATA 600\n");
    raw.send(vec![b'x'; 600]);
    raw.send("END\n");
    raw.expect("OK size=1000");
    eventually("it is idle", || server.session()["state"] == "idle");
    assert_eq!(server.session().get("path"), None, "an idle session has nothing in hand");
    assert_eq!(title(&session["pid"]), "dfos-forkd: session alice idle");
    let status = server.status();
    for (figure, expected) in [("files_in", 1), ("bytes_in", 1000), ("logins", 1), ("connections", 1), ("peak", 1)] {
        assert_eq!(status[figure], expected, "{figure}");
    }
    drop(raw);
    server.wait_idle();
    assert_eq!(server.status()["bytes_in"], 1000, "what has ended still counts");
    assert!(server.status()["sessions"].as_array().unwrap().is_empty());
}

#[test]
fn a_download_that_is_read_slowly_is_seen_and_a_resumed_one_from_where_it_began() {
    let server = operated(&[]);
    let mut raw = server.login("alice");
    raw.put("big", &vec![7; 64 << 20]);
    raw.send("DOWNLOAD big offset=1000\n");
    let size = 64u64 << 20;
    eventually("some of it is seen", || server.session()["done"].as_u64().is_some_and(|done| done > 1000));
    let session = server.session();
    assert_eq!((&session["verb"], &session["path"]), (&"DOWNLOAD".into(), &"big".into()));
    assert_eq!((session["from"].as_u64(), session["size"].as_u64()), (Some(1000), Some(size)));
    assert!(session["done"].as_u64().unwrap() < size, "{session}");
}

#[test]
fn logins_refusals_and_strangers_are_counted_and_the_processes_say_what_they_are() {
    let server = operated(&[]);
    let stranger = server.client();
    eventually("a stranger is seen", || server.session()["state"] == "login");
    assert_eq!(server.session().get("user"), None);
    let mut raw = server.client();
    raw.demand("LOGIN alice wrong", "ERR login-refused");
    raw.demand("LOGIN alice secret", "OK welcome");
    eventually("the login is known", || server.told(&["status"]).contains("alice"));
    let status = server.status();
    assert_eq!((&status["logins"], &status["logins_refused"], &status["peak"]), (&1.into(), &1.into(), &2.into()));
    assert_eq!(status["listeners"][0], server.listening[0]);
    assert_eq!(status["pid"], server.pid().as_raw());
    assert_eq!(title(server.pid()), "dfos-forkd: listener 2 of 1024");
    assert_eq!(title(server.scribe().unwrap()), "dfos-forkd: scribe");
    let titles: HashSet<_> = server.sessions().iter().map(|session| title(session.pid)).collect();
    assert_eq!(titles, ["dfos-forkd: session login".into(), "dfos-forkd: session alice idle".into()].into());
    for process in server.processes() {
        let comm = fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap();
        assert_eq!(comm, "dfos-forkd\n", "pgrep finds it");
    }
    drop((stranger, raw));
    server.wait_idle();
    assert_eq!(server.status()["logins_refused"], 1, "what has ended still counts");
}

#[test]
fn a_session_is_kicked_by_process_by_name_and_by_user_and_hears_why() {
    let server = operated(&["--max-penalty", "600"]);
    let farewell = "ERR login-refused the operator has ended your session";
    let mut sessions: Vec<Raw> = ["alice", "bob", "carol", "carol", "user1"]
        .iter()
        .map(
            |user| {
                if *user == "carol" { login_as(&server, user, "let%20me%20in") } else { login_as(&server, user, "") }
            },
        )
        .collect();
    eventually("all are known", || {
        server.status()["sessions"].as_array().unwrap().iter().all(|one| one.get("user").is_some())
    });
    let status = server.status();
    let of =
        |user: &str| status["sessions"].as_array().unwrap().iter().find(|one| one["user"] == user).unwrap().clone();
    let by_pid = server.told(&["kick", &of("alice")["pid"].to_string()]);
    assert_eq!(by_pid, format!("1 session is ended: {}\n", of("alice")["session"].as_str().unwrap()));
    server.told(&["kick", of("bob")["session"].as_str().unwrap()]);
    assert!(server.told(&["kick", "--user", "carol"]).starts_with("2 sessions are ended: "));
    for raw in &mut sessions[..4] {
        assert_eq!(raw.line(), farewell);
    }
    server.logged("kicked by the operator");
    eventually("one is left", || server.status()["sessions"].as_array().unwrap().len() == 1);
    let status = server.status();
    assert_eq!((&status["kicked"], &status["sent_away"]), (&4.into(), &0.into()));
    sessions[4].demand("PING", "OK pong");
    let nobody = server.ask(&["kick", "--user", "carol"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    assert!(text(&nobody).contains("no such session"));

    // A stranger too, in the middle of its upload another; and none of them has to pay for it.
    let mut stranger = server.client();
    sessions[4].send("UPLOAD kept size=100\nDATA 10\n0123456789");
    sessions[4].expect("READY");
    eventually("the stranger is seen", || server.told(&["status"]).contains("  login  "));
    for session in server.status()["sessions"].as_array().unwrap() {
        server.told(&["kick", session["session"].as_str().unwrap()]);
    }
    assert_eq!(stranger.line(), farewell);
    assert_eq!(sessions[4].line(), farewell);
    server.wait_idle();
    assert_eq!(server.partials("user1").len(), 1, "what was begun can be resumed");
    server.login("alice");
    assert_eq!(server.status()["turned_away"]["penalty"], 0);
    server.no_alarm();
}

/// A login of one of the tests' users; `password` in the protocol's notation, none for the usual one.
fn login_as(server: &Server, user: &str, password: &str) -> Raw {
    if password.is_empty() {
        let password = if user == "bob" { "builder" } else { "secret" };
        return login_as(server, user, password);
    }
    let mut raw = server.client();
    raw.demand(&format!("LOGIN {user} {password}"), "OK welcome");
    raw
}

#[test]
fn a_kicked_session_that_does_not_go_is_killed() {
    let server = operated(&[]);
    let _raw = server.login("alice");
    let pid = server.session()["pid"].to_string();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGSTOP).unwrap();
    server.told(&["kick", &pid]);
    server.logged("did not go: it is killed");
    server.wait_idle();
}

#[test]
fn a_drained_server_takes_nobody_new_and_ends_with_its_last_session() {
    let mut server = operated(&[]);
    let mut raw = server.login("alice");
    assert!(server.told(&["drain"]).contains("ends after 1 session"));
    let mut late = server.client_unheard();
    assert_eq!(late.line(), "ERR busy the server is being drained; try again later");
    let status = server.status();
    assert_eq!((&status["state"], &status["turned_away"]["draining"]), (&"draining".into(), &1.into()));
    assert_eq!(title(server.pid()), "dfos-forkd: listener 1 of 1024, draining");
    raw.put("still", b"works");
    raw.demand("LOGOUT", "OK bye");
    assert_eq!(server.server.wait(), 0);
    server.nobody_is_left();
    assert!(!server.socket.exists() || geteuid().is_root(), "the name goes where that is possible");
    assert!(text(&server.ask(&["status"])).contains("own/control: "), "{}", text(&server.ask(&["status"])));
}

impl Operated {
    /// A connection of which nothing has been read yet.
    fn client_unheard(&self) -> Raw {
        Raw::silent(self.address())
    }
}

#[test]
fn a_drained_server_ends_sessions_in_order_when_their_time_is_over() {
    let mut server = operated(&["--grace", "1"]);
    let mut idle = server.login("alice");
    let mut busy = server.login("user2");
    busy.send("UPLOAD kept size=100\nDATA 10\n0123456789");
    busy.expect("READY");
    server.told(&["drain", "--timeout", "1"]);
    idle.expect("ERR shutting-down");
    busy.expect("ERR shutting-down");
    assert_eq!(server.server.wait(), 0, "an end in order");
    server.nobody_is_left();
    server.no_alarm();
}

#[test]
fn an_empty_server_that_is_drained_ends_at_once() {
    let mut server = operated(&[]);
    assert!(server.told(&["drain"]).contains("it has no sessions"));
    assert_eq!(server.server.wait(), 0);
}

#[test]
fn nobody_but_the_operator_is_answered_whatever_the_modes_say() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root, to be somebody else");
        return;
    }
    let server = operated(&[]);
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let as_somebody = |uid: u32| {
        let output = command(&server.socket, &["status", "--json"]).uid(uid).gid(uid).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{uid}: {output:?}");
        assert!(text(&output).contains("only root and who started the server may ask it"), "{output:?}");
    };
    assert_eq!(fs::metadata(&server.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let parent = server.socket.parent().unwrap();
    mode(parent.parent().unwrap(), 0o755);
    mode(parent, 0o755);
    for uid in [65533, SERVICE] {
        as_somebody(uid);
    }
    mode(&server.socket, 0o666);
    for uid in [65533, SERVICE] {
        as_somebody(uid);
    }
    server.status();
}

#[test]
fn a_server_that_root_has_not_started_has_one_too_and_takes_its_name_away() {
    let place = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
    let home = home();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    common::give(place.path());
    let socket = place.path().join("own/control");
    let options = ["--control", socket.to_str().unwrap()];
    let server = Server::start_unprivileged(home, &options);
    let mut ask = command(&socket, &["status", "--json"]);
    if geteuid().is_root() {
        ask.uid(SERVICE).gid(SERVICE);
    }
    let output = ask.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn who_comes_and_says_nothing_disturbs_nobody() {
    let server = operated(&[]);
    let still: Vec<_> = (0..20).map(|_| UnixStream::connect(&server.socket).unwrap()).collect();
    let mut half = UnixStream::connect(&server.socket).unwrap();
    half.write_all(b"STAT").unwrap();
    let mut never_reads = UnixStream::connect(&server.socket).unwrap();
    never_reads.write_all(b"STATUS\n").unwrap();
    let mut rubbish = UnixStream::connect(&server.socket).unwrap();
    rubbish.write_all(&[b'x'; 5000]).unwrap();
    let mut answer = String::new();
    rubbish.read_to_string(&mut answer).unwrap_or_default();
    assert!(answer.contains("\"error\":"), "{answer}");
    server.status();
    let mut raw = server.login("alice");
    raw.put("x", b"y");
    assert_eq!(server.status()["files_in"], 1);
    drop((still, half, never_reads));
}

#[test]
fn a_dead_servers_socket_is_replaced_and_a_living_ones_left_alone() {
    let mut first = operated(&[]);
    let socket = first.socket.to_str().unwrap().to_owned();
    let other = Server::start(&["--control", &socket]);
    other.logged("another server answers there; status, kick and drain cannot ask this server");
    assert_eq!(first.status()["pid"], first.pid().as_raw(), "still the first one's");
    other.stop();
    assert_eq!(first.status()["pid"], first.pid().as_raw());
    first.server.kill_listener();
    assert!(Path::new(&socket).exists());
    assert!(text(&first.ask(&["status"])).contains("the server that made it is gone"));
    let second = Server::start(&["--control", &socket]);
    assert_eq!(first.status()["pid"], second.pid().as_raw());
}

#[test]
fn a_hundred_questions_under_load_leave_no_descriptor_and_no_session_has_the_socket() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root, to see a server's descriptors");
        return;
    }
    let server = operated(&[]);
    let descriptors = |pid: Pid| -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
    };
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let line = table.lines().find(|line| line.ends_with(server.socket.to_str().unwrap())).unwrap();
    let inode = line.split_whitespace().nth(6).unwrap();
    let ours = PathBuf::from(format!("socket:[{inode}]"));
    server.login("alice").demand("LOGOUT", "OK bye");
    server.wait_idle();
    let before = descriptors(server.pid()).len();
    assert!(descriptors(server.pid()).contains(&ours));
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for user in ["user0", "user1"] {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    server.login(user).put("x", &vec![b'x'; 100_000]);
                }
            });
        }
        let visitor = UnixStream::connect(&server.socket).unwrap(); // a visit is under way while sessions are forked
        for _ in 0..100 {
            server.status();
        }
        let mut held = server.login("alice");
        eventually("alice is seen", || server.told(&["status"]).contains("alice"));
        for process in server.processes().iter().filter(|process| process.pid != server.pid()) {
            let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { continue };
            let links: Vec<_> = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
            assert!(!links.contains(&ours), "{process:?}");
        }
        held.demand("LOGOUT", "OK bye");
        drop(visitor);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    server.wait_idle();
    eventually("no descriptor more than before", || descriptors(server.pid()).len() == before);
    server.no_alarm();
}

/// A parser of the metrics' text: what each family is, and its samples. Stricter than Prometheus' own.
fn metrics(text: &str) -> HashMap<String, f64> {
    let (mut kinds, mut samples, mut family) = (HashMap::new(), HashMap::new(), String::new());
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.starts_with("dfos_");
    for line in body.lines() {
        if let Some(words) = line.strip_prefix("# ") {
            let [what, name, rest] = words.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert!(is_name(name), "{line}");
            match what {
                "HELP" => {
                    assert!(!kinds.contains_key(name), "told twice: {line}");
                    assert!(rest.ends_with('.') && !rest.contains('\\'), "{line}");
                    family = name.into();
                }
                "TYPE" => {
                    assert_eq!(name, family);
                    assert!(["gauge", "counter"].contains(&rest), "{line}");
                    assert_eq!(rest == "counter", name.ends_with("_total"), "{line}");
                    kinds.insert(name.to_owned(), rest.to_owned());
                }
                "UNIT" => {
                    assert_eq!(name, family);
                    assert!(name.trim_end_matches("_total").ends_with(&format!("_{rest}")), "{line}");
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
        assert_eq!(name, family, "a sample stands under its family");
        assert!(kinds.contains_key(name), "{line}");
        if let Some(labels) = labels {
            let labels = labels.strip_suffix('}').unwrap();
            for label in labels.split(',') {
                let (label, value) = label.split_once('=').unwrap();
                assert!(label.chars().all(|c| c.is_ascii_lowercase()), "{line}");
                assert!(value.len() > 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
            }
        }
        let value: f64 = value.parse().unwrap();
        assert!(value >= 0.0 && samples.insert(series.to_owned(), value).is_none(), "{line}");
    }
    samples
}

#[test]
fn the_metrics_are_sound_and_true_and_a_file_of_them_is_replaced_whole() {
    let server = operated(&[]);
    let mut raw = server.login("alice");
    raw.put("x", b"four");
    eventually("it is idle", || server.session()["state"] == "idle");
    let text = server.told(&["status", "--openmetrics"]);
    let samples = metrics(&text);
    for (series, expected) in [
        ("dfos_sessions{state=\"idle\"}", 1.0),
        ("dfos_sessions{state=\"busy\"}", 0.0),
        ("dfos_users", 1.0),
        ("dfos_connections_total", 1.0),
        ("dfos_logins_total{result=\"ok\"}", 1.0),
        ("dfos_connections_turned_away_total{reason=\"penalty\"}", 0.0),
        ("dfos_files_total{direction=\"in\"}", 1.0),
        ("dfos_content_bytes_total{direction=\"in\"}", 4.0),
        ("dfos_draining", 0.0),
        ("dfos_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series}: {text}");
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("dfos.prom");
    fs::write(&file, "old").unwrap();
    let mut reader = File::open(&file).unwrap();
    assert_eq!(server.told(&["status", "--openmetrics", file.to_str().unwrap()]), "");
    let mut old = String::new();
    reader.read_to_string(&mut old).unwrap();
    assert_eq!(old, "old", "whoever reads has the old one whole");
    assert_eq!(metrics(&fs::read_to_string(&file).unwrap()).len(), samples.len());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644, "the exporter can read it");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    match Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Err(why) => eprintln!("not asked: promtool ({why})"),
        Ok(mut promtool) => {
            promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = promtool.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
}

/// `status --watch` on a terminal of its own.
struct Watch {
    process: Child,
    master: OwnedFd,
    slave: OwnedFd,
    seen: Arc<Mutex<String>>,
}

fn watch(server: &Operated, columns: u16, rows: u16) -> Watch {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    let end = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(binary()).args(["status", "--watch", "0.1", "--control"]).arg(&server.socket);
    let process = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let (kept, mut reader) = (seen.clone(), File::from(pty.master.try_clone().unwrap()));
    std::thread::spawn(move || {
        let mut bytes = [0; 65536];
        while let Ok(n @ 1..) = reader.read(&mut bytes) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    });
    Watch { process, master: pty.master, slave: pty.slave, seen }
}

impl Watch {
    /// The last page that is there as a whole.
    fn page(&self) -> Option<Vec<String>> {
        let seen = self.seen.lock().unwrap();
        let (before, _) = seen.rsplit_once("\x1b[J")?;
        let (_, page) = before.rsplit_once("\x1b[H")?;
        Some(
            page.split("\r\r\n")
                .map(|line| line.replace("\x1b[K", "").replace("\x1b[7m", "").replace("\x1b[0m", ""))
                .collect(),
        )
    }

    #[track_caller]
    fn shows(&self, what: &str) -> Vec<String> {
        let shown = || self.page().filter(|page| page.iter().any(|line| line.contains(what)));
        eventually(&format!("'{what}' on the screen, where {:?} is", self.page()), || shown().is_some());
        shown().unwrap_or_default()
    }

    fn press(&self, keys: &[u8]) {
        File::from(self.master.try_clone().unwrap()).write_all(keys).unwrap();
    }

    /// It ends in order, and leaves the terminal as it was.
    #[track_caller]
    fn ends(mut self) {
        let until = Instant::now() + PATIENCE;
        let mut status = None;
        while status.is_none() {
            assert!(Instant::now() < until, "it does not end");
            status = self.process.try_wait().unwrap();
            std::thread::yield_now();
        }
        assert_eq!(status.unwrap().code(), Some(0));
        eventually("the usual screen", || self.seen.lock().unwrap().ends_with("\x1b[?25h\x1b[?1049l"));
        let flags = tcgetattr(&self.slave).unwrap().local_flags;
        assert!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO), "{flags:?}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_watch_fits_its_terminal_follows_it_and_leaves_it_as_it_was() {
    let server = operated(&[]);
    let mut busy = server.login("alice");
    let _idle: Vec<_> = (0..8).map(|n| server.login(&format!("user{n}"))).collect();
    busy.send("UPLOAD a-file-with-a-rather-long-name-that-does-not-fit-into-a-narrow-terminal size=1000\nDATA 250\n");
    busy.send(vec![b'x'; 250]);
    busy.expect("READY");
    for (columns, rows) in [(80, 24), (40, 15)] {
        let watch = watch(&server, columns, rows);
        let page = watch.shows("25%");
        assert!(
            page.len() <= rows as usize && page.iter().all(|line| line.chars().count() <= columns as usize),
            "{page:?}"
        );
        let at = |text: &str| page.iter().position(|line| line.contains(text)).unwrap();
        assert!(at("PID") < at("alice") && at("alice") < at("user0"), "who does something comes first: {page:?}");
        assert!(page[0].starts_with("dfos-forkd 0.1.0"), "{page:?}");
        assert!(watch.seen.lock().unwrap().starts_with("\x1b[?1049h\x1b[?25l"), "a screen of its own");
        // The same terminal, narrower and lower.
        let name = ttyname(&watch.slave).unwrap();
        let resized = Command::new("stty").arg("-F").arg(name).args(["cols", "32", "rows", "9"]).status().unwrap();
        assert!(resized.success());
        eventually("a smaller page", || {
            watch.page().is_some_and(|page| page.len() <= 9 && page.iter().all(|line| line.chars().count() <= 32))
        });
        watch.shows(" more; ");
        watch.press(if columns == 80 { b"q" } else { b"\x03" });
        watch.ends();
    }
}

#[test]
fn the_watch_says_when_the_server_is_gone_and_ends_at_a_signal() {
    let mut server = operated(&[]);
    let watch = watch(&server, 80, 24);
    watch.shows("PID");
    server.server.kill_listener();
    watch.shows("gone;"); // the sentence may take several lines
    kill(Pid::from_raw(watch.process.id() as i32), Signal::SIGTERM).unwrap();
    watch.ends();
    assert!(text(&server.ask(&["status", "--watch"])).contains("needs a terminal"));
}
