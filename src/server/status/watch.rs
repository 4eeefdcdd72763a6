//! `status --watch`: the page again and again, as top(1) does, until q or Ctrl+C; the terminal is then as it was.

use super::rates::{averages, between};
use super::{look, table};
use crate::paper::wrap::wrap;
use crate::proto::unseen::spelled_out;
use crate::server::desk::answer::Status;
use crate::server::options::ControlOption;
use crate::sys::signals::SignalPipe;
use crate::sys::window;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use nix::sys::time::TimeSpec;
use nix::unistd::read;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Rows for the sessions, at least: where there are fewer, the head gives way.
const LEAST_ROWS: usize = 6;

/// The terminal, taken over: another screen without a cursor, keys one by one and unseen.
struct Screen {
    before: Termios,
}

impl Screen {
    fn take() -> io::Result<Screen> {
        let before = tcgetattr(io::stdin())?;
        let mut ours = before.clone();
        ours.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // Ctrl+Z would leave a shell with our screen.
        if let Some(suspend) = ours.control_chars.get_mut(SpecialCharacterIndices::VSUSP as usize) {
            *suspend = 0;
        }
        tcsetattr(io::stdin(), SetArg::TCSANOW, &ours)?;
        let screen = Screen { before };
        screen.say("\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }

    fn say(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Draws lines from the top, the one at `bright` as a head, and wipes what was there.
    fn draw(&self, lines: &[String], bright: Option<usize>, width: usize) -> io::Result<()> {
        let line = |(at, line): (usize, &String)| {
            let text = table::cut(line, width);
            if Some(at) == bright { format!("\x1b[7m{text}\x1b[0m\x1b[K") } else { format!("{text}\x1b[K") }
        };
        let lines: Vec<_> = lines.iter().enumerate().map(line).collect();
        self.say(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.say("\x1b[?25h\x1b[?1049l"); // a terminal that is gone needs no repair
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Shows how the server is until the operator has seen enough. A server that does not answer is told of, and asked again.
pub(super) fn watch(control: &ControlOption, every: Duration) -> Result<(), String> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err("--watch needs a terminal; for a program there is --json".into());
    }
    let mut last = look(control)?; // what is wrong from the beginning is said on the usual screen
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGWINCH];
    let signals = SignalPipe::new(&signals).map_err(|why| format!("cannot watch: {why}"))?;
    let screen = Screen::take().map_err(|why| format!("cannot use the terminal: {why}"))?;
    let mut rates = averages(&last);
    let mut fault = None;
    let mut next = Instant::now() + every;
    loop {
        draw(&screen, &last, &rates, fault.as_deref()).map_err(|why| format!("cannot write: {why}"))?;
        match wait(&signals, next).map_err(|why| format!("cannot wait: {why}"))? {
            Woken::Quit => return Ok(()),
            Woken::Resized => continue,
            Woken::Due => {}
        }
        next = Instant::now() + every;
        match look(control) {
            Ok(now) => {
                rates = if now.started == last.started { between(&last, &now) } else { averages(&now) };
                (last, fault) = (now, None);
            }
            Err(why) => fault = Some(why),
        }
    }
}

/// Why a wait has ended.
enum Woken {
    Quit,
    Resized,
    Due,
}

/// Waits for a key, a signal, or the next look. Any other key looks at once.
fn wait(signals: &SignalPipe, until: Instant) -> io::Result<Woken> {
    let stdin = io::stdin();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(signals.fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(TimeSpec::from(left)), None) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Ok(Woken::Due),
            other => drop(other?),
        }
        let key = fds[0].any().unwrap_or(false);
        signals.drain();
        if [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().any(|signal| signals.came(signal)) {
            return Ok(Woken::Quit);
        }
        if signals.came(Signal::SIGWINCH) {
            return Ok(Woken::Resized);
        }
        if key {
            let mut bytes = [0; 64];
            return match read(&stdin, &mut bytes) {
                Ok(0) | Err(_) => Ok(Woken::Quit), // the terminal has gone
                Ok(n) if bytes.iter().take(n).any(|byte| b"qQ\x03\x04".contains(byte)) => Ok(Woken::Quit),
                Ok(_) => Ok(Woken::Due),
            };
        }
    }
}

/// One page, as large as the terminal.
fn draw(screen: &Screen, status: &Status, rates: &super::rates::Rates, fault: Option<&str>) -> io::Result<()> {
    let (width, height) = window::size(io::stdout().as_fd()).unwrap_or((80, 24));
    let (lines, bright) = page(status, rates, fault, width, height);
    screen.draw(&lines, Some(bright), width)
}

/// The lines of a page that has `height` lines at most, and which of them is the table's head.
fn page(
    status: &Status,
    rates: &super::rates::Rates,
    fault: Option<&str>,
    width: usize,
    height: usize,
) -> (Vec<String>, usize) {
    let mut lines = match fault {
        Some(why) => wrap(&spelled_out(why), width).lines().map(str::to_owned).collect(),
        None => table::head(status, rates, width),
    };
    lines.push(String::new());
    let table = table::table(status, rates, width);
    // What the first line says matters more than the others of the head.
    let room = height.saturating_sub(LEAST_ROWS.min(table.len() + 1)).max(1);
    lines.truncate(room);
    let bright = lines.len();
    let rows = height.saturating_sub(lines.len() + 1).max(1);
    let hidden = table.len().saturating_sub(rows);
    lines.extend(table.into_iter().take(rows));
    let keys = if width >= 60 { "q ends, any other key looks again" } else { "q ends" };
    lines.push(if hidden > 0 { format!("{hidden} more; {keys}") } else { keys.into() });
    lines.truncate(height.max(1));
    (lines, bright)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::status::table::tests::{session, status};

    #[test]
    fn a_page_is_never_taller_than_the_terminal_and_says_what_it_leaves_out() {
        for count in [0, 1, 5, 100] {
            let many = (0..count).map(|n| session(&format!("6920a1b3-{n}"), "alice", "idle")).collect();
            let status = status(many);
            for (width, height) in [(80, 24), (40, 15), (40, 8), (20, 3), (1, 1)] {
                let (lines, bright) = page(&status, &averages(&status), None, width, height);
                assert!(lines.len() <= height, "{count} in {height}: {lines:?}");
                if height >= 8 {
                    assert!(lines[bright].contains("PID") && lines[0].starts_with("dfos-forkd"), "{lines:?}");
                    let rows = lines.len() - bright - 2;
                    let more = lines.last().unwrap().split_once(" more").map_or(0, |(n, _)| n.parse().unwrap());
                    assert_eq!(rows + more, count);
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_to_its_end_on_a_narrow_terminal_too() {
        let why = "/a/place/of/a/control/socket/that/has/a/long/name: the server that made it is gone; start it again";
        for width in [40, 60, 80, 200] {
            let (lines, _) = page(&status(Vec::new()), &averages(&status(Vec::new())), Some(why), width, 24);
            let shown: Vec<_> = lines.iter().map(|line| table::cut(line, width)).collect();
            let text = shown.join(" ");
            assert!(["gone;", "start", "again"].iter().all(|word| text.contains(word)), "{shown:?}");
        }
    }
}
