//! The account for a person at a terminal, or in a pipe: 80 columns, small bars, nothing that a terminal would obey.

use super::account::{Account, At, Named, Transfer, Trouble, User, WEEKDAYS, Way};
use super::calendar::{Calendar, Sum};
use super::spread::Quantiles;
use super::top::clipped;
use crate::paper::bars::{bar, column};
use crate::paper::columns::{Rows, columns, row};
use crate::paper::escape::escape;
use crate::paper::units::{count, human, rate, several, span, time};
use std::fmt::Write;
use std::time::Duration;

/// Columns of the terminal that are used.
const WIDTH: usize = 80;
/// Rows of a list, at most.
const ROWS: usize = 20;
/// Rows of the course, at most.
const STEPS: i64 = 24;

/// The whole account; `bright` for a terminal, where titles stand out.
pub fn table(account: &Account, bright: bool) -> String {
    let mut text = head(account);
    let sections = [
        ("Transfers", transfers(account)),
        ("Upload rates by the bytes that were moved (K, M, G: KiB, MiB, GiB)", rates(&account.up)),
        ("Download rates by the bytes that were moved (K, M, G: KiB, MiB, GiB)", rates(&account.down)),
        ("How long uploads took", times(&account.up)),
        ("How long downloads took", times(&account.down)),
        ("Users, by their bytes", users(account)),
        ("Throughput over time", course(account)),
        ("Bytes by hour and weekday", hours(account)),
        ("The lowest rates of what is above 1 MiB", slow(account, &account.lowest_rates)),
        ("The longest transfers", slow(account, &account.longest)),
        ("Requests by verb", verbs(account)),
        ("What failed, by verb and code", troubles(&account.errors, account.other_errors)),
        ("Refused logins, by address", addresses(account)),
        ("Turned away", named(&account.turned_away)),
        ("How sessions ended", named(&account.ends)),
        ("Hooks that failed", troubles(&account.hook_failures, 0)),
        ("Passed over", passed(account)),
    ];
    for (title, content) in sections {
        if !content.is_empty() {
            let title = if bright { format!("\x1b[1m{title}\x1b[0m") } else { title.to_owned() };
            let _ = writeln!(text, "\n{title}\n{content}"); // writing to a String cannot fail, here and below
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
    }
    text
}

/// A name that somebody chose, in so many columns.
fn name(text: &str, width: usize) -> String {
    let shown = escape(text.as_bytes());
    match shown.chars().count() > width {
        true => format!("{}…", clipped_columns(&shown, width.saturating_sub(1))),
        false => shown,
    }
}

fn clipped_columns(text: &str, width: usize) -> &str {
    text.char_indices().nth(width).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

fn minute(account: &Account, at: Option<At>) -> String {
    at.map_or_else(|| "-".into(), |at| account.zone.clone().minute(at.0))
}

fn head(account: &Account) -> String {
    let mut text = String::new();
    let (from, to) = (minute(account, account.first), minute(account, account.last));
    let _ = match account.first {
        Some(_) => writeln!(text, "Audit from {from} to {to} ({})", account.clocks),
        None => writeln!(text, "There is nothing in this audit that was asked for"),
    };
    if !account.users.is_empty() {
        let users: Vec<_> = account.users.iter().map(|user| escape(user.as_bytes())).collect();
        let _ = writeln!(text, "of {} alone", users.join(", "));
    }
    let lines = several(account.lines, "line");
    let files = several(account.files.len() as u64, "file");
    let _ = writeln!(text, "{lines} of {files}, {} of them counted\n", count(account.counted));
    let mut rows: Rows = Vec::new();
    let mut add = |name: &str, number: u64, about: String| {
        rows.push(vec![name.into(), count(number), format!("  {about}")]);
    };
    let lasted = account.session_seconds;
    let about = match lasted.count {
        0 => String::new(),
        _ => format!("half within {}, the longest {}", lasting(lasted.p50), lasting(lasted.max)),
    };
    add("sessions", account.sessions, about);
    add("users", account.distinct_users, several(account.logins, "login"));
    add("logins refused", account.refused_logins, String::new());
    add("turned away", Account::sum(&account.turned_away), String::new());
    if account.server_starts > 0 {
        add("server starts", account.server_starts, String::new());
    }
    if account.hooks > 0 {
        let failed = account.hook_failures.iter().map(|row| row.count).sum();
        add("hooks run", account.hooks, format!("{} failed", count(failed)));
    }
    if account.lost > 0 {
        add("lines lost", account.lost, "the audit itself lacks them: these figures are too low".into());
    }
    text + &columns(&rows)
}

fn lasting(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn transfers(account: &Account) -> String {
    let mut rows = vec![row(["", "files", "bytes", "resumed", "failed", "broken off", "bytes of those"])];
    for (name, way) in [("up", &account.up), ("down", &account.down)] {
        let [files, resumed, failed, broken] = [way.files, way.resumed, way.failed, way.broken_off].map(count);
        rows.push(row([name, &files, &human(way.bytes), &resumed, &failed, &broken, &human(way.broken_off_bytes)]));
    }
    columns(&rows)
}

fn rates(way: &Way) -> String {
    let mut rows = vec![row(["", "files", "p10", "p50", "p90", "p99", "max"])];
    let mut add = |name: &str, q: &Quantiles| {
        if q.count > 0 {
            let [a, b, c, d, e] = [q.p10, q.p50, q.p90, q.p99, q.max].map(short_rate);
            rows.push(row([name, &count(q.count), &a, &b, &c, &d, &e]));
        }
    };
    way.sizes.iter().for_each(|size| add(size.name, &size.rates));
    add("all", &way.rates);
    unless_bare(rows)
}

/// A rate in ten columns at most.
fn short_rate(value: f64) -> String {
    rate(value).replace("iB/s", "/s")
}

fn times(way: &Way) -> String {
    let mut rows = vec![row(["", "files", "p50", "p90", "p99", "max"])];
    let mut add = |name: &str, q: &Quantiles| {
        if q.count > 0 {
            let [a, b, c, d] = [q.p50, q.p90, q.p99, q.max].map(time);
            rows.push(row([name, &count(q.count), &a, &b, &c, &d]));
        }
    };
    way.sizes.iter().for_each(|size| add(size.name, &size.seconds));
    add("all", &way.seconds);
    unless_bare(rows)
}

/// Nothing where there is but a head.
fn unless_bare(rows: Rows) -> String {
    if rows.len() > 1 { columns(&rows) } else { String::new() }
}

fn users(account: &Account) -> String {
    let most = account.per_user.iter().map(moved).max().unwrap_or(0).max(1) as f64;
    let mut rows = vec![row(["", "sessions", "files", "up", "down", "errors", "last seen", ""])];
    for user in account.per_user.iter().take(ROWS) {
        let last = minute(account, user.last);
        let last = clipped(&last, 10);
        let [sessions, files, errors] = [user.sessions, user.files_up + user.files_down, user.errors].map(count);
        let (up, down) = (human(user.bytes_up), human(user.bytes_down));
        let mut cells = row([&name(&user.user, 14), &sessions, &files, &up, &down, &errors, last]);
        cells.push(format!("  {}", bar(moved(user) as f64 / most, 8)));
        rows.push(cells);
    }
    let mut text = unless_bare(rows);
    let more = account.per_user.len().saturating_sub(ROWS) as u64;
    if more > 0 || account.other_users.is_some() {
        let rest =
            account.per_user.iter().skip(ROWS).chain(&account.other_users).map(moved).fold(0, u64::saturating_add);
        let many = if account.other_users.is_some() { "many".into() } else { count(more) };
        let _ = writeln!(text, "and {many} others, who moved {}", human(rest));
    }
    text
}

fn moved(user: &User) -> u64 {
    user.bytes_up.saturating_add(user.bytes_down)
}

fn course(account: &Account) -> String {
    let Some(calendar) = Calendar::new(account, STEPS) else { return String::new() };
    let both = |sum: &Sum| sum.up.saturating_add(sum.down);
    let most = calendar.sums.iter().map(both).max().unwrap_or(0).max(1) as f64;
    let mut rows = vec![row(["", "up", "down", "failures"])];
    for (n, sum) in calendar.sums.iter().enumerate() {
        let failures = count(sum.failed + sum.refused + sum.turned);
        let mut cells = row([&calendar.row_name(n), &human(sum.up), &human(sum.down), &failures]);
        cells.push(format!("  {}", bar(both(sum) as f64 / most, 24)));
        rows.push(cells);
    }
    format!("{}each row is of one {}\n", unless_bare(rows), calendar.step_name()).replace("one 1 ", "one ")
}

/// A row for each day, a character for each hour.
fn hours(account: &Account) -> String {
    let most = account.hours.iter().map(|hour| hour.bytes).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let mut text = String::from("      0     3     6     9     12    15    18    21\n");
    for (weekday, day) in WEEKDAYS.into_iter().zip(account.hours.chunks(24)) {
        let _ = write!(text, "{weekday}   ");
        for hour in day {
            let mark = column(hour.bytes as f64 / most as f64);
            let _ = write!(text, "{mark}{mark}");
        }
        let sum = day.iter().map(|hour| hour.bytes).fold(0, u64::saturating_add);
        let _ = writeln!(text, "  {:>10}", human(sum));
    }
    let _ = writeln!(text, "the highest is {} in one hour of the week ({})", human(most), account.clocks);
    text
}

fn slow(account: &Account, transfers: &[Transfer]) -> String {
    let mut rows = vec![row(["when", "rate", "bytes", "took", ""])];
    for transfer in transfers {
        let rate = transfer.rate.map_or("-".into(), |value| short_rate(value as f64));
        let when = minute(account, Some(transfer.time));
        let mut cells = row([&when, &rate, &human(transfer.bytes), &time(transfer.seconds)]);
        let way = if transfer.verb == "UPLOAD" { "up" } else { "down" };
        cells.push(format!("  {way:<4} {:<10} {}", name(&transfer.user, 10), name(&transfer.path, 64)));
        rows.push(cells);
    }
    fitted(&unless_bare(rows))
}

fn verbs(account: &Account) -> String {
    let mut rows = vec![row(["", "requests", "failed", "p50", "p90", "p99", "max"])];
    for verb in &account.verbs {
        let q = verb.seconds;
        let shown = [q.p50, q.p90, q.p99, q.max].map(|value| if q.count == 0 { "-".to_owned() } else { time(value) });
        let [a, b, c, d] = shown;
        rows.push(row([verb.verb, &count(verb.requests), &count(verb.failed), &a, &b, &c, &d]));
    }
    unless_bare(rows)
}

fn troubles(rows: &[Trouble], others: u64) -> String {
    let mut table: Rows = Vec::new();
    for trouble in rows.iter().take(ROWS) {
        let what = format!("{} {}", name(&trouble.verb, 12), name(&trouble.result, 24));
        let text = if trouble.text == trouble.result { String::new() } else { name(&trouble.text, 64) };
        table.push(vec![what.trim_start().to_owned(), count(trouble.count), format!("  {text}")]);
    }
    let mut text = fitted(&columns(&table));
    let rest = rows.iter().skip(ROWS).map(|row| row.count).sum::<u64>() + others;
    if rest > 0 {
        let _ = writeln!(text, "and {} of other kinds", count(rest));
    }
    text
}

fn addresses(account: &Account) -> String {
    let most =
        account.addresses.iter().map(|row| row.refused_logins + row.turned_away).max().unwrap_or(0).max(1) as f64;
    let mut rows = vec![row(["", "refused", "turned away", "last", ""])];
    for address in account.addresses.iter().take(ROWS) {
        let (refused, turned) = (count(address.refused_logins), count(address.turned_away));
        let mut cells = row([&name(&address.address, 26), &refused, &turned, &minute(account, address.last)]);
        let share = (address.refused_logins + address.turned_away) as f64 / most;
        let mut accounts: Vec<_> = address.accounts.iter().map(|account| name(account, 14)).collect();
        if address.more_accounts {
            accounts.push("…".into());
        }
        cells.push(format!("  {:<8} {}", bar(share, 8), accounts.join(", ")));
        rows.push(cells);
    }
    let mut text = fitted(&unless_bare(rows));
    let more = account.addresses.iter().skip(ROWS).chain(&account.other_addresses);
    let sum = more.map(|row| row.refused_logins + row.turned_away).sum::<u64>();
    if sum > 0 {
        let addresses = match account.other_addresses {
            Some(_) => "more addresses than were kept apart".into(),
            None => {
                several(account.addresses.len().saturating_sub(ROWS) as u64, "other address").replace("sss", "sses")
            }
        };
        let _ = writeln!(text, "and {} more of {addresses}", count(sum));
    }
    text
}

fn named(rows: &[Named]) -> String {
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0).max(1) as f64;
    let line =
        |row: &Named| vec![name(&row.name, 30), count(row.count), format!("  {}", bar(row.count as f64 / most, 24))];
    columns(&rows.iter().take(ROWS).map(line).collect())
}

fn passed(account: &Account) -> String {
    let mut text = String::new();
    for passed in &account.passed_over {
        let lines = several(passed.count, "line");
        let _ = writeln!(text, "{lines} {}: {}\n  {}", passed.kind, passed.meaning, passed.places.join(", "));
    }
    if !account.unknown_events.is_empty() {
        let events: Vec<_> = account.unknown_events.iter().map(|row| name(&row.name, 30)).collect();
        let lines = several(Account::sum(&account.unknown_events), "line");
        let _ = writeln!(text, "{lines} of events that are not known here: {}", events.join(", "));
    }
    for why in &account.unread {
        let _ = writeln!(text, "{why}");
    }
    text
}

/// Lines that end where the terminal does.
fn fitted(text: &str) -> String {
    let fit = |line: &str| match line.chars().count() > WIDTH {
        true => format!("{}…\n", clipped_columns(line, WIDTH - 1)),
        false => format!("{line}\n"),
    };
    text.lines().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::report::account::tests::{account, busy};

    #[test]
    fn no_row_is_wider_than_a_terminal_and_nothing_in_it_is_obeyed() {
        for text in [table(&account(busy()), false), table(&account(String::new()), false)] {
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
            assert!(!text.chars().any(|c| crate::proto::unseen::is_unsafe(c) && c != '\n'), "{text}");
        }
    }

    #[test]
    fn titles_shine_on_a_terminal_alone() {
        assert!(table(&account(busy()), true).contains("\n\x1b[1mTransfers\x1b[0m\n"));
        assert!(table(&account(busy()), false).contains("\nTransfers\n"));
    }

    #[test]
    fn an_audit_of_nothing_says_so() {
        assert!(table(&account(String::new()), false).starts_with("There is nothing in this audit"));
    }
}
