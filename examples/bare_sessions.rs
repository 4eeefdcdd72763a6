//! The bound of sessions: what is left of connect, login, list and logout when all is taken away but a process for each.
//!
//! ```text
//! bare_sessions [--sessions N] [--at-once C]
//! ```
//!
//! A process that listens forks a child for each client; the child greets, answers four lines, as many as DFOS's login, list and logout have,
//! and ends. No user, no password, no file, no confinement, no log. Clients are threads of a second process. Prints what `knock` prints.
#![forbid(unsafe_code)]

use dfos::sys::fork::{Fork, exit_child, fork};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Lines of a client's, each answered by one.
const LINES: usize = 4;

fn main() {
    if let Err(why) = run() {
        eprintln!("bare_sessions: {why}");
        std::process::exit(1);
    }
}

fn run() -> Outcome<()> {
    let (mut sessions, mut at_once) = (1000, 1);
    let mut words = std::env::args().skip(1);
    while let (Some(option), value) = (words.next(), words.next()) {
        let value: u64 = value.ok_or("a number is missing")?.parse()?;
        match option.as_str() {
            "--sessions" => sessions = value,
            "--at-once" => at_once = value,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    let server = match fork()? {
        Fork::Child => exit_child(u8::from(serve(&listener).is_err())),
        Fork::Parent(pid) => pid,
    };
    let rushed = rush(at, sessions, at_once);
    kill(server, Signal::SIGTERM)?;
    waitpid(server, None)?;
    rushed
}

/// A child for each client, until a signal ends it.
fn serve(listener: &TcpListener) -> Outcome<()> {
    loop {
        let (client, _) = listener.accept()?;
        if let Fork::Child = fork()? {
            exit_child(u8::from(answer(&client).is_err()));
        }
        drop(client);
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_some()) {}
    }
}

fn answer(client: &TcpStream) -> Outcome<()> {
    let mut lines = BufReader::new(client);
    writeln!(&*client, "hello")?;
    for _ in 0..LINES {
        lines.read_line(&mut String::new())?;
        writeln!(&*client, "OK")?;
    }
    Ok(())
}

/// All sessions, `at_once` at a time.
fn rush(at: SocketAddr, sessions: u64, at_once: u64) -> Outcome<()> {
    let turn = AtomicU64::new(0);
    let one_thread = || -> Outcome<Vec<Duration>> {
        let mut times = Vec::new();
        while turn.fetch_add(1, Ordering::Relaxed) < sessions {
            let begin = Instant::now();
            session(at)?;
            times.push(begin.elapsed());
        }
        Ok(times)
    };
    let begin = Instant::now();
    let parts: Vec<Outcome<Vec<Duration>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(one_thread)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let wall = begin.elapsed().as_secs_f64();
    let mut times = parts.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
    times.sort();
    let at = |part: f64| {
        let place = (times.len() as f64 * part) as usize;
        times.get(place.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    let rate = sessions as f64 / wall;
    println!(
        "{{\"sessions\":{sessions},\"seconds\":{wall:.6},\"rate\":{rate:.3},\"p50\":{:.4},\"p99\":{:.4}}}",
        at(0.5),
        at(0.99)
    );
    Ok(())
}

fn session(at: SocketAddr) -> Outcome<()> {
    let stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(&stream);
    let mut line = String::new();
    answers.read_line(&mut line)?;
    for _ in 0..LINES {
        writeln!(&stream, "a line of a client")?;
        answers.read_line(&mut line)?;
    }
    match answers.read_line(&mut line)? {
        0 => Ok(()),
        _ => Err("more than was asked for".into()),
    }
}
