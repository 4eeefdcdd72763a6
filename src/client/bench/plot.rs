//! The plots of the page.

use super::account::{Account, OfClient, OfKind};
use super::figures::{SLOT, Slot};
use crate::paper::plot::{BOTTOM, DESK, Field, Svg, TOP, byte_marks, last, marks, plain};
use crate::paper::units::{count, human, time};

const WIDTH: f64 = DESK.width;
const LEFT: f64 = DESK.left;
const RIGHT: f64 = DESK.right;

/// Points of a course, at most: more are closer than a pixel.
const POINTS: usize = 120;
/// Bars that have room for a number below each.
const NUMBERED: usize = 32;

/// One point of the course: its middle in seconds, and what passed a second.
struct Point {
    at: f64,
    up: f64,
    down: f64,
    operations: f64,
    failed: f64,
}

/// One of the figures of a point.
type Of = fn(&Point) -> f64;

/// How many slots make one point of the course.
fn slots_a_point(slots: usize) -> usize {
    [1, 4, 8, 20, 40, 240, 1200].into_iter().find(|group| slots <= group * POINTS).unwrap_or(4800)
}

/// The course in points that are not too many. The last is of a shorter time, or left out where that is too short to tell.
fn points(slots: &[Slot], seconds: f64) -> (f64, Vec<Point>) {
    let mut slots = slots.to_vec();
    slots.resize((seconds / SLOT.as_secs_f64()).ceil() as usize, Slot::default());
    let group = slots_a_point(slots.len());
    let span = group as f64 * SLOT.as_secs_f64();
    let point = |(n, some): (usize, &[Slot])| {
        let from = n as f64 * span;
        let lasted = (seconds - from).min(span);
        let sum = some.iter().copied().fold(Slot::default(), Slot::plus);
        let each = |number: u64| number as f64 / lasted;
        let (at, up, down) = (from + lasted / 2.0, each(sum.up), each(sum.down));
        let (operations, failed) = (each(sum.operations), each(sum.failed));
        (n == 0 || lasted > 0.4 * span).then_some(Point { at, up, down, operations, failed })
    };
    (span, slots.chunks(group).enumerate().filter_map(point).collect())
}

/// Bytes and operations a second, over the time of the test.
pub fn throughput(account: &Account) -> String {
    let (span, points) = points(&account.slots, account.seconds.max(0.001));
    let mut svg = Svg::new(DESK, 464.0, "Bytes per second and operations per second over the time of the test");
    let seconds = account.seconds.max(0.001);
    let highest = |of: Of| points.iter().map(of).fold(0.0, f64::max);
    let bytes = byte_marks(highest(|point| point.up.max(point.down)), 4.0);
    let field = Field { frame: DESK, top: TOP, height: 200.0, width_value: seconds, height_value: last(&bytes) };
    svg.text("title", "start", (0.0, 14.0), &format!("bytes per second, mean of each {}", time(span)));
    field.vertical_axis(&mut svg, &bytes, |mark| format!("{}/s", human(mark as u64)));
    svg.line("axis", (LEFT, field.floor()), (WIDTH - RIGHT, field.floor()));
    let up = account.slots.iter().any(|slot| slot.up > 0);
    let down = account.slots.iter().any(|slot| slot.down > 0);
    let mut legend = WIDTH - RIGHT;
    let both: [(bool, &str, &str, Of); 2] = [
        (down, "down", "down: from the server", |point| point.down),
        (up, "up", "up: to the server", |point| point.up),
    ];
    for (shown, class, name, of) in both {
        if shown {
            let course: Vec<_> = points.iter().map(|point| (field.x(point.at), field.y(of(point)))).collect();
            svg.course(class, &course, field.floor());
            svg.text(&format!("legend {class}"), "end", (legend, 14.0), &format!("■ {name}"));
            legend -= 170.0;
        }
    }
    let operations = marks(highest(|point| point.operations + point.failed), 3.0);
    let field = Field { frame: DESK, top: 308.0, height: 106.0, width_value: seconds, height_value: last(&operations) };
    svg.text("title", "start", (0.0, 286.0), "operations per second");
    field.vertical_axis(&mut svg, &operations, plain);
    let course = |of: Of| points.iter().map(|p| (field.x(p.at), field.y(of(p)))).collect::<Vec<_>>();
    svg.course("operations", &course(|point| point.operations), field.floor());
    if points.iter().any(|point| point.failed > 0.0) {
        svg.course("failed", &course(|point| point.failed), field.floor());
        svg.text("legend operations", "end", (WIDTH - RIGHT - 70.0, 286.0), "■ succeeded");
        svg.text("legend failed", "end", (WIDTH - RIGHT, 286.0), "■ failed");
    }
    let seconds_marks: Vec<f64> = marks(seconds, 8.0).into_iter().filter(|mark| *mark <= seconds * 1.001).collect();
    field.horizontal_axis(&mut svg, &seconds_marks, "seconds since the start");
    svg.end()
}

/// How the times of each kind of operation are spread, one row a kind, all on one axis.
pub fn latency(account: &Account) -> String {
    let kinds: Vec<&OfKind> = account.kinds.iter().filter(|kind| kind.count > 0).collect();
    let (row, gap) = (96.0, 26.0);
    let height = TOP + kinds.len() as f64 * (row + gap) + BOTTOM - gap + 12.0;
    let mut svg = Svg::new(DESK, height, "How long operations took: the share of operations by time, for each kind");
    let edges = || kinds.iter().flat_map(|kind| kind.histogram.iter());
    let first = edges().map(|bar| bar.0).fold(1.0, f64::min).max(1e-6).log10().floor();
    let end = edges().map(|bar| bar.1).fold(1e-6, f64::max).log10().ceil().max(first + 1.0);
    let decades = Field { frame: DESK, top: 0.0, height: height - BOTTOM, width_value: end - first, height_value: 1.0 };
    let x = |seconds: f64| decades.x((seconds.max(1e-7).log10() - first).max(0.0));
    for decade in (first as i32)..=(end as i32) {
        let at = 10_f64.powi(decade);
        svg.line("grid", (x(at), TOP - 6.0), (x(at), decades.floor()));
        svg.text("tick", "middle", (x(at), decades.floor() + 18.0), &short_time(at));
    }
    for (n, kind) in kinds.iter().enumerate() {
        let top = TOP + 6.0 + n as f64 * (row + gap);
        spread(&mut svg, kind, top, row, &x);
    }
    decades.horizontal_title(&mut svg, "time of one operation (each line is ten times the one before)");
    svg.end()
}

/// One row: bars, and where the median and the slowest hundredth stand.
fn spread(svg: &mut Svg, kind: &OfKind, top: f64, height: f64, x: &dyn Fn(f64) -> f64) {
    let floor = top + height;
    let highest = kind.histogram.iter().map(|bar| bar.2).max().unwrap_or(1).max(1) as f64;
    let percent = |number: f64| format!("{:.1} %", 100.0 * number / kind.count.max(1) as f64);
    svg.text("name", "end", (LEFT - 14.0, top + 34.0), kind.kind);
    svg.text("tick", "end", (LEFT - 14.0, top + 52.0), &count(kind.count));
    for (from, to, number) in &kind.histogram {
        let tall = (height - 32.0) * *number as f64 / highest;
        let title = format!("{} to {}: {} ({})", time(*from), time(*to), count(*number), percent(*number as f64));
        svg.bar(&format!("bar {}", kind.kind), (x(*from) + 0.5, floor - tall), (x(*to) - x(*from) - 1.0, tall), &title);
    }
    svg.line("axis", (LEFT, floor), (WIDTH - RIGHT, floor));
    for (class, anchor, shift, name, value) in
        [("median", "end", -5.0, "half within", kind.times.p50), ("slow", "start", 5.0, "99 % within", kind.times.p99)]
    {
        let at = x(value);
        // Where the text would leave the picture it stands at the other side of its line.
        let (anchor, shift) = match anchor {
            "start" if at > WIDTH - 150.0 => ("end", -5.0),
            _ => (anchor, shift),
        };
        let down = if class == "slow" && anchor == "end" { 14.0 } else { 0.0 };
        svg.line(class, (at, top - 4.0), (at, floor));
        svg.text(&format!("label {class}"), anchor, (at + shift, top + 6.0 + down), &format!("{name} {}", time(value)));
    }
}

fn short_time(seconds: f64) -> String {
    match seconds {
        s if s < 0.9e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 0.9 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.0} s"),
    }
}

/// What each client got done, from the slowest to the fastest.
pub fn fairness(account: &Account) -> String {
    let mut clients: Vec<&OfClient> = account.per_client.iter().collect();
    clients.sort_by_key(|client| (client.operations, client.up + client.down, client.client));
    let mut svg = Svg::new(DESK, 430.0, "Operations and bytes of each client, from the slowest to the fastest");
    let number = clients.len().max(1) as f64;
    let most = |of: fn(&OfClient) -> u64| clients.iter().map(|client| of(client)).max().unwrap_or(0) as f64;
    let pitch = (WIDTH - LEFT - RIGHT) / number;
    let width = if pitch > 6.0 { (pitch * 0.8).min(64.0) } else { pitch };
    let at = |n: usize| LEFT + pitch * n as f64 + (pitch - width) / 2.0;

    let operations = marks(most(|client| client.operations), 4.0);
    let field = Field { frame: DESK, top: TOP, height: 130.0, width_value: number, height_value: last(&operations) };
    svg.text("title", "start", (0.0, 14.0), "operations of each client");
    field.vertical_axis(&mut svg, &operations, plain);
    for (n, client) in clients.iter().enumerate() {
        let top = field.y(client.operations as f64);
        svg.bar("bar operations", (at(n), top), (width, field.floor() - top), &about(client));
    }
    svg.line("axis", (LEFT, field.floor()), (WIDTH - RIGHT, field.floor()));
    let median = account.fairness.median;
    let y = field.y(median as f64);
    svg.line("median", (LEFT, y), (WIDTH - RIGHT, y));
    svg.text("legend median", "end", (WIDTH - RIGHT, 14.0), &format!("– – median: {}", count(median)));

    let bytes = byte_marks(most(|client| client.up + client.down), 3.0);
    let field = Field { frame: DESK, top: 250.0, height: 130.0, width_value: number, height_value: last(&bytes) };
    svg.text("title", "start", (0.0, 228.0), "bytes of each client");
    field.vertical_axis(&mut svg, &bytes, |mark| human(mark as u64));
    for (n, client) in clients.iter().enumerate() {
        let (up, all) = (field.y(client.up as f64), field.y((client.up + client.down) as f64));
        svg.bar("bar up", (at(n), up), (width, field.floor() - up), &about(client));
        svg.bar("bar down", (at(n), all), (width, up - all), &about(client));
        if clients.len() <= NUMBERED {
            svg.text("tick", "middle", (at(n) + width / 2.0, field.floor() + 18.0), &client.client.to_string());
        }
    }
    svg.line("axis", (LEFT, field.floor()), (WIDTH - RIGHT, field.floor()));
    svg.text("legend down", "end", (WIDTH - RIGHT, 228.0), "■ down");
    svg.text("legend up", "end", (WIDTH - RIGHT - 70.0, 228.0), "■ up");
    let title = match clients.len() <= NUMBERED {
        true => "number of the client, from the slowest to the fastest",
        false => "clients, from the slowest to the fastest",
    };
    field.horizontal_title(&mut svg, title);
    svg.end()
}

fn about(client: &OfClient) -> String {
    let part = if client.took_part { "" } else { ", could not take part" };
    let (up, down) = (human(client.up), human(client.down));
    let (operations, failed) = (count(client.operations), count(client.failed));
    format!("client {}: {operations} operations, {up} up, {down} down, {failed} failed{part}", client.client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_point_counts_for_as_long_as_it_lasted() {
        let slot = Slot { up: 100, operations: 1, ..Slot::default() };
        let (span, some) = points(&[slot; 3], 0.625);
        assert_eq!((span, some.len()), (0.25, 3));
        assert_eq!((some[0].up, some[2].up), (400.0, 800.0));
        assert_eq!(points(&[slot; 3], 0.55).1.len(), 2, "a twentieth of a second tells nothing");
        assert_eq!(points(&[], 1.0).1.len(), 4, "nothing that happened is shown as nothing");
        let (span, many) = points(&vec![slot; 4 * 3600], 3600.0);
        assert!(many.len() <= POINTS && span == 60.0, "{span} {}", many.len());
    }
}
