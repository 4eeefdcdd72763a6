//! The line between two places, and its weather: what becomes of each packet is decided here, by chance that a seed repeats. (The
//! kernel's own means for that, tc-netem(8), is not built into every kernel; this one needs nothing but TUN.)

use super::super::run::Chance;
use super::packet::payload;
use nix::poll::{PollFd, PollFlags, poll};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What happens to packets. Of a thousand each, where nothing else is said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// So many are lost.
    pub loss: u64,
    /// So many come twice.
    pub twice: u64,
    /// In so many a bit is flipped.
    pub corrupt: u64,
    /// So many are overtaken by those that follow in the next 40 ms.
    pub late: u64,
    /// How long each is under way.
    pub delay: Duration,
    /// And so much longer at most, so that packets also overtake each other.
    pub jitter: Duration,
    /// Bytes a second; what would wait longer than a fifth of a second is lost.
    pub rate: Option<u64>,
}

/// The ways of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// When the line goes dead.
#[derive(Debug, Clone)]
pub enum When {
    /// Before this text passes this way.
    Before(Way, Vec<u8>),
    /// Before the n-th packet with content passes this way.
    Packet(Way, u64),
    /// Once so many bytes of content have passed this way.
    Bytes(Way, u64),
}

/// What has been done to packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fates {
    /// Packets that passed.
    pub passed: u64,
    /// Lost by chance, or for want of room.
    pub lost: u64,
    /// Lost while the line was dead.
    pub dead: u64,
    /// Passed twice.
    pub twice: u64,
    /// Passed with a wrong bit.
    pub corrupted: u64,
    /// Passed after others that were sent later.
    pub overtaken: u64,
}

/// One way's.
#[derive(Default)]
struct Traffic {
    packets: u64,
    bytes: u64,
    /// The end of what passed last: a text may stand in two packets.
    tail: Vec<u8>,
    /// When the line is free again, at a limited rate.
    free: Option<Instant>,
    sent: u64,
    latest: u64,
}

struct State {
    weather: Weather,
    chance: Chance,
    up: Traffic,
    down: Traffic,
    trap: Option<When>,
    dead_since: Option<Instant>,
    fates: Fates,
    over: bool,
}

/// The line; it is cut down when this is dropped.
pub struct Link {
    shared: Arc<(Mutex<State>, Condvar)>,
    pump: Option<JoinHandle<()>>,
}

/// A packet under way.
struct Flying {
    due: Instant,
    number: u64,
    way: Way,
    bytes: Vec<u8>,
}

impl Link {
    /// Connects the devices of two places.
    pub fn between(client: File, server: File, chance: Chance) -> Link {
        let (up, down, weather) = (Traffic::default(), Traffic::default(), Weather::default());
        let fates = Fates::default();
        let state = State { weather, chance, up, down, trap: None, dead_since: None, fates, over: false };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let pumped = shared.clone();
        let pump = std::thread::spawn(move || pump(client, server, &pumped));
        Link { shared, pump: Some(pump) }
    }

    fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared.0.lock().unwrap())
    }

    /// From now on, this weather.
    pub fn weather(&self, weather: Weather) {
        self.change(|state| state.weather = weather);
    }

    /// Dead from now on: nothing passes, and nobody is told.
    pub fn cut(&self) {
        self.change(State::die);
    }

    /// Dead from then on.
    pub fn cut_when(&self, when: When) {
        self.change(|state| {
            (state.up, state.down) = (Traffic::default(), Traffic::default());
            state.trap = Some(when);
        });
    }

    /// Waits until it is dead; since when. `None` if that does not happen within `limit`.
    pub fn wait_dead(&self, limit: Duration) -> Option<Instant> {
        let (state, changed) = &*self.shared;
        let state = state.lock().unwrap();
        changed.wait_timeout_while(state, limit, |state| state.dead_since.is_none()).unwrap().0.dead_since
    }

    /// Alive from now on.
    pub fn mend(&self) {
        self.change(|state| (state.dead_since, state.trap) = (None, None));
    }

    /// What has been done to packets.
    pub fn fates(&self) -> Fates {
        self.change(|state| state.fates)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.change(|state| state.over = true);
        let _ = self.pump.take().map(JoinHandle::join);
    }
}

impl State {
    fn die(&mut self) {
        self.trap = None;
        self.dead_since = Some(Instant::now());
    }

    fn traffic(&mut self, way: Way) -> &mut Traffic {
        if way == Way::Up { &mut self.up } else { &mut self.down }
    }

    /// Whether this packet is what the trap waits for.
    fn springs(&mut self, way: Way, content: &[u8]) -> bool {
        let Some(trap) = self.trap.clone() else { return false };
        let traffic = self.traffic(way);
        let before = traffic.bytes;
        traffic.packets += u64::from(!content.is_empty());
        traffic.bytes += content.len() as u64;
        traffic.tail.extend(content);
        let springs = match &trap {
            When::Before(of, text) => *of == way && traffic.tail.windows(text.len()).any(|part| part == *text),
            When::Packet(of, number) => *of == way && traffic.packets >= *number,
            When::Bytes(of, bytes) => *of == way && before >= *bytes,
        };
        let old = traffic.tail.len().saturating_sub(64);
        traffic.tail.drain(..old);
        springs
    }

    /// When this packet arrives, and how often.
    fn fate(&mut self, way: Way, bytes: &mut [u8]) -> Vec<Instant> {
        let now = Instant::now();
        if self.dead_since.is_none() && self.springs(way, payload(bytes)) {
            self.die();
        }
        if self.dead_since.is_some() {
            self.fates.dead += 1;
            return Vec::new();
        }
        let weather = self.weather;
        let mut of_a_thousand = |odds: u64| odds > 0 && self.chance.below(1000) < odds;
        let (lost, corrupt) = (of_a_thousand(weather.loss), of_a_thousand(weather.corrupt));
        let (twice, late) = (of_a_thousand(weather.twice), of_a_thousand(weather.late));
        let Some(sent) = self.sent_at(way, now, bytes.len()).filter(|_| !lost) else {
            self.fates.lost += 1;
            return Vec::new();
        };
        if corrupt {
            let bit = self.chance.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.fates.corrupted += 1;
        }
        self.fates.twice += u64::from(twice);
        let late = if late { 40_000 } else { 0 };
        (0..1 + u64::from(twice))
            .map(|_| {
                let more = self.chance.below(1 + late + weather.jitter.as_micros() as u64);
                sent + weather.delay + Duration::from_micros(more)
            })
            .collect()
    }

    /// When the line has taken a packet; `None` if it has no room for it.
    fn sent_at(&mut self, way: Way, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.weather.rate else { return Some(now) };
        let traffic = self.traffic(way);
        let begin = traffic.free.unwrap_or(now).max(now);
        if begin - now > Duration::from_millis(200) {
            return None;
        }
        let end = begin + Duration::from_secs_f64(length as f64 / rate as f64);
        traffic.free = Some(end);
        Some(end)
    }

    /// Notes that a packet goes out.
    fn passes(&mut self, flying: &Flying) {
        let traffic = self.traffic(flying.way);
        let overtaken = flying.number < traffic.latest;
        traffic.latest = traffic.latest.max(flying.number);
        traffic.sent += 1;
        self.fates.passed += 1;
        self.fates.overtaken += u64::from(overtaken);
    }
}

/// Carries packets until the line is cut down.
fn pump(client: File, server: File, shared: &(Mutex<State>, Condvar)) {
    let mut air: BinaryHeap<Reverse<Flying>> = BinaryHeap::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut number = 0;
    loop {
        let next = air.peek().map(|Reverse(flying)| flying.due.saturating_duration_since(Instant::now()));
        let wait = next.map_or(20, |left| left.as_micros().div_ceil(1000).min(20)) as u16;
        let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLIN), PollFd::new(server.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, wait);
        let ready = fds.map(|fd| fd.any().unwrap_or(false));
        for (at, (mut device, way)) in [(&client, Way::Up), (&server, Way::Down)].into_iter().enumerate() {
            if !ready[at] {
                continue;
            }
            let Ok(length) = device.read(&mut buffer) else { continue };
            number += 1;
            let packet = &mut buffer[..length];
            let mut state = shared.0.lock().unwrap();
            for due in state.fate(way, packet) {
                air.push(Reverse(Flying { due, number, way, bytes: packet.to_vec() }));
            }
            if state.dead_since.is_some() {
                air.clear();
                shared.1.notify_all();
            }
        }
        let mut state = shared.0.lock().unwrap();
        if state.over {
            return;
        }
        if state.dead_since.is_some() {
            air.clear(); // also what was under way when it was cut by hand
        }
        let now = Instant::now();
        while air.peek().is_some_and(|Reverse(flying)| flying.due <= now) {
            let Some(Reverse(flying)) = air.pop() else { break };
            state.passes(&flying);
            let mut to = if flying.way == Way::Up { &server } else { &client };
            match to.write(&flying.bytes) {
                // What cannot be delivered, or is no packet any more, is lost like anything else.
                Ok(_) => {}
                Err(why) if matches!(why.kind(), ErrorKind::InvalidInput | ErrorKind::WouldBlock) => {}
                Err(_) => {}
            }
        }
    }
}

impl PartialEq for Flying {
    fn eq(&self, other: &Flying) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Flying) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Flying) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}
