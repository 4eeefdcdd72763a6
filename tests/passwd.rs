//! Users who change their own password: what holds from then on, who may, and what is left of it in whose hands.

mod common;

use common::scram::{change, entry, salt_of};
use common::{Raw, Server, eventually, home};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::os::unix::fs::MetadataExt;

const SALT: &[u8] = b"0123456789abcdef";

#[track_caller]
fn change_of_alice(raw: &mut Raw, old: &str, new: &str) -> String {
    raw.ask(format!("PASSWD {}", change("alice", (old, &salt_of("alice")), (new, SALT))))
}

#[track_caller]
fn logs_in(server: &Server, password: &str) -> bool {
    server.client().scram("alice", password).is_ok()
}

#[test]
fn a_new_password_holds_from_the_next_login_on_and_the_old_one_no_more() {
    let server = Server::start(&[]);
    let (mut raw, mut other) = (server.login("alice"), server.login("alice"));
    assert_eq!(change_of_alice(&mut raw, "secret", "another"), "OK changed");
    assert!(logs_in(&server, "another") && !logs_in(&server, "secret"));
    raw.demand("QUOTA", "OK");
    other.demand("QUOTA", "OK"); // sessions that run go on
    server.logged("the password of alice was changed by the user");
    let log = server.log().join("\n");
    assert!(!log.contains("SCRAM"), "{log}");
    // Again, from the new one on.
    let again = change("alice", ("another", SALT), ("third", b"fedcba9876543210"));
    assert_eq!(raw.ask(format!("PASSWD {again}")), "OK changed");
    assert!(logs_in(&server, "third") && !logs_in(&server, "another") && !logs_in(&server, "secret"));
    server.client().scram("bob", "builder").unwrap();
    server.stop();
}

#[test]
fn it_outlives_the_server_and_holds_at_each_server_of_the_storage() {
    let mut server = Server::start(&[]);
    assert_eq!(change_of_alice(&mut server.login("alice"), "secret", "another"), "OK changed");
    server.kill_listener();
    server.nobody_is_left();
    let first = Server::start_in(server.leave(), &[]);
    assert!(logs_in(&first, "another") && !logs_in(&first, "secret"));
    let elsewhere = home();
    std::os::unix::fs::symlink(first.storage(), elsewhere.path().join("storage")).unwrap();
    let second = Server::start_in(elsewhere, &[]);
    assert!(logs_in(&second, "another"));
    let third = change("alice", ("another", SALT), ("third", b"fedcba9876543210"));
    let mut raw = second.client();
    raw.scram("alice", "another").unwrap();
    assert_eq!(raw.ask(format!("PASSWD {third}")), "OK changed");
    assert!(logs_in(&first, "third") && !logs_in(&first, "another"));
    second.stop();
    first.stop();
}

#[test]
fn the_operator_has_the_last_word() {
    let server = Server::start(&[]);
    assert_eq!(change_of_alice(&mut server.login("alice"), "secret", "another"), "OK changed");
    let users = server.home().join("users");
    let text = fs::read_to_string(&users).unwrap();
    fs::write(&users, text.replace(&entry("alice", "secret"), &entry("alice", "given anew"))).unwrap();
    server.signal(Signal::SIGHUP);
    server.logged("users reloaded");
    assert!(logs_in(&server, "given anew") && !logs_in(&server, "another"));
    server.stop();
}

#[test]
fn who_does_not_know_the_old_password_changes_nothing_and_has_three_tries() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    for _ in 0..3 {
        let answer = change_of_alice(&mut raw, "guess", "mallory");
        assert!(answer.starts_with("ERR login-refused "), "{answer}");
    }
    let answer = change_of_alice(&mut raw, "secret", "mallory");
    assert!(answer.starts_with("ERR internal "), "a fourth is not heard: {answer}");
    for _ in 0..20 {
        // Nor passed on to the listener, who would take the session for one that was taken over.
        assert!(change_of_alice(&mut raw, "guess", "mallory").starts_with("ERR internal "));
    }
    raw.demand("QUOTA", "OK");
    assert!(logs_in(&server, "secret") && !logs_in(&server, "mallory"));
    // The proof of another user, and one for another verifier.
    let mut raw = server.login("alice");
    let of_bob = change("bob", ("secret", &salt_of("alice")), ("mallory", SALT));
    assert!(raw.ask(format!("PASSWD {of_bob}")).starts_with("ERR login-refused "));
    let (true_one, other) = (
        change("alice", ("secret", &salt_of("alice")), ("a", SALT)),
        change("alice", ("secret", &salt_of("alice")), ("b", SALT)),
    );
    let mixed = format!("{} {}", true_one.split(' ').next().unwrap(), other.split(' ').nth(1).unwrap());
    assert!(raw.ask(format!("PASSWD {mixed}")).starts_with("ERR login-refused "));
    server.logged("was not changed: the old one was wrong");
    let log = server.stop().join("\n");
    assert!(log.contains("PASSWD") && !log.contains("SCRAM"), "{log}");
}

#[test]
fn a_verifier_of_another_form_is_not_taken() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let salt = salt_of("alice");
    let short = change("alice", ("secret", &salt), ("another", b"short"));
    let answer = raw.ask(format!("PASSWD {short}"));
    assert!(answer.starts_with("ERR internal "), "{answer}");
    for words in ["a b", "SCRAM-SHA-256$4096:x$y:z p", &format!("{} x", short.split(' ').next().unwrap())] {
        raw.demand(&format!("PASSWD {words}"), "ERR bad-request ");
    }
    assert!(logs_in(&server, "secret"));
    server.stop();
}

#[test]
fn an_account_that_may_not_is_denied_by_the_session_and_by_the_helper() {
    let limits =
        "[alice]\npasswd = false\n[bob]\naccess = \"read-only\"\n[user0]\naccess = \"read-only\"\npasswd = true\n";
    let server = Server::limited(limits, &[]);
    for name in ["alice", "bob", "user0"] {
        fs::create_dir_all(server.at(name)).unwrap();
    }
    common::give(&server.storage());
    let of = |user: &str, old: &str| change(user, (old, &salt_of(user)), ("another", SALT));
    server.login("alice").demand(&format!("PASSWD {}", of("alice", "secret")), "ERR denied ");
    let mut bob = server.client();
    bob.scram("bob", "builder").unwrap();
    bob.demand(&format!("PASSWD {}", of("bob", "builder")), "ERR denied ");
    server.login("user0").demand(&format!("PASSWD {}", of("user0", "secret")), "OK changed");
    // A session whose user may no more since the limits were read again: the helper goes by the new ones.
    let mut running = server.login("user1");
    assert!(server.relimit("[user1]\npasswd = false\n"));
    let answer = running.ask(format!("PASSWD {}", of("user1", "secret")));
    assert!(answer.starts_with("ERR internal "), "{answer}");
    server.logged("the account may not");
    server.stop();
}

#[test]
fn what_is_kept_is_readable_by_the_server_alone_and_nothing_is_left_behind() {
    let server = Server::start(&[]);
    let place = server.storage().join(".dfos/passwords");
    let mut raw = server.login("alice");
    for (n, salt) in [b"0123456789abcdef", b"fedcba9876543210"].iter().enumerate() {
        let old = if n == 0 { ("secret".to_owned(), salt_of("alice")) } else { ("new 0".to_owned(), SALT.to_vec()) };
        let words = change("alice", (&old.0, &old.1), (&format!("new {n}"), *salt));
        assert_eq!(raw.ask(format!("PASSWD {words}")), "OK changed");
    }
    let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".decoy", "alice"]);
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o700);
    for name in names {
        assert_eq!(fs::metadata(place.join(name)).unwrap().mode() & 0o7777, 0o600);
    }
    // What is damaged holds nothing: the users file's password does again.
    fs::write(place.join("alice"), "rubbish").unwrap();
    assert!(logs_in(&server, "secret"));
    eventually("no helper is left", || server.zombies() == 0);
    server.stop();
}

/// The children of a process that are there now.
fn children(server: &Server) -> Vec<i32> {
    let pid = server.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Stands for a storage that hangs.
#[test]
fn a_helper_that_hangs_is_killed_and_holds_nobody_else_up() {
    let home = home();
    // So many users that a helper is at work for long enough to be caught.
    let users = home.path().join("users");
    let one = entry("u", "secret");
    let many: String = (0..5000).map(|n| one.replacen("u:", &format!("u{n}:"), 1)).collect();
    fs::write(&users, entry("alice", "secret") + &many).unwrap();
    let mut server = Server::start_in(home, &[]);
    let (mut raw, mut other) = (server.login("alice"), server.login("alice"));
    let mut hung = None;
    let mut old = ("secret".to_owned(), salt_of("alice"));
    for n in 0..3 {
        let before = children(&server);
        let words = change("alice", (&old.0, &old.1), (&format!("new {n}"), SALT));
        raw.send(format!("PASSWD {words}\n"));
        eventually("a helper", || {
            hung = children(&server).into_iter().find(|pid| !before.contains(pid)).map(nix::unistd::Pid::from_raw);
            hung.is_some()
        });
        let _ = nix::sys::signal::kill(hung.unwrap(), Signal::SIGSTOP);
        let answer = raw.line();
        if answer == "OK changed" {
            old = (format!("new {n}"), SALT.to_vec()); // it was faster
            continue;
        }
        assert!(answer.starts_with("ERR uncertain "), "{answer}");
        let line = server.logged("its helper is killed");
        assert!(
            line.contains(" error the password of alice was perhaps not changed: its helper is killed after 20 s"),
            "{line}"
        );
        eventually("it has ended", || !children(&server).contains(&hung.unwrap().as_raw()));
        // What might come yet is not taken for the answer to another.
        let again = change("alice", (&old.0, &old.1), ("another", SALT));
        assert!(raw.ask(format!("PASSWD {again}")).starts_with("ERR internal "));
        assert_eq!(other.ask(format!("PASSWD {again}")), "OK changed", "nobody else is held up");
        assert!(logs_in(&server, "another"));
        drop((raw, other));
        server.wait_idle();
        server.signal(Signal::SIGINT);
        assert_eq!(server.wait(), 0);
        return server.nobody_is_left();
    }
    panic!("no helper was caught at its work");
}

/// `dfos-client passwd` as alice, with what it says on standard error.
fn client_passwd(server: &Server, old: &str, options: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dfos-client"));
    command.args(["--server", &format!("tcp://{}", server.address()), "--user", "alice", "passwd"]).args(options);
    command.env("DFOS_PASSWORD", old).env_remove("DFOS_SERVER").stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_client_changes_a_password_and_neither_crosses_the_wire() {
    let server = Server::start(&[]);
    let (status, said) = client_passwd(&server, "secret", &["--new-password-command", "echo 'ein neues'"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("your password is changed"), "{said}");
    assert!(logs_in(&server, "ein neues") && !logs_in(&server, "secret"));
    let file = server.home().join("new");
    fs::write(&file, "from a file\n").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let from_file = ["--new-password-file", file.to_str().unwrap()];
    assert_eq!(client_passwd(&server, "secret", &from_file).0, Some(5), "the old one is no good any more");
    assert_eq!(client_passwd(&server, "ein neues", &from_file).0, Some(0));
    assert!(logs_in(&server, "from a file"));
    assert_eq!(client_passwd(&server, "from a file", &["--new-password-command", "true"]).0, Some(2), "an empty one");
    assert!(logs_in(&server, "from a file"));
    server.stop();
}

/// Who reads a verifier on the way, and then a login, has what it takes to log in (RFC 5802 section 9).
#[test]
fn the_client_sends_no_new_verifier_in_plain_text_to_another_machine() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dfos-client"));
    command.args(["--server", "tcp://dfos.invalid:1", "--user", "alice", "--retries", "0", "passwd"]);
    command.args(["--new-password-command", "echo another"]).env("DFOS_PASSWORD", "secret").env_remove("DFOS_SERVER");
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(6) && said.contains("not sent in plain text"), "{said}");
}

#[test]
fn the_client_says_who_can_change_it_where_the_user_may_not() {
    let server = Server::limited("[alice]\npasswd = false\n", &[]);
    let (status, said) = client_passwd(&server, "secret", &["--new-password-command", "echo another"]);
    assert_eq!(status, Some(6), "{said}");
    assert!(said.contains("ask the operator"), "{said}");
    server.stop();
}

#[test]
fn what_a_helper_left_that_was_killed_goes_with_the_next_change() {
    let server = Server::start(&[]);
    assert_eq!(change_of_alice(&mut server.login("alice"), "secret", "another"), "OK changed");
    let dir = server.at(".dfos/passwords");
    for name in [".draft-0123456789abcdef", ".draft-short"] {
        fs::write(dir.join(name), "1 00").unwrap();
    }
    common::give(&dir);
    let again = change("alice", ("another", SALT), ("third", b"fedcba9876543210"));
    let mut raw = server.client();
    raw.scram("alice", "another").unwrap();
    assert_eq!(raw.ask(format!("PASSWD {again}")), "OK changed");
    drop(raw);
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the decoy and alice: {left:?}");
    server.stop();
}

#[test]
fn a_session_that_ends_before_the_answer_came_says_that_the_change_may_have_been_made() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    server.signal(Signal::SIGSTOP); // it has the word, and answers later
    let words = change("alice", ("secret", &salt_of("alice")), ("another", SALT));
    raw.send(format!("PASSWD {words}\n"));
    let session = server.sessions()[0].pid;
    let title = || fs::read(format!("/proc/{session}/cmdline")).unwrap_or_default();
    eventually("it waits for the answer", || String::from_utf8_lossy(&title()).contains("PASSWD"));
    kill(session, Signal::SIGTERM).unwrap();
    let said = [raw.line(), raw.line()];
    server.signal(Signal::SIGCONT);
    assert!(said[0].starts_with("ERR uncertain ") && said[1].starts_with("ERR shutting-down "), "{said:?}");
    drop(raw);
    eventually("one of them holds", || logs_in(&server, "another") != logs_in(&server, "secret"));
    server.stop();
}
