//! The plots of the page. Each is drawn twice, for a desk and for a phone, and the page's style sheet shows the one that fits: letters that
//! are stretched with a picture could be read on one of the two alone.

use super::account::{Account, Size, WEEKDAYS};
use super::calendar::{Calendar, Sum};
use super::spread::Quantiles;
use crate::paper::plot::{BOTTOM, DESK, Field, Frame, PHONE, Svg, TOP, byte_marks, last, marks, plain};
use crate::paper::units::{count, human, rate, time};

/// Steps of a course on a desk, and on a phone.
const STEPS: (i64, i64) = (140, 60);

/// One of the figures of a step.
type Of = fn(&Sum) -> u64;

/// A picture in both widths.
fn both(draw: impl Fn(Frame) -> String) -> String {
    format!("<div class=\"desk\">\n{}</div>\n<div class=\"phone\">\n{}</div>\n", draw(DESK), draw(PHONE))
}

fn is_phone(frame: Frame) -> bool {
    frame.width == PHONE.width // its margins may differ
}

fn calendar(account: &Account, frame: Frame) -> Option<Calendar> {
    Calendar::new(account, if is_phone(frame) { STEPS.1 } else { STEPS.0 })
}

/// Bytes each way, over the time of the audit.
pub fn throughput(account: &Account) -> String {
    both(|frame| {
        let Some(calendar) = calendar(account, frame) else { return String::new() };
        let mut svg = Svg::new(frame, 396.0, "Bytes uploaded and downloaded over time");
        let ways: [(&str, &str, Of); 2] =
            [("up", "up, to the server", |sum| sum.up), ("down", "down, from the server", |sum| sum.down)];
        let highest = calendar.sums.iter().map(|sum| sum.up.max(sum.down)).max().unwrap_or(0) as f64;
        let bytes = byte_marks(highest, 3.0);
        for (n, (class, name, of)) in ways.into_iter().enumerate() {
            let top = TOP + 204.0 * n as f64;
            let field = Field {
                frame,
                top,
                height: 130.0,
                width_value: calendar.sums.len() as f64,
                height_value: last(&bytes),
            };
            svg.text(&format!("legend {class}"), "start", (0.0, top - 20.0), &format!("■ {name}"));
            svg.text("title", "end", (frame.end(), top - 20.0), &format!("bytes per {}", calendar.step_name()));
            field.vertical_axis(&mut svg, &bytes, |mark| human(mark as u64));
            bars(&mut svg, &field, &calendar, &[(class, name, of)], human);
            time_axis(&mut svg, &field, &calendar);
        }
        svg.end()
    })
}

/// What went wrong, over the time of the audit.
pub fn failures(account: &Account) -> String {
    both(|frame| {
        let Some(calendar) = calendar(account, frame) else { return String::new() };
        let all: [(&str, &str, Of); 3] = [
            ("refused", "logins refused", |sum| sum.refused),
            ("turned", "turned away", |sum| sum.turned),
            ("failed", "requests failed", |sum| sum.failed),
        ];
        let legend = if is_phone(frame) { 3.0 * 18.0 } else { 18.0 };
        let mut svg =
            Svg::new(frame, 196.0 + legend, "Refused logins, connections turned away and failed requests over time");
        let highest = calendar.sums.iter().map(|sum| sum.failed + sum.refused + sum.turned).max().unwrap_or(0) as f64;
        let numbers = whole_marks(highest, 4.0);
        for (n, (class, name, _)) in all.iter().enumerate() {
            let at = if is_phone(frame) { (0.0, 32.0 + 18.0 * n as f64) } else { (170.0 * n as f64, 34.0) };
            svg.text(&format!("legend {class}"), "start", at, &format!("■ {name}"));
        }
        svg.text("title", "start", (0.0, 14.0), &format!("number per {}", calendar.step_name()));
        let top = 34.0 + legend;
        let field =
            Field { frame, top, height: 130.0, width_value: calendar.sums.len() as f64, height_value: last(&numbers) };
        field.vertical_axis(&mut svg, &numbers, plain);
        bars(&mut svg, &field, &calendar, &all, count);
        time_axis(&mut svg, &field, &calendar);
        svg.end()
    })
}

/// Marks of what is counted: no halves.
fn whole_marks(highest: f64, number: f64) -> Vec<f64> {
    marks(highest.max(number), number)
}

/// A bar for each step in which something was, of parts that stand one on the other.
fn bars(svg: &mut Svg, field: &Field, calendar: &Calendar, parts: &[(&str, &str, Of)], shown: fn(u64) -> String) {
    let pitch = field.frame.inner() / calendar.sums.len().max(1) as f64;
    let width = if pitch > 4.0 { (pitch * 0.85).min(60.0) } else { pitch };
    for (n, sum) in calendar.sums.iter().enumerate() {
        let mut floor = 0.0;
        for (class, name, of) in parts {
            let value = of(sum);
            if value == 0 {
                continue;
            }
            let (from, to) = (field.y(floor), field.y(floor + value as f64));
            // What is there shows, however little.
            let height = (from - to).max(1.0);
            let title = format!("{}: {} {name}", calendar.row_name(n), shown(value));
            let left = field.x(n as f64) + (pitch - width) / 2.0;
            svg.bar(&format!("bar {class}"), (left, from - height), (width, height), &title);
            floor += value as f64;
        }
    }
}

fn time_axis(svg: &mut Svg, field: &Field, calendar: &Calendar) {
    let frame = field.frame;
    svg.line("axis", (frame.left, field.floor()), (frame.end(), field.floor()));
    let length = (calendar.ends() - calendar.begins).max(1) as f64;
    for (at, text) in calendar.marks(if is_phone(frame) { 4 } else { 9 }) {
        let x = frame.left + frame.inner() * (at - calendar.begins) as f64 / length;
        svg.line("axis", (x, field.floor()), (x, field.floor() + 4.0));
        // Half a label would leave the picture at its end.
        let anchor = if x > frame.end() - 16.0 { "end" } else { "middle" };
        svg.text("tick", anchor, (x, field.floor() + 18.0), &text);
    }
}

/// How fast transfers were, by their size.
pub fn rates(account: &Account) -> String {
    // Powers of 32, so that names of units change every second mark.
    let scale = Scale { base: 32.0, shown: |value| rate(value).replace(".0", ""), exact: rate };
    both(|frame| ranges(account, frame, "How fast transfers were, by their size", |size| size.rates, &scale))
}

/// How long they took, by their size.
pub fn times(account: &Account) -> String {
    let scale = Scale { base: 10.0, shown: short_time, exact: time };
    both(|frame| ranges(account, frame, "How long transfers took, by their size", |size| size.seconds, &scale))
}

fn short_time(seconds: f64) -> String {
    match seconds {
        s if s < 0.9e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 0.9 => format!("{:.0} ms", s * 1e3),
        s => format!("{} s", count(s.round() as u64)),
    }
}

/// An axis on which each mark is so many times the one before.
struct Scale {
    base: f64,
    shown: fn(f64) -> String,
    exact: fn(f64) -> String,
}

/// A row for each class and direction: a line from the lowest to the highest hundredth, a bar for eight of ten, a mark at the half.
fn ranges(account: &Account, frame: Frame, about: &str, of: fn(&Size) -> Quantiles, scale: &Scale) -> String {
    let ways = [("up", &account.up), ("down", &account.down)];
    let sizes = account.up.sizes.iter().zip(&account.down.sizes);
    let rows: Vec<_> = sizes.filter(|(up, down)| of(up).count + of(down).count > 0).collect();
    if rows.is_empty() {
        return String::new();
    }
    let all = || ways.iter().flat_map(|(_, way)| way.sizes.iter().map(of)).filter(|q| q.count > 0);
    let power = |value: f64| value.max(1e-7).ln() / scale.base.ln();
    let begin = all().map(|q| power(q.p1)).fold(f64::INFINITY, f64::min).floor();
    let end = all().map(|q| power(q.p99)).fold(f64::NEG_INFINITY, f64::max).ceil().max(begin + 1.0);
    let (height, pitch) = (TOP + 52.0 * rows.len() as f64, 52.0);
    // Names of classes need more room than numbers.
    let frame = Frame {
        left: if is_phone(frame) { 96.0 } else { 120.0 },
        right: if is_phone(frame) { 22.0 } else { 30.0 },
        ..frame
    };
    let mut svg = Svg::new(frame, height + BOTTOM, about);
    let field = Field { frame, top: TOP, height: height - TOP, width_value: end - begin, height_value: 1.0 };
    let x = |value: f64| field.x((power(value) - begin).clamp(0.0, end - begin));
    svg.text("legend up", "start", (0.0, 14.0), "■ up");
    svg.text("legend down", "start", (56.0, 14.0), "■ down");
    let labels = if is_phone(frame) { 4.0 } else { 10.0 };
    let every = ((end - begin) / labels).ceil().max(1.0);
    let mut mark = begin;
    while mark <= end {
        let value = scale.base.powf(mark);
        svg.line("grid", (x(value), TOP - 8.0), (x(value), field.floor()));
        svg.text("tick", "middle", (x(value), field.floor() + 18.0), &(scale.shown)(value));
        mark += every;
    }
    svg.line("axis", (frame.left, field.floor()), (frame.end(), field.floor()));
    for (n, (up, down)) in rows.into_iter().enumerate() {
        let top = TOP + pitch * n as f64;
        svg.text("tick", "end", (frame.left - 8.0, top + 25.0), up.name);
        for (n, (class, size)) in [("up", up), ("down", down)].into_iter().enumerate() {
            let q = of(size);
            if q.count > 0 {
                range(&mut svg, class, &q, top + 6.0 + 19.0 * n as f64, &x, scale);
            }
        }
    }
    svg.end()
}

fn range(svg: &mut Svg, class: &str, q: &Quantiles, top: f64, x: &dyn Fn(f64) -> f64, scale: &Scale) {
    let [p1, p10, p50, p90, p99] = [q.p1, q.p10, q.p50, q.p90, q.p99].map(scale.exact);
    let title = format!(
        "{class}, {} files: 1 % to {p1}, 10 % to {p10}, half to {p50}, 90 % to {p90}, 99 % to {p99}",
        count(q.count)
    );
    svg.line(&format!("whisker {class}"), (x(q.p1), top + 7.0), (x(q.p99), top + 7.0));
    svg.bar(&format!("bar {class}"), (x(q.p10), top), ((x(q.p90) - x(q.p10)).max(3.0), 14.0), &title);
    svg.line("half", (x(q.p50), top - 2.0), (x(q.p50), top + 16.0));
}

/// Bytes of each hour of the week.
pub fn hours(account: &Account) -> String {
    let most = account.hours.iter().map(|hour| hour.bytes).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    both(|frame| {
        let frame = Frame { left: 40.0, right: 2.0, ..frame };
        let (wide, high) = (frame.inner() / 24.0, if is_phone(frame) { 20.0 } else { 28.0 });
        let floor = 26.0 + 7.0 * high;
        let mut svg = Svg::new(frame, floor + 44.0, "Bytes moved in each hour of the week");
        for hour in (0..24).step_by(if is_phone(frame) { 6 } else { 3 }) {
            svg.text("tick", "start", (frame.left + wide * hour as f64, 16.0), &format!("{hour:02}:00"));
        }
        for (n, (weekday, day)) in WEEKDAYS.into_iter().zip(account.hours.chunks(24)).enumerate() {
            let top = 26.0 + n as f64 * high;
            svg.text("tick", "end", (frame.left - 8.0, top + high / 2.0 + 4.0), weekday);
            for (m, hour) in day.iter().enumerate() {
                let title = format!(
                    "{weekday} {m:02}:00: {} in {} files, {} sessions",
                    human(hour.bytes),
                    count(hour.files),
                    count(hour.sessions)
                );
                let at = (frame.left + wide * m as f64 + 0.5, top + 0.5);
                svg.bar(shade(hour.bytes, most), at, (wide - 1.0, high - 1.0), &title);
            }
        }
        for (n, class) in SHADES.into_iter().enumerate() {
            svg.bar(class, (frame.left + 30.0 + 18.0 * n as f64, floor + 16.0), (17.0, 14.0), "");
        }
        svg.text("tick", "end", (frame.left + 24.0, floor + 28.0), "0");
        svg.text("tick", "start", (frame.left + 36.0 + 18.0 * SHADES.len() as f64, floor + 28.0), &human(most));
        svg.end()
    })
}

/// From nothing to the most.
const SHADES: [&str; 9] =
    ["heat h0", "heat h1", "heat h2", "heat h3", "heat h4", "heat h5", "heat h6", "heat h7", "heat h8"];

fn shade(value: u64, most: u64) -> &'static str {
    let step = (8.0 * value as f64 / most.max(1) as f64).ceil() as usize;
    SHADES.get(step).copied().unwrap_or("heat h8")
}
