//! The audit: every line is as docs/AUDIT.md tells, none is lost by rotation, none can be forged, and where it is required nothing is done
//! that is not in it.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::tls::TlsRaw;
use common::{Raw, Server, eventually, home};
use nix::sys::signal::{Signal, kill};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server with an audit beside its storage.
fn start(options: &[&str]) -> (Server, PathBuf) {
    start_in(home(), "audit", options)
}

fn start_in(home: tempfile::TempDir, name: &str, options: &[&str]) -> (Server, PathBuf) {
    let path = home.path().join(name);
    let server = Server::start_in(home, &[&["--audit", path.to_str().unwrap()], options].concat());
    (server, path)
}

/// The lines of a file that may be growing, each an object.
#[track_caller]
fn lines(path: &Path) -> Vec<Map<String, Value>> {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    objects(&text[..text.rfind('\n').map_or(0, |at| at + 1)])
}

/// The same of one that is complete: none is torn.
#[track_caller]
fn all_lines(path: &Path) -> Vec<Map<String, Value>> {
    objects(&fs::read_to_string(path).unwrap())
}

#[track_caller]
fn objects(text: &str) -> Vec<Map<String, Value>> {
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {:?}", &text[text.len().saturating_sub(200)..]);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

/// Ends a server in order; its place stays as long as what is returned.
fn end(mut server: Server) -> tempfile::TempDir {
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    server.no_alarm();
    server.leave()
}

fn is(line: &Map<String, Value>, key: &str, value: &str) -> bool {
    line.get(key).and_then(Value::as_str) == Some(value)
}

/// Waits for a line in which these fields have these values.
#[track_caller]
fn line_with(path: &Path, fields: &[(&str, &str)]) -> Map<String, Value> {
    let find = || lines(path).into_iter().find(|line| fields.iter().all(|(key, value)| is(line, key, value)));
    eventually(&format!("{fields:?} in the audit"), || find().is_some());
    find().unwrap()
}

/// The rows of docs/AUDIT.md: fields with their types, and events with the fields that they may have.
struct Schema {
    fields: BTreeMap<String, String>,
    events: BTreeMap<String, BTreeSet<String>>,
    results: BTreeSet<String>,
}

fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

impl Schema {
    fn read() -> Schema {
        let text = include_str!("../docs/AUDIT.md");
        let (first, second) = text.split_once("| event |").unwrap();
        let rows = |text: &str| -> Vec<Vec<String>> {
            let rows = text.lines().filter(|line| line.starts_with("| `"));
            rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
        };
        let mut fields = BTreeMap::new();
        for row in rows(first) {
            quoted(&row[0]).into_iter().for_each(|name| drop(fields.insert(name, row[1].clone())));
        }
        let session = ["session", "pid", "peer", "listener", "user"].map(str::to_owned);
        let (mut events, mut results) = (BTreeMap::new(), BTreeSet::new());
        for row in rows(second) {
            let mut allowed: BTreeSet<String> =
                quoted(&row[2]).into_iter().filter(|word| fields.contains_key(word)).collect();
            allowed.extend(["v", "time", "event"].map(str::to_owned));
            if row[2].contains("of the session") {
                allowed.extend(session.clone());
            }
            for exact in ["path", "to"] {
                if allowed.contains(exact) {
                    allowed.insert(format!("{exact}_b64"));
                }
            }
            results.extend(quoted(&row[1]).into_iter().chain(quoted(&row[2])));
            events.insert(quoted(&row[0])[0].clone(), allowed);
        }
        results.extend(quoted(text.rsplit_once("How a request broke off").unwrap().1));
        results.extend(dfos::proto::Code::ALL.iter().map(|code| code.as_str().to_owned()));
        results.insert("ok".into());
        Schema { fields, events, results }
    }

    #[track_caller]
    fn check(&self, line: &Map<String, Value>) {
        let event = line["event"].as_str().unwrap();
        let allowed = self.events.get(event).unwrap_or_else(|| panic!("{event} is not in docs/AUDIT.md"));
        for (key, value) in line {
            assert!(allowed.contains(key), "{event} has no {key} in docs/AUDIT.md: {line:?}");
            let is_right = match self.fields[key].as_str() {
                "string" => value.is_string(),
                "integer" => value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                other => panic!("a type {other}"),
            };
            assert!(is_right, "{key} is {}: {line:?}", self.fields[key]);
        }
        assert_eq!(line["v"], 1);
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        if let Some(result) = line.get("result") {
            assert!(self.results.contains(result.as_str().unwrap()), "{result} is not in docs/AUDIT.md");
        }
    }
}

#[test]
fn every_line_is_as_the_document_tells_and_every_event_is_there() {
    let listeners = ["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", "--deny", "127.0.0.9/32"];
    let hooks = ["--on-download", "/bin/true", "--on-delete", "/bin/false", "--on-login-failed", "/bin/true"];
    let (server, path) = start(&[&listeners[..], &hooks].concat());
    let mut raw = server.login("alice");
    raw.put("f", b"12345");
    raw.get("f");
    raw.fetch("DOWNLOAD f offset=2 length=2").unwrap();
    raw.fetch("DOWNLOAD f offset=2 length=2").unwrap();
    raw.names("");
    raw.fetch("VIEW f").unwrap();
    raw.demand("MKDIR d", "OK created");
    raw.demand("MKDIR d", "ERR exists");
    raw.demand("RENAME f d/g", "OK renamed");
    raw.demand("STAT d/g", "OK type=file");
    raw.demand("DIGEST d/g", "OK size=5");
    raw.demand("QUOTA", "OK used");
    raw.demand("RMDIR d recursive", "OK removed=");
    raw.demand("DELETE none", "ERR not-found");
    raw.demand("FROBNICATE", "ERR bad-request");
    raw.demand("PING", "OK pong");
    // An upload that is given up, one that is resumed, one whose client vanishes.
    raw.send("UPLOAD r\nDATA 3\nabcABORT aborted enough\n");
    raw.expect("READY");
    raw.expect("ERR aborted");
    raw.send("UPLOAD r size=5 resume\n");
    raw.expect("READY offset=3");
    raw.send("FROM 3\nDATA 2\ndeEND\n");
    raw.expect("OK size=5");
    raw.demand("LOGOUT", "OK bye");
    let mut raw = server.login("bob");
    raw.send("UPLOAD v\nDATA 10\nabc");
    raw.expect("READY");
    drop(raw);
    // Logins: over TLS, and refused ones of somebody and of nobody.
    let mut tls = TlsRaw::connect(server.tls_address());
    tls.demand("LOGIN bob wrong", "ERR login-refused");
    tls.demand("LOGIN nobody wrong", "ERR login-refused");
    tls.demand("LOGIN bob builder", "OK welcome bob");
    drop(tls);
    let mut denied = Raw::silent_from("127.0.0.9", server.address());
    denied.closed();
    server.wait_idle();
    let _home = end(server);

    let (schema, lines) = (Schema::read(), all_lines(&path));
    lines.iter().for_each(|line| schema.check(line));
    let told: BTreeSet<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    // Of `lost` tell other tests.
    for event in ["start", "stop", "connect", "turned-away", "login", "request", "disconnect", "hook"] {
        assert!(told.contains(event), "no {event}");
    }
    let find = |fields: &[(&str, &str)]| {
        let found = lines.iter().find(|line| fields.iter().all(|(key, value)| is(line, key, value)));
        found.unwrap_or_else(|| panic!("no {fields:?} in {lines:#?}"))
    };
    let upload = find(&[("verb", "UPLOAD"), ("path", "f"), ("result", "ok"), ("user", "alice")]);
    assert_eq!((&upload["size"], &upload["bytes"]), (&5.into(), &5.into()));
    assert_eq!(upload["sha256"].as_str().unwrap().len(), 64);
    assert!(upload["seconds"].as_f64().unwrap() > 0.0 && upload["rate"].as_u64().is_some());
    assert!(!upload.contains_key("resumed"));
    let part = find(&[("verb", "DOWNLOAD"), ("path", "f"), ("result", "ok")]);
    assert_eq!(part["size"], 5);
    assert!(lines.iter().any(|line| is(line, "verb", "DOWNLOAD") && line["bytes"] == 2 && line["resumed"] == true));
    find(&[("verb", "RENAME"), ("path", "f"), ("to", "d/g")]);
    assert_eq!(find(&[("verb", "LIST"), ("path", ".")])["entries"], 1);
    for verb in ["VIEW", "STAT", "DIGEST", "QUOTA", "PING", "LOGOUT", "RMDIR"] {
        find(&[("verb", verb), ("result", "ok")]);
    }
    find(&[("verb", "MKDIR"), ("result", "exists")]);
    assert!(find(&[("verb", "DELETE"), ("result", "not-found")])["text"].is_string());
    assert!(!find(&[("event", "request"), ("result", "bad-request")]).contains_key("verb"));
    assert_eq!(find(&[("verb", "UPLOAD"), ("result", "aborted")])["bytes"], 3);
    let resumed = find(&[("verb", "UPLOAD"), ("path", "r"), ("result", "ok")]);
    assert_eq!((&resumed["size"], &resumed["bytes"], &resumed["resumed"]), (&5.into(), &2.into(), &true.into()));
    let vanished = find(&[("verb", "UPLOAD"), ("path", "v"), ("result", "vanished"), ("user", "bob")]);
    assert_eq!(vanished["bytes"], 3);
    let disconnect = find(&[("event", "disconnect"), ("result", "logged-out"), ("user", "alice")]);
    let moved = ["files_in", "bytes_in", "files_out", "bytes_out"].map(|key| disconnect[key].as_u64().unwrap());
    assert_eq!(moved, [2, 10, 3, 9]);
    let refused = find(&[("event", "login"), ("account", "bob"), ("tls", "1.3"), ("result", "login-refused")]);
    assert_eq!(refused["text"], "wrong password");
    assert!(refused["listener"].as_str().unwrap().starts_with("tls://"));
    assert!(lines.iter().any(|line| is(line, "result", "login-refused") && !line.contains_key("account")));
    assert!(
        lines.iter().all(|line| !line.values().any(|value| value == "nobody")),
        "what is no account is not repeated"
    );
    find(&[("event", "login"), ("user", "bob"), ("tls", "1.3"), ("result", "ok")]);
    find(&[("event", "turned-away"), ("result", "denied")]);
    // A session is one name from its connection to its end.
    let session = upload["session"].as_str().unwrap();
    for event in ["connect", "login", "request", "disconnect"] {
        find(&[("event", event), ("session", session)]);
    }
}

/// What is gone for good can be followed from its name to the id under which it lay in the trash.
#[test]
fn what_goes_to_the_trash_comes_back_or_is_gone_for_good_is_told_apart() {
    let (server, path) = start(&["--trash", "1d"]);
    let mut raw = server.login("alice");
    let deleted = |raw: &mut common::Raw, name: &str, request: &str| {
        if name == "d" {
            drop(raw.demand("MKDIR d", "OK"))
        } else {
            raw.put(name, b"x")
        };
        let answer = raw.demand(request, "OK ");
        common::raw::field(&answer, "id").to_owned()
    };
    let file = deleted(&mut raw, "f", "DELETE f trash");
    let dir = deleted(&mut raw, "d", "RMDIR d recursive trash");
    let last = deleted(&mut raw, "g", "DELETE g trash");
    raw.send("TRASH LIST\n");
    (0..3).for_each(|_| drop(raw.expect("TRASHED ")));
    raw.expect("OK entries=3");
    raw.demand(&format!("TRASH RESTORE {file}"), "OK restored");
    raw.demand(&format!("TRASH empty {dir}"), "OK emptied");
    raw.demand("TRASH EMPTY", "OK emptied");
    raw.demand("DELETE f", "OK deleted");
    server.logged("RMDIR d to the trash as ");
    drop(raw);
    server.wait_idle();
    let _home = end(server);
    let lines = all_lines(&path);
    let is_told = |verb: &str, text: &str| lines.iter().any(|line| is(line, "verb", verb) && is(line, "text", text));
    for (verb, text) in [
        ("DELETE", format!("to the trash as {file}")),
        ("RMDIR", format!("to the trash as {dir}")),
        ("DELETE", format!("to the trash as {last}")),
        ("TRASH", "list".into()),
        ("TRASH", format!("restore {file}")),
        ("TRASH", format!("empty {dir}")),
        ("TRASH", "empty".into()),
    ] {
        assert!(is_told(verb, &text), "no {verb} {text} in {lines:#?}");
    }
    assert!(
        lines.iter().any(|line| is(line, "verb", "DELETE") && !line.contains_key("text")),
        "one that is gone at once"
    );
}

#[test]
fn every_name_comes_back_exactly_and_no_name_makes_a_line() {
    let (server, path) = start(&[]);
    let mut raw = server.login("alice");
    let names: Vec<&str> =
        include_str!("hostile_names.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    for name in &names {
        raw.demand(&format!("STAT none/{name}"), "ERR");
    }
    raw.demand("LOGOUT", "OK bye");
    let _home = end(server);
    let lines = lines(&path);
    let told: Vec<_> = lines.iter().filter(|line| is(line, "verb", "STAT")).collect();
    assert_eq!(told.len(), names.len());
    let mut exact = 0;
    for (line, name) in told.iter().zip(&names) {
        let word = format!("none/{name}");
        let Ok(path) = word.parse::<dfos::proto::RemotePath>() else {
            assert!(line.contains_key("path"));
            continue;
        };
        let bytes = match line.get("path_b64") {
            Some(coded) => {
                exact += 1;
                STANDARD.decode(coded.as_str().unwrap()).unwrap()
            }
            None => line["path"].as_str().unwrap().as_bytes().to_vec(),
        };
        assert_eq!(bytes, path.as_bytes(), "{name}");
    }
    assert!(exact > 0, "no name that is no text");
    let raw = fs::read_to_string(&path).unwrap();
    assert!(!raw.contains(|c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}".contains(c))));
}

#[test]
fn a_file_that_somebody_else_could_change_is_refused_before_the_server_serves() {
    let home = home();
    let (link, open) = (home.path().join("link"), home.path().join("open"));
    std::os::unix::fs::symlink(home.path().join("users"), &link).unwrap();
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    common::give(home.path());
    for (option, path, why) in [
        ("--audit", link.clone(), "it is a link"),
        ("--audit", open.join("audit"), "everybody may write to its directory"),
        ("--audit", home.path().join("none/audit"), "there is no such directory"),
        ("--audit", home.path().to_owned(), "cannot open"),
        ("--log-file", link, "it is a link"),
    ] {
        let mut command = common::command(home.path(), &["--port", "0", option, path.to_str().unwrap()]);
        if option == "--log-file" {
            command.args(["--log-target", "file"]);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert!(!open.join("audit").exists());
}

/// Rotates as an operator's logrotate does, with compression at once, while requests run.
#[test]
fn rotation_with_compression_loses_no_line() {
    if Command::new("logrotate").arg("--version").output().is_err() {
        return eprintln!("skipped: logrotate is not installed");
    }
    for how in ["nocreate", "create 0640"] {
        let home = home();
        let log = home.path().join("log");
        let log_options = ["--audit-required", "--log-target", "file", "--log-file", log.to_str().unwrap(), "-v"];
        let (server, path) = start_in(home, "audit", &log_options);
        let config = server.home().join("logrotate.conf");
        let owner = if nix::unistd::geteuid().is_root() { "su nobody nogroup" } else { "" };
        let text = format!(
            "{} {} {{\n {owner}\n rotate 1000\n compress\n {how}\n missingok\n sharedscripts\n postrotate\n  kill -HUP {}\n endscript\n}}\n",
            path.display(),
            log.display(),
            server.pid()
        );
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let mut asked = 0;
        let (rotate, state) = (
            || {
                let mut command = Command::new("logrotate");
                command.arg("--force").arg("--state").arg(server.home().join("state.rotate")).arg(&config);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            },
            server.home().join("state.rotate"),
        );
        let mut clients = [server.login("alice"), server.login("bob")];
        for _ in 0..8 {
            let mut rotating = rotate();
            while rotating.try_wait().unwrap().is_none() {
                for raw in &mut clients {
                    asked += 1;
                    raw.demand(&format!("STAT n{asked}"), "ERR not-found");
                }
            }
            let output = rotating.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(state.exists() && asked > 100, "{asked}");
        drop(clients);
        server.wait_idle();
        let home = end(server);
        for (name, is_it) in [("audit", "\"verb\":\"STAT\""), ("log", " STAT n")] {
            let (mut told, mut files) = (BTreeSet::new(), 0);
            let mut count = 0;
            for entry in fs::read_dir(home.path()).unwrap() {
                let path = entry.unwrap().path();
                let file = path.file_name().unwrap().to_str().unwrap();
                if file != name && !file.starts_with(&format!("{name}.")) {
                    continue;
                }
                files += 1;
                let text = if file.ends_with(".gz") {
                    String::from_utf8(Command::new("zcat").arg(&path).output().unwrap().stdout).unwrap()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                assert!(text.is_empty() || text.ends_with('\n'));
                for line in text.lines().filter(|line| line.contains(is_it)) {
                    let words = line.split(['"', ' ']);
                    count += 1;
                    told.extend(
                        words.filter(|word| word.starts_with('n')).filter_map(|word| word[1..].parse::<u64>().ok()),
                    );
                }
            }
            assert_eq!(told.len(), asked as usize, "{name}, {how}");
            assert!(count < asked as usize + asked as usize / 10, "{count} lines of {asked} requests");
            assert!(files > 4, "{files} files of {name}");
        }
    }
}

/// A disk so small that it is soon full; it goes with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<SmallDisk> {
        fs::create_dir(at).unwrap();
        let options = format!("size={size},mode=0755,uid={0},gid={0}", common::SERVICE);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| SmallDisk(at.to_owned()))
    }

    /// Fills it up to the last byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|count| count > 0) {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_holds_nobody_up_and_what_is_missing_is_told() {
    let home = home();
    let Some(disk) = SmallDisk::mount(&home.path().join("small"), "256k") else {
        return eprintln!("skipped: no right to mount a small disk");
    };
    let (server, path) = start_in(home, "small/audit", &[]);
    let mut raw = server.login("alice");
    disk.fill();
    // More than what waits in memory.
    let long = "x".repeat(255);
    let word = vec![long.as_str(); 15].join("/");
    for _ in 0..600 {
        raw.demand(&format!("STAT {word}"), "ERR not-found");
    }
    server.logged("the audit cannot be written");
    disk.make_room();
    let small = fs::metadata(&path).unwrap().len();
    assert!(small < 256 * 1024);
    // The disk is smaller than what waited: nothing but what fits comes, and in whole lines.
    drop(raw);
    let _home = end(server);
    assert!(!all_lines(&path).is_empty());
    drop(disk);
}

#[test]
fn what_was_lost_is_counted_in_the_audit_once_it_can_be_written_again() {
    let home = home();
    let Some(disk) = SmallDisk::mount(&home.path().join("small"), "4m") else {
        return eprintln!("skipped: no right to mount a small disk");
    };
    let (server, path) = start_in(home, "small/audit", &[]);
    let mut raw = server.login("alice");
    line_with(&path, &[("event", "login")]);
    disk.fill();
    let word = vec!["x".repeat(255); 15].join("/");
    const ASKED: u64 = 600;
    for _ in 0..ASKED {
        raw.demand(&format!("STAT {word}"), "ERR not-found");
    }
    server.logged("the audit cannot be written");
    disk.make_room();
    let lost = line_with(&path, &[("event", "lost"), ("text", "the audit could not be written")]);
    Schema::read().check(&lost);
    server.logged("the audit is written again");
    let told = lines(&path).iter().filter(|line| is(line, "verb", "STAT")).count() as u64;
    assert_eq!(told + lost["lines"].as_u64().unwrap(), ASKED, "each is told of or counted");
    assert!(told > 0 && told < ASKED, "{told}");
    drop(raw);
    let _home = end(server);
    drop(disk);
}

#[test]
fn where_the_audit_is_required_nothing_is_done_while_it_cannot_be_written() {
    let home = home();
    let Some(disk) = SmallDisk::mount(&home.path().join("small"), "4m") else {
        return eprintln!("skipped: no right to mount a small disk");
    };
    let (server, path) = start_in(home, "small/audit", &["--audit-required"]);
    let (mut raw, mut stranger) = (server.login("alice"), server.client());
    let clients: Vec<Raw> = (0..6).map(|_| server.login("alice")).collect();
    line_with(&path, &[("event", "login")]);
    disk.fill();
    // Several at a time, so that some have just been answered when it is found that there is no more room.
    let long = vec!["x".repeat(255); 15].join("/");
    let ask = |(at, mut raw): (usize, Raw)| {
        let mut done = 0;
        loop {
            let answer = raw.ask(format!("MKDIR made-{at}-{done}"));
            if answer != "OK created" {
                return (done, answer, raw);
            }
            done += 1;
            raw.ask(format!("STAT {long}"));
        }
    };
    let ends: Vec<(usize, String, Raw)> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().enumerate().map(|client| scope.spawn(move || ask(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (done, refused) = (ends.iter().map(|end| end.0).sum::<usize>(), ends[0].1.clone());
    assert!(refused.starts_with("ERR busy") && refused.contains("cannot write its audit"), "{refused}");
    assert!(done > 10, "the room that was kept ready took {done}");
    assert_eq!(raw.upload("f", b"content"), refused);
    assert!(raw.ask("DELETE made-0-0").starts_with("ERR busy"));
    assert!(stranger.ask("LOGIN bob builder").starts_with("ERR busy"), "and nobody logs in");
    assert!(server.at("alice/made-0-0").exists() && !server.at("alice/f").exists());
    eventually("all that was done has found room, on the full disk", || {
        lines(&path).iter().filter(|line| is(line, "verb", "MKDIR") && is(line, "result", "ok")).count() == done
    });
    disk.make_room();
    eventually("requests are carried out again", || raw.ask("PING").starts_with("OK pong"));
    raw.put("f", b"content");
    stranger.login("bob");
    line_with(&path, &[("verb", "UPLOAD"), ("path", "f"), ("result", "ok")]);
    assert!(!lines(&path).iter().any(|line| is(line, "event", "lost")));
    drop((raw, stranger, ends));
    let _home = end(server);
    drop(disk);
}

#[test]
fn what_was_acknowledged_is_in_a_required_audit_though_its_scribes_are_killed() {
    let (server, path) = start(&["--audit-required"]);
    let mut raw = server.login("alice");
    line_with(&path, &[("event", "login")]);
    let mut made = 0;
    for round in 0..15 {
        let scribe = server.scribe().unwrap();
        for n in 0..40 {
            if n == 10 + round {
                kill(scribe, Signal::SIGKILL).unwrap();
            }
            raw.demand(&format!("STAT n{made}"), "ERR not-found");
            made += 1;
        }
        eventually("another scribe", || server.scribe().is_some_and(|pid| pid != scribe));
    }
    raw.demand("LOGOUT", "OK bye");
    drop(raw);
    server.wait_idle();
    let _home = end(server);
    let lines = lines(&path);
    let told: BTreeSet<_> =
        lines.iter().filter(|line| is(line, "verb", "STAT")).map(|line| line["path"].to_string()).collect();
    assert_eq!(told.len(), made, "what was answered is written down");
    let starts = lines.iter().filter(|line| is(line, "event", "start")).count();
    assert!((2..=16).contains(&starts), "{starts}"); // one that is killed at once may say nothing
}

#[test]
fn a_scribe_that_stands_still_ends_sessions_only_where_the_audit_is_required() {
    for required in [false, true] {
        let options: &[&str] = if required { &["--audit-required"] } else { &[] };
        let (server, path) = start(options);
        let mut raw = server.login("alice");
        line_with(&path, &[("event", "login")]);
        let scribe = server.scribe().unwrap();
        kill(scribe, Signal::SIGSTOP).unwrap();
        let mut answered = 0;
        let ended = loop {
            raw.try_send(format!("STAT n{answered}\n"));
            match raw.try_line() {
                Some(line) if line.starts_with("ERR not-found") && answered < 2000 => answered += 1,
                other => break other,
            }
        };
        match required {
            false => assert_eq!(answered, 2000, "{ended:?}"),
            true => {
                assert!(answered < 2000 && ended.is_some_and(|line| line.starts_with("ERR uncertain")));
                assert_eq!(raw.try_line(), None);
            }
        }
        drop(raw);
        kill(scribe, Signal::SIGCONT).unwrap();
        if required {
            eventually("all that was answered is written", || {
                lines(&path).iter().filter(|line| is(line, "verb", "STAT")).count() >= answered
            });
        } else {
            let (find, begin) = (|line: &Map<String, Value>| is(line, "event", "lost"), "the log was too slow");
            eventually("the loss is told", || lines(&path).iter().any(find));
            let lines = lines(&path);
            let lost: u64 = lines.iter().filter(|line| find(line)).map(|line| line["lines"].as_u64().unwrap()).sum();
            assert!(
                lines.iter().filter(|line| find(line)).all(|line| line["text"].as_str().unwrap().starts_with(begin))
            );
            let told = lines.iter().filter(|line| is(line, "verb", "STAT")).count() as u64;
            assert_eq!(told + lost, 2001, "each is told of or counted, the last one too");
        }
        server.wait_idle();
        let mut server = server;
        server.signal(Signal::SIGINT);
        assert_eq!(server.wait(), 0);
    }
}
