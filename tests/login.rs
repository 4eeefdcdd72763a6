//! Who is let in, how often one may try, and how long one may take.

mod common;

use common::scram::{Exchange, entry};
use common::{Raw, Server, command, home};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn both_ways_work_for_both_kinds_of_entries() {
    let server = Server::start(&[]);
    for (user, password) in [("alice", "secret"), ("bob", "builder"), ("carol", "let me in")] {
        server.login(user).demand("PING", "OK pong");
        let mut raw = server.client();
        raw.scram(user, password).unwrap();
        raw.demand("QUOTA", "OK used=");
        assert!(server.client().scram(user, "wrong").unwrap_err().starts_with("ERR login-refused"));
    }
    assert!(server.at("alice").is_dir() && server.at("carol").is_dir());
    server.stop();
}

#[test]
fn the_third_refusal_ends_it_and_a_right_login_behind_it_is_not_run() {
    let server = Server::start(&[]);
    let mut raw = server.client();
    raw.send("LOGIN alice no\nLOGIN nobody no\nLOGIN alice no\nLOGIN alice secret\nMKDIR d\n");
    assert_eq!(raw.rest().iter().filter(|line| line.starts_with("ERR login-refused")).count(), 3);
    // However it is tried, it counts.
    let mut raw = server.client();
    assert!(raw.scram("alice", "no").is_err());
    raw.demand("LOGIN alice no", "ERR login-refused");
    raw.demand("AUTH SCRAM-SHA-256 !!!", "ERR login-refused");
    raw.closed();
    // Two refusals are forgiven.
    let mut raw = server.client();
    raw.demand("LOGIN alice no", "ERR login-refused");
    raw.demand("LOGIN Alice secret", "ERR login-refused");
    raw.login("alice");
    assert_eq!(raw.names("."), [""; 0]);
    drop(raw);
    server.stop();
}

#[test]
fn an_unknown_user_is_answered_like_a_wrong_password() {
    let server = Server::start(&[]);
    let ask = |user: &str| {
        let mut raw = server.client();
        let by_login = raw.ask(format!("LOGIN {user} wrong"));
        let (exchange, first) = Exchange::begin(user, "wrong");
        let challenge = raw.ask(format!("AUTH SCRAM-SHA-256 {first}"));
        let word = challenge.strip_prefix("CHALLENGE ").unwrap_or_else(|| panic!("{user}: {challenge}"));
        let (last, _) = exchange.answer(word);
        let by_scram = raw.ask(format!("AUTH SCRAM-SHA-256 {last}"));
        use base64::engine::{Engine, general_purpose::STANDARD};
        let text = String::from_utf8(STANDARD.decode(word).unwrap()).unwrap();
        let (_, salt) = text.split_once(",s=").unwrap();
        (by_login, by_scram, salt.to_owned())
    };
    let (known, unknown, again, other) = (ask("carol"), ask("nobody"), ask("nobody"), ask("nobody2"));
    assert_eq!((&known.0, &known.1), (&unknown.0, &unknown.1));
    assert_eq!(unknown.2, again.2, "the salt of a user who is not there does not change");
    assert_ne!(unknown.2, other.2);
    let alike = |salt: &str| [&known.2, &ask("alice").2].iter().any(|of| of.len() == salt.len());
    assert!(alike(&unknown.2) && alike(&other.2), "neither the salt's length nor the iterations tell");
    for user in ["..", ".", "a/b", "", "a%00b", "root:x", &"a".repeat(33), "-", "Alice"] {
        server.client().demand(&format!("LOGIN {user} x"), "ERR ");
    }
    assert!(
        fs::read_dir(server.storage()).unwrap().all(|e| e.unwrap().file_name() == ".dfos"),
        "nobody got a directory"
    );
    server.stop();
}

#[test]
fn an_exchange_that_is_interrupted_or_replayed_is_worth_nothing() {
    let server = Server::start(&[]);
    let mut raw = server.client();
    let (exchange, first) = Exchange::begin("alice", "secret");
    let challenge = raw.ask(format!("AUTH SCRAM-SHA-256 {first}"));
    let (last, _) = exchange.answer(challenge.strip_prefix("CHALLENGE ").unwrap());
    raw.demand("PING", "OK pong");
    raw.demand(&format!("AUTH SCRAM-SHA-256 {last}"), "ERR login-refused");
    let mut other = server.client();
    other.demand(&format!("AUTH SCRAM-SHA-256 {first}"), "CHALLENGE ");
    other.demand(&format!("AUTH SCRAM-SHA-256 {last}"), "ERR login-refused"); // the server's nonce is another
    raw.demand("AUTH PLAIN AGFsaWNlAHNlY3JldA==", "ERR bad-request");
    raw.login("alice");
    raw.demand("LOGIN alice secret", "ERR bad-request");
    drop((raw, other));
    server.stop();
}

#[test]
fn the_time_to_log_in_is_not_extended_by_trickled_bytes() {
    let server = Server::start(&["--login-timeout", "1"]);
    let trickles: [&[u8]; 3] = [b"", b"x", b"PING\n"];
    for trickle in trickles {
        let began = Instant::now();
        let mut raw = server.client();
        let pen = raw.socket().try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            while began.elapsed() < Duration::from_secs(10) && (&pen).write_all(trickle).is_ok() {
                std::thread::sleep(Duration::from_millis(50)); // the trickle
            }
        });
        let lines = raw.rest();
        let took = began.elapsed();
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
        assert!(lines.last().unwrap().starts_with("ERR timeout"), "{lines:?}");
        let _ = raw.socket().shutdown(std::net::Shutdown::Both); // the writer holds it open, too
        server.wait_idle();
        if !trickle.is_empty() {
            writer.join().unwrap();
        }
    }
    // Who has logged in has all the time.
    let mut raw = server.login("alice");
    std::thread::sleep(Duration::from_millis(1500));
    raw.demand("PING", "OK pong");
    drop(raw);
    server.stop();
}

#[test]
fn ten_errors_before_login_end_it() {
    let server = Server::start(&[]);
    let mut raw = server.client();
    raw.send("NONSENSE\n".repeat(9));
    raw.send("PING\n");
    for _ in 0..9 {
        raw.expect("ERR bad-request");
    }
    raw.expect("OK pong");
    raw.send("STAT x\nLOGIN alice secret\nMKDIR d\n");
    raw.expect("ERR denied");
    raw.expect("ERR bad-request too many");
    raw.closed();
    assert!(!server.at("alice").exists());
    server.stop();
}

#[test]
fn a_password_is_percent_encoded_and_may_hold_anything() {
    let home = home();
    let mut users = fs::read(home.path().join("users")).unwrap();
    users.extend(b"dora:p%41ss:w\xc3\xb6rd #1\nerin:  \n");
    fs::write(home.path().join("users"), users).unwrap();
    let server = Server::start_in(home, &[]);
    server.client().demand("LOGIN dora p%2541ss:w%C3%B6rd%20%231", "OK welcome dora");
    server.client().demand("LOGIN dora p%2541ss:wörd%20#1", "OK welcome dora");
    server.client().scram("dora", "p%41ss:wörd #1").unwrap();
    for wrong in [
        "pAss:w%C3%B6rd%20%231",
        "p%41ss:wörd%20#1",
        "%",
        "%zz",
        "%00",
        &"x".repeat(2000),
        "p%2541ss:w%C3%B6rd%20%231%20",
    ] {
        server.client().demand(&format!("LOGIN dora {wrong}"), "ERR login-refused");
    }
    server.client().demand("LOGIN erin %20%20", "OK welcome erin");
    server.stop();
}

#[test]
fn a_hangup_loads_the_users_again_and_a_broken_file_changes_nothing() {
    let server = Server::start(&[]);
    let file = server.home().join("users");
    let mut before = server.login("bob");
    let mut gone = server.login("alice");
    let mut users = fs::read_to_string(&file).unwrap().replace("alice:", "# alice:");
    users += &entry("dora", "new here");
    users += "a damaged line\nfrank:SCRAM-SHA-256$nonsense\n";
    fs::write(&file, users).unwrap();
    server.client().demand("LOGIN dora new%20here", "ERR login-refused");
    server.signal(Signal::SIGHUP);
    server.logged("users reloaded");
    server.client().demand("LOGIN dora new%20here", "OK welcome dora");
    server.client().demand("LOGIN alice secret", "ERR login-refused");
    before.demand("PING", "OK pong");
    gone.expect("ERR login-refused your login is no longer valid");
    gone.closed();
    let reload = |n: usize| {
        server.signal(Signal::SIGHUP);
        let failures = || server.log().iter().filter(|line| line.contains("reload failed")).count() == n;
        common::eventually("the reload fails", failures);
        server.client().demand("LOGIN dora new%20here", "OK welcome dora");
    };
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    reload(1);
    fs::remove_file(&file).unwrap();
    reload(2);
    fs::create_dir(&file).unwrap();
    reload(3);
    drop(before);
    server.stop();
}

#[test]
fn demonstration_users_are_not_shown_to_the_world() {
    let home = home();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/id_passwd.txt"), home.path().join("users")).unwrap();
    for url in ["tcp://0.0.0.0:0", "tcp://[::]:0"] {
        let output = command(home.path(), &["--allow-plaintext", "--listen", url]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("demonstration users"), "{text}");
        assert!(output.stdout.is_empty(), "it never listened");
    }
    let server = Server::start_in(home, &[]);
    for (user, password) in [("alice", "secret"), ("bob", "builder"), ("carol", "letmein")] {
        server.client().demand(&format!("LOGIN {user} {password}"), "OK welcome");
    }
    server.stop();
}

#[test]
fn a_password_in_clear_text_is_not_taken_from_beyond_this_machine() {
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connecting a datagram socket sends nothing; it only chooses the local address.
    let address = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Some(ip) = address.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    else {
        return eprintln!("skipped: this machine has no address beyond loopback");
    };
    let server = Server::start(&["--allow-plaintext", "--listen", &format!("tcp://{ip}:0")]);
    let mut raw = Raw::silent(server.address());
    assert_eq!(raw.line(), "OK dfos/1 ready auth=SCRAM-SHA-256");
    raw.demand("LOGIN alice secret", "ERR denied");
    raw.demand("LOGIN nobody secret", "ERR denied");
    raw.scram("alice", "secret").unwrap();
    drop(raw);
    server.stop();
}

#[test]
fn users_are_added_changed_and_removed_by_the_server_itself() {
    let server = Server::start(&[]);
    let user = |arguments: &[&str], password: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dfos-forkd"));
        command.env("DFOS_FORKD_CONFIG", "none");
        command.arg("user").args(arguments).arg("--password-stdin").arg("--users").arg(server.home().join("users"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let mut reloads = 0;
    let mut reload = || {
        server.signal(Signal::SIGHUP);
        reloads += 1;
        common::eventually("reloaded", || {
            server.log().iter().filter(|line| line.contains("users reloaded")).count() == reloads
        });
    };
    assert!(user(&["add", "dora"], "first").0);
    for (action, name, why) in [("add", "dora", "dora exists already"), ("passwd", "nobody", "there is no user nobody")]
    {
        let (done, text) = user(&[action, name], ""); // no password is needed to hear it
        assert!(!done && text.contains(why), "{text}");
    }
    assert!(!user(&["add", "../dora"], "x").0);
    reload();
    server.client().demand("LOGIN dora first", "OK welcome");
    assert!(user(&["passwd", "dora"], "second").0);
    reload();
    server.client().demand("LOGIN dora first", "ERR login-refused");
    server.client().demand("LOGIN dora second", "OK welcome");
    assert!(user(&["list"], "").1.contains("dora"));
    let text = fs::read_to_string(server.home().join("users")).unwrap();
    assert!(!text.contains("second") && text.contains("carol:let me in"), "{text}");
    assert!(user(&["remove", "dora"], "").0);
    reload();
    server.client().demand("LOGIN dora second", "ERR login-refused");
    server.stop();
}

#[test]
fn no_name_and_no_password_makes_or_changes_a_line_of_another() {
    let home = home();
    let file = home.path().join("users");
    let user = |name: &str, password: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dfos-forkd"));
        command.env("DFOS_FORKD_CONFIG", "none");
        command.args(["user", "add", "--password-stdin", "--users"]).arg(&file).arg("--").arg(name);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
        child.wait_with_output().unwrap().status.success()
    };
    let before = fs::read(&file).unwrap();
    let long = "a".repeat(256);
    for name in ["", ".", "..", "a/b", "a:b", "alice:x", "a\nroot:x", "a\rb", "-a", "Alice", "a b", &long] {
        assert!(!user(name, "secret\n"), "{name:?}");
        assert_eq!(fs::read(&file).unwrap(), before, "{name:?}");
    }
    for (name, password) in [("p", "x:y\n"), ("q", "x\nroot:evil\n"), ("r", "x\r\nroot:evil\r\n"), ("s", "#x\n")] {
        assert!(user(name, password));
    }
    let text = fs::read_to_string(&file).unwrap();
    let added: Vec<_> = text.lines().skip(before.iter().filter(|b| **b == b'\n').count()).collect();
    let names: Vec<_> = added.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["p", "q", "r", "s"]);
    assert!(text.as_bytes().starts_with(&before) && !text.contains("evil"));
    // Nor does what a client claims.
    let server = Server::start_in(home, &[]);
    for claim in ["p:x y", "p%0Aroot y", "* x", "q:SCRAM-SHA-256$4096 x"] {
        server.client().demand(&format!("LOGIN {claim}"), "ERR ");
    }
    server.client().demand("LOGIN p x:y", "OK welcome p");
    assert!(fs::read(server.home().join("users")).unwrap().starts_with(&before));
    server.stop();
}
