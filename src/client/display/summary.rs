//! `--summary`: what a whole session has moved, at its end or when the shell is asked.

use super::json::{Object, rate};
use super::output::Output;
use super::progress::Totals;
use crate::client::failure::Failure;
use crate::client::report::Direction;
use crate::paper::units::human;
use std::time::{Duration, Instant};

/// What went one way.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    files: u64,
    bytes: u64,
    moved: u64,
    took: Duration,
}

impl Way {
    fn rate(&self) -> f64 {
        rate(self.moved, self.took)
    }

    fn told(&self) -> String {
        let rate = human(self.rate() as u64);
        let files = if self.files == 1 { "file" } else { "files" };
        format!(
            "{} {files}  {}  {} moved  {:.2} s  {rate}/s",
            self.files,
            human(self.bytes),
            human(self.moved),
            self.took.as_secs_f64()
        )
    }
}

/// The figures of a session.
#[derive(Debug)]
pub struct Summary {
    begun: Instant,
    up: Way,
    down: Way,
    skipped: u64,
    failed: u64,
    /// Things deleted.
    pub deleted: u64,
    /// Connections made.
    pub connections: u64,
}

impl Default for Summary {
    fn default() -> Self {
        let (up, down) = (Way::default(), Way::default());
        Summary { begun: Instant::now(), up, down, skipped: 0, failed: 0, deleted: 0, connections: 0 }
    }
}

impl Summary {
    /// Adds what one transfer has moved.
    pub fn add(&mut self, direction: Direction, totals: &Totals, took: Duration) {
        let way = if direction == Direction::Put { &mut self.up } else { &mut self.down };
        way.files += totals.files;
        way.bytes += totals.bytes;
        way.moved += totals.moved;
        way.took += took;
        self.skipped += totals.kept + totals.passed_over;
        self.failed += totals.failed;
        self.connections += totals.connections;
    }

    /// Adds something that could not be deleted.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// Tells all: an object for a program, else lines; on standard output where it was asked for as data, else beside it.
    pub fn tell(&self, output: &Output, is_data: bool) -> Result<(), Failure> {
        if output.json {
            return output.object(&self.object());
        }
        self.lines().iter().try_for_each(|line| match is_data {
            true => output.line(line),
            false => {
                output.say_plain(line);
                Ok(())
            }
        })
    }

    fn object(&self) -> Object {
        let mut object = Object::new("summary").took(self.begun.elapsed(), None);
        object.files = Some(self.up.files + self.down.files);
        object.bytes = Some(self.up.bytes + self.down.bytes);
        object.moved = Some(self.up.moved + self.down.moved);
        (object.skipped, object.failed, object.deleted) = (Some(self.skipped), Some(self.failed), Some(self.deleted));
        (object.rate_up, object.rate_down) = (Some(self.up.rate()), Some(self.down.rate()));
        object.connections = Some(self.connections);
        object
    }

    fn lines(&self) -> [String; 4] {
        let Summary { skipped, failed, deleted, connections, .. } = self;
        [
            format!("up       {}", self.up.told()),
            format!("down     {}", self.down.told()),
            format!("besides  {deleted} deleted, {skipped} skipped, {failed} failed"),
            format!("session  {:.2} s, connections made: {connections}", self.begun.elapsed().as_secs_f64()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::display::output::Volume;
    use crate::client::display::output::tests::kept;

    fn summary() -> Summary {
        let mut summary = Summary::default();
        let totals =
            Totals { files: 2, failed: 1, bytes: 4096, moved: 2048, kept: 3, connections: 1, ..Totals::default() };
        summary.add(Direction::Put, &totals, Duration::from_secs(2));
        summary.add(
            Direction::Get,
            &Totals { files: 1, bytes: 10, moved: 10, ..Totals::default() },
            Duration::from_secs(1),
        );
        summary.deleted = 4;
        summary
    }

    #[test]
    fn each_way_has_its_own_rate() {
        let (output, out, err) = kept(false, Volume::Normal);
        summary().tell(&output, false).unwrap();
        assert_eq!(out.text(), "");
        let text = err.text();
        assert!(text.contains("up       2 files  4.0 KiB  2.0 KiB moved  2.00 s  1.0 KiB/s\n"), "{text}");
        assert!(text.contains("down     1 file  10 B  10 B moved  1.00 s  10 B/s\n"), "{text}");
        assert!(text.contains("besides  4 deleted, 3 skipped, 1 failed\n"), "{text}");
    }

    #[test]
    fn a_program_gets_one_object() {
        let (output, out, err) = kept(true, Volume::Normal);
        summary().tell(&output, false).unwrap();
        output.flush().unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        let expected = [
            ("files", 3),
            ("bytes", 4106),
            ("moved", 2058),
            ("skipped", 3),
            ("failed", 1),
            ("deleted", 4),
            ("connections", 1),
        ];
        for (key, number) in expected {
            assert_eq!(value[key], number, "{key}");
        }
        assert_eq!(
            (value["rate_up"].as_f64(), value["rate_down"].as_f64(), err.text()),
            (Some(1024.0), Some(10.0), String::new())
        );
    }
}
