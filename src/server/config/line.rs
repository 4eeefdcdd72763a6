//! The command line, completed by what environment and file say: the words that are missing on it are put in, and it is parsed as if they
//! had been typed. So every command that has one of the keys as an option, as `user` has `--users`, hears of it.

use super::keys::{self, Keys, Kind};
use super::running::Configuration;
use super::{NO_FILE, Origin, Setting, USUAL_FILE, environment, file, layers};
use crate::server::options::Options;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The commands that only ask a running server.
const ASKING: [&str; 4] = ["status", "kick", "drain", "upgrade"];

/// What is to be done, and how.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The command and its options.
    pub options: Options,
    /// What a running server reads again.
    pub configuration: Configuration,
    /// What has been said of each key, and by whom.
    pub settings: Vec<Setting>,
    /// What is wrong with the file, where the command does without it.
    pub passed_over: Option<String>,
}

/// Why nothing can be done.
#[derive(Debug)]
pub enum Trouble {
    /// The command line is wrong, or asks for help.
    Line(clap::Error),
    /// The environment or the file is wrong: a line for each thing that is.
    Configuration {
        /// What is wrong.
        why: String,
        /// Whether that was the question (`check`).
        checking: bool,
    },
}

/// Gathers what a command line and its environment say, and the file that one of them names.
pub fn gather(words: Vec<OsString>, variables: Vec<(OsString, OsString)>) -> Result<Gathered, Trouble> {
    let Completed { words, wants_more, checking, configuration, settings, passed_over } = complete(words, variables)?;
    let mut command = Options::command();
    let parsed =
        command.try_get_matches_from_mut(words).and_then(|mut matches| Options::from_arg_matches_mut(&mut matches));
    match parsed {
        Ok(options) => Ok(Gathered { options, configuration, settings, passed_over }),
        Err(why) if wants_more => Err(Trouble::Line(why.format(&mut command))),
        Err(why) => Err(Trouble::Configuration { why: keys::reason(&why), checking }),
    }
}

/// A command line to which nothing is missing any more.
struct Completed {
    words: Vec<OsString>,
    /// It lacked something by itself already.
    wants_more: bool,
    checking: bool,
    configuration: Configuration,
    settings: Vec<Setting>,
    passed_over: Option<String>,
}

/// Puts in what the command line does not say. Apart from the parsing that follows, so that the memory of one is there for the other: what a
/// listener's heap has grown to its sessions feel.
fn complete(mut words: Vec<OsString>, variables: Vec<(OsString, OsString)>) -> Result<Completed, Trouble> {
    let (matches, wants_more) = first_look(&words).map_err(Trouble::Line)?;
    let (name, at) = matches.subcommand().map_or((None, &matches), |(name, at)| (Some(name), at));
    let checking = name == Some("check");
    // A command that takes no --config has nothing to do with all this; what is wrong with it is the command line's fault.
    let Ok(named) = at.try_get_one::<PathBuf>("config") else {
        let (configuration, settings) = (Configuration::default(), Vec::new());
        return Ok(Completed { words, wants_more: true, checking, configuration, settings, passed_over: None });
    };
    let keys = Keys::of_serve();
    let trouble = |why| Trouble::Configuration { why, checking };
    let path = file_to_read(named.map(PathBuf::as_path), &variables).map_err(trouble)?;
    let mut passed_over = None;
    let from_file = match &path {
        // Who asks a running server, most of all when something is wrong, needs one key of it.
        Some(path) if name.is_some_and(|name| ASKING.contains(&name)) => {
            let (sound, wrong) = file::read_sound(path, &keys);
            passed_over = wrong;
            Ok(sound)
        }
        Some(path) => file::read(path, &keys),
        None => Ok(Vec::new()),
    };
    let (from_variables, from_file) = both(environment::read(&variables, &keys), from_file).map_err(trouble)?;
    let strong = vec![flags(at, &keys), from_variables];
    let settings = layers::merge(&keys, strong.iter().map(Vec::as_slice).chain([from_file.as_slice()]));
    let missing = settings.iter().filter(|setting| setting.origin != Origin::Flag && has(at, &keys, setting));
    let place = 1 + usize::from(name.is_some());
    words.splice(place..place, keys.words(missing));
    let configuration = Configuration::new(path, strong, keys.words(&settings));
    Ok(Completed { words, wants_more, checking, configuration, settings, passed_over })
}

/// The command line by itself; with it, whether it lacks something, which the file may have.
fn first_look(words: &[OsString]) -> Result<(ArgMatches, bool), clap::Error> {
    match Options::command().try_get_matches_from(words) {
        Err(why) if why.kind() == ErrorKind::MissingRequiredArgument => {
            Ok((Options::command().ignore_errors(true).try_get_matches_from(words)?, true))
        }
        other => Ok((other?, false)),
    }
}

/// Both results, or what is wrong with either.
fn both<A, B>(one: Result<A, String>, other: Result<B, String>) -> Result<(A, B), String> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(format!("{one}\n{other}")),
        (Err(why), _) | (_, Err(why)) => Err(why),
    }
}

/// The file: the one that the command line or the environment names, which must be there; else, for root, the usual one if it is there.
fn file_to_read(named: Option<&Path>, variables: &[(OsString, OsString)]) -> Result<Option<PathBuf>, String> {
    let from_variable = variables.iter().find(|(name, value)| name == environment::FILE && !value.is_empty());
    match named.map(Path::as_os_str).or(from_variable.map(|(_, value)| value.as_os_str())) {
        Some(path) if path == NO_FILE => Ok(None),
        Some(path) => std::path::absolute(path)
            .map(Some)
            .map_err(|why| format!("cannot tell where {} is: {why}", Path::new(path).display())),
        None => Ok(Some(PathBuf::from(USUAL_FILE)).filter(|usual| nix::unistd::geteuid().is_root() && is_there(usual))),
    }
}

/// Whether something is there, or something keeps us from seeing that nothing is.
fn is_there(path: &Path) -> bool {
    !path.symlink_metadata().is_err_and(|why| why.kind() == std::io::ErrorKind::NotFound)
}

/// Whether the command at hand has such an option.
fn has(at: &ArgMatches, keys: &Keys, setting: &Setting) -> bool {
    keys.get(&setting.key).is_some_and(|key| at.try_contains_id(&key.id).is_ok())
}

/// The keys that were given as flags.
fn flags(at: &ArgMatches, keys: &Keys) -> Vec<Setting> {
    let given = keys.iter().filter(|key| {
        at.try_contains_id(&key.id).is_ok_and(|is_there| is_there)
            && at.value_source(&key.id) == Some(ValueSource::CommandLine)
    });
    let setting = |key: &keys::Key| {
        let raw = at.get_raw(&key.id).into_iter().flatten().map(OsStr::to_owned);
        let values = if key.kind == Kind::Switch { vec!["true".into()] } else { raw.collect() };
        Setting { key: key.name.clone(), values, origin: Origin::Flag }
    };
    given.map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::options::Command;

    fn gathered(words: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Gathered, Trouble> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("forkd.toml");
        std::fs::write(&path, file).unwrap();
        let words = ["dfos-forkd"].iter().chain(words).map(OsString::from).collect();
        let named = (OsString::from(environment::FILE), path.into_os_string());
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        gather(words, variables.chain([named]).collect())
    }

    fn origins(gathered: &Gathered) -> Vec<(&str, String)> {
        let origin = |setting: &Setting| match &setting.origin {
            Origin::File(_, line) => format!("line {line}"),
            other => other.to_string(),
        };
        gathered.settings.iter().map(|setting| (setting.key.as_str(), origin(setting))).collect()
    }

    #[test]
    fn a_flag_comes_before_the_environment_that_before_the_file_and_that_before_the_default() {
        let variables = [("DFOS_FORKD_GRACE", "2"), ("DFOS_FORKD_IDLE_TIMEOUT", "2")];
        let file = "grace = 3\nidle-timeout = 3\nlogin-timeout = 3\n";
        let all = gathered(&["--grace", "1"], &variables, file).unwrap();
        let serve = &all.options.serve;
        let times = [serve.grace, serve.idle_timeout, serve.login_timeout].map(|time| time.as_secs());
        assert_eq!((times, serve.max_clients), ([1, 2, 3], 1024));
        assert_eq!(
            origins(&all),
            [
                ("grace", "flag".into()),
                ("idle-timeout", "environment DFOS_FORKD_IDLE_TIMEOUT".into()),
                ("login-timeout", "line 3".into())
            ]
        );
    }

    #[test]
    fn every_command_takes_from_the_file_what_it_has_an_option_for() {
        let file = "users = '/u'\nport = 1\nverbose = 2\nallow = ['::1']\n";
        let serve = gathered(&["serve", "--max-clients", "5"], &[], file).unwrap();
        assert!(matches!(serve.options.command, Some(Command::Serve(o))
            if o.users == Path::new("/u") && o.port == Some(1) && o.max_clients == 5 && o.log.verbose == 2 && o.gate.allow.len() == 1));
        let user = gathered(&["user", "add", "x"], &[], file).unwrap();
        assert!(matches!(user.options.command, Some(Command::User(o)) if o.users == Path::new("/u")));
        let user = gathered(&["user", "add", "x", "--users", "/v"], &[("DFOS_FORKD_USERS", "/w")], file).unwrap();
        assert!(matches!(user.options.command, Some(Command::User(o)) if o.users == Path::new("/v")));
    }

    #[test]
    fn a_flag_beats_what_it_excludes_and_may_have_what_it_needs_from_the_file() {
        let short = gathered(&["--port", "5"], &[], "listen = ['unix:/x']\n").unwrap();
        assert_eq!(short.options.serve.addresses()[0].to_string(), "tls://127.0.0.1:5");
        let long = gathered(&["--listen", "unix:/x"], &[("DFOS_FORKD_IP", "::1")], "port = 5\n").unwrap();
        assert_eq!(long.options.serve.addresses()[0].to_string(), "unix:/x");
        let pair = gathered(&["--tls-cert", "/c"], &[], "tls-key = '/k'\n").unwrap();
        assert!(pair.options.serve.channel.tls_cert.is_some() && pair.options.serve.channel.tls_key.is_some());
        assert!(matches!(gathered(&["--tls-cert", "/c"], &[], ""), Err(Trouble::Line(_))));
        let half = gathered(&["check"], &[], "tls-key = '/k'\n");
        assert!(matches!(half, Err(Trouble::Configuration { why, checking: true }) if why.contains("--tls-cert")));
    }

    #[test]
    fn a_switch_that_is_off_beats_one_that_is_on() {
        let off = gathered(&[], &[("DFOS_FORKD_REQUIRE_SANDBOX", "false")], "require-sandbox = true\n").unwrap();
        assert!(!off.options.serve.require_sandbox);
        let on = gathered(&["--require-sandbox", "-vv"], &[], "require-sandbox = false\nverbose = 1\n").unwrap();
        assert_eq!((on.options.serve.require_sandbox, on.options.serve.log.verbose), (true, 2));
    }

    #[test]
    fn no_file_is_read_that_was_not_named_and_one_that_was_must_be_there() {
        let none = gathered(&["--config", "none"], &[], "rubbish").unwrap();
        assert!(none.configuration.file.is_none());
        let gone = gathered(&["--config", "/nonexistent/forkd.toml"], &[], "");
        assert!(matches!(gone, Err(Trouble::Configuration { why, checking: false }) if why.contains("/nonexistent")));
        let wrong = gathered(&[], &[("DFOS_FORKD_PROT", "1")], "rubbish");
        assert!(matches!(wrong, Err(Trouble::Configuration { why, .. }) if why.lines().count() == 2));
        assert!(matches!(gathered(&["--prot"], &[], "rubbish"), Err(Trouble::Line(_))));
    }
}
