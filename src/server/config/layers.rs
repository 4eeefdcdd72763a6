//! Of all that is said of a key, what holds.

use super::Setting;
use super::keys::Keys;

/// What holds of `layers`, the strongest first: of each key the strongest word. A key also beats weaker ones that it excludes: who
/// says --port means no `listen` of the file.
pub fn merge<'a>(keys: &Keys, layers: impl IntoIterator<Item = &'a [Setting]>) -> Vec<Setting> {
    let mut chosen: Vec<Setting> = Vec::new();
    for layer in layers {
        let beaten = |setting: &&Setting| {
            let mut stronger = chosen.iter();
            !stronger.any(|other| other.key == setting.key || keys.conflict(&other.key, &setting.key))
        };
        let new: Vec<_> = layer.iter().filter(beaten).cloned().collect();
        chosen.extend(new);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Origin;

    fn setting(key: &str, value: &str) -> Setting {
        Setting { key: key.into(), values: vec![value.into()], origin: Origin::Flag }
    }

    #[test]
    fn the_strongest_word_holds_also_against_what_it_excludes() {
        let keys = Keys::of_serve();
        let flags = [setting("port", "1"), setting("grace", "1")];
        let environment = [setting("port", "2"), setting("ip", "::1"), setting("idle-timeout", "2")];
        let file = [setting("listen", "unix:/x"), setting("idle-timeout", "3"), setting("users", "/u")];
        let held = |layers: [&[Setting]; 3]| {
            let words = keys.words(&merge(&keys, layers));
            words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            held([&flags, &environment, &file]),
            ["--port=1", "--grace=1", "--ip=::1", "--idle-timeout=2", "--users=/u"]
        );
        assert_eq!(
            held([&file, &flags, &environment]),
            ["--listen=unix:/x", "--idle-timeout=3", "--users=/u", "--grace=1"]
        );
    }
}
