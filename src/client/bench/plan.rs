//! What a load test is to do: how many clients, which sizes, which operations, for how long. All of it is read from the
//! command line, and whatever is wrong with it is said before anything is connected.

use super::random::Random;
use crate::client::limits;
use bytesize::ByteSize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// The sizes that `mixed` stands for: what home directories and document stores hold, many small files and a few large ones
/// that have most of the bytes.
pub const MIXED: &str = "1KiB..16KiB:80,16KiB..1MiB:18,1MiB..16MiB:2";

/// How long a load test lasts when neither a duration nor a number of files is given.
const USUAL: Duration = Duration::from_secs(10);

/// What cannot be read as part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadPlan {
    /// Not a size.
    #[error("'{0}' is not a size; write 4KiB, 1MiB..16MiB, mixed, or a list with weights as 4KiB:90,1MiB:10")]
    Size(String),
    /// A range that ends before it begins.
    #[error("the range '{0}' ends before it begins")]
    Range(String),
    /// More than a load test may put.
    #[error("'{0}' is larger than {max}, the largest file of a load test", max = ByteSize(limits::BENCH_SIZE).display().iec())]
    Large(String),
    /// Not a weight.
    #[error("'{0}' is not a weight; write a whole number from 1 to 1000000")]
    Weight(String),
    /// Not an operation.
    #[error(
        "'{0}' is not an operation; write put, get, list, several as put/get/list, or with weights as put:50,get:40,list:10"
    )]
    Operation(String),
    /// Said twice.
    #[error("'{0}' is named twice")]
    Twice(String),
    /// Not a duration.
    #[error("'{0}' is not a duration; write 30s, 2m, 1h or 500ms, at most 24h")]
    Duration(String),
}

/// Sizes of files, each with its share: `4KiB`, `1KiB..1MiB` (uniform in the logarithm: as many between 1 and 2 KiB as
/// between 512 KiB and 1 MiB), `mixed` (that is [`MIXED`]), or several of these with weights: `4KiB:90,1MiB..16MiB:10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    shares: Vec<(Range, u32)>,
    shown: String,
}

/// Sizes from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

impl Sizes {
    /// A size drawn from the distribution.
    pub fn draw(&self, random: &mut Random) -> u64 {
        weighted(&self.shares, random).map_or(0, |range| range.draw(random))
    }

    /// The largest size that can be drawn.
    pub fn largest(&self) -> u64 {
        self.shares.iter().map(|(range, _)| range.last).max().unwrap_or(0)
    }
}

impl Range {
    fn draw(self, random: &mut Random) -> u64 {
        // One more than each end, so that a range can begin at 0.
        let (low, high) = ((self.first as f64 + 1.0).ln(), (self.last as f64 + 2.0).ln());
        let size = (low + (high - low) * random.unit()).exp() - 1.0;
        (size as u64).clamp(self.first, self.last)
    }
}

impl FromStr for Range {
    type Err = BadPlan;
    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let range = Range { first: size(first)?, last: size(last)? };
        if range.first > range.last { Err(BadPlan::Range(text.into())) } else { Ok(range) }
    }
}

fn size(text: &str) -> Result<u64, BadPlan> {
    let size = text.parse::<ByteSize>().map_err(|_| BadPlan::Size(text.into()))?.as_u64();
    if size > limits::BENCH_SIZE { Err(BadPlan::Large(text.into())) } else { Ok(size) }
}

impl FromStr for Sizes {
    type Err = BadPlan;
    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let list = if text == "mixed" { MIXED } else { text };
        let shares = list.split(',').map(|share| {
            let (range, weight) = share_of(share)?;
            Ok((range.parse()?, weight))
        });
        Ok(Sizes { shares: shares.collect::<Result<_, _>>()?, shown: text.into() })
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Splits `what:weight`; without a weight it is 1.
fn share_of(share: &str) -> Result<(&str, u32), BadPlan> {
    let Some((what, weight)) = share.split_once(':') else { return Ok((share, 1)) };
    match weight.parse() {
        Ok(weight @ 1..=1_000_000) => Ok((what, weight)),
        _ => Err(BadPlan::Weight(weight.into())),
    }
}

/// One of several by its weight; `None` of nothing.
fn weighted<T: Copy>(shares: &[(T, u32)], random: &mut Random) -> Option<T> {
    let all: u64 = shares.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut at = random.below(all);
    for (what, weight) in shares {
        match at.checked_sub(u64::from(*weight)) {
            None => return Some(*what),
            Some(rest) => at = rest,
        }
    }
    None
}

/// What a client can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Upload a file.
    Put,
    /// Download a file that was put before.
    Get,
    /// List the client's own directory.
    List,
}

impl Operation {
    /// As the command line names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::List => "list",
        }
    }
}

impl FromStr for Operation {
    type Err = BadPlan;
    fn from_str(word: &str) -> Result<Self, BadPlan> {
        let all = [Operation::Put, Operation::Get, Operation::List];
        all.into_iter().find(|one| one.as_str() == word).ok_or_else(|| BadPlan::Operation(word.into()))
    }
}

/// Which operations, each with its share: `put/get/list` (equal ones) or `put:50,get:40,list:10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    shares: Vec<(Operation, u32)>,
    shown: String,
}

impl Mix {
    /// The next operation.
    pub fn draw(&self, random: &mut Random) -> Operation {
        weighted(&self.shares, random).unwrap_or(Operation::Put)
    }

    /// Whether this is done at all.
    pub fn has(&self, operation: Operation) -> bool {
        self.shares.iter().any(|(one, _)| *one == operation)
    }
}

impl FromStr for Mix {
    type Err = BadPlan;
    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let mut mix = Mix { shares: Vec::new(), shown: text.into() };
        for share in text.split(['/', ',']) {
            let (word, weight) = share_of(share)?;
            let operation = word.parse()?;
            if mix.has(operation) {
                return Err(BadPlan::Twice(word.into()));
            }
            mix.shares.push((operation, weight));
        }
        Ok(mix)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A time as people write it: `30s`, `2m`, `1h`, `500ms`; a number alone is seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// How long.
    pub time: Duration,
    shown: String,
}

impl FromStr for Span {
    type Err = BadPlan;
    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let wrong = || BadPlan::Duration(text.into());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let milliseconds = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let time = number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)?;
        if time.is_zero() || time > limits::BENCH_TIME { Err(wrong()) } else { Ok(Span { time, shown: text.into() }) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A load test.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Clients at the same time, each with a connection and a login of its own.
    pub clients: usize,
    /// Sizes of the files that are put.
    pub sizes: Sizes,
    /// What the clients do.
    pub mix: Mix,
    /// Operations of each client, at most.
    pub files: Option<u64>,
    /// After which time no operation is begun.
    pub time: Option<Duration>,
    /// The words of the command line that say all this.
    pub shown: String,
}

impl Plan {
    /// A plan. With a number of files alone there is no time limit; with neither there is the usual one.
    pub fn new(clients: u16, sizes: Sizes, mix: Mix, files: Option<u64>, duration: Option<Span>) -> Self {
        let mut shown = format!("dfos-client bench --clients {clients} --size {sizes} --mix {mix}");
        if let Some(files) = files {
            shown += &format!(" --files {files}");
        }
        let time = match &duration {
            Some(span) => {
                shown += &format!(" --duration {span}");
                Some(span.time)
            }
            None if files.is_some() => None,
            None => {
                shown += &format!(" --duration {}s", USUAL.as_secs());
                Some(USUAL)
            }
        };
        Plan { clients: usize::from(clients), sizes, mix, files, time, shown }
    }

    /// Whether files have to be there before the first operation.
    pub fn needs_files(&self) -> bool {
        self.mix.has(Operation::Get) || self.mix.has(Operation::List)
    }

    /// Bytes that one client keeps on the server.
    pub fn room(&self) -> u64 {
        limits::BENCH_KEPT_BYTES / self.clients.max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sizes: &str, count: usize) -> Vec<u64> {
        let (sizes, mut random) = (sizes.parse::<Sizes>().unwrap(), Random::from_seed(7));
        (0..count).map(|_| sizes.draw(&mut random)).collect()
    }

    #[test]
    fn a_single_size_is_that_size_and_a_range_is_uniform_in_the_logarithm() {
        assert!(drawn("4KiB", 50).iter().all(|size| *size == 4096));
        assert!(drawn("0", 50).iter().all(|size| *size == 0));
        let sizes = drawn("1KiB..1MiB", 10_000);
        assert!(sizes.iter().all(|size| (1024..=1 << 20).contains(size)));
        let below = sizes.iter().filter(|size| **size < 32 * 1024).count();
        assert!((4500..5500).contains(&below), "half lie below the geometric middle: {below}");
        assert_eq!(drawn("0..1", 1000).iter().max(), Some(&1));
    }

    #[test]
    fn weights_are_kept() {
        let sizes = drawn("4KiB:90,1MiB:9,16MiB:1", 10_000);
        let count = |size: u64| sizes.iter().filter(|one| **one == size).count();
        assert!((8800..9200).contains(&count(4096)), "{}", count(4096));
        assert!((750..1050).contains(&count(1 << 20)), "{}", count(1 << 20));
        assert_eq!(count(4096) + count(1 << 20) + count(16 << 20), 10_000);
        let mixed = drawn("mixed", 10_000);
        assert!(mixed.iter().all(|size| (1024..=16 << 20).contains(size)));
        assert_eq!("mixed".parse::<Sizes>().unwrap().largest(), 16 << 20);
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused_in_words() {
        for (text, why) in [
            ("", "is not a size"),
            ("4 parsecs", "is not a size"),
            ("-1", "is not a size"),
            ("1KiB..", "is not a size"),
            ("2KiB..1KiB", "ends before it begins"),
            ("1TiB", "larger than"),
            ("4KiB:0", "not a weight"),
            ("4KiB:many", "not a weight"),
            ("4KiB,,1KiB", "is not a size"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_mix_is_read_in_both_notations() {
        let mix = |text: &str| text.parse::<Mix>();
        assert_eq!(
            mix("put/get/list").unwrap().shares,
            [(Operation::Put, 1), (Operation::Get, 1), (Operation::List, 1)]
        );
        assert_eq!(mix("put:50,get:40").unwrap().shares, [(Operation::Put, 50), (Operation::Get, 40)]);
        assert_eq!(mix("get").unwrap().shares, [(Operation::Get, 1)]);
        assert!(!mix("get").unwrap().has(Operation::Put));
        for (text, why) in [
            ("", "not an operation"),
            ("put/", "not an operation"),
            ("delete", "not an operation"),
            ("put/put", "twice"),
            ("put:x", "not a weight"),
            ("PUT", "not an operation"),
        ] {
            let error = mix(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let (mix, mut random) = (mix("put:50,get:40,list:10").unwrap(), Random::from_seed(1));
        let lists = (0..10_000).filter(|_| mix.draw(&mut random) == Operation::List).count();
        assert!((850..1150).contains(&lists), "{lists}");
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let millis = |text: &str| text.parse::<Span>().map(|span| span.time.as_millis());
        for (text, expected) in
            [("30s", 30_000), ("2m", 120_000), ("2min", 120_000), ("1h", 3_600_000), ("500ms", 500), ("7", 7_000)]
        {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "0s", "-1s", "1.5s", "1d", "25h", "99999999999999999999s"] {
            assert!(millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_of_files_takes_the_place_of_the_usual_duration() {
        let plan = |files, span: Option<&str>| {
            let (sizes, mix) = ("4KiB".parse().unwrap(), "put".parse().unwrap());
            Plan::new(2, sizes, mix, files, span.map(|text| text.parse().unwrap()))
        };
        assert_eq!(plan(None, None).time, Some(USUAL));
        assert_eq!(plan(Some(5), None).time, None);
        assert_eq!(plan(Some(5), Some("1s")).time, Some(Duration::from_secs(1)));
        assert_eq!(plan(None, None).shown, "dfos-client bench --clients 2 --size 4KiB --mix put --duration 10s");
        assert!(!plan(None, None).needs_files());
    }
}
