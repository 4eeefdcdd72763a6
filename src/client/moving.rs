//! The commands `put` and `get` as users type them: their words become plans, and long lists several of them.

use super::cli::{self, Get, Manner, Put};
use super::console::Console;
use super::display::progress::Progress;
use super::failure::{Exit, Failure};
use super::limits;
use super::list::List;
use super::remote::Remote;
use super::report::{Direction, Report};
use super::stop::Stop;
use super::target::Target;
use super::throttle::Throttle;
use super::transfer::get::{GetPlan, get};
use super::transfer::put::{PutPlan, put};
use super::transfer::rules::Rules;
use super::transfer::tally::Outcome;
use crate::paper::units::human;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// `put`.
pub fn upload(console: &mut Console, options: &Put) -> Result<(), Failure> {
    let mut sources = console.all_local(&options.local)?;
    let mut to = options.to.clone();
    let input = sources.iter().any(|source| source == "-");
    if input && to.is_none() && sources.len() == 2 && sources.first().is_some_and(|first| first == "-") {
        to = sources.pop();
    }
    if input && (sources.len() > 1 || to.is_none()) {
        let text = "standard input is uploaded alone and needs a name: put - --to REMOTE";
        return Err(Failure::new(Exit::Usage, text));
    }
    if input && options.manner.newer {
        return Err(Failure::new(Exit::Usage, "standard input has no time that could be newer: leave --newer out"));
    }
    let mut plan = PutPlan {
        sources: sources.into_iter().map(PathBuf::from).collect(),
        to: to.map(|to| console.named(&to)).transpose()?.map(|named| named.shown),
        here: console.here.clone(),
        recursive: options.recursive,
        jobs: options.jobs,
        rules: rules(&options.filters.0, &options.manner, &options.list),
    };
    let move_one = |target: &Target, session: &mut Option<Remote>, stop: &Stop, report: &dyn Report, names: Names| {
        if let Some((names, begun)) = names {
            plan.sources = names.into_iter().map(PathBuf::from).collect();
            plan.rules.begun = begun;
        }
        put(target, &plan, session, stop, report)
    };
    let kind = Kind { direction: Direction::Put, out_is_data: false, manner: &options.manner, list: &options.list };
    move_all(console, kind, move_one)
}

/// `get`.
pub fn download(console: &mut Console, options: &Get) -> Result<(), Failure> {
    let mut words = options.remote.clone();
    let mut to = options.to.as_deref().map(|to| console.local(to));
    if to.is_none() && options.dir.is_none() && words.len() > 1 && words.last().is_some_and(|last| last == "-") {
        to = words.pop();
    }
    if let Some(dir) = &options.dir {
        let mut dir = console.local(dir);
        dir.push("/"); // so that it can only mean a directory
        to = Some(dir);
    }
    let out_is_data = to.as_deref().is_some_and(|to| to == "-");
    let mut plan = GetPlan {
        sources: console.all_named(&words)?.into_iter().map(|named| named.shown).collect(),
        to: to.map(PathBuf::from),
        here: console.here.clone(),
        recursive: options.recursive,
        jobs: options.jobs,
        rules: rules(&options.filters.0, &options.manner, &options.list),
    };
    let move_one = |target: &Target, session: &mut Option<Remote>, stop: &Stop, report: &dyn Report, names: Names| {
        if let Some((names, begun)) = names {
            (plan.sources, plan.rules.begun) = (names, begun);
        }
        get(target, &plan, session, stop, report)
    };
    let kind = Kind { direction: Direction::Get, out_is_data, manner: &options.manner, list: &options.list };
    move_all(console, kind, move_one)
}

fn rules(filter: &super::filter::Filter, manner: &Manner, list: &cli::List) -> Rules {
    let (clobber, listed) = (manner.clobber(), list.files_from.is_some());
    Rules { filter: filter.clone(), clobber, dry_run: manner.dry_run, listed, begun: false }
}

/// A part of a list, and whether there was one before; `None` where the names are arguments.
type Names = Option<(Vec<OsString>, bool)>;

/// What a command is, besides its plan.
struct Kind<'a> {
    direction: Direction,
    out_is_data: bool,
    manner: &'a Manner,
    list: &'a cli::List,
}

/// Moves everything, in one go or, out of a list, part by part.
fn move_all(
    console: &mut Console,
    kind: Kind,
    mut move_one: impl FnMut(&Target, &mut Option<Remote>, &Stop, &dyn Report, Names) -> Result<Outcome, Failure>,
) -> Result<(), Failure> {
    let mut list = kind.list.open()?;
    let throttle = kind.manner.bwlimit.map(|rate| Arc::new(Throttle::new(rate)));
    let throttled = throttle.is_some();
    if let Some(rate) = kind.manner.bwlimit {
        console.output.detail(&format!("at most {}/s", human(rate.bytes())));
    }
    let target = Target { throttle, ..console.target.clone() };
    let progress = match kind.manner.dry_run {
        true => Progress::of_dry_run(&console.output),
        false => Progress::new(&console.output, kind.out_is_data),
    };
    let (session, stop) = (&mut console.session, &console.stop);
    let result = match &mut list {
        None => move_one(&target, session, stop, &progress, None),
        Some(list) => each_part(list, stop, |names| move_one(&target, session, stop, &progress, Some(names))),
    };
    let (totals, took) = progress.finish();
    console.summary.add(kind.direction, &totals, took);
    console.moved = Some((totals, took));
    if throttled {
        console.log_out(); // its socket is set up for being slow
    }
    // A transfer in which files failed has told of each; what is left is the exit status.
    match result?.exit {
        Exit::Ok => Ok(()),
        exit => Err(Failure::new(exit, "")),
    }
}

/// Does the parts of a list one after the other; the next is read when the last is done.
fn each_part(
    list: &mut List,
    stop: &Stop,
    mut part: impl FnMut((Vec<OsString>, bool)) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let mut all: Option<Outcome> = None;
    loop {
        let names = list.names(limits::LISTED, stop)?;
        if names.is_empty() {
            return Ok(all.unwrap_or_default());
        }
        let outcome = part((names, all.is_some()))?;
        all = Some(all.map_or(outcome, |all| all.and(outcome)));
    }
}
