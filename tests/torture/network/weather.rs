//! Transfers in every weather: loss, delay, reordering, duplication, wrong bits, little room. They end well, by themselves or when they
//! are run again, and what has arrived is what was sent.

use super::super::common::tree::noise;
use super::super::run::Run;
use super::link::Weather;
use super::scene::{Channel, Notes, Scene};
use std::time::Duration;

/// No command may take longer: the worst of these weathers lets some kilobytes a second through.
const LIMIT: Duration = Duration::from_secs(600);

/// How often a command that the weather defeated is run again.
const AGAIN: usize = 12;

/// A weather with its name, and the size of the largest file that is sent through it.
const WEATHERS: &[(&str, usize, Weather)] = &[
    ("one packet in 100 lost", 3_000_000, Weather { loss: 10, ..CALM }),
    ("one packet in 10 lost", 1_200_000, Weather { loss: 100, ..CALM }),
    ("three packets in 10 lost", 20_000, Weather { loss: 300, ..CALM }),
    ("10 to 20 ms", 3_000_000, Weather { delay: ms(10), jitter: ms(10), ..CALM }),
    ("100 to 150 ms", 2_000_000, Weather { delay: ms(100), jitter: ms(50), ..CALM }),
    ("500 to 600 ms", 1_100_000, Weather { delay: ms(500), jitter: ms(100), ..CALM }),
    ("packets overtaken", 2_000_000, Weather { late: 250, delay: ms(2), ..CALM }),
    ("packets that come twice", 3_000_000, Weather { twice: 200, ..CALM }),
    ("wrong bits", 1_500_000, Weather { corrupt: 50, ..CALM }),
    ("48 KiB a second", 200_000, Weather { rate: Some(48 * 1024), ..CALM }),
    ("1 MiB a second", 3_000_000, Weather { rate: Some(1 << 20), delay: ms(20), ..CALM }),
    (
        "all of it",
        300_000,
        Weather { loss: 20, twice: 50, corrupt: 10, late: 50, delay: ms(20), jitter: ms(40), rate: Some(1 << 20) },
    ),
];

const CALM: Weather =
    Weather { loss: 0, twice: 0, corrupt: 0, late: 0, delay: Duration::ZERO, jitter: Duration::ZERO, rate: None };

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A tree goes up and comes down again in the weather of this number.
pub fn journey(run: &Run, notes: &Notes, number: usize) {
    let (what, size, weather) = WEATHERS[number % WEATHERS.len()];
    let channel = Channel::of(number / WEATHERS.len() + number);
    let name = format!("weather {number}, {what}, {channel:?}");
    let mut scene = Scene::new(run, notes, number as u64, &name, false, &[]);
    scene.link.weather(weather);
    for file in 0..12 {
        let length = scene.chance.below(3000) as usize;
        scene.desk.write(&format!("tree/d{}/f{file}", file % 3), &noise(number as u64 * 100 + file, length));
    }
    let size = size - scene.chance.below(size as u64 / 3) as usize;
    scene.desk.write("tree/big", &noise(!(number as u64), size));
    in_the_end(&scene, channel, &["put", "-r", "tree"]);
    scene.must_match("tree", "tree");
    in_the_end(&scene, channel, &["get", "-r", "tree", "--dir", "out"]);
    scene.must_be_same(&scene.desk.at("out/tree"), &scene.desk.at("tree"));
    let fates = scene.finish();
    notes.count("weathers", 1);
    notes.count("packets", fates.passed);
    notes.count("packets lost", fates.lost);
    notes.count("packets twice", fates.twice);
    notes.count("packets with a wrong bit", fates.corrupted);
    notes.count("packets overtaken", fates.overtaken);
}

/// Runs a command until it has succeeded; each failure must be one of the line.
pub fn in_the_end(scene: &Scene, channel: Channel, words: &[&str]) {
    for _ in 0..AGAIN {
        let ended = scene.command(channel, words, LIMIT);
        match ended.status {
            Some(0) => return,
            Some(3 | 11 | 13 | 14 | 17) => scene.notes.count("commands run again", 1),
            _ => return scene.lost(&ended.told()),
        }
    }
    scene.lost(&format!("{words:?} never succeeded"));
}
