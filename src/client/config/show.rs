//! What `config` prints.

use super::{Origin, Settings, file, keys};
use crate::client::cli::{self, Options};
use crate::client::cli_config::ConfigAction;
use crate::client::display::escape::escape;
use crate::client::display::output::Output;
use crate::client::failure::{Exit, Failure};
use crate::client::whom;
use serde::Serialize;

/// One value, as a program reads it.
#[derive(Serialize)]
struct Row<'a> {
    v: u32,
    event: &'static str,
    key: &'a str,
    value: Option<&'a str>,
    origin: &'a str,
}

/// One server, as a program reads it.
#[derive(Serialize)]
struct ServerRow<'a> {
    v: u32,
    event: &'static str,
    name: &'a str,
    server: String,
    user: Option<&'a str>,
    default: bool,
}

/// The command.
pub fn run(output: &Output, options: &Options, settings: &Settings, what: ConfigAction) -> Result<(), Failure> {
    match what {
        ConfigAction::Show => show(output, options, settings),
        ConfigAction::Servers => servers(output, settings),
        ConfigAction::Path => path(output, settings),
    }
}

fn path(output: &Output, settings: &Settings) -> Result<(), Failure> {
    let Some(path) = &settings.path else {
        return Err(Failure::new(
            Exit::NotFound,
            "no file is looked for: there is no home directory, or 'none' was said",
        ));
    };
    let path = path.display().to_string();
    match output.json {
        true => object(output, &Row { v: 1, event: "config", key: "config", value: Some(&path), origin: "" }),
        false => output.line(&path),
    }
}

fn show(output: &Output, options: &Options, settings: &Settings) -> Result<(), Failure> {
    let server = options.address()?.to_string();
    let user = whom::user(options).ok().map(|user| user.to_string());
    let known = options.known_servers().map(|known| known.path().display().to_string());
    let mut rows: Vec<(String, Option<String>, String)> = vec![row(settings, "server", Some(server))];
    for key in keys::of(&cli::command()) {
        let default = match key.name.as_str() {
            "user" => user.clone(),
            "known-servers" => known.clone(),
            _ => match key.kind {
                keys::Kind::Switch(_) => Some("false".into()),
                _ => Some(key.default).filter(|text| !text.is_empty()),
            },
        };
        rows.push(row(settings, &key.name, default));
    }
    rows.push(row(settings, "password", None));
    let wide = |at: fn(&(String, Option<String>, String)) -> usize| rows.iter().map(at).max().unwrap_or(0);
    let (keys, values) = (wide(|row| row.0.len()), wide(|row| row.1.as_deref().map_or(1, str::len)).min(48));
    for (key, value, origin) in &rows {
        match output.json {
            true => object(output, &Row { v: 1, event: "config", key, value: value.as_deref(), origin })?,
            false => {
                let value = escape(value.as_deref().unwrap_or("-").as_bytes());
                output.line(&format!("{key:keys$}  {value:values$}  {origin}"))?;
            }
        }
    }
    Ok(())
}

/// What holds for a key, and who says so.
fn row(settings: &Settings, key: &str, default: Option<String>) -> (String, Option<String>, String) {
    let Some(setting) = settings.get(key) else {
        let short = key == "server" && ["ip", "port"].iter().any(|key| settings.get(key).is_some());
        return (key.to_owned(), default, if short { "option" } else { "default" }.to_owned());
    };
    let origin = match &setting.origin {
        Origin::Option => "option".to_owned(),
        Origin::Variable(name) => format!("variable {name}"),
        Origin::Line(path, line) => format!("{}:{line}", path.display()),
    };
    let value = match (key, setting.value.as_str()) {
        ("password-command", command) => masked(command),
        ("json", "" | "-") => "true".to_owned(),
        ("verbose", "") => "1".to_owned(),
        (_, value) => value.to_owned(),
    };
    (key.to_owned(), Some(value), origin)
}

/// A command without its arguments, which may hold what nobody else is to see.
fn masked(command: &str) -> String {
    match command.trim().split_once(char::is_whitespace) {
        Some((program, _)) => format!("{program} ********"),
        None => command.to_owned(),
    }
}

fn servers(output: &Output, settings: &Settings) -> Result<(), Failure> {
    let contents = settings.contents.clone().unwrap_or_default();
    let default = contents.default_server.as_ref().map(|entry| entry.value.as_str());
    let wide = contents.servers.iter().map(|server| server.name.len()).max().unwrap_or(0);
    for server in &contents.servers {
        let user = user_of(server, &contents);
        let is_default = default == Some(server.name.as_str());
        if output.json {
            let (name, server) = (server.name.as_str(), server.place.address.to_string());
            object(output, &ServerRow { v: 1, event: "server", name, server, user, default: is_default })?;
            continue;
        }
        let user = user.map_or(String::new(), |user| format!("  user {user}"));
        let mark = if is_default { "  (default)" } else { "" };
        output.line(&format!("{:wide$}  {}{user}{mark}", server.name, server.place.address))?;
    }
    if contents.servers.is_empty() {
        output.note("no server is named: see 'dfos-client config --help'");
    }
    Ok(())
}

/// Who logs in there, as far as the file says.
fn user_of<'a>(server: &'a file::Server, contents: &'a file::Contents) -> Option<&'a str> {
    let said =
        |entries: &'a [file::Entry]| entries.iter().find(|entry| entry.key == "user").map(|entry| entry.value.as_str());
    said(&server.entries).or(server.place.user.as_deref()).or_else(|| said(&contents.defaults))
}

fn object(output: &Output, object: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(object).map_err(|why| Failure::new(Exit::Other, why.to_string()))?;
    output.line(&line)
}
