//! The configuration file that is installed with the server, against the keys that there are: it cannot fall behind them.

use super::file;
use super::keys::{Keys, Kind};
use super::running::LIVE;
use super::show::literal_of_default;
use std::collections::HashMap;
use std::path::Path;

/// As it is installed.
const FILE: &str = include_str!("../../../packaging/forkd.toml");
/// Keys that it sets, since a daemon's working directory is no place for files, and what an operator asks for should be there from the first day.
const SET: &[&str] = &["dir", "users", "state-dir", "audit", "control"];

/// Its assignments by key: the value, and whether a '#' stands before it.
fn assignments() -> HashMap<&'static str, (&'static str, bool)> {
    let mut found = HashMap::new();
    for line in FILE.lines() {
        let (commented, text) = line.strip_prefix('#').map_or((false, line), |text| (true, text));
        let Some((key, value)) = text.split_once(" = ") else { continue };
        if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            assert_eq!(found.insert(key, (value, commented)), None, "{key} stands there twice");
        }
    }
    found
}

fn is_for_tests(key: &str) -> bool {
    key == "without-layer"
}

#[test]
fn it_names_every_key_once_and_no_other() {
    let (keys, found) = (Keys::of_serve(), assignments());
    for key in keys.iter().filter(|key| !is_for_tests(&key.name)) {
        assert!(found.contains_key(key.name.as_str()), "packaging/forkd.toml does not name '{}'", key.name);
    }
    for key in found.keys() {
        assert!(keys.get(key).is_some(), "packaging/forkd.toml names '{key}', which is no key");
    }
}

#[test]
fn what_it_shows_commented_out_is_the_default_and_what_it_sets_is_meant() {
    let (keys, found) = (Keys::of_serve(), assignments());
    for key in keys.iter() {
        let Some((value, commented)) = found.get(key.name.as_str()) else { continue };
        assert_eq!(*commented, !SET.contains(&key.name.as_str()), "{}", key.name);
        let default = literal_of_default(key);
        let told = key.default.first().is_some_and(|default| FILE.contains(&format!("# Default: {default} ")));
        let right = default.as_deref().is_none_or(|default| *value == default) || !commented && told;
        assert!(right, "{} = {value}: the default is {default:?}", key.name);
    }
}

#[test]
fn it_says_which_keys_need_a_restart() {
    for paragraph in FILE.split("\n\n") {
        let named = paragraph.lines().filter_map(|line| line.trim_start_matches('#').split_once(" = "));
        for (key, _) in named.filter(|(key, _)| !key.contains(' ')) {
            assert_ne!(paragraph.contains("(restart)"), LIVE.contains(&key), "{key}");
        }
    }
}

#[test]
fn it_can_be_used_as_it_is_and_with_every_line_uncommented() {
    let (keys, place) = (Keys::of_serve(), tempfile::tempdir().unwrap());
    let parsed = |text: &str| {
        let path = place.path().join("forkd.toml");
        std::fs::write(&path, text).unwrap();
        file::read(&path, &keys).and_then(|settings| {
            let words = keys.words(&settings);
            keys.options(&words).map(|_| settings.len())
        })
    };
    assert_eq!(parsed(FILE), Ok(SET.len()));
    let found = assignments();
    let all = |but: &[&str]| {
        let lines =
            found.iter().filter(|(key, _)| !but.contains(*key)).map(|(key, (value, _))| format!("{key} = {value}\n"));
        parsed(&lines.collect::<String>())
    };
    assert_eq!(all(&["ip", "port"]), Ok(found.len() - 2));
    assert_eq!(all(&["listen"]), Ok(found.len() - 1));
    assert!(all(&[]).unwrap_err().contains("exclude each other"));
    // Lists are shown as lists: a second value is easily put in.
    for key in keys.iter().filter(|key| key.kind == Kind::Several && !is_for_tests(&key.name)) {
        assert!(found.get(key.name.as_str()).unwrap().0.starts_with('['), "{}", key.name);
    }
    assert!(Path::new(super::USUAL_FILE).ends_with("forkd.toml"));
}
