//! Where on this machine the files go.

use super::GetPlan;
use crate::client::failure::Failure;
use crate::client::names::means_directory;
use crate::client::report::{Event, Report};
use crate::client::retry::Context;
use crate::client::transfer::download::here;
use crate::client::transfer::folder::Folder;
use crate::client::transfer::source::local;
use nix::sys::stat::FileStat;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the sources go.
pub enum Destination {
    /// To standard output.
    Stdout,
    /// Into this directory, each under its own name.
    Into(PathBuf),
    /// The one source takes this name.
    As(PathBuf),
}

impl Destination {
    /// What the user has named, made if it is a directory that is not there yet.
    pub fn of(plan: &GetPlan, context: &Context) -> Result<Self, Failure> {
        let Some(to) = &plan.to else { return Ok(Destination::Into(PathBuf::from("."))) };
        if to.as_os_str() == "-" {
            return Ok(Destination::Stdout);
        }
        if plan.sources.len() == 1 && !plan.rules.listed && !means_directory(to.as_os_str()) && !to.is_dir() {
            return Ok(Destination::As(to.clone()));
        }
        if !to.is_dir() {
            if !plan.rules.begun {
                made(context.report, to);
            }
            if !plan.rules.dry_run {
                std::fs::create_dir_all(to).map_err(|why| local(to, &why))?;
            }
        }
        Ok(Destination::Into(to.clone()))
    }
}

/// Tells of a directory that is made.
pub fn made(report: &dyn Report, path: &Path) {
    report.event(Event::Step { verb: "mkdir", name: here(path).as_os_str().as_bytes(), to: None, bytes: None });
}

/// The directory that the sources go into. In a dry run it need not be there.
#[derive(Clone)]
pub struct Ground {
    path: PathBuf,
    /// None where there is nothing yet, and nothing is made.
    pub folder: Option<Arc<Folder>>,
}

impl Ground {
    /// Opens it.
    pub fn open(path: &Path, dry_run: bool) -> Result<Self, Failure> {
        let folder = match Folder::open(path) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(_) if dry_run && std::fs::symlink_metadata(path).is_err() => None,
            Err(failure) => return Err(failure),
        };
        Ok(Ground { path: path.to_owned(), folder })
    }

    /// A name below it as the user knows it.
    pub fn path_of(&self, tail: &[u8]) -> PathBuf {
        if tail == b"." { self.path.clone() } else { self.path.join(OsStr::from_bytes(tail)) }
    }

    /// What has this name below it, if anything has.
    pub fn look(&self, tail: &[u8]) -> Option<FileStat> {
        self.folder.as_ref().and_then(|folder| folder.look(tail))
    }
}
