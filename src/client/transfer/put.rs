//! The command `put`: which local files go where, and then all of them on their way.

mod planner;

use self::planner::{Destination, Planner};
use super::lost::{resumable, unrepeatable};
use super::queue::{Left, Queue};
use super::rules::Rules;
use super::sender::{Job, Sender};
use super::tally::Outcome;
use crate::client::failure::Failure;
use crate::client::jobs::Jobs;
use crate::client::names::{means_directory, remote_from_user};
use crate::client::remote::{Parents, Remote};
use crate::client::report::{Event, Report};
use crate::client::retry::Context;
use crate::client::stop::Stop;
use crate::client::target::Target;
use crate::proto::{EntryKind, RemotePath};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// What is to be put where.
#[derive(Debug, Clone)]
pub struct PutPlan {
    /// Local files and directories; `-` is standard input.
    pub sources: Vec<PathBuf>,
    /// The remote name, as typed. Without it each source keeps its own name, below `here`.
    pub to: Option<OsString>,
    /// What `to` is relative to.
    pub here: RemotePath,
    /// Whether directories are put with all that is in them.
    pub recursive: bool,
    /// How many connections; the first is the session's own.
    pub jobs: Jobs,
    /// Which of them go, and how.
    pub rules: Rules,
}

/// Puts files. Failures of single files are told as events and counted; the error is one that ended the whole command.
pub fn put(
    target: &Target,
    plan: &PutPlan,
    session: &mut Option<Remote>,
    stop: &Stop,
    report: &dyn Report,
) -> Result<Outcome, Failure> {
    let met = AtomicBool::new(false);
    let context = Context::new(target, stop, report, &met);
    let mut left = None;
    put_all(&context, plan, session, &mut left).map_err(|failure| {
        match !plan.rules.listed && plan.sources.iter().any(|path| path == "-") {
            true => unrepeatable(&context, failure),
            false => resumable(&context, failure, left),
        }
    })
}

/// The same; `left` becomes what there is still to send.
fn put_all(
    context: &Context,
    plan: &PutPlan,
    session: &mut Option<Remote>,
    left: &mut Option<Left>,
) -> Result<Outcome, Failure> {
    let destination = destination(context, plan, session)?;
    let mut planner = Planner::new(context, plan);
    for source in &plan.sources {
        context.stop.check()?;
        planner.source(source, &destination);
    }
    planner.spare(session)?;
    let Planner { dirs, files, bytes, tally, .. } = planner;
    if plan.rules.dry_run {
        dirs.iter().chain(&files).for_each(|job| job.tell(context.report));
        return Ok(tally.outcome());
    }
    let count = context.connections(plan.jobs, files.len(), bytes);
    let (dirs, files) = (Queue::new(dirs), Queue::new(files));
    // Directories first, and by one connection: two would race for the same parents, and no file may come before its own.
    let make_dirs = |session: &mut Option<Remote>| match dirs.is_empty() {
        true => Ok(()), // nobody waits for a login that nothing needs yet
        false => Sender::new(*context, &dirs, &tally).run(session),
    };
    let send = |context: Context, session: &mut Option<Remote>| Sender::new(context, &files, &tally).run(session);
    let sent = files.share(*context, count, session, make_dirs, send);
    *left = Some(files.left(Job::left));
    sent.map(|()| tally.outcome())
}

fn destination(context: &Context, plan: &PutPlan, session: &mut Option<Remote>) -> Result<Destination, Failure> {
    let Some(typed) = &plan.to else { return Ok(Destination::Into(plan.here.clone())) };
    let to = remote_from_user(typed, &plan.here)?;
    if to.is_root() {
        return Ok(Destination::Into(to));
    }
    if plan.sources.len() == 1 && !plan.rules.listed && !means_directory(typed) {
        let found = context.with_retries(session, |remote, _| remote.stat(&to));
        return match found {
            Ok(stat) if stat.kind == EntryKind::Dir => Ok(Destination::Into(to)),
            Ok(_) => Ok(Destination::As(to)),
            // What stands in the way, if anything does, the upload itself will say.
            Err(failure) if failure.code.is_some() && !failure.retry => Ok(Destination::As(to)),
            Err(failure) => Err(failure),
        };
    }
    if !plan.rules.begun {
        context.report.event(Event::Step { verb: "mkdir", name: to.as_bytes(), to: None, bytes: None });
    }
    if !plan.rules.dry_run {
        context.with_retries(session, |remote, _| remote.mkdir(&to, Parents::Make))?;
    }
    Ok(Destination::Into(to))
}

#[cfg(test)]
mod tests;
