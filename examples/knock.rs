//! Knocks at a server again and again: what logging in costs, and what a session costs that stays.
//!
//! ```text
//! knock run  URL [--user NAME] [--sessions N] [--at-once C]   N times connect, login, list, logout; C of them at a time
//! knock hold URL [--user NAME] [--sessions N] [--at-once C]   logs in N times and stays until standard input ends
//! knock ftp  HOST:PORT [--user NAME] [--sessions N] [--at-once C]  what `run` does, with an FTP server
//! ```
//!
//! The password comes from DFOS_PASSWORD. Each prints one line of JSON: the rate, and the time of a session (for `hold`: of a
//! login) in milliseconds. All that fails ends the program with status 1: a rate of failures is no rate.
#![forbid(unsafe_code)]

use dfos::auth::{Password, UserName};
use dfos::client::connection::Connection;
use dfos::client::remote::{Recursion, Remote};
use dfos::client::stop::Stop;
use dfos::client::target::Target;
use dfos::client::trust::Trusted;
use dfos::net::tls::verify::Authorities;
use dfos::proto::RemotePath;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The command line.
struct Asked {
    what: String,
    at: String,
    user: String,
    sessions: u64,
    at_once: u64,
}

fn main() {
    if let Err(why) = asked().and_then(|asked| run(&asked)) {
        eprintln!("knock: {why}");
        std::process::exit(1);
    }
}

fn asked() -> Outcome<Asked> {
    let mut words = std::env::args().skip(1);
    let mut next = |what| words.next().ok_or(format!("{what} is missing: knock run|hold|ftp ADDRESS [OPTION...]"));
    let mut asked =
        Asked { what: next("what to do")?, at: next("the address")?, user: "bench".into(), sessions: 100, at_once: 1 };
    while let Ok(option) = next("") {
        match option.as_str() {
            "--user" => asked.user = next("the name")?,
            "--sessions" => asked.sessions = next("the number")?.parse()?,
            "--at-once" => asked.at_once = next("the number")?.parse()?,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(asked)
}

fn run(asked: &Asked) -> Outcome<()> {
    match asked.what.as_str() {
        "run" => {
            let target = target(asked)?;
            let (times, wall) = many(asked, |_| session(&target))?;
            print(asked.sessions, wall, times.into_iter().map(|(time, ())| time).collect());
        }
        "ftp" => {
            let (times, wall) = many(asked, |_| ftp_session(&asked.at, &asked.user, &password()?))?;
            print(asked.sessions, wall, times.into_iter().map(|(time, ())| time).collect());
        }
        "hold" => {
            let target = target(asked)?;
            let (held, wall) = many(asked, |_| Ok(Connection::open(&target, &Stop::deaf())?))?;
            let (times, connections): (Vec<Duration>, Vec<Connection>) = held.into_iter().unzip();
            print(asked.sessions, wall, times);
            std::io::stdin().read_to_end(&mut Vec::new())?;
            drop(connections); // no goodbyes: the server sees them closed
        }
        other => return Err(format!("knock cannot {other}; it can run, hold, ftp").into()),
    }
    Ok(())
}

fn password() -> Outcome<String> {
    Ok(std::env::var("DFOS_PASSWORD").map_err(|_| "DFOS_PASSWORD is not set")?)
}

/// Whom to log in to. The server's key is learnt by a first session, so that all that are measured find it known, as a client's second
/// and all further ones do.
fn target(asked: &Asked) -> Outcome<Target> {
    let password = Password::new(password()?.into_bytes())?;
    let mut target = Target::new(asked.at.parse()?, asked.user.parse::<UserName>()?, password);
    target.trusted = Trusted::new(Authorities::none(), None, None);
    // A server that is busy with thousands of others is slow, not dead.
    target.connect = Duration::from_secs(60);
    let mut first = Remote::connect(&target, &Stop::deaf())?;
    let pin = first.introduction().map(|met| met.pin);
    first.logout()?;
    target.trusted = Trusted::new(Authorities::none(), pin, None);
    Ok(target)
}

/// Does `each` as often as asked, `at_once` threads taking the next turn when they are done with one. How long each took and what it
/// gave, and how long all took.
fn many<T: Send>(asked: &Asked, each: impl Fn(u64) -> Outcome<T> + Sync) -> Outcome<(Vec<(Duration, T)>, Duration)> {
    let turn = AtomicU64::new(0);
    let begin = Instant::now();
    let one_thread = || -> Outcome<Vec<(Duration, T)>> {
        let mut done = Vec::new();
        loop {
            let number = turn.fetch_add(1, Ordering::Relaxed);
            if number >= asked.sessions {
                return Ok(done);
            }
            let begin = Instant::now();
            let gave = each(number)?;
            done.push((begin.elapsed(), gave));
        }
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..asked.at_once.max(1)).map(|_| scope.spawn(one_thread)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let all: Vec<Outcome<Vec<(Duration, T)>>> = all;
    let wall = begin.elapsed();
    let mut done = Vec::new();
    for part in all {
        done.extend(part?);
    }
    Ok((done, wall))
}

/// Connect, login, list, logout.
fn session(target: &Target) -> Outcome<()> {
    let mut remote = Remote::connect(target, &Stop::deaf())?;
    remote.list(&RemotePath::root(), Recursion::Flat, &mut |_| Ok(()))?;
    Ok(remote.logout()?)
}

/// The same with an FTP server (RFC 959, RFC 2428): USER, PASS, EPSV, LIST, QUIT.
fn ftp_session(at: &str, user: &str, password: &str) -> Outcome<()> {
    let stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut ask = |line: &str, expected: &str| -> Outcome<String> {
        if !line.is_empty() {
            (&stream).write_all(line.as_bytes())?;
        }
        let mut reply = String::new();
        while replies.read_line(&mut reply)? > 0 {
            // `230-` goes on, `230 ` is the last line.
            if reply.as_bytes().get(3) == Some(&b' ') {
                break;
            }
            reply.clear();
        }
        if reply.starts_with(expected) { Ok(reply) } else { Err(format!("{line:?} was answered {reply:?}").into()) }
    };
    ask("", "220")?;
    ask(&format!("USER {user}\r\n"), "331")?;
    ask(&format!("PASS {password}\r\n"), "230")?;
    let passive = ask("EPSV\r\n", "229")?;
    let port = passive.split('|').nth(3).ok_or("no port in the answer to EPSV")?;
    let host = at.rsplit_once(':').map_or(at, |(host, _)| host);
    let mut data = TcpStream::connect(format!("{host}:{port}"))?;
    ask("LIST\r\n", "150")?;
    data.read_to_end(&mut Vec::new())?;
    drop(data);
    ask("", "226")?;
    ask("QUIT\r\n", "221")?;
    Ok(())
}

fn print(sessions: u64, wall: Duration, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| {
        let place = (times.len() as f64 * part) as usize;
        times.get(place.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    let (rate, wall) = (sessions as f64 / wall.as_secs_f64(), wall.as_secs_f64());
    println!(
        "{{\"sessions\":{sessions},\"seconds\":{wall:.6},\"rate\":{rate:.3},\"p50\":{:.4},\"p99\":{:.4},\"slowest\":{:.4}}}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
