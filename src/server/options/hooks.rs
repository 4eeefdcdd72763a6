//! Programs of the operator's that are run after what happens.

use super::serve::seconds;
use crate::proto::limits::HOOKS_MOST;
use crate::server::scribe::hooks::{Event, Orders};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hooks.
#[derive(Debug, Clone, Args)]
pub struct HookOptions {
    /// Run this program, by its absolute path, after each upload that was stored; what it is told stands in HOOKS.md
    #[arg(long, value_name = "PROGRAM")]
    pub on_upload: Option<PathBuf>,
    /// Run this program after each upload that was refused, failed or broke off
    #[arg(long, value_name = "PROGRAM")]
    pub on_upload_failed: Option<PathBuf>,
    /// Run this program after each download, or part of one, that was sent whole
    #[arg(long, value_name = "PROGRAM")]
    pub on_download: Option<PathBuf>,
    /// Run this program after a file or a directory has been deleted; once for a directory with all that was in it
    #[arg(long, value_name = "PROGRAM")]
    pub on_delete: Option<PathBuf>,
    /// Run this program after each login that was refused
    #[arg(long, value_name = "PROGRAM")]
    pub on_login_failed: Option<PathBuf>,
    /// How long such a program may take before it is ended
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub hook_timeout: Duration,
    /// Such programs at a time; others wait
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=HOOKS_MOST))]
    pub hooks_at_a_time: u32,
}

impl HookOptions {
    /// The programs that there are, and what they are run after.
    pub fn programs(&self) -> impl Iterator<Item = (Event, &Path)> {
        let all = [
            (Event::Upload, &self.on_upload),
            (Event::UploadFailed, &self.on_upload_failed),
            (Event::Download, &self.on_download),
            (Event::Delete, &self.on_delete),
            (Event::LoginFailed, &self.on_login_failed),
        ];
        all.into_iter().filter_map(|(event, program)| Some((event, program.as_deref()?)))
    }

    /// What the scribe is to run, and how, for users whose directories lie in `storage`.
    pub fn orders(&self, storage: &Path) -> Orders {
        Orders {
            programs: self.programs().map(|(event, program)| (event, program.to_owned())).collect(),
            timeout: self.hook_timeout,
            at_a_time: self.hooks_at_a_time as usize,
            // A program's working directory is another. Where ours is gone nothing can be told of a relative path.
            storage: std::path::absolute(storage).unwrap_or_else(|_| storage.to_owned()),
        }
    }
}
