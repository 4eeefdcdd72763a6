//! The server's figures for Prometheus: names and units by the rules of OpenMetrics, and `# EOF` at the end.
//!
//! The lines about a counter name it as its sample is named, with `_total`: so the text format of Prometheus wants it, which is all that
//! the node exporter's textfile collector reads, while Prometheus' own parser of OpenMetrics takes both. For the same reason there are only
//! counters and gauges.
//!
//! No figure is told by user: their number has no bound, and each would be a time series for ever. Per user the audit tells more.

use crate::server::desk::answer::Status;
use std::collections::BTreeSet;
use std::fmt::{Display, Write};

/// What [`crate::server::scoreboard::State`] says; each is always told, so that no series comes and goes.
const STATES: [&str; 5] = ["greeting", "login", "idle", "busy", "settling"];

/// All of them.
pub fn text(status: &Status) -> String {
    let mut out = String::new();
    let users: BTreeSet<_> = status.sessions.iter().filter_map(|session| session.user.as_deref()).collect();
    let in_state = |state: &str| status.sessions.iter().filter(|session| session.state == state).count() as u64;

    let version = status.version.as_str();
    family(
        &mut out,
        "dfos_build_info",
        "gauge",
        "The version of the server, as a label; always 1.",
        [(&[("version", version)][..], 1)],
    );
    let text = "When the server began, in seconds since 1970.";
    family(&mut out, "dfos_start_time_seconds", "gauge", text, [(&[][..], status.start)]);
    let text = "1 while the server takes nobody new and runs empty.";
    family(&mut out, "dfos_draining", "gauge", text, [(&[][..], u64::from(status.state == "draining"))]);
    let states = STATES.map(|state| ([("state", state)], in_state(state)));
    let states = states.iter().map(|(labels, value)| (&labels[..], *value));
    family(&mut out, "dfos_sessions", "gauge", "Sessions now, by what they are about.", states);
    family(&mut out, "dfos_sessions_limit", "gauge", "Sessions that there may be.", [(&[][..], status.max_clients)]);
    let text = "The most sessions that there have been since the server began.";
    family(&mut out, "dfos_sessions_peak", "gauge", text, [(&[][..], status.peak)]);
    family(&mut out, "dfos_users", "gauge", "Users who are logged in now.", [(&[][..], users.len())]);
    family(&mut out, "dfos_connections_total", "counter", "Connections accepted.", [(&[][..], status.connections)]);
    let reasons: Vec<_> =
        status.turned_away.iter().map(|(reason, count)| ([("reason", reason.as_str())], *count)).collect();
    let reasons = reasons.iter().map(|(labels, value)| (&labels[..], *value));
    family(
        &mut out,
        "dfos_connections_turned_away_total",
        "counter",
        "Connections that got no session, by reason.",
        reasons,
    );
    let logins = [(&[("result", "ok")][..], status.logins), (&[("result", "refused")][..], status.logins_refused)];
    family(&mut out, "dfos_logins_total", "counter", "Logins that succeeded, and that were refused.", logins);
    let ended = [(&[("by", "server")][..], status.sent_away), (&[("by", "operator")][..], status.kicked)];
    let text = "Sessions that had to end: for others or without their user, and by the operator.";
    family(&mut out, "dfos_sessions_sent_away_total", "counter", text, ended);
    let (inward, outward) = (&[("direction", "in")][..], &[("direction", "out")][..]);
    let files = [(inward, status.files_in), (outward, status.files_out)];
    family(&mut out, "dfos_files_total", "counter", "Whole files uploaded (in) and downloaded (out).", files);
    let bytes = [(inward, status.bytes_in), (outward, status.bytes_out)];
    let text = "Bytes of files uploaded (in), and of downloads, unfinished ones too (out).";
    family(&mut out, "dfos_content_bytes_total", "counter", text, bytes);
    out.push_str("# EOF\n");
    out
}

/// One family: what it is, and its samples by their labels.
fn family<'a, V: Display>(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], V)>,
) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    let bare = name.strip_suffix("_total").unwrap_or(name);
    if let Some(unit) = ["seconds", "bytes"].iter().find(|unit| bare.ends_with(&format!("_{unit}"))) {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    for (labels, value) in samples {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}

/// A label's value, as both formats write it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::status::table::tests::{session, status};

    #[test]
    fn a_label_cannot_end_before_its_end() {
        let mut odd = status(vec![session("6920a1b3-1", "alice", "idle")]);
        odd.version = "a\"b\\c\nd".into();
        let text = text(&odd);
        assert!(text.contains("dfos_build_info{version=\"a\\\"b\\\\c\\nd\"} 1\n"), "{text}");
        assert!(text.contains("\ndfos_sessions{state=\"idle\"} 1\n") && text.ends_with("\n# EOF\n"));
        assert!(!text.contains("alice"), "a series for each user has no bound");
    }
}
