//! `dfos-client bench` against real servers: what it counts is what happened, what is damaged is found, nothing is left behind.

mod common;

use common::{Server, eventually, home};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn command(url: &str, place: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
    command.args(["--server", url, "--retries", "0", "--known-servers"]).arg(place.join("known")).arg("bench");
    command.args(arguments.split(' ')).current_dir(place);
    command.env("DFOS_USER", "alice").env("DFOS_PASSWORD", "secret");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A run of the load generator, which must end so; its one object, and what it said.
#[track_caller]
fn bench(url: &str, arguments: &str, status: i32) -> (Value, String) {
    let place = tempfile::tempdir().unwrap();
    let output = command(url, place.path(), &format!("{arguments} --json result")).output().unwrap();
    ended(&output, status);
    let text = fs::read_to_string(place.path().join("result")).unwrap();
    (serde_json::from_str(&text).unwrap(), both(&output))
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[track_caller]
fn ended(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", both(output));
}

fn tcp(server: &Server) -> String {
    format!("tcp://{}", server.address())
}

/// What alice has, the server's own directory apart.
fn names(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.at("alice")).map(|entries| entries.flatten().collect::<Vec<_>>());
    let names = entries.unwrap_or_default().into_iter().map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name != ".dfos").collect()
}

#[track_caller]
fn nothing_is_left(server: &Server) {
    assert_eq!(names(server), [""; 0]);
    assert_eq!(server.partials("alice"), [""; 0].map(std::path::PathBuf::from));
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {value}"))
}

fn kind<'a>(result: &'a Value, name: &str) -> &'a Value {
    result["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == name).unwrap()
}

#[test]
fn what_is_counted_is_what_the_server_counts_and_nothing_is_left() {
    let server = Server::start(&["--listen", "tls://127.0.0.1:0"]);
    let (result, text) = bench(
        &format!("tls://{}", server.tls_address()),
        "--clients 3 --files 40 --size 5000 --mix put:50,get:40,list:10",
        0,
    );
    nothing_is_left(&server);
    let (put, got) = (number(&result, "/up/files"), number(&result, "/down/files"));
    let listed = number(kind(&result, "list"), "/count");
    assert_eq!(put + got + listed, 3 * 40);
    assert!(put > 0 && got > 0 && listed > 0, "{put} {got} {listed}");
    assert_eq!(number(&result, "/up/bytes"), put * 5000);
    assert_eq!(number(&result, "/down/bytes"), got * 5000);
    let sum = |field: &str| result["per_second"].as_array().unwrap().iter().map(|row| number(row, field)).sum::<u64>();
    assert_eq!((sum("/up"), sum("/down"), sum("/operations")), (put * 5000, got * 5000, 120));
    let clients = result["per_client"].as_array().unwrap();
    assert_eq!(clients.iter().map(|client| number(client, "/operations")).collect::<Vec<_>>(), [40; 3]);
    assert_eq!(number(kind(&result, "login"), "/count"), 3);
    assert_eq!(result["errors"], Value::Array(vec![]));
    assert!(text.contains("errors: none") && text.contains("every byte verified"), "{text}");
    // Each client put 16 files before the time began.
    let (all, bytes) = (put + 48, (put + 48) * 5000);
    let log = server.stop().join("\n");
    assert!(log.contains(&format!(" 3 logins, {all} files in ")), "{log}");
    assert!(log.contains(&format!(", {bytes} bytes), {got} files out (")), "{log}");
    assert!(log.contains(&format!(", {} bytes)", got * 5000)), "{log}");
}

#[test]
fn what_the_user_has_is_not_touched_and_the_results_are_where_they_were_asked_for() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("mine", b"content");
    raw.demand("MKDIR bench-mine", "OK");
    let place = tempfile::tempdir().unwrap();
    let arguments = "--clients 2 --files 5 --size 0..300KiB --mix put/get --json - --html page.html";
    let output = command(&tcp(&server), place.path(), arguments).output().unwrap();
    ended(&output, 0);
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["bench", "end"]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let page = fs::read_to_string(place.path().join("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert_eq!(page.matches("<svg").count(), 3);
    let mut left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["page.html"], "no unfinished file is left beside the page");
    let mut names = names(&server);
    names.sort();
    assert_eq!(names, ["bench-mine", "mine"]);
    assert_eq!(fs::read(server.at("alice/mine")).unwrap(), b"content");
    drop(raw);
    server.stop();
}

/// Which way a relay damages bytes.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Up,
    Down,
}

/// A relay before `server` that flips a bit in every tenth piece of 4,096 bytes that goes one way; its address, and how many it has
/// flipped.
fn damaging_relay(server: &str, way: Way) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let (server, flipped) = (server.to_owned(), Arc::new(AtomicUsize::new(0)));
    let count = flipped.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(to) = TcpStream::connect(&server) else { return };
            let (up, down) = ((client.try_clone().unwrap(), to.try_clone().unwrap()), (to, client));
            for ((from, to), of) in [(up, Way::Up), (down, Way::Down)] {
                let count = if of == way { Some(count.clone()) } else { None };
                std::thread::spawn(move || pass(from, to, count));
            }
        }
    });
    (address, flipped)
}

fn pass(mut from: TcpStream, mut to: TcpStream, flipped: Option<Arc<AtomicUsize>>) {
    const HEAD: &[u8] = b"DATA 4096\n";
    let (mut buffer, mut matched, mut pieces) = ([0; 65536], 0, 0);
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        for byte in &mut buffer[..n] {
            if matched == HEAD.len() {
                pieces += 1;
                matched = 0;
                if let Some(flipped) = flipped.as_ref().filter(|_| pieces % 10 == 0) {
                    *byte ^= 1;
                    flipped.fetch_add(1, Ordering::SeqCst);
                }
            } else {
                matched = if *byte == HEAD[matched] { matched + 1 } else { usize::from(*byte == HEAD[0]) };
            }
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_bit_that_is_flipped_on_the_way_down_is_found() {
    let server = Server::start(&[]);
    let (url, flipped) = damaging_relay(server.address(), Way::Down);
    let (result, text) = bench(&url, "--clients 2 --files 30 --size 4096 --mix get", 11);
    let damaged = flipped.load(Ordering::SeqCst) as u64;
    assert_eq!((damaged, number(&result, "/damaged")), (6, 6));
    assert_eq!(number(&result, "/down/files"), 60 - 6);
    assert_eq!((&result["errors"][0]["code"], number(&result, "/errors/0/count")), (&"damaged".into(), 6));
    assert!(text.contains("6 operations were not right to the byte"), "{text}");
    nothing_is_left(&server);
    server.stop();
}

#[test]
fn a_bit_that_is_flipped_on_the_way_up_is_found() {
    let server = Server::start(&[]);
    let (url, flipped) = damaging_relay(server.address(), Way::Up);
    let (result, _) = bench(&url, "--clients 2 --files 30 --size 4096 --mix put", 11);
    assert_eq!((flipped.load(Ordering::SeqCst), number(&result, "/damaged")), (6, 6));
    assert_eq!(number(&result, "/up/files"), 60 - 6);
    assert_eq!(result["errors"][0]["code"], "checksum-mismatch");
    nothing_is_left(&server);
    server.stop();
}

#[test]
fn clients_for_which_there_is_no_room_are_counted_and_the_others_go_on() {
    let server = Server::limited("[alice]\nsessions = 2\n", &[]);
    let (result, text) = bench(&tcp(&server), "--clients 5 --files 10 --size 1KiB --mix put/get/list", 14);
    assert_eq!((number(&result, "/refused"), number(&result, "/took_part")), (3, 2));
    assert_eq!(number(&result, "/operations"), 20);
    assert!(text.contains("3 of 5 clients could not take part"), "{text}");
    assert!(text.contains("the server had no room for 3 connections; the others went on"), "{text}");
    nothing_is_left(&server);
    server.stop();
}

#[test]
fn a_quota_that_is_used_up_is_an_error_of_each_put_and_not_the_end() {
    let server = Server::limited("[alice]\nquota = 100_000\n", &[]);
    let (result, _) = bench(&tcp(&server), "--clients 2 --files 40 --size 5000 --mix put", 14);
    let (put, failed) = (number(&result, "/up/files"), number(&result, "/failed"));
    assert_eq!(put + failed, 80);
    assert!((10..=20).contains(&put), "{put}");
    assert_eq!(result["errors"][0]["code"], "over-quota");
    nothing_is_left(&server);
    server.stop();
}

/// A run that would last for an hour, when files have arrived from all its clients.
fn under_way(server: &Server, place: &Path) -> Child {
    let arguments = "--clients 3 --duration 1h --size 1MiB --mix put/get/list --json result";
    let child = command(&tcp(server), place, arguments).spawn().unwrap();
    let clients = || -> Option<usize> {
        let place = names(server).into_iter().find(|name| name.starts_with("bench-"))?;
        let clients = fs::read_dir(server.at("alice").join(place)).ok()?.flatten();
        let files = clients.map(|client| fs::read_dir(client.path()).map_or(0, Iterator::count));
        Some(files.filter(|files| *files > 16).count())
    };
    eventually("all clients to be at work", || clients() == Some(3));
    child
}

#[test]
fn an_interrupted_run_cleans_up_and_tells_what_there_is() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let server = Server::start(&[]);
        let place = tempfile::tempdir().unwrap();
        let child = under_way(&server, place.path());
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        ended(&output, 17);
        assert_eq!(names(&server), [""; 0]);
        if signal == Signal::SIGINT {
            nothing_is_left(&server); // SIGTERM leaves no time to call off what is in hand
        }
        let result: Value = serde_json::from_str(&fs::read_to_string(place.path().join("result")).unwrap()).unwrap();
        assert_eq!((&result["interrupted"], &result["left_behind"]), (&Value::Bool(true), &Value::Null));
        assert!(number(&result, "/operations") > 0);
        assert_eq!(number(&result, "/failed"), 0, "what was broken off is no failure: {}", result["errors"]);
        let text = both(&output);
        assert!(text.contains("operations of a client:") && text.contains("interrupted"), "{text}");
        server.stop();
    }
}

#[test]
fn an_upload_that_ctrl_c_meets_half_way_leaves_nothing_to_be_resumed() {
    let server = Server::start(&[]);
    let place = tempfile::tempdir().unwrap();
    let child =
        command(&tcp(&server), place.path(), "--clients 2 --duration 1h --size 96MiB --mix put").spawn().unwrap();
    let half_way =
        |file: &std::path::PathBuf| fs::metadata(file).is_ok_and(|meta| (8 << 20..64 << 20).contains(&meta.len()));
    eventually("an upload to be half way", || server.partials("alice").iter().any(half_way));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    ended(&child.wait_with_output().unwrap(), 17);
    nothing_is_left(&server);
    server.stop();
}

#[test]
fn a_server_that_dies_ends_the_run_and_what_is_left_there_is_named() {
    let mut server = Server::start(&[]);
    let place = tempfile::tempdir().unwrap();
    let child = under_way(&server, place.path());
    server.kill_listener();
    server.signal_sessions_but_the_scribe(Signal::SIGKILL);
    for process in server.processes() {
        let _ = kill(process.pid, Signal::SIGKILL);
    }
    let output = child.wait_with_output().unwrap();
    ended(&output, 14);
    let text = both(&output);
    let left = names(&server).into_iter().next().unwrap();
    assert!(text.contains(&format!("{left} is still there: remove it with dfos-client rm -r {left}")), "{text}");
    let result: Value = serde_json::from_str(&fs::read_to_string(place.path().join("result")).unwrap()).unwrap();
    assert_eq!(result["left_behind"], left.as_str());
    assert!(number(&result, "/failed") >= 3, "{}", result["errors"]);
}

#[test]
fn what_cannot_come_to_a_result_does_not_begin() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::limited("[alice]\naccess = \"upload-only\"\n[bob]\naccess = \"read-only\"\n", &[]);
    let url = tcp(&server);
    let run = |arguments: &str| command(&url, place.path(), arguments).output().unwrap();
    ended(&run("--json missing/result"), 10);
    ended(&run("--html missing/page"), 10);
    ended(&run("--size huge"), 2);
    assert!(server.log().iter().all(|line| !line.contains("alice")), "nobody has connected yet");
    let refused = run("--files 1");
    ended(&refused, 6);
    assert!(both(&refused).contains("could not tidy up after itself"), "{}", both(&refused));
    let wrong = command(&url, place.path(), "--files 1").env("DFOS_PASSWORD", "wrong").output().unwrap();
    ended(&wrong, 5);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    nothing_is_left(&server);
    server.stop();
    let gone = home();
    let nowhere = format!("unix:{}", gone.path().join("socket").display());
    ended(&command(&nowhere, place.path(), "--files 1").output().unwrap(), 3);
}

#[test]
fn the_shell_of_the_client_refuses_it() {
    let server = Server::start(&[]);
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
    command.args(["--server", &tcp(&server), "shell"]).env("DFOS_USER", "alice").env("DFOS_PASSWORD", "secret");
    command.env("HOME", place.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"bench --files 1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    ended(&output, 2);
    assert!(both(&output).contains("outside of this shell"), "{}", both(&output));
    server.stop();
}
