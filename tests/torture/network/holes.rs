//! The line goes dead for good in each phase of a session. The client says so when the documents say that it does, the server gets rid
//! of it when they say so, what lies under the names is whole, and when the line is back the same command does the rest.

use super::super::common::tree::noise;
use super::super::run::Run;
use super::link::Way::{Down, Up};
use super::link::{Way, When};
use super::scene::{Channel, Notes, SLACK, Scene};
use super::weather::in_the_end;
use nix::sys::signal::{Signal, kill};
use std::time::{Duration, Instant};

/// Time limits, as docs/PROTOCOL.md and the help pages state them.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
const GOODBYE: Duration = Duration::from_secs(2);
const STALL: Duration = Duration::from_secs(60);
/// Those of the server that are options.
const LOGIN: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(12);
const OPTIONS: [&str; 4] = ["--login-timeout", "8", "--idle-timeout", "12"];

/// A phase in which the line goes dead.
#[derive(Clone)]
pub struct Hole {
    /// In which phase.
    pub name: &'static str,
    channel: Channel,
    when: When,
    words: &'static [&'static str],
    /// How long the client waits, and what it ends with.
    client: (Duration, &'static [i32]),
    /// How long the server waits: at least, at most.
    server: (Duration, Duration),
}

impl Hole {
    /// Whether the server may wait for a body that stands still, a minute.
    pub fn is_long(&self) -> bool {
        self.server.1 > STALL
    }
}

/// Who is still there when the line is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Both.
    Both,
    /// The client is killed: what it would say at its end is lost.
    Server,
    /// The server is killed, all of it.
    Client,
}

const PUT: &[&str] = &["put", "big"];
const PUT_TREE: &[&str] = &["put", "-r", "tree"];
const GET: &[&str] = &["get", "there", "--to", "back"];
const GET_TREE: &[&str] = &["get", "-r", "trees", "--dir", "out"];
/// Lost, or a time-out; or, for trees, some of them.
const LOST: &[i32] = &[3, 13, 14];

/// The size of what is moved.
const SIZE: usize = 4_000_000;

fn before(way: Way, text: &str) -> When {
    When::Before(way, text.as_bytes().to_vec())
}

/// All of them. Those within a body are at places that differ each time.
pub fn all(run: &Run) -> Vec<Hole> {
    let mut chance = run.chance(77);
    let mut somewhere = |way| When::Bytes(way, chance.below(SIZE as u64 / 2));
    let (none, login, body) = (Duration::ZERO, (Duration::ZERO, LOGIN + GOODBYE), (STALL, STALL + GOODBYE));
    let (idle, download) = ((IDLE, IDLE + GOODBYE), (IDLE, STALL + GOODBYE));
    let hole = |name, channel, when, words, client, server| Hole { name, channel, when, words, client, server };
    let (plain, tls, silence) = (Channel::Plain, Channel::Tls, (SILENCE, LOST));
    vec![
        hole("connecting", tls, When::Bytes(Up, 0), PUT, (CONNECT, &[3]), login),
        hole("the server's part of the handshake", tls, When::Packet(Down, 1), PUT, silence, login),
        hole("the end of the handshake", tls, When::Packet(Up, 2), PUT, silence, login),
        hole("the first words of the login", plain, before(Up, "AUTH "), PUT, silence, login),
        hole("the server's challenge", plain, before(Down, "CHALLENGE "), PUT, silence, login),
        hole("the welcome", plain, before(Down, "OK welcome"), PUT, silence, idle),
        hole("the request to upload", plain, before(Up, "UPLOAD "), PUT, silence, idle),
        hole("READY", plain, before(Down, "READY "), PUT, silence, body),
        hole("the body of an upload", plain, somewhere(Up), PUT, silence, body),
        hole("the body of an upload over TLS", tls, somewhere(Up), PUT, silence, body),
        hole("the end of an upload", plain, before(Up, "END sha256="), PUT, silence, body),
        hole("the final OK", plain, before(Down, "OK size="), PUT, silence, idle),
        hole("small uploads", plain, before(Up, "UPLOAD tree/d1"), PUT_TREE, silence, download),
        hole("the answers to small uploads", plain, before(Down, "OK size="), PUT_TREE, silence, download),
        hole("the request to download", plain, before(Up, "DOWNLOAD "), GET, silence, idle),
        hole("the head of a download", plain, before(Down, "READY size="), GET, silence, download),
        hole("the body of a download", plain, somewhere(Down), GET, silence, download),
        hole("the body of a download over TLS", tls, somewhere(Down), GET, silence, download),
        hole("the end of a download", plain, before(Down, "END sha256="), GET, silence, idle),
        hole("a listing", plain, before(Down, "ENTRY "), GET_TREE, silence, idle),
        hole("small downloads", plain, before(Down, "END sha256="), GET_TREE, silence, download),
        hole("the goodbye", plain, before(Up, "LOGOUT"), PUT, (none, &[0]), idle),
    ]
}

/// Falls into one of them.
pub fn fall(run: &Run, notes: &Notes, number: u64, hole: &Hole, left: Left) {
    let name = format!("dead line at {}, {left:?} left", hole.name);
    let scene = Scene::new(run, notes, 1_000_000 + number, &name, true, &OPTIONS);
    prepare(&scene, number);
    scene.link.cut_when(hole.when.clone());
    let words: Vec<&str> = [&["--retries", "0"], hole.words].concat();
    let client = scene.start(hole.channel, &words);
    let Some(dead) = scene.link.wait_dead(Duration::from_secs(60)) else {
        return scene.lost(&format!("the line never died: {}", client.kill().told()));
    };
    if left == Left::Client {
        for process in scene.server.processes() {
            let _ = kill(process.pid, Signal::SIGKILL);
        }
    }
    if left == Left::Server {
        client.kill();
    } else {
        let (limit, statuses) = hole.client;
        let ended = scene.must_be_sound(client.wait(limit.max(CONNECT) + GOODBYE + SLACK));
        let waited = ended.at.saturating_duration_since(dead);
        if !ended.status.is_some_and(|status| statuses.contains(&status)) {
            scene.lost(&format!("{}, where one of {statuses:?} is due", ended.told()));
        }
        if waited + Duration::from_secs(1) < limit {
            scene.lost(&format!("{:.1} s after the line had died {}, too soon", waited.as_secs_f64(), ended.told()));
        }
        notes.count("clients that ended in time", 1);
    }
    if left == Left::Client {
        names_are_whole(&scene);
        return notes.count("dead lines", 1);
    }
    let (least, most) = hole.server;
    let gone = scene.wait_until_served_nobody(dead + most + SLACK);
    if gone.is_some_and(|gone| gone + Duration::from_secs(1) < dead + least) {
        scene.lost("the server has given the client up too soon");
    }
    notes.count("sessions of the vanished that ended in time", 1);
    names_are_whole(&scene);
    scene.link.mend();
    in_the_end(&scene, hole.channel, hole.words);
    all_is_there(&scene, hole.words);
    notes.count("dead lines", 1);
    scene.finish();
}

/// What the commands move, at both ends.
fn prepare(scene: &Scene, number: u64) {
    scene.small_buffers();
    scene.desk.write("big", &noise(number, SIZE));
    for file in 0..60 {
        scene.desk.write(&format!("tree/d{}/f{file}", file % 3), &noise(number * 100 + file, 20 + file as usize * 90));
    }
    for words in [&["put", "big", "--to", "there"][..], &["put", "-r", "tree", "--to", "trees"]] {
        let ended = scene.command(Channel::Plain, words, Duration::from_secs(60));
        assert_eq!(ended.status, Some(0), "{}", ended.told());
    }
    scene.wait_until_served_nobody(Instant::now() + SLACK);
}

/// Each name holds nothing, or all.
fn names_are_whole(scene: &Scene) {
    let whole = std::fs::read(scene.desk.at("big")).unwrap();
    for path in [scene.server.at("alice/big"), scene.desk.at("back")] {
        if path.exists() && std::fs::read(&path).unwrap() != whole {
            scene.lost(&format!("half a file is {}", path.display()));
        }
    }
}

fn all_is_there(scene: &Scene, words: &[&str]) {
    match words {
        PUT => scene.must_match("big", "big"),
        PUT_TREE => scene.must_match("tree", "tree"),
        GET => scene.must_be_same(&scene.desk.at("back"), &scene.desk.at("big")),
        _ => scene.must_be_same(&scene.desk.at("out/trees"), &scene.desk.at("tree")),
    }
}
