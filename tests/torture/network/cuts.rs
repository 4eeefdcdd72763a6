//! The line is cut in the middle of a transfer and comes back: after times around each limit that there is. And the client's address
//! becomes another meanwhile. The transfer goes on by itself as long as the client's patience says, and moves what is missing.

use super::super::command::Ended;
use super::super::common::tree::noise;
use super::super::run::Run;
use super::link::{Way, Weather, When};
use super::scene::{Channel, ELSEWHERE, HERE, Notes, SLACK, Scene};
use super::weather::in_the_end;
use std::time::{Duration, Instant};

/// What a client of the usual patience outlasts: half a minute of silence, and five attempts with the waits between them.
const OUTLASTED: f64 = 95.0;

/// How long it may be at it when the line stays dead: the silence, and five attempts to connect with the longest waits.
const PATIENCE: f64 = 30.0 + 5.0 * 10.0 + 1.25 * 37.0;

/// What happens while the line is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// The client's address becomes another.
    Moved,
    /// The kernels give connections up sooner than usual.
    Impatient,
}

/// A cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Seconds for which it lasts.
    pub lasts: f64,
    /// Whether something goes up.
    pub up: bool,
    /// Over what.
    pub channel: Channel,
    /// What else happens.
    pub meanwhile: Meanwhile,
    /// Whether alice may have one session only, so that the old one is in the way.
    pub alone: bool,
}

const SIZE: usize = 3_000_000;

/// What may be moved twice: what the sockets hold when the line is cut.
const UNDER_WAY: u64 = 600_000;

/// The cuts of a run.
pub fn all(run: &Run) -> Vec<Cut> {
    let short: &[f64] = &[0.3, 2.0, 9.0, 11.0, 29.0, 31.0];
    let long: &[f64] = &[
        0.1, 0.5, 1.0, 3.0, 5.0, 7.9, 8.1, 9.5, 10.5, 11.9, 12.1, 15.0, 20.0, 25.0, 29.0, 30.0, 31.0, 35.0, 40.0, 43.0,
        45.0, 55.0, 59.0, 60.0, 61.0, 62.0, 63.0, 65.0, 70.0, 80.0, 90.0, 95.0, 100.0, 110.0, 121.0, 130.0, 150.0,
    ];
    let mut cuts = Vec::new();
    for (at, lasts) in if run.full { long } else { short }.iter().enumerate() {
        let ways: &[bool] = if run.full {
            &[true, false]
        } else if at.is_multiple_of(2) {
            &[true]
        } else {
            &[false]
        };
        for up in ways {
            let (channel, meanwhile) = (Channel::of(at), Meanwhile::Nothing);
            cuts.push(Cut { lasts: *lasts, up: *up, channel, meanwhile, alone: false });
        }
    }
    let others: &[(f64, Meanwhile, bool)] = &[
        (0.2, Meanwhile::Moved, false),
        (4.0, Meanwhile::Moved, true),
        (8.0, Meanwhile::Impatient, false),
        (31.0, Meanwhile::Nothing, true),
    ];
    for (at, (lasts, meanwhile, alone)) in others.iter().enumerate() {
        for up in [true, false] {
            cuts.push(Cut { lasts: *lasts, up, channel: Channel::of(at), meanwhile: *meanwhile, alone: *alone });
        }
    }
    cuts
}

/// Makes one.
pub fn make(run: &Run, notes: &Notes, number: u64, cut: Cut) {
    let mut scene = Scene::new(run, notes, 2_000_000 + number, &format!("{cut:?}"), cut.alone, &[]);
    scene.desk.write("file", &noise(number, SIZE));
    if !cut.up {
        in_the_end(&scene, Channel::Plain, &["put", "file"]);
        scene.wait_until_served_nobody(Instant::now() + SLACK);
    }
    if cut.meanwhile == Meanwhile::Impatient {
        [&scene.here, &scene.there].iter().for_each(|place| place.set("tcp_retries2", "4"));
    }
    scene.small_buffers();
    scene.link.weather(Weather { rate: Some(2 << 20), ..Weather::default() }); // so that little is under way when it is cut
    let way = if cut.up { Way::Up } else { Way::Down };
    scene.link.cut_when(When::Bytes(way, scene.chance.below(SIZE as u64 * 9 / 10)));
    let words: &[&str] = if cut.up { &["--json", "put", "file"] } else { &["--json", "get", "file", "--to", "back"] };
    let client = scene.start(cut.channel, words);
    if scene.link.wait_dead(Duration::from_secs(60)).is_none() {
        return scene.lost(&format!("the line was never cut: {}", client.kill().told()));
    }
    if cut.meanwhile == Meanwhile::Moved {
        scene.here.move_to(HERE, ELSEWHERE);
    }
    std::thread::sleep(Duration::from_secs_f64(cut.lasts)); // what is tried is this very length
    scene.link.mend();
    let limit = Duration::from_secs_f64(cut.lasts.max(0.0) + PATIENCE) + SLACK;
    let ended = scene.must_be_sound(client.wait(limit));
    match ended.status {
        Some(0) => {
            notes.count("cuts outlasted", 1);
            if moved(&ended).is_none_or(|moved| moved > SIZE as u64 + UNDER_WAY) {
                scene.lost(&format!("more was moved than is missing: {}", ended.told()));
            }
        }
        Some(3 | 13 | 17) if cut.lasts > OUTLASTED => {
            notes.count("cuts longer than the client's patience", 1);
            in_the_end(&scene, cut.channel, words);
        }
        _ => scene.lost(&ended.told()),
    }
    if cut.up {
        scene.must_match("file", "file");
    } else {
        scene.must_be_same(&scene.desk.at("back"), &scene.desk.at("file"));
    }
    notes.count("cuts", 1);
    scene.wait_until_served_nobody(Instant::now() + Duration::from_secs(62) + SLACK);
    scene.finish();
}

/// How many bytes a command has moved, over all connections.
fn moved(ended: &Ended) -> Option<u64> {
    let objects = ended.said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    objects.filter_map(|object| object["moved"].as_u64()).next_back()
}

/// A session that rests outlasts a cut that is shorter than the time between requests, and ends after it otherwise; and where the
/// kernel asks whether the peer lives, it ends then.
pub fn at_rest(run: &Run, notes: &Notes, number: u64) {
    let scene =
        Scene::new(run, notes, 3_000_000 + number, "a cut while the session rests", false, &["--idle-timeout", "8"]);
    let mut raw = scene.login();
    scene.link.cut();
    std::thread::sleep(Duration::from_secs(4));
    scene.link.mend();
    raw.demand("PING", "OK pong");
    scene.link.cut();
    let begin = Instant::now();
    scene.wait_until_served_nobody(begin + Duration::from_secs(10) + SLACK);
    if begin.elapsed() < Duration::from_secs(7) {
        scene.lost("the session ended too soon");
    }
    drop(raw);
    scene.link.mend();
    notes.count("sessions at rest", 1);
    scene.finish();
    let scene = Scene::new(run, notes, 3_000_001 + number, "a peer that vanishes while the session rests", false, &[]);
    for (key, value) in [
        ("tcp_keepalive_time", "3"),
        ("tcp_keepalive_intvl", "1"),
        ("tcp_keepalive_probes", "2"),
        ("tcp_retries2", "3"),
    ] {
        scene.there.set(key, value); // the last for what may still be under way
    }
    let raw = scene.login();
    scene.link.cut();
    scene.wait_until_served_nobody(Instant::now() + Duration::from_secs(6) + SLACK);
    drop(raw);
    notes.count("sessions at rest", 1);
    scene.finish();
}
