//! Hooks: the operator's programs run after what happens and are told of it exactly; none of them holds up the scribe, the others, or the
//! end of the server.

mod common;

use common::{PATIENCE, Server, command, eventually, home, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A place with a directory `out` where programs leave something.
fn place() -> TempDir {
    let home = home();
    fs::create_dir(home.path().join("out")).unwrap();
    home
}

/// Writes a program that begins with the place of its leavings, `$out`.
fn program(home: &Path, name: &str, script: &str) -> PathBuf {
    let path = home.join(name);
    fs::write(&path, format!("#!/bin/sh\nout='{}'\n{script}\n", home.join("out").display())).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// A server that runs this script after one kind of event, with these options besides. Its audit is the file `audit`.
fn start(option: &str, script: &str, options: &[&str]) -> Server {
    let home = place();
    let (path, audit) = (program(home.path(), "hook", script), home.path().join("audit"));
    let hook = [option, path.to_str().unwrap(), "--audit", audit.to_str().unwrap()];
    Server::start_in(home, &[&hook, options].concat())
}

fn out(server: &Server) -> PathBuf {
    server.home().join("out")
}

/// What programs have left, by name; what they are still writing ends in `.new`.
fn leavings(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(out(server)).unwrap().map(|entry| entry.unwrap().path());
    let whole = entries.filter(|path| path.extension().is_none_or(|end| end != "new"));
    whole.filter_map(|path| Some((path.file_name()?.to_string_lossy().into_owned(), fs::read(&path).ok()?))).collect()
}

#[track_caller]
fn left(server: &Server, name: &str) -> String {
    eventually(&format!("{name} of a program"), || leavings(server).contains_key(name));
    String::from_utf8_lossy(&leavings(server)[name]).into_owned()
}

/// Lets programs go on that wait for it.
const WAIT: &str = "while [ ! -e \"$out/go\" ]; do sleep 0.02; done";

fn go(server: &Server) {
    fs::write(out(server).join("go"), "").unwrap();
}

/// The lines of the audit about programs.
fn told(server: &Server) -> Vec<Value> {
    let text = fs::read_to_string(server.home().join("audit")).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["event"] == "hook").collect()
}

#[track_caller]
fn told_of(server: &Server, result: &str) -> Value {
    let find = || told(server).into_iter().find(|line| line["result"] == result);
    eventually(&format!("{result} in the audit"), || find().is_some());
    find().unwrap()
}

fn is_gone(pid: i32) -> bool {
    process(pid).is_none_or(|found| found.state == 'Z')
}

/// Leaves its command line and its environment, as the kernel has them, under the number of its process.
const RECORD: &str =
    "{ cat /proc/$$/cmdline; echo; cat /proc/$$/environ; } > \"$out/$$.new\"; mv \"$out/$$.new\" \"$out/$$\"";

/// The command line and the environment of each run.
fn runs(server: &Server) -> Vec<(String, BTreeMap<String, Vec<u8>>)> {
    let parse = |bytes: Vec<u8>| {
        let at = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let words = bytes[at + 1..].split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let variable = |word: &[u8]| {
            let at = word.iter().position(|byte| *byte == b'=').unwrap();
            (String::from_utf8(word[..at].to_vec()).unwrap(), word[at + 1..].to_vec())
        };
        (String::from_utf8(bytes[..at].to_vec()).unwrap(), words.map(variable).collect())
    };
    leavings(server).into_values().map(parse).collect()
}

/// The hostile names, as on the wire and as bytes.
fn names() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("hostile_names.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| (line, dfos::proto::path::decode(line).unwrap()))
}

#[test]
fn each_event_runs_its_program_which_is_told_what_the_page_says() {
    let home = place();
    let path = program(home.path(), "record", RECORD);
    let events = ["upload", "upload-failed", "download", "delete", "login-failed"];
    let flags = events.map(|event| format!("--on-{event}={}", path.display()));
    let server = Server::start_in(home, &flags.each_ref().map(String::as_str));
    let mut raw = server.login("alice");
    raw.put("f", b"12345");
    raw.get("f");
    raw.fetch("DOWNLOAD f offset=2 length=2").unwrap();
    raw.demand("UPLOAD ../x", "ERR bad-path");
    raw.demand("UPLOAD none/x", "ERR not-found");
    raw.demand("DOWNLOAD none", "ERR not-found");
    raw.demand("DELETE none", "ERR not-found");
    raw.demand("MKDIR d", "OK");
    raw.demand("RENAME f d/g", "OK");
    raw.demand("RMDIR d recursive", "OK removed=");
    raw.put("h", b"1");
    raw.demand("DELETE h", "OK");
    raw.send("UPLOAD v\nDATA 10\nabc");
    raw.expect("READY");
    let peer = raw.local();
    drop(raw);
    let mut stranger = server.client();
    stranger.demand("LOGIN bob wrong", "ERR login-refused");
    stranger.demand("LOGIN nobody wrong", "ERR login-refused");
    eventually("eleven runs", || leavings(&server).len() == 11);
    let runs = runs(&server);
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    let of = |event: &str| -> Vec<BTreeMap<String, String>> {
        let all = runs.iter().filter(|(_, told)| told["DFOS_EVENT"] == event.as_bytes());
        all.map(|(_, told)| told.iter().map(|(name, value)| (name.clone(), text(value))).collect()).collect()
    };
    assert_eq!(events.map(|event| of(event).len()), [2, 3, 2, 2, 2]);
    for (line, told) in &runs {
        // The kernel puts the interpreter of a script before it.
        let event = text(&told["DFOS_EVENT"]);
        assert_eq!(*line, format!("/bin/sh\0{}\0{event}\0", path.display()));
        assert_eq!(text(&told["PATH"]), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        assert_eq!(text(&told["DFOS_LISTENER"]), format!("tcp://{}", server.address()));
        assert_eq!(text(&told["DFOS_ADDRESS"]), "127.0.0.1");
        assert_eq!(told["DFOS_TIME"].len(), 27);
        let is_stranger = event == "login-failed";
        assert_eq!(text(&told["DFOS_PEER"]) == peer, !is_stranger);
        assert_eq!(told.get("DFOS_USER").map(text), (!is_stranger).then(|| "alice".to_owned()));
        assert!(text(&told["DFOS_SESSION"]).ends_with(if is_stranger { "-2" } else { "-1" }), "{told:?}");
    }
    let keys = |told: &BTreeMap<String, String>| told.keys().cloned().collect::<BTreeSet<_>>();
    let with = |more: &[&str]| -> BTreeSet<String> {
        let always = ["PATH", "EVENT", "TIME", "SESSION", "PEER", "ADDRESS", "LISTENER", "RESULT"];
        let name = |word: &&str| if *word == "PATH" { "PATH".into() } else { format!("DFOS_{word}") };
        always.iter().map(name).chain(more.iter().map(|word| format!("DFOS_{word}"))).collect()
    };
    let of_action = ["USER", "VERB", "PATH", "FILE"];
    let upload = &of("upload").into_iter().find(|told| told["DFOS_PATH"] == "f").unwrap();
    assert_eq!(keys(upload), with(&[&of_action[..], &["SIZE", "BYTES", "SHA256"]].concat()));
    assert_eq!(upload["DFOS_FILE"], server.at("alice/f").to_str().unwrap());
    let digest = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5";
    assert_eq!([&upload["DFOS_SIZE"], &upload["DFOS_SHA256"], &upload["DFOS_RESULT"]], ["5", digest, "ok"]);
    let downloads = of("download");
    let part = downloads.iter().find(|told| told["DFOS_BYTES"] == "2").unwrap();
    assert_eq!([&part["DFOS_SIZE"], &part["DFOS_VERB"]], ["5", "DOWNLOAD"]);
    let deletes = of("delete");
    let rmdir = deletes.iter().find(|told| told["DFOS_VERB"] == "RMDIR").unwrap();
    assert_eq!(keys(rmdir), with(&[&of_action[..], &["ENTRIES"]].concat()));
    assert_eq!([&rmdir["DFOS_PATH"], &rmdir["DFOS_ENTRIES"]], ["d", "2"]);
    assert!(deletes.iter().any(|told| told["DFOS_VERB"] == "DELETE" && told["DFOS_PATH"] == "h"));
    let failures = of("upload-failed");
    let failed = |result: &str| failures.iter().find(|told| told["DFOS_RESULT"] == result).unwrap();
    assert_eq!(keys(failed("bad-path")), with(&["USER", "VERB", "TEXT"]));
    assert_eq!(failed("not-found")["DFOS_PATH"], "none/x");
    assert_eq!([&failed("vanished")["DFOS_PATH"], &failed("vanished")["DFOS_BYTES"]], ["v", "3"]);
    let logins = of("login-failed");
    let bob = logins.iter().find(|told| told.contains_key("DFOS_ACCOUNT")).unwrap();
    assert_eq!(keys(bob), with(&["ATTEMPT", "ACCOUNT", "TEXT"]));
    assert_eq!([&bob["DFOS_ACCOUNT"], &bob["DFOS_ATTEMPT"], &bob["DFOS_TEXT"]], ["bob", "1", "wrong password"]);
    assert!(logins.iter().any(|told| keys(told) == with(&["ATTEMPT"]) && told["DFOS_ATTEMPT"] == "2"));
    // The page names each variable, and no other.
    let page = include_str!("../docs/HOOKS.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `DFOS_")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| format!("DFOS_{name}")).collect();
    let seen = runs.iter().flat_map(|(_, told)| told.keys().cloned()).filter(|name| name != "PATH");
    assert_eq!(documented, seen.collect());
    server.stop();
}

#[test]
fn every_name_arrives_unchanged_and_makes_no_words_of_its_own() {
    let home = place();
    let path = program(home.path(), "record", RECORD);
    let server = Server::start_in(home, &["--on-upload", path.to_str().unwrap()]);
    let mut raw = server.login("alice");
    let mut expected: BTreeSet<Vec<u8>> = names().map(|(_, bytes)| bytes).collect();
    names().for_each(|(name, _)| raw.put(name, b"x"));
    // The longest path that there is.
    let (mut deep, name) = (String::new(), "d".repeat(255));
    for _ in 0..15 {
        deep = if deep.is_empty() { name.clone() } else { format!("{deep}/{name}") };
        raw.demand(&format!("MKDIR {deep}"), "OK");
    }
    let longest = format!("{deep}/{}", "f".repeat(255));
    assert_eq!(longest.len(), 4095);
    raw.put(&longest, b"x");
    expected.insert(longest.into_bytes());
    eventually("a run for each", || leavings(&server).len() == expected.len());
    let storage = format!("{}/alice/", server.storage().display()).into_bytes();
    for (line, told) in runs(&server) {
        assert_eq!(line, format!("/bin/sh\0{}\0upload\0", path.display()));
        assert_eq!(told.len(), 15, "{told:?}");
        assert_eq!(told["DFOS_FILE"], [&storage[..], &told["DFOS_PATH"]].concat());
        assert!(expected.remove(&told["DFOS_PATH"]), "{told:?}");
    }
    assert!(expected.is_empty());
    server.stop();
}

#[test]
fn a_program_inherits_nothing_of_the_scribe() {
    let script = "all=$(pwd -P; for n in 0 1 2; do readlink /proc/$$/fd/$n; done; cat /proc/$$/stat); echo \"$all\" > \"$out/all.new\"
        ls /proc/self/fd > \"$out/descriptors.new\"; grep -E '^(Sig|Shd|NoNew|Cap|Uid)' /proc/self/status > \"$out/status.new\"
        for name in all descriptors status; do mv \"$out/$name.new\" \"$out/$name\"; done";
    let home = place();
    let path = program(home.path(), "hook", script);
    common::give(home.path());
    let mut command = command(home.path(), &["--on-upload", path.to_str().unwrap()]);
    command.stdin(Stdio::piped());
    let server = Server::spawn(command, home, &[]);
    server.login("alice").put("f", b"x");
    let all = left(&server, "all");
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(&lines[..3], ["/", "/dev/null", "/dev/null"]);
    assert!(lines[3].starts_with("pipe:"), "{all}");
    let words: Vec<&str> = lines[4].split(' ').collect();
    assert_eq!((words[0], words[0]), (words[4], words[5]), "group and session of its own");
    let status = left(&server, "status");
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
    for set in ["SigBlk:", "SigIgn:", "ShdPnd:", "CapEff:", "CapPrm:", "CapInh:"] {
        // Signals 32 and 33 are the C library's own, which sets them itself where it needs them.
        assert_eq!(u64::from_str_radix(value(set), 16).unwrap() & !0x1_8000_0000, 0, "{set} {status}");
    }
    assert_eq!(value("NoNewPrivs:"), "1");
    if nix::unistd::geteuid().is_root() {
        assert!(value("Uid:").starts_with("65534"), "{status}");
    }
    // The last is that of the listing itself.
    assert_eq!(left(&server, "descriptors"), "0\n1\n2\n3\n");
    server.stop();
}

#[test]
fn what_takes_too_long_is_ended_with_all_that_it_started() {
    // It does not heed SIGTERM, nor does what it has started.
    let script =
        "trap '' TERM; sleep 1000 & echo $! $$ > \"$out/pids.new\"; mv \"$out/pids.new\" \"$out/pids\"; sleep 1000";
    let server = start("--on-upload", script, &["--hook-timeout", "1"]);
    server.login("alice").put("a%0Ab", b"x");
    let pids: Vec<i32> = left(&server, "pids").split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let line = server.logged("hook on-upload a%0Ab: timed-out");
    assert!(line.contains("warning alice@127.0.0.1:"), "{line}");
    let told = told_of(&server, "timed-out");
    assert_eq!((&told["path"], &told["user"]), (&"a\nb".into(), &"alice".into()));
    let seconds = told["seconds"].as_f64().unwrap();
    assert!((3.0..20.0).contains(&seconds), "asked after one second, killed two later: {seconds}");
    eventually("they have gone", || pids.iter().all(|pid| is_gone(*pid)));
    server.stop();
}

#[test]
fn what_heeds_the_request_to_end_is_not_killed() {
    let script = "trap 'echo asked > \"$out/asked\"; exit 0' TERM; while :; do sleep 0.02; done";
    let server = start("--on-upload", script, &["--hook-timeout", "1"]);
    server.login("alice").put("f", b"x");
    assert!(told_of(&server, "timed-out")["seconds"].as_f64().unwrap() < 2.9);
    left(&server, "asked");
    server.stop();
}

#[test]
fn never_more_than_so_many_run_at_once_and_all_run_in_the_end() {
    let script = format!(
        "touch \"$out/runs-$$\"; ls \"$out\" | grep -c ^runs- > \"$out/count-$$.new\"; {WAIT}
        rm \"$out/runs-$$\"; mv \"$out/count-$$.new\" \"$out/count-$$\""
    );
    let server = start("--on-upload", &script, &["--hooks-at-a-time", "3"]);
    let mut raw = server.login("alice");
    (0..10).for_each(|n| raw.put(&format!("f{n}"), b"x"));
    eventually("three run", || leavings(&server).keys().filter(|name| name.starts_with("runs-")).count() == 3);
    go(&server);
    let counts = || -> Vec<u32> {
        let all = leavings(&server).into_iter().filter(|(name, _)| name.starts_with("count-"));
        all.map(|(_, count)| String::from_utf8(count).unwrap().trim().parse().unwrap()).collect()
    };
    eventually("ten have run", || counts().len() == 10);
    assert_eq!(counts().into_iter().max(), Some(3));
    eventually("ten are told of", || told(&server).iter().filter(|line| line["result"] == "ok").count() == 10);
    server.stop();
}

#[test]
fn while_all_programs_hang_the_log_goes_on_and_other_users_have_their_turn() {
    let script = format!("echo $DFOS_USER >> \"$out/order\"; {WAIT}");
    let server = start("--on-upload", &script, &["--hooks-at-a-time", "1", "--hook-timeout", "1000"]);
    let mut raw = server.login("alice");
    (0..50).for_each(|n| raw.put(&format!("f{n}"), b"x"));
    server.login("bob").put("f", b"x");
    // Each record is written though nothing ends.
    (0..50).for_each(|n| raw.demand(&format!("DELETE f{n}"), "OK").clear());
    server.logged("DELETE f49");
    assert_eq!(left(&server, "order"), "alice\n");
    go(&server);
    eventually("all have run", || left(&server, "order").lines().count() == 51);
    let order = left(&server, "order");
    assert!(order.lines().take(3).any(|user| user == "bob"), "{order}");
    server.stop();
}

#[test]
fn a_program_that_says_gigabytes_holds_up_nobody_and_costs_the_scribe_little() {
    let script = "echo begun; echo first words >&2; yes said again and again >&2 & wait";
    let server = start("--on-upload", script, &["--hook-timeout", "3"]);
    let mut raw = server.login("alice");
    raw.put("f", b"x");
    let used = |pid: Pid| -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let words: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
    };
    let scribe = server.scribe().unwrap();
    let resident = || -> u64 {
        let memory = fs::read_to_string(format!("/proc/{scribe}/statm")).unwrap();
        memory.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let (before, pages) = (used(scribe), resident());
    (0..200).for_each(|n| raw.demand(&format!("MKDIR d{n}"), "OK").clear());
    server.logged("MKDIR d199");
    assert!(server.logged("hook on-upload f: timed-out").contains("did not end in time: first words"));
    let ticks = used(scribe) - before;
    assert!(ticks < 100, "{ticks} hundredths of a second in three");
    let grown = resident().saturating_sub(pages);
    assert!(grown < 500, "{grown} pages");
    server.stop();
}

#[test]
fn a_program_that_says_much_and_ends_is_not_stopped_by_that() {
    let server = start("--on-upload", "head -c 300000 /dev/zero | tr '\\0' 'x' >&2; exit 7", &[]);
    server.login("alice").put("f", b"x");
    let text = told_of(&server, "failed")["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("on-upload: exit status 7: xxxx") && text.len() < 1000, "{text}");
    server.stop();
}

#[test]
fn what_each_of_many_failures_says_is_told() {
    let server = start("--on-upload", "echo $DFOS_PATH went wrong >&2; exit 1", &["--hooks-at-a-time", "2"]);
    let mut raw = server.login("alice");
    (0..30).for_each(|n| raw.put(&format!("f{n}"), b"x"));
    eventually("all are told of", || told(&server).len() == 30);
    for line in told(&server) {
        let path = line["path"].as_str().unwrap();
        assert_eq!(line["text"], format!("on-upload: exit status 1: {path} went wrong"));
    }
    server.stop();
}

#[test]
fn a_failure_is_in_the_log_and_in_the_audit_and_forges_nothing() {
    let script = "case $DFOS_PATH in
        3) printf '\\n  \\033[2Jwords\\r\\n second\\n' >&2; exit 3;;
        9) kill -SEGV $$;;
        0) echo all is well >&2;;
    esac";
    let server = start("--on-upload", script, &[]);
    let mut raw = server.login("alice");
    ["3", "9", "0"].iter().for_each(|name| raw.put(name, b"x"));
    let line = server.logged("hook on-upload 3: failed");
    assert!(line.contains("exit status 3: \\u{1b}[2Jwords") && !line.contains('\x1b'), "{line}");
    let failed = told_of(&server, "failed");
    assert_eq!(failed["text"], "on-upload: exit status 3: \u{1b}[2Jwords");
    assert_eq!((&failed["path"], &failed["user"]), (&"3".into(), &"alice".into()));
    assert!(failed["session"].is_string() && failed["peer"].is_string() && failed["seconds"].is_number());
    assert_eq!(told_of(&server, "killed")["text"], "on-upload: ended by SIGSEGV");
    assert_eq!(told_of(&server, "ok")["path"], "0");
    let log = server.stop();
    assert!(!log.iter().any(|line| line.contains("all is well")), "success is told with -v alone");
}

#[test]
fn what_cannot_be_started_is_told_and_no_shell_tries_it() {
    let home = place();
    let (gone, bare) = (program(home.path(), "gone", ""), home.path().join("bare"));
    // What the kernel does not know execvp(3) would give to a shell.
    fs::write(&bare, format!("touch '{}'\n", home.path().join("out/made").display())).unwrap();
    fs::set_permissions(&bare, Permissions::from_mode(0o755)).unwrap();
    let options = ["--on-upload", gone.to_str().unwrap(), "--on-delete", bare.to_str().unwrap()];
    let server = Server::start_in(home, &options);
    let mut raw = server.login("alice");
    fs::remove_file(&gone).unwrap();
    raw.put("f", b"x");
    server.logged("hook on-upload f: failed, 0.");
    assert!(server.logged("hook on-upload f").ends_with("cannot be started: No such file or directory"));
    raw.demand("DELETE f", "OK");
    assert!(server.logged("hook on-delete f").ends_with("cannot be started: Exec format error"));
    assert!(leavings(&server).is_empty());
    server.stop();
}

#[test]
fn what_a_program_leaves_behind_ends_with_it_unless_it_has_left_the_group() {
    let script = "sleep 1000 & echo $! > \"$out/child\"; setsid sleep 1000 & echo $! > \"$out/daemon\"; exit 0";
    let server = start("--on-upload", script, &[]);
    server.login("alice").put("f", b"x");
    told_of(&server, "ok"); // though the daemon still holds its standard error
    let pid = |name| left(&server, name).trim().parse::<i32>().unwrap();
    eventually("the child is gone", || is_gone(pid("child")));
    let _ = kill(Pid::from_raw(pid("daemon")), Signal::SIGKILL);
    server.stop();
}

#[test]
fn in_a_required_audit_the_line_stands_before_the_program_runs() {
    let home = place();
    let audit = home.path().join("audit");
    let script = format!("cat '{}'* | grep UPLOAD | grep -q \"\\\"path\\\":\\\"$DFOS_PATH\\\"\"", audit.display());
    let path = program(home.path(), "hook", &script);
    let options =
        ["--on-upload", path.to_str().unwrap(), "--audit", audit.to_str().unwrap(), "--audit-required", "--verbose"];
    let server = Server::start_in(home, &options);
    let mut raw = server.login("alice");
    for n in 0..5 {
        // Until the file is made anew its lines wait.
        fs::rename(&audit, audit.with_extension(n.to_string())).unwrap();
        raw.put(&format!("f{n}"), b"x");
        assert!(server.logged(&format!("hook on-upload f{n}: ")).contains(": ok, "));
    }
    server.stop();
}

#[test]
fn what_has_no_room_to_wait_is_counted_and_told() {
    let server = start("--on-download", WAIT, &["--hooks-at-a-time", "1", "--hook-timeout", "1000", "--grace", "1"]);
    let mut raw = server.login("alice");
    raw.put("f", b"");
    for _ in 0..101 {
        raw.send("DOWNLOAD f\n".repeat(100));
        for _ in 0..100 {
            let ready = raw.expect("READY");
            raw.body(ready);
        }
    }
    let crowded = |line: &String| line.contains("programs were not run: too many wait already");
    eventually("some had no room", || server.log().iter().any(crowded));
    assert!(told_of(&server, "dropped")["text"].as_str().unwrap().contains("too many wait"));
    server.signal(Signal::SIGINT);
    server.logged("hooks: 1 programs run and 10000 wait, up to ");
    server.logged("hooks: 10000 programs were not run: the server ended before their turn came");
    server.logged("hook on-download f: shut-down");
}

#[test]
fn programs_have_the_grace_period_to_end_and_then_the_audit_stops() {
    let mut server = start("--on-upload", WAIT, &["--hooks-at-a-time", "1"]);
    let mut raw = server.login("alice");
    ["f", "g"].iter().for_each(|name| raw.put(name, b"x"));
    raw.demand("LOGOUT", "OK");
    let audit = server.home().join("audit");
    server.signal(Signal::SIGINT);
    server.logged("hooks: 1 programs run and 1 wait, up to ");
    go(&server);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    assert_eq!(told(&server).iter().filter(|line| line["result"] == "ok").count(), 2, "the one that waited, too");
    let text = fs::read_to_string(audit).unwrap();
    assert!(text.lines().last().unwrap().contains("\"event\":\"stop\""), "{text}");
    assert_eq!(text.matches("\"event\":\"stop\"").count(), 1);
}

#[test]
fn programs_that_do_not_end_in_time_end_with_the_server() {
    let script =
        "trap '' TERM; echo $$ > \"$out/pid.new\"; mv \"$out/pid.new\" \"$out/pid\"; while :; do sleep 0.05; done";
    let options = ["--hooks-at-a-time", "1", "--hook-timeout", "1000", "--grace", "1"];
    let mut server = start("--on-upload", script, &options);
    let mut raw = server.login("alice");
    ["f", "g"].iter().for_each(|name| raw.put(name, b"x"));
    let pid: i32 = left(&server, "pid").trim().parse().unwrap();
    drop(raw);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    assert!(is_gone(pid));
    server.logged("hook on-upload f: shut-down");
    server.logged("hooks: 1 programs were not run: the server ended before their turn came");
    let text = fs::read_to_string(server.home().join("audit")).unwrap();
    assert!(text.lines().last().unwrap().contains("\"event\":\"stop\""), "{text}");
}

#[test]
fn a_server_that_is_asked_again_ends_its_programs_at_once() {
    let options = ["--hook-timeout", "1000", "--grace", "1000"];
    let mut server = start("--on-upload", "echo > \"$out/runs\"; exec sleep 1000", &options);
    let mut raw = server.login("alice");
    raw.put("f", b"x");
    raw.demand("LOGOUT", "OK");
    left(&server, "runs");
    server.signal(Signal::SIGINT);
    server.logged("hooks: 1 programs run and 0 wait");
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 1);
    server.nobody_is_left();
    server.logged("hook on-upload f: shut-down");
}

#[test]
fn a_scribe_that_is_killed_takes_its_programs_along_and_the_next_runs_others() {
    let script = "if [ \"$DFOS_PATH\" = f ]; then echo $$ > \"$out/pid\"; exec sleep 1000; fi; echo > \"$out/second\"";
    let server = start("--on-upload", script, &["--hook-timeout", "1000", "--hooks-at-a-time", "1"]);
    let mut raw = server.login("alice");
    raw.put("f", b"x");
    eventually("it runs", || left(&server, "pid").trim().parse::<i32>().is_ok());
    let pid: i32 = left(&server, "pid").trim().parse().unwrap();
    let scribe = server.scribe().unwrap();
    kill(scribe, Signal::SIGKILL).unwrap();
    server.logged("the scribe ended and was started again");
    eventually("it is gone", || is_gone(pid));
    raw.put("g", b"x");
    left(&server, "second");
    server.signal(Signal::SIGINT);
}

#[test]
fn an_upgrade_ends_what_runs_and_tells_it_and_the_next_scribe_runs_others() {
    let script = "if [ \"$DFOS_PATH\" = f ]; then echo > \"$out/runs\"; exec sleep 1000; fi; echo > \"$out/second\"";
    let server = start("--on-upload", script, &["--hook-timeout", "1000", "--hooks-at-a-time", "1"]);
    let mut raw = server.login("alice");
    ["f", "g"].iter().for_each(|name| raw.put(name, b"x"));
    left(&server, "runs");
    server.signal(Signal::SIGUSR2);
    server.logged("upgraded in place");
    server.logged("hook on-upload f: shut-down");
    server.logged("hooks: 1 programs were not run: the server ended before their turn came");
    assert_eq!(told_of(&server, "shut-down")["path"], "f");
    raw.put("h", b"x");
    left(&server, "second");
    drop(raw);
    server.stop();
}

#[test]
fn the_listener_that_is_killed_leaves_no_program() {
    let script = "echo $$ > \"$out/pid.new\"; mv \"$out/pid.new\" \"$out/pid\"; exec sleep 1000";
    let mut server = start("--on-upload", script, &["--hook-timeout", "1000"]);
    server.login("alice").put("f", b"x");
    let pid: i32 = left(&server, "pid").trim().parse().unwrap();
    server.kill_listener();
    eventually("it is gone", || is_gone(pid));
    server.nobody_is_left();
}

#[test]
fn a_program_that_is_not_fit_to_be_run_is_refused_at_the_start_and_by_the_check() {
    let home = place();
    let path = program(home.path(), "hook", "");
    fs::set_permissions(&path, Permissions::from_mode(0o757)).unwrap();
    let cases = [
        ("--on-upload", path.to_str().unwrap(), "can be changed by every user of this machine"),
        ("--on-upload-failed", "/bin/true --help", "cannot open /bin/true --help"),
        ("--on-delete", "hook", "no absolute path"),
        ("--on-login-failed", "/etc/passwd", "cannot run /etc/passwd"),
    ];
    common::give(home.path());
    for (option, value, why) in cases {
        for checking in [false, true] {
            let mut options = vec![option, value, "--listen", "tcp://127.0.0.1:0"];
            checking.then(|| options.insert(0, "check"));
            let mut child = command(home.path(), &options).spawn().unwrap();
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = child.kill(); // one that serves all the same
            let done = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
            assert_eq!(done.status.code(), Some(1), "{option} {said}");
            assert!(said.contains(option) && said.contains(why), "{option} {said}");
        }
    }
}

#[test]
fn the_example_of_the_page_keeps_what_was_uploaded_and_nothing_else() {
    let page = include_str!("../docs/HOOKS.md");
    let script = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let home = place();
    let path = program(home.path(), "hook", "");
    fs::write(&path, script.replace("/var/spool/dfos", home.path().join("out").to_str().unwrap())).unwrap();
    let server = Server::start_in(home, &["--on-upload", path.to_str().unwrap()]);
    server.login("alice").put("%2Drf%0A%24%28id%29", b"content");
    let digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    let kept = || leavings(&server).remove(&format!("alice-{digest}"));
    eventually("the copy", || kept().as_deref() == Some(b"content"));
    server.stop();
    // A link in its place leads to nothing that is kept.
    let (place, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (secret, file) = (place.path().join("secret"), place.path().join("f"));
    fs::write(&secret, "others'").unwrap();
    std::os::unix::fs::symlink(&secret, &file).unwrap();
    let done = Command::new("/bin/sh")
        .args(["-c", &script.replace("/var/spool/dfos", spool.path().to_str().unwrap())])
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("DFOS_SIZE", "7"), ("DFOS_SHA256", digest), ("DFOS_USER", "alice")])
        .env("DFOS_FILE", &file)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "this is not what was uploaded\n");
    assert_eq!((done.status.code(), fs::read_dir(spool.path()).unwrap().count()), (Some(1), 0));
}
