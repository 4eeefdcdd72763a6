//! The account as a web page that stands alone. Every name in it was chosen by somebody else: all go through `escape`, and what a reader
//! would not see as it is, is spelled out.

use super::account::{Account, Address, At, Named, Transfer, Trouble, User, WEEKDAYS, Way};
use super::calendar::Calendar;
use super::plots;
use super::spread::Quantiles;
use crate::paper::escape::escape as spelled;
use crate::paper::page::{card, cards, section, standing_alone};
use crate::paper::plot;
use crate::paper::units::{count, human, rate, several, span, time};
use std::time::Duration;

const STYLE: &str = include_str!("report.css");

/// Rows of a list, at most.
const ROWS: usize = 30;
/// Rows of the course as a table.
const STEPS: i64 = 60;

/// The whole page.
pub fn page(account: &Account) -> String {
    let parts = [
        head(account),
        figures(account),
        trust(account),
        course(account),
        rates(account),
        users(account),
        week(account),
        failures(account),
        addresses(account),
        slowest(account),
        verbs(account),
        sessions(account),
        circumstances(account),
    ];
    let title = match (account.first, account.last) {
        (Some(_), Some(_)) => {
            format!("DFOS report, {} to {}", minute(account, account.first), minute(account, account.last))
        }
        _ => "DFOS report".into(),
    };
    standing_alone(&title, STYLE, &parts.concat())
}

/// Text as the page may hold it, and as a person sees it.
fn escape(text: &str) -> String {
    plot::escape(&spelled(text.as_bytes()))
}

fn minute(account: &Account, at: Option<At>) -> String {
    at.map_or_else(|| "–".into(), |at| account.zone.clone().minute(at.0))
}

fn head(account: &Account) -> String {
    let (from, to) = (minute(account, account.first), minute(account, account.last));
    let when = match account.first {
        Some(_) => format!("{from} to {to}, {}", account.clocks),
        None => "There is nothing in this audit that was asked for.".into(),
    };
    let users = match account.users.is_empty() {
        true => String::new(),
        false => format!("<p>Of {} alone.</p>\n", escape(&account.users.join(", "))),
    };
    format!("<h1>DFOS report</h1>\n<p class=\"soft\">{}</p>\n{users}", escape(&when))
}

fn figures(account: &Account) -> String {
    let failed: u64 = account.verbs.iter().map(|verb| verb.failed).sum();
    let bad = |number: u64| if number > 0 { "bad" } else { "" };
    let way = |way: &Way, word: &str| format!("{word} in {}", several(way.files, "file"));
    let turned = Account::sum(&account.turned_away);
    cards(&[
        card("up", &human(account.up.bytes), &way(&account.up, "uploaded")),
        card("down", &human(account.down.bytes), &way(&account.down, "downloaded")),
        card("", &count(account.sessions), &format!("sessions of {}", several(account.distinct_users, "user"))),
        card(bad(failed), &count(failed), "requests failed or broke off"),
        card(bad(account.refused_logins), &count(account.refused_logins), "logins refused"),
        card(bad(turned), &count(turned), "connections turned away"),
    ])
}

/// What is missing in these figures, if anything.
fn trust(account: &Account) -> String {
    let mut words = Vec::new();
    if account.lost > 0 {
        let verb = if account.lost == 1 { "is" } else { "are" };
        words.push(format!("{} {verb} missing in the audit itself.", several(account.lost, "line")));
    }
    for passed in &account.passed_over {
        let places = passed.places.join(", ");
        words.push(format!(
            "Passed over: {} {} ({}), {places}.",
            several(passed.count, "line"),
            passed.kind,
            passed.meaning
        ));
    }
    if !account.unknown_events.is_empty() {
        let names: Vec<_> = account.unknown_events.iter().map(|row| spelled(row.name.as_bytes())).collect();
        words.push(format!("Events that this version does not know: {}.", names.join(", ")));
    }
    words.extend(account.unread.iter().map(|why| format!("Not read to its end: {why}.")));
    if words.is_empty() {
        return String::new();
    }
    let words: Vec<_> = words.iter().map(|text| plot::escape(text)).collect();
    format!("<p class=\"verdict bad\">{}</p>\n", words.join("<br>\n"))
}

/// A table; `names` says which columns hold text. Its cells are markup.
fn table(head: &[&str], names: &[usize], rows: &[Vec<String>]) -> String {
    let class = |n: usize, cell: &str| match () {
        () if cell.starts_with("<i") => " class=\"share\"",
        () if names.contains(&n) && n + 1 == head.len() => " class=\"path\"",
        () if names.contains(&n) => " class=\"name\"",
        () => "",
    };
    let head: String =
        head.iter().enumerate().map(|(n, name)| format!("<th scope=\"col\"{}>{name}</th>", class(n, ""))).collect();
    let cells = |row: &Vec<String>| -> String {
        row.iter().enumerate().map(|(n, cell)| format!("<td{}>{cell}</td>", class(n, cell))).collect()
    };
    let rows: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", cells(row))).collect();
    format!("<div class=\"wide\" tabindex=\"0\"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n")
}

fn folded(table: &str) -> String {
    format!("<details><summary>as a table</summary>\n{table}</details>\n")
}

/// A bar of parts of a whole.
fn bar(parts: &[(&str, u64)], most: u64) -> String {
    let part = |(class, value): &(&str, u64)| {
        let share = 98.0 * *value as f64 / most.max(1) as f64;
        if *value == 0 {
            String::new()
        } else {
            format!("<i class=\"{class}\" style=\"width:max(1px,{share:.2}%)\"></i>")
        }
    };
    let bars: String = parts.iter().map(part).collect();
    if bars.is_empty() { "<i></i>".into() } else { bars }
}

fn course(account: &Account) -> String {
    let Some(calendar) = Calendar::new(account, STEPS).filter(|_| account.up.bytes > 0 || account.down.bytes > 0)
    else {
        return section("Throughput over time", "Nothing was moved.", "");
    };
    let words = format!(
        "What all sessions together moved. A long transfer counts where it moved, not where it ended. Times are {}.",
        escape(&account.clocks)
    );
    let row = |(n, sum): (usize, &super::calendar::Sum)| {
        vec![
            calendar.row_name(n),
            human(sum.up),
            human(sum.down),
            count(sum.failed),
            count(sum.refused),
            count(sum.turned),
        ]
    };
    let rows: Vec<_> = calendar.sums.iter().enumerate().map(row).collect();
    let head = [format!("from, for a {}", calendar.step_name()).replace("a 1 ", "a "), "up".into()];
    let head = [head[0].as_str(), &head[1], "down", "requests failed", "logins refused", "turned away"];
    section("Throughput over time", &words, &(plots::throughput(account) + &folded(&table(&head, &[], &rows))))
}

fn rates(account: &Account) -> String {
    if account.up.files + account.down.files == 0 {
        return String::new();
    }
    let words = "Of whole files, by the bytes that were moved. A bar holds eight of ten transfers, its mark stands where half of them are \
                 slower; the thin line reaches from the lowest to the highest hundredth. Small files say more of the way to the server \
                 than of its speed.";
    let rate_table = quantiles(account, |way| &way.rates, |size| size.rates, rate);
    let time_table = quantiles(account, |way| &way.seconds, |size| size.seconds, time);
    let content = format!(
        "<h3>Bytes per second</h3>\n{}{rate_table}<h3>How long a transfer took</h3>\n{}{time_table}",
        plots::rates(account),
        plots::times(account),
    );
    let notes = [(&account.up, "uploads"), (&account.down, "downloads")].map(|(way, name)| {
        let (off, lost) = (count(way.broken_off), human(way.broken_off_bytes));
        format!(
            "Of the {name}, {off} broke off after {lost}, {} failed, {} went on where an earlier one had broken off.",
            count(way.failed),
            count(way.resumed)
        )
    });
    section("How fast transfers were", words, &format!("{content}<p>{}</p>\n", notes.join(" ")))
}

fn quantiles(
    account: &Account,
    all: fn(&Way) -> &Quantiles,
    of: fn(&super::account::Size) -> Quantiles,
    shown: fn(f64) -> String,
) -> String {
    let mut rows = Vec::new();
    for (name, way) in [("up", &account.up), ("down", &account.down)] {
        let sizes = way.sizes.iter().map(|size| (size.name, of(size))).chain([("all", *all(way))]);
        for (size, q) in sizes.filter(|(_, q)| q.count > 0) {
            let figures = [q.p10, q.p50, q.p90, q.p99, q.max].map(shown);
            rows.push([format!("{name}, {size}"), count(q.count)].into_iter().chain(figures).collect());
        }
    }
    table(&["", "files", "p10", "p50", "p90", "p99", "max"], &[], &rows)
}

fn users(account: &Account) -> String {
    if account.per_user.is_empty() {
        return String::new();
    }
    let moved = |user: &User| user.bytes_up.saturating_add(user.bytes_down);
    let most = account.per_user.iter().map(moved).max().unwrap_or(0);
    let row = |name: String, user: &User, last: String| {
        vec![
            name,
            bar(&[("up", user.bytes_up), ("down", user.bytes_down)], most),
            human(user.bytes_up),
            human(user.bytes_down),
            count(user.files_up + user.files_down),
            count(user.sessions),
            count(user.errors),
            last,
        ]
    };
    let mut rows: Vec<_> = account
        .per_user
        .iter()
        .take(ROWS)
        .map(|user| row(escape(&user.user), user, minute(account, user.last)))
        .collect();
    let mut others: Vec<&User> = account.per_user.iter().skip(ROWS).collect();
    others.extend(&account.other_users);
    if !others.is_empty() {
        let mut sum = User { user: String::new(), last: None, ..(*others[0]).clone() };
        for user in others.iter().skip(1) {
            sum.bytes_up = sum.bytes_up.saturating_add(user.bytes_up);
            sum.bytes_down = sum.bytes_down.saturating_add(user.bytes_down);
            sum.files_up += user.files_up;
            sum.files_down += user.files_down;
            sum.sessions += user.sessions;
            sum.errors += user.errors;
        }
        let name =
            if account.other_users.is_some() { "all others".into() } else { several(others.len() as u64, "other") };
        rows.push(row(name, &sum, String::new()));
    }
    let words = "<span class=\"key\"><i class=\"up\"></i>up <i class=\"down\"></i>down</span>. Errors are requests that failed or broke off.";
    let head = ["user", "share", "up", "down", "files", "sessions", "errors", "last seen"];
    section("Users, by the bytes that they moved", words, &table(&head, &[0, 1], &rows))
}

fn week(account: &Account) -> String {
    let plot = plots::hours(account);
    if plot.is_empty() {
        return String::new();
    }
    let days = WEEKDAYS.into_iter().zip(account.hours.chunks(24));
    let row = |(weekday, day): (&str, &[super::account::HourOfWeek])| {
        [weekday.to_owned()].into_iter().chain(day.iter().map(|hour| human(hour.bytes))).collect()
    };
    let rows: Vec<Vec<String>> = days.map(row).collect();
    let hours: Vec<_> = (0..24).map(|hour| format!("{hour:02}:00")).collect();
    let head: Vec<&str> = [""].into_iter().chain(hours.iter().map(String::as_str)).collect();
    let words = format!(
        "Bytes both ways, all weeks together: the darker, the more. Hours are {}; transfers count in the hour in which they ended.",
        escape(&account.clocks)
    );
    section("Busy hours", &words, &(plot + &folded(&table(&head, &[], &rows))))
}

fn failures(account: &Account) -> String {
    let turned = Account::sum(&account.turned_away);
    let failed: u64 = account.verbs.iter().map(|verb| verb.failed).sum();
    if turned + failed + account.refused_logins == 0 {
        return section("Failures", "None.", "");
    }
    let mut content = plots::failures(account);
    if !account.errors.is_empty() {
        content += &format!(
            "<h3>Requests that failed, by verb and code</h3>\n{}",
            troubles(account, &account.errors, account.other_errors)
        );
    }
    if turned > 0 {
        content += &format!("<h3>Connections turned away, by reason</h3>\n{}", named(&account.turned_away, "turned"));
    }
    if !account.hook_failures.is_empty() {
        content += &format!("<h3>Hooks that failed</h3>\n{}", troubles(account, &account.hook_failures, 0));
    }
    let words = "<code>aborted</code> was given up by the client, <code>vanished</code> lost its connection; the others are the codes \
                 of the protocol.";
    section("Failures", words, &content)
}

fn troubles(account: &Account, rows: &[Trouble], others: u64) -> String {
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let row = |trouble: &Trouble| {
        let what = format!("{} {}", escape(&trouble.verb), escape(&trouble.result));
        let bar = bar(&[("failed", trouble.count)], most);
        vec![what, bar, count(trouble.count), minute(account, trouble.last), escape(&trouble.text)]
    };
    let mut table_rows: Vec<_> = rows.iter().take(ROWS).map(row).collect();
    let rest = rows.iter().skip(ROWS).map(|row| row.count).sum::<u64>() + others;
    if rest > 0 {
        table_rows.push(vec!["all others".into(), "<i></i>".into(), count(rest), String::new(), String::new()]);
    }
    table(&["what", "share", "count", "last", "what the first one said"], &[0, 1, 4], &table_rows)
}

fn named(rows: &[Named], class: &str) -> String {
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let row = |row: &Named| vec![escape(&row.name), bar(&[(class, row.count)], most), count(row.count)];
    let rows: Vec<_> = rows.iter().take(ROWS).map(row).collect();
    table(&["what", "share", "count"], &[0, 1], &rows)
}

fn addresses(account: &Account) -> String {
    if account.addresses.is_empty() {
        return String::new();
    }
    let sum = |address: &Address| address.refused_logins + address.turned_away;
    let most = account.addresses.iter().map(sum).max().unwrap_or(0);
    let row = |name: String, address: &Address| {
        let accounts = address.accounts.iter().map(|account| escape(account)).collect::<Vec<_>>().join(", ");
        vec![
            name,
            bar(&[("refused", address.refused_logins), ("turned", address.turned_away)], most),
            count(address.refused_logins),
            count(address.turned_away),
            if address.more_accounts { accounts + ", …" } else { accounts },
            minute(account, address.last),
        ]
    };
    let mut rows: Vec<_> =
        account.addresses.iter().take(ROWS).map(|address| row(escape(&address.address), address)).collect();
    let rest = account.addresses.iter().skip(ROWS).chain(&account.other_addresses);
    let (refused, turned) =
        rest.fold((0, 0), |(refused, turned), row| (refused + row.refused_logins, turned + row.turned_away));
    if refused + turned > 0 {
        let name = match account.other_addresses {
            Some(_) => "all others; more than could be kept apart".into(),
            None => several((account.addresses.len() - ROWS) as u64, "other"),
        };
        let share = if refused + turned <= most {
            bar(&[("refused", refused), ("turned", turned)], most)
        } else {
            "<i></i>".into()
        };
        rows.push(vec![name, share, count(refused), count(turned), String::new(), String::new()]);
    }
    let words = "<span class=\"key\"><i class=\"refused\"></i>logins refused <i class=\"turned\"></i>turned away</span>. Accounts are named where \
                 they exist. Addresses of IPv6 are told by their /64: one machine has all of it.";
    let head = ["address", "share", "logins refused", "turned away", "accounts", "last"];
    section("Refused logins and connections turned away, by address", words, &table(&head, &[0, 1, 4], &rows))
}

fn slowest(account: &Account) -> String {
    if account.longest.is_empty() {
        return String::new();
    }
    let row = |transfer: &Transfer| {
        let way = if transfer.verb == "UPLOAD" { "up" } else { "down" };
        vec![
            minute(account, Some(transfer.time)),
            transfer.rate.map_or("–".into(), |value| rate(value as f64)),
            human(transfer.bytes),
            time(transfer.seconds),
            way.into(),
            escape(&transfer.user),
            escape(&transfer.peer),
            escape(&transfer.path),
        ]
    };
    let list = |rows: &[Transfer]| {
        let rows: Vec<_> = rows.iter().map(row).collect();
        table(&["when", "rate", "bytes", "took", "way", "user", "from", "path"], &[4, 5, 6, 7], &rows)
    };
    let mut content = format!("<h3>The longest</h3>\n{}", list(&account.longest));
    if !account.lowest_rates.is_empty() {
        content = format!(
            "<h3>The lowest rates, of what moved more than 1 MiB</h3>\n{}{content}",
            list(&account.lowest_rates)
        );
    }
    section("The slowest transfers", "Of those that ended well.", &content)
}

fn verbs(account: &Account) -> String {
    if account.verbs.is_empty() {
        return String::new();
    }
    let row = |verb: &super::account::Verb| {
        let q = verb.seconds;
        let figures = [q.p50, q.p90, q.p99, q.max].map(|value| if q.count == 0 { "–".into() } else { time(value) });
        [verb.verb.to_owned(), count(verb.requests), count(verb.failed)].into_iter().chain(figures).collect()
    };
    let rows: Vec<Vec<String>> = account.verbs.iter().map(row).collect();
    let head = ["verb", "requests", "failed", "p50", "p90", "p99", "max"];
    section(
        "Requests by verb",
        "Times are of those that succeeded: p90 is the time within which 90 of 100 were answered.",
        &table(&head, &[0], &rows),
    )
}

fn sessions(account: &Account) -> String {
    if account.ends.is_empty() {
        return String::new();
    }
    let q = account.session_seconds;
    let lasting = |seconds: f64| span(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let words = format!(
        "Half of the sessions lasted no longer than {}, 99 of 100 no longer than {}, the longest {}.",
        lasting(q.p50),
        lasting(q.p99),
        lasting(q.max)
    );
    section("How sessions ended", &words, &named(&account.ends, "soft"))
}

fn circumstances(account: &Account) -> String {
    // Names of files have been spelled out already.
    let row = |name: &str, value: &str| format!("<dt>{}</dt><dd>{}</dd>\n", plot::escape(name), plot::escape(value));
    let asked = |at: Option<At>| minute(account, at);
    let mut files: Vec<_> = account.files.iter().take(ROWS).cloned().collect();
    if account.files.len() > ROWS {
        files.push(several((account.files.len() - ROWS) as u64, "other"));
    }
    let mut all = row("read", &format!("{} of {}", several(account.lines, "line"), files.join(", ")));
    all += &row("counted", &several(account.counted, "line"));
    if account.since.is_some() || account.until.is_some() {
        all += &row("asked for", &format!("from {} to {}", asked(account.since), asked(account.until)));
    }
    if account.server_starts > 0 {
        all += &row(
            "server",
            &format!("{}, {}", several(account.server_starts, "start"), several(account.server_stops, "stop")),
        );
    }
    if account.hooks > 0 {
        all += &row("hooks", &several(account.hooks, "run"));
    }
    let made = minute(account, Some(account.made));
    format!(
        "<footer>\n<dl>\n{all}</dl>\nMade {} by dfos-forkd {}. Percentiles are accurate to 0.1 %.</footer>\n",
        escape(&made),
        account.version
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::report::account::tests::{account, busy};

    #[test]
    fn the_page_has_all_parts_and_needs_nothing_from_elsewhere() {
        let page = page(&account(busy()));
        for part in [
            "Throughput over time",
            "How fast transfers were",
            "Busy hours",
            "Failures",
            "Refused logins",
            "The slowest transfers",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<svg").count(), 2 * 5, "each for a desk and for a phone");
        assert_eq!(page.matches("<svg").count(), page.matches("aria-label").count());
        for tag in ["section", "table", "svg", "td", "details", "rect"] {
            assert_eq!(page.matches(&format!("<{tag}")).count(), page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'"));
        for fetched in ["src=", "href=", "url(", "@import", "http://", "https://", "<script"] {
            assert!(!page.contains(fetched), "{fetched}");
        }
    }

    #[test]
    fn names_of_others_are_text_that_is_seen_as_it_is() {
        let page = page(&account(busy()));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains(r"\u{202e}gpj"), "what turns the direction of writing is spelled out");
        assert!(!page.chars().any(|c| crate::proto::unseen::is_unsafe(c) && c != '\n'));
    }

    #[test]
    fn an_audit_of_nothing_has_a_page() {
        let page = page(&account(String::new()));
        assert!(page.contains("There is nothing in this audit") && page.contains("Nothing was moved."));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }
}
