//! The load generator: `dfos-client bench` has many clients put, get and list files at once, verifies every byte that they move,
//! and tells how fast that went.
//!
//! [`plan`] is what to do, [`worker`] one client that does it with [`operations`] on files of a known content ([`body`], [`shelf`]),
//! [`figures`] what is counted meanwhile, [`account`] what follows from that; [`live`], [`table`] and [`page`] show it.

pub mod account;
pub mod body;
pub mod figures;
pub mod live;
pub mod machine;
pub mod operations;
pub mod page;
pub mod plan;
pub mod plot;
pub mod random;
pub mod shelf;
pub mod table;
pub mod turnstile;
pub mod worker;

use super::cli;
use super::console::{Console, Place};
use super::display::escape::escape;
use super::failure::{Exit, Failure};
use super::limits;
use super::remote::{Parents, Recursion, Remote};
use crate::paper::whole::{CannotWrite, Paper};
use crate::proto::{Code, RemotePath};
use account::{Account, Occasion};
use body::Stuff;
use figures::{Counter, Figures};
use live::Live;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use plan::Plan;
use random::Random;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};
use turnstile::Turnstile;
use worker::{Common, Worker};

/// Runs a load test and prints what came of it.
pub fn bench(console: &mut Console, options: &cli::Bench) -> Result<(), Failure> {
    if console.place == Place::Shell {
        let text = "a load test has connections of its own: run dfos-client bench outside of this shell";
        return Err(Failure::new(Exit::Usage, text));
    }
    let plan =
        Plan::new(options.clients, options.size.clone(), options.mix.clone(), options.files, options.duration.clone());
    // Not after the test but before is the time to learn that its result cannot be written.
    let json = options.json.as_deref().filter(|path| *path != "-").map(create).transpose()?;
    let html = options.html.as_deref().map(create).transpose()?;
    raise_descriptors();
    let account = load(console, &plan)?;
    report(console, &account, json, html)?;
    account.verdict()
}

/// Prints the result, and writes it where it is wanted.
fn report(console: &Console, account: &Account, json: Option<Paper>, html: Option<Paper>) -> Result<(), Failure> {
    let output = &console.output;
    match output.json {
        true => output.data(account.line().as_bytes())?,
        false => output.data(table::table(account).as_bytes())?,
    }
    output.flush()?;
    for (paper, content) in [(json, account.line()), (html, page::page(account))] {
        if let Some(paper) = paper {
            let path = paper.shown();
            paper.publish(content.as_bytes()).map_err(unwritten)?;
            output.note(&format!("the figures are in {path}"));
        }
    }
    Ok(())
}

fn create(path: &Path) -> Result<Paper, Failure> {
    Paper::create(path).map_err(unwritten)
}

fn unwritten(why: CannotWrite) -> Failure {
    Failure::new(Exit::Local, why.to_string())
}

/// The whole test, from the first connection to the last file removed. An error is one that came before it began.
fn load(console: &mut Console, plan: &Plan) -> Result<Account, Failure> {
    let counter = Counter::new(Figures::new(plan.clients)?);
    let mut random = Random::new()?;
    let stuff = Stuff::new(&mut random);
    log_in(console, &counter)?;
    let place = make_place(console)?;
    let occasion = Occasion { began: SystemTime::now(), server: console.target.address.to_string() };
    let ran = run(console, plan, &place, &counter, &stuff, &mut random);
    let interrupted = console.stop.asked();
    if interrupted {
        console.output.note("interrupted: removing what was put (Ctrl+C again leaves it there)");
    }
    let left_behind = clean_up(console, &place).err();
    if let Some(why) = &left_behind {
        let place = escape(place.as_bytes());
        console.output.note(&format!("{why}; {place} is still there: remove it with dfos-client rm -r {place}"));
    }
    let left_behind = left_behind.map(|_| escape(place.as_bytes()));
    Ok(Account::new(plan, &occasion, &console.target.user, counter.end(), ran, interrupted, left_behind))
}

/// The first login: what is wrong with server, user or password ends the command as any other. It is timed like the others,
/// unless it had to be repeated.
fn log_in(console: &mut Console, counter: &Counter) -> Result<(), Failure> {
    let retries = std::mem::take(&mut console.target.retries);
    let begun = Instant::now();
    let first = console.ask(|_| Ok(()));
    let took = begun.elapsed();
    console.target.retries = retries;
    match first {
        Ok(()) => {
            counter.login(took);
            Ok(())
        }
        Err(failure) if failure.retry && retries > 0 => console.ask(|_| Ok(())),
        Err(failure) => Err(failure),
    }
}

/// Makes the directory of this test, under a name that nobody has. An account that could not remove it again is told so before.
fn make_place(console: &mut Console) -> Result<RemotePath, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|why| Failure::new(Exit::Other, format!("the kernel gives no random bytes: {why}")))?;
    let name = format!("bench-{}", hex::encode(bytes));
    let place = RemotePath::from_bytes(name.as_bytes()).map_err(|why| Failure::new(Exit::Other, why.to_string()))?;
    match console.ask(|remote| remote.rmdir(&place, Recursion::Recursive)) {
        Err(failure) if failure.code == Some(Code::NotFound) => {}
        Err(failure) if failure.code == Some(Code::Denied) => {
            let text = "this account may not remove directories: a load test could not tidy up after itself";
            return Err(Failure { text: text.into(), ..failure });
        }
        Err(failure) => return Err(failure),
        Ok(_) => return Err(Failure::new(Exit::Other, format!("{name} was there already"))),
    }
    let is_there = |remote: &mut Remote| Ok(remote.stat(&place).is_ok());
    console.ask_to_change(|remote| remote.mkdir(&place, Parents::Existing), is_there)?;
    Ok(place)
}

/// Connects the clients, lets them work, and waits for them; how long they worked.
fn run(
    console: &mut Console,
    plan: &Plan,
    place: &RemotePath,
    counter: &Counter,
    stuff: &Stuff,
    random: &mut Random,
) -> Duration {
    let turnstile = Turnstile::new(limits::BENCH_LOGINS);
    let live = Live::new(&console.output, plan);
    let mut first = console.session.take();
    let common = Common { plan, target: &console.target, stop: &console.stop, counter, stuff, turnstile: &turnstile };
    let workers = (0..plan.clients).filter_map(|number| {
        let directory = place.join(format!("c{number}").as_bytes()).ok()?;
        Some(Worker::new(common, number, directory, Random::from_seed(random.number()), first.take()))
    });
    let prepared = together(workers.collect(), |worker| worker.prepare(), || live.preparing(counter));
    let ready = prepared.into_iter().filter_map(|(worker, ready)| ready.then_some(worker)).collect::<Vec<_>>();
    if ready.len() < plan.clients && !console.stop.asked() {
        let text = format!("{} of {} clients could not take part", plan.clients - ready.len(), plan.clients);
        live.aside(|| console.output.note(&text));
    }
    counter.begin();
    let begun = Instant::now();
    let end = plan.time.and_then(|time| begun.checked_add(time));
    let done = together(ready, |worker| worker.run(end), || live.running(counter, begun.elapsed()));
    let took = begun.elapsed();
    live.clear();
    // What the first client used is used again to clean up; the others take their leave.
    for (worker, ()) in done {
        let Some(mut session) = worker.into_session() else { continue };
        session.forget_stop();
        match &console.session {
            None => console.session = Some(session),
            Some(_) => drop(session.logout()), // nothing stands behind the answer
        }
    }
    took
}

/// Does `work` with each worker, all at once, and `meanwhile` now and then until all are done.
fn together<'a, T: Send>(
    mut workers: Vec<Worker<'a>>,
    work: impl Fn(&mut Worker<'a>) -> T + Sync,
    mut meanwhile: impl FnMut(),
) -> Vec<(Worker<'a>, T)> {
    let (busy, all_done) = channel::<()>();
    let results: Vec<Option<T>> = std::thread::scope(|scope| {
        let work = &work;
        let spawn = |(worker, busy): (_, Sender<()>)| {
            scope.spawn(move || {
                let _busy = busy; // dropped at the end, also of a panic: nobody waits for ever
                work(worker)
            })
        };
        let with_sender = |worker| (worker, busy.clone());
        let threads: Vec<_> = workers.iter_mut().map(with_sender).map(spawn).collect();
        drop(busy);
        while let Err(RecvTimeoutError::Timeout) = all_done.recv_timeout(live::TICK) {
            meanwhile();
        }
        threads.into_iter().map(|thread| thread.join().ok()).collect()
    });
    workers.into_iter().zip(results).filter_map(|(worker, result)| Some((worker, result?))).collect()
}

/// Removes all that was put, also after Ctrl+C, which is forgotten for this; a second one is heard.
fn clean_up(console: &mut Console, place: &RemotePath) -> Result<(), Failure> {
    console.stop.forget();
    if let Some(remote) = &mut console.session {
        remote.connection.set_grace(Duration::ZERO);
        remote.forget_stop();
    }
    let mut left = limits::BENCH_REMOVALS;
    loop {
        match console.ask_to_remove(|remote| remote.rmdir(place, Recursion::Recursive).map(drop)) {
            // A session that was cut off has just finished a file there.
            Err(failure) if failure.code == Some(Code::NotEmpty) && left > 0 => left -= 1,
            done => return done,
        }
        console.stop.sleep(Duration::from_millis(100))?;
    }
}

/// A client takes eight descriptors (its socket, and what Ctrl+C wakes it with); the usual 1,024 are too few for many of them, and
/// raising them to what is allowed is everybody's right.
fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Where it is refused the clients that find no descriptor say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
