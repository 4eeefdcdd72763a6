//! One line at the bottom of the terminal while a load test runs; nothing where there is no terminal.

use super::figures::{Counter, Figures, SLOT, Slot};
use super::plan::Plan;
use crate::client::display::output::{Output, Volume};
use crate::client::display::terminal::HiddenControls;
use crate::paper::units::{per_second, rate, several, span, time};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How often the line is drawn.
pub const TICK: Duration = Duration::from_millis(250);

/// The rates are those of so many slots, the last whole second.
const RECENT: usize = 4;

/// The line.
pub struct Live {
    bar: Option<ProgressBar>,
    clients: usize,
    time: Option<Duration>,
    _quiet: Option<HiddenControls>,
}

impl Live {
    /// A line on standard error, if that is a terminal and the user wants to see something.
    pub fn new(output: &Output, plan: &Plan) -> Self {
        let draw = output.err_is_terminal && !output.json && output.volume > Volume::Quiet;
        let bar = draw.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is a constant, and tested.
            bar.set_style(ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let quiet = draw.then(HiddenControls::new).flatten();
        Live { bar, clients: plan.clients, time: plan.time, _quiet: quiet }
    }

    /// The clients log in and put their first files.
    pub fn preparing(&self, counter: &Counter) {
        self.show(|| {
            let ready = counter.look(|figures| figures.shares.iter().filter(|share| share.took_part).count());
            format!("{ready} of {} clients are ready", self.clients)
        });
    }

    /// The clients are at work, since `elapsed`.
    pub fn running(&self, counter: &Counter, elapsed: Duration) {
        self.show(|| counter.look(|figures| line(figures, elapsed, self.time)));
    }

    /// Prints something above the line.
    pub fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the line away.
    pub fn clear(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text());
            bar.tick();
        }
    }
}

fn line(figures: &Figures, elapsed: Duration, time_limit: Option<Duration>) -> String {
    let of = time_limit.map(|limit| format!(" of {}", brief(limit))).unwrap_or_default();
    let recent = recent(&figures.slots, elapsed);
    let seconds = (SLOT * RECENT as u32).as_secs_f64().min(elapsed.as_secs_f64()).max(SLOT.as_secs_f64());
    let each = |number: u64| number as f64 / seconds;
    let p99 = figures.all_times().filter(|all| !all.is_empty()).map(|all| all.value_at_quantile(0.99));
    let p99 = p99.map_or("-".to_owned(), |micros| time(micros as f64 / 1e6));
    let errors = several(figures.troubles.values().map(|trouble| trouble.count).sum(), "error");
    // What matters most stands first: a narrow terminal cuts the end off.
    format!(
        "{}{of}  {errors}  up {}  down {}  {} ops/s  p99 {p99}",
        brief(elapsed),
        rate(each(recent.up)),
        rate(each(recent.down)),
        per_second(each(recent.operations)),
    )
}

/// A time without fractions, for a line that is short.
fn brief(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        _ => span(time),
    }
}

/// What passed in the last whole slots: the one that has just begun would make the rates seem to fall.
fn recent(slots: &[Slot], elapsed: Duration) -> Slot {
    let whole = (elapsed.as_millis() / SLOT.as_millis()) as usize;
    let skipped = whole.saturating_sub(RECENT);
    slots.iter().take(whole.max(1)).skip(skipped).copied().fold(Slot::default(), Slot::plus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::display::output::tests::kept;

    #[test]
    fn the_line_tells_the_rates_of_the_last_second() {
        assert!(ProgressStyle::with_template("{wide_msg}").is_ok());
        let mut figures = Figures::new(1).unwrap();
        figures.slots = (0..10).map(|n| Slot { up: n << 20, operations: 5, ..Slot::default() }).collect();
        let text = line(&figures, SLOT * 9, Some(Duration::from_secs(10)));
        // Of ten slots nine are whole, and 5 + 6 + 7 + 8 MiB are in the last second of them.
        assert_eq!(text, "2 s of 10 s  no errors  up 26.0 MiB/s  down 0 B/s  20.0 ops/s  p99 -");
        assert!(line(&figures, Duration::ZERO, None).starts_with("0 s  no errors  up "));
    }

    #[test]
    fn where_nobody_looks_nothing_is_drawn() {
        let (output, out, err) = kept(false, Volume::Normal);
        let plan = Plan::new(1, "1B".parse().unwrap(), "put".parse().unwrap(), None, None);
        let live = Live::new(&output, &plan);
        assert!(live.bar.is_none());
        live.preparing(&Counter::new(Figures::new(1).unwrap()));
        live.clear();
        assert_eq!(out.text() + &err.text(), "");
    }
}
