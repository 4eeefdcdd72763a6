//! The command `get`: which remote files go where, and then all of them on their way.
//!
//! What is written locally follows from what the user named and from names checked component by component; a server cannot
//! make it anything else.

mod ground;
mod planner;

use self::ground::Destination;
use self::planner::Planner;
use super::download::{Download, tell};
use super::lost::resumable;
use super::queue::{Left, Queue};
use super::receiver::Receiver;
use super::rules::Rules;
use super::tally::Outcome;
use crate::client::failure::Failure;
use crate::client::jobs::Jobs;
use crate::client::names::remote_from_user;
use crate::client::remote::Remote;
use crate::client::report::Report;
use crate::client::retry::Context;
use crate::client::stop::Stop;
use crate::client::target::Target;
use crate::proto::RemotePath;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// What is to be fetched, and where to.
#[derive(Debug, Clone)]
pub struct GetPlan {
    /// Remote files and directories, as typed.
    pub sources: Vec<OsString>,
    /// The local name or directory; `-` is standard output. Without it each source keeps its name, in the current directory.
    pub to: Option<PathBuf>,
    /// What the sources are relative to.
    pub here: RemotePath,
    /// Whether directories are fetched with all that is in them.
    pub recursive: bool,
    /// How many connections; the first is the session's own.
    pub jobs: Jobs,
    /// Which of them come, and how.
    pub rules: Rules,
}

/// Fetches files. Failures of single files are told as events and counted; the error is one that ended the whole command.
pub fn get(
    target: &Target,
    plan: &GetPlan,
    session: &mut Option<Remote>,
    stop: &Stop,
    report: &dyn Report,
) -> Result<Outcome, Failure> {
    let met = AtomicBool::new(false);
    let context = Context::new(target, stop, report, &met);
    let mut left = None;
    get_all(&context, plan, session, &mut left).map_err(|failure| resumable(&context, failure, left))
}

/// The same; `left` becomes what there is still to fetch.
fn get_all(
    context: &Context,
    plan: &GetPlan,
    session: &mut Option<Remote>,
    left: &mut Option<Left>,
) -> Result<Outcome, Failure> {
    let destination = Destination::of(plan, context)?;
    let paths: Vec<RemotePath> =
        plan.sources.iter().map(|typed| remote_from_user(typed, &plan.here)).collect::<Result<_, _>>()?;
    let stats = context.with_retries(session, |remote, _| remote.stat_all(&paths))?;
    let mut planner = Planner::new(context, plan, &destination);
    for ((typed, path), stat) in plan.sources.iter().zip(&paths).zip(stats) {
        planner.source(typed, path, stat, session)?;
    }
    let Planner { files, tally, drawn, .. } = planner;
    if plan.rules.dry_run {
        drawn.iter().for_each(|(remote, to, size)| tell(context.report, remote, to, *size));
        return Ok(tally.outcome());
    }
    // Standard output takes one file after the other.
    let jobs = if matches!(destination, Destination::Stdout) { Jobs::Just(1) } else { plan.jobs };
    let bytes = files.iter().map(Download::left).fold(0, u64::saturating_add);
    let count = context.connections(jobs, files.len(), bytes);
    let files = Queue::new(files);
    let fetch = |context: Context, session: &mut Option<Remote>| Receiver::new(context, &files, &tally).run(session);
    let fetched = files.share(*context, count, session, |_| Ok(()), fetch);
    *left = Some(files.left(Download::left));
    fetched.map(|()| tally.outcome())
}

#[cfg(test)]
mod tests;
