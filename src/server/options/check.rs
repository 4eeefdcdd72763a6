//! What `dfos-forkd check` takes.

use super::serve::ServeOptions;
use clap::Args;

/// What to check, and how much to tell.
#[derive(Debug, Clone, Args)]
pub struct CheckOptions {
    #[command(flatten)]
    /// How the server would be started.
    pub serve: ServeOptions,
    /// Print nothing but what a start would refuse
    #[arg(short, long)]
    pub quiet: bool,
}
