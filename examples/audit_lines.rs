//! Writes an audit (docs/AUDIT.md) that nobody caused, for measurements and pictures of `dfos-forkd report`.
//!
//! ```text
//! audit_lines LINES [--days N] [--users N] [--strangers N] > audit
//! ```
//!
//! Sessions of some users who put and get files of all sizes, most at working hours, over so many days before 2026-11-21; and
//! connections of so many strangers' addresses that guess. The same arguments make the same lines.
#![forbid(unsafe_code)]

use dfos::server::report::when::{SECOND, rfc3339, stamp};
use std::error::Error;
use std::io::{self, BufWriter, Write};

/// Where the lines end.
const END: &str = "2026-11-21T00:00:00Z";

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.below(1 << 30) as f64 / (1u64 << 30) as f64
    }
}

struct Maker<W> {
    out: W,
    random: Random,
    left: u64,
    session: u64,
    users: u64,
    strangers: u64,
}

const NAMES: [&str; 12] =
    ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "niaj"];

impl<W: Write> Maker<W> {
    fn user(&mut self) -> (u64, String) {
        // The square of a share: some do much more than others.
        let number = (self.random.share().powi(2) * self.users as f64) as u64;
        let name = usize::try_from(number)
            .ok()
            .and_then(|n| NAMES.get(n))
            .map_or(format!("user{number}"), |name| (*name).to_owned());
        (number, name)
    }

    fn line(&mut self, at: i64, rest: std::fmt::Arguments) -> io::Result<()> {
        if self.left > 0 {
            self.left -= 1;
            writeln!(self.out, "{{\"v\":1,\"time\":\"{}\",{rest}}}", rfc3339(at))?;
        }
        Ok(())
    }

    fn stranger(&mut self, at: i64) -> io::Result<()> {
        let number = self.random.below(self.strangers);
        let number = if self.random.below(3) == 0 { number % 20 } else { number };
        let peer = match number % 4 {
            3 => format!("[2001:db8:{:x}:{:x}::7]:50122", number >> 16, number & 0xffff),
            _ => format!("{}.{}.{}.{}:50122", 20 + (number >> 24), number >> 16 & 255, number >> 8 & 255, number & 255),
        };
        if self.random.below(5) == 0 {
            let (result, text) =
                [("penalty", "too many refused logins"), ("full", "no room"), ("denied", "not from there")]
                    [(number % 3) as usize];
            return self.line(at, format_args!("\"event\":\"turned-away\",\"peer\":\"{peer}\",\"listener\":\"tls://0.0.0.0:9000\",\"result\":\"{result}\",\"text\":\"{text}\""));
        }
        self.session += 1;
        let of = format!(
            "\"session\":\"6920a1b3-{}\",\"pid\":{},\"peer\":\"{peer}\",\"listener\":\"tls://0.0.0.0:9000\",\"tls\":\"1.3\"",
            self.session,
            1000 + self.session % 30_000
        );
        let account = if number % 7 == 0 { ",\"account\":\"alice\"" } else { "" };
        self.line(at, format_args!("\"event\":\"connect\",{of}"))?;
        self.line(
            at + SECOND,
            format_args!(
                "\"event\":\"login\",{of}{account},\"result\":\"login-refused\",\"text\":\"wrong user or password\""
            ),
        )?;
        self.line(at + SECOND, format_args!("\"event\":\"disconnect\",{of},\"seconds\":1.000000,\"files_in\":0,\"bytes_in\":0,\"files_out\":0,\"bytes_out\":0,\"result\":\"login-refused\""))
    }

    fn session(&mut self, mut at: i64) -> io::Result<()> {
        let (number, user) = self.user();
        self.session += 1;
        let begun = at;
        let of = format!(
            "\"session\":\"6920a1b3-{}\",\"pid\":{},\"peer\":\"192.0.2.{}:{}\",\"listener\":\"tls://0.0.0.0:9000\"",
            self.session,
            1000 + self.session % 30_000,
            number % 250 + 1,
            30_000 + self.session % 30_000
        );
        self.line(at, format_args!("\"event\":\"connect\",{of}"))?;
        let of = format!("{of},\"tls\":\"1.3\",\"user\":\"{user}\"");
        at += SECOND / 50;
        self.line(at, format_args!("\"event\":\"login\",{of},\"result\":\"ok\""))?;
        for n in 0..3 + self.random.below(12) {
            at += self.random.below(20 * SECOND as u64) as i64;
            if self.random.below(6) == 0 {
                self.line(at, format_args!("\"event\":\"request\",{of},\"verb\":\"LIST\",\"path\":\"backup\",\"entries\":{},\"seconds\":0.00{:04},\"result\":\"ok\"", n * 7, self.random.0 % 9000 + 100))?;
                continue;
            }
            let verb = if self.random.below(5) < 3 { "UPLOAD" } else { "DOWNLOAD" };
            let size = (2f64.powf(6.0 + 24.0 * self.random.share().powf(1.6))) as u64;
            let rate = 2e6 + 9e7 * self.random.share() * (1.0 + (number % 5) as f64) / 3.0;
            let path = format!("backup/2026/{:02}/photo-{:05}.jpg", self.random.0 % 12 + 1, self.random.0 >> 48);
            let (mut bytes, mut result, resumed) = (size, "ok", self.random.below(60) == 0);
            match self.random.below(200) {
                0 => (bytes, result) = (size / 3, "vanished"),
                1 => (bytes, result) = (size / 2, "aborted"),
                2 => (bytes, result) = (0, "not-found"),
                3 if verb == "UPLOAD" => (bytes, result) = (0, "over-quota"),
                _ if resumed => bytes = size / 2,
                _ => {}
            }
            let seconds = 0.002 + bytes as f64 / rate;
            at += (seconds * 1e6) as i64;
            let tail = match result {
                "ok" => format!(
                    ",\"sha256\":\"{:016x}{:016x}{:016x}{:016x}\"",
                    self.random.next(),
                    self.random.next(),
                    self.random.next(),
                    self.random.next()
                ),
                _ => format!(",\"text\":\"{path}: {result}\""),
            };
            let resumed = if resumed { ",\"resumed\":true" } else { "" };
            self.line(at, format_args!("\"event\":\"request\",{of},\"verb\":\"{verb}\",\"path\":\"{path}\",\"size\":{size},\"bytes\":{bytes},\"seconds\":{seconds:.6},\"rate\":{},\"result\":\"{result}\"{resumed}{tail}", (bytes as f64 / seconds) as u64))?;
        }
        let result = ["logged-out", "logged-out", "logged-out", "logged-out", "vanished", "timed-out"]
            [self.random.below(6) as usize];
        let seconds = (at - begun) as f64 / 1e6;
        self.line(at, format_args!("\"event\":\"disconnect\",{of},\"seconds\":{seconds:.6},\"files_in\":3,\"bytes_in\":3,\"files_out\":4,\"bytes_out\":4,\"result\":\"{result}\""))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let lines: u64 = arguments.next().ok_or("how many lines?")?.parse()?;
    let (mut days, mut users, mut strangers) = (21, 12, 300);
    while let Some(name) = arguments.next() {
        let value: u64 = arguments.next().ok_or("a number is missing")?.parse()?;
        match name.as_str() {
            "--days" => days = value,
            "--users" => users = value,
            "--strangers" => strangers = value,
            _ => return Err(format!("unknown: {name}").into()),
        }
    }
    let end = stamp(END).ok_or("no end")?;
    let length = i64::try_from(days)? * 86_400 * SECOND;
    let mut maker = Maker {
        out: BufWriter::new(io::stdout().lock()),
        random: Random(7),
        left: lines,
        session: 0,
        users,
        strangers,
    };
    let begun = end - length;
    maker.line(begun, format_args!("\"event\":\"start\",\"text\":\"dfos-forkd 0.1.0\""))?;
    while maker.left > 0 {
        // The moment follows from how much is written, denser at working hours.
        let share = 1.0 - maker.left as f64 / lines.max(1) as f64;
        let day = (share * days as f64).floor();
        let within = (share * days as f64 - day) + 0.02 * maker.random.share();
        let hour = 24.0 * (within + 0.12 * (std::f64::consts::TAU * within).sin()).clamp(0.0, 0.999);
        let at = begun + ((day * 24.0 + hour) * 3600.0 * SECOND as f64) as i64;
        let weekend = (day as u64 + 6) % 7 >= 5;
        match maker.random.below(if weekend { 3 } else { 12 }) {
            0 => maker.stranger(at)?,
            _ => maker.session(at)?,
        }
    }
    maker.out.flush()?;
    Ok(())
}
