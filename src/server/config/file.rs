//! The configuration file, TOML: keys at the top, no tables. It is taken whole or not at all, so everything doubtful is an error with its
//! line, and all errors are told at once. A path that does not begin at the root is meant from where the file is: a daemon's working
//! directory is nobody's to know.

use super::keys::{Key, Keys, Kind};
use super::{Origin, Setting};
use crate::auth::trust;
use crate::paper::toml::{line_of, trouble};
use crate::proto::limits::CONFIGURATION;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Errors of one file that are told.
const TOLD: usize = 20;

/// Lines of a file, from 1, with what is wrong there.
type Problems = Vec<(usize, String)>;

/// Reads a file, if nobody but root and ourselves could have written it. An error is a line for each thing that is wrong.
pub fn read(path: &Path, keys: &Keys) -> Result<Vec<Setting>, String> {
    match read_sound(path, keys) {
        (settings, None) => Ok(settings),
        (_, Some(why)) => Err(why),
    }
}

/// Reads what is sound of a file; with it what is not, a line for each thing.
pub fn read_sound(path: &Path, keys: &Keys) -> (Vec<Setting>, Option<String>) {
    let text = match text_of(path) {
        Ok(text) => text,
        Err(why) => return (Vec::new(), Some(why)),
    };
    let (settings, mut problems) = parse(&text, path, keys);
    problems.sort_by_key(|(line, _)| *line);
    let lines = problems.iter().take(TOLD).map(|(line, why)| format!("{} line {line}: {why}", path.display()));
    let told = (!problems.is_empty()).then(|| lines.collect::<Vec<_>>().join("\n"));
    (settings, told)
}

fn text_of(path: &Path) -> Result<String, String> {
    let file = trust::open_own(path).map_err(|why| format!("the configuration file cannot be used: {why}"))?;
    let unreadable =
        |why: &dyn std::fmt::Display| format!("cannot read the configuration file {}: {why}", path.display());
    let mut text = String::new();
    file.take(CONFIGURATION + 1).read_to_string(&mut text).map_err(|why| unreadable(&why))?;
    if text.len() as u64 > CONFIGURATION {
        return Err(unreadable(&format!("it is larger than {} KiB: is it the right path?", CONFIGURATION >> 10)));
    }
    Ok(text)
}

/// Parses a file's text: what is sound, and what is wrong with the rest.
fn parse(text: &str, path: &Path, keys: &Keys) -> (Vec<Setting>, Problems) {
    let line = |at| line_of(text, at);
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(why) => return (Vec::new(), vec![trouble(text, &why)]),
    };
    let (mut settings, mut problems): (Vec<Setting>, Problems) = (Vec::new(), Vec::new());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut said: Vec<_> = root.get_ref().iter().collect();
    said.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in said {
        let at = line(name.span().start);
        match setting(keys, name.get_ref(), value, directory) {
            Ok(values) => {
                let before = settings.iter().find(|setting| keys.conflict(&setting.key, name.get_ref()));
                if let Some(Setting { key, .. }) = before {
                    problems
                        .push((at, format!("{} and {key} exclude each other: leave one of them out", name.get_ref())));
                }
                let (key, origin) = (name.get_ref().to_string(), Origin::File(path.into(), at));
                settings.push(Setting { key, values, origin });
            }
            Err(why) => problems.push((at, why)),
        }
    }
    (settings, problems)
}

/// The values of one key.
fn setting(keys: &Keys, name: &str, value: &Spanned<DeValue>, directory: &Path) -> Result<Vec<OsString>, String> {
    let shown = name.escape_debug();
    let Some(key) = keys.get(name) else {
        return Err(match (keys.nearest(name), value.get_ref()) {
            (_, DeValue::Table(_)) => format!("there is no table '{shown}': all keys stand at the top, without one"),
            (Some(meant), _) => format!("there is no key '{shown}'; did you mean '{}'?", meant.name),
            (None, _) => {
                format!("there is no key '{shown}'; 'dfos-forkd --help' lists all options, which are the keys")
            }
        });
    };
    let values = values(key, value.get_ref()).map_err(|why| format!("{name}: {why}"))?;
    let values = values.into_iter().map(|text| {
        if matches!(key.kind, Kind::One | Kind::Several) {
            keys.judge(key, text.as_ref())?;
        }
        Ok(placed(key, text, directory))
    });
    values.collect::<Result<_, _>>().map_err(|why: String| format!("{name}: {why}"))
}

/// Values as text, as a flag would have them.
fn values(key: &Key, value: &DeValue) -> Result<Vec<String>, String> {
    match key.kind {
        Kind::Switch => match value.as_bool() {
            Some(is) => Ok(vec![is.to_string()]),
            None => Err("write true or false, without quotes".into()),
        },
        Kind::Count => match (value.as_bool(), integer(value).and_then(|n| u8::try_from(n).ok())) {
            (Some(is), _) => Ok(vec![u8::from(is).to_string()]),
            (_, Some(n)) => Ok(vec![n.to_string()]),
            _ => Err("write a number from 0 to 255, without quotes".into()),
        },
        Kind::One if value.is_array() => Err("write one value, not a list".into()),
        Kind::One => Ok(vec![text(value)?]),
        Kind::Several => match value.as_array() {
            Some(list) => list.iter().map(|value| text(value.get_ref())).collect(),
            None => Ok(vec![text(value)?]),
        },
    }
}

fn text(value: &DeValue) -> Result<String, String> {
    let number = || integer(value).map(|n| n.to_string());
    let text = value.as_str().map(str::to_owned).or_else(number);
    text.ok_or_else(|| "write a text in quotes, or a whole number".into())
}

fn integer(value: &DeValue) -> Option<i128> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A path, from where the file is. (The path of a Unix socket is no other than a whole one.)
fn placed(key: &Key, text: String, directory: &Path) -> OsString {
    if key.is_path { directory.join(text).into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key, its values, its line.
    type Said = (String, Vec<OsString>, usize);

    fn parsed(text: &str) -> Result<Vec<Said>, Problems> {
        let line = |setting: &Setting| if let Origin::File(_, line) = setting.origin { line } else { 0 };
        let (settings, problems) = parse(text, Path::new("/etc/dfos/forkd.toml"), &Keys::of_serve());
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(settings.into_iter().map(|setting| (setting.key.clone(), setting.values.clone(), line(&setting))).collect())
    }

    #[test]
    fn every_kind_of_key_takes_its_values_and_knows_its_line() {
        for (text, key, values) in [
            ("port = 9001", "port", &["9001"][..]),
            ("port = 0x10", "port", &["16"]),
            ("quota = \"20GiB\"", "quota", &["20GiB"]),
            ("run-as = 1000", "run-as", &["1000"]),
            ("require-sandbox = true", "require-sandbox", &["true"]),
            ("allow-plaintext = false", "allow-plaintext", &["false"]),
            ("verbose = 2", "verbose", &["2"]),
            ("verbose = true", "verbose", &["1"]),
            ("allow = ['10.0.0.0/8', \"::1\"]", "allow", &["10.0.0.0/8", "::1"]),
            ("deny = '10.0.0.1'", "deny", &["10.0.0.1"]),
            ("deny = []", "deny", &[]),
            ("dir = '/srv/dfos'", "dir", &["/srv/dfos"]),
            ("dir = 'storage'", "dir", &["/etc/dfos/storage"]),
        ] {
            let values: Vec<OsString> = values.iter().map(OsString::from).collect();
            assert_eq!(parsed(&format!("# a comment\n\n{text}\n")), Ok(vec![(key.into(), values, 3)]), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, why) in [
            ("port = 1\nmax-client = 5", 2, "there is no key 'max-client'; did you mean 'max-clients'?"),
            ("max_clients = 5", 1, "there is no key 'max_clients'; did you mean 'max-clients'?"),
            ("config = '/x'", 1, "there is no key 'config'"),
            ("colour = 5", 1, "there is no key 'colour'; 'dfos-forkd --help' lists"),
            ("[gate]\nallow = []", 1, "there is no table 'gate': all keys stand at the top"),
            ("\n\nport = '", 3, ""),
            ("port = 1\nport = 2", 2, "'port' stands there a second time"),
            ("port = 70000", 1, "port: '70000': 70000 is not in 0..=65535"),
            ("port = -1", 1, "port: '-1': -1 is not in 0..=65535"),
            ("port = 1.5", 1, "port: write a text in quotes, or a whole number"),
            ("port = [1]", 1, "port: write one value, not a list"),
            ("dir = true", 1, "dir: write a text in quotes, or a whole number"),
            ("dir = ''", 1, "dir: a value is missing"),
            ("allow = [['::1']]", 1, "allow: write a text in quotes"),
            ("allow = ['::1', 'all']", 1, "allow: 'all' is no network"),
            ("require-sandbox = 'yes'", 1, "require-sandbox: write true or false"),
            ("verbose = 256", 1, "verbose: write a number from 0 to 255"),
            ("listen = 'unix:sock'", 1, "listen: 'unix:sock': "),
            ("port = 1\nlisten = 'unix:/x'", 2, "listen and port exclude each other"),
            ("quota.x = 1", 1, "quota: write a text in quotes"),
        ] {
            let problems = parsed(text).unwrap_err();
            assert!(
                problems.len() == 1 && problems[0].0 == line && problems[0].1.starts_with(why),
                "{text}: {problems:?}"
            );
        }
        assert_eq!(parsed("prot = 1\nport = 'x'\n").unwrap_err().len(), 2, "all are told at once");
    }
}
