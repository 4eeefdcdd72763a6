//! `dfos-forkd report` as an operator runs it: figures that were counted by hand, whatever the files are like.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn command(place: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-forkd"));
    command.arg("report").args(arguments.split_whitespace()).current_dir(place).env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn run(place: &Path, arguments: &str, status: i32) -> Output {
    let output = command(place, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[track_caller]
fn json(place: &Path, arguments: &str) -> Value {
    serde_json::from_slice(&run(place, &format!("{arguments} --json"), 0).stdout).unwrap()
}

#[track_caller]
fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {value}"))
}

#[track_caller]
fn has(value: &Value, expected: &[(&str, f64)]) {
    for (path, figure) in expected {
        assert_eq!(number(value, path), *figure, "{path}");
    }
}

/// A line of a session of `user`.
fn line(time: &str, event: &str, user: &str, rest: &str) -> String {
    let user = if user.is_empty() { String::new() } else { format!(r#","user":"{user}""#) };
    let of =
        r#""session":"6920a1b3-17","pid":4711,"peer":"192.0.2.7:50122","listener":"tls://0.0.0.0:9000","tls":"1.3""#;
    format!("{{\"v\":1,\"time\":\"{time}\",\"event\":\"{event}\",{of}{user}{rest}}}\n")
}

/// Two days: a Friday and a Saturday.
fn days() -> (String, String) {
    let friday = [
        r#"{"v":1,"time":"2026-11-20T08:00:00.000000Z","event":"start","text":"dfos-forkd"}"#.to_owned() + "\n",
        line("2026-11-20T09:00:00.000000Z", "connect", "", ""),
        line("2026-11-20T09:00:00.100000Z", "login", "alice", r#","result":"ok""#),
        line("2026-11-20T09:00:10.000000Z", "request", "alice", r#","verb":"UPLOAD","path":"a","size":4000000,"bytes":4000000,"seconds":2,"rate":2000000,"result":"ok""#),
        line("2026-11-20T09:00:20.000000Z", "request", "alice", r#","verb":"UPLOAD","path":"b","size":1000,"bytes":1000,"seconds":0.1,"rate":10000,"result":"ok""#),
        line("2026-11-20T09:00:30.000000Z", "request", "alice", r#","verb":"UPLOAD","path":"c","size":9000,"bytes":500,"seconds":1,"result":"vanished""#),
        line("2026-11-20T09:01:00.000000Z", "disconnect", "alice", r#","seconds":60,"result":"vanished""#),
        r#"{"v":1,"time":"2026-11-20T10:00:00.000000Z","event":"turned-away","peer":"198.51.100.1:7","listener":"tls://0.0.0.0:9000","result":"penalty","text":"wait"}"#.to_owned() + "\n",
        r#"{"v":1,"time":"2026-11-20T10:00:01.000000Z","event":"login","peer":"198.51.100.1:8","account":"alice","result":"login-refused","text":"no"}"#.to_owned() + "\n",
        r#"{"v":1,"time":"2026-11-20T10:00:02.000000Z","event":"lost","lines":5,"text":"the disk was full"}"#.to_owned() + "\n",
    ];
    let saturday = [
        line("2026-11-21T09:00:00.000000Z", "connect", "", ""),
        line("2026-11-21T09:00:00.100000Z", "login", "bob", r#","result":"ok""#),
        line(
            "2026-11-21T09:00:10.000000Z",
            "request",
            "bob",
            r#","verb":"DOWNLOAD","path":"a","size":4000000,"bytes":3000000,"seconds":3,"rate":1000000,"resumed":true,"result":"ok""#,
        ),
        line(
            "2026-11-21T09:00:11.000000Z",
            "request",
            "bob",
            r#","verb":"DELETE","path":"x","seconds":0.001,"result":"not-found","text":"x: no such file""#,
        ),
        line(
            "2026-11-21T09:00:12.000000Z",
            "hook",
            "bob",
            r#","text":"/usr/bin/scan","path":"a","seconds":1,"result":"failed""#,
        ),
        line("2026-11-21T09:30:00.000000Z", "disconnect", "bob", r#","seconds":1800,"result":"logged-out""#),
        line("2026-11-21T23:59:59.999999Z", "holiday", "bob", r#","novel":{"field":[1,2]}"#),
    ];
    (friday.concat(), saturday.concat())
}

fn packed(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

/// A directory with both days, as rotation leaves them.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (friday, saturday) = days();
    fs::write(dir.path().join("plain.1"), &friday).unwrap();
    fs::write(dir.path().join("audit.1.gz"), packed(&friday)).unwrap();
    fs::write(dir.path().join("audit"), saturday).unwrap();
    dir
}

#[test]
fn known_lines_give_known_figures() {
    let place = place();
    let found = json(place.path(), "audit plain.1");
    has(
        &found,
        &[
            ("/v", 1.0),
            ("/lines", 17.0),
            ("/counted", 17.0),
            ("/lost", 5.0),
            ("/sessions", 2.0),
            ("/logins", 2.0),
            ("/distinct_users", 2.0),
            ("/refused_logins", 1.0),
            ("/server_starts", 1.0),
            ("/up/files", 2.0),
            ("/up/bytes", 4_001_500.0),
            ("/up/broken_off", 1.0),
            ("/up/broken_off_bytes", 500.0),
            ("/up/failed", 0.0),
            ("/down/files", 1.0),
            ("/down/bytes", 3_000_000.0),
            ("/down/resumed", 1.0),
            ("/up/rates/count", 2.0),
            ("/up/rates/min", 10_000.0),
            ("/up/rates/max", 2_000_000.0),
            ("/up/sizes/0/rates/p50", 10_000.0),
            ("/up/sizes/2/rates/p50", 2_000_000.0),
            ("/up/sizes/2/seconds/max", 2.0),
            ("/down/seconds/p99", 3.0),
            ("/session_seconds/max", 1800.0),
            ("/per_user/0/bytes_up", 4_001_500.0),
            ("/per_user/0/errors", 1.0),
            ("/per_user/0/refused_logins", 1.0),
            ("/per_user/1/bytes_down", 3_000_000.0),
            ("/addresses/0/refused_logins", 1.0),
            ("/addresses/0/turned_away", 1.0),
            ("/turned_away/0/count", 1.0),
            ("/hooks", 1.0),
            ("/hook_failures/0/count", 1.0),
            ("/unknown_events/0/count", 1.0),
            ("/lowest_rates/0/rate", 1_000_000.0),
            ("/lowest_rates/1/rate", 2_000_000.0),
            ("/longest/0/seconds", 3.0),
            ("/longest/2/seconds", 0.1),
        ],
    );
    for (path, text) in [
        ("/first", "2026-11-20T08:00:00.000000Z"),
        ("/last", "2026-11-21T23:59:59.999999Z"),
        ("/clocks", "local time, UTC+00:00"),
        ("/per_user/0/user", "alice"),
        ("/per_user/0/last", "2026-11-20T09:01:00.000000Z"),
        ("/addresses/0/address", "198.51.100.1"),
        ("/addresses/0/accounts/0", "alice"),
        ("/turned_away/0/name", "penalty"),
        ("/errors/0/verb", "DELETE"),
        ("/errors/0/result", "not-found"),
        ("/errors/0/text", "x: no such file"),
        ("/errors/1/result", "vanished"),
        ("/hook_failures/0/result", "/usr/bin/scan"),
        ("/unknown_events/0/name", "holiday"),
        ("/ends/0/name", "logged-out"),
    ] {
        assert_eq!(found.pointer(path).and_then(Value::as_str), Some(text), "{path} in {found}");
    }
    assert_eq!(
        found["lowest_rates"].as_array().unwrap().len(),
        2,
        "what is smaller than 1 MiB has no rate worth telling"
    );
    let hour = |weekday: &str, hour: u64| {
        let hours = found["hours"].as_array().unwrap();
        hours.iter().find(|row| row["weekday"] == weekday && row["hour"] == hour).unwrap()["bytes"].clone()
    };
    assert_eq!((hour("Fri", 9), hour("Sat", 9)), (4_001_500.into(), 3_000_000.into()));
    let sum = |field: &str| {
        found["course"].as_array().unwrap().iter().map(|step| number(step, &format!("/{field}"))).sum::<f64>()
    };
    assert_eq!((sum("up"), sum("down"), sum("failed"), sum("refused_logins")), (4_001_500.0, 3_000_000.0, 2.0, 1.0));
}

/// Without what tells of the files themselves.
fn bare(mut found: Value) -> Value {
    let object = found.as_object_mut().unwrap();
    object.remove("files");
    object.remove("made");
    found
}

#[test]
fn packed_files_any_order_and_standard_input_give_the_same() {
    let place = place();
    let expected = bare(json(place.path(), "audit plain.1"));
    for arguments in ["plain.1 audit", "audit.1.gz audit", "audit audit.1.gz", "audit audit.1.gz ./audit"] {
        assert_eq!(bare(json(place.path(), arguments)), expected, "{arguments}");
    }
    let (friday, saturday) = days();
    for bytes in [(friday.clone() + &saturday).into_bytes(), packed(&(saturday + &friday))] {
        let mut child = command(place.path(), "- --json").stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(bare(serde_json::from_slice(&output.stdout).unwrap()), expected);
    }
}

#[test]
fn a_part_of_the_time_and_of_the_users_is_what_was_asked_for() {
    let place = place();
    let counted = |arguments: &str| number(&json(place.path(), &format!("audit plain.1 {arguments}")), "/counted");
    assert_eq!(counted("--since 2026-11-21"), 7.0);
    assert_eq!(counted("--until 2026-11-21"), 10.0);
    assert_eq!(counted("--since 2026-11-20T09:00:10Z --until 2026-11-20T09:00:30Z"), 2.0, "the end is not in it");
    assert_eq!(counted("--since 2026-11-20T10:00:10+01:00 --until 2026-11-20T09:00:30Z"), 2.0);
    assert_eq!(counted("--since 1s --until 0s"), 0.0);
    // Lines that are lost may have been anybody's.
    let alice = json(place.path(), "audit plain.1 --user alice");
    has(
        &alice,
        &[
            ("/counted", 7.0),
            ("/sessions", 1.0),
            ("/up/files", 2.0),
            ("/down/files", 0.0),
            ("/refused_logins", 1.0),
            ("/lost", 5.0),
        ],
    );
    assert_eq!(counted("--user alice --user bob"), 13.0);
    assert_eq!(counted("--user nobody"), 1.0);
    // A date is the midnight of the clocks that the report goes by.
    let output = command(place.path(), "audit --since 2026-11-21T14:30 --json").env("TZ", "XST-5:30").output().unwrap();
    let there: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((number(&there, "/counted"), there["clocks"].as_str()), (7.0, Some("local time, UTC+05:30")));
    let output =
        command(place.path(), "audit --since 2026-11-21T14:30 --json --utc").env("TZ", "XST-5:30").output().unwrap();
    let utc: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((number(&utc, "/counted"), utc["clocks"].as_str()), (1.0, Some("UTC")));
}

#[test]
fn what_is_no_line_of_an_audit_is_counted_and_named_and_the_rest_reported() {
    let place = place();
    let (friday, _) = days();
    let too_long = format!("{{\"v\":1,\"text\":\"{}\"}}", "x".repeat(70_000));
    let half = &friday.lines().next().unwrap()[..40];
    let odd =
        format!("\n\0\0\0\n{{\"level\":\"info\"}}\n{{\"v\":2,\"event\":\"connect\"}}\n{too_long}\n{friday}{half}");
    fs::write(place.path().join("odd"), odd).unwrap();
    let found = json(place.path(), "odd");
    assert_eq!(number(&found, "/counted"), 10.0);
    let passed: Vec<_> = found["passed_over"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["kind"].clone(), row["where"][0].clone()))
        .collect();
    let expected = [("broken", 2), ("foreign", 3), ("newer", 4), ("too long", 5), ("unfinished", 16)];
    assert_eq!(passed, expected.map(|(kind, line)| (kind.into(), format!("odd:{line}").into())));
    let text = String::from_utf8(run(place.path(), "odd", 0).stdout).unwrap();
    assert!(
        text.contains("1 line unfinished: the last of a file that is being written") && text.contains("odd:16"),
        "{text}"
    );
    // A last line that is whole but for its ending counts.
    fs::write(place.path().join("last"), friday.trim_end()).unwrap();
    assert_eq!(number(&json(place.path(), "last"), "/counted"), 10.0);
}

#[test]
fn a_packed_file_that_breaks_off_is_told_of_and_what_was_there_is_reported() {
    let place = place();
    let whole = packed(&days().0.repeat(500));
    fs::write(place.path().join("cut.gz"), &whole[..whole.len() - 20]).unwrap();
    let output = run(place.path(), "cut.gz audit --json", 1);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&found, "/down/files") == 1.0 && number(&found, "/up/files") > 10.0, "{found}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("cut.gz: its compressed content ends before its end"));
}

#[test]
fn names_that_somebody_chose_are_obeyed_by_no_terminal_and_no_browser() {
    let place = tempfile::tempdir().unwrap();
    let hostile = r#"\u001b]0;x\u0007\u202e</title><script>alert(1)</script>\u009b2J\r'\"&"#;
    let text: String = ["request", "login", "turned-away", "disconnect", "hook", hostile]
        .map(|event| {
            let rest = format!(r#","account":"{hostile}","verb":"{hostile}","path":"{hostile}","result":"{hostile}","text":"{hostile}""#);
            let line = line("2026-11-20T09:00:00Z", event, hostile, &rest);
            let upload = line.replace(&format!("\"verb\":\"{hostile}\""), "\"verb\":\"UPLOAD\",\"bytes\":9999999,\"seconds\":3");
            line.replace("192.0.2.7:50122", hostile) + &upload.replace(&format!("\"result\":\"{hostile}\""), "\"result\":\"ok\"")
        })
        .concat();
    let file = place.path().join("a\u{1b}[2J<script>");
    fs::write(&file, text + "broken\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dfos-forkd"))
        .args(["report", "--html", "page", "--json=object", "--user", "a<script>\u{9b}", "--since", "1970-01-01"])
        .arg(&file)
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    run(place.path(), "--html all object", 0);
    let all = Command::new(env!("CARGO_BIN_EXE_dfos-forkd"))
        .args(["report", "--html", "all"])
        .arg(&file)
        .current_dir(place.path())
        .output()
        .unwrap();
    let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    let table = String::from_utf8([output.stdout, all.stdout].concat()).unwrap();
    for text in [&table, &read("page"), &read("object"), &read("all")] {
        assert!(!text.chars().any(|c| dfos::proto::unseen::is_unsafe(c) && c != '\n'), "{text:?}");
    }
    for page in [read("page"), read("all")] {
        assert!(!page.contains("<script"), "{page}");
    }
    assert!(read("all").contains("&lt;script&gt;alert(1)"));
    assert!(read("all").contains(r"a\x1b[2J&lt;script&gt;"), "the name of the file, spelled out once");
}

#[test]
fn an_audit_is_never_overwritten_and_what_cannot_be_written_is_known_beforehand() {
    let place = place();
    let before = fs::read(place.path().join("audit")).unwrap();
    std::os::unix::fs::symlink("audit", place.path().join("link")).unwrap();
    for arguments in [
        "audit --html audit",
        "audit --json=audit",
        "audit --html link",
        "audit --html missing/x",
        "missing",
        ".",
        "",
        "audit --since never",
    ] {
        let output = command(place.path(), arguments).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments}");
    }
    // Without '=' what stands behind --json is read.
    assert_eq!(number(&serde_json::from_slice(&run(place.path(), "--json audit", 0).stdout).unwrap(), "/counted"), 7.0);
    assert_eq!(fs::read(place.path().join("audit")).unwrap(), before);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 4, "nothing unfinished is left");
}

#[test]
fn one_who_reads_no_further_has_read_enough() {
    let place = place();
    let mut child = command(place.path(), "audit plain.1").spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The most memory that a report over these lines took, in KiB, and what came of it.
fn memory(place: &Path, name: &str, lines: impl Iterator<Item = String>) -> (u64, Value) {
    let mut file = std::io::BufWriter::new(fs::File::create(place.join(name)).unwrap());
    lines.for_each(|line| file.write_all(line.as_bytes()).unwrap());
    file.into_inner().unwrap();
    let output = run(place, &format!("{name} --json --html page"), 0);
    // Of all processes that this test has waited for, so that it can but grow: what came before was no larger.
    let most = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    (most as u64, serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn memory_does_not_grow_with_lines_addresses_users_or_names() {
    let place = tempfile::tempdir().unwrap();
    let refused = |n: u32| {
        let (a, b, c) = (n >> 16, n >> 8 & 255, n & 255);
        let peer = if n.is_multiple_of(100) { "203.0.113.9:1".into() } else { format!("20.{a}.{b}.{c}:1") };
        let rest = format!(r#""event":"login","peer":"{peer}","result":"login-refused""#);
        format!("{{\"v\":1,\"time\":\"2026-{:02}-{:02}T00:00:00Z\",{rest}}}\n", n % 12 + 1, n % 28 + 1)
    };
    let (few, _) = memory(place.path(), "few", (0..40_000).map(refused));
    let (many, found) = memory(place.path(), "many", (0..160_000).map(refused));
    assert!(many < few + few / 4, "{few} KiB, then {many} KiB");
    assert_eq!(number(&found, "/refused_logins"), 160_000.0);
    assert_eq!(found["addresses"].as_array().unwrap().len(), 4096);
    assert_eq!(found["addresses"][0]["address"], "203.0.113.9", "who guesses most is first, whoever came in between");
    assert_eq!(number(&found, "/addresses/0/refused_logins"), 1600.0);
    let kept: f64 = found["addresses"].as_array().unwrap().iter().map(|row| number(row, "/refused_logins")).sum();
    assert_eq!(kept + number(&found, "/other_addresses/refused_logins"), 160_000.0, "nothing is lost in the sum");
    // Names, verbs, results and events without end, each as long as a line allows.
    let long = |n: u32| {
        let name = format!("{n}{}", "x".repeat(9000));
        let of = |event: &str| {
            line(
                "2026-11-20T09:00:00Z",
                event,
                &name,
                &format!(r#","verb":"{name}","path":"{name}","result":"{name}","text":"{name}""#),
            )
        };
        of("request") + &of("disconnect") + &of("hook") + &of(&name)
    };
    let (most, _) = memory(place.path(), "long", (0..1500).map(long));
    assert!(most < many + many / 2, "{many} KiB, then {most} KiB");
}
