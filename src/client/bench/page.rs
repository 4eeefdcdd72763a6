//! The result as a web page that stands alone: no script, nothing from elsewhere, readable light, dark and on paper.

use super::account::{Account, OfKind};
use super::plot;
use crate::paper::page::{card, cards as all_cards, section, standing_alone};
use crate::paper::plot::escape;
use crate::paper::units::{count, human, per_second, rate, several, span, time};
use std::time::Duration;

/// The whole page. Nothing may be fetched by it, whatever a text in it says: the policy in its head forbids all.
pub fn page(account: &Account) -> String {
    let parts = [head(account), cards(account), circumstances(account), course(account), times(account)];
    let rest = [shares(account), errors(account), footer()];
    let body: String = parts.into_iter().chain(rest).collect();
    standing_alone(&format!("DFOS load test, {}", account.began), "", &body)
}

fn head(account: &Account) -> String {
    let took = span(Duration::from_secs_f64(account.seconds));
    let clients = several(account.took_part as u64, "client");
    let (server, began) = (escape(&account.server), escape(&account.began));
    let (class, verdict) = verdict(account);
    format!(
        "<h1>DFOS load test</h1>\n<p class=\"soft\">{clients} at {server} for {took}, {began}</p>\n\
         <p class=\"verdict {class}\">{verdict}</p>\n"
    )
}

/// In one sentence, whether all went well.
fn verdict(account: &Account) -> (&'static str, String) {
    let mut words = Vec::new();
    if account.damaged > 0 {
        let verb = if account.damaged == 1 { "was" } else { "were" };
        words.push(format!("{} {verb} not right to the byte.", several(account.damaged, "operation")));
    } else {
        words.push("Every byte that was moved was verified, and was right.".into());
    }
    match account.failed {
        0 => words.push("Nothing failed.".into()),
        failed => words.push(format!("{} in all; see below.", several(failed, "failure"))),
    }
    if account.interrupted {
        words.push("The test was interrupted: these are the figures of the time until then.".into());
    }
    if let Some(place) = &account.left_behind {
        words.push(format!("The directory {place} could not be removed from the server."));
    }
    let bad = account.failed > 0 || account.left_behind.is_some();
    (if bad { "bad" } else { "" }, escape(&words.join(" ")))
}

fn cards(account: &Account) -> String {
    let times = account.times;
    let failed = if account.failed > 0 { "bad" } else { "" };
    let clients = format!("failures; {} of {} clients took part", account.took_part, account.clients);
    all_cards(&[
        card("up", &rate(account.up.rate), "up, to the server"),
        card("down", &rate(account.down.rate), "down, from the server"),
        card("", &per_second(account.operations_per_second), "operations per second"),
        card("", &time(times.p50), "half of the operations took no longer"),
        card("", &time(times.p99), "99 of 100 took no longer"),
        card(failed, &count(account.failed), &clients),
    ])
}

fn circumstances(account: &Account) -> String {
    let machine = &account.machine;
    let row = |name: &str, value: &str| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
    let moved = |flow: &super::account::Flow| format!("{} files, {}", count(flow.files), human(flow.bytes));
    let threads = several(machine.cores as u64, "thread");
    let all = [
        format!("<dt>command</dt><dd><code>{}</code></dd>\n", escape(&account.command)),
        row("server", &format!("{}, as {}", account.server, account.user)),
        row(
            "clients' machine",
            &format!("{}: {}, {threads}, Linux {}", machine.host, machine.processor, machine.kernel),
        ),
        row("client version", account.version),
        row("put", &moved(&account.up)),
        row("got", &moved(&account.down)),
    ]
    .concat();
    format!("<dl>\n{all}</dl>\n")
}

fn course(account: &Account) -> String {
    let mut words = String::from(
        "What all clients together moved at each moment. Steady is good; a gap is a time in which nobody got through.",
    );
    if account.failed > 0 {
        words += " Bytes are shown when they pass, also those of operations that failed later.";
    }
    section("Throughput over time", &words, &scrolled(&plot::throughput(account)))
}

fn times(account: &Account) -> String {
    let words = "One row for each kind of operation: the higher a bar, the more operations took that long. Further left is faster; \
                 a second hill at the right is a part of the operations that had to wait. A put ends when the server has the file \
                 on stable storage.";
    let content = format!("{}{}", scrolled(&plot::latency(account)), table(account));
    section("How long operations took", words, &content)
}

/// A plot that keeps its letters readable where the window is narrower than it.
fn scrolled(plot: &str) -> String {
    format!("<div class=\"wide\">\n{plot}</div>\n")
}

fn table(account: &Account) -> String {
    let head = ["", "count", "failed", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
    let head: String = head.map(|name| format!("<th>{name}</th>")).concat();
    let rows: String = account.kinds.iter().map(row).collect();
    format!(
        "<div class=\"wide\"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n\
         <p class=\"soft\">p90 is the time within which 90 of 100 operations were done.</p>\n"
    )
}

fn row(kind: &OfKind) -> String {
    let t = kind.times;
    let cell = |text: &str| format!("<td>{}</td>", escape(text));
    let figures = [t.min, t.mean, t.p50, t.p90, t.p95, t.p99, t.p999, t.max];
    let figures = figures.map(|value| cell(&if kind.count == 0 { "–".to_owned() } else { time(value) })).concat();
    format!("<tr>{}{}{}{figures}</tr>\n", cell(kind.kind), cell(&count(kind.count)), cell(&count(kind.failed)))
}

fn shares(account: &Account) -> String {
    let fair = account.fairness;
    let absent = match account.clients.saturating_sub(account.took_part) {
        0 => String::new(),
        absent => format!(" At the left, without a bar, {} could not take part.", several(absent as u64, "client")),
    };
    let words = format!(
        "One bar for each client.{absent} Equal heights are fair. The slowest did {}, the fastest {} operations; half of the clients did \
         {} or more. (Where sizes differ, the bytes of a client also depend on which ones it drew.)",
        count(fair.slowest),
        count(fair.fastest),
        count(fair.median),
    );
    section("Did every client get its share?", &words, &scrolled(&plot::fairness(account)))
}

fn errors(account: &Account) -> String {
    if account.errors.is_empty() {
        return section("Errors", "None.", "");
    }
    let row = |error: &super::account::ErrorRow| {
        let (code, text) = (escape(error.code), escape(&error.text));
        format!("<tr><td>{code}</td><td>{}</td><td class=\"words\">{text}</td></tr>\n", count(error.count))
    };
    let rows: String = account.errors.iter().map(row).collect();
    let table = format!(
        "<div class=\"wide\"><table>\n<tr><th>code</th><th>count</th><th class=\"words\">what the first one said</th></tr>\n{rows}</table></div>\n"
    );
    section("Errors", "By the code of the server, or a word for what happened on the way.", &table)
}

fn footer() -> String {
    "<footer>Each client did one operation after the other and waited for its answer, so that a slower server is asked less often. \
     Bytes are those of the files, without the protocol and TLS around them. The content of every file was known beforehand: its SHA-256 \
     was compared with what the server stored, with what it sent, and with what it said of that; listings with what had been put.</footer>\n"
        .into()
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::{account, busy};
    use super::*;

    #[test]
    fn the_page_has_all_parts_and_needs_nothing_from_elsewhere() {
        let page = page(&account(busy));
        for part in [
            "Throughput over time",
            "How long operations took",
            "Did every client get its share?",
            "p99.9",
            "200.0 KiB/s",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
        for fetched in ["src=", "href=", "url(", "@import", "http://", "https://", "<script"] {
            assert!(!page.contains(fetched), "{fetched}");
        }
    }

    #[test]
    fn texts_of_others_are_text_and_no_markup() {
        let page = page(&account(busy));
        assert!(page.contains("tls://&lt;b&gt;&amp;host:1"), "the server's name");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "what the server said");
    }

    #[test]
    fn a_test_in_which_nothing_happened_has_a_page_too() {
        let page = page(&account(|_| ()));
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        assert!(page.contains("Nothing failed."));
    }
}
