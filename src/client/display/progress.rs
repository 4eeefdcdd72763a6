//! What a user sees of transfers: bars on a terminal while they run, one line for each file when it is done, a total at the
//! end; or objects. In a pipe there are only whole lines.

use super::bars::Bars;
use super::escape::escape;
use super::json::{self, Object};
use super::output::{Output, Volume};
use super::steps::{self, Steps};
use crate::client::failure::Exit;
use crate::client::report::{Event, Report};
use crate::client::trust::Introduction;
use crate::paper::units::human;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one command has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files that arrived whole.
    pub files: u64,
    /// Files that did not.
    pub failed: u64,
    /// Files that there were to move.
    pub planned: u64,
    /// Bytes of the whole files.
    pub bytes: u64,
    /// Bytes that crossed the wire for them.
    pub moved: u64,
    /// Files that were left alone, as their names were taken.
    pub kept: u64,
    /// What was passed over besides: links, sockets.
    pub passed_over: u64,
    /// Connections that were made.
    pub connections: u64,
}

/// A reporter for one command.
pub struct Progress<'a> {
    output: &'a Output,
    /// Steps are told instead of made.
    dry_run: bool,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: HashMap<u64, (Vec<u8>, Option<u64>)>,
    totals: Totals,
    steps: Steps,
    bars: Option<Bars>,
}

impl<'a> Progress<'a> {
    /// A reporter to `output`. `out_is_data` says that standard output carries a file.
    pub fn new(output: &'a Output, out_is_data: bool) -> Self {
        output.out_carries_a_file(out_is_data);
        let draw = output.err_is_terminal && !output.json && output.volume > Volume::Quiet;
        let state = State { bars: draw.then(Bars::new), ..State::default() };
        Progress { output, dry_run: false, begun: Instant::now(), state: Mutex::new(state) }
    }

    /// A reporter of what would be done.
    pub fn of_dry_run(output: &'a Output) -> Self {
        Progress { dry_run: true, ..Progress::new(output, false) }
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> u64 {
        self.state().totals.connections
    }

    /// Ends the bars and tells the total, where there were several files.
    pub fn finish(&self) -> (Totals, Duration) {
        let took = self.begun.elapsed();
        let mut state = self.state();
        if let Some(bars) = state.bars.take() {
            bars.clear();
        }
        let totals = state.totals;
        if self.dry_run {
            self.output.note(&state.steps.told(totals.kept));
            return (totals, took);
        }
        let all = totals.planned.max(totals.files + totals.failed);
        if all > 1 {
            let files = match totals.files == all {
                true => format!("{all} files"),
                false => format!("{} of {all} files", totals.files),
            };
            self.row(&state, || format!("{files}  {}", figures(totals.bytes, totals.moved, took)));
        }
        (totals, took)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line about what is done.
    fn row(&self, state: &State, text: impl FnOnce() -> String) {
        if self.output.volume == Volume::Quiet || self.output.json {
            return;
        }
        let text = text();
        above(state, || match self.output.out_is_data() {
            true => self.output.say_plain(&text),
            // Whoever closed standard output does not want to know; the file has arrived all the same.
            false => drop(self.output.line(&text).and_then(|()| self.output.flush())),
        });
    }

    fn note(&self, state: &State, text: &str) {
        above(state, || self.output.note(text));
    }

    /// One object, at once.
    fn object(&self, object: Object) {
        if self.output.json {
            let _ = self.output.object(&object).and_then(|()| self.output.flush());
        }
    }
}

/// Prints above the bars.
fn above(state: &State, print: impl FnOnce()) {
    match &state.bars {
        Some(bars) => bars.suspend(print),
        None => print(),
    }
}

impl Report for Progress<'_> {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state();
        if let Some(bars) = &mut state.bars {
            bars.event(&event);
        }
        match event {
            Event::Planned { files, .. } => state.totals.planned += files,
            Event::Advanced { .. } | Event::Settling { .. } => {}
            Event::Connected => state.totals.connections += 1,
            Event::Step { verb, name, to, bytes } => {
                state.steps.count(verb, bytes);
                above(&state, || steps::tell(self.output, self.dry_run, verb, name, to, bytes));
            }
            Event::Kept { file, name, why } => {
                if let Some(file) = file {
                    state.names.remove(&file);
                }
                state.totals.kept += 1;
                above(&state, || steps::tell_kept(self.output, self.dry_run, name, why));
            }
            Event::Started { file, name, size, .. } => drop(state.names.insert(file, (name.to_vec(), size))),
            Event::Resumed { file, at } => {
                let (name, size) = state.names.get(&file).cloned().unwrap_or_default();
                self.note(&state, &resuming(&name, at, size));
                let mut object = Object::new("resumed").path(&name);
                (object.offset, object.bytes) = (Some(at), size);
                self.object(object);
            }
            Event::Finished { file, bytes, moved, digest, took } => {
                let (name, _) = state.names.remove(&file).unwrap_or_default();
                state.totals.files += 1;
                state.totals.bytes += bytes;
                state.totals.moved += moved;
                self.row(&state, || format!("{}  {}", escape(&name), figures(bytes, moved, took)));
                if self.output.json {
                    let mut object = Object::new("finished").path(&name).digest(Some(digest)).took(took, Some(moved));
                    (object.bytes, object.moved) = (Some(bytes), Some(moved));
                    self.object(object);
                }
            }
            Event::Failed { file, failure } => {
                let (name, _) = state.names.remove(&file).unwrap_or_default();
                state.totals.failed += 1;
                if self.output.json {
                    self.object(Object::new("failed").path(&name).failure(failure));
                } else if failure.exit != Exit::Interrupted {
                    // What was broken off by the user the end of the command says, once.
                    above(&state, || self.output.error(failure));
                }
            }
            Event::Skipped { name, why } => {
                state.totals.passed_over += 1;
                self.note(&state, &format!("{}: passed over: {why}", escape(name)));
                let mut object = Object::new("skipped").path(name);
                object.text = Some(why.to_owned());
                self.object(object);
            }
            Event::Retrying { attempt, of, wait, why } => {
                let text = format!("{why}; attempt {attempt} of {of} in {:.1} s", wait.as_secs_f64());
                if !self.output.json {
                    above(&state, || self.output.say(&text)); // also when quiet: a hidden retry is a hidden fault
                }
                let mut object = Object::new("retrying").failure(why).took(wait, None);
                object.attempt = Some(attempt);
                self.object(object);
            }
            Event::Introduced { introduction: Introduction { address, pin, trouble } } => {
                let text = match trouble {
                    None => format!("{address} is known by its key from now on (sha256:{pin})"),
                    Some(why) => format!("the key of {address} cannot be remembered (sha256:{pin}): {why}"),
                };
                self.note(&state, &text);
                self.object(Object::new("introduced").server(address, pin));
            }
            Event::Reconnected => {
                self.note(&state, "connected again");
                self.object(Object::new("reconnected"));
            }
        }
    }
}

fn resuming(name: &[u8], at: u64, size: Option<u64>) -> String {
    let name = escape(name);
    match size.filter(|size| *size > 0) {
        Some(size) => {
            let percent = (u128::from(at.min(size)) * 100 / u128::from(size)) as u64;
            format!("resuming {name} at {percent} % ({} of {})", human(at), human(size))
        }
        None => format!("resuming {name} at {}", human(at)),
    }
}

/// Size, time and rate; the rate counts what crossed the wire, not what was there before.
fn figures(bytes: u64, moved: u64, took: Duration) -> String {
    let rate = json::rate(moved, took) as u64;
    format!("{}  {:.2} s  {}/s", human(bytes), took.as_secs_f64(), human(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::display::output::tests::kept;
    use crate::client::failure::Failure;
    use crate::client::report::Direction;
    use crate::proto::Digest;

    fn play(progress: &Progress<'_>) {
        let failure = Failure::new(Exit::NotFound, "b: no such file");
        let lost = Failure::passing(Exit::Connect, "the connection was lost");
        let second = Duration::from_secs(1);
        progress.event(Event::Planned { files: 2, bytes: 4096 });
        progress.event(Event::Started { file: 0, direction: Direction::Get, name: b"a\r\x1b[2J", size: Some(2048) });
        progress.event(Event::Resumed { file: 0, at: 1024 });
        progress.event(Event::Advanced { file: 0, bytes: 512 });
        progress.event(Event::Retrying { attempt: 1, of: 3, wait: second, why: &lost });
        progress.event(Event::Reconnected);
        progress.event(Event::Advanced { file: 0, bytes: 512 });
        progress.event(Event::Settling { file: 0 });
        progress.event(Event::Finished { file: 0, bytes: 2048, moved: 1024, digest: Digest([0; 32]), took: second });
        progress.event(Event::Started { file: 1, direction: Direction::Get, name: b"b", size: Some(2048) });
        progress.event(Event::Failed { file: 1, failure: &failure });
        progress.event(Event::Skipped { name: b"link", why: "a symbolic link" });
        assert_eq!(
            progress.finish().0,
            Totals { files: 1, failed: 1, planned: 2, bytes: 2048, moved: 1024, passed_over: 1, ..Totals::default() }
        );
    }

    #[test]
    fn a_pipe_gets_whole_lines_and_nothing_else() {
        let (output, out, err) = kept(false, Volume::Normal);
        play(&Progress::new(&output, false));
        let both = out.text() + &err.text();
        assert!(!both.contains(['\r', '\x1b']), "{both:?}");
        assert!(
            out.text().starts_with("a\\r\\x1b[2J  2.0 KiB  1.00 s  1.0 KiB/s\n1 of 2 files  2.0 KiB  "),
            "{}",
            out.text()
        );
        assert!(err.text().contains("resuming a\\r\\x1b[2J at 50 % (1.0 KiB of 2.0 KiB)\n"));
        assert!(err.text().contains("dfos-client: b: no such file\n"));
    }

    #[test]
    fn quiet_tells_of_errors_and_retries_only() {
        let (output, out, err) = kept(false, Volume::Quiet);
        play(&Progress::new(&output, false));
        assert_eq!(out.text(), "");
        assert_eq!(err.text().lines().count(), 2, "{}", err.text());
    }

    #[test]
    fn data_on_standard_output_stays_alone() {
        for json in [false, true] {
            let (output, out, err) = kept(json, Volume::Normal);
            play(&Progress::new(&output, true));
            assert_eq!(out.text(), "");
            assert!(err.text().lines().count() > 5);
        }
    }

    #[test]
    fn objects_are_one_a_line() {
        let (output, out, err) = kept(true, Volume::Normal);
        play(&Progress::new(&output, false));
        assert_eq!(err.text(), "");
        let events: Vec<String> = out
            .text()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(events, ["resumed", "retrying", "reconnected", "finished", "failed", "skipped"]);
    }
}
