//! What is seen after the login: the clock, the versions, the space that is left.

use super::finding::{Chart, Step};
use crate::client::failure::{Exit, Failure};
use crate::client::limits::CLOCKS_APART;
use crate::client::remote::{Quota, Remote};
use crate::paper::units::human;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What to do about a login that failed.
pub fn remedy(failure: &Failure) -> &'static str {
    match failure.exit {
        Exit::Login => {
            "look at --user and at the password; if both are right, the account may be disabled or kept from here: ask the operator"
        }
        Exit::Identity => {
            "say nothing to this server: it is not the one that holds your account, or somebody stands between"
        }
        Exit::Connect | Exit::Timeout => "wait a moment and try again",
        Exit::NotFound => "ask the operator to make your directory",
        _ => "ask the operator, whose log has the reason",
    }
}

/// The server's clock against this machine's, and both versions.
pub fn clock_and_versions(chart: &mut Chart, remote: &mut Remote) -> Result<(), Failure> {
    let began = Instant::now();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let pong = match remote.ping() {
        Ok(pong) => pong,
        Err(failure) => return chart.failed(Step::Clock, &failure, "try again"),
    };
    let round_trip = began.elapsed().as_secs_f64();
    match pong.time {
        None => chart.fine(Step::Clock, "the server does not tell")?,
        Some(there) => {
            #[allow(clippy::cast_precision_loss)] // parts of a second
            let there = there.seconds as f64 + f64::from(there.nanos) / 1e9;
            let ahead = there - (before + round_trip / 2.0);
            if ahead.abs() > CLOCKS_APART.as_secs_f64() + round_trip {
                let found =
                    format!("the server's is {} {}", span(ahead.abs()), if ahead > 0.0 { "ahead" } else { "behind" });
                let todo =
                    "set both by NTP ('timedatectl' shows it): times of files and dates of certificates depend on them";
                chart.warning(Step::Clock, &found, todo)?;
            } else {
                let found = format!("{:.0} ms apart, round trip {:.1} ms", ahead.abs() * 1e3, round_trip * 1e3);
                chart.fine(Step::Clock, &found)?;
            }
        }
    }
    let theirs = pong.version.unwrap_or_else(|| "does not tell".into());
    chart.fine(Step::Versions, &format!("client {}, server {theirs}", env!("CARGO_PKG_VERSION")))
}

/// A time for people.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} seconds"),
        s if s < 7200.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} hours", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// What room there is.
pub fn space(chart: &mut Chart, remote: &mut Remote) -> Result<(), Failure> {
    let quota = match remote.quota() {
        Ok(quota) => quota,
        Err(failure) => return chart.failed(Step::Space, &failure, "ask the operator, whose log has the reason"),
    };
    let limit = quota.limit.map_or(", no limit".to_owned(), |limit| format!(" of {}", human(limit)));
    let files = match (quota.files, quota.files_limit) {
        (Some(files), Some(limit)) => format!(", {files} of {limit} files"),
        (Some(files), None) => format!(", {files} files"),
        _ => String::new(),
    };
    let found = format!("{} used{limit}{files}, {} free on the disk", human(quota.used), human(quota.free));
    let todo = "delete what is not needed ('dfos-client ls -lR'), or ask the operator for more";
    match fullest(&quota) {
        100.. => chart.failed(Step::Space, &Failure::new(Exit::Space, format!("{found}: it is full")), todo),
        90.. => chart.warning(Step::Space, &found, todo),
        _ => chart.fine(Step::Space, &found),
    }
}

/// How much is used of what is scarcest, in per cent.
fn fullest(quota: &Quota) -> u64 {
    let part = |used: u64, of: u64| {
        (u128::from(used) * 100).checked_div(u128::from(of)).map_or(100, |part| part.min(100) as u64)
    };
    let bytes = quota.limit.map_or(0, |limit| part(quota.used, limit));
    let files = quota.files.zip(quota.files_limit).map_or(0, |(files, limit)| part(files, limit));
    let disk = if quota.free == 0 { 100 } else { 0 };
    bytes.max(files).max(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scarcest_counts() {
        let quota =
            |used, limit, free, files, files_limit| Quota { used, limit, free, files: Some(files), files_limit };
        for (quota, expected) in [
            (quota(5, Some(10), 1, 0, None), 50),
            (quota(5, Some(10), 1, 9, Some(10)), 90),
            (quota(5, None, 1, 9, None), 0),
            (quota(5, None, 0, 9, None), 100),
            (quota(0, Some(0), 1, 9, None), 100),
            (quota(u64::MAX, Some(1), 1, 9, None), 100),
        ] {
            assert_eq!(fullest(&quota), expected, "{quota:?}");
        }
    }

    #[test]
    fn times_are_told_in_a_unit_that_fits() {
        assert_eq!(
            [90.0, 3600.0, 86_400.0, 864_000.0].map(span),
            ["90 seconds", "60 minutes", "24.0 hours", "10 days"]
        );
    }
}
