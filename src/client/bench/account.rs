//! What came of a load test: everything that is shown of it, whatever shows it.
//!
//! As JSON it is one object on one line, of the shape of [`Account`]: `"v":1,"event":"bench"`, then the fields as they stand
//! here. Times are in seconds, sizes in bytes, rates per second; `v` grows when a field changes its meaning, not when one is
//! added, and a program must pass over fields that it does not know.
//!
//! - `up` and `down` hold the files that were put and got whole and verified, and the rate of their bytes over `seconds`.
//! - `kinds` tells of each kind of operation (`login` is one): how many succeeded (`count`) and failed, and what those that
//!   succeeded took: `min`, `mean`, percentiles, `max`, and a `histogram` of `[from, to, count]`. Times are accurate to 0.1 %.
//! - `per_second` is the course of the test. Bytes stand where they passed, also those of operations that failed later.
//! - `per_client` has a row for each client; `took_part` is false of those that could not log in or put their first files.
//! - `fairness` compares the operations of the clients that took part.
//! - `errors` are by the code of the server (docs/PROTOCOL.md §4), or `damaged`, `connection`, `no-answer`, `identity`,
//!   `protocol`, `other`; `text` is what the first one said. `damaged` (at the top) counts bytes that were not what they should be.
//! - `left_behind` names the directory on the server that could not be removed.

use super::figures::{Figures, Kind, SLOT, Share, Slot, Timing};
use super::machine::Machine;
use super::plan::{Operation, Plan};
use crate::auth::UserName;
use crate::client::display::listing;
use crate::client::failure::{Exit, Failure};
use crate::paper::units::several;
use crate::proto::Mtime;
use crate::proto::unseen::is_unsafe;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The version of the object, that of all objects of `--json`.
const VERSION: u32 = 1;

/// Bars of a histogram for each factor of ten.
const BARS_A_DECADE: f64 = 8.0;

/// Where and when.
pub struct Occasion {
    /// When the clients began to log in.
    pub began: SystemTime,
    /// The server.
    pub server: String,
}

/// What came of a load test.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// The version of this object.
    pub v: u32,
    /// Always `bench`.
    pub event: &'static str,
    /// The command that does the same again.
    pub command: String,
    /// The server.
    pub server: String,
    /// Who logged in.
    pub user: String,
    /// The version of the client.
    pub version: &'static str,
    /// The machine that the clients ran on.
    pub machine: Machine,
    /// When it began, UTC.
    pub began: String,
    /// How long operations were done.
    pub seconds: f64,
    /// Whether Ctrl+C ended it.
    pub interrupted: bool,
    /// Clients that there should be.
    pub clients: usize,
    /// Clients that took part.
    pub took_part: usize,
    /// Connections for which the server had no room.
    pub refused: u64,
    /// Operations that were not right to the byte.
    pub damaged: u64,
    /// To the server.
    pub up: Flow,
    /// From the server.
    pub down: Flow,
    /// Operations that succeeded.
    pub operations: u64,
    /// The same, a second.
    pub operations_per_second: f64,
    /// Operations and logins that failed.
    pub failed: u64,
    /// What all operations together took, logins apart.
    pub times: Times,
    /// By kind.
    pub kinds: Vec<OfKind>,
    /// By second.
    pub per_second: Vec<Second>,
    /// By client.
    pub per_client: Vec<OfClient>,
    /// How evenly the clients were served.
    pub fairness: Fairness,
    /// What went wrong.
    pub errors: Vec<ErrorRow>,
    /// What could not be removed.
    pub left_behind: Option<String>,
    /// The course in finer steps, for the page alone.
    #[serde(skip)]
    pub slots: Vec<Slot>,
}

/// Files that went one way.
#[derive(Debug, Clone, Serialize)]
pub struct Flow {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes a second.
    pub rate: f64,
}

/// What operations took, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[allow(missing_docs)] // the fields are named for what they are
pub struct Times {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// One kind of operation.
#[derive(Debug, Clone, Serialize)]
pub struct OfKind {
    /// Which.
    pub kind: &'static str,
    /// Those that succeeded.
    pub count: u64,
    /// Those that failed.
    pub failed: u64,
    /// Bytes of the files of those that succeeded.
    pub bytes: u64,
    /// What they took.
    pub times: Times,
    /// From, to, and how many took so long.
    pub histogram: Vec<(f64, f64, u64)>,
}

/// One second of the test.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Second {
    pub second: usize,
    pub up: u64,
    pub down: u64,
    pub operations: u64,
    pub failed: u64,
}

/// One client.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct OfClient {
    pub client: usize,
    pub took_part: bool,
    pub operations: u64,
    pub up: u64,
    pub down: u64,
    pub failed: u64,
}

/// Operations of the slowest, the middle and the fastest client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Fairness {
    pub slowest: u64,
    pub median: u64,
    pub fastest: u64,
}

/// One kind of failure.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorRow {
    /// The server's code, or a word of our own.
    pub code: &'static str,
    /// How often.
    pub count: u64,
    /// What to exit with if nothing else happened.
    pub exit: u8,
    /// What the first one said.
    pub text: String,
}

impl Account {
    /// The account of a test that ran for `took`.
    pub fn new(
        plan: &Plan,
        occasion: &Occasion,
        user: &UserName,
        figures: Figures,
        took: Duration,
        interrupted: bool,
        left_behind: Option<String>,
    ) -> Self {
        let seconds = took.as_secs_f64();
        let kinds: Vec<OfKind> = figures.timings.iter().filter(|timing| seen(timing)).map(of_kind).collect();
        let operations = figures.shares.iter().map(|share| share.operations).sum();
        let clients = || figures.shares.iter().enumerate();
        let errors = figures.troubles.iter().map(|(code, trouble)| ErrorRow {
            code,
            count: trouble.count,
            exit: trouble.exit as u8,
            text: trouble.text.clone(),
        });
        Account {
            v: VERSION,
            event: "bench",
            command: plan.shown.clone(),
            server: occasion.server.clone(),
            user: user.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::this(),
            began: utc(occasion.began),
            seconds,
            interrupted,
            clients: plan.clients,
            took_part: figures.shares.iter().filter(|share| share.took_part).count(),
            refused: figures.refused,
            damaged: figures.damaged,
            up: flow(&figures, Operation::Put, took),
            down: flow(&figures, Operation::Get, took),
            operations,
            operations_per_second: a_second(operations, took),
            failed: figures.troubles.values().map(|trouble| trouble.count).sum(),
            times: figures.all_times().map(|all| times(&all)).unwrap_or_default(),
            kinds,
            per_second: per_second(&figures.slots),
            per_client: clients().map(|(client, share)| of_client(client, share)).collect(),
            fairness: fairness(&figures.shares),
            errors: errors.collect(),
            left_behind,
            slots: figures.slots,
        }
    }

    /// The object, with the end of its line. Somebody may look at it on a terminal.
    pub fn line(&self) -> String {
        // Strings and numbers only: this cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        let spelled = |c: char| if is_unsafe(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
        text.chars().map(spelled).chain(["\n".to_owned()]).collect()
    }

    /// How the command ends. Damaged bytes are worse than anything else that may have happened.
    pub fn verdict(&self) -> Result<(), Failure> {
        if self.damaged > 0 {
            let text = format!("{} operations were not right to the byte", self.damaged);
            return Err(Failure::new(Exit::Integrity, text));
        }
        if self.interrupted {
            return Err(Failure::new(Exit::Interrupted, "interrupted; the figures are those of the time until then"));
        }
        if self.failed == 0 && self.left_behind.is_none() {
            return Ok(());
        }
        let exit = match self.errors.as_slice() {
            [one] if self.operations == 0 => exit_of(one.exit),
            _ => Exit::Partial,
        };
        Err(Failure::new(exit, format!("{} in all, logins included", several(self.failed, "failure"))))
    }
}

fn exit_of(status: u8) -> Exit {
    Exit::TABLE.iter().map(|(exit, _)| *exit).find(|exit| *exit as u8 == status).unwrap_or(Exit::Other)
}

fn seen(timing: &Timing) -> bool {
    !timing.times.is_empty() || timing.failed > 0
}

fn of_kind(timing: &Timing) -> OfKind {
    OfKind {
        kind: timing.kind.as_str(),
        count: timing.times.len(),
        failed: timing.failed,
        bytes: timing.bytes,
        times: times(&timing.times),
        histogram: histogram(&timing.times),
    }
}

fn times(times: &Histogram<u64>) -> Times {
    if times.is_empty() {
        return Times::default();
    }
    let seconds = |micros: f64| micros / 1e6;
    // The upper end of a bucket may lie a thousandth above the largest value in it.
    let at = |quantile| seconds(times.value_at_quantile(quantile).min(times.max()) as f64);
    Times {
        min: seconds(times.min() as f64),
        mean: seconds(times.mean()),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: seconds(times.max() as f64),
    }
}

/// Bars that are equally wide on a logarithmic axis, from the first that holds something to the last.
fn histogram(times: &Histogram<u64>) -> Vec<(f64, f64, u64)> {
    let edge = |bar: i32| 10_f64.powf(f64::from(bar) / BARS_A_DECADE) / 1e6;
    let mut bars: Vec<(i32, u64)> = Vec::new();
    for value in times.iter_recorded() {
        let bar = ((value.value_iterated_to().max(1) as f64).log10() * BARS_A_DECADE).floor() as i32;
        match bars.last_mut() {
            Some((last, count)) if *last == bar => *count += value.count_at_value(),
            last => {
                let next = last.map_or(bar, |(last, _)| *last + 1);
                bars.extend((next..bar).map(|empty| (empty, 0)));
                bars.push((bar, value.count_at_value()));
            }
        }
    }
    bars.into_iter().map(|(bar, count)| (edge(bar), edge(bar + 1), count)).collect()
}

fn flow(figures: &Figures, operation: Operation, took: Duration) -> Flow {
    let timing = figures.timings.iter().find(|timing| timing.kind == Kind::Operation(operation));
    let (files, bytes) = timing.map_or((0, 0), |timing| (timing.times.len(), timing.bytes));
    Flow { files, bytes, rate: a_second(bytes, took) }
}

fn a_second(number: u64, took: Duration) -> f64 {
    number as f64 / took.max(Duration::from_millis(1)).as_secs_f64()
}

fn per_second(slots: &[Slot]) -> Vec<Second> {
    let slots_a_second = (1000 / SLOT.as_millis()) as usize;
    let sum = |some: &[Slot]| some.iter().copied().fold(Slot::default(), Slot::plus);
    let seconds = slots.chunks(slots_a_second).map(sum).enumerate();
    let row = |(second, sum): (usize, Slot)| {
        let Slot { up, down, operations, failed } = sum;
        Second { second, up, down, operations, failed }
    };
    seconds.map(row).collect()
}

fn of_client(client: usize, share: &Share) -> OfClient {
    let Share { operations, up, down, failed, took_part } = *share;
    OfClient { client, took_part, operations, up, down, failed }
}

fn fairness(shares: &[Share]) -> Fairness {
    let mut counts: Vec<u64> = shares.iter().filter(|share| share.took_part).map(|share| share.operations).collect();
    counts.sort_unstable();
    let at = |index: usize| counts.get(index).copied().unwrap_or(0);
    Fairness { slowest: at(0), median: at(counts.len() / 2), fastest: at(counts.len().saturating_sub(1)) }
}

fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    listing::utc(Mtime { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 })
}

#[cfg(test)]
/// An account to show, for the tests of whoever shows one.
pub mod tests {
    use super::super::figures::Counter;
    use super::*;
    use crate::client::report::Direction;
    use crate::proto::Code;

    /// The account of a little test in which `work` is counted.
    pub fn account(work: impl FnOnce(&Counter)) -> Account {
        let (sizes, mix) = ("4KiB".parse().unwrap(), "put/get".parse().unwrap());
        let plan = Plan::new(3, sizes, mix, None, None);
        let counter = Counter::new(Figures::new(3).unwrap());
        [0, 1].into_iter().for_each(|client| counter.takes_part(client));
        counter.begin();
        work(&counter);
        let occasion = Occasion { began: UNIX_EPOCH, server: "tls://<b>&host:1".into() };
        let took = Duration::from_secs(2);
        Account::new(&plan, &occasion, &"alice".parse().unwrap(), counter.end(), took, false, None)
    }

    /// Some of everything.
    pub fn busy(counter: &Counter) {
        for n in 1..=100 {
            counter.done(0, Operation::Put, 4096, Duration::from_millis(n));
        }
        counter.done(1, Operation::Get, 100, Duration::from_micros(50));
        counter.passed(Direction::Put, 4096 * 100);
        counter.passed(Direction::Get, 100);
        counter.login(Duration::from_millis(3));
        counter.no_login(&Failure::refused(Code::Busy, "<script>alert(1)</script> \u{202e}full"));
    }

    #[test]
    fn sums_rates_percentiles_and_fairness_follow_from_what_was_counted() {
        let account = account(busy);
        assert_eq!((account.operations, account.operations_per_second), (101, 50.5));
        assert_eq!((account.up.files, account.up.bytes, account.up.rate), (100, 409_600, 204_800.0));
        assert_eq!((account.down.files, account.down.bytes), (1, 100));
        assert_eq!((account.clients, account.took_part, account.refused, account.failed), (3, 2, 1, 1));
        assert_eq!(account.fairness, Fairness { slowest: 1, median: 100, fastest: 100 });
        let kinds: Vec<_> = account.kinds.iter().map(|kind| (kind.kind, kind.count, kind.failed)).collect();
        assert_eq!(kinds, [("put", 100, 0), ("get", 1, 0), ("login", 1, 1)]);
        let put = account.kinds[0].times;
        for (found, expected) in
            [(put.min, 0.001), (put.p50, 0.05), (put.p99, 0.099), (put.max, 0.1), (put.mean, 0.0505)]
        {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} instead of {expected}");
        }
        assert_eq!(account.kinds[0].histogram.iter().map(|bar| bar.2).sum::<u64>(), 100);
        assert!(account.kinds[0].histogram.iter().all(|(from, to, _)| from < to));
        let sum: u64 = account.per_second.iter().map(|second| second.up).sum();
        assert_eq!(sum, 409_600);
    }

    #[test]
    fn the_object_is_one_line_that_a_terminal_may_see() {
        let line = account(busy).line();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1 && !line.contains('\u{202e}'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["v"], &value["event"]), (&1.into(), &"bench".into()));
        assert_eq!(value["errors"][0]["code"], "busy");
        assert!(value["kinds"][0]["times"]["p999"].is_f64());
    }

    #[test]
    fn damage_comes_before_interruption_and_that_before_failures() {
        let exit = |account: &Account| account.verdict().map_err(|failure| failure.exit);
        let mut subject = account(|counter| counter.done(0, Operation::Put, 1, Duration::ZERO));
        assert_eq!(exit(&subject), Ok(()));
        subject = account(busy);
        assert_eq!(exit(&subject), Err(Exit::Partial));
        subject.interrupted = true;
        assert_eq!(exit(&subject), Err(Exit::Interrupted));
        subject.damaged = 1;
        assert_eq!(exit(&subject), Err(Exit::Integrity));
        let full = Failure::refused(Code::OverQuota, "full");
        let nothing = account(|counter| (0..3).for_each(|_| counter.failed(0, Operation::Put, &full)));
        assert_eq!(exit(&nothing), Err(Exit::Space), "all failed for one reason");
    }
}
