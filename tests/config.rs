//! The configuration: what a flag, the environment and the file say, and what a running server takes over from a file that has changed.

mod common;

use common::tls::Pair;
use common::{Raw, SERVICE, Server, eventually, home};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home with a configuration file that belongs to whoever runs this: a server's users and storage lie beside its directory.
struct Place {
    home: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    fn new(text: &str) -> Place {
        let home = home();
        let directory = home.path().join("conf");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let place = Place { file: directory.join("forkd.toml"), home };
        write(&place.file, text);
        place
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    /// A command that reads the file.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-forkd"));
        command.args(words).arg("--config").arg(&self.file).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// What such a command prints.
    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Ran {
        ran(self.command(words).envs(variables.iter().copied()))
    }

    /// A server that is told everything by the file.
    fn serve(self) -> (Server, PathBuf) {
        let mut command = self.command(&["serve"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        (Server::spawn(command, self.home, &["--listen"]), self.file)
    }
}

/// What a command came to.
#[derive(Debug)]
struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
}

fn ran(command: &mut Command) -> Ran {
    let Output { stdout, stderr, status } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { out: text(stdout), err: text(stderr), code: status.code() }
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
}

/// What every server here is told: where, and by paths from where the file is.
const HERE: &str = "dir = '../storage'\nusers = '../users'\nstate-dir = '../state'\nmax-penalty = 0\n";
/// A listener besides.
const SERVE: &str =
    "dir = '../storage'\nusers = '../users'\nstate-dir = '../state'\nlisten = 'tcp://127.0.0.1:0'\nmax-penalty = 0\n";

/// Has the file read again; whether the server took it.
#[track_caller]
fn reload(server: &Server) -> bool {
    let count = |text: &str| server.log().iter().filter(|line| line.contains(text)).count();
    let (taken, refused) = (count("users reloaded"), count("reload failed"));
    server.signal(Signal::SIGHUP);
    eventually("the reload", || count("users reloaded") + count("reload failed") > taken + refused);
    count("users reloaded") > taken
}

#[test]
fn a_flag_comes_before_the_environment_that_before_the_file_and_check_says_who_said_what() {
    let place =
        Place::new(&format!("{HERE}grace = 7\nidle-timeout = 7\nlogin-timeout = 7\nlisten = 'tls://[::1]:0'\n"));
    let variables =
        [("DFOS_FORKD_GRACE", "6"), ("DFOS_FORKD_IDLE_TIMEOUT", "6"), ("DFOS_FORKD_ALLOW", "::1,10.0.0.0/8")];
    let shown = place.run(&["check", "--grace", "5", "--port", "0"], &variables);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let file = place.file.display();
    for (assignment, origin) in [
        ("grace = 5", "flag".to_owned()),
        ("idle-timeout = 6", "environment DFOS_FORKD_IDLE_TIMEOUT".into()),
        ("login-timeout = 7", format!("{file}:7")),
        ("max-penalty = 0", format!("{file}:4")),
        ("port = 0", "flag".into()),
        ("allow = [\"::1\", \"10.0.0.0/8\"]", "environment DFOS_FORKD_ALLOW".into()),
        ("max-clients = 1024", "default".into()),
        (&format!("dir = \"{}/conf/../storage\"", place.path().display()), format!("{file}:1")),
    ] {
        let found =
            shown.out.lines().filter_map(|line| line.split_once(" # ")).find(|(left, _)| left.trim_end() == assignment);
        assert_eq!(found.map(|(_, origin)| origin), Some(&*origin), "{assignment}\n{}", shown.out);
    }
    // The flag --port leaves no place for the file's listener.
    assert!(shown.out.contains("ok       tls://127.0.0.1:0: this machine only"), "{}", shown.out);
    // All of it is a configuration file again.
    let (_, toml) = shown.out.split_once("\n\n").unwrap();
    write(&place.file, toml);
    let again = place.run(&["check"], &[]);
    assert!(again.code == Some(0) && again.out.contains(&format!("grace = 5{:36}# {file}:", "")), "{}", again.out);
}

#[test]
fn what_is_wrong_with_the_file_is_told_with_its_line_and_nothing_is_done() {
    let place = Place::new("dir = '../storage'\nmax-client = 5\nport = 'x'\n");
    let file = place.file.display();
    let unknown = format!("{file} line 2: there is no key 'max-client'; did you mean 'max-clients'?");
    let wrong = format!("{file} line 3: port: 'x': write a whole number");
    for words in [&["serve"][..], &["user", "list"], &["--max-clients", "3"]] {
        let Ran { out, err, code } = place.run(words, &[]);
        let expected = format!("dfos-forkd: {unknown}\ndfos-forkd: {wrong}\n");
        assert_eq!((out, err, code), (String::new(), expected, Some(1)), "{words:?}");
    }
    for words in [&["check"][..], &["check", "--quiet"]] {
        let Ran { out, err, code } = place.run(words, &[]);
        assert_eq!((out, err, code), (format!("refused  {unknown}\nrefused  {wrong}\n"), String::new(), Some(1)));
    }
    assert!(!place.path().join("storage").exists());
    let variable = place.run(&["serve"], &[("DFOS_FORKD_MAX_CLIENT", "5")]);
    assert!(
        variable.err.contains("DFOS_FORKD_MAX_CLIENT is no option; did you mean DFOS_FORKD_MAX_CLIENTS?"),
        "{variable:?}"
    );
    // A wrong flag is the command line's fault alone.
    assert_eq!(place.run(&["serve", "--prot", "1"], &[]).code, Some(2));
}

#[test]
fn check_tells_by_its_exit_status_and_quietly_only_what_is_refused() {
    let place = Place::new(HERE);
    let quiet = place.run(&["check", "--quiet"], &[]);
    assert_eq!((quiet.out.as_str(), quiet.code), ("", Some(0)), "{quiet:?}");
    write(&place.file, &format!("{HERE}listen = ['tcp://0.0.0.0:0']\n"));
    let quiet = place.run(&["check", "-q"], &[]);
    assert!(quiet.out.starts_with("refused  tcp://0.0.0.0:0 would be reachable") && quiet.code == Some(1), "{quiet:?}");
    assert_eq!(quiet.out.lines().count(), 1);
    write(&place.file, &format!("{HERE}tls-key = 'key.pem'\n"));
    let half = place.run(&["check"], &[]);
    assert!(half.out.contains("refused  --tls-cert <FILE> is missing: what is set needs it as well"), "{half:?}");
    assert_eq!((half.code, place.run(&["serve"], &[]).code), (Some(1), Some(1)));
}

#[test]
fn a_file_that_somebody_else_could_have_written_is_refused() {
    let place = Place::new(HERE);
    let refused = |why: &str| {
        let told = place.run(&["check", "-q"], &[]);
        assert!(
            told.code == Some(1) && told.out.starts_with("refused  the configuration file cannot be used: "),
            "{told:?}"
        );
        assert!(told.out.contains(why), "{told:?}");
        assert_eq!(place.run(&["serve"], &[]).code, Some(1));
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(&place.file, 0o646);
    refused("can be changed by every user of this machine");
    mode(&place.file, 0o644);
    let directory = place.file.parent().unwrap();
    mode(directory, 0o777);
    refused("every user of this machine can put files into");
    mode(directory, 0o755);
    if geteuid().is_root() {
        chown(&place.file, Some(SERVICE), None).unwrap();
        refused("belongs to another user");
        chown(&place.file, Some(0), Some(SERVICE)).unwrap();
        mode(&place.file, 0o664);
        refused("can be changed by a group");
        mode(&place.file, 0o644);
    }
    assert_eq!(place.run(&["check", "-q"], &[]).code, Some(0));
    fs::remove_file(&place.file).unwrap();
    refused("No such file");
    fs::create_dir(&place.file).unwrap();
    refused("is not a regular file");
    fs::remove_dir(&place.file).unwrap();
    fs::write(&place.file, "#".repeat(600 * 1024)).unwrap();
    let large = place.run(&["check", "-q"], &[]);
    assert!(large.code == Some(1) && large.out.contains("it is larger than 512 KiB"), "{large:?}");
}

#[test]
fn the_usual_file_is_read_by_root_alone_and_only_if_it_is_there() {
    if !geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let place = Place::new("");
    let script = "mount -t tmpfs none /etc && mkdir /etc/dfos && printf 'max-clients = 77\\n' >/etc/dfos/forkd.toml && exec \"$@\"";
    let run = |before: &[&str], after: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .args(before)
            .arg(env!("CARGO_BIN_EXE_dfos-forkd"))
            .arg("check");
        command.args(after).args(["--users", "users", "--dir", "storage", "--state-dir", "state"]);
        ran(command.env_remove("DFOS_FORKD_CONFIG").envs(variables.iter().copied()).current_dir(place.path())).out
    };
    let usual = run(&[], &["--run-as", "65534"], &[]);
    if usual.is_empty() {
        return eprintln!("skipped: no mount namespace to try it in");
    }
    let line = |value: &str, origin: &str| format!("{:<44} # {origin}\n", format!("max-clients = {value}"));
    assert!(usual.contains(&line("77", "/etc/dfos/forkd.toml:1")), "{usual}");
    for none in [
        run(&["setpriv", "--reuid", "65534", "--clear-groups"], &[], &[]),
        run(&[], &["--run-as", "65534", "--config", "none"], &[]),
        run(&[], &["--run-as", "65534"], &[("DFOS_FORKD_CONFIG", "none")]),
        run(&["sh", "-c", "rm /etc/dfos/forkd.toml && exec \"$@\"", "sh"], &["--run-as", "65534"], &[]),
    ] {
        assert!(none.contains(&line("1024", "default")), "{none}");
    }
}

#[test]
fn a_server_that_is_told_all_by_the_file_serves_and_other_commands_read_the_same_file() {
    let place = Place::new(SERVE);
    let users = place.run(&["user", "list"], &[]);
    assert!(users.code == Some(0) && users.out.contains("carol"), "{users:?}");
    let empty = place.path().join("empty");
    fs::write(&empty, "").unwrap();
    for words in [&["user", "list"][..], &["user", "--users", "empty", "list"], &["user", "list", "--users", "empty"]] {
        let variables = [("DFOS_FORKD_USERS", empty.to_str().unwrap())];
        assert_eq!(place.run(words, &variables[..usize::from(words.len() == 2)]).out, "", "{words:?}");
    }
    let (server, _) = place.serve();
    server.login("alice").put("x", b"content");
    assert_eq!(fs::read(server.at("alice/x")).unwrap(), b"content");
    assert!(server.storage().exists());
    server.stop();
}

#[test]
fn a_hangup_takes_over_what_can_change_and_sessions_go_on() {
    let (server, file) = Place::new(&format!("{SERVE}max-clients-per-ip = 1\nquota = 1000\n")).serve();
    let mut first = server.login("alice");
    assert!(first.ask("QUOTA").starts_with("OK used=0 limit=1000 "));
    Raw::silent(server.address()).expect("ERR busy");
    write(&file, &format!("{SERVE}max-clients-per-ip = 50\nquota = 2000\nverbose = 1\n"));
    assert!(reload(&server));
    server.logged("configuration reloaded, changed: max-clients-per-ip, quota, verbose");
    let mut second = server.login("alice");
    assert!(second.ask("QUOTA").starts_with("OK used=0 limit=2000 "), "the limits of who logs in now");
    second.put("x", b"1");
    second.demand("STAT x", "OK ");
    assert!(server.logged("STAT x").contains(" debug alice@"));

    write(&file, &format!("{SERVE}deny = ['127.0.0.0/8']\n"));
    assert!(reload(&server));
    Raw::silent(server.address()).closed();
    first.demand("PING", "OK pong");
    second.demand("PING", "OK pong");
    server.logged("configuration reloaded, changed: deny, max-clients-per-ip, quota, verbose");

    write(&file, &format!("{SERVE}login-timeout = 1\n"));
    assert!(reload(&server));
    let silent = server.client();
    server.logged("no login in time");
    drop(silent);
    // Nothing is told of where nothing has changed.
    let told = |server: &Server| server.log().iter().filter(|line| line.contains("configuration reloaded")).count();
    let before = told(&server);
    assert!(reload(&server));
    assert_eq!(told(&server), before);
    drop((first, second));
    server.stop();
}

#[test]
fn after_a_hangup_users_come_from_where_the_file_says() {
    let (server, file) = Place::new(SERVE).serve();
    let mut alice = server.login("alice");
    let mut carol = server.client();
    carol.demand("LOGIN carol let%20me%20in", "OK welcome");
    fs::create_dir(server.home().join("other")).unwrap();
    fs::write(server.home().join("other/users"), "carol:let me in\ndave:hello\n").unwrap();
    fs::write(server.home().join("other/user_limits.toml"), "[dave]\nquota = 77\n").unwrap();
    common::give(&server.home().join("other"));
    write(&file, &SERVE.replace("'../users'", "'../other/users'"));
    assert!(reload(&server));
    let mut dave = server.client();
    dave.demand("LOGIN dave hello", "OK welcome");
    assert!(dave.ask("QUOTA").starts_with("OK used=0 limit=77 "), "the limits file beside it is read");
    alice.expect("ERR login-refused");
    carol.demand("PING", "OK pong");
    drop((alice, carol, dave));
    write(&file, SERVE);
    assert!(reload(&server), "no limits file is missed where there never was one");
    assert!(server.login("alice").ask("QUOTA").starts_with("OK used=0 limit=none"));
    server.stop();
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_of_with_its_line() {
    let (server, file) = Place::new(&format!("{SERVE}quota = 1000\n")).serve();
    let add = |line: &str| {
        let users = server.home().join("users");
        let text = fs::read_to_string(&users).unwrap() + line;
        fs::write(users, text).unwrap();
    };
    add("dave:hello\n");
    for (text, why) in [
        ("quota = 2000\nquotas = 1\n", "line 7: there is no key 'quotas'; did you mean 'quota'?"),
        ("quota = '\n", "line 6: "),
        ("quota = 2000\ngrace = 0\n", "line 7: grace: '0': a number of seconds from 1 on"),
        ("quota = 2000\ntls-key = '/k'\n", "forkd.toml: --tls-cert <FILE> is missing: what is set needs it as well"),
    ] {
        write(&file, &format!("{SERVE}{text}"));
        assert!(!reload(&server), "{text}");
        server.logged(why);
    }
    fs::remove_file(&file).unwrap();
    assert!(!reload(&server));
    server.logged("forkd.toml: No such file");
    server.logged("reload failed: users, limits, certificate and configuration stay as they are");
    assert!(server.login("alice").ask("QUOTA").starts_with("OK used=0 limit=1000 "));
    server.client().demand("LOGIN dave hello", "ERR login-refused");

    // Nor is a good one taken over where something else is broken.
    write(&file, &format!("{SERVE}quota = 2000\ndeny = ['127.0.0.0/8']\n"));
    fs::write(server.home().join("user_limits.toml"), "[alice]\nquote = 1\n").unwrap();
    assert!(!reload(&server));
    assert!(server.login("alice").ask("QUOTA").starts_with("OK used=0 limit=1000 "));
    write(&file, &format!("{SERVE}quota = 2000\n"));
    fs::write(server.home().join("user_limits.toml"), "").unwrap();
    assert!(reload(&server));
    assert!(server.login("alice").ask("QUOTA").starts_with("OK used=0 limit=2000 "));
    server.client().demand("LOGIN dave hello", "OK welcome");
    server.stop();
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_taken_over() {
    let (server, file) = Place::new(SERVE).serve();
    let other = SERVE.replace("tcp://127.0.0.1:0", "tcp://127.0.0.2:0").replace("../storage", "../elsewhere");
    write(&file, &format!("{other}max-clients = 3\nmax-clients-per-ip = 1\n"));
    for _ in 0..2 {
        assert!(reload(&server));
    }
    for key in ["dir", "listen", "max-clients"] {
        let text = format!(" {key} changed in the configuration: takes effect at the next start");
        let told = || server.log().iter().filter(|line| line.contains(&text)).count();
        eventually(&text, || told() == 2); // each time, as long as it is so
    }
    server.logged("configuration reloaded, changed: max-clients-per-ip");
    let first = server.login("alice");
    Raw::silent(server.address()).expect("ERR busy");
    drop(first);
    assert!(!server.home().join("elsewhere").exists());
    server.stop();
}

#[test]
fn a_certificate_that_the_file_names_anew_is_shown_and_one_taken_away_stays() {
    let place = Place::new("");
    let directory = place.file.parent().unwrap().to_owned();
    for name in ["one", "two"] {
        Pair::own(name).write(&directory, name);
        common::give(&directory.join(format!("{name}.crt")));
        common::give(&directory.join(format!("{name}.key")));
    }
    let serve = SERVE.replace("tcp:", "tls:");
    let with = |name: &str| format!("{serve}tls-cert = '{name}.crt'\ntls-key = '{name}.key'\n");
    write(&place.file, &with("one"));
    let (server, file) = place.serve();
    let pins = || {
        let log = server.log();
        log.iter().filter_map(|line| Some(line.split_once("pin is sha256:")?.1.to_owned())).collect::<Vec<_>>()
    };
    write(&file, &with("two"));
    assert!(reload(&server));
    server.logged("certificate reloaded");
    assert!(matches!(&pins()[..], [one, two] if one != two), "{:?}", pins());
    // Half of it taken away: what would be no start is no reload either.
    write(&file, &format!("{serve}tls-key = 'two.key'\n"));
    assert!(!reload(&server));
    write(&file, &serve);
    assert!(reload(&server));
    server.logged(" tls-cert changed in the configuration: takes effect at the next start");
    assert!(matches!(&pins()[..], [_, two, again] if two == again), "{:?}", pins());
    server.stop();
}

#[test]
fn a_file_that_the_service_user_cannot_read_is_told_of_at_the_start_and_keeps_what_runs() {
    if !geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let place = Place::new(&format!("{SERVE}quota = 1000\n"));
    fs::set_permissions(&place.file, Permissions::from_mode(0o600)).unwrap();
    let checked = place.run(&["check"], &[]);
    let warned =
        checked.out.lines().any(|line| line.starts_with("warning  cannot open") && line.contains("forkd.toml"));
    assert!(warned && checked.code == Some(0), "{checked:?}");
    let (server, _) = place.serve();
    assert!(server.logged("SIGHUP cannot load it again").contains("forkd.toml"));
    assert!(!reload(&server));
    server.logged("the configuration file cannot be used: cannot open");
    assert!(server.login("alice").ask("QUOTA").starts_with("OK used=0 limit=1000 "));
    server.stop();
}

#[test]
fn where_nothing_can_listen_the_reason_and_what_helps_are_told() {
    let place = Place::new(HERE);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tls://{}", taken.local_addr().unwrap());
    for (address, hint) in [
        (taken.as_str(), "; somebody listens there already: is the server running?"),
        ("tls://192.0.2.1:9000", "; it is no address of this machine"),
    ] {
        let ran = place.run(&["serve", "--listen", address], &[]);
        assert!(ran.code == Some(1) && ran.err.contains(&format!("cannot listen on {address}: ")), "{ran:?}");
        assert!(ran.err.trim_end().ends_with(hint), "{ran:?}");
    }
}
