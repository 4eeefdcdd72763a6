//! The result for a person at a terminal, or in a pipe: aligned columns, humane units.

use super::account::Account;
use crate::paper::columns::{Rows, columns, row};
use crate::paper::units::{count, human, per_second, rate, several, span, time};
use std::fmt::Write;
use std::time::Duration;

/// The whole table.
pub fn table(account: &Account) -> String {
    let mut text = String::new();
    let took = span(Duration::from_secs_f64(account.seconds));
    let clients = several(account.took_part as u64, "client");
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "{}\n{clients} at {} for {took}, every byte verified\n", account.command, account.server);
    text += &columns(&flows(account));
    text.push('\n');
    text += &columns(&times(account));
    text.push('\n');
    let fair = account.fairness;
    let (slowest, median, fastest) = (count(fair.slowest), count(fair.median), count(fair.fastest));
    let _ = writeln!(text, "operations of a client: slowest {slowest}, median {median}, fastest {fastest}");
    text += &troubles(account);
    text
}

fn flows(account: &Account) -> Rows {
    let mut rows = vec![row(["", "files", "bytes", "bytes/s", "files/s"])];
    for (name, flow) in [("up", &account.up), ("down", &account.down)] {
        let files_a_second = per_second(flow.files as f64 / account.seconds.max(0.001));
        rows.push(row([name, &count(flow.files), &human(flow.bytes), &rate(flow.rate), &files_a_second]));
    }
    rows
}

fn times(account: &Account) -> Rows {
    let head = ["", "count", "failed", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
    let mut rows = vec![row(head)];
    for kind in &account.kinds {
        let mut cells = row([kind.kind, &count(kind.count), &count(kind.failed)]);
        let t = kind.times;
        let all = [t.min, t.mean, t.p50, t.p90, t.p95, t.p99, t.p999, t.max];
        cells.extend(all.map(|value| if kind.count == 0 { "-".to_owned() } else { time(value) }));
        rows.push(cells);
    }
    rows
}

/// What went wrong, the first words of each kind.
fn troubles(account: &Account) -> String {
    if account.errors.is_empty() {
        return "errors: none\n".into();
    }
    let mut text = String::from("errors:\n");
    let mut rows: Rows = account.errors.iter().map(|row| vec![row.code.into(), count(row.count)]).collect();
    for (row, error) in rows.iter_mut().zip(&account.errors) {
        row.push(format!("  {}", error.text));
    }
    for line in columns(&rows).lines() {
        let _ = writeln!(text, "  {line}");
    }
    if account.refused > 0 {
        let refused = several(account.refused, "connection");
        let _ = writeln!(text, "the server had no room for {refused}; the others went on");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::{account, busy};
    use super::*;

    #[test]
    fn the_table_tells_rates_percentiles_fairness_and_errors() {
        let text = table(&account(busy));
        for line in [
            "dfos-client bench --clients 3 --size 4KiB --mix put/get --duration 10s",
            "2 clients at tls://<b>&host:1 for 2.0 s, every byte verified",
            "operations of a client: slowest 1, median 100, fastest 100",
            "the server had no room for 1 connection; the others went on",
        ] {
            assert!(text.lines().any(|found| found == line), "no '{line}' in:\n{text}");
        }
        assert!(text.contains("up      100  400.0 KiB  200.0 KiB/s     50.0"), "{text}");
        assert!(table(&account(|_| ())).contains("errors: none\n"));
    }
}
