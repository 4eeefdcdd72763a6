//! What holds, and who said so: an option, a variable of the environment, the server's table in the file, `[defaults]`, or nobody.
//!
//! There is no list of keys: each long option of the command line that holds for all commands is at once a key of the file and a
//! variable `DFOS_<OPTION>`, judged by the parser of the command line itself. What file and environment say becomes the default of
//! the option, so everything behind the parser knows options alone.

pub mod file;
pub mod keys;
pub mod place;
pub mod show;

use super::cli::{self, Cli, Options};
use super::failure::{Exit, Failure};
use crate::auth::limits_file::nearest;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};
use file::{Contents, DEFAULT_SERVER, Entry};
use keys::Key;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Keys of which one makes the others meaningless: what a stronger place says of one silences the weaker about all. `password` is
/// `DFOS_PASSWORD`.
const RIVALS: &[&[&str]] =
    &[&["server", "ip", "port"], &["quiet", "verbose"], &["password-command", "password-file", "password"]];

/// Who said something. The order is that of strength.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Option,
    /// A variable of the environment, or a part of its value.
    Variable(String),
    /// A line of the file.
    Line(PathBuf, usize),
}

/// One value and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key: a long option, `server` or `password`.
    pub key: String,
    /// Its value, as an option would have it.
    pub value: String,
    /// Who said it.
    pub origin: Origin,
}

/// All that holds besides the built-in defaults.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where the file is looked for; `None` if nowhere.
    pub path: Option<PathBuf>,
    /// What it says, if it is there.
    pub contents: Option<Contents>,
    /// The name of the server, if it was chosen by name.
    pub server: Option<String>,
    /// The values, the strongest of each key.
    pub chosen: Vec<Setting>,
}

/// The environment, as far as it matters here.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Settings {
    /// The value of a key, if anybody said one.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.chosen.iter().find(|setting| setting.key == key)
    }

    /// Takes the values of one place, all weaker than those that are there.
    fn add(&mut self, weaker: Vec<Setting>) {
        let taken = |key: &str| {
            let rivals = RIVALS.iter().find(|rivals| rivals.contains(&key));
            self.chosen.iter().any(|held| held.key == key || rivals.is_some_and(|all| all.contains(&held.key.as_str())))
        };
        let free: Vec<_> = weaker.into_iter().filter(|setting| !taken(&setting.key)).collect();
        self.chosen.extend(free);
    }

    /// What the parser of the command line is when these values are its defaults.
    pub fn apply(&self, mut command: Command) -> Command {
        let keys = keys::of(&command);
        for setting in self.chosen.iter().filter(|setting| setting.origin != Origin::Option) {
            if let Some(key) = keys.iter().find(|key| key.name == setting.key) {
                command = key.apply(command, &setting.value);
            }
        }
        command
    }
}

/// What has been read of the command line and of everything behind it.
pub struct Loaded {
    /// The command line, completed by what else holds; as it is where that failed.
    pub cli: Cli,
    /// What else holds, or why that cannot be known.
    pub settings: Result<Settings, Failure>,
}

/// Reads the command line `words`, the environment and the file.
pub fn load(words: &[OsString], environment: Environment) -> Result<Loaded, clap::Error> {
    let command = cli::command();
    let matches = command.clone().try_get_matches_from(words)?;
    let cli = Cli::from_arg_matches(&matches)?;
    match settle(&cli, &matches, &command, environment) {
        Ok(settings) => Ok(Loaded { cli: completed(&settings, command, words)?, settings: Ok(settings) }),
        Err(failure) => {
            // What looks for the fault goes on without the file, if a whole address says where to: a name would mean something else.
            let mut without = cli.clone();
            without.options.config.config = Some("none".into());
            let addressed = cli.options.server.clone().or_else(|| environment("DFOS_SERVER")?.into_string().ok());
            let rest = addressed.filter(|text| text.contains("://"));
            let rest = rest.and_then(|_| settle(&without, &matches, &command, environment).ok());
            let cli = rest.map_or(Ok(cli), |settings| completed(&settings, command, words))?;
            Ok(Loaded { cli, settings: Err(failure) })
        }
    }
}

/// Nothing but where the file is looked for.
pub fn place_of_file(options: &Options) -> Settings {
    let said = |name: &str| of_process(name).filter(|value| !value.is_empty());
    Settings { path: path(options.config.config.as_deref(), &said), ..Settings::default() }
}

/// The command line `words` where these values hold.
fn completed(settings: &Settings, command: Command, words: &[OsString]) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(&settings.apply(command).try_get_matches_from(words)?)?;
    if let Some(server) = settings.get("server") {
        cli.options.server = Some(server.value.clone());
    }
    // An address on the command line may have brought one.
    cli.options.user = cli.options.user.or_else(|| settings.get("user").map(|user| user.value.clone()));
    Ok(cli)
}

fn settle(cli: &Cli, matches: &ArgMatches, command: &Command, environment: Environment) -> Result<Settings, Failure> {
    let said = |name: &str| environment(name).filter(|value| !value.is_empty());
    let keys = keys::of(command);
    let mut settings = Settings { path: path(cli.options.config.config.as_deref(), &said), ..Settings::default() };
    if let Some(path) = &settings.path {
        settings.contents = file::read(path, &keys, command)?;
        let named = cli.options.config.config.is_some() || said("DFOS_CONFIG").is_some();
        if named && settings.contents.is_none() {
            return Err(Failure::new(Exit::Local, format!("there is no configuration file {}", path.display())));
        }
    }
    let mut options = Vec::new();
    from_matches(matches, command, &mut options);
    let mut variables = Vec::new();
    for key in &keys {
        variables.extend(from_variable(key, command, &said)?);
    }
    // An empty password is a password.
    let password = environment("DFOS_PASSWORD").map(|_| "********");
    let server = said("DFOS_SERVER").map(|server| text("DFOS_SERVER", server)).transpose()?;
    for (key, value) in [("password", password), ("server", server.as_deref())] {
        let variable = format!("DFOS_{}", key.to_uppercase());
        let setting =
            value.map(|value| Setting { key: key.into(), value: value.into(), origin: Origin::Variable(variable) });
        variables.extend(setting);
    }
    let contents = settings.contents.clone().unwrap_or_default();
    let path = settings.path.clone().unwrap_or_default();
    let line = |line: usize| Origin::Line(path.clone(), line);
    let from_file = |entries: &[Entry]| {
        let setting =
            |entry: &Entry| Setting { key: entry.key.clone(), value: entry.value.clone(), origin: line(entry.line) };
        entries.iter().map(setting).collect::<Vec<_>>()
    };
    let mut table = Vec::new();
    for layer in [&mut options, &mut variables] {
        take_place(layer, &contents, &path, &mut table, &mut settings)?;
        settings.add(std::mem::take(layer));
    }
    if let (None, Some(entry)) = (RIVALS[0].iter().find_map(|key| settings.get(key)), &contents.default_server) {
        let mut default = vec![Setting { key: "server".into(), value: entry.value.clone(), origin: line(entry.line) }];
        take_place(&mut default, &contents, &path, &mut table, &mut settings)?;
        table.extend(default);
    }
    settings.add(table);
    settings.add(from_file(&contents.defaults));
    Ok(settings)
}

/// Where the file is looked for.
fn path(option: Option<&Path>, said: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(path) = option.map(Path::to_owned).or_else(|| said("DFOS_CONFIG").map(PathBuf::from)) {
        return (path != Path::new("none")).then_some(path);
    }
    let absolute = |name| said(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?.join("dfos/client.toml"))
}

/// What stands on the command line itself, that of the command included.
fn from_matches(matches: &ArgMatches, command: &Command, into: &mut Vec<Setting>) {
    for arg in command.get_arguments() {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        let there = matches.try_contains_id(id).is_ok_and(|there| there);
        if !there
            || matches.value_source(id) != Some(ValueSource::CommandLine)
            || into.iter().any(|set| set.key == long)
        {
            continue;
        }
        let raw = matches.try_get_raw(id).ok().flatten();
        let values: Vec<_> = raw.into_iter().flatten().map(|value| value.to_string_lossy()).collect();
        into.push(Setting { key: long.to_owned(), value: values.join(" "), origin: Origin::Option });
    }
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        from_matches(matches, command, into);
    }
}

fn from_variable(
    key: &Key,
    command: &Command,
    said: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Setting>, Failure> {
    let name = key.variable();
    let Some(value) = said(&name) else { return Ok(None) };
    let wrong = |why: String| Failure::new(Exit::Usage, format!("{name}: {why}"));
    let value = text(&name, value)?;
    let value = match (key.kind, value.as_str()) {
        (keys::Kind::Switch(_), "1" | "true") => "true".into(),
        (keys::Kind::Switch(_), "0" | "false") => "false".into(),
        (keys::Kind::Switch(_), _) => return Err(wrong("write true or false".into())),
        _ => value,
    };
    match key.complaint(command, &value) {
        Some(why) => Err(wrong(why)),
        None => Ok(Some(Setting { key: key.name.clone(), value, origin: Origin::Variable(name) })),
    }
}

fn text(name: &str, value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|_| Failure::new(Exit::Usage, format!("{name} is not UTF-8")))
}

/// Where one place names a server: looks the name up, or takes the address apart. The table of a named server goes to `table`; a
/// user in an address is as strong as the address.
fn take_place(
    layer: &mut Vec<Setting>,
    contents: &Contents,
    path: &Path,
    table: &mut Vec<Setting>,
    settings: &mut Settings,
) -> Result<(), Failure> {
    let stronger = RIVALS[0].iter().any(|key| settings.get(key).is_some());
    let Some(at) = layer.iter().position(|setting| setting.key == "server").filter(|_| !stronger) else {
        return Ok(());
    };
    let said = layer.remove(at);
    if let Some(server) = contents.server(&said.value) {
        settings.server = Some(server.name.clone());
        let origin = |line| Origin::Line(path.to_owned(), line);
        let entry =
            |entry: &Entry| Setting { key: entry.key.clone(), value: entry.value.clone(), origin: origin(entry.line) };
        table.extend(server.entries.iter().map(entry));
        let origin = origin(server.line);
        let user = server.place.user.clone().map(|value| Setting { key: "user".into(), value, origin: origin.clone() });
        add_user(table, user);
        // It was chosen here, so it is as strong as this place, though its line stands in the file.
        layer.push(Setting { key: "server".into(), value: server.place.address.to_string(), origin });
        return Ok(());
    }
    let place = match (misspelt(&said.value, contents), &said.origin) {
        (Some(name), _) => {
            let text = format!(
                "there is no server '{}' in {}; did you mean '{name}'? A host of that name is tls://{0}",
                said.value,
                path.display()
            );
            return Err(Failure::new(Exit::Usage, text));
        }
        (None, Origin::Line(file, line)) => place::parse(&said.value).map_err(|failure| {
            let text = format!("{} line {line}: {DEFAULT_SERVER}: {failure}", file.display());
            Failure { text, ..failure }
        })?,
        (None, Origin::Variable(name)) => {
            place::parse(&said.value).map_err(|failure| Failure { text: format!("{name}: {failure}"), ..failure })?
        }
        (None, Origin::Option) => place::parse(&said.value)?,
    };
    add_user(layer, place.user.map(|value| Setting { key: "user".into(), value, origin: said.origin.clone() }));
    layer.push(Setting { value: place.address.to_string(), ..said });
    Ok(())
}

/// The user of an address holds where the same place names none besides.
fn add_user(layer: &mut Vec<Setting>, user: Option<Setting>) {
    if !layer.iter().any(|setting| setting.key == "user") {
        layer.extend(user);
    }
}

/// The server whose name `said` may be meant to be: a bare word that is almost one.
fn misspelt<'a>(said: &str, contents: &'a Contents) -> Option<&'a str> {
    let bare = !said.contains([':', '@', '/', '[']);
    nearest(said, contents.servers.iter().map(|server| server.name.as_str())).filter(|_| bare)
}

/// The environment of this process.
pub fn of_process(name: &str) -> Option<OsString> {
    std::env::var_os(OsStr::new(name))
}

#[cfg(test)]
mod tests;
