//! Which of many names a command takes: lists from files, and rules.

use crate::client::failure::{Exit, Failure};
use crate::client::filter::Filter;
use crate::client::list;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A list of names instead of arguments.
#[derive(Debug, Clone, Default, Args)]
pub struct List {
    /// Take the names from FILE, one a line, as they are; - is standard input. They lie below the current directory, and keep
    /// the directories that they name
    #[arg(long, value_name = "FILE")]
    pub files_from: Option<PathBuf>,
    /// Names in that list end with a NUL byte instead of a line end
    #[arg(short = '0', long)]
    // `requires` would not count beside names that are arguments, as those rule the list out
    pub null: bool,
}

impl List {
    /// Opens it, if there is one.
    pub fn open(&self) -> Result<Option<list::List>, Failure> {
        if self.null && self.files_from.is_none() {
            return Err(Failure::new(Exit::Usage, "-0 is about the list that --files-from names: there is none"));
        }
        let end = if self.null { 0 } else { b'\n' };
        self.files_from.as_deref().map(|path| list::List::open(path, end, false)).transpose()
    }
}

/// `--include` and `--exclude`, in the order in which they were given. Derived options would lose that order.
#[derive(Debug, Clone, Default)]
pub struct Filters(pub Filter);

const INCLUDE: &str = "Take what fits GLOB, unless a rule before it has decided (see below)";
const EXCLUDE: &str =
    "Leave out what fits GLOB, a directory with all that is in it, unless a rule before it has decided";

/// What stands below the options of a command that has these rules.
pub const RULES: &str = "\
--include and --exclude may be given several times; the first that fits a name decides, and what fits none is taken.
A GLOB without a slash is for names, wherever they are; one with a slash for the path below the directory that was
named; with a slash at its end it is for directories alone. * and ? stand for letters, ** between slashes for any
directories, {a,b} for both. What lies in a directory that is left out is not looked at.";

impl Args for Filters {
    fn augment_args(command: Command) -> Command {
        let rule = |name: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("GLOB")
                .help(help)
                .action(ArgAction::Append)
                .value_parser(clap::value_parser!(OsString))
        };
        command.arg(rule("include", INCLUDE)).arg(rule("exclude", EXCLUDE))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Filters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of = |name: &str, take: bool| {
            let places = matches.indices_of(name).into_iter().flatten();
            let globs = matches.get_many::<OsString>(name).into_iter().flatten();
            places.zip(globs).map(|(place, glob)| (place, take, glob.clone())).collect::<Vec<_>>()
        };
        let mut rules = [of("include", true), of("exclude", false)].concat();
        rules.sort_by_key(|(place, ..)| *place);
        let mut filter = Filter::default();
        rules.iter().for_each(|(_, take, glob)| filter.add(*take, glob.as_bytes()));
        Ok(Filters(filter))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
