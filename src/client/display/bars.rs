//! Progress bars: one for each file that takes a while, one for all. They never run backwards, and what was there before is
//! not counted as speed.

use super::escape::escape;
use super::terminal::HiddenControls;
use crate::client::report::Event;
use crate::sys::window;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::collections::HashMap;
use std::fmt::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Drawings a second.
const HERTZ: u8 = 8;
/// A file that is done sooner gets no bar: thousands of small ones would only flicker.
const PATIENCE: Duration = Duration::from_millis(300);
/// One that is so large is worth a bar at once: what is there of it may be looked at for a while before anything moves.
const LARGE: u64 = 64 << 20;
/// Redrawn so often even when nothing moves, so that a stall is seen as one.
const TICK: Duration = Duration::from_millis(500);

/// Nothing has moved since the beginning: said when it has lasted so long.
const STALLED: Duration = Duration::from_secs(5);

/// What a line shows, by how many columns there are: a line that is too long is two, and taken away as one.
struct Templates {
    sized: &'static str,
    settling: &'static str,
    unsized_: &'static str,
}

const WIDE: Templates = Templates {
    sized: "{prefix:<24!} [{wide_bar}] {percent:>3} % {bytes:>11} {binary_bytes_per_sec:>12} {left:>9}",
    settling: "{prefix:<24!} [{wide_bar}] {percent:>3} % {bytes:>11} {binary_bytes_per_sec:>12}  checking",
    unsized_: "{prefix:<24!} {bytes:>11} {binary_bytes_per_sec:>12} {elapsed:>9}",
};
const NARROW: Templates = Templates {
    sized: "{prefix:<10!} {percent:>3} % {binary_bytes_per_sec:>12} {left:>9}",
    settling: "{prefix:<10!} {percent:>3} % {binary_bytes_per_sec:>12} checking",
    unsized_: "{prefix:<14!} {bytes:>11} {binary_bytes_per_sec:>12}",
};
/// Columns that the wide ones need.
const ENOUGH: usize = 76;

/// The bars of one command.
pub struct Bars {
    all: MultiProgress,
    total: Gauge,
    files: HashMap<u64, Gauge>,
    planned: u64,
    _quiet: Option<HiddenControls>,
}

/// A bar, and what it shows.
struct Gauge {
    name: String,
    size: Option<u64>,
    /// Where the transfer stands.
    at: u64,
    /// How far it has been; what is shown.
    high: u64,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Bars {
    /// Bars on standard error.
    pub fn new() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(HERTZ);
        Bars { _quiet: HiddenControls::new(), ..Self::on(target) }
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Bars {
            all: MultiProgress::with_draw_target(target),
            total: Gauge::new("total".into(), Some(0)),
            files: HashMap::new(),
            planned: 0,
            _quiet: None,
        }
    }

    /// Takes one event of a transfer.
    pub fn event(&mut self, event: &Event<'_>) {
        match *event {
            Event::Planned { files, bytes } => {
                self.planned += files;
                self.total.grow(bytes);
            }
            Event::Started { file, name, size, .. } => {
                self.files.insert(file, Gauge::new(escape(name), size));
                if size.is_some_and(|size| size >= LARGE) {
                    self.show(file);
                }
            }
            Event::Resumed { file, at } => {
                if let Some(gauge) = self.files.get_mut(&file) {
                    let won = gauge.jump(at);
                    self.total.jump(self.total.at + won);
                }
            }
            Event::Advanced { file, bytes } => self.advance(file, bytes),
            Event::Settling { file } => {
                if let Some(bar) = self.files.get(&file).and_then(|gauge| gauge.bar.as_ref()) {
                    bar.set_style(style(templates(columns()).settling));
                }
            }
            Event::Finished { file, .. } | Event::Failed { file, .. } => {
                if let Some(bar) = self.files.remove(&file).and_then(|gauge| gauge.bar) {
                    bar.finish_and_clear(); // its line first: removed as it stands it would stay on the screen
                    self.all.remove(&bar);
                }
            }
            Event::Kept { file, .. } => {
                if let Some(bar) = file.and_then(|file| self.files.remove(&file)).and_then(|gauge| gauge.bar) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
            Event::Step { .. } | Event::Connected => {}
            Event::Skipped { .. } | Event::Retrying { .. } | Event::Introduced { .. } | Event::Reconnected => {}
        }
    }

    fn advance(&mut self, file: u64, bytes: u64) {
        let Some(gauge) = self.files.get_mut(&file) else { return };
        let won = gauge.move_to(gauge.at + bytes);
        let slow = gauge.begun.elapsed() > PATIENCE;
        self.total.move_to(self.total.at + won);
        if slow {
            self.show(file);
        }
    }

    /// Shows the bar of a file, above that of the total.
    fn show(&mut self, file: u64) {
        if self.planned > 1 {
            self.total.show(|bar| self.all.add(bar));
        }
        if let Some(gauge) = self.files.get_mut(&file) {
            gauge.show(|bar| match &self.total.bar {
                Some(total) => self.all.insert_before(total, bar),
                None => self.all.add(bar),
            });
        }
    }

    /// Prints while the bars are out of the way.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.all.suspend(print);
    }

    /// Takes all bars away.
    pub fn clear(self) {
        let _ = self.all.clear(); // a terminal that is gone shows no bars either
        self.all.set_draw_target(ProgressDrawTarget::hidden());
    }
}

impl Gauge {
    fn new(name: String, size: Option<u64>) -> Self {
        Gauge { name, size, at: 0, high: 0, begun: Instant::now(), bar: None }
    }

    fn grow(&mut self, bytes: u64) {
        self.size = self.size.map(|size| size + bytes);
        if let (Some(bar), Some(size)) = (&self.bar, self.size) {
            bar.set_length(size);
        }
    }

    /// Moves on, or back without showing it. Returns how much further this is than ever before.
    fn move_to(&mut self, at: u64) -> u64 {
        self.at = at;
        let won = at.saturating_sub(self.high);
        self.high += won;
        if let Some(bar) = &self.bar {
            bar.set_position(self.high);
        }
        won
    }

    /// Like [`Gauge::move_to`], but the way there is not counted as speed.
    fn jump(&mut self, at: u64) -> u64 {
        let won = self.move_to(at);
        if let Some(bar) = &self.bar {
            bar.tick(); // first lets the bar see the jump, then forget it
            bar.reset_eta();
        }
        won
    }

    fn show(&mut self, add: impl FnOnce(ProgressBar) -> ProgressBar) {
        if self.bar.is_some() {
            return;
        }
        let templates = templates(columns());
        let template = if self.size.is_some() { templates.sized } else { templates.unsized_ };
        let bar = ProgressBar::with_draw_target(self.size, ProgressDrawTarget::hidden()); // until it has its place
        bar.set_style(style(template));
        bar.set_prefix(self.name.clone());
        self.bar = Some(bar.clone());
        self.jump(self.at);
        let bar = add(bar);
        bar.enable_steady_tick(TICK);
        self.bar = Some(bar);
    }
}

/// Columns of the terminal.
fn columns() -> usize {
    window::size(std::io::stderr().as_fd()).map_or(ENOUGH, |(columns, _)| columns)
}

fn templates(columns: usize) -> &'static Templates {
    if columns < ENOUGH { &NARROW } else { &WIDE }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and tested.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").with_key("left", time_left)
}

/// The time left, as far as it can be told.
fn time_left(state: &ProgressState, text: &mut dyn Write) {
    let _ = match state.per_sec() {
        rate if rate >= 1.0 => write!(text, "{:#} left", HumanDuration(state.eta())),
        _ if state.elapsed() > STALLED => write!(text, "stalled"),
        _ => Ok(()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::Direction;

    #[test]
    fn the_templates_are_valid() {
        for Templates { sized, settling, unsized_ } in [WIDE, NARROW] {
            for template in [sized, settling, unsized_] {
                assert!(ProgressStyle::with_template(template).is_ok());
            }
        }
    }

    /// The columns of a template without its bar, each place as wide as it says.
    fn width(template: &str) -> usize {
        let place = |text: &str| text.trim_end_matches('!').rsplit(['<', '>']).next().and_then(|n| n.parse().ok());
        let parts = template.split('{').map(|part| part.split_once('}').unwrap_or(("", part)));
        parts.map(|(inside, after)| place(inside).unwrap_or(0) + after.chars().count()).sum()
    }

    #[test]
    fn no_line_is_longer_than_its_terminal() {
        for (columns, room) in [(40, 39), (75, 39), (76, 75), (80, 75)] {
            let Templates { sized, settling, unsized_ } = templates(columns);
            for template in [sized, settling, unsized_] {
                assert!((20..=room).contains(&width(template)), "{template}: {}", width(template));
            }
        }
    }

    #[test]
    fn the_total_never_runs_backwards() {
        let mut bars = Bars::on(ProgressDrawTarget::hidden());
        bars.event(&Event::Planned { files: 2, bytes: 2000 });
        bars.event(&Event::Started { file: 1, direction: Direction::Put, name: b"a", size: Some(1000) });
        let mut seen = 0;
        for event in [
            Event::Advanced { file: 1, bytes: 600 },
            Event::Resumed { file: 1, at: 400 }, // the connection was lost, and less than was sent had arrived
            Event::Advanced { file: 1, bytes: 100 },
            Event::Resumed { file: 1, at: 0 },
            Event::Advanced { file: 1, bytes: 1000 },
        ] {
            bars.event(&event);
            assert!(bars.total.high >= seen);
            seen = bars.total.high;
        }
        assert_eq!(seen, 1000);
    }
}
