//! What `rm` and `trash` take about the trash.

use crate::client::failure::{Exit, Failure};
use clap::{Args, Subcommand};
use std::ffi::{OsStr, OsString};

/// The variable that says where `rm` puts things when no option does.
pub const VARIABLE: &str = "DFOS_TRASH";

/// Whether what is deleted goes to the trash.
#[derive(Debug, Clone, Copy, Default, Args)]
#[allow(missing_docs)] // the help texts say it
pub struct TrashChoice {
    /// Move them to your trash on the server instead, where its operator lets you have one; they count in your quota until they are
    /// over their time or `trash empty` deletes them [default: $DFOS_TRASH, yes or no, else no]
    #[arg(long, overrides_with = "no_trash")]
    pub trash: bool,
    /// Delete them at once, whatever DFOS_TRASH says
    #[arg(long, overrides_with = "trash")]
    pub no_trash: bool,
}

impl TrashChoice {
    /// Whether they go to the trash: as the options say, else as `environment`, the value of [`VARIABLE`], does.
    pub fn wanted(self, environment: Option<&OsStr>) -> Result<bool, Failure> {
        if self.trash || self.no_trash {
            return Ok(self.trash);
        }
        match environment.map(|word| word.to_str().unwrap_or("?")) {
            None | Some("" | "no" | "off" | "false" | "0") => Ok(false),
            Some("yes" | "on" | "true" | "1") => Ok(true),
            Some(_) => Err(Failure::new(Exit::Usage, format!("{VARIABLE} is neither yes nor no"))),
        }
    }
}

/// What can be done with the trash.
#[derive(Debug, Clone, Subcommand)]
pub enum TrashCommand {
    /// List what is in the trash: the id of each thing, and where it was
    #[command(visible_alias = "ls")]
    List {
        /// Tell type, size and time of deletion (UTC) as well
        #[arg(short, long)]
        long: bool,
    },
    /// Bring things back to where they were
    Restore(Restore),
    /// Delete for good what is in the trash, all or what is named; asks first, and needs --yes where nobody can be asked
    Empty {
        /// Ids, or names of things that were deleted only once [default: all]
        #[arg(value_name = "ID|NAME")]
        things: Vec<OsString>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Bringing back.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Restore {
    /// Ids, or names of things that were deleted only once
    #[arg(required = true, value_name = "ID|NAME")]
    pub things: Vec<OsString>,
    /// Under this name; if it ends in / or is a directory, into it
    #[arg(long, value_name = "REMOTE")]
    pub to: Option<OsString>,
    /// Replace a file that has taken the name meanwhile
    #[arg(short, long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_the_environment_and_nonsense_there_is_told() {
        let choice = |trash, no_trash| TrashChoice { trash, no_trash };
        for (environment, result) in [(None, false), (Some("yes"), true), (Some("0"), false), (Some(""), false)] {
            let environment = environment.map(OsStr::new);
            assert_eq!(choice(false, false).wanted(environment), Ok(result), "{environment:?}");
            assert_eq!(choice(true, false).wanted(environment), Ok(true));
            assert_eq!(choice(false, true).wanted(environment), Ok(false));
        }
        assert_eq!(choice(false, false).wanted(Some(OsStr::new("maybe"))).unwrap_err().exit, Exit::Usage);
        assert_eq!(choice(false, true).wanted(Some(OsStr::new("maybe"))), Ok(false));
    }
}
